"""A table as text that goes into a document: Markdown, LaTeX (booktabs), CSV.

Names come from outside: what is markup in the format is escaped. A head may hold a no-break space where it must not
break on the terminal.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence

from mer_r1.display.grid import Grid

_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "−": "$-$",
    "–": "--",
    "Δ": r"$\Delta$",
    "·": r"$\cdot$",
    "<": "$<$",
    ">": "$>$",
    "|": r"\textbar{}",
    '"': "''",
    "`": r"\textasciigrave{}",
    "\u00a0": "~",
    **{mark: f"\\{mark}" for mark in "&%$#_{}"},
}
_MARKDOWN = re.compile(r"([\\|`*<>\[\]]|(?<!\w)_|_(?!\w))")


def markdown(grid: Grid, notes: Iterable[str] = (), signatures: Iterable[str] = ()) -> str:
    """The table, its title above, notes and signatures below, a paragraph each."""
    heads = [_markdown(head.replace("\u00a0", " ")) for head in grid.columns]
    sides = ["---" if index < grid.num_names else "---:" for index in range(len(heads))]
    rows = [[*map(_markdown, row[: grid.num_names]), *row[grid.num_names :]] for row in grid.rows]
    table = "\n".join(f"| {' | '.join(cells)} |" for cells in (heads, sides, *rows))
    code = (f"`{text.replace('`', '_')}`" for text in signatures)
    return "\n\n".join([_markdown(grid.title), table, *map(_markdown, notes), *code]) + "\n"


def latex(grid: Grid, notes: Iterable[str] = (), signatures: Iterable[str] = ()) -> str:
    """A `tabular` with the rules of booktabs, to be put into a `table`; what stands beside it is in comments."""
    comments = [grid.title, *notes, *signatures, r"\usepackage{booktabs}"]
    sides = "l" * grid.num_names + "r" * (len(grid.columns) - grid.num_names)
    head, *rows = [" & ".join(map(_latex, cells)) + r" \\" for cells in (grid.columns, *grid.rows)]
    # What stands behind a line's end in brackets, or as a star, would be taken as an argument of it.
    rows = [f"{{}}{row}" if row.startswith(("[", "*")) else row for row in rows]
    lines = [
        *(f"% {comment}" for comment in comments),
        rf"\begin{{tabular}}{{{sides}}}",
        r"\toprule",
        head,
        r"\midrule",
        *rows,
        r"\bottomrule",
        r"\end{tabular}",
    ]
    return "\n".join(lines) + "\n"


def comma_separated(heads: Sequence[str], rows: Iterable[Sequence[str | int | float | None]]) -> str:
    """CSV with a line of heads; numbers are written whole, and None is an empty field.

    A text that a spreadsheet would take as a formula has an apostrophe in front.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(heads)
    writer.writerows([_field(value) for value in row] for row in rows)
    return text.getvalue()


def _field(value: str | int | float | None) -> str | int | float | None:
    return f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")) else value


def _markdown(text: str) -> str:
    return _MARKDOWN.sub(r"\\\1", text)


def _latex(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in text)
