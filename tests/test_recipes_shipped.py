"""The recipes for the real thing: what the paper says, read and reckoned offline, every variant one line away."""

from __future__ import annotations

import re
import shlex
from importlib import resources
from pathlib import Path

import pytest
import yaml

from mer_r1.commands import main
from mer_r1.objectives import OBJECTIVES
from mer_r1.pipelines.launch import configuration
from mer_r1.recipe import Recipe, read_recipe, recipe_names
from mer_r1.training.estimate import GIB, Costs, estimate, find_origin
from mer_r1.training.gpus import find_card
from mer_r1.training.model_shape import KNOWN

REAL = [name for name in recipe_names() if name.startswith("omni")]
LAUNCHES = sorted(path.name for path in (resources.files("mer_r1.recipes") / "accelerate").iterdir())
GUIDE = Path(__file__).parents[1] / "docs" / "training.md"


def costs_of(recipe: Recipe, gpu: str = "h100", num_gpus: int | None = None) -> Costs:
    costs = estimate(recipe, card=find_card(gpu), num_gpus=num_gpus).costs
    assert costs is not None
    return costs


def test_the_recipes_of_the_paper_and_for_smaller_means_are_there() -> None:
    wanted = {
        "omni7b-sft",
        "omni7b-rl",
        "omni7b-baseline",
        "omni7b-sft-lora",
        "omni7b-rl-lora",
        "omni7b-rl-qlora",
        "omni3b-rl-qlora",
        "omni3b-sft",
        "omni3b-rl",
        "omni30b-sft",
        "omni30b-rl",
        "omni30b-rl-lora",
    }
    assert wanted <= set(REAL)


@pytest.mark.parametrize("name", recipe_names())
def test_a_dry_run_of_every_recipe_needs_no_network_and_with_a_number_of_rows_no_data(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    gpus = ["--gpus", "16", "--gpu", "h200"] if name in ("omni30b-sft", "omni30b-rl") else []  # the least they fit
    assert main(["train", name, "--dry-run", "--rows", "26101", "--verbose", *gpus]) == 0
    text = capsys.readouterr().out
    assert Recipe.model_validate(yaml.safe_load(text)) == read_recipe(name)
    assert list(tmp_path.iterdir()) == []
    if name in REAL:
        assert re.search(r"# Steps    [\d,]+ = ", text)
        assert re.search(r"# Time     about [\d.]+ (h|min), ", text)
    assert main(["train", name, "--dry-run"]) == 2
    assert "data.train: train.jsonl: no such file" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "gpu", "num_gpus"),
    [
        ("omni7b-rl", "h100", 16),
        ("omni3b-rl", "a100-40", 8),
        ("omni30b-sft", "h200", 16),
        ("omni30b-rl", "h200", 16),
        ("omni30b-rl-lora", "h100", 8),
    ],
)
def test_a_recipe_fits_the_gpus_that_the_guide_names(name: str, gpu: str, num_gpus: int) -> None:
    assert costs_of(read_recipe(name), gpu, num_gpus).fix is None


def test_sft_is_the_paper_s() -> None:
    recipe = read_recipe("omni7b-sft")
    optim = recipe.optim
    assert (recipe.model.source, recipe.data.num) == ("Qwen/Qwen2.5-Omni-7B", 5000)
    assert (optim.learning_rate, optim.num_train_epochs) == (2e-5, 2)
    assert optim.batch_size * optim.gradient_accumulation_steps * 8 == 32
    assert recipe.sft.targets == ("slow",)


@pytest.mark.parametrize("name", ["omni7b-rl", "omni7b-baseline", "omni3b-rl"])
def test_rl_is_the_paper_s(name: str) -> None:
    recipe = read_recipe(name)
    optim, rl = recipe.optim, recipe.rl
    assert (optim.learning_rate, optim.num_train_epochs, rl.num_generations) == (2e-6, 1, 4)
    assert (rl.lambda_cali, rl.lambda_fmt, rl.beta, rl.max_completion_length) == (0.1, 0.1, 0.04, 1024)
    # What the paper leaves open is the authors' earlier code's; the KL of Eq. 3 is the paper's.
    assert (rl.beta_schedule, rl.kl, optim.lr_scheduler_type, optim.warmup_steps) == (
        "decay",
        "k3_corrected",
        "linear",
        0,
    )
    assert (rl.importance_sampling_level, rl.epsilon, rl.num_iterations) == ("token", 0.2, 1)
    prompts = optim.batch_size * optim.gradient_accumulation_steps * 8
    assert prompts * rl.num_generations == 16 * 1 * 2  # completions: the paper's GPUs x batch x accumulation
    assert recipe.data.num is not None
    assert recipe.data.num // prompts == 3262


def test_emo_r3_is_what_its_authors_published() -> None:
    recipe = read_recipe("vl3b-emo-r3-rl")
    optim, rl = recipe.optim, recipe.rl
    assert (rl.kl, rl.beta, rl.beta_schedule, rl.temperature) == ("k3", 0.01, "constant", 1.0)
    assert (rl.loss_type, rl.num_iterations) == ("bnpo", 1)  # so clip and dual clip have nothing to do
    read_recipe("vl3b-emo-r3-rl", ["rl.num_iterations=2", "rl.epsilon_high=0.3", "rl.delta=3"])
    assert (optim.learning_rate, optim.lr_scheduler_type, optim.weight_decay) == (2e-6, "constant", 0.01)
    assert (optim.num_train_epochs, recipe.data.num, rl.max_completion_length) == (20, 2000, 2048)


def test_the_baseline_differs_from_mer_r1_in_its_objective_alone() -> None:
    baseline = read_recipe("omni7b-baseline", ["rl.objective=mer_r1"])
    assert baseline == read_recipe("omni7b-rl")


def test_the_smaller_model_is_trained_as_the_larger() -> None:
    assert read_recipe("omni3b-sft", ["model.source=Qwen/Qwen2.5-Omni-7B"]) == read_recipe("omni7b-sft")
    assert read_recipe("omni3b-rl", ["model.source=runs/omni7b-sft"]) == read_recipe("omni7b-rl")


def test_gemma_4_is_trained_as_omni() -> None:
    assert read_recipe("gemma4e4b-rl", ["model.source=runs/omni7b-sft"]) == read_recipe("omni7b-rl")
    gemma, omni = read_recipe("gemma4e4b-sft"), read_recipe("omni7b-sft")
    assert gemma.model_copy(update={"model": omni.model}) == omni


@pytest.mark.parametrize("stage", ["sft", "rl", "emo-r3-cold", "emo-r3-rl"])
def test_qwen3_vl_is_trained_as_qwen2_5_vl_on_as_many_tokens(stage: str) -> None:
    """Of cells of 32 x 32 pixels where Qwen2.5-VL's have 28 x 28."""
    older, newer = (read_recipe(f"{name}-{stage}").model for name in ("vl3b", "qwen3vl4b"))
    if older.max_pixels is not None:
        assert newer.max_pixels == older.max_pixels // 28**2 * 32**2
    again = [f"model.source={older.source}", *([f"model.max_pixels={older.max_pixels}"] if older.max_pixels else [])]
    assert read_recipe(f"qwen3vl4b-{stage}", again) == read_recipe(f"vl3b-{stage}")


def test_lora_on_one_gpu_takes_the_paper_s_steps() -> None:
    rl, sft = read_recipe("omni7b-rl-lora"), read_recipe("omni7b-sft-lora")
    assert rl.model.lora is not None
    assert sft.model.lora is not None
    assert rl.optim.batch_size * rl.optim.gradient_accumulation_steps == 8
    assert sft.optim.batch_size * sft.optim.gradient_accumulation_steps == 32


@pytest.mark.parametrize(("name", "gib"), [("omni3b-rl-qlora", 16), ("omni7b-rl-qlora", 24)])
def test_few_bits_fit_a_small_card_and_take_the_steps_of_lora(name: str, gib: int) -> None:
    recipe, lora = read_recipe(name), read_recipe("omni7b-rl-lora")
    costs = estimate(recipe, card=find_card(memory_gib=gib)).costs
    assert costs is not None
    assert sum(costs.memory.values()) < 0.9 * gib * GIB  # the estimate's room for what it does not count
    assert costs.prompts == 8
    changed = {"source": lora.model.source, "quantization": None}
    assert recipe.model.model_copy(update=changed) == lora.model
    batch = {"batch_size": 8, "gradient_accumulation_steps": 1}
    assert recipe.optim.model_copy(update=batch) == lora.optim
    assert recipe.rl == lora.rl


def test_the_guide_s_table_of_small_cards_is_what_a_dry_run_says() -> None:
    rows = re.findall(r"^\| `(omni[^`]*)` \| (.*) \|$", GUIDE.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(rows) == 6
    for name, cells in rows:
        words = name.split()
        for num, cell in zip((1, 2, 4, 8), cells.split(" | "), strict=True):
            batch = [f"optim.batch_size={num}", f"optim.gradient_accumulation_steps={8 // num}"]
            costs = costs_of(read_recipe(words[0], [*words[1:], *batch]), "rtx4090")
            assert cell == f"{sum(costs.memory.values()) / GIB:.1f}", (name, num)


@pytest.mark.parametrize("name", REAL)
def test_a_real_recipe_s_model_is_known_offline_before_its_run_is_there(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_origin(read_recipe(name).model).shape in KNOWN.values()


@pytest.mark.parametrize("name", LAUNCHES)
def test_a_launch_configuration_is_one_that_accelerate_takes(name: str) -> None:
    import mer_r1.models  # noqa: F401  torchvision is mended before accelerate imports it

    # isort: split
    from accelerate.commands.config.config_args import load_config_from_file

    path = resources.files("mer_r1.recipes") / "accelerate" / name
    config = load_config_from_file(str(path))
    assert config.num_processes == 8 * config.num_machines
    assert config.mixed_precision == "bf16"
    if name.startswith("fsdp2"):
        assert config.distributed_type == "FSDP"
        assert config.fsdp_config["fsdp_version"] == 2


def test_a_launch_configuration_names_no_layer_so_that_it_serves_every_model() -> None:
    for name in (item for item in LAUNCHES if item.startswith("fsdp2")):
        text = (resources.files("mer_r1.recipes") / "accelerate" / name).read_text(encoding="utf-8")
        spread = yaml.safe_load(text)["fsdp_config"]
        assert spread["fsdp_auto_wrap_policy"] == "TRANSFORMER_BASED_WRAP"
        assert "fsdp_transformer_layer_cls_to_wrap" not in spread


@pytest.mark.parametrize("name", [name for name in recipe_names() if name[0] != "m"])
def test_full_training_is_launched_with_its_weights_spread_and_adapters_with_a_whole_model(name: str) -> None:
    assert configuration(read_recipe(name)) == ("ddp-1x8.yaml" if "lora" in name else "fsdp2-1x8.yaml")
    text = (resources.files("mer_r1.recipes") / f"{name}.yaml").read_text(encoding="utf-8")
    assert ("--launch 8" in text) != ("lora" in name)


def test_every_number_of_gpus_in_the_guide_s_table_is_a_batch_of_eight_prompts_that_fits() -> None:
    rows = re.findall(r"^\| (\d+)( \(LoRA\))? \| (\d) \| (\d) \|$", GUIDE.read_text(encoding="utf-8"), re.MULTILINE)
    assert [int(row[0]) for row in rows] == [8, 4, 1]
    for num_gpus, lora, batch, micro in rows:
        keys = [f"optim.batch_size={batch}", f"optim.gradient_accumulation_steps={micro}"]
        costs = costs_of(read_recipe("omni7b-rl-lora" if lora else "omni7b-rl", keys), num_gpus=int(num_gpus))
        assert (costs.prompts, costs.fix) == (8, None)


def commands() -> list[list[str]]:
    """Every `mer_r1 train` of the guide's code blocks, as words after `train`."""
    text = GUIDE.read_text(encoding="utf-8").replace("\\\n", " ")
    blocks = re.findall(r"```bash\n(.*?)```", text, flags=re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    found = [re.search(r"(?:mer-r1|-m mer_r1) train (.*)", line) for line in lines]
    return [shlex.split(match[1], comments=True) for match in found if match]


def test_every_training_command_of_the_guide_is_a_valid_recipe() -> None:
    assert len(commands()) > 8
    for words in commands():
        assert isinstance(read_recipe(words[0], [word for word in words[1:] if "=" in word]), Recipe), words


def test_every_objective_stands_in_the_guide_s_table_with_overrides_that_are_valid() -> None:
    row = r"^\| .* \| `((?:rl|model|optim)\.[^`]*=[^`]*)` \|$"
    rows = re.findall(row, GUIDE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    recipes = [read_recipe("omni7b-rl", overrides.split()) for overrides in rows]
    shown = {recipe.rl.objective for recipe in recipes}
    assert shown == set(OBJECTIVES)


def test_every_path_of_a_launch_configuration_in_the_guide_and_recipes_is_there() -> None:
    texts = [GUIDE.read_text(encoding="utf-8")]
    texts += [(resources.files("mer_r1.recipes") / f"{name}.yaml").read_text(encoding="utf-8") for name in REAL]
    named = {match for text in texts for match in re.findall(r"([\w-]+x8\.yaml)", text)}
    assert named == set(LAUNCHES)


def test_the_worked_examples_of_the_guide_are_what_a_dry_run_prints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    examples = re.findall(
        r"^```\n\$ mer-r1 (train .*)\n((?:.*\n)+?)```$", GUIDE.read_text(encoding="utf-8"), re.MULTILINE
    )
    assert len(examples) == 2
    for command, printed in examples:
        main(shlex.split(command))
        assert capsys.readouterr().out == printed
