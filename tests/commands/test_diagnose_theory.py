"""`diagnose theory`: what it prints and writes, and what is an error."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from mer_r1.commands import main
from mer_r1.emotion.wheel import WheelSet
from mer_r1.rl import theory
from mer_r1.rl.theory import Groups, sample_families, summary


def diagnose(*options: object) -> int:
    return main(["diagnose", "theory", *map(str, options)])


def test_it_prints_the_tables_and_writes_the_same_numbers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "theory.json"
    assert diagnose("--groups", 30, "--json", out) == 0
    made = json.loads(out.read_text())
    assert (made["num_groups"], list(made["families"])) == (30, ["sets of 64", "sets of 4", "words of 64"])
    printed = capsys.readouterr().out
    for name, numbers in made["families"].items():
        assert numbers["groups"] + numbers["left_out"] == 30
        assert numbers["prop3"]["max_error"] < 1e-9
        assert f"{name}: F1 advantage" in printed
        assert f"{100 * numbers['prop1']['agree']:.1f} %" in printed


def test_the_same_seed_gives_the_same_numbers() -> None:
    first, again, other = (
        [summary(measured) for measured in sample_families(5, seed, WheelSet.load()).values()] for seed in (1, 1, 2)
    )
    assert first == again != other


@pytest.mark.slow
@pytest.mark.parametrize("ending", ["svg", "png"])
def test_the_plot_is_of_the_kind_its_name_ends_in(tmp_path: Path, ending: str) -> None:
    pytest.importorskip("matplotlib")
    plots = [tmp_path / f"{name}.{ending}" for name in ("one", "two")]
    for plot in plots:
        assert diagnose("--groups", 20, "--plot", plot) == 0
    assert plots[0].read_bytes() == plots[1].read_bytes()
    assert plots[0].read_bytes().startswith(b"<?xml" if ending == "svg" else b"\x89PNG")
    if ending == "svg":
        assert all(words in plots[0].read_text() for words in ("ln τ", "against τ", "both with A dual"))
    assert sorted(tmp_path.iterdir()) == plots


def test_few_groups_are_no_reason_to_fail_but_for_a_plot_of_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib")
    assert diagnose("--groups", 1, "--plot", tmp_path / "theory.png") == 0
    flat = np.full((1, 4), 0.5)
    monkeypatch.setattr(theory, "sample_sets", lambda *_: Groups(flat, flat, flat))
    assert diagnose("--groups", 1, "--json", tmp_path / "theory.json") == 0
    assert json.loads((tmp_path / "theory.json").read_text())["families"]["sets of 64"]["prop3"] is None
    assert "sets of 64" in capsys.readouterr().out
    assert diagnose("--groups", 1, "--plot", tmp_path / "theory.svg") == 2
    message = "--groups: none of 1 groups (sets of 64) varies enough to draw; give more"
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [(("--groups", 0), "--groups 0: give at least 1"), (("--plot", "plot.pdf"), "a plot is written as .svg or .png")],
)
def test_what_cannot_be_done_is_an_error_before_anything_is_sampled(
    options: tuple[object, ...], message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(theory, "sample_families", lambda *_: pytest.fail("sampled"))
    assert diagnose(*options) == 2
    assert message in capsys.readouterr().err
