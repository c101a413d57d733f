"""`mer-r1 wheels show`: where words stand; 1 when none is known."""

from __future__ import annotations

import pytest

from mer_r1.emotion.wheel import Way, WheelSet
from mer_r1.errors import InputError
from mer_r1.verbs.wheels import show, way_text


def test_a_known_word_gets_its_category_in_every_wheel(capsys: pytest.CaptureFixture[str]) -> None:
    assert show(["furious"]) == 0
    printed = capsys.readouterr().out
    wheels = WheelSet.load()
    for way in wheels.explain("furious"):
        assert any(way.wheel in line and str(way.category) in line for line in printed.splitlines())
    assert all(title in printed for title in wheels.titles)
    assert wheels.sha256[:12] in printed


def test_known_words_are_shown_beside_unknown_ones_with_near_spellings(capsys: pytest.CaptureFixture[str]) -> None:
    assert show(["happy", "furius", "qwerty"]) == 0
    printed = capsys.readouterr().out
    assert "'furius' is not in the wheels; near: furious" in printed
    assert "'qwerty' is not in the wheels\n" in printed


def test_only_unknown_words_end_in_one_without_an_empty_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert show(["qwerty", ""]) == 1
    printed = capsys.readouterr().out
    assert "wheel" not in printed.replace("in the wheels", "")


@pytest.mark.parametrize("word", ["[bold]x", "[/]", ":smile:", "<script>"])
def test_markup_in_a_word_is_printed_as_it_stands(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert show([word]) == 1
    assert f"{word!r} is not in the wheels" in capsys.readouterr().out


def test_unknown_wheels_are_refused() -> None:
    with pytest.raises(InputError, match="'zz'"):
        show(["happy"], "zz")


def test_a_way_leaves_out_steps_that_repeat() -> None:
    assert way_text(Way("w1", "angrily", "anger", "anger", "angry")) == "angrily > anger"
    assert way_text(Way("w1", "lost", "lost", None, None)) == "lost > no home in this wheel"
