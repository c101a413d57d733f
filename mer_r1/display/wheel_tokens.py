"""The ids with which a vocabulary opens the words of each wheel, as a table with examples of shared ids."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from mer_r1.analysis.wheel_tokens import SharedId, TokenCount, WheelTokens

NUM_EXAMPLES = 3
_NUM_WORDS_SHOWN = 2


def print_wheel_tokens(report: tuple[WheelTokens, ...], title: str) -> None:
    """Print the table under `title`, and of every wheel the ids that open the most words of several categories."""
    console = Console(emoji=False, markup=False, highlight=False)
    console.print(title, soft_wrap=True)
    table = Table("wheel", "category")
    for head in ("words", "first ids", "shared", "touched", "lost"):
        table.add_column(head, justify="right")
    for item in report:
        for index, count in enumerate(item.categories):
            table.add_row(item.total.name if index == 0 else "", escape(count.name), *_cells(count))
        table.add_row("", "all", *_cells(item.total))
        table.add_section()
    console.print(table)
    for item in report:
        for opener in item.shared[:NUM_EXAMPLES]:
            console.print(f"{item.total.name}: {_example(opener)}", soft_wrap=True)
    console.print(
        "touched: words that open with a shared id, as they stand or after a space; lost: in both ways, so that they "
        "keep no id under shared_tokens: drop",
        soft_wrap=True,
    )


def _cells(count: TokenCount) -> tuple[str, ...]:
    shares = [f"{num / count.num_words:.1%}" if count.num_words else "-" for num in (count.num_touched, count.num_lost)]
    return f"{count.num_words:,}", f"{count.num_ids:,}", f"{count.num_shared_ids:,}", *shares


def _example(opener: SharedId) -> str:
    parts = []
    for name, words in opener.words.items():
        rest = f" and {len(words) - _NUM_WORDS_SHOWN:,} more" if len(words) > _NUM_WORDS_SHOWN else ""
        parts.append(f"{name} ({', '.join(words[:_NUM_WORDS_SHOWN])}{rest})")
    return f"{opener.text!r} (id {opener.id}) opens words of {'; '.join(parts)}"
