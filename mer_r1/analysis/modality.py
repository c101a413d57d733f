"""`mer-r1 diagnose modality`: what each medium is worth to a model, and whether the subtitle alone answers.

A model is asked about the same clips with everything, without the pictures, without the sound, without the subtitle,
and with the subtitle alone. Recall, precision and F1 are the scorer's, each beside its difference from `everything` by
the paired bootstrap; where the subtitle alone keeps most of the F1, the labels leak into the words, or the model reads
little else. A clip with a failed answer, under one condition or in one mode, is in no number. A medium that a clip does
not have cannot be taken away: its answer stays, and the clip counts (`num_had` says how many had it).

It runs through evaluation/suite.py, a condition in the place of a set; OUT/modality.json holds the numbers by mode and
condition. Memory: as generation/local.py says.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mer_r1.data.files import read_json_lines, write_json
from mer_r1.data.gold import Gold
from mer_r1.data.manifest import read_manifest
from mer_r1.data.predictions import PREDICTIONS_FILE, ModePredictions
from mer_r1.data.prepared import PreparedSet
from mer_r1.data.sample import Clip, Mode, Prediction, Sample
from mer_r1.emotion.wheel import WheelSet
from mer_r1.errors import InputError
from mer_r1.evaluation.answered import Answered, answered
from mer_r1.evaluation.records import Json, MetricsRecord, ScoreRecord, ScoresByMode
from mer_r1.evaluation.suite import AnsweredRun, FoundSets, Outcome, Request
from mer_r1.generation import Generator
from mer_r1.generation.make import make_model_generator
from mer_r1.metrics.corpus_score import ScoreReport, compare, score_mode
from mer_r1.metrics.statistics import or_none
from mer_r1.text import percent

if TYPE_CHECKING:
    from mer_r1.models.backbone import Backbone

MEASURES = ("recall", "precision", "f1")
EVERYTHING = "everything"
CONDITIONS: dict[str, tuple[str, ...]] = {
    EVERYTHING: (),
    "no-video": ("video",),
    "no-sound": ("sound",),
    "no-subtitle": ("subtitle",),
    "subtitle-alone": ("video", "sound"),
}
"""The media taken away under each name."""
_DELTA = {"value": "delta", "low": "low", "high": "high", "p_value": "p_value"}


def drop(sample: Sample, clip: Clip, media: Sequence[str]) -> tuple[Sample, Clip]:
    """The sample and its clip without these of "video" (pictures of any kind), "sound" and "subtitle"."""
    if "video" in media:
        clip = replace(clip, frames_THWC=None)
    if "sound" in media:
        clip = replace(clip, waveform_N=None)
    return (replace(sample, subtitle=None) if "subtitle" in media else sample), clip


@dataclass(frozen=True)
class _Without:
    """A `Generator` whose prompts are without some media, which its settings say."""

    generator: Generator
    media: tuple[str, ...]

    @property
    def settings(self) -> Mapping[str, Any]:
        return {**self.generator.settings, "without": list(self.media)}

    def generate(self, samples: Sequence[Sample], mode: Mode) -> Iterator[Prediction]:
        return self.generator.generate(samples, mode)


@dataclass(frozen=True)
class ModalityOutcome(Outcome):
    """`numbers` is what modality.json says."""

    numbers: Json = field(default_factory=dict)


@dataclass(frozen=True)
class Modality:
    """The drop of each medium as a benchmark: `request.data` is a manifest, of which the clips with labels are asked.

    `backbone` is the model where it is loaded already.
    """

    wheels: WheelSet
    conditions: Sequence[str] = tuple(CONDITIONS)
    backbone: Backbone | None = None

    name = "modality"
    title = "Modality"

    @property
    def settings(self) -> Mapping[str, Any]:
        return {}

    def find_sets(self, request: Request) -> FoundSets:
        """The same clips under every condition. Raises InputError where no row has labels."""
        samples = tuple(sample for sample in read_manifest(request.data) if sample.labels)[: request.limit]
        if not samples:
            raise InputError(f"{request.data}: no row has labels; give a manifest with gold labels")
        return FoundSets({name: PreparedSet(name, name.replace("-", " "), samples) for name in self.conditions})

    def generators(self, request: Request, sets: Sequence[str]) -> Mapping[str, Generator]:
        """The model, loaded once, reading each clip without the media of the condition."""
        whole = make_model_generator(self.backbone or request.model, request.engine, request.max_new_tokens)
        shown = {name: partial(drop, media=CONDITIONS[name]) for name in sets}
        return {name: _Without(whole.showing(show), CONDITIONS[name]) for name, show in shown.items()}

    def score(self, run: AnsweredRun) -> ModalityOutcome:
        """The scores of every condition, and in words what follows. Raises InputError where no clip is left."""
        modes, name = run.request.modes, run.request.data.stem
        by_condition = [{mode: _statuses(item.rows[mode]) for mode in modes} for item in run.sets.values()]
        ids = [sample.id for sample in run.sets[EVERYTHING].prepared.samples]
        counted = answered(ids, *by_condition, rule=run.request.failed, all_asked=True)
        if not counted.ids:
            one = ", or score one mode alone (--mode)" if len(modes) > 1 else ""
            raise InputError(f"{run.out}: every clip has a failed answer; ask them again{one}")
        by_mode = {mode: score_without(run, mode, counted, self.wheels, name) for mode in modes}
        num = len(next(iter(run.sets.values())).prepared.samples)
        numbers: Json = {"model": run.request.model_name, "n": num, "modes": by_mode}
        numbers["finding"] = {mode: finding(rows) for mode, rows in by_mode.items()}
        write_json(run.out / "modality.json", numbers)
        sets = {
            condition: ScoresByMode.of(
                {mode: ScoreRecord(measure="f1", **rows[condition]) for mode, rows in by_mode.items()},
                item.prepared.title,
            )
            for condition, item in run.sets.items()
        }
        return ModalityOutcome(run, MetricsRecord(sets=sets), numbers=numbers)


def _statuses(rows: Mapping[str, Prediction]) -> dict[str, str]:
    return {identity: row.status for identity, row in rows.items()}


def score_without(
    run: AnsweredRun, mode: Mode, counted: Answered[Mode], wheels: WheelSet, name: str = "gold"
) -> dict[str, Json]:
    """By condition `{"n", "num_had", "failed", "signature", measure.., "intervals", "delta"}`, JSON values, fractions.

    `delta` is the condition minus `everything`, by measure, with its 95 % interval. `n` is how many clips count, those
    that `counted` says were answered under every condition in every mode; `failed` counts the condition's own failures
    in this mode.
    """
    rows = {condition: item.rows[mode] for condition, item in run.sets.items()}
    everything = run.sets[EVERYTHING]
    kept = set(counted.ids)
    samples = [sample for sample in everything.prepared.samples if sample.id in kept]
    gold = Gold.of(samples)
    had = _had(samples, everything.folder / PREDICTIONS_FILE)
    whole: ScoreReport | None = None
    result: dict[str, Json] = {}
    for (condition, of_condition), failed in zip(rows.items(), counted.failed, strict=True):
        found = ModePredictions.of(mode, (row for i, row in of_condition.items() if i in gold.labels))
        report = score_mode(gold, found, wheels, name)
        whole = whole or report
        measured, without = report.open_vocabulary, CONDITIONS[condition]
        delta = compare(whole, report)
        result[condition] = {
            "n": len(samples),
            "num_had": sum(bool(had[i] & set(without)) for i in gold.labels) if without else len(samples),
            "failed": len(failed[mode]),
            "signature": report.signature,
            **{key: or_none(getattr(measured, key)) for key in MEASURES},
            "intervals": {key: [or_none(bound) for bound in report.intervals[key]] for key in MEASURES},
            "delta": {
                key: {item: or_none(getattr(delta[key], part)) for item, part in _DELTA.items()} for key in MEASURES
            },
        }
    return result


def finding(rows: Mapping[str, Json]) -> str:
    """In plain words how much the subtitle alone answers, and which media the model surely uses."""
    whole, alone = (rows.get(name, {}).get("f1") for name in (EVERYTHING, "subtitle-alone"))
    highs = {
        name.removeprefix("no-"): row["delta"]["f1"]["high"] for name, row in rows.items() if name.startswith("no-")
    }
    used = [name for name, high in highs.items() if high is not None and high < 0]
    head = "No medium is surely missed" if not used else f"What is surely missed when it is away: {', '.join(used)}"
    if not whole or alone is None:
        return f"{head}."
    return f"{head}. The subtitle alone reaches {percent(alone, 1)} of {percent(whole, 1)} points of F1."


def _had(samples: Sequence[Sample], path: Path) -> dict[str, set[str]]:
    """The media of each clip, as its answer's facts say it."""
    had = {sample.id: {"subtitle"} if sample.subtitle and sample.subtitle.strip() else set() for sample in samples}
    for _, row in read_json_lines(path):
        facts, media = row.get("media"), had.get(str(row.get("id")))
        if isinstance(facts, dict) and media is not None:
            media |= {"video"} if facts.get("size") else set()
            media |= {"sound"} if facts.get("audio_s") else set()
    return had
