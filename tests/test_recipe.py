"""Recipes: short, checked before anything runs, every fault named by file and key."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import pytest

from mer_r1.errors import InputError
from mer_r1.recipe import Recipe, read_recipe, recipe_names

NAMES = recipe_names()
GOOD = """kind: rl
model: {source: tiny}
data: {train: train.jsonl}
optim: {learning_rate: 1.0e-3}
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_text(GOOD)
    return path


def fault(source: Path | str, *overrides: str) -> str:
    with pytest.raises(InputError) as caught:
        read_recipe(str(source), overrides)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("name", NAMES)
def test_a_packaged_recipe_is_valid_short_and_begins_with_its_command(name: str) -> None:
    text = (resources.files("mer_r1.recipes") / f"{name}.yaml").read_text(encoding="utf-8")
    assert isinstance(read_recipe(name), Recipe)
    assert len(text.splitlines()) <= 30
    assert text.startswith(f"# mer-r1 train {name} ")


@pytest.mark.parametrize("name", NAMES)
def test_the_command_of_a_packaged_recipe_parses(name: str) -> None:
    text = (resources.files("mer_r1.recipes") / f"{name}.yaml").read_text(encoding="utf-8")
    words = text.splitlines()[0].removeprefix(f"# mer-r1 train {name} ").split()
    overrides = [word for word in words if "=" in word]
    assert "--out" in words
    assert read_recipe(name, overrides).data.train == Path("CORPUS/train.jsonl")


def test_there_are_recipes_of_both_kinds() -> None:
    assert {read_recipe(name).kind for name in NAMES} == {"sft", "rl"}


def test_defaults_are_filled_in_and_a_recipe_cannot_be_changed(recipe: Path) -> None:
    read = read_recipe(str(recipe))
    assert (read.rl.num_generations, read.rl.beta, read.seed) == (4, 0.04, 0)
    with pytest.raises(ValueError, match="frozen"):
        read.seed = 1


def test_a_file_wins_over_a_packaged_name_only_with_an_ending_or_when_it_exists(
    recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(recipe.parent)
    assert read_recipe("minimer-sft").kind == "sft"
    (recipe.parent / "minimer-sft").write_text(GOOD)
    assert read_recipe("minimer-sft").kind == "rl"


UNKNOWN = [
    ("optim.learning_rat=1", "optim.learning_rat: unknown key; did you mean 'learning_rate'?"),
    ("rl.num_generation=4", "rl.num_generation: unknown key; did you mean 'num_generations'?"),
    ("modle.source=x", "modle: unknown key; did you mean 'model'?"),
    ("rl.objective=mer_r", "rl.objective: no such objective; did you mean 'mer_r1'? (found 'mer_r')"),
    ("rl.objective=qqq", "rl.objective: no such objective; choose from baseline, rd, rd_ad, mer_r1,"),
    ("rl.qqq=1", "rl.qqq: unknown key; known keys: objective, num_generations,"),
    ("qqq=1", "qqq: unknown key; known keys: kind, model, data, optim, sft, rl, seed"),
]


@pytest.mark.parametrize(("override", "message"), UNKNOWN)
def test_an_unknown_key_names_the_nearest_known_one(override: str, message: str, recipe: Path) -> None:
    assert fault(recipe, override).startswith(f"{recipe}: {message}")


WRONG = [
    ("kind=dpo", "kind: "),
    ("optim.learning_rate=fast", "optim.learning_rate: "),
    ("optim.learning_rate=0", "optim.learning_rate: "),
    ("optim.learning_rate=-1e-4", "optim.learning_rate: "),
    ("optim.learning_rate=.nan", "optim.learning_rate: "),
    ("optim.learning_rate=.inf", "optim.learning_rate: "),
    ("optim.batch_size=0", "optim.batch_size: "),
    ("optim.batch_size=1.5", "optim.batch_size: "),
    ("optim.bf16=maybe", "optim.bf16: "),
    ("optim.lr_scheduler_type=cosin", "optim.lr_scheduler_type: "),
    ("optim.max_steps=0", "optim.max_steps: "),
    ("optim.max_steps=-2", "optim.max_steps: "),
    ("optim=3", "optim: "),
    ("data.train=null", "data.train: "),
    ("data.num=0", "data.num: "),
    ("data.workers=-1", "data.workers: "),
    ("model.source=7", "model.source: "),
    ("model.num_frames=-4", "model.num_frames: "),
    ("sft.targets=[medium]", "sft.targets.0: "),
    ("sft.targets=slow", "sft.targets: "),
    ("sft.targets=[]", "sft.targets: "),
    ("rl.temperature=0", "rl.temperature: "),
    ("rl.top_p=1.1", "rl.top_p: "),
    ("rl.top_k=-1", "rl.top_k: "),
    ("rl.min_p=1.5", "rl.min_p: "),
    ("rl.kl=k4", "rl.kl: "),
    ("rl.importance_sampling_level=word", "rl.importance_sampling_level: "),
    ("rl.beta=-1", "rl.beta: "),
    ("rl.soft_punish_cache=0", "rl.soft_punish_cache: "),
    ("rl.dynamic_sampling=-1", "rl.dynamic_sampling: "),
    ("seed=1.5", "seed: "),
    ("seed=-1", "seed: "),
    ("seed=4294967296", "seed: "),
]


@pytest.mark.parametrize(("override", "place"), WRONG, ids=[override for override, _ in WRONG])
def test_a_wrong_value_names_file_key_and_what_was_found(override: str, place: str, recipe: Path) -> None:
    message = fault(recipe, override)
    assert message.startswith(f"{recipe}: {place}")
    assert "(found " in message


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["optim.save_steps=3", "rl.num_iterations=2"], "optim.save_steps: 3 is no multiple of rl.num_iterations (2);"),
        (["rl.dynamic_sampling=2"], "rl.dynamic_sampling: mer_r1 pays confidences or a judge's scores, which are not"),
        (["rl.scale_rewards=batch"], "rl.scale_rewards: batch needs all rewards of a step before its first pass"),
    ],
)
def test_what_only_rl_cannot_do_is_an_error_of_an_rl_recipe(overrides: list[str], message: str, recipe: Path) -> None:
    assert fault(recipe, "kind=rl", *overrides).startswith(f"{recipe}: {message}")
    read_recipe(str(recipe), ["kind=rl", *overrides, "optim.save_steps=4", "rl.objective=rd"])


def test_a_group_of_one_is_refused_because_it_has_nothing_to_compare(recipe: Path) -> None:
    message = fault(recipe, "rl.num_generations=1")  # one sentence, without the section's whole content behind it
    assert message == f"{recipe}: rl: num_generations must be at least 2: an advantage compares the answers of a group"
    assert read_recipe(str(recipe), ["rl.num_generations=2"]).rl.num_generations == 2


@pytest.mark.parametrize("overrides", [["rl.delta=1.1"], ["rl.delta=1.5", "rl.epsilon_high=0.5"]])
def test_a_bound_of_the_ratio_inside_the_clip_is_refused(overrides: list[str], recipe: Path) -> None:
    assert "delta: 1." in (message := fault(recipe, *overrides))
    assert "must lie above 1 + epsilon_high" in message
    assert read_recipe(str(recipe), [*overrides, "kind=rl", "rl.num_iterations=2", "rl.delta=3"]).rl.delta == 3


@pytest.mark.parametrize("limit", ["top_k=5", "top_p=0.9", "min_p=0.1"])
def test_an_engine_draws_from_what_the_loss_reads(limit: str, recipe: Path) -> None:
    assert f"{limit[:5]}: with sampler vllm" in fault(recipe, "kind=rl", "rl.sampler=vllm", f"rl.{limit}")
    read_recipe(str(recipe), ["kind=rl", f"rl.{limit}"])
    read_recipe(str(recipe), ["kind=rl", "rl.sampler=vllm", "rl.top_k=0", "rl.top_p=1", "rl.min_p=0"])


@pytest.mark.parametrize("line", GOOD.splitlines())
def test_a_missing_section_names_itself(line: str, recipe: Path) -> None:
    recipe.write_text(GOOD.replace(line + "\n", ""))
    assert fault(recipe) == f"{recipe}: {line.partition(':')[0]}: is missing; add it"


def test_a_missing_key_names_itself(recipe: Path) -> None:
    recipe.write_text(GOOD.replace("learning_rate: 1.0e-3", "max_steps: 1"))
    assert fault(recipe) == f"{recipe}: optim.learning_rate: is missing; add it"


FILES = [
    (b"kind: [rl\nmodel: {source", ":2: not valid YAML"),
    (b"kind: rl\n\tmodel: x\n", ":2: not valid YAML"),
    (b"- rl\n", ": a recipe is a mapping of sections"),
    (b"", ": a recipe is a mapping of sections"),
    (b"\xff\xfe\x00", ": cannot be read"),
    (GOOD.encode() + b"1: 2\n", ": 1: "),
    (b"kind: !!python/object/apply:os.system ['true']\n", ":1: not valid YAML"),
]


@pytest.mark.parametrize(("data", "message"), FILES, ids=[repr(data[-12:]) for data, _ in FILES])
def test_a_file_that_is_no_recipe_is_named(data: bytes, message: str, recipe: Path) -> None:
    recipe.write_bytes(data)
    assert fault(recipe).startswith(f"{recipe}{message}")


def test_a_recipe_that_is_not_there_lists_those_that_are(tmp_path: Path) -> None:
    assert fault("minimer-sfd").startswith("minimer-sfd: no such recipe; give a .yaml file or one of ")
    assert all(name in fault("nothing") for name in NAMES)
    assert fault(tmp_path / "none.yaml").startswith(f"{tmp_path / 'none.yaml'}: cannot be read")
    assert fault(tmp_path) == f"{tmp_path}: cannot be read (Is a directory); give a recipe file"


OVERRIDES = [
    ("optim.learning_rate=1e-4", 1e-4),
    ("optim.learning_rate=2E-5", 2e-5),
    ("optim.learning_rate=0.5", 0.5),
    ("optim.learning_rate=3", 3.0),
]


@pytest.mark.parametrize(("override", "value"), OVERRIDES)
def test_an_override_reads_numbers_as_people_write_them(override: str, value: float, recipe: Path) -> None:
    assert read_recipe(str(recipe), [override]).optim.learning_rate == value


def test_overrides_reach_every_section_make_new_ones_and_the_last_wins(recipe: Path) -> None:
    overrides = ["model.source=a=b", "data.keep_features=true", "seed=1", "seed=2", "data.num=null"]
    read = read_recipe(str(recipe), [*overrides, "rl.objective=rd"])
    assert read.model.source == "a=b"
    assert read.data.keep_features is True
    assert (read.seed, read.data.num, read.rl.objective) == (2, None, "rd")
    assert read_recipe(str(recipe), ["kind=sft", "sft.targets=[fast, slow]"]).sft.targets == ("fast", "slow")


BAD_OVERRIDES = ["learning_rate", "=3", "seed=[", "optim.learning_rate.x=3", "kind.x=1"]


@pytest.mark.parametrize("override", BAD_OVERRIDES)
def test_an_override_that_cannot_be_applied_is_named(override: str, recipe: Path) -> None:
    assert fault(recipe, override).startswith(f"{override!r}: ")


def test_reading_does_not_change_the_file(recipe: Path) -> None:
    read_recipe(str(recipe), ["seed=4"])
    assert recipe.read_text() == GOOD


@pytest.mark.parametrize(("value", "found"), [("", "None"), ("3", "3")])
def test_what_is_no_path_is_an_error_in_plain_words(value: str, found: str) -> None:
    with pytest.raises(InputError, match=rf"data\.train: is no path \(found {found}\); give one"):
        read_recipe("minimer-rl", [f"data.train={value}"])
