"""`diagnose theory`: what it prints, writes and refuses."""

import json
from pathlib import Path

import numpy as np
import pytest

from mer_r1.display import theory
from mer_r1.errors import InputError
from mer_r1.rl.theory import Groups


def test_it_prints_the_tables_and_writes_the_same_numbers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "theory.json"
    made = theory.run(30, out)
    assert json.loads(out.read_text()) == made
    assert (made["num_groups"], list(made["families"])) == (30, ["sets of 64", "sets of 4", "words of 64"])
    for numbers in made["families"].values():
        assert numbers["groups"] + numbers["left_out"] == 30
        assert numbers["prop3"]["max_error"] < 1e-9
    said = capsys.readouterr().out
    for name, numbers in made["families"].items():
        assert f"{name}: F1 advantage" in said
        assert f"{100 * numbers['prop1']['agree']:.1f} %" in said


def test_the_same_seed_gives_the_same_numbers() -> None:
    assert theory.run(5, seed=1) == theory.run(5, seed=1) != theory.run(5, seed=2)


@pytest.mark.parametrize("ending", ["svg", "png"])
def test_the_plot_is_of_the_kind_its_name_ends_in(tmp_path: Path, ending: str) -> None:
    pytest.importorskip("matplotlib")
    plots = [tmp_path / f"{name}.{ending}" for name in ("one", "two")]
    for plot in plots:
        theory.run(20, plot=plot)
    assert plots[0].read_bytes() == plots[1].read_bytes()
    assert plots[0].read_bytes().startswith(b"<?xml" if ending == "svg" else b"\x89PNG")
    if ending == "svg":
        assert all(words in plots[0].read_text() for words in ("ln τ", "against τ", "both with A dual"))
    assert sorted(tmp_path.iterdir()) == plots


def test_few_groups_are_no_reason_to_fail_but_for_a_plot_of_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib")
    theory.run(1, plot=tmp_path / "theory.png")
    flat = np.full((1, 4), 0.5)
    monkeypatch.setattr(theory, "sample_sets", lambda *_: Groups(flat, flat, flat))
    assert theory.run(1)["families"]["sets of 64"]["prop3"] is None
    assert "sets of 64" in capsys.readouterr().out
    with pytest.raises(InputError, match=r"--groups: none of 1 groups \(sets of 64\) varies enough to draw; give more"):
        theory.run(1, plot=tmp_path / "theory.svg")


def test_what_cannot_be_done_is_said_before_anything_is_sampled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(theory, "sampled", lambda *_: pytest.fail("sampled"))
    with pytest.raises(InputError, match="--groups: 0 groups say nothing; give at least 1"):
        theory.run(0)
    with pytest.raises(InputError, match=r"plot\.pdf: a plot is written as \.svg or \.png"):
        theory.run(5, plot=tmp_path / "plot.pdf")
