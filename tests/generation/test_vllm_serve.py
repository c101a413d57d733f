"""A real `vllm serve` on loopback: a model that was trained here answers through it as it does in this process."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from mer_r1.data.manifest import read_manifest
from mer_r1.data.sample import MODES, Prediction, Sample
from mer_r1.errors import InputError
from mer_r1.generation import generate_to_store
from mer_r1.generation.make import Service, make_generator
from mer_r1.synthetic.corpus import Plan, write_corpus
from tests.nursery import ROOT

httpx = pytest.importorskip("httpx")
pytestmark = pytest.mark.vllm

NAME = "mine"
LONGEST = 48  # ids of an answer
START_S = 400.0


class Server:
    """`vllm serve` of a folder, in processes of its own, which a signal to their group reaches."""

    def __init__(self, folder: Path, log: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}/v1"
        options = {
            "--host": "127.0.0.1",
            "--port": str(port),
            "--served-model-name": NAME,
            "--dtype": "float32",
            "--max-model-len": "1024",
            "--max-num-seqs": "16",
            "--limit-mm-per-prompt": '{"video": 1, "audio": 1, "image": 1}',
        }
        command = [sys.executable, "-m", "tests.vllm_serve", "serve", str(folder), "--enforce-eager"]
        command += ["--trust-request-mm-kwargs", *(word for pair in options.items() for word in pair)]
        environment = os.environ | {
            "PYTHONPATH": str(ROOT),
            "OMP_NUM_THREADS": "1",
            "VLLM_CPU_KVCACHE_SPACE": "1",
            "VLLM_CPU_OMP_THREADS_BIND": "nobind",
            "VLLM_NO_USAGE_STATS": "1",
        }
        self._log = log
        with log.open("wb") as out:
            self.process = subprocess.Popen(
                command, env=environment, stdout=out, stderr=subprocess.STDOUT, start_new_session=True
            )

    def wait(self) -> None:
        """Until it answers."""
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                if httpx.get(self.url.removesuffix("/v1") + "/health").status_code == 200:
                    return
            except httpx.TransportError:
                time.sleep(0.5)
        raise AssertionError(f"the server did not start:\n{self._log.read_text(errors='replace')[-4000:]}")

    def kill(self) -> None:
        if self.process.returncode is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


@pytest.fixture(scope="module")
def server(taught_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    made = Server(taught_folder / "model", tmp_path_factory.mktemp("server") / "log")
    try:
        made.wait()
        yield made
    finally:
        made.kill()


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[Sample]:
    """60 clips that the model was not taught; among them some without subtitle, picture or sound."""
    manifests = write_corpus(Plan(num=100, seed=7), tmp_path_factory.mktemp("clips"))
    return read_manifest(manifests["train"])[:60]


@pytest.fixture(scope="module")
def here(taught_folder: Path, clips: Sequence[Sample]) -> dict[tuple[str, str], Prediction]:
    return answers(str(taught_folder), clips)


def answers(model: str, clips: Sequence[Sample], **service: Any) -> dict[tuple[str, str], Prediction]:
    generator = make_generator(model, Service(**service) if service else None, max_new_tokens=LONGEST)
    return {(row.id, row.mode): row for mode in MODES for row in generator.generate(clips, mode)}


def test_a_served_model_answers_as_it_does_here(
    server: Server, taught_folder: Path, clips: Sequence[Sample], here: dict[tuple[str, str], Prediction]
) -> None:
    there = answers(str(taught_folder), clips, url=server.url, served_as=NAME)
    assert len(here) == len(there) == 120
    assert len({row.raw for row in here.values()}) > 20, "a model that says one thing proves nothing"
    equal = [key for key, row in here.items() if (row.raw, row.status) == (there[key].raw, there[key].status)]
    assert len(equal) >= 0.98 * len(here), [(here[key].raw, there[key]) for key in here.keys() - {*equal}]
    assert all(row.media == there[key].media for key, row in here.items())


def test_what_the_folder_says_can_be_said_by_hand(
    server: Server, taught_folder: Path, clips: Sequence[Sample], here: dict[tuple[str, str], Prediction]
) -> None:
    settings = make_generator(str(taught_folder)).settings
    names = ("num_frames", "fps", "max_pixels", "min_pixels", "max_audio_s")
    budget = {name: settings["budget"][name] for name in names}
    there = answers(NAME, clips[:12], url=server.url, prompt_style="brief", budget=budget)
    assert sum(row.raw == here[key].raw for key, row in there.items()) >= 23


def test_confidence_is_that_of_the_model_here(
    server: Server, taught_folder: Path, clips: Sequence[Sample], here: dict[tuple[str, str], Prediction]
) -> None:
    there = answers(str(taught_folder), clips[:12], url=server.url, served_as=NAME, confidence=True)
    equal = {key: row for key, row in there.items() if row.raw == here[key].raw}
    assert len(equal) >= 23
    assert sum(row.confidence is not None for row in equal.values()) > 12
    for key, row in equal.items():
        assert row.confidence == (
            None if here[key].confidence is None else pytest.approx(here[key].confidence, abs=2e-3)
        )
        for found, expected in (
            (row.categories, here[key].categories),
            (row.categories_first, here[key].categories_first),
        ):
            assert (found is None) == (expected is None)
            for wheel, of_wheel in (found or {}).items():
                assert of_wheel == pytest.approx((expected or {})[wheel], abs=1e-2)


def test_files_are_answered_too_but_not_as_the_model_was_taught(
    server: Server, clips: Sequence[Sample], here: dict[tuple[str, str], Prediction]
) -> None:
    there = answers(NAME, clips[:6], url=server.url)
    assert all(row.status != "error" for row in there.values())
    assert sum(row.raw == here[key].raw for key, row in there.items()) < 6


def test_a_server_that_is_killed_ends_the_work_with_one_line_and_keeps_the_rows(
    server: Server, taught_folder: Path, clips: Sequence[Sample], tmp_path: Path
) -> None:
    """The last test, for the server is gone then."""
    out = tmp_path / "predictions.jsonl"
    service = Service(server.url, served_as=NAME, num_workers=2)
    generator = make_generator(str(taught_folder), service, max_new_tokens=LONGEST)

    def kill(done: int, total: int) -> None:
        if done >= 8:
            server.kill()

    with pytest.raises(InputError, match=r"no connection .*asked 5 times") as caught:
        generate_to_store(out, clips, generator, ["fast"], kill)
    assert "\n" not in str(caught.value)
    kept = out.read_text().splitlines()
    assert 8 <= len(kept) < 60
    assert not any('"status": "error"' in row for row in kept)
