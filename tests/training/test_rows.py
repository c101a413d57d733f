"""Which rows a run learns from: the first usable ones; what is passed over is counted by reason."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mer_r1.errors import InputError
from mer_r1.recipe import Recipe
from mer_r1.training.rows import read_rows
from tests.evaluation.scoring import write

LABELS: list[list[str] | None] = [
    ["neutral"],
    ["happy"],
    ["expressionless", "neutral"],
    ["sad"],
    None,
    ["happy", "neutral"],
]


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    rows = [{"id": str(number), "subtitle": "x", "labels": labels} for number, labels in enumerate(LABELS)]
    return write(tmp_path / "m.jsonl", *rows)


def recipe(manifest: Path, kind: str = "rl", **sections: Any) -> Recipe:
    data = {"train": str(manifest)} | sections.pop("data", {})
    model, optim = {"source": "tiny"}, {"learning_rate": 1e-3}
    return Recipe.model_validate({"kind": kind, "model": model, "data": data, "optim": optim, **sections})


def taken(recipe: Recipe, num: int | None = None) -> tuple[list[str], dict[str, int]]:
    rows = read_rows(recipe, recipe.data.train, num)
    return [sample.id for sample in rows.samples], dict(rows.uncountable.reasons)


def test_rows_without_countable_gold_are_dropped_and_counted_by_reason(manifest: Path) -> None:
    assert taken(recipe(manifest)) == (
        ["1", "3", "5"],
        {"no label reaches a category of the wheels": 2, "no labels": 1},
    )
    uncountable = read_rows(recipe(manifest), manifest, None).uncountable
    assert str(uncountable) == (
        "no label reaches a category of the wheels: 2 (neutral 2, expressionless 1); no labels: 1"
    )
    assert uncountable.as_json() == {
        "rows": 3,
        "reasons": {"no label reaches a category of the wheels": 2, "no labels": 1},
        "labels": {"neutral": 2, "expressionless": 1},
    }


def test_num_counts_usable_rows_and_only_what_was_passed_over(manifest: Path) -> None:
    assert taken(recipe(manifest), 1) == (["1"], {"no label reaches a category of the wheels": 1})
    assert taken(recipe(manifest), 2) == (["1", "3"], {"no label reaches a category of the wheels": 2})
    assert taken(recipe(manifest), 9)[0] == ["1", "3", "5"]


def test_kept_rows_stay_in_their_place_and_count(manifest: Path) -> None:
    keep = recipe(manifest, data={"uncountable": "keep"})
    assert taken(keep) == (
        ["0", "1", "2", "3", "4", "5"],
        {"no label reaches a category of the wheels": 2, "no labels": 1},
    )
    assert taken(keep, 2) == (["0", "1"], {"no label reaches a category of the wheels": 1})


def test_stop_names_the_row_the_reason_and_the_fix(manifest: Path) -> None:
    with pytest.raises(
        InputError, match=r"m\.jsonl: sample '0': no label reaches .*builtin.*data\.uncountable to drop"
    ):
        taken(recipe(manifest, data={"uncountable": "stop"}))


@pytest.mark.parametrize("rule", ["drop", "keep"])
def test_a_manifest_without_a_countable_row_is_an_error(rule: str, tmp_path: Path) -> None:
    path = write(tmp_path / "m.jsonl", *({"id": str(n), "subtitle": "x", "labels": ["neutral"]} for n in range(3)))
    with pytest.raises(InputError, match=r"no row has gold that mer_r1 can pay .*\(neutral 3\)"):
        taken(recipe(path, data={"uncountable": rule}))


def test_the_protocol_and_the_objective_decide(manifest: Path) -> None:
    assert taken(recipe(manifest, rl={"protocol": "corrected"})) == (["0", "1", "2", "3", "5"], {"no labels": 1})
    assert taken(recipe(manifest, rl={"objective": "accuracy"})) == (["0", "1", "2", "3", "5"], {"no labels": 1})


def test_slow_targets_without_reasoning_say_how_many_and_what_to_do(manifest: Path) -> None:
    with pytest.raises(InputError, match=r"1 of 6 rows have no labels to learn from \(the first is '4'\)"):
        taken(recipe(manifest, "sft"))
    with pytest.raises(
        InputError, match=r"m\.jsonl: 4 of 4 rows have no reasoning.*first is '0'.*sft\.targets=\[fast\]"
    ):
        taken(recipe(manifest, "sft"), 4)
    with pytest.raises(InputError, match="2 of 2 rows"):
        taken(recipe(manifest, "sft", sft={"targets": ["fast", "slow"]}), 2)
    assert taken(recipe(manifest, "sft", sft={"targets": ["fast"]}), 2) == (["0", "1"], {})
    with pytest.raises(ValueError, match=r"data\.uncountable does nothing"):
        recipe(manifest, "sft", data={"uncountable": "keep"})


@pytest.mark.slow
def test_rows_that_a_run_cannot_learn_stop_it_before_torch_is_loaded(tmp_path: Path) -> None:
    path = write(tmp_path / "m.jsonl", {"id": "a", "subtitle": "x", "labels": ["happy"]})
    code = (
        "import sys; from mer_r1.commands import main; "
        f"status = main(['train', 'minimer-sft', 'data.train={path}', '--out', {str(tmp_path / 'run')!r}]); "
        "print(status, [name for name in ('torch', 'transformers', 'accelerate') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("2 []\n")
    assert "1 of 1 rows have no reasoning" in done.stderr
    assert "sft.targets=[fast]" in done.stderr
