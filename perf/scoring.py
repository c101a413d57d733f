"""What scoring costs: one JSON object with microseconds a sample, seconds a command, and whether each bar is kept.

    python perf/scoring.py [--wheels builtin|official|mer2026|DIR] [--protocol official|corrected]

load        the wheels, from the compiled table that the first use leaves in the cache folder
reward      one sample at a time: a gold list and a raw prediction string to recall, precision and F1; a third of the
            predicted words has never been seen before
response    the same from a model's whole text, tags and reasoning included, to all rewards
corpus      100,000 such samples to the corpus scores; "report" adds intervals and constant answers
bootstrap   1,000 resamples over 12,799 samples, the size of MER-UniBench
command     `mer-r1 score` on 5,000 rows in a process of its own: wall time, its share without rows, peak memory

Every time is the best of several. With tables of the official kind `ratio` compares a reward call with reading the five
wheel workbooks once, which the official code does for every sample that is scored alone. Words are drawn at random from
the wheels, 1 to 4 of gold and 1 to 5 predicted.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mer_r1.data.labels import read_labels
from mer_r1.emotion.wheel import WheelSet
from mer_r1.metrics.corpus_score import score
from mer_r1.metrics.open_vocabulary import (
    bootstrap_measures,
    set_statistics,
    stack,
    statistics_of,
    terms,
    wheel_scores,
)
from mer_r1.metrics.rewards import sample_scores, score_response
from mer_r1.metrics.statistics import bootstrap_intervals
from mer_r1.prompting.response import parse_response

NUM_CORPUS = 100_000
NUM_BENCHMARK = 12_799
NUM_ROWS = 5_000
REPEATS = 5
BARS = {"reward_us": 15.0, "corpus_us": 6.0, "bootstrap_s": 1.0, "command_s": 0.8}

Pairs = list[tuple[list[str], str]]


def main() -> None:
    """Measure, and print the JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--wheels", default="builtin")
    parser.add_argument("--protocol", default="official", choices=("official", "corrected"))
    options = parser.parse_args()
    wheels = WheelSet.load(options.wheels, protocol=options.protocol)
    result: dict[str, Any] = {"wheels": wheels.source, "protocol": options.protocol}
    result["load_ms"] = min(load_ms(options.wheels, options.protocol) for _ in range(REPEATS))
    result |= command_times(wheels, options.wheels, options.protocol)
    pairs = corpus(wheels, NUM_CORPUS)
    result |= {
        "reward_us": 1e6 * best(lambda: rewards(pairs[:10_000], wheels)) / 10_000,
        "response_us": 1e6 * best(lambda: responses(pairs[:10_000], wheels)) / 10_000,
        "corpus_us": 1e6 * best(lambda: corpus_scores(pairs, wheels)) / NUM_CORPUS,
        "report_us": 1e6 * best(lambda: report(pairs, wheels), repeats=2) / NUM_CORPUS,
        "bootstrap_s": bootstrap(pairs[:NUM_BENCHMARK], wheels),
    }
    folder = Path(options.wheels)
    if folder.is_dir():
        result["workbooks_us"] = 1e6 * best(lambda: read_workbooks(folder))
        result["ratio"] = result["workbooks_us"] / result["reward_us"]
    result["bars"] = {name: {"at_most": bar, "kept": result[name] <= bar} for name, bar in BARS.items()}
    print(json.dumps({name: round(x, 3) if isinstance(x, float) else x for name, x in result.items()}, indent=2))


def best(run: Callable[[], object], repeats: int = REPEATS) -> float:
    """Seconds of the fastest of several runs."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return min(times)


def load_ms(source: str, protocol: str) -> float:
    """Milliseconds of `WheelSet.load` in a process of its own, modules imported before and the compiled table there."""
    code = (
        "import sys, time, mer_r1.emotion.wheel, platformdirs\n"
        "start = time.perf_counter()\n"
        "mer_r1.emotion.wheel.WheelSet.load(sys.argv[1], protocol=sys.argv[2])\n"
        "print(1e3 * (time.perf_counter() - start))"
    )
    done = subprocess.run([sys.executable, "-c", code, source, protocol], check=True, capture_output=True, text=True)
    return float(done.stdout)


def corpus(wheels: WheelSet, num_samples: int) -> Pairs:
    """Gold lists and raw prediction strings; a third of the predicted words is made up and stands once."""
    chance, words = random.Random(0), wheels.words
    pairs: Pairs = []
    for number in range(num_samples):
        predicted = chance.choices(words, k=chance.randint(1, 5))
        predicted = [f"{word}x{number}" if chance.random() < 1 / 3 else word for word in predicted]
        pairs.append((chance.choices(words, k=chance.randint(1, 4)), f"[{', '.join(predicted)}]"))
    return pairs


def rewards(pairs: Pairs, wheels: WheelSet) -> None:
    """Each sample alone, from its label fields."""
    parser = wheels.protocol.parser
    for gold, predicted in pairs:
        sample_scores(set_statistics(read_labels(gold, parser)[0], read_labels(predicted, parser)[0], wheels))


def responses(pairs: Pairs, wheels: WheelSet) -> None:
    """Each sample alone, from the text of a model."""
    for gold, predicted in pairs:
        text = f"<think>The voice is low and the eyes look away.</think><answer>{predicted}</answer>"
        score_response(parse_response(text), gold, wheels)


def corpus_scores(pairs: Pairs, wheels: WheelSet) -> None:
    """All samples together: label fields to P, R, F1 and HIT."""
    parser = wheels.protocol.parser
    sides = (
        (wheels.map_words(read_labels(gold, parser)[0]), wheels.map_words(read_labels(predicted, parser)[0]))
        for gold, predicted in pairs
    )
    wheel_scores(stack([statistics_of(gold, predicted, wheels) for gold, predicted in sides]))


def report(pairs: Pairs, wheels: WheelSet) -> None:
    """The whole report of `score`."""
    score(
        {str(number): gold for number, (gold, _) in enumerate(pairs)},
        {str(number): predicted for number, (_, predicted) in enumerate(pairs)},
        wheels,
    )


def bootstrap(pairs: Pairs, wheels: WheelSet) -> float:
    """Seconds of the intervals alone."""
    table = terms(stack([set_statistics(gold, predicted[1:-1].split(", "), wheels) for gold, predicted in pairs]))
    flat = table.reshape(len(table), -1)
    return best(lambda: bootstrap_intervals(flat, bootstrap_measures, num_resamples=1000))


def command_times(wheels: WheelSet, source: str, protocol: str) -> dict[str, float]:
    """Wall seconds of the command on many rows and on one, and the peak memory of the first in MB."""
    with tempfile.TemporaryDirectory() as folder:
        many, one = (written(Path(folder) / name, corpus(wheels, n)) for name, n in (("many", NUM_ROWS), ("one", 1)))
        options = ["--wheels", source, "--protocol", protocol]
        many_s = best(lambda: command(many, options))
        peak_mb = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
        return {"command_s": many_s, "start_s": best(lambda: command(one, options)), "peak_mb": peak_mb}


def written(folder: Path, pairs: Pairs) -> Path:
    """A folder with the gold and the predictions of `pairs`."""
    folder.mkdir()
    with (folder / "gold.jsonl").open("w") as gold, (folder / "pred.jsonl").open("w") as pred:
        for number, (labels, predicted) in enumerate(pairs):
            gold.write(json.dumps({"id": str(number), "labels": labels}) + "\n")
            pred.write(json.dumps({"id": str(number), "labels": predicted}) + "\n")
    return folder


def command(folder: Path, options: list[str]) -> None:
    """`mer-r1 score` in a process of its own."""
    files = ["--gold", str(folder / "gold.jsonl"), "--pred", str(folder / "pred.jsonl")]
    subprocess.run([sys.executable, "-m", "mer_r1", "score", *files, *options], check=True, stdout=subprocess.DEVNULL)


def read_workbooks(folder: Path) -> None:
    """The five wheel workbooks, read as a spreadsheet library reads them."""
    import openpyxl

    for number in range(1, 6):
        list(openpyxl.load_workbook(folder / f"wheel{number}.xlsx").worksheets[0].iter_rows(values_only=True))


if __name__ == "__main__":
    main()
