"""A benchmark in one file: its samples, its question and its score. The loop around it is the package's.

    pip install .
    python examples/new_benchmark.py [--model DIR_OR_HUB_ID] [--out runs/new_benchmark]

Without --model a few lines of Python answer in the place of a model, so it runs offline in a second. The same command
resumes a stopped run and generates failed answers again. To make it a command, `mer-r1 benchmark happy-or-not`, move
the class into a folder under mer_r1/benchmarks/ and add an entry to BENCHMARKS in mer_r1/commands/benchmark.py.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from mer_r1.data.prepared import PreparedSet
from mer_r1.data.sample import Mode, Prediction, Sample
from mer_r1.display.benchmark import print_closing, print_scores
from mer_r1.evaluation.records import MetricsRecord, ScoreRecord, ScoresByMode
from mer_r1.evaluation.suite import AnsweredRun, FoundSets, Outcome, Request, run_benchmark, same_generator
from mer_r1.generation import Generator
from mer_r1.metrics.accuracy import score_accuracy
from mer_r1.prompting.templates import PROMPT_TEMPLATES

LABELS = ("happy", "unhappy")
LINES = {
    "plain": (("I won the prize!", "happy"), ("My dog died.", "unhappy"), ("What a lovely day.", "happy")),
    "ironic": (("Great, it broke again.", "unhappy"), ("I could not be less sad.", "happy")),
}


class HappyOrNot:
    """Two sets of one-line subtitles; the model chooses a label, and accuracy is the score."""

    name = "happy-or-not"
    title = "Happy or not"
    settings: Mapping[str, Any] = {}

    def find_sets(self, request: Request) -> FoundSets:
        """What is asked. A real benchmark reads `request.data` and names what is missing in `PreparedSet.missing`."""
        found = {}
        for name in request.choose(LINES):
            rows = enumerate(LINES[name][: request.limit])
            samples = [Sample(f"{n}", subtitle=text, labels=(gold,), candidates=LABELS) for n, (text, gold) in rows]
            found[name] = PreparedSet(name, name.title(), tuple(samples))
        return FoundSets(found)

    def generators(self, request: Request, sets: Sequence[str]) -> Mapping[str, Generator]:
        """Who answers each set, by which question: here one that shows the candidates."""
        if request.model == "keywords":
            return dict.fromkeys(sets, Keywords())
        return same_generator(request, sets, PROMPT_TEMPLATES["choice"])

    def score(self, run: AnsweredRun) -> Outcome:
        """The score of each set and mode, over `item.samples`: those whose answers count."""
        sets: dict[str, ScoresByMode] = {}
        for name, item in run.sets.items():
            scores: dict[Mode, ScoreRecord] = {}
            for mode, answers in item.answers.items() if item.samples else ():
                labels = {row.id: row.labels for row in answers.values()}
                report = score_accuracy(item.samples, labels, name=name, mode=mode).as_json()
                scores[mode] = ScoreRecord(measure="accuracy", failed=len(item.failed[mode]), **report)
            if scores:
                sets[name] = ScoresByMode.of(scores, item.prepared.title)
        return Outcome(run, MetricsRecord(sets=sets))


class Keywords:
    """A generator: `settings` is everything that decides an answer, `generate` gives one prediction a sample."""

    settings: Mapping[str, Any] = {"model": "keywords", "happy": "won|lovely"}

    def generate(self, samples: Sequence[Sample], mode: Mode) -> Iterator[Prediction]:
        for sample in samples:
            label = "happy" if any(word in str(sample.subtitle) for word in ("won", "lovely")) else "unhappy"
            yield Prediction(sample.id, mode, label, "", (label,), "ok")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark and print its table; 1 where answers failed, otherwise 0."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="keywords")
    parser.add_argument("--out", type=Path, default=Path("runs/new_benchmark"))
    options = parser.parse_args(arguments)
    outcome = run_benchmark(HappyOrNot(), Request(options.model, data=Path(), out=options.out, modes=("fast",)))
    if outcome is None:
        return 0  # one of several processes, not the first
    print_scores(outcome, Console())
    print_closing(outcome, Console())
    return outcome.exit_status


if __name__ == "__main__":
    raise SystemExit(main())
