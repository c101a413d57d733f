"""MER-UniBench: nine data sets, scored by F1, HIT or WAF (MER-R1 Section 5, Tables 1 and 3).

    official    F1 on OV-MERD+, HIT on the four basic-emotion sets, WAF on the four sentiment sets     Table 1
    unified     F1 in the place of HIT; R-Mean is the mean of the five recognition sets                Table 3
    groups      the means of the fine, the basic-emotion and the sentiment sets                         Tables 4, 5

Convention: a mean is plain, over the sets that are there. MER-UniBench turns words into a sentiment by Qwen2.5-7B; the
default here is the built-in lexicon, and the signature says which. OUT/SET/score.json keeps the whole report of a set,
OUT/SET/sentiment.jsonl the sentiment of every answer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from mer_r1.benchmarks.clips import count_note
from mer_r1.benchmarks.mer_unibench.layouts import SETS, present_sets, read_set
from mer_r1.data.files import write_json
from mer_r1.data.gold import Gold
from mer_r1.data.manifest import read_manifest
from mer_r1.data.predictions import PREDICTIONS_FILE, SENTIMENT_FILE, ModePredictions
from mer_r1.data.prepared import PreparedSet
from mer_r1.data.sample import Mode
from mer_r1.emotion.wheel import load_wheels
from mer_r1.errors import InputError
from mer_r1.evaluation.records import MetricsRecord, ScoreRecord, ScoresByMode
from mer_r1.evaluation.sentiment import LEXICON, SentimentChoice, sentiment_reports
from mer_r1.evaluation.suite import AnsweredRun, AnsweredSet, FoundSets, Outcome, Request, same_generator
from mer_r1.generation import Generator
from mer_r1.metrics.corpus_score import ScoreTask, score_mode
from mer_r1.metrics.signature import counted_part, counts_of, parts_of, signature, wheels_part
from mer_r1.metrics.statistics import mean_of_all

NAME = "mer-unibench"
OFFICIAL = {"fine": "f1", "basic": "hit", "sentiment": "waf"}
UNIFIED = {"fine": "f1", "basic": "f1", "sentiment": "waf"}
GROUPS = {  # a column of Tables 4 and 5: the sets and their measure
    "fine_f1": ("fine", "f1"),
    "basic_hit": ("basic", "hit"),
    "basic_f1": ("basic", "f1"),
    "sentiment_waf": ("sentiment", "waf"),
}

Json = dict[str, Any]


class MerUniBench:
    """The benchmark with its wheels, protocol and the choice of who turns words into a sentiment."""

    name = NAME
    title = "MER-UniBench"

    def __init__(
        self, wheels: str = "builtin", protocol: str = "official", sentiment: SentimentChoice | None = None
    ) -> None:
        """Raises InputError for wheels or a choice that cannot be used."""
        sentiment = sentiment or SentimentChoice()
        sentiment.check()
        if sentiment.out is not None:
            raise InputError("--sentiment-out keeps the answers of one file; score a set's predictions with it")
        self.sentiment = sentiment if sentiment.name else replace(sentiment, backend=LEXICON)
        self.wheels = load_wheels(wheels, protocol)

    @property
    def settings(self) -> Mapping[str, Any]:
        return {}

    def find_sets(self, request: Request) -> FoundSets:
        """The sets that `data` holds as manifests (NAME.jsonl) or in the owners' folders, and how to get the others.

        Raises InputError for an unknown name, a named set that is not there, none at all, and a set without gold.
        """
        names, data = request.choose(SETS), request.data
        if not data.is_dir():
            raise InputError(
                f"{data}: no such folder; give one that holds NAME.jsonl of `mer-r1 prepare` or the sets' own"
            )
        found: dict[str, PreparedSet] = {}
        absent: dict[str, str] = {}
        folders = set(present_sets(data))
        for name in names:
            manifest = data / f"{name}.jsonl"
            if manifest.is_file():
                found[name] = PreparedSet(name, SETS[name].title, tuple(read_manifest(manifest)))
            elif name in folders:
                found[name] = read_set(name, data)
            else:
                absent[name] = f"neither {name}.jsonl nor {SETS[name].folder} is in {data}; {SETS[name].where}"
        if absent and (request.sets or not found):
            name, why = next(iter(absent.items()))
            raise InputError(f"{SETS[name].title}: {why}")
        for name, item in found.items():
            found[name] = replace(item, notes=tuple(_notes(item)), samples=item.samples[: request.limit])
            _validate_gold(found[name])
        return FoundSets(found, {name: f"{SETS[name].title} is left out: {why}" for name, why in absent.items()})

    def generators(self, request: Request, sets: Sequence[str]) -> Mapping[str, Generator]:
        """One model for all sets, by its own question."""
        return same_generator(request, sets)

    def score(self, run: AnsweredRun) -> Outcome:
        """The report of every set, over the samples that count."""
        sets: dict[str, ScoresByMode] = {}
        judges: set[str] = set()
        counts: list[tuple[int, int]] = []
        for name, item in run.sets.items():
            if not (reports := self._reports(item)):
                continue
            write_json(item.folder / "score.json", {"modes": reports})
            task = SETS[name].task
            scores = {
                mode: ScoreRecord.of_report(report, task=task, measure=OFFICIAL[task])
                for mode, report in reports.items()
            }
            sets[name] = ScoresByMode.of(scores, item.prepared.title)
            signatures = [report["signature"] for report in reports.values()]
            judges |= {judge for text in signatures if (judge := parts_of(text).get("judge"))}
            counts.append(counts_of(signatures[0]))  # every mode is scored over the same clips
        modes = run.request.modes
        whole = signature(
            set=NAME if len(sets) == len(SETS) else f"{NAME}/{'+'.join(sets)}",
            n=counted_part(sum(counted for counted, _ in counts), sum(whole for _, whole in counts)),
            wheels=wheels_part(self.wheels.source, self.wheels.sha256),
            protocol=self.wheels.protocol.name,
            parser=self.wheels.protocol.parser,
            mode="+".join(modes),
            judge="+".join(sorted(judges)) or None,
        )
        return Outcome(
            run, MetricsRecord(sets=sets, means={mode: means_of(sets, mode) for mode in modes}, signature=whole)
        )

    def _reports(self, item: AnsweredSet) -> dict[Mode, Json]:
        """The report of each mode; none where no sample that counts has gold."""
        task, gold = SETS[item.prepared.name].task, Gold.of(item.samples)
        modes = {mode: ModePredictions.of(mode, answers.values()) for mode, answers in item.answers.items()}
        reports: dict[Mode, Json] = {}
        if task != "sentiment" and gold.labels:
            for mode, predictions in modes.items():
                words: ScoreTask = "basic" if task == "basic" else "open-vocabulary"
                reports[mode] = score_mode(gold, predictions, self.wheels, item.prepared.name, words).to_json()
        elif task == "sentiment" and gold.valence:
            found = sentiment_reports(
                gold,
                modes,
                replace(self.sentiment, out=item.folder / SENTIMENT_FILE),
                "sentiment",
                gold=item.folder,
                pred=item.folder / PREDICTIONS_FILE,
                protocol=self.wheels.protocol,
            )
            for mode, predictions in modes.items():
                unanswered = len(predictions.unanswered & gold.valence.keys())
                refusals = len(predictions.refused & gold.valence.keys())
                reports[mode] = found[mode].to_json() | {"unanswered": unanswered, "refusals": refusals}
        return {mode: report | {"failed": len(item.failed[mode])} for mode, report in reports.items()}


def means_of(sets: Mapping[str, ScoresByMode], mode: Mode) -> Json:
    """The means of a mode over the sets: "mean", "mean_f1", "r_mean" and those of GROUPS.

    None where the number of a set is none, and for a group without a set.
    """
    recognition = [name for name in sets if SETS[name].task != "sentiment"]
    return {
        "num_sets": len(sets),
        "mean": mean_of_all([value_of(sets[name], mode, name, OFFICIAL) for name in sets]),
        "mean_f1": mean_of_all([value_of(sets[name], mode, name, UNIFIED) for name in sets]),
        "num_recognition_sets": len(recognition),
        "r_mean": mean_of_all([value_of(sets[name], mode, name, UNIFIED) for name in recognition]),
        **{column: _group_mean(sets, mode, task, measure) for column, (task, measure) in GROUPS.items()},
    }


def _group_mean(sets: Mapping[str, ScoresByMode], mode: Mode, task: str, measure: str) -> float | None:
    of_task = [name for name in sets if SETS[name].task == task]
    return mean_of_all([value_of(sets[name], mode, name, {task: measure}) for name in of_task])


def value_of(scores: ScoresByMode, mode: Mode, name: str, measures: Mapping[str, str]) -> float | None:
    """The number of a mode that stands for the set `name`; `measures` is OFFICIAL or UNIFIED."""
    record = scores.of_mode(mode)
    return None if record is None else record.value(measures[SETS[name].task])


def _notes(prepared: PreparedSet) -> Iterator[str]:
    """The set's notes, with the number of clips that are there in the place of that in the owners' tables."""
    num, published_num = len(prepared.samples), SETS[prepared.name].num
    of_tables = set(count_note(num + len(prepared.missing), published_num))
    yield from (note for note in prepared.notes if note not in of_tables)
    if num != published_num:
        yield f"{num:,} clips are scored, {published_num:,} published"


def _validate_gold(prepared: PreparedSet) -> None:
    sentiment = SETS[prepared.name].task == "sentiment"
    if not any(sample.valence is not None if sentiment else sample.labels for sample in prepared.samples):
        missing = f", such as {prepared.missing[0].path}" if prepared.missing else ""
        raise InputError(
            f"{prepared.title}: no clip with {'a valence' if sentiment else 'labels'}{missing}; prepare it again, or "
            "leave it out with --sets"
        )
