"""What reading a data set from its owners' folders gives: samples, and what was not there."""

from __future__ import annotations

from dataclasses import dataclass

from mer_r1.data.sample import Sample


@dataclass(frozen=True)
class MissingFile:
    """A file that a sample needs and the folder does not have, or cannot give: its path under the root, and why."""

    path: str
    why: str


@dataclass(frozen=True)
class PreparedSet:
    """A data set as samples, in the owners' order.

    A sample without its clip is not among `samples`: it is in `missing`. `notes` are lines of what is worth
    knowing, such as a count that differs from the published one; `where` says where to get the files.
    """

    name: str
    title: str
    samples: tuple[Sample, ...]
    missing: tuple[MissingFile, ...] = ()
    notes: tuple[str, ...] = ()
    where: str = ""
