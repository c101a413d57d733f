"""The ids with which a vocabulary opens the words of each wheel, as a table with examples of shared ids."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from mer_r1.analysis.gold_tokens import GoldTokens
from mer_r1.analysis.wheel_tokens import SharedId, TokenCount, WheelTokens
from mer_r1.text import printable

NUM_EXAMPLES = 3
NUM_WORDS = 10
_NUM_WORDS_SHOWN = 2


def print_wheel_tokens(report: tuple[WheelTokens, ...], title: str) -> None:
    """Print the table under `title`, and of every wheel the ids that open the most words of several categories."""
    console = Console(emoji=False, markup=False, highlight=False)
    console.print(title, soft_wrap=True)
    table = Table("wheel", "category")
    for head in ("words", "first ids", "shared", "alone", "after space", "lost"):
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
        "alone, after space: words that open with a shared id as they stand, as an answer's first word does, or after "
        "a space, as the others do; lost: in both ways, so that they keep no id under shared_tokens: drop",
        soft_wrap=True,
    )


def print_gold_tokens(report: GoldTokens, manifest: str) -> None:
    """Print how often the gold words of a manifest open with a shared id."""
    console = Console(emoji=False, markup=False, highlight=False)
    wrong = (
        f", {report.num_malformed:,} of them with labels that are not wholly readable" if report.num_malformed else ""
    )
    console.print(
        f"\n{manifest}: {report.num_times:,} gold words in {report.num_rows:,} rows{wrong}; each occurrence counts",
        soft_wrap=True,
    )
    table = Table("wheel", "category")
    for head in ("words", "one token", "times", "shared", "first", "later", "lost"):
        table.add_column(head, justify="right")
    for item in report.by_wheel:
        for index, count in enumerate((*item.categories, item.total)):
            name = "all" if count is item.total else count.name
            shares = (
                _share(count.num_first_shared + count.num_later_shared, count.num_times),
                _share(count.num_first_shared, count.num_first),
                _share(count.num_later_shared, count.num_times - count.num_first),
                _share(count.num_lost, count.num_times),
            )
            numbers = (f"{part:,}" for part in (count.num_words, count.num_single, count.num_times))
            table.add_row(item.total.name if index == 0 else "", escape(name), *numbers, *shares)
        table.add_section()
    console.print(table)
    console.print(
        "shared: occurrences that open with a shared id where they stand; first: of those that stand first in their "
        "row; later: of the others; lost: those that would in either place",
        soft_wrap=True,
    )
    for item in report.by_wheel:
        for opener in item.shared[:NUM_EXAMPLES]:
            text = f"{opener.text!r} (id {opener.id}) opens {_most_frequent(opener.words)}"
            console.print(f"{item.total.name}, as written: {text}", soft_wrap=True)
    if report.glued:
        share = _share(sum(report.glued.values()), report.num_answers)
        console.print(
            f"of the words that stand first {share} share their first token with <answer> where a text is cut in one "
            f"piece, and are then not read: {_most_frequent(report.glued)}",
            soft_wrap=True,
        )
    if report.unknown:
        num_unknown = sum(report.unknown.values())
        console.print(f"in no wheel, {num_unknown:,} occurrences: {_most_frequent(report.unknown)}", soft_wrap=True)


def _most_frequent(times: Mapping[str, int]) -> str:
    rest = f" and {len(times) - NUM_WORDS:,} more" if len(times) > NUM_WORDS else ""
    return ", ".join(f"{printable(word)} {num:,}" for word, num in islice(times.items(), NUM_WORDS)) + rest


def _share(num: int, whole: int) -> str:
    return f"{num / whole:.1%}" if whole else "-"


def _cells(count: TokenCount) -> tuple[str, ...]:
    shares = [_share(num, count.num_words) for num in (count.num_alone, count.num_spaced, count.num_lost)]
    return f"{count.num_words:,}", f"{count.num_ids:,}", f"{count.num_shared_ids:,}", *shares


def _example(opener: SharedId) -> str:
    parts = []
    for name, words in opener.words.items():
        rest = f" and {len(words) - _NUM_WORDS_SHOWN:,} more" if len(words) > _NUM_WORDS_SHOWN else ""
        parts.append(f"{name} ({', '.join(words[:_NUM_WORDS_SHOWN])}{rest})")
    return f"{opener.text!r} (id {opener.id}) opens words of {'; '.join(parts)}"
