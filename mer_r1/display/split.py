"""A split printed for a person: rows and groups of every part, the shares of labels, how far they deviate."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console

from mer_r1.data.sample import Sample
from mer_r1.data.split import Split, features_of, num_shared
from mer_r1.display.grid import Grid, print_grid, print_line
from mer_r1.text import percent, points, printable

NUM_LABELS = 12
_SHARED = {"cluster": "clusters", "video": "videos", "audio": "sounds", "image": "pictures"}
"""Fields that two parts should not share, and what their values are."""


def print_split(split: Split, paths: Mapping[str, Path]) -> None:
    """Print the table of parts, that of labels, the largest deviation, and what is worth knowing."""
    console = Console()
    everything = [*split.left_out, *(sample for rows in split.parts.values() for sample in rows)]
    num = len(everything)
    sizes = [
        (name, str(paths[name]), f"{len(rows):,}", percent(len(rows) / num, 1), f"{split.wanted[name]:,}")
        + (() if split.by == "id" else (f"{split.groups[name]:,}",))
        for name, rows in split.parts.items()
    ]
    groups = () if split.by == "id" else (_SHARED.get(split.by, f"{split.by}s"),)
    print_grid(Grid(f"{num:,} rows", ("part", "manifest", "rows", "%", "wanted", *groups), tuple(sizes)), console)
    shares = {name: _shares(rows) for name, rows in split.parts.items()}
    overall = _shares(everything)
    labels = sorted(overall, key=lambda label: (-overall[label], label))
    columns = (overall, *shares.values())
    rows = [(printable(label, 30), *(percent(column[label], 1) for column in columns)) for label in labels[:NUM_LABELS]]
    print_grid(Grid("rows with a label, %", ("label", "all", *shares), tuple(rows), num_names=1), console)
    if (more := len(labels) - NUM_LABELS) > 0:
        print_line(f"and {more:,} rarer labels", console)
    label, part = max(
        ((label, part) for label in labels for part in shares),
        key=lambda pair: abs(shares[pair[1]][pair[0]] - overall[pair[0]]),
    )
    here, of_all = shares[part][label], overall[label]
    print_line(
        f"largest deviation: {printable(label)} in {part}, {percent(here, 1)} % against {percent(of_all, 1)} % of all "
        f"rows ({points(here - of_all)} points)",
        console,
    )
    if split.left_out:
        print_line(f"left out: {len(split.left_out):,} rows that no part wanted", console)
    if split.alone:
        print_line(f"rows without {split.by}: {split.alone:,}, each a group of its own", console)
    for field, name in _SHARED.items():
        if num := num_shared(split, field):
            print_line(f"note: {num:,} {name} stand in more than one part; --by {field} keeps each in one", console)


def _shares(samples: Sequence[Sample]) -> defaultdict[str, float]:
    """The share of rows that have each label."""
    counted = Counter(label for sample in samples for label in features_of(sample))
    return defaultdict(float, {label: num / len(samples) for label, num in counted.items()})
