"""`mer-r1 report`: a run's folder -> one offline HTML page that a person looks at instead of logs.

The page holds its pictures and figures itself: no network, no script, no font, light and dark, a phone's width, and
paper. Nothing is evaluated or copied. The way there: run_folder.py reads, cases.py chooses, plots.py and
pictures.py draw, page.py and templates/ write.
"""

from __future__ import annotations

from pathlib import Path

from mer_r1.files import write_text
from mer_r1.report.page import render
from mer_r1.run_folder import read_run


def run(folder: Path, out: Path | None = None) -> Path:
    """Write the page of `folder` to `out`, by default FOLDER/report.html, and return its path.

    Raises InputError when the folder has no metrics.json, a file in it is wrong, or jinja2 or matplotlib is missing.
    """
    out = folder / "report.html" if out is None else out
    write_text(out, render(read_run(folder)))
    return out
