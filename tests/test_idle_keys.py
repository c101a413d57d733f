"""A key that nothing reads in a recipe is refused where it was given, and left out of what is written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from mer_r1.errors import InputError
from mer_r1.objectives import COEFFICIENTS, OBJECTIVES, Objective, Term, keys_of, needs_calibration
from mer_r1.recipe import Recipe, RlSection, read_recipe, read_recipe_without_idle_keys

GUIDE = Path(__file__).parents[1] / "docs" / "objectives.md"
IDLE = [
    ("minimer-rl", ["rl.objective=baseline", "rl.lambda_cali=0.2"], "rl.lambda_cali", "objective baseline"),
    ("minimer-rl", ["rl.objective=emo_r3", "rl.lambda_fmt=0.2"], "rl.lambda_fmt", "objective emo_r3"),
    ("minimer-rl", ["rl.lambda_rer=0.2"], "rl.lambda_rer", "(read by mer_r1_rer)"),
    ("minimer-rl", ["rl.length_penalty=log"], "rl.length_penalty", "objective mer_r1"),
    ("minimer-rl", ["rl.objective=rd_ad", "rl.shared_tokens=drop"], "rl.shared_tokens", "objective rd_ad"),
    ("minimer-rl", ["rl.objective=mer_r1_a1", "rl.shared_tokens=drop"], "rl.shared_tokens", "objective mer_r1_a1"),
    ("minimer-rl", ["rl.objective=dr_grpo", "rl.scale_rewards=batch"], "rl.scale_rewards", "(read by all but dr_grpo)"),
    ("minimer-rl", ["rl.reflection={judge: endpoint, url: 'http://x', model: m}"], "rl.reflection", "mer_r1_rer)"),
    ("minimer-rl", ["rl.beta=0", "rl.beta_schedule=decay"], "rl.beta_schedule", "rl.beta is 0"),
    ("minimer-rl", ["rl.beta=0", "rl.kl=k3"], "rl.kl", "rl.beta is 0"),
    ("minimer-rl", ["rl.importance_sampling_level=sequence"], "rl.importance_sampling_level", "the ratio is always 1"),
    ("minimer-rl", ["rl.epsilon=0.1"], "rl.epsilon", "rl.num_iterations 1"),
    ("minimer-rl", ["rl.epsilon_high=0.28"], "rl.epsilon_high", "rl.num_iterations 1"),
    ("minimer-rl", ["rl.delta=3"], "rl.delta", "rl.num_iterations 1"),
    ("minimer-rl", ["rl.beta=0", "rl.kl=k2"], "rl.kl", "rl.beta is 0"),
    ("minimer-rl", ["rl.objective=rd", "rl.calibration_floor=0"], "rl.calibration_floor", "objective rd"),
    ("minimer-rl", ["rl.mismatch=none"], "rl.mismatch", "with rl.sampler local"),
    ("minimer-rl", ["rl.mismatch_cap=2"], "rl.mismatch_cap", "with rl.sampler local"),
    ("minimer-rl", ["rl.max_mismatch=0.1"], "rl.max_mismatch", "with rl.sampler local"),
    ("minimer-rl", ["rl.sampler=vllm", "rl.mismatch=none", "rl.mismatch_cap=2"], "rl.mismatch_cap", "is none"),
    ("minimer-sft", ["rl.end_token=false"], "rl.end_token", "an sft recipe reads no rl section"),
    ("minimer-sft", ["data.uncountable=stop"], "data.uncountable", "SFT"),
    ("minimer-rl", ["sft.targets=[slow, fast]"], "sft.targets", 'an rl recipe reads no sft section; remove it, or set'),
    ("minimer-rl", ["sft.reflection=true"], "sft.reflection", "remove it, or set it to false"),
    ("minimer-sft", ["rl.beta=0"], "rl.beta", "an sft recipe reads no rl section; remove it, or set it to 0.04"),
    ("minimer-sft", ["data.eval_num=3"], "data.eval_num", "there is no data.eval; remove it, or set it to null"),
    ("minimer-sft", ["optim.lr_scheduler_type=constant"], "optim.warmup_steps", "constant_with_warmup"),
]  # fmt: skip
READ = [
    ("minimer-rl", ["rl.lambda_cali=0.2", "rl.lambda_fmt=0", "rl.shared_tokens=drop"]),
    ("minimer-rl", ["rl.objective=baseline", "rl.length_penalty=log", "rl.scale_rewards=batch"]),
    ("minimer-rl", ["rl.objective=mer_r1_rer", "rl.lambda_rer=0.2"]),
    ("minimer-rl", ["rl.beta_schedule=decay"]),
    ("minimer-rl", ["rl.num_iterations=2", "rl.epsilon=0.1", "rl.epsilon_high=0.28"]),
    ("minimer-rl", ["rl.num_iterations=2", "rl.delta=3", "rl.importance_sampling_level=sequence"]),
    ("minimer-rl", ["rl.kl=k2"]),
    ("minimer-rl", ["rl.sampler=vllm", "rl.mismatch=token_truncate", "rl.mismatch_cap=2", "rl.max_mismatch=0.1"]),
    ("minimer-rl", ["rl.objective=accuracy", "rl.wheels=official", "rl.protocol=corrected"]),  # for what is logged
    ("minimer-rl", ["rl.objective=accuracy", "rl.lambda_cali=0.1"]),  # the default: nobody was misled
    ("minimer-sft", ["optim.lr_scheduler_type=constant", "optim.warmup_steps=0"]),
]


@pytest.mark.parametrize(("source", "overrides", "key", "says"), IDLE, ids=[f"{row[1]}" for row in IDLE])
def test_an_idle_key_is_refused_in_one_line(source: str, overrides: list[str], key: str, says: str) -> None:
    with pytest.raises(InputError) as caught:
        read_recipe(source, overrides)
    message = str(caught.value)
    assert message.startswith(f"{source}: {key} does nothing: ")
    assert says in message
    assert "; remove it" in message
    assert "\n" not in message


def test_a_recipe_made_in_python_is_no_exception() -> None:
    tree = read_recipe("minimer-rl").model_dump()
    assert Recipe.model_validate(tree) == read_recipe("minimer-rl")
    with pytest.raises(ValueError, match=r"rl\.length_penalty does nothing"):
        Recipe.model_validate(tree | {"rl": tree["rl"] | {"length_penalty": "log"}})


@pytest.mark.parametrize(("source", "overrides"), READ, ids=[f"{row[1]}" for row in READ])
def test_a_key_that_is_read_or_has_its_default_is_no_error(source: str, overrides: list[str]) -> None:
    read_recipe(source, overrides)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_a_coefficient_is_idle_exactly_where_it_changes_no_advantage(objective: str) -> None:
    torch = pytest.importorskip("torch")
    from mer_r1.objectives import REWARDS
    from mer_r1.rl.advantages import advantages

    rewards_PGK = torch.rand(3, 4, len(REWARDS), generator=torch.Generator().manual_seed(0))
    base = dict.fromkeys(COEFFICIENTS, 0.1)
    for name in COEFFICIENTS:
        moved = advantages(rewards_PGK, objective, base | {name: 0.7})
        changes = not torch.equal(moved, advantages(rewards_PGK, objective, base))
        assert keys_of(objective)[name] == changes, name
    divided = [advantages(rewards_PGK, objective, base, scale) for scale in ("group", "none")]
    assert keys_of(objective)["scale_rewards"] == (not torch.equal(*divided))


def test_what_is_read_is_written_and_the_rest_is_not() -> None:
    text = yaml.safe_load(read_recipe("minimer-rl", ["rl.objective=baseline"]).as_yaml())
    assert {"lambda_cali", "lambda_rer", "shared_tokens", "reflection", "epsilon"}.isdisjoint(text["rl"])
    assert {"lambda_fmt", "length_penalty", "scale_rewards", "beta_schedule", "wheels"} <= set(text["rl"])
    assert "sft" not in text
    assert "rl" not in yaml.safe_load(read_recipe("minimer-sft").as_yaml())


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_what_is_written_is_read_as_the_same_recipe(objective: str, tmp_path: Path) -> None:
    recipe = read_recipe("minimer-rl", [f"rl.objective={objective}", "rl.num_iterations=2", "rl.epsilon_high=0.3"])
    (tmp_path / "recipe.yaml").write_text(recipe.as_yaml())
    assert read_recipe(str(tmp_path / "recipe.yaml")) == recipe


def test_a_recipe_of_an_earlier_version_that_holds_an_idle_key_is_the_run_of_the_same_without(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from mer_r1.pipelines.train import train

    tree: dict[str, Any] = read_recipe("minimer-rl", ["rl.objective=baseline"]).model_dump(mode="json")
    tree["rl"]["lambda_cali"] = 0.2
    (tmp_path / "model").mkdir()
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(tree))
    (tmp_path / "run.json").write_text('{"status": "finished"}')
    recipe, dropped = read_recipe_without_idle_keys(str(tmp_path / "recipe.yaml"))
    assert list(dropped) == ["rl.lambda_cali"]
    assert recipe == read_recipe("minimer-rl", ["rl.objective=baseline"])
    assert train(recipe, tmp_path) == tmp_path / "model"
    with pytest.raises(InputError, match="another recipe"):
        train(read_recipe("minimer-rl", ["rl.objective=rd"]), tmp_path)


def test_the_guide_s_table_of_what_an_objective_reads_is_the_objectives_own() -> None:
    keys = list(keys_of("mer_r1"))
    rows = [f"| | {' | '.join(f'`{key}`' for key in keys)} |", "|---" * (len(keys) + 1) + "|"]
    for objective in OBJECTIVES:
        marks = ["x" if reads else "" for reads in keys_of(objective).values()]
        rows.append(f"| `{objective}` | {' | '.join(marks)} |".replace("  ", " "))
    assert "\n".join(rows) in GUIDE.read_text(encoding="utf-8")


def test_the_coefficients_are_the_recipe_s() -> None:
    assert set(COEFFICIENTS) == {name for name in RlSection.model_fields if name.startswith("lambda_")}


MISSPELT = [
    (Term({"recal": 1.0}), "rl.objective: reads 'recal', and no reward has that name; did you mean 'recall'?"),
    (Term({"recall": "lambda_fm"}), "rl.objective: reads 'lambda_fm', and no coefficient has that name; did you mean"),
    (Term({"recall": 1.0}, "lamda_cali"), "rl.objective: reads 'lamda_cali', and no coefficient has that name;"),
    (Term({"recall": 1.0}, "qq"), "rl.objective: reads 'qq', and no coefficient has that name; use lambda_cali,"),
    (Term({}), "rl.objective: has a term without rewards"),
]


@pytest.mark.parametrize(("term", "message"), MISSPELT)
def test_a_name_that_a_new_objective_gets_wrong_is_an_error_of_the_recipe(
    term: Term, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(OBJECTIVES, "mine", Objective((Term({"f1": 1.0}), term)))
    with pytest.raises(InputError) as caught:
        read_recipe("minimer-rl", ["rl.objective=mine"])
    assert str(caught.value).startswith(f"minimer-rl: {message}")
    assert str(caught.value).endswith("(found 'mine')")


def test_a_new_objective_s_keys_follow_from_its_terms(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(OBJECTIVES, "mine", Objective((Term({"f1": "lambda_rer"}), Term({"calibration_plus": 1.0}))))
    assert [key for key, reads in keys_of("mine").items() if reads] == [
        "lambda_rer", "length_penalty", "calibration_floor", "fast", "shared_tokens", "scale_rewards",
    ]  # fmt: skip
    assert needs_calibration("mine")
    with pytest.raises(InputError, match=r"rl\.lambda_fmt does nothing: objective mine does not read it"):
        read_recipe("minimer-rl", ["rl.objective=mine", "rl.lambda_fmt=0.3"])
