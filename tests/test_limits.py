"""What is promised at the edges: bounded memory for 100,000 rows and for any number of clips, and a disk that fills."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tests.media.make_media import gray_frames, tone, write_media

pytestmark = pytest.mark.slow

psutil = pytest.importorskip("psutil")  # accelerate brings it

NUM_ROWS = 100_000
PEAK = """
def peak_mb():  # ru_maxrss would begin at the parent's peak
    return next(int(line.split()[1]) // 1024 for line in open("/proc/self/status") if line.startswith("VmHWM:"))
"""


def run(script: str, *arguments: object, command: tuple[str, ...] = ()) -> str:
    """What a script prints in a process of its own."""
    whole = [*command, sys.executable, "-c", PEAK + script, *map(str, arguments)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(whole, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    return done.stdout


CHECKS = """
import sys
from pathlib import Path
from mer_r1.analysis.check import check_manifest
found = check_manifest(Path(sys.argv[1]), limit=1, workers=1)
assert not found.problems
print(found.num_rows, peak_mb())
"""


def test_a_manifest_of_100000_rows_is_checked_in_bounded_memory(tmp_path: Path) -> None:
    write_media(tmp_path / "0.mp4", frames=gray_frames(4), sound=tone(0.5, 16_000))
    with (tmp_path / "many.jsonl").open("w") as manifest:
        for number in range(NUM_ROWS):
            row = {"id": f"clip_{number:06d}", "video": f"{number}.mp4", "subtitle": "I got it.", "labels": ["happy"]}
            manifest.write(json.dumps(row) + "\n")
    printed = run(CHECKS, tmp_path / "many.jsonl")
    assert "100000" in printed
    assert int(printed.split()[-1]) < 300


LOOKS = """
import sys
from pathlib import Path
from mer_r1.media import MediaBudget
from mer_r1.data.sample import Sample
from mer_r1.media.validate import MediaRow, inspect_row, inspect_rows
rows = [MediaRow(k, Sample(str(k), video=Path(sys.argv[1]))) for k in range(12)]
budget = MediaBudget(fps=None, min_pixels=448 * 448, max_pixels=448 * 448)
seen = list(inspect_rows(rows, budget, 1))
here = peak_mb()
assert [inspect_row(row, budget) for row in rows] == seen
print(here, peak_mb())
"""


def test_no_clip_outlives_its_look(tmp_path: Path) -> None:
    """A clip is 19 MB; the first process never holds one, and a worker never two."""
    frames = [np.full((96, 96, 3), k % 200, np.uint8) for k in range(32)]
    clip = write_media(tmp_path / "a.mp4", frames=frames, sound=tone(1.0, 16_000))
    outer, worker = map(int, run(LOOKS, clip).split())
    assert outer < 70
    assert worker < outer + 90


WAITS = """
import sys, time
from pathlib import Path
from mer_r1.media import MediaBudget
from mer_r1.data.sample import Sample
from mer_r1.media.validate import MediaRow, inspect_rows
for _ in inspect_rows([MediaRow(k, Sample(str(k), video=Path(sys.argv[1]))) for k in range(3)], MediaBudget(), 2):
    print("one", flush=True)
    time.sleep(60)
"""


def test_a_killed_check_leaves_no_process_behind(tmp_path: Path) -> None:
    clip = write_media(tmp_path / "a.mp4", frames=gray_frames(4))
    command = [sys.executable, "-c", WAITS, str(clip)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "one\n"
        children = psutil.Process(process.pid).children(recursive=True)
        assert len(children) >= 2
        process.kill()
    until = time.monotonic() + 60
    while any(child.is_running() and child.status() != psutil.STATUS_ZOMBIE for child in children):
        assert time.monotonic() < until
        time.sleep(0.02)


SMALL_DISK = ("unshare", "-rm", "sh", "-c", 'mount -t tmpfs -o size=256k none "$0" && exec "$@"')


@pytest.fixture
def small_disk(tmp_path: Path) -> tuple[str, ...]:
    """The head of a command for which `tmp_path` is a disk of 256 KB."""
    command = (*SMALL_DISK, str(tmp_path))
    try:
        able = subprocess.run([*command, "true"], capture_output=True, check=False).returncode == 0
    except OSError:
        able = False
    if not able:
        pytest.skip("no file system can be mounted here")
    return command


FULL = """
import errno, sys
from pathlib import Path
folder = Path(sys.argv[1])
filler = folder / "filler"

def fill(leave):
    with filler.open("wb", buffering=0) as handle:
        try:
            while True:
                handle.write(bytes(4096))
        except OSError as error:
            assert error.errno == errno.ENOSPC
        handle.truncate(handle.tell() - leave)

def full(work):
    try:
        work()
    except OSError as error:
        assert error.errno == errno.ENOSPC, error
    else:
        raise SystemExit("nothing was full")
"""
WHOLE = """
from mer_r1.data.files import append_json_line, read_json_lines, write_json, write_json_lines
write_json(folder / "a.json", {"kept": True})
write_json_lines(folder / "a.jsonl", [{"kept": True}])
before = [(folder / name).read_bytes() for name in ("a.json", "a.jsonl")]
fill(leave=8192)
full(lambda: write_json(folder / "a.json", {"text": "x" * 50_000}))
full(lambda: write_json_lines(folder / "a.jsonl", ({"text": "x" * 5_000} for _ in range(10))))
assert [(folder / name).read_bytes() for name in ("a.json", "a.jsonl")] == before
assert sorted(path.name for path in folder.iterdir()) == ["a.json", "a.jsonl", "filler"]
filler.unlink()
write_json(folder / "a.json", {"text": "x" * 50_000})
assert (folder / "a.json").stat().st_size > 50_000
"""


def test_a_full_disk_leaves_what_was_there_whole(tmp_path: Path, small_disk: tuple[str, ...]) -> None:
    run(FULL + WHOLE, tmp_path, command=small_disk)


ANSWERS = """
from mer_r1.generation import generate_to_store
from mer_r1.data.predictions import read_predictions
from mer_r1.data.sample import Prediction, Sample

class Generator:
    settings = {"model": "none"}
    def generate(self, samples, mode):
        for sample in samples:
            yield Prediction(sample.id, mode, "x" * 3000, "", ("happy",), "ok")

out, samples = folder / "predictions.jsonl", [Sample(str(k), subtitle="x") for k in range(20)]
fill(leave=40_000)
full(lambda: generate_to_store(out, samples, Generator(), ["fast"]))
kept = [line for line in out.read_text().split("\\n")[:-1]]
assert 5 < len(kept) < 15, len(kept)
full(lambda: generate_to_store(out, samples, Generator(), ["fast"]))  # as full as before, and still nothing is lost
assert out.read_text().split("\\n")[: len(kept)] == kept
filler.unlink()
report = generate_to_store(out, samples, Generator(), ["fast"])
assert 20 - report.num_generated >= len(kept)
lines = out.read_text().split("\\n")
assert lines[: len(kept)] == kept
assert len(lines) == 21  # every line whole, and its end
assert sorted(int(one.id) for one in read_predictions(out)) == list(range(20))
"""


def test_answers_that_meet_a_full_disk_are_kept_and_the_rest_is_asked_later(
    tmp_path: Path, small_disk: tuple[str, ...]
) -> None:
    run(FULL + ANSWERS, tmp_path, command=small_disk)


JUDGED = """
from mer_r1.judge.client import AnswerCache, JudgeError
cache = AnswerCache(folder / "judge.sqlite")
for k in range(5):
    cache.put(f"kept {k}", "judge", "positive" * 100)
fill(leave=0)
try:
    for k in range(50):
        cache.put(f"more {k}", "judge", "x" * 3000)
except JudgeError as error:
    assert "full" in str(error) and str(error).isprintable(), error
else:
    raise SystemExit("nothing was full")
cache.close()
filler.unlink()
cache = AnswerCache(folder / "judge.sqlite")
assert all(cache.get(f"kept {k}") == "positive" * 100 for k in range(5))
cache.put("later", "judge", "x" * 3000)
cache.close()
"""


def test_judgements_that_meet_a_full_disk_are_kept(tmp_path: Path, small_disk: tuple[str, ...]) -> None:
    run(FULL + JUDGED, tmp_path, command=small_disk)


COMMANDS = """
import contextlib, io, json
from mer_r1.commands import main
gold = folder / "gold.jsonl"
gold.write_text(json.dumps({"id": "a", "subtitle": "x", "labels": ["happy"]}) + "\\n")
pred = folder / "pred.jsonl"
pred.write_text(json.dumps({"id": "a", "labels": ["happy"]}) + "\\n")
out = folder / "out.json"
commands = (["score", "--gold", str(gold), "--pred", str(pred), "--json", str(out)],)
for command in commands:
    fill(leave=0)
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
        assert main(command) == 2
    (line,) = said.getvalue().splitlines()
    assert "no space left on the disk; free some and run the same command again" in line, line
    assert not out.exists()
    filler.unlink()
    with contextlib.redirect_stdout(io.StringIO()):
        assert main(command) == 0
    assert out.exists()
    out.unlink()
"""


def test_a_command_says_in_one_line_that_the_disk_is_full_and_works_when_it_is_not(
    tmp_path: Path, small_disk: tuple[str, ...]
) -> None:
    run(FULL + COMMANDS, tmp_path, command=small_disk)
