"""Two processes end as one does: DDP, FSDP2, accumulation, a kill in the middle.

The steps of one process with batches of 4 prompts are compared with those of two processes with batches of 2, and of
one that accumulates. Processes are forked from the nursery with what `accelerate launch` would give them; a pair that
goes on after a kill is really launched.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest

from mer_r1.errors import InputError
from mer_r1.pipelines.train import train
from mer_r1.recipe import Recipe, read_recipe
from tests.nursery import Nursery

psutil = pytest.importorskip("psutil")  # accelerate brings it
HERE = Path(__file__).parents[1]
LAUNCH = ("accelerate.commands.launch", "--num_processes", "2", "--num_machines", "1", "--dynamo_backend", "no")
DDP = ["--multi_gpu"]  # without a GPU: gloo
SPREAD = (
    "--use_fsdp --fsdp_version 2 --fsdp_state_dict_type FULL_STATE_DICT --fsdp_auto_wrap_policy TRANSFORMER_BASED_WRAP "
    "--fsdp_reshard_after_forward false"
)
TIMES = {"train_runtime", "train_samples_per_second", "train_steps_per_second"}
SECTIONS: dict[str, dict[str, Any]] = {
    "mer_r1": {"kind": "rl"},
    "dapo": {"kind": "rl", "rl": {"objective": "rd_ad", "loss_type": "dapo", "num_iterations": 2}},
    "gdpo": {"kind": "rl", "rl": {"objective": "gdpo"}},
    "sft": {"kind": "sft", "sft": {"targets": ["slow", "fast"]}},
    "lora": {"kind": "rl", "model": {"lora": {"r": 4, "lora_alpha": 8}}},
    "towers": {"kind": "rl", "model": {"train_towers": True}},
}
EVALUATED = {"mer_r1", "sft"}


def recipe_of(name: str, source: Path, train: Path, batch_size: int, accumulation: int = 1) -> Recipe:
    """A run of two steps of four prompts, or of three in EVALUATED, which score five samples after the second."""
    sections = SECTIONS[name]
    evaluated = name in EVALUATED
    held_out = {"eval": str(train), "eval_num": 5} if evaluated else {}
    tree = {
        "kind": sections["kind"],
        "model": {"source": str(source), **sections.get("model", {})},
        "data": {"train": str(train), "keep_features": True, "workers": 0, **held_out},
        "optim": {
            "learning_rate": 1e-4,
            "lr_scheduler_type": "constant",
            "max_steps": 3 if evaluated else 2,
            "batch_size": batch_size,
            "gradient_accumulation_steps": accumulation,
            "logging_steps": 1,
            "save_steps": 2,
            "eval_steps": 2 if evaluated else None,
        },
        "sft": sections.get("sft", {}),
        "rl": {"num_generations": 3, "max_completion_length": 32, **sections.get("rl", {})},
    }
    return Recipe.model_validate(tree)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def start(options: Sequence[str], *command: str) -> subprocess.Popen[str]:
    """Two processes of a command, `-m` first."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    everything = [sys.executable, "-m", *LAUNCH, "--mixed_precision", "no", *options, "--main_process_port", port]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(HERE)}
    return subprocess.Popen(
        [*everything, *command], env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


def finished(process: subprocess.Popen[str]) -> str:
    """What a process that ends well printed."""
    try:
        printed, _ = process.communicate(timeout=240)
    finally:
        kill(process)
    assert process.returncode == 0, printed[-6000:]
    return printed


def kill(process: subprocess.Popen[str]) -> None:
    """kill -9 of all of a launcher's processes."""
    if process.poll() is None:
        for one in [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]:
            one.kill()
        process.wait()
    if process.stdout:
        process.stdout.close()


def launched_with(*options: str) -> dict[str, str]:
    """The environment that `accelerate launch` gives two processes."""
    from accelerate.commands.launch import _validate_launch_command, launch_command_parser
    from accelerate.utils.launch import prepare_multi_gpu_env

    arguments = launch_command_parser().parse_args([*LAUNCH[1:], *options, "script.py"])
    environment: dict[str, str] = prepare_multi_gpu_env(_validate_launch_command(arguments)[0])
    return environment


def run_in_two(
    nursery: Nursery, folder: Path, environment: Mapping[str, str] | None = None, function: str = "run_all"
) -> None:
    """What a function of this file does with the recipes of a folder, in two processes; under DDP where not said."""
    environment = launched_with(*DDP) if environment is None else environment
    statuses = nursery.run(f"{__name__}:{function}", folder, num_processes=2, environment=environment)
    assert statuses == [0, 0], nursery.printed()


def assert_alike(out: Path, other: Path) -> None:
    """Weights within 1e-4; the same rollouts in any order; a log of the same lines and nearly the same numbers."""
    from safetensors.torch import load_file

    (file,) = (path.name for path in (out / "model").glob("*model.safetensors"))
    weights, others = load_file(out / "model" / file), load_file(other / "model" / file)
    assert weights.keys() == others.keys()
    assert max(float((weights[name] - others[name]).abs().max()) for name in weights) < 1e-4
    logs, other_logs = lines(out / "metrics.jsonl"), lines(other / "metrics.jsonl")
    assert [row.keys() for row in logs] == [row.keys() for row in other_logs]
    for row, other_row in zip(logs, other_logs, strict=True):
        for name in row.keys() - TIMES:
            assert other_row[name] == pytest.approx(row[name], rel=2e-2, abs=2e-3), name
    if (out / "rollouts.jsonl").exists():
        rollouts, other_rollouts = by_text(out / "rollouts.jsonl"), by_text(other / "rollouts.jsonl")
        assert rollouts.keys() == other_rollouts.keys()
        for key, advantages in rollouts.items():
            assert other_rollouts[key] == pytest.approx(advantages, abs=1e-2), key


def by_text(path: Path) -> dict[tuple[int, str, str], list[float]]:
    """Advantages by step, sample and text."""
    found: dict[tuple[int, str, str], list[float]] = {}
    for row in lines(path):
        found.setdefault((row["step"], row["id"], row["text"]), []).append(row["advantage"])
    return found


@pytest.fixture(scope="module")
def singles(taught_folder: Path, corpus: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The runs of one process."""
    folder = tmp_path_factory.mktemp("singles")
    for name in SECTIONS:
        train(recipe_of(name, taught_folder, corpus["train"], 4), folder / name)
    return folder


@pytest.fixture(scope="module")
def ddp(
    taught_folder: Path, corpus: dict[str, Path], nursery: Nursery, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The runs of two processes under DDP, one after the other."""
    folder = tmp_path_factory.mktemp("ddp")
    for name in SECTIONS:
        (folder / f"{name}.yaml").write_text(recipe_of(name, taught_folder, corpus["train"], 2).as_yaml())
    run_in_two(nursery, folder)
    return folder


@pytest.mark.parametrize("name", SECTIONS)
def test_two_processes_end_as_one(singles: Path, ddp: Path, name: str) -> None:
    assert json.loads((ddp / name / "run.json").read_text())["processes"] == 2
    assert json.loads((singles / name / "run.json").read_text())["processes"] == 1
    assert_alike(singles / name, ddp / name)
    steps = [row["step"] for row in lines(ddp / name / "metrics.jsonl")]
    assert steps == ([1, 2, 2, 3, 3, 3] if name in EVALUATED else [1, 2, 2])  # each written once


@pytest.mark.parametrize("name", ["mer_r1", "dapo", "gdpo", "sft"])
def test_accumulated_micro_batches_end_as_one_batch(
    singles: Path, taught_folder: Path, corpus: dict[str, Path], tmp_path: Path, name: str
) -> None:
    train(recipe_of(name, taught_folder, corpus["train"], 2, accumulation=2), tmp_path)
    assert_alike(singles / name, tmp_path)


def test_the_runs_compared_are_runs_that_learn(singles: Path, taught_folder: Path) -> None:
    """By more than the tolerance; frozen towers stay, learning ones move."""
    from safetensors.torch import load_file

    before = load_file(taught_folder / "model" / "model.safetensors")
    for name in SECTIONS.keys() - {"lora"}:
        after = load_file(singles / name / "model" / "model.safetensors")
        moved = {key: float((after[key] - before[key]).abs().max()) for key in before}
        assert max(moved.values()) > 1.5e-4
        towers = [change for key, change in moved.items() if key.startswith(("visual.", "audio_tower."))]
        assert len(towers) > 20
        assert (max(towers) > 1.5e-4) == (name == "towers")
        assert (max(towers) == 0) == (name != "towers")


@pytest.fixture(scope="module")
def untied(taught_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The taught model with a head of its own, as the 7B model has one."""
    import torch

    from mer_r1.models.qwen2_5_omni import load_omni

    backbone = load_omni(str(taught_folder / "model"))
    model = backbone.model
    model.lm_head.weight = torch.nn.Parameter(model.get_input_embeddings().weight.detach().clone())
    model.config.tie_word_embeddings = model.config.text_config.tie_word_embeddings = False
    folder = tmp_path_factory.mktemp("untied")
    model.save_pretrained(folder)
    backbone.save(folder)
    return folder


def test_a_model_spread_over_two_processes_ends_as_a_whole_one_even_after_a_stop(
    singles: Path, untied: Path, taught_folder: Path, corpus: dict[str, Path], nursery: Nursery, tmp_path: Path
) -> None:
    """FSDP2: RL with a head of its own, SFT with a tied one; each is stopped at its checkpoint and taken up again."""
    import torch
    from transformers import Qwen2_5OmniThinkerForConditionalGeneration

    folder = tmp_path / "fsdp"
    folder.mkdir()
    for name, source in (("mer_r1", untied), ("sft", taught_folder)):
        (folder / f"{name}.yaml").write_text(recipe_of(name, source, corpus["train"], 2).as_yaml())
    spread = launched_with(*SPREAD.split())
    run_in_two(nursery, folder, spread, "stop_at_checkpoints")
    run_in_two(nursery, folder, spread)
    whole = {"mer_r1": train(recipe_of("mer_r1", untied, corpus["train"], 4), tmp_path / "one").parent}
    for name in ("mer_r1", "sft"):
        assert_alike(whole.get(name, singles / name), folder / name)
        loaded = Qwen2_5OmniThinkerForConditionalGeneration.from_pretrained(folder / name / "model")
        head, words = loaded.get_output_embeddings().weight, loaded.get_input_embeddings().weight
        assert torch.equal(head, words) == (name == "sft")


def test_a_spread_model_in_bfloat16_keeps_its_log_probabilities_exact(
    untied: Path, corpus: dict[str, Path], nursery: Nursery, tmp_path: Path
) -> None:
    """FSDP2's own policy would round what the forward gives: the policy's loss, and its KL from the reference."""
    recipe = recipe_of("gdpo", untied, corpus["train"], 2)
    optim = recipe.optim.model_copy(update={"bf16": True, "gradient_checkpointing": True, "max_steps": 1})
    (tmp_path / "run.yaml").write_text(recipe.model_copy(update={"optim": optim}).as_yaml())
    run_in_two(nursery, tmp_path, launched_with(*SPREAD.split(), "--mixed_precision", "bf16"))
    first = lines(tmp_path / "run" / "metrics.jsonl")[0]
    assert 0 < first["grad_norm"] < 100
    assert abs(first["kl"]) < 0.05


@pytest.mark.parametrize(("version", "reshard", "fits"), [(2, False, True), (2, True, False), (1, False, False)])
def test_sharding_that_sampling_cannot_take_is_refused(version: int, reshard: bool, fits: bool) -> None:
    """Two processes whose answers differ in length would wait for each other's weights in vain."""
    from mer_r1.rl.trainer import GrpoTrainer

    trainer = MagicMock()
    trainer._towers_learn = False
    trainer.accelerator.state.fsdp_plugin.fsdp_version = version
    trainer.accelerator.state.fsdp_plugin.reshard_after_forward = reshard
    if fits:
        GrpoTrainer._validate_sharding(trainer)
    else:
        with pytest.raises(InputError, match="fsdp_reshard_after_forward: false"):
            GrpoTrainer._validate_sharding(trainer)


def test_two_killed_processes_resume_to_the_same_end(
    ddp: Path, taught_folder: Path, corpus: dict[str, Path], nursery: Nursery, tmp_path: Path
) -> None:
    """The real command; one of the two speaks."""
    recipe, out = tmp_path / "recipe.yaml", tmp_path / "run"
    recipe.write_text(recipe_of("mer_r1", taught_folder, corpus["train"], 2).as_yaml())
    assert nursery.run(f"{__name__}:train_to_a_checkpoint_and_die", recipe, out, num_processes=2)[0] == -9
    assert (out / "checkpoints" / "checkpoint-2" / "trainer_state.json").exists()
    assert not (out / "model").exists()
    command = ("-m", "mer_r1", "train", str(recipe), "--out", str(out))
    printed = finished(start(DDP, *command))
    assert printed.count("Model: ") == printed.count("3/3") == 1
    assert (out / "model" / "model.safetensors").read_bytes() == (
        ddp / "mer_r1" / "model" / "model.safetensors"
    ).read_bytes()
    assert lines(out / "rollouts.jsonl") == lines(ddp / "mer_r1" / "rollouts.jsonl")
    logs = [
        [{name: value for name, value in row.items() if name not in TIMES} for row in lines(folder / "metrics.jsonl")]
        for folder in (out, ddp / "mer_r1")
    ]
    assert logs[0] == logs[1]


def _fsdp_without_gpus() -> None:
    """accelerate offers FSDP to processes with GPUs alone; nothing in it needs one."""
    from accelerate.state import AcceleratorState, PartialState
    from accelerate.utils import DistributedType

    real = AcceleratorState.__init__

    def init(self: Any, *args: Any, fsdp_plugin: Any = None, **kwargs: Any) -> None:
        real(self, *args, fsdp_plugin=fsdp_plugin, **kwargs)
        if fsdp_plugin is not None and self.distributed_type == DistributedType.MULTI_CPU:
            self.distributed_type, self.fsdp_plugin = DistributedType.FSDP, fsdp_plugin
            if self._mixed_precision != "no":
                fsdp_plugin.set_mixed_precision(self._mixed_precision)
            PartialState._shared_state["distributed_type"] = DistributedType.FSDP

    AcceleratorState.__init__ = init


class _Stopped(Exception):
    pass


def _recipes_of(folder: Path) -> Iterator[tuple[Recipe, Path]]:
    for path in sorted(folder.glob("*.yaml")):
        yield read_recipe(str(path)), folder / path.stem


def run_all(folder: str) -> None:
    """All recipes of a folder in this process, each into a folder of its name."""
    _fsdp_without_gpus()
    for recipe, out in _recipes_of(Path(folder)):
        train(recipe, out)


def stop_at_checkpoints(folder: str) -> None:
    """The same, but each until it has written a checkpoint."""
    from mer_r1.models import packing
    from mer_r1.training.trainer import RunTrainer

    packing._CHUNK = 4000  # the head's chunks are computed again for the gradient, when weights may have gone
    real = RunTrainer._save_checkpoint

    def save_and_stop(self: Any, *args: Any) -> None:
        real(self, *args)
        raise _Stopped

    RunTrainer._save_checkpoint = save_and_stop  # type: ignore[method-assign]
    _fsdp_without_gpus()
    for recipe, out in _recipes_of(Path(folder)):
        with pytest.raises(_Stopped):
            train(recipe, out)


def train_to_a_checkpoint_and_die(recipe: str, out: str) -> int:
    """The real command in this process; the first of two dies when it has written a checkpoint."""
    from mer_r1.commands import main
    from mer_r1.training.trainer import RunTrainer

    real = RunTrainer._save_checkpoint

    def save_and_die(self: Any, *args: Any) -> None:
        real(self, *args)
        if os.environ["RANK"] == "0":
            os.kill(os.getpid(), signal.SIGKILL)

    RunTrainer._save_checkpoint = save_and_die  # type: ignore[method-assign]
    return main(["train", recipe, "--out", out])
