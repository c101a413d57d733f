"""Clips a second of `predict` over MiniMER clips, by what runs the model, as one JSON object.

    python perf/serve.py [--clips 200] [--model FOLDER] [--ways local vllm server] [--workers 8] [--threads 2]

local    our own loop in the process of the command
vllm     `--engine vllm`, the offline engine in that process
server   `--url`: a `vllm serve` on this machine, started for it, `--workers` requests at a time

Every way answers the same clips, fast and slow, by the command itself in a process of its own: once one clip, once all.
`first_s` are the seconds of the one, start, loading and a server's first request included, `seconds` those of all.

clips_per_s   (clips - 1) / (seconds - first_s)
failed        answers that are errors; a number other than 0 makes the rest void

Without --model the model is a random tiny Thinker, whose answers go on to `--max-new-tokens`; FOLDER is a checkpoint in
the official layout, whose answers end by themselves. Run it alone on the machine.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
START_S = 600.0
NAME = "mine"
STDERR = 2  # what others print is none of the JSON object


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, and print the JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=200)
    parser.add_argument("--model", type=Path, help="a checkpoint's folder in the official layout")
    parser.add_argument("--ways", nargs="+", choices=("local", "vllm", "server"), default=["local", "vllm", "server"])
    parser.add_argument("--workers", type=int, default=8, help="requests to the server at a time")
    parser.add_argument("--max-new-tokens", type=int, default=64)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args(argv)
    if options.clips < 2:
        parser.error("--clips: give 2 or more")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = prepare(folder, options)
        ways = {way: measured(way, model, folder, options) for way in options.ways}
    given = ("clips", "workers", "max_new_tokens", "threads")
    print(
        json.dumps(
            {
                **ways,
                **{name: getattr(options, name) for name in given},
                "model": "given" if options.model else "random",
                "machine": platform.processor() or platform.machine(),
            }
        )
    )


def prepare(folder: Path, options: argparse.Namespace) -> Path:
    """Write `all.jsonl` and `one.jsonl`, and the model where none is given; the model's folder."""
    from mer_r1.data.manifest import read_manifest, write_manifest
    from mer_r1.models.tiny.omni import write_tiny
    from mer_r1.synthetic.corpus import Plan, minimer_texts, write_corpus

    written = write_corpus(Plan(num=2 * options.clips, seed=7), folder / "data")
    samples = [sample for part in written.values() for sample in read_manifest(part)][: options.clips]
    assert len(samples) == options.clips
    write_manifest(folder / "data" / "all.jsonl", samples)
    write_manifest(folder / "data" / "one.jsonl", samples[:1])
    return Path(options.model).resolve() if options.model else write_tiny(folder / "model", minimer_texts(300))


def measured(way: str, model: Path, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Seconds, clips a second and failures of one way."""
    arguments = {"local": [], "vllm": ["--engine", "vllm"]}.get(way)
    if arguments is not None:
        return _answered(way, model, folder, arguments, options)
    with served(model, options) as url:
        arguments = ["--url", url, "--served-as", NAME, "--workers", str(options.workers)]
        return _answered(way, model, folder, arguments, options)


def _answered(way: str, model: Path, folder: Path, arguments: list[str], options: argparse.Namespace) -> dict[str, Any]:
    seconds = {}
    for part in ("one", "all"):
        out = folder / way / f"{part}.jsonl"
        out.parent.mkdir(exist_ok=True)
        command = [sys.executable, "-m", "mer_r1", "predict", "--manifest", str(folder / "data" / f"{part}.jsonl")]
        command += ["--model", str(model), "--out", str(out), "--max-new-tokens", str(options.max_new_tokens)]
        began = time.perf_counter()
        done = subprocess.run([*command, *arguments], env=environment(options), stdout=STDERR, check=False)
        seconds[part] = time.perf_counter() - began
        if done.returncode not in (0, 1):
            raise SystemExit(f"{way}: predict ended with status {done.returncode}; see above")
    rows = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    return {
        "clips_per_s": round((options.clips - 1) / max(seconds["all"] - seconds["one"], 1e-9), 2),
        "seconds": round(seconds["all"], 2),
        "first_s": round(seconds["one"], 2),
        "failed": sum(row["status"] == "error" for row in rows),
    }


def environment(options: argparse.Namespace) -> dict[str, str]:
    """Of every process: its threads, and no more of vLLM than this machine has."""
    chosen = {"OMP_NUM_THREADS": str(options.threads), "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1"}
    vllm = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind"}
    return vllm | os.environ | chosen | {"PYTHONPATH": str(ROOT)}


@contextmanager
def served(model: Path, options: argparse.Namespace) -> Iterator[str]:
    """A `vllm serve` of the model on loopback; its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "tests.vllm_serve", "serve", str(model), "--enforce-eager"]
    command += ["--host", "127.0.0.1", "--port", str(port), "--served-model-name", NAME, "--trust-request-mm-kwargs"]
    command += ["--dtype", "float32", "--max-model-len", "1024", "--max-num-seqs", str(2 * options.workers)]
    command += ["--limit-mm-per-prompt", '{"video": 1, "audio": 1, "image": 1}']
    process = subprocess.Popen(command, env=environment(options), cwd=ROOT, stdout=STDERR, start_new_session=True)
    try:
        _wait_for(f"http://127.0.0.1:{port}/health", process)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _wait_for(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            time.sleep(0.5)
    raise SystemExit("server: vllm serve did not start; see above")


if __name__ == "__main__":
    main()
