"""What a sweep is going to train: keys that only some of its runs read."""

from __future__ import annotations

from pathlib import Path

import pytest

from mer_r1.errors import InputError
from mer_r1.pipelines.sweep_variants import Stage, cells, varied

OUT = Path("out")


def test_an_override_that_only_some_variants_read_holds_for_these() -> None:
    _, variants = varied("minimer-rl", "rl.objective=baseline,mer_r1")
    planned = {cell.value: cell for cell in cells(variants, ["rl.lambda_cali=0.2", "rl.lambda_fmt=0.3"], [0], OUT)}
    rl = {name: cell.runs[0].recipe.rl for name, cell in planned.items()}
    assert {name: section.lambda_fmt for name, section in rl.items()} == {"baseline": 0.3, "mer_r1": 0.3}
    assert rl["mer_r1"].lambda_cali == 0.2
    assert {name: cell.idle_keys for name, cell in planned.items()} == {"baseline": ("rl.lambda_cali",), "mer_r1": ()}
    assert "lambda_cali" not in planned["baseline"].runs[0].recipe.as_yaml()


def test_so_does_a_key_of_the_recipe_that_is_varied(tmp_path: Path) -> None:
    recipe = "kind: rl\nmodel: {source: tiny}\ndata: {train: a}\noptim: {learning_rate: 1}\nrl: {lambda_cali: 0.2}\n"
    (tmp_path / "mine.yaml").write_text(recipe)
    _, variants = varied(str(tmp_path / "mine.yaml"), "rl.objective=rd,mer_r1")
    assert [cell.runs[0].recipe.rl.lambda_cali for cell in cells(variants, [], [0], OUT)] == [0.1, 0.2]


@pytest.mark.parametrize("override", ["rl.lambda_cali=0.2", "rl.beta_schedule=decay", "sft.reflection=true"])
def test_an_override_that_no_variant_reads_is_refused(override: str) -> None:
    _, variants = varied("minimer-rl", "rl.objective=baseline,rd")
    with pytest.raises(InputError, match=rf"^{override.partition('=')[0]} does nothing in this sweep: .*; remove it$"):
        cells(variants, ["rl.beta=0", override], [0, 1], OUT)


def test_what_a_variant_sets_itself_must_be_read_there() -> None:
    idle = {"a": [Stage(recipe="minimer-rl", set=("rl.objective=baseline", "rl.lambda_cali=0.2"))]}
    with pytest.raises(InputError, match=r"^minimer-rl: rl\.lambda_cali=0\.2 does nothing: .* from the variant$"):
        cells(idle | {"b": [Stage(recipe="minimer-rl")]}, [], [0], OUT)
    _, variants = varied("minimer-rl", "rl.length_penalty=none,log")
    with pytest.raises(InputError, match=r"rl\.length_penalty=log does nothing"):
        cells(variants, [], [0], OUT)


def test_an_override_for_one_kind_of_stage_leaves_the_other_kind_alone() -> None:
    chain = {"both": [Stage(recipe="minimer-sft"), Stage(recipe="minimer-rl")]}
    (cell,) = cells(chain, ["rl.num_generations=8", "sft.targets=[slow]"], [0], OUT)
    assert cell.runs[1].recipe.rl.num_generations == 8
    assert cell.runs[0].recipe.sft.targets == ("slow",)
    assert cell.idle_keys == ()
