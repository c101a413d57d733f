"""A taught model's answers by vLLM are our own loop's, with the same confidence, kept and resumed alike."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING
from unittest.mock import Mock

import pytest
import yaml
from rich.console import Console

from mer_r1.commands import main
from mer_r1.data.manifest import read_manifest, write_manifest
from mer_r1.data.predictions import read_predictions
from mer_r1.data.sample import MODES, Mode, Prediction, Sample
from mer_r1.errors import InputError
from mer_r1.generation import generate_to_store
from mer_r1.generation.make import Engine, EngineName
from mer_r1.prompting.templates import PROMPT_TEMPLATES
from tests.nursery import ROOT
from tests.training.runs import make_recipe

if TYPE_CHECKING:
    from mer_r1.generation.engine import EngineGenerator
    from mer_r1.generation.local import LocalGenerator

pytestmark = pytest.mark.vllm

LENGTH = 48


@pytest.fixture(scope="module")
def by_engine(taught_folder: Path) -> Iterator[EngineGenerator]:
    """The taught model, answered by vLLM."""
    from mer_r1.generation.engine import EngineGenerator, close_engine

    yield EngineGenerator(str(taught_folder), LENGTH)
    close_engine()


@pytest.fixture(scope="module")
def here(taught_folder: Path) -> LocalGenerator:
    """The taught model, answered by our own loop."""
    from mer_r1.generation.local import LocalGenerator

    return LocalGenerator(str(taught_folder), LENGTH)


@pytest.fixture(scope="module")
def clips(corpus: dict[str, Path]) -> list[Sample]:
    """All clips of the corpus, of which the model was taught some."""
    return [sample for manifest in corpus.values() for sample in read_manifest(manifest)]


@pytest.mark.parametrize("mode", MODES)
def test_answers_and_confidence_are_those_of_our_own_loop(
    by_engine: EngineGenerator, here: LocalGenerator, clips: list[Sample], mode: Mode
) -> None:
    ours = {row.id: row for row in here.generate(clips, mode)}
    theirs = {row.id: row for row in by_engine.generate(clips, mode)}
    assert theirs.keys() == ours.keys()
    assert not [row.error for row in theirs.values() if row.error]
    assert [row.raw for row in ours.values()] == [theirs[name].raw for name in ours]
    assert any(row.categories for row in ours.values())
    for name, row in ours.items():
        _assert_equal(theirs[name], row)


def test_the_model_runner_of_gpus_gives_the_same_answers_and_confidence(
    taught_folder: Path, here: LocalGenerator, corpus: dict[str, Path], tmp_path: Path
) -> None:
    out = tmp_path / "out.jsonl"
    command = [sys.executable, "-m", "tests.vllm_runner_v2", str(taught_folder), str(corpus["train"]), str(out)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    found = {row.id: row for row in read_predictions(out)}
    for row in here.generate(read_manifest(corpus["train"]), "fast"):
        assert found[row.id].raw == row.raw
        _assert_equal(found[row.id], replace(row, media=None))  # which is not read back


def _assert_equal(found: Prediction, expected: Prediction) -> None:
    assert replace(found, confidence=None, categories=None, categories_first=None) == replace(
        expected, confidence=None, categories=None, categories_first=None
    )
    assert found.confidence == pytest.approx(expected.confidence, abs=1e-3)
    for ours, theirs in ((expected.categories, found.categories), (expected.categories_first, found.categories_first)):
        assert (ours or {}).keys() == (theirs or {}).keys()
        for wheel, of_wheel in (ours or {}).items():
            assert (theirs or {})[wheel] == pytest.approx(of_wheel, abs=5e-3)  # rare categories, a sum of small numbers


def test_one_engine_answers_by_another_prompt_whose_answers_are_two(
    by_engine: EngineGenerator, here: LocalGenerator, clips: list[Sample]
) -> None:
    engine, template = by_engine.model.engine, PROMPT_TEMPLATES["brief_first"]
    ours = {row.id: row for row in here.with_template(template).generate(clips[:4], "slow")}
    theirs = {row.id: row for row in by_engine.with_template(template).generate(clips[:4], "slow")}
    assert {name: row.raw for name, row in theirs.items()} == {name: row.raw for name, row in ours.items()}
    assert by_engine.model.engine is engine


def test_a_stopped_run_is_resumed_and_answers_of_two_engines_are_not_mixed(
    by_engine: EngineGenerator, here: LocalGenerator, clips: list[Sample], tmp_path: Path
) -> None:
    out = tmp_path / "out.jsonl"
    assert generate_to_store(out, clips[:4], by_engine, ("fast",)).num_generated == 4
    assert generate_to_store(out, clips, by_engine, ("fast",)).num_generated == len(clips) - 4
    settings = json.loads((tmp_path / "out.jsonl.settings.json").read_text())["settings"]
    assert (settings["engine"], settings["temperature"]) == ("vllm", 0.0)
    with pytest.raises(InputError, match="its answers were made with engine vllm, not local"):
        generate_to_store(out, clips, here, ("fast",))


def test_a_benchmark_of_five_sets_opens_one_engine_and_has_the_numbers_of_our_own_loop(
    taught_folder: Path, clips: list[Sample], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mer_r1.analysis.modality import Modality
    from mer_r1.emotion.wheel import WheelSet
    from mer_r1.evaluation.suite import Request, run_benchmark
    from mer_r1.generation import engine as module
    from mer_r1.models.vllm_engine import open_engine

    opening = Mock(wraps=open_engine)
    monkeypatch.setattr(module, "open_engine", opening)
    write_manifest(tmp_path / "clips.jsonl", clips)
    found = {}
    for engine in (Engine("local"), Engine("vllm")):
        request = Request(
            str(taught_folder),
            tmp_path / "clips.jsonl",
            tmp_path / engine.name,
            modes=("fast",),
            max_new_tokens=LENGTH,
            engine=engine,
        )
        run_benchmark(Modality(WheelSet.load()), request)
        found[engine.name] = json.loads((tmp_path / engine.name / "modality.json").read_text())
        run = json.loads((tmp_path / engine.name / "run.json").read_text())
        assert run["settings"]["asked"]["engine"] == engine.name
    assert opening.call_count == 1
    assert found["vllm"] == found["local"]
    assert not module._open


def test_a_sweep_trains_between_two_engines(taught_folder: Path, corpus: dict[str, Path], tmp_path: Path) -> None:
    from mer_r1.generation import engine as module
    from mer_r1.pipelines.sweep import sweep

    recipe = make_recipe("sft", taught_folder, corpus["train"], {"max_steps": 1})
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(recipe.model_dump(mode="json")))
    runs = {}
    names: tuple[EngineName, ...] = ("local", "vllm")
    for name in names:
        out, quiet = tmp_path / name, Console(quiet=True)
        found = sweep(
            str(tmp_path / "small.yaml"),
            "optim.learning_rate=0.001,0.002",
            [0],
            corpus["test"],
            out,
            engine=Engine(name),
            console=quiet,
        )
        assert not module._open
        runs[name] = [row["greedy"] for row in found["runs"]]
    assert len(runs["vllm"]) == 2
    assert runs["vllm"] == runs["local"]


@pytest.mark.parametrize("kind", ["omni3", "vision", "qwen3_vl", "text"])
def test_other_families_are_answered_alike(kind: str, clips: list[Sample], tmp_path: Path) -> None:
    from mer_r1.generation.engine import EngineGenerator
    from mer_r1.generation.local import LocalGenerator
    from mer_r1.models.tiny.omni3 import write_tiny_omni3
    from mer_r1.models.tiny.qwen3_vl import write_tiny_qwen3_vl
    from mer_r1.models.tiny.text import write_tiny_text
    from mer_r1.models.tiny.vision import write_tiny_vision
    from mer_r1.synthetic.corpus import minimer_texts

    write = {
        "omni3": write_tiny_omni3,
        "vision": write_tiny_vision,
        "qwen3_vl": write_tiny_qwen3_vl,
        "text": write_tiny_text,
    }[kind]
    folder = str(write(tmp_path / kind, minimer_texts(300)))
    asked = [sample for sample in clips if sample.subtitle][:6]
    ours = {row.id: row for row in LocalGenerator(folder, 16).generate(asked, "slow")}
    theirs = {row.id: row for row in EngineGenerator(folder, 16).generate(asked, "slow")}
    assert {name: row.raw for name, row in theirs.items()} == {name: row.raw for name, row in ours.items()}


def test_the_command_prints_what_vllm_answers(
    taught_folder: Path, clips: list[Sample], capsys: pytest.CaptureFixture[str]
) -> None:
    (clip,) = [str(sample.video) for sample in clips if sample.video][:1]
    given = ["predict", clip, "--model", str(taught_folder), "--max-new-tokens", str(LENGTH), "--json"]
    printed = {}
    for engine in ("local", "vllm"):
        assert main([*given, "--engine", engine]) == 0
        lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("{")]
        printed[engine] = [json.loads(line)["raw"] for line in lines]
    assert len(printed["vllm"]) == 2
    assert printed["vllm"] == printed["local"]
