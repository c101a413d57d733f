"""Tables of other people, read: a module a form, named in IMPORTERS; what comes out becomes samples.

    read_table       a source -> `Table`: columns and cells with their lines
    choose_columns   which column is which field of a manifest
    read_samples     rows -> samples, what is missing, counts

A source is a path, or the id of a data set on the Hub. Forms are asked in the order of IMPORTERS whether it is theirs.
"""

from __future__ import annotations

from pathlib import Path
from typing import cast

from mer_r1.data.importers import dataset_folder, delimited, excel, json_rows, mer_factory, parquet, saved_dataset
from mer_r1.data.importers.chat import with_chats
from mer_r1.data.importers.table import Choice, Importer, Table
from mer_r1.errors import InputError
from mer_r1.text import printable

IMPORTERS: dict[str, Importer] = {
    "CSV": cast(Importer, delimited),
    "JSON": cast(Importer, json_rows),
    "Excel": cast(Importer, excel),
    "Parquet": cast(Importer, parquet),
    "MER-Factory": cast(Importer, mer_factory),
    "datasets": cast(Importer, saved_dataset),
    "folder": cast(Importer, dataset_folder),
}
"""Form -> the module that reads it. To add one: a module with `takes` and `read`, and a line here."""


def read_table(source: str, choice: Choice | None = None) -> Table:
    """The table behind a source. Raises InputError for one that is not there or of no known form."""
    path = Path(source)
    for importer in IMPORTERS.values():
        if importer.takes(source):
            if not (path.is_file() or path.is_dir() or saved_dataset.is_hub_id(source)):
                what = "neither a file nor a folder" if path.exists() else "no such file"
                raise InputError(f"{source}: {what}; give the path of a table")
            return with_chats(importer.read(source, choice or Choice()))
    if not path.exists():
        raise InputError(f"{printable(source, 200)}: no such file or folder; give the path of a table")
    raise InputError(f"{source}: none of the forms {', '.join(IMPORTERS)}, by its name; save it as CSV or JSON lines")
