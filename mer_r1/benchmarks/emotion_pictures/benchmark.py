"""Emotion pictures: sets of pictures with candidate labels, scored by accuracy (EMO-R3, arXiv 2602.23802, Section 4).

    mer-r1 benchmark emotion-pictures --model RUN --data DIR --in-domain emoset

DIR holds NAME.jsonl of each set, as `prepare` or `synth --pictures` writes them. Convention: an answer without a label
is wrong; what failed is counted as answered.py says. The parser and the match are those of the accuracy reward. Means
are those of the paper's main table, plain over sets. OUT/SET/score.json keeps the report of a set.

    A^I   accuracy on the set that was trained on     A^O   mean over the other sets     A   mean over all of them
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mer_r1.benchmarks.emotion_pictures.layouts import title_of
from mer_r1.data.files import write_json
from mer_r1.data.manifest import read_manifest
from mer_r1.data.prepared import PreparedSet
from mer_r1.data.sample import Mode, Sample
from mer_r1.errors import InputError
from mer_r1.evaluation.records import MetricsRecord, ScoreRecord, ScoresByMode
from mer_r1.evaluation.suite import AnsweredRun, FoundSets, Outcome, Request, same_generator
from mer_r1.generation import Generator
from mer_r1.metrics.accuracy import PARSER, AccuracyReport, gold_error, mean_accuracy, score_accuracy
from mer_r1.metrics.signature import signature
from mer_r1.metrics.statistics import or_none
from mer_r1.prompting.templates import PROMPT_TEMPLATES
from mer_r1.text import printable

NAME = "emotion-pictures"
_SET_NAME = re.compile(r"\w[\w.-]*")

Json = dict[str, Any]


@dataclass(frozen=True)
class EmotionPictures:
    """The benchmark: `in_domain` names the set whose training part the model was trained on.

    `template` names a prompt template; None is the model's own.
    """

    in_domain: str | None = None
    template: str | None = None

    name = NAME
    title = "Emotion pictures"

    @property
    def settings(self) -> Mapping[str, Any]:
        return {"in_domain": self.in_domain}

    def find_sets(self, request: Request) -> FoundSets:
        """The sets of the folder by name, each row with gold among its candidates. Raises InputError."""
        if self.template not in (None, *PROMPT_TEMPLATES):
            raise InputError(
                f"--prompt-style {printable(self.template)}: not known; use one of {', '.join(PROMPT_TEMPLATES)}"
            )
        data = request.data
        there = {path.stem: path for path in sorted(data.glob("*.jsonl")) if _SET_NAME.fullmatch(path.stem)}
        if not there:
            raise InputError(f"{data}: no NAME.jsonl in it; `mer-r1 prepare emoset` or `synth --pictures` write one")
        names = request.choose(there)
        if self.in_domain is not None and self.in_domain not in names:
            raise InputError(f"--in-domain: {printable(self.in_domain)!r} is none of {', '.join(names)}")
        names.sort(key=lambda name: name != self.in_domain)
        found = {}
        for name in names:
            samples = read_manifest(there[name])[: request.limit]
            validate_gold(there[name], samples)
            found[name] = PreparedSet(name, title_of(name), tuple(samples))
        return FoundSets(found)

    def generators(self, request: Request, sets: Sequence[str]) -> Mapping[str, Generator]:
        """The model, by its own question or another. Raises InputError for a question that shows no candidates."""
        template = None if self.template is None else PROMPT_TEMPLATES[self.template]
        generators = same_generator(request, sets, template)
        if "{candidates}" not in str(next(iter(generators.values())).settings["prompt"]):
            raise InputError(
                f"{request.model}: its question shows no candidates to choose from; give --prompt-style choice, or set"
            )
        return generators

    def score(self, run: AnsweredRun) -> Outcome:
        """The accuracy of every set, and the means over sets."""
        reports: dict[str, dict[Mode, AccuracyReport]] = {}
        sets: dict[str, ScoresByMode] = {}
        for name, item in run.sets.items():
            if not item.samples:
                continue
            reports[name] = {
                mode: score_accuracy(
                    item.samples, {row.id: row.labels for row in answers.values()}, name=name, mode=mode
                )
                for mode, answers in item.answers.items()
            }
            numbers = {
                mode: report.as_json() | {"failed": len(item.failed[mode])} for mode, report in reports[name].items()
            }
            write_json(item.folder / "score.json", {"modes": numbers})
            records = {mode: ScoreRecord(measure="accuracy", **report) for mode, report in numbers.items()}
            sets[name] = ScoresByMode.of(records, item.prepared.title)
        modes = run.request.modes
        means: dict[str, Json] = {
            mode: self._means({name: by_mode[mode] for name, by_mode in reports.items()}) for mode in modes
        }
        whole = signature(
            set=f"{NAME}/{'+'.join(reports)}",
            n=sum(by_mode[modes[0]].n for by_mode in reports.values()),
            parser=PARSER,
            mode="+".join(modes),
        )
        return Outcome(run, MetricsRecord(sets=sets, means=means, signature=whole, **self.settings))

    def _means(self, reports: Mapping[str, AccuracyReport]) -> Json:
        """A^I, A^O and A of one mode, each with its interval."""
        means: Json = {}
        for key, names in domains(reports, self.in_domain).items():
            if names:
                value, interval = mean_accuracy([reports[name] for name in names])
                bounds = [or_none(interval.low), or_none(interval.high)]
                means[key] = {"accuracy": value, "interval": bounds, "num_sets": len(names)}
        return means


def domains(sets: Iterable[str], in_domain: str | None) -> dict[str, list[str]]:
    """Over which sets A^I, A^O and A are means; none for the first two without `in_domain`."""
    names = list(sets)
    if in_domain not in names:
        return {"A^I": [], "A^O": [], "A": names}
    return {"A^I": [in_domain], "A^O": [name for name in names if name != in_domain], "A": names}


def validate_gold(path: Path, samples: Sequence[Sample]) -> None:
    """Raises InputError for a row of which no answer can be right."""
    for sample in samples:
        if error := gold_error(sample):
            raise InputError(
                f"{path}: {printable(sample.id)} {error}; give every row its gold label and the candidates it is one "
                "of, or leave the set out"
            )
