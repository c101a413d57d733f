"""What the tests of the learning layers share, made once a session: MiniMER clips, a tiny backbone, a taught one.

Nothing here imports torch before a fixture that needs it is asked for. No test may reach a network.
"""

from __future__ import annotations

import gc
import os
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings
from platformdirs import user_cache_path

from mer_r1.data.sample import Sample
from tests.nursery import Nursery

if TYPE_CHECKING:
    from mer_r1.models.qwen2_5_omni import OmniBackbone
    from mer_r1.models.qwen3_omni import Omni3Backbone
    from mer_r1.models.qwen3_vl import Qwen3VLBackbone, Qwen3VLMoeBackbone
    from mer_r1.models.types import Prompt
    from mer_r1.models.vllm_sampler import VllmSampler

os.environ.setdefault("HF_HUB_OFFLINE", "1")
settings.register_profile("suite", deadline=None, max_examples=50)  # a busy machine is no fault of the code
settings.register_profile("fast", settings.get_profile("suite"), max_examples=10)
settings.load_profile("suite")


SLOW = {"taught_folder", "stepped_folder", "nursery", "driver", "camera_driver", "served"}
"""Fixtures that make a test slow."""


VLLM = (
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("vllm") is None, reason="vLLM is not installed: make test-vllm"),
    pytest.mark.filterwarnings("ignore", "error:::mer_r1", "error:::tests"),  # the last that fits counts
)
"""What the marker `vllm` means: warnings count where they are ours, not of vLLM or of what it imports."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests of these fixtures, and begin with the modules that have slow ones, so that none is left to the end."""
    for item in items:
        if SLOW & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.slow)
        for mark in VLLM if item.get_closest_marker("vllm") else ():
            item.add_marker(mark)
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


def pytest_collection_finish() -> None:
    """Leave what the modules have imported out of garbage collections."""
    gc.freeze()


@pytest.fixture(autouse=True)
def no_process(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A test that starts a process says that it is slow."""
    real = subprocess.Popen

    def popen(command: Sequence[str], *arguments: Any, **options: Any) -> subprocess.Popen[Any]:
        if command[0] != "fc-list":  # Matplotlib's way to the fonts, once a user
            pytest.fail("starts a process: mark it slow")
        return real(command, *arguments, **options)

    if request.node.get_closest_marker("slow") is None:
        monkeypatch.setattr(subprocess, "Popen", popen)


@pytest.fixture(scope="session", autouse=True)
def cache_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder of the session's own in the place of the user's cache; and no proxy between a test and its server.

    Matplotlib's list of the fonts alone is the user's.
    """
    from mer_r1.emotion import official

    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
            patch.delenv(name, raising=False)
        patch.setenv("MPLCONFIGDIR", str(user_cache_path("matplotlib")))
        patch.setenv("XDG_CACHE_HOME", str(folder))  # for the commands that a test starts
        patch.setattr(official, "user_folder", lambda: folder / "mer-r1")
        yield folder


@pytest.fixture(scope="session")
def one_thread() -> None:
    """Torch on one thread, for tests run beside each other; its modules are left out of garbage collections.

    A trainer asks for a collection at its end, which would look at each of a million imported objects every time.
    """
    import torch

    import mer_r1.training.trainer  # noqa: F401  all that a run imports

    torch.set_num_threads(1)
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Manifests by split of twelve MiniMER clips."""
    from mer_r1.synthetic.corpus import Plan, write_corpus

    return write_corpus(Plan(num=12, seed=0), tmp_path_factory.mktemp("minimer"))


@pytest.fixture(scope="session")
def nursery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nursery]:
    """Starts processes of a run that have imported what it needs."""
    made = Nursery(tmp_path_factory.mktemp("nursery") / "printed")
    yield made
    made.close()


@pytest.fixture(scope="session")
def samples(corpus: dict[str, Path]) -> list[Sample]:
    """The eight samples of the train split; among them one without subtitle and one without picture."""
    from mer_r1.data.manifest import read_manifest

    return read_manifest(corpus["train"])


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory, one_thread: None) -> Path:
    """A random tiny Thinker's folder."""
    from mer_r1.models.tiny.omni import write_tiny
    from mer_r1.synthetic.corpus import minimer_texts

    return write_tiny(tmp_path_factory.mktemp("tiny") / "model", minimer_texts(300))


@pytest.fixture(scope="session")
def tiny(tiny_folder: Path) -> OmniBackbone:
    """The tiny Thinker loaded; tests leave it as it is and take `fresh_tiny` to change one."""
    from mer_r1.models.qwen2_5_omni import load_omni

    return load_omni(str(tiny_folder))


@pytest.fixture(scope="session")
def gemma4_folder(tmp_path_factory: pytest.TempPathFactory, one_thread: None) -> Path:
    """A random tiny Gemma 4's folder."""
    pytest.importorskip("transformers", "5.23", reason="a Gemma 4 needs it")
    from mer_r1.models.tiny.gemma4 import write_tiny_gemma4
    from mer_r1.synthetic.corpus import minimer_texts

    return write_tiny_gemma4(tmp_path_factory.mktemp("gemma4") / "model", minimer_texts(300))


@pytest.fixture(scope="session")
def omni3_folder(tmp_path_factory: pytest.TempPathFactory, one_thread: None) -> Path:
    """A random tiny Qwen3-Omni's folder."""
    from mer_r1.models.tiny.omni3 import write_tiny_omni3
    from mer_r1.synthetic.corpus import minimer_texts

    return write_tiny_omni3(tmp_path_factory.mktemp("omni3") / "model", minimer_texts(300))


@pytest.fixture(scope="session")
def omni3(omni3_folder: Path) -> Omni3Backbone:
    """The tiny Qwen3-Omni loaded; tests leave it as it is."""
    from mer_r1.models.qwen3_omni import load_omni3

    return load_omni3(str(omni3_folder))


@pytest.fixture(scope="session")
def qwen3_vl_folder(tmp_path_factory: pytest.TempPathFactory, one_thread: None) -> Path:
    """A random tiny Qwen3-VL's folder."""
    from mer_r1.models.tiny.qwen3_vl import write_tiny_qwen3_vl
    from mer_r1.synthetic.corpus import minimer_texts

    return write_tiny_qwen3_vl(tmp_path_factory.mktemp("qwen3_vl") / "model", minimer_texts(300))


@pytest.fixture(scope="session")
def qwen3_vl(qwen3_vl_folder: Path) -> Qwen3VLBackbone:
    """The tiny Qwen3-VL loaded; tests leave it as it is."""
    from mer_r1.models.qwen3_vl import load_qwen3_vl

    return load_qwen3_vl(str(qwen3_vl_folder))


@pytest.fixture(scope="session")
def qwen3_vl_moe(tmp_path_factory: pytest.TempPathFactory, one_thread: None) -> Qwen3VLMoeBackbone:
    """A tiny Qwen3-VL with experts, written and loaded; tests leave it as it is."""
    from mer_r1.models.qwen3_vl import load_qwen3_vl_moe
    from mer_r1.models.tiny.qwen3_vl import write_tiny_qwen3_vl
    from mer_r1.synthetic.corpus import minimer_texts

    folder = tmp_path_factory.mktemp("qwen3_vl_moe") / "model"
    return load_qwen3_vl_moe(str(write_tiny_qwen3_vl(folder, minimer_texts(300), experts=True)))


@pytest.fixture
def fresh_tiny(tiny_folder: Path) -> OmniBackbone:
    """The tiny Thinker once more, for one test alone."""
    from mer_r1.models.qwen2_5_omni import load_omni

    return load_omni(str(tiny_folder))


@pytest.fixture(scope="session")
def prompts(tiny: OmniBackbone, samples: list[Sample]) -> Sequence[Prompt]:
    """The samples as prompts of the tiny Thinker."""
    from mer_r1.models.features import read_prompts

    return [*read_prompts(tiny, samples)]


@pytest.fixture(scope="session")
def brief(corpus: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The train split with the last sentence of each reasoning alone: a third of the tokens to sample."""
    from mer_r1.data.manifest import read_manifest, write_manifest

    rows = [
        replace(sample, reasoning=f"<think>{str(sample.reasoning).rpartition('. ')[2]}")
        for sample in read_manifest(corpus["train"])
    ]
    manifest = tmp_path_factory.mktemp("brief") / "train.jsonl"
    write_manifest(manifest, rows)
    return manifest


@pytest.fixture(scope="session")
def taught_folder(tiny_folder: Path, brief: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that has taught the tiny Thinker to answer about the samples, slow and fast, in the right form."""
    from mer_r1.pipelines.train import train
    from mer_r1.recipe import Recipe

    recipe = Recipe.model_validate(
        {
            "kind": "sft",
            "model": {"source": str(tiny_folder), "train_towers": True},
            "data": {"train": str(brief), "keep_features": True, "workers": 0},
            "optim": {"learning_rate": 3e-3, "max_steps": 26, "batch_size": 16, "warmup_steps": 3, "adam_beta2": 0.98},
            "sft": {"targets": ["slow", "fast"]},
        }
    )
    return train(recipe, tmp_path_factory.mktemp("taught") / "run").parent


@pytest.fixture(scope="session")
def taught(taught_folder: Path) -> OmniBackbone:
    """The taught tiny Thinker; tests leave it as it is."""
    from mer_r1.models.qwen2_5_omni import load_omni

    return load_omni(str(taught_folder / "model"))


@pytest.fixture(scope="session")
def vllm_sampler(tiny: OmniBackbone) -> VllmSampler:
    """The one vLLM engine of the session, on the tiny Thinker's configuration; a test puts its own weights in."""
    from mer_r1.models.vllm_engine import EngineOptions
    from mer_r1.models.vllm_sampler import VllmSampler

    return VllmSampler(tiny, EngineOptions(max_model_len=1024, dtype="float32", budget=tiny.budget))
