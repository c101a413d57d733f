"""Data sets of Hugging Face's `datasets`: a folder that `save_to_disk` wrote, or an id on the Hub (extra `data`).

An id is OWNER/NAME that cannot be a path (data/hub_names.py).
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from mer_r1.data.hub_names import looks_like_hub_id
from mer_r1.data.importers.embedded import class_names, media_cell, media_columns
from mer_r1.data.importers.table import Choice, Row, Table, table_of
from mer_r1.data.media_names import media_kind
from mer_r1.errors import InputError, first_line
from mer_r1.text import printable

_SAVED = ("state.json", "dataset_dict.json")


def takes(source: str) -> bool:
    """A folder with the files of `save_to_disk`, or what can only be an id on the Hub."""
    path = Path(source)
    if path.exists():
        return any((path / name).is_file() for name in _SAVED)
    return is_hub_id(source)


def is_hub_id(source: str) -> bool:
    """Whether a source that is not there can be an id on the Hub and no mistyped path."""
    return looks_like_hub_id(source) and not Path(source).exists() and media_kind(source) is None


def read(source: str, choice: Choice) -> Table:
    """The table of one split. Raises InputError for several where none is chosen, and for what cannot be loaded."""
    import datasets

    path = Path(source)
    try:
        data = datasets.load_from_disk(str(path)) if path.exists() else _from_hub(source, choice)
    except InputError:
        raise
    except Exception as error:  # whatever a library of networks and file systems raises
        what = "no data set that `datasets` can load" if path.exists() else "no such path, and no data set of the Hub"
        raise InputError(f"{printable(source)}: {what} ({printable(first_line(error), 300)})") from None
    if isinstance(data, dict):
        data = data[chosen_split(source, list(data), choice)]
    return _table(path, data)


def chosen_split(source: str, names: list[str], choice: Choice) -> str:
    """The split that is chosen, or the only one. Raises InputError for another number."""
    if not names:
        raise InputError(f"{source}: no split in it; give another data set")
    if choice.split is not None and choice.split not in names:
        raise InputError(f"{source}: no split {printable(choice.split)!r}; it has {printable(', '.join(names), 300)}")
    if choice.split is None and len(names) > 1:
        raise InputError(f"{source}: several splits; say which: --split {printable(' | '.join(names), 300)}")
    return choice.split or names[0]


def _from_hub(source: str, choice: Choice) -> Any:
    import datasets

    return datasets.load_dataset(source, split=chosen_split(source, datasets.get_dataset_split_names(source), choice))


def _table(path: Path, data: Any) -> Table:
    import datasets

    features = data.features.to_dict()
    kinds = media_columns(features)
    for column in kinds:  # as the bytes they are
        data = data.cast_column(column, _undecoded(data.features[column]))
    rows = []
    for index in range(len(data)):
        cells = {
            name: media_cell(value, kinds.get(name), partial(_value, data, index, name))
            for name, value in data[index].items()
        }
        rows.append(Row(index + 1, cells))
    form = f"data set of datasets {datasets.__version__}"
    return table_of(path, form, tuple(data.column_names), rows, classes=class_names(features))


def _value(data: Any, index: int, name: str) -> Any:
    return data[index][name]


def _undecoded(feature: Any) -> Any:
    """A feature of media, or of lists of them, that gives bytes and path."""
    import datasets

    if isinstance(feature, list):
        return [_undecoded(feature[0])]
    if isinstance(feature, datasets.Sequence | datasets.List):
        return datasets.List(_undecoded(feature.feature))
    return type(feature)(decode=False)
