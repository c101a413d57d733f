"""The file of answers: what is missing is generated once, whatever stops it, and by however many processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pytest

from mer_r1.data.files import locked
from mer_r1.data.predictions import read_predictions
from mer_r1.data.sample import Mode, Prediction, Sample
from mer_r1.errors import InputError
from mer_r1.generation import failed, generate_to_store
from mer_r1.media import MediaBudget

MODES: tuple[Mode, ...] = ("fast", "slow")


@dataclass
class Echo:
    """Answers with the subtitle; fails for the ids in `faulty`; waits `wait_s` before each."""

    settings: Mapping[str, Any] = field(default_factory=lambda: {"model": {"weights": "a"}, "max_new_tokens": 8})
    faulty: set[str] = field(default_factory=set)
    wait_s: float = 0.0
    asked: list[tuple[str, Mode]] = field(default_factory=list)

    def generate(self, samples: Sequence[Sample], mode: Mode) -> Iterator[Prediction]:
        for sample in samples:
            time.sleep(self.wait_s)
            self.asked.append((sample.id, mode))
            if sample.id in self.faulty:
                yield failed(sample.id, mode, InputError(f"{sample.id}.mp4: broken"))
            else:
                yield Prediction(sample.id, mode, str(sample.subtitle), "", (str(sample.subtitle),), "ok")


def some(num: int = 4) -> list[Sample]:
    return [Sample(f"s{index}", subtitle=f"word{index}") for index in range(num)]


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def keys_of(path: Path) -> list[tuple[str, str]]:
    return [(row["id"], row["mode"]) for row in rows_of(path)]


EVERY = [(f"s{place}", mode) for mode in MODES for place in range(4)]


def test_what_is_there_is_kept_and_new_samples_and_modes_are_generated(tmp_path: Path) -> None:
    out, first, second = tmp_path / "deep" / "out.jsonl", Echo(), Echo()
    seen: list[tuple[int, int]] = []
    report = generate_to_store(out, some(2), first, ("fast",), lambda *done: seen.append(done))
    assert (report.num_total, report.num_generated, report.errors) == (2, 2, {})
    assert seen == [(1, 2), (2, 2)]
    assert generate_to_store(out, some(4), second, MODES).num_generated == 6
    assert second.asked == [("s2", "fast"), ("s3", "fast"), *EVERY[4:]]
    before = out.read_bytes()
    assert generate_to_store(out, some(4), Echo(), MODES).num_generated == 0
    assert out.read_bytes() == before
    assert sorted(path.name for path in out.parent.iterdir()) == ["out.jsonl", "out.jsonl.settings.json"]


def test_an_answer_is_in_the_file_before_the_next_is_generated(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    on_disk: list[int] = []

    class Looks(Echo):
        def generate(self, samples: Sequence[Sample], mode: Mode) -> Iterator[Prediction]:
            for row in super().generate(samples, mode):
                on_disk.append(out.read_bytes().count(b"\n"))
                yield row

    generate_to_store(out, some(5), Looks(), ("slow",))
    assert on_disk == [0, 1, 2, 3, 4]


def test_a_failed_row_is_no_answer_is_tried_again_and_replaced(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    report = generate_to_store(out, some(), Echo(faulty={"s1", "s3"}), ("slow",))
    assert report.errors == {(name, "slow"): f"{name}.mp4: broken" for name in ("s1", "s3")}
    assert "2 of 4 answers failed, such as s1 (slow): s1.mp4: broken; the same command" in report.summary(out)
    again = Echo(faulty={"s3"})
    assert generate_to_store(out, some(), again, ("slow",)).errors == {("s3", "slow"): "s3.mp4: broken"}
    assert [identity for identity, _ in again.asked] == ["s1", "s3"]
    status = {prediction.id: prediction.status for prediction in read_predictions(out)}
    assert status == {"s0": "ok", "s1": "ok", "s2": "ok", "s3": "error"}
    assert generate_to_store(out, some(), Echo(), ("slow",)).summary(out) == ""


CHANGED: list[tuple[dict[str, Any], str]] = [
    ({"model": {"weights": "b"}, "max_new_tokens": 8}, "made with model.weights a, not b"),
    ({"model": {"weights": "a"}, "max_new_tokens": 9}, "made with max_new_tokens 8, not 9"),
    ({"model": {"weights": "a"}}, "made with max_new_tokens 8, not None"),
    ({"model": {"weights": "a"}, "max_new_tokens": 8, "top_p": 1}, "made with top_p None, not 1"),
]


@pytest.mark.parametrize(("settings", "message"), CHANGED, ids=[message for _, message in CHANGED])
def test_another_setting_is_an_error_with_both_values_and_nothing_is_mixed(
    settings: dict[str, Any], message: str, tmp_path: Path
) -> None:
    out = tmp_path / "out.jsonl"
    generate_to_store(out, some(2), Echo(), ("slow",))
    before = [path.read_bytes() for path in sorted(tmp_path.iterdir())]
    with pytest.raises(InputError, match=f"^{out}: its answers were {message}; give another --out"):
        generate_to_store(out, some(3), Echo(settings), ("slow",))
    assert [path.read_bytes() for path in sorted(tmp_path.iterdir())] == before


def test_settings_may_change_as_long_as_nothing_is_answered(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    generate_to_store(out, some(1), Echo(faulty={"s0"}), ("slow",))
    assert generate_to_store(out, some(1), Echo({"model": "other"}), ("slow",)).errors == {}


def test_a_sample_that_shows_something_else_now_is_an_error(tmp_path: Path) -> None:
    out, clip = tmp_path / "out.jsonl", tmp_path / "a" / "clip.mp4"
    clip.parent.mkdir()
    clip.write_bytes(b"1234")
    generate_to_store(out, [Sample("s0", video=clip, subtitle="said")], Echo(), ("slow",))
    moved = clip.parent.rename(tmp_path / "b") / "clip.mp4"
    generate_to_store(out, [Sample("s0", video=moved, subtitle="said", labels=("sad",))], Echo(), ("slow",))
    for other in (
        Sample("s0", video=moved, subtitle="other"),
        Sample("s0", video=moved, subtitle="said", candidates=("happy",)),
        Sample("s0", audio=moved, subtitle="said"),
    ):
        with pytest.raises(InputError, match='"s0" was answered with another text or file'):
            generate_to_store(out, [other], Echo(), ("slow",))
    moved.write_bytes(b"12345")
    with pytest.raises(InputError, match='"s0" was answered with another text or file'):
        generate_to_store(out, [Sample("s0", video=moved, subtitle="said")], Echo(), ("slow",))


def test_a_fixed_clip_that_had_failed_is_tried_again(tmp_path: Path) -> None:
    out, clip = tmp_path / "out.jsonl", tmp_path / "clip.mp4"
    generate_to_store(out, [*some(1), Sample("bad", video=clip)], Echo(faulty={"bad"}), ("slow",))
    clip.write_bytes(b"whole now")
    assert generate_to_store(out, [*some(1), Sample("bad", video=clip)], Echo(), ("slow",)).errors == {}


def test_answers_of_unknown_making_are_not_added_to(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    generate_to_store(out, some(1), Echo(), ("slow",))
    record = tmp_path / "out.jsonl.settings.json"
    record.write_text("[]")
    with pytest.raises(InputError, match=r"settings\.json: cannot be read"):
        generate_to_store(out, some(1), Echo(), ("slow",))
    record.unlink()
    with pytest.raises(InputError, match=r"settings\.json, which says how its answers were made, is missing"):
        generate_to_store(out, some(1), Echo(), ("slow",))


def test_answers_of_version_0_1_0_are_resumed_whose_settings_have_the_older_names(tmp_path: Path) -> None:
    out, record = tmp_path / "out.jsonl", tmp_path / "out.jsonl.settings.json"
    model = {"weights": "a", "kind": "CausalLMBackbone"}
    budget = asdict(MediaBudget())
    settings = {"model": model, "prompt": {"system": "", "response_format": "think_answer"}, "budget": budget}
    generate_to_store(out, some(2), Echo(settings))
    text = record.read_text().replace("response_format", "profile").replace("CausalLMBackbone", "WordsOnlyBackbone")
    kept = json.loads(text)
    del kept["settings"]["budget"]["audio_tokens_per_s"]
    record.write_text(json.dumps(kept))
    assert generate_to_store(out, some(3), Echo(settings)).num_generated == 2


def test_a_file_cut_anywhere_ends_with_every_row_once(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    samples = [Sample("s0", subtitle="plain"), Sample("s1", subtitle="a\u2028b}\n{ü")]
    generate_to_store(out, samples, Echo(), ("slow",))
    whole = out.read_bytes()
    for index in (*range(0, len(whole), 9), *range(whole.index(b"\n") - 2, whole.index(b"\n") + 9), len(whole) - 1):
        out.write_bytes(whole[:index])
        generate_to_store(out, samples, Echo(), ("slow",))
        assert out.read_bytes() == whole, index


@pytest.mark.parametrize("data", [b'wrong\n{"id": "cut', b'{"id": \n{"id": "a"}\n', b"\xff\n"])
def test_an_error_that_no_stop_explains_is_named_and_left_alone(data: bytes, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    out.write_bytes(data)
    with pytest.raises(InputError, match=r"out\.jsonl:1: not"):
        generate_to_store(out, some(1), Echo(), ("slow",))
    assert out.read_bytes() == data


def test_a_second_process_on_the_same_file_is_refused_and_one_beside_it_is_not(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    with locked(tmp_path / "out.jsonl.parts"):
        with pytest.raises(InputError, match="another process is at work here"):
            generate_to_store(out, some(1), Echo(), ("slow",))
        assert generate_to_store(tmp_path / "other.jsonl", some(1), Echo(), ("slow",)).num_generated == 1
    assert not out.exists()
    assert generate_to_store(out, some(1), Echo(), ("slow",)).num_generated == 1


SCRIPT = """
import sys
from pathlib import Path
from mer_r1.generation import generate_to_store
from tests.generation.test_store import Echo, some
out, num, wait_s = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
print(generate_to_store(out, some(num), Echo(wait_s=wait_s)).num_generated)
"""
ROOT = Path(__file__).parents[2]


def start(out: Path, num: int, wait_s: float, rank: int = 0, world: int = 1) -> subprocess.Popen[str]:
    index = {"RANK": str(rank), "WORLD_SIZE": str(world)}
    command = [sys.executable, "-c", SCRIPT, str(out), str(num), str(wait_s)]
    return subprocess.Popen(command, cwd=ROOT, env={**os.environ, **index}, stdout=subprocess.PIPE, text=True)


def wait_for_rows(path: Path, num: int) -> None:
    for _ in range(2000):
        if path.exists() and path.read_bytes().count(b"\n") >= num:
            return
        time.sleep(0.01)
    raise AssertionError(f"{path}: never {num} rows")


def kill(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGKILL)
    process.communicate()


def by_key(path: Path) -> dict[tuple[str, str], dict[str, Any]]:
    rows = rows_of(path)
    assert len(rows) == len({(row["id"], row["mode"]) for row in rows})
    return {(row["id"], row["mode"]): row for row in rows}


@pytest.mark.slow
def test_killed_in_the_middle_and_repeated_it_ends_with_the_same_rows(tmp_path: Path) -> None:
    generate_to_store(tmp_path / "whole.jsonl", some(30), Echo())
    out = tmp_path / "out.jsonl"
    running = start(out, 30, 0.1)  # it is still at work when it is killed, on a busy machine too
    wait_for_rows(out, 5)
    with pytest.raises(InputError, match=rf"another process is at work here \(pid {running.pid}\)"):
        generate_to_store(out, some(30), Echo())
    kill(running)
    asked = Echo()
    generate_to_store(out, some(30), asked)
    assert 0 < len(asked.asked) <= 55
    assert by_key(out) == by_key(tmp_path / "whole.jsonl")


@pytest.mark.slow
def test_two_processes_make_the_rows_of_one(tmp_path: Path) -> None:
    generate_to_store(tmp_path / "whole.jsonl", some(9), Echo())
    out = tmp_path / "out.jsonl"
    both = [start(out, 9, 0.01, rank, 2) for rank in (0, 1)]
    counts = [int(process.communicate(timeout=60)[0]) for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert counts[0] == 18, "the first process reports on all"
    assert by_key(out) == by_key(tmp_path / "whole.jsonl")
    names = {"out.jsonl", "out.jsonl.settings.json", "whole.jsonl", "whole.jsonl.settings.json"}
    assert {path.name for path in tmp_path.iterdir()} == names


def test_the_first_process_reports_on_what_another_wrote_before_it_began(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out.jsonl"
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank in ("1", "0"):
        monkeypatch.setenv("RANK", rank)
        report = generate_to_store(out, some(9), Echo())
        assert report.num_generated == {"1": 8, "0": 18}[rank]


@pytest.mark.slow
def test_a_process_that_comes_late_waits_for_the_first_and_leaves_nothing(tmp_path: Path) -> None:
    generate_to_store(tmp_path / "whole.jsonl", some(20), Echo())
    out, parts = tmp_path / "out.jsonl", tmp_path / "out.jsonl.parts"
    first = start(out, 20, 0.05, 0, 2)
    wait_for_rows(out, 21)  # its own share is done: it asks the other's
    second = start(out, 20, 0.05, 1, 2)
    counts = [int(process.communicate(timeout=60)[0]) for process in (first, second)]
    assert counts == [40, 0]
    assert by_key(out) == by_key(tmp_path / "whole.jsonl")
    assert not parts.exists()


@pytest.mark.slow
def test_the_share_of_a_process_that_dies_is_taken_over(tmp_path: Path) -> None:
    generate_to_store(tmp_path / "whole.jsonl", some(20), Echo())
    out = tmp_path / "out.jsonl"
    second = start(out, 20, 0.2, 1, 2)
    wait_for_rows(tmp_path / "out.jsonl.parts" / "1" / "predictions.jsonl", 3)
    first = start(out, 20, 0.0, 0, 2)
    wait_for_rows(out, 20)
    kill(second)
    first.communicate(timeout=60)
    assert first.returncode == 0
    assert by_key(out) == by_key(tmp_path / "whole.jsonl")


@pytest.mark.slow
def test_what_a_killed_launch_left_is_kept_by_one_process_and_by_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    generate_to_store(tmp_path / "whole.jsonl", some(12), Echo())
    for world in (1, 3):
        out = tmp_path / f"{world}.jsonl"
        part = tmp_path / f"{world}.jsonl.parts" / "1" / "predictions.jsonl"
        running = start(out, 12, 0.1, 1, 2)
        wait_for_rows(part, 3)
        kill(running)
        part.write_bytes(part.read_bytes() + b'{"id": "s5", "mo')
        left = part.read_bytes().count(b"\n")
        monkeypatch.setenv("WORLD_SIZE", str(world))
        monkeypatch.setenv("RANK", "0")
        asked = Echo()
        generate_to_store(out, some(12), asked)
        assert len(asked.asked) == 24 - left
        assert by_key(out) == by_key(tmp_path / "whole.jsonl")
        assert not part.parent.exists()


def test_a_part_that_was_half_moved_is_moved_once_and_its_failed_rows_are_tried_again(tmp_path: Path) -> None:
    out, part = tmp_path / "out.jsonl", tmp_path / "out.jsonl.parts" / "1" / "predictions.jsonl"
    generate_to_store(out, some(2), Echo(), ("slow",))
    part.parent.mkdir(parents=True)
    moved = out.read_text()
    bad = json.dumps({"id": "s2", "mode": "slow", "status": "error", "error": "no film"})
    part.write_text(f"{moved}{bad}\n")
    asked = Echo()
    report = generate_to_store(out, some(4), asked, ("slow",))
    assert asked.asked == [("s2", "slow"), ("s3", "slow")]
    assert (report.num_generated, report.errors) == (2, {})
    assert keys_of(out) == [(name, "slow") for name in ("s0", "s1", "s2", "s2", "s3")]
