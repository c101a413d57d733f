"""What the report page costs: one JSON object with seconds, megabytes, milliseconds, and whether each bar is kept.

    python perf/report_page.py [--samples 20000] [--folder DIR]

run       two systems with the answers of both modes to as many synthetic samples, reasoning of about 600 characters
          each, confidences in every category; written to DIR (default: a temporary folder)
render    the whole page from these files, with all scores, intervals and plots; peak memory of the process
open      from navigation to the first painted list, in headless Chromium (needs selenium and chromium)
filter    the slowest of several filters, painted
"""

from __future__ import annotations

import argparse
import json
import math
import random
import resource
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from shutil import which
from tempfile import TemporaryDirectory
from typing import Any

from mer_r1.data.files import write_json_lines
from mer_r1.emotion.wheel import WheelSet
from mer_r1.report.page import write_page

OPEN_S, FILTER_MS = 2.0, 100.0
NUM_FILES = 100
REASONING_CHARACTERS = 600
SYSTEMS = ("first", "second")


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=20_000)
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args(arguments)
    with TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        runs = write_runs(folder, options.samples)
        start = time.perf_counter()
        page, _ = write_page(*runs, out=folder / "report.html")
        result: dict[str, Any] = {
            "samples": options.samples,
            "answers": 2 * len(SYSTEMS) * options.samples,
            "render_s": round(time.perf_counter() - start, 2),
            "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
            "page_mb": round(page.stat().st_size / 1e6, 1),
            **in_chromium(page),
        }
    result["bars"] = {
        name: {"bar": bar, "kept": None if result[name] is None else result[name] < bar}
        for name, bar in (("open_s", OPEN_S), ("filter_ms", FILTER_MS))
    }
    print(json.dumps(result, indent=2))


def write_runs(folder: Path, num: int) -> list[Path]:
    """Two folders of manifest.jsonl and predictions.jsonl on the same gold."""
    wheels, draw = WheelSet.load(), random.Random(0)
    words = list(wheels.words)
    clips = folder / "clips"
    clips.mkdir(parents=True, exist_ok=True)
    for number in range(NUM_FILES):
        (clips / f"{number}.mp4").touch()
    gold = [draw.sample(words, draw.randint(1, 4)) for _ in range(num)]
    lines = [" ".join(draw.sample(words, 10)) for _ in range(500)]
    for name in SYSTEMS:
        manifest = [
            {
                "id": f"clip-{n:06}",
                "video": f"../clips/{n % NUM_FILES}.mp4",
                "subtitle": lines[n % 500],
                "labels": labels,
            }
            for n, labels in enumerate(gold)
        ]
        write_json_lines(folder / name / "manifest.jsonl", manifest)
        write_json_lines(folder / name / "predictions.jsonl", predictions(gold, words, lines, wheels, draw))
    return [folder / name for name in SYSTEMS]


def predictions(
    gold: Sequence[Sequence[str]], words: Sequence[str], lines: Sequence[str], wheels: WheelSet, draw: random.Random
) -> Iterator[dict[str, Any]]:
    """Rows of both modes: some gold words and some others."""
    for number, labels in enumerate(gold):
        for mode in ("fast", "slow"):
            text = ""
            while mode == "slow" and len(text) < REASONING_CHARACTERS:
                text += draw.choice(lines).capitalize() + ". "
            yield {
                "id": f"clip-{number:06}",
                "mode": mode,
                "raw": f"<think>{text}</think>",
                "reasoning": text,
                "labels": draw.sample(list(labels), draw.randint(0, len(labels))) + draw.sample(words, 1),
                "status": "ok",
                "categories": confidences(wheels, draw),
                "categories_first": confidences(wheels, draw),
            }


def confidences(wheels: WheelSet, draw: random.Random) -> dict[str, dict[str, float]]:
    """A log-confidence for every category of every wheel."""
    return {
        wheel: {category: round(math.log(draw.random() + 1e-6), 5) for category in categories}
        for wheel, categories in zip(wheels.names, wheels.categories_of, strict=True)
    }


def in_chromium(page: Path) -> dict[str, float | None]:
    """Seconds until the page is ready and milliseconds of its slowest filter; None where no browser can be driven."""
    try:
        from selenium import webdriver
    except ModuleNotFoundError:
        print("no selenium; pip install selenium", file=sys.stderr)
        return {"open_s": None, "filter_ms": None}
    found = which("chromedriver")
    if found is None:
        print("no chromedriver on the path; install chromium with its driver", file=sys.stderr)
        return {"open_s": None, "filter_ms": None}
    options = webdriver.ChromeOptions()
    options.page_load_strategy = "none"
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1280,900"):
        options.add_argument(argument)
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(found))
    try:
        driver.set_script_timeout(120)
        driver.get("about:blank")
        start = time.perf_counter()
        driver.get(page.resolve().as_uri())
        while driver.execute_script("return window.merR1Ready") is not True:
            if time.perf_counter() - start > 120:
                raise SystemExit("the page was not ready after 120 s")
            time.sleep(0.01)
        open_s = time.perf_counter() - start
        measure = "const done = arguments[0]; window.merR1.measureFilter().then(done)"
        return {"open_s": round(open_s, 2), "filter_ms": round(driver.execute_async_script(measure), 1)}
    finally:
        driver.quit()


if __name__ == "__main__":
    main()
