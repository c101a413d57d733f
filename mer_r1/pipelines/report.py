"""`mer-r1 report`: the folders of runs -> one offline HTML page that a person looks at instead of logs.

The page holds its pictures, figures and data itself: no network, no font, light and dark, a phone's width, and paper;
clips play by relative path. Nothing is asked of a model. The way there: run_folder.py reads, report/measured.py counts,
report/payload.py packs the samples, plots and drawings are made, report/page.py and templates/ write.
"""

from __future__ import annotations

from pathlib import Path

from mer_r1.data.files import write_text
from mer_r1.errors import InputError
from mer_r1.evaluation.runs import read_runs
from mer_r1.report.page import render


def run(*folders: Path, out: Path | None = None, wheels: str = "builtin", protocol: str = "official") -> Path:
    """Write the page of all `folders` to `out`, by default report.html in the first, and return its path.

    `wheels` and `protocol` are those of the headline numbers. Raises InputError for a folder that is no run, a file in
    it that is wrong, an `out` that is a folder, and when jinja2 or matplotlib is missing.
    """
    systems = read_runs(folders)
    out = folders[0] / "report.html" if out is None else out
    if out.is_dir():
        raise InputError(f"{out}: is a folder; give the name of the page, such as {out / 'report.html'}")
    write_text(out, render(systems, folders, out.parent, wheels, protocol))
    return out
