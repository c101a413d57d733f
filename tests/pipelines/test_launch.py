"""`train --launch N`: what accelerate is asked for, and what comes back of the processes' ends."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from mer_r1.commands import main
from mer_r1.distributed import LAUNCHED, report_error
from mer_r1.errors import InputError
from mer_r1.pipelines.launch import Launch, _accelerate_options, _status, configuration, launch
from mer_r1.recipe import Recipe, read_recipe


def environment(recipe: Recipe, how: Launch, *, on_gpus: bool) -> dict[str, str]:
    """What accelerate gives the processes, and what it starts."""
    import mer_r1.models  # noqa: F401  torchvision is mended before accelerate imports it

    # isort: split
    from accelerate.commands.launch import _validate_launch_command, launch_command_parser
    from accelerate.utils.launch import prepare_multi_gpu_env

    options = _accelerate_options(recipe, how, on_gpus=on_gpus)
    arguments = launch_command_parser().parse_args([*options, "--module", "mer_r1", "train", "x.yaml", "--out", "o"])
    validated = _validate_launch_command(arguments)[0]
    given: dict[str, str] = prepare_multi_gpu_env(validated)
    return given | {key: str(value) for key, value in vars(validated).items()}


def test_full_training_on_gpus_is_spread_and_everything_else_is_whole() -> None:
    whole, lora = read_recipe("omni7b-rl"), read_recipe("omni7b-rl-lora")
    assert configuration(whole) == "fsdp2-1x8.yaml"
    assert {configuration(lora), configuration(read_recipe("minimer-sft")), configuration(whole, on_gpus=False)} == {
        "ddp-1x8.yaml"
    }
    given = environment(whole, Launch(4), on_gpus=True)
    assert (given["ACCELERATE_USE_FSDP"], given["FSDP_VERSION"], given["nproc_per_node"]) == ("true", "2", "4")
    assert (given["ACCELERATE_MIXED_PRECISION"], given["training_script"]) == ("bf16", "mer_r1")
    assert given["training_script_args"] == "['train', 'x.yaml', '--out', 'o']"
    beside = environment(lora, Launch(2), on_gpus=True)
    assert "ACCELERATE_USE_FSDP" not in beside
    assert beside["master_port"] != given["master_port"]  # each a free one
    in_float32 = environment(read_recipe("minimer-sft"), Launch(2), on_gpus=False)
    assert in_float32["ACCELERATE_MIXED_PRECISION"] == "no"


def test_several_nodes_meet_at_the_first() -> None:
    given = environment(read_recipe("omni7b-rl"), Launch(8, 2, 1, "node-a", 29555), on_gpus=True)
    wanted = {"nnodes": "2", "nproc_per_node": "8", "node_rank": "1", "rdzv_endpoint": "node-a:29555"}
    assert given.items() >= wanted.items()
    usual = environment(read_recipe("omni7b-rl"), Launch(8, 2, 1, "node-a"), on_gpus=True)
    assert usual["rdzv_endpoint"] == "node-a:29500"


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ((0,), "--launch 0: give a number above 0"),
        ((2, 0), "--nodes 0"),
        ((2, 2, 0), "give the address of the first machine, --main-address HOST"),
        ((2, 2, None, "a"), "say which of them this is, --node-rank 0 on the first"),
        ((2, 2, 2, "a"), "--node-rank 2: there are 2 nodes; give 0 to 1"),
        ((2, 1, None, "a"), "--main-address goes with --nodes above 1"),
    ],
)
def test_numbers_that_cannot_be_are_named(numbers: tuple[Any, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Launch(*numbers)


def test_a_launcher_within_a_launcher_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError, match="leave --launch out"):
        launch(read_recipe("omni7b-rl"), [], Launch(2))


def failed(exitcode: int, error_file: Path) -> Exception:
    """What torch's agent raises where process 1 ended so."""
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure

    failure = ProcessFailure(local_rank=1, pid=1, exitcode=exitcode, error_file=str(error_file))
    return ChildFailedError("mer_r1", {1: failure})


def test_a_process_s_error_comes_back_once_as_it_said_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "error.json"
    assert not report_error("nobody asks")
    monkeypatch.setenv("TORCHELASTIC_ERROR_FILE", str(path))
    assert not report_error("another launcher's own prints it")
    monkeypatch.setenv(LAUNCHED, "1")
    assert report_error("m.jsonl:3: no id")
    assert json.loads(path.read_text())["timestamp"] == pytest.approx(time.time(), abs=60)
    with pytest.raises(InputError, match=r"^m\.jsonl:3: no id$"):
        _status(failed(2, path), Launch(2))


def test_the_command_of_a_launched_process_prints_no_error_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TORCHELASTIC_ERROR_FILE", str(tmp_path / "error.json"))
    monkeypatch.setenv(LAUNCHED, "1")
    assert main(["train", "none.yaml"]) == 2
    assert capsys.readouterr().err == ""
    assert "none.yaml" in json.loads((tmp_path / "error.json").read_text())["message"]


def test_a_status_and_a_signal_are_passed_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _status(failed(1, tmp_path / "none"), Launch(2)) == 1
    assert capsys.readouterr().err == ""
    assert _status(failed(-signal.SIGKILL, tmp_path / "none"), Launch(2, 2, 0, "a")) == 128 + 9
    assert "process 1 of 4 was ended by SIGKILL; the machine may be out of memory" in capsys.readouterr().err


def test_the_command_launches_itself_with_its_overrides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []

    def launched(*values: Any) -> int:
        seen.append(values)
        return 7

    monkeypatch.setattr("mer_r1.pipelines.launch.launch", launched)
    (tmp_path / "m.jsonl").write_text('{"id": "a", "subtitle": "x", "labels": ["happy"], "reasoning": "r"}\n')
    command = ["train", "minimer-sft", f"data.train={tmp_path / 'm.jsonl'}", "--launch", "2"]
    assert main([*command, "seed=5"]) == 7
    assert seen[0][0].seed == 5
    assert seen[0][1:] == ([*command[:3], "seed=5", "--out", "runs/minimer-sft"], Launch(2))
    monkeypatch.setenv("SLURM_NODEID", "1")
    assert main([*command, "--nodes", "2", "--main-address", "a"]) == 7
    assert seen[1][2] == Launch(2, 2, 1, "a")


def test_wrong_data_are_found_before_a_process_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("mer_r1.pipelines.launch.launch", lambda *_: pytest.fail("launched"))
    assert main(["train", "minimer-sft", f"data.train={tmp_path}/none.jsonl", "--launch", "2"]) == 2
    assert "data.train: " in capsys.readouterr().err
    assert main(["train", "minimer-sft", "--nodes", "2"]) == 2
    assert "go with --launch" in capsys.readouterr().err
