"""A confusion matrix is as wide as the terminal, and its heads stay different."""

import io

from rich.console import Console

from mer_r1.display.confusion import confusion_grid, print_confusion

NAMES = ("surprise", "surely", "sad", "disgust", "disgusted")


def printed(width: int) -> str:
    confusion = {gold: {name: int(name == gold) for name in (*NAMES, "(no class)")} for gold in NAMES}
    grid = confusion_grid("Gold down, answers across", confusion, dict.fromkeys(NAMES, 1.0))
    console = Console(file=io.StringIO(), width=width)
    print_confusion(grid, console)
    return str(console.file.getvalue())  # type: ignore[attr-defined]


def test_a_wide_terminal_has_whole_names_and_a_narrow_one_their_first_letters() -> None:
    assert all(printed(120).count(name) >= 2 for name in NAMES)
    narrow = printed(64)
    heads = narrow.partition("──")[0].split()
    shortened = {"surp.", "sure.", "surely", "sad", "disgust", "disgusted"}
    assert [head for head in heads if head in shortened] == ["surp.", "sure.", "sad", "disgust", "disgusted"]
    assert max(map(len, narrow.splitlines())) <= 64
