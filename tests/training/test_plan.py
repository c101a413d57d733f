"""A planned run reads its data as the run would, and knows what would stop it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mer_r1.errors import InputError
from mer_r1.recipe import Recipe
from mer_r1.training.gpus import find_card
from mer_r1.training.plan import Place, plan
from tests.evaluation.scoring import write


def recipe_of(manifest: Path, kind: str = "rl", **sections: Any) -> Recipe:
    data = {"train": str(manifest)} | sections.pop("data", {})
    optim = {"learning_rate": 1e-3, **sections.pop("optim", {})}
    return Recipe.model_validate({"kind": kind, "model": {"source": "tiny"}, "data": data, "optim": optim, **sections})


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    labels = (["happy"], ["neutral"], ["sad"])
    return write(tmp_path / "m.jsonl", *({"id": f"{n}", "subtitle": "x", "labels": ls} for n, ls in enumerate(labels)))


def test_rows_are_those_that_the_run_would_take(manifest: Path) -> None:
    planned = plan(recipe_of(manifest), Place())
    assert planned.rows is not None
    train = planned.rows["train"]
    assert (len(train.samples), train.num_in_manifest, train.uncountable.reasons.total()) == (2, 3, 1)
    assert planned.estimate.num_rows == 2
    assert planned.can_run
    first = plan(recipe_of(manifest, data={"num": 1, "eval": str(manifest)}, optim={"eval_steps": 5}), Place())
    assert first.rows is not None
    assert [(name, len(rows.samples)) for name, rows in first.rows.items()] == [("train", 1), ("eval", 2)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, r"data\.train: .*m\.jsonl: no such file; name your manifest with data\.train=FILE .*--rows N"),
        ("id,video,label\na,a.mp4,happy\n", r"m\.jsonl"),
        ("", r"m\.jsonl"),
        ('{"id": "a", "subtitle": "x", "labels": ["neutral"]}\n', "no row has gold that"),
    ],
)
def test_data_that_a_run_would_refuse_are_refused(text: str | None, message: str, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / "m.jsonl").write_text(text)
    with pytest.raises(InputError, match=message):
        plan(recipe_of(tmp_path / "m.jsonl"), Place())


def test_without_data_a_number_of_rows_is_assumed_when_asked_for(tmp_path: Path) -> None:
    planned = plan(recipe_of(tmp_path / "none.jsonl"), Place(), 50)
    assert (planned.rows, planned.media, planned.estimate.num_rows) == (None, None, 50)
    assert plan(recipe_of(tmp_path / "none.jsonl", data={"num": 20}), Place(), 50).estimate.num_rows == 20
    with pytest.raises(InputError, match="--rows 0"):
        plan(recipe_of(tmp_path / "none.jsonl"), Place(), 0)


def test_a_missing_clip_stops_a_run_unless_it_skips_them(tmp_path: Path) -> None:
    rows = [{"id": name, "video": f"{name}.mp4", "labels": ["happy"]} for name in "ab"]
    manifest = write(tmp_path / "m.jsonl", *rows)
    (tmp_path / "a.mp4").touch()
    planned = plan(recipe_of(manifest), Place())
    assert planned.missing == (tmp_path / "b.mp4",)
    assert not planned.can_run
    assert plan(recipe_of(manifest, data={"unreadable": "skip"}), Place()).can_run


def test_a_run_that_does_not_fit_cannot_run(manifest: Path) -> None:
    assert not plan(recipe_of(manifest), Place(find_card(None, 1))).can_run


def test_the_clips_of_a_corpus_are_there_and_last_about_a_second(corpus: dict[str, Path]) -> None:
    media = plan(recipe_of(corpus["train"]), Place()).media
    assert media is not None
    rows = [json.loads(line) for line in corpus["train"].read_text().splitlines()]
    assert media.missing == ()
    assert media.num_clips == sum("video" in row or "audio" in row for row in rows)
    assert media.mean_s == pytest.approx(1.0, abs=0.1)
