"""The scripts of perf/: all run small and print what they promise. No test reads their times."""

from __future__ import annotations

import ctypes
import gc
import importlib
import json
import math
import subprocess
import sys
from argparse import Namespace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from mer_r1.commands import main as mer_r1

pytestmark = pytest.mark.slow

FOLDER = Path(__file__).parents[2] / "perf"
CELL = {"P", "K", "token_ratio", "speedup", "max_logprob_diff", "grad_rel_diff", "peak_mb_packed", "peak_mb_repeated"}


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch, one_thread: None) -> Any:
    """Imports a script by its name."""
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module


def printed(module: Any, capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    """What a script prints: one JSON value and nothing else."""
    module.main(arguments)
    return json.loads(capsys.readouterr().out)


def test_group_pass_compares_the_same_work(
    script: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    module = script("group_pass")
    commands = []

    def run_here(command: list[str]) -> str:
        commands.append(command[2:])
        module.main(command[2:])
        return capsys.readouterr().out

    monkeypatch.setattr(module, "in_a_process", run_here)
    small = ("--prompts", "24", "40", "--groups", "3", "--answer", "12", "--hidden", "64", "--layers", "1")
    result = printed(module, capsys, *small, "--rounds", "1", "--clock", "cpu")
    assert [(cell["P"], cell["K"], cell["token_ratio"]) for cell in result["cells"]] == [(24, 3, 1.8), (40, 3, 2.053)]
    for cell in result["cells"]:
        assert cell.keys() >= CELL
        assert min(cell["speedup"], cell["speedup_row_by_row"]) > 0
        assert cell["max_logprob_diff"] < 1e-5
        assert 0 < cell["grad_rel_diff"] < 1e-5  # not one side with itself
        assert min(cell["peak_mb_packed"], cell["peak_mb_repeated"]) >= 0
    assert [command[:6] for command in commands[:3]] == [
        ["--peak-of", side, "--prompts", "24", "--groups", "3"] for side in ("packed", "repeated", "row_by_row")
    ]
    assert isinstance(result["bars"]["speedup"]["kept"], bool)


def test_memory_beyond_what_was_there_is_seen(script: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    module = script("group_pass")
    held = 64 * 2**20

    def holds(backbone: Any, group: Any) -> torch.Tensor:
        kept = torch.full((held,), 7, dtype=torch.uint8) if group.prompt.input_ids_PT.shape[1] > 8 else torch.empty(0)
        return kept[:1].clone()

    monkeypatch.setitem(module.RUN, "packed", holds)
    gc.collect()
    getattr(ctypes.CDLL(None), "malloc_trim", lambda _: None)(0)  # else what earlier tests freed is taken again unseen
    peak = module.own_peak_mb("packed", Namespace(prompts=[16], groups=[2], answer=4, hidden=64, layers=1))
    if peak is None:
        pytest.skip("memory is read from /proc")
    assert 60 < peak < 90


SMALL_STEP = ("--prompt", "40", "--answer", "48", "--group", "3", "--hidden", "64", "--layers", "2")


def test_calibration_cost_prints_both_overheads(script: Any, capsys: pytest.CaptureFixture[str]) -> None:
    result = printed(script("calibration_cost"), capsys, *SMALL_STEP, "--rounds", "2", "--clock", "cpu")
    assert result.keys() >= {"overhead", "naive_overhead"}
    assert all(math.isfinite(result[name]) for name in ("overhead", "naive_overhead"))
    assert result["step_s"].keys() == {"without", "with", "naive"}
    assert min(result["step_s"].values()) > 0
    assert min(result["parts_s"].values()) > 0


def test_quantization_cost_prints_a_ratio_of_every_kind(script: Any, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("bitsandbytes")
    result = printed(script("quantization_cost"), capsys, *SMALL_STEP, "--rounds", "1", "--clock", "cpu")
    assert result["ratio"].keys() == {"nf4", "int8"}
    assert all(min(found.values()) > 0 for found in result["ratio"].values())
    assert result["weights_mb"]["nf4"] < result["weights_mb"]["int8"] < result["weights_mb"]["lora"]


def test_the_naive_extra_pass_reads_the_same_confidences(script: Any, tmp_path: Path) -> None:
    module = script("calibration_cost")
    options = Namespace(prompt=40, answer=48, group=3, hidden=64, layers=2, clock="cpu")
    backbone = module.make_backbone(options)
    rows = {}
    for kind in (module.GrpoTrainer, module.ExtraPass):
        folder = tmp_path / kind.__name__
        module.make_step(kind, "mer_r1", backbone, folder, options)()
        rows[kind] = [json.loads(line) for line in (folder / "rollouts.jsonl").read_text().splitlines()]
    ours, naive = rows.values()
    assert len({row["text"] for row in ours}) == len(ours) == 3
    assert [row["text"] for row in ours] == [row["text"] for row in naive]
    known = 0
    for one, other in zip(ours, naive, strict=True):
        assert len(one["labels"]) == 3
        for word, confidences in one["confidences"].items():
            assert confidences == pytest.approx(other["confidences"][word], abs=2e-5)
            known += abs(confidences[0] - confidences[1]) > 1e-3
    assert known >= 3


@pytest.mark.parametrize("model", ["tiny", "tiny-omni3", "tiny-qwen3-vl"])
def test_gpu_step_runs_from_end_to_end_on_a_cpu(script: Any, capsys: pytest.CaptureFixture[str], model: str) -> None:
    arguments = ("--model", model, "--device", "cpu", "--answer", "6", "--group", "2", "--rounds", "1")
    result = printed(script("gpu_step"), capsys, *arguments, "--checkpointing", "--prompts", "2")
    assert "nothing about a card" in result["device"]
    parts = result["parts"]
    assert parts.keys() == {"towers", "prefill", "decode", "pass", "optimiser", "update"}
    for name in ("towers", "prefill", "decode", "pass"):
        part, limit = parts[name], parts[name]["work"] / result["rates"]["measured"][parts[name]["limited_by"]]
        assert part["limit_s"]["measured"] == pytest.approx(limit, abs=1e-6)
        assert part["share_of_limit"]["measured"] == pytest.approx(limit / part["seconds"], rel=0.02, abs=1e-4)
    assert result["step_s"] == pytest.approx(sum(part["seconds"] for part in parts.values()), rel=1e-3)
    assert result["tokens"]["audio"] == {"tiny": 25, "tiny-omni3": 13, "tiny-qwen3-vl": 0}[model]
    assert (result["active"] < result["parameters"]) == (model == "tiny-omni3")
    assert result["tokens"]["video"] > 0


def test_sampler_asks_every_sampler_for_the_same(
    script: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the policy's own loop in the engine's place."""
    module = script("sampler")
    monkeypatch.setattr(module, "require_vllm", lambda: None)
    monkeypatch.setattr(module, "make_sampler", lambda name, backbone, options: module.LocalSampler(backbone))
    small = ("--hidden-size", "64", "--layers", "1", "--prompt-tokens", "20", "--group", "3", "--threads", "1")
    result = printed(module, capsys, *small, "--answers", "2", "12", "--prompts", "2", "--rounds", "1")
    assert result["update_s"].keys() == {"local", "vllm"}
    assert [(cell["prompts"], cell["answer"]) for cell in result["cells"]] == [(2, 2), (2, 12)]
    for cell in result["cells"]:
        for name in ("local", "vllm"):
            seconds, first_s = cell[name]["seconds"], cell[name]["first_s"]
            assert cell[name]["tokens_per_s"] == pytest.approx(6 * cell["answer"] / seconds, rel=0.05)
            assert cell[name]["share_of_limit"] >= 0
            assert first_s > 0
    model = module.make_backbone(
        Namespace(shape="text", hidden_size=64, layers=1, prompt_tokens=20, answers=[12]), "cpu"
    )
    weights = 4 * sum(value.numel() for name, value in model.model.named_parameters() if ".layers." in name)
    head = 4 * model.model.lm_head.weight.numel()
    options = Namespace(prompt_tokens=20, group=3)
    cache = 4 * 2 * 2 * 32 * 2 * (20 + 3 * 12 / 2)  # keys and values of two heads of 32, two prompts
    assert module.read_bytes(model, 2, 12, options) == 11 * (weights + head + cache)


def test_serve_answers_all_clips_by_the_command(
    script: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here in this process."""
    module, threads = script("serve"), []

    def run_here(command: list[str], env: dict[str, str], **_: object) -> subprocess.CompletedProcess[str]:
        assert command[:3] == [sys.executable, "-m", "mer_r1"]
        threads.append(env["OMP_NUM_THREADS"])
        status = mer_r1(command[3:])
        capsys.readouterr()  # what the command prints, which goes to standard error there
        return subprocess.CompletedProcess(command, status)

    monkeypatch.setattr(module, "subprocess", SimpleNamespace(run=run_here))
    arguments = ("--clips", "3", "--ways", "local", "--max-new-tokens", "8", "--threads", "1")
    result = printed(module, capsys, *arguments)
    assert threads == ["1", "1"]
    assert result["local"]["failed"] == 0
    assert result["local"]["clips_per_s"] > 0
    assert result["model"] == "random"


@pytest.mark.vllm
def test_serve_starts_a_server_and_an_engine(script: Any, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("--clips", "3", "--ways", "vllm", "server", "--max-new-tokens", "8", "--threads", "1")
    result = printed(script("serve"), capsys, *arguments)
    assert [result[way]["failed"] for way in ("vllm", "server")] == [0, 0]


def test_gpu_step_refuses_a_real_shape_without_a_gpu(script: Any, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        script("gpu_step").main(["--device", "cpu"])
    assert stopped.value.code == 2
    assert "--model tiny" in capsys.readouterr().err


def test_steps_prints_what_comes_before_rl(script: Any, capsys: pytest.CaptureFixture[str]) -> None:
    result = printed(script("steps"), capsys, "--clips", "8", "--steps", "1", "--threads", "1")
    assert all(result[name] > 0 for name in ("clip_ms", "feature_ms", "sft_step_ms"))


COUNTS = """
import json, sys
for number, _ in enumerate(sys.stdin):
    print(json.dumps({"step_s": float(sys.argv[1]) * (100 if number == 0 else 1)}), flush=True)
"""


def test_busy_divides_the_steps_of_each_choice_by_the_defaults(
    script: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its workers are replaced by ones that only name their seconds; the first step of each warms it up."""
    module, begun = script("busy"), []

    def start(work: str, part: str, options: Namespace, folder: Path, choice: dict[str, str]) -> Any:
        begun.append((work, part, choice))
        command = [sys.executable, "-c", COUNTS if part == "step" else "", "2.0" if choice else "4.0"]
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    monkeypatch.setattr(module, "_start", start)
    result = printed(module, capsys, "--choices", "passive", "one_thread", "--rounds", "2")
    assert [*module.WORKS] == ["sft", "rl", "text"]
    for work in module.WORKS:
        assert [choice for name, part, choice in begun if (name, part) == (work, "step")] == [
            module.CHOICES[name] for name in ("default", "passive", "one_thread")
        ]
        assert result[work]["seconds"]["busy"] == {"default": 4.0, "passive": 2.0, "one_thread": 2.0}
        for state in ("quiet", "busy"):
            assert result[work]["to_default"][state] == {"default": 1.0, "passive": 0.5, "one_thread": 0.5}
        assert result[work]["busy_cost"] == {"default": 1.0, "passive": 1.0, "one_thread": 1.0}


def test_busy_gives_a_worker_the_variables_of_its_choice_alone(script: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    module = script("busy")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("GOMP_SPINCOUNT", "5")
    given = []
    monkeypatch.setattr(module.subprocess, "Popen", lambda command, env, **_: given.append((command, env)))
    options = Namespace(
        rounds=1,
        batch=2,
        prompt_tokens=9,
        completion_tokens=8,
        generations=2,
        hidden_size=64,
        layers=1,
    )
    for work in module.WORKS:
        module._start(work, "step", options, Path("folder"), module.CHOICES["one_thread"])
        command, environment = given[-1]
        names = {name: environment.get(name) for name in ("OMP_WAIT_POLICY", "OMP_NUM_THREADS", "GOMP_SPINCOUNT")}
        assert names == {"OMP_WAIT_POLICY": None, "OMP_NUM_THREADS": "1", "GOMP_SPINCOUNT": None}
        assert command[-2:] == ["--folder", "folder"]
    assert "--threads 1 --prompt-tokens 9" in " ".join(given[-1][0])  # torch.set_num_threads would undo the choice
