"""`mer-r1 diagnose modality`: what each medium is worth to a model, and whether the subtitle alone answers.

A model is asked about the same clips with everything, without the pictures, without the sound, without the subtitle,
and with the subtitle alone. Recall, precision and F1 are the scorer's, each beside its difference from `everything` by
the paired bootstrap; where the subtitle alone keeps most of the F1, the labels leak into the words, or the model reads
little else. A clip with a failed answer under one condition is in the numbers of none. A medium that a clip has not got
cannot be taken away: its answer stays, and the clip counts (`num_had` says how many had it).

Answers lie in OUT/CONDITION/predictions.jsonl and are not asked again. Memory: as asking/local.py says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from mer_r1.data.files import read_json_lines, write_json
from mer_r1.data.manifest import read_manifest
from mer_r1.data.predictions import read_predictions
from mer_r1.data.sample import Clip, Mode, Prediction, Sample
from mer_r1.distributed import rank_and_world_size
from mer_r1.errors import InputError
from mer_r1.evaluation.runs import Json, number_at
from mer_r1.generation import Generator, generate_to_store
from mer_r1.metrics.corpus_score import ScoreReport, compare, load_wheels, score
from mer_r1.metrics.statistics import or_none

if TYPE_CHECKING:
    from mer_r1.emotion.wheel import WheelSet
    from mer_r1.models.backbone import Backbone
    from mer_r1.models.types import Prompt

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

Progress = Callable[[int, int], None]


def drop(sample: Sample, clip: Clip, *media: str) -> tuple[Sample, Clip]:
    """The sample and its clip without these of "video" (pictures of any kind), "sound" and "subtitle"."""
    if "video" in media:
        clip = replace(clip, frames_THWC=None)
    if "sound" in media:
        clip = replace(clip, waveform_N=None)
    return (replace(sample, subtitle=None) if "subtitle" in media else sample), clip


@dataclass(frozen=True)
class _Without:
    """An `Generator` whose prompts lack some media, which its settings say."""

    generator: Generator
    media: tuple[str, ...]

    @property
    def settings(self) -> Mapping[str, Any]:
        return {**self.generator.settings, "without": list(self.media)}

    def generate(self, samples: Sequence[Sample], mode: Mode) -> Iterator[Prediction]:
        return self.generator.generate(samples, mode)


def generate_without(
    backbone: Backbone,
    samples: Sequence[Sample],
    out: Path,
    modes: Sequence[Mode],
    max_new_tokens: int,
    *,
    conditions: Sequence[str] = tuple(CONDITIONS),
    progress: Progress | None = None,
) -> list[str]:
    """Ask under every condition into OUT/CONDITION/predictions.jsonl; returns a line for each that has failed answers.

    `progress` is called with answers done and wanted over all conditions. Raises InputError as `generate_to_store`
    does.
    """
    from mer_r1.generation.local import LocalGenerator

    errors = []
    for place, name in enumerate(conditions):

        def reported(done: int, total: int, place: int = place) -> None:
            if progress:
                progress(place * total + done, len(conditions) * total)

        path = out / name / "predictions.jsonl"
        generator = LocalGenerator(backbone, max_new_tokens, read=_reader(backbone, CONDITIONS[name]))
        report = generate_to_store(path, samples, _Without(generator, CONDITIONS[name]), modes, reported)
        errors += [report.summary(path)] if report.errors else []
    return errors


def score_without(
    samples: Sequence[Sample],
    out: Path,
    mode: Mode,
    wheels: WheelSet,
    *,
    conditions: Sequence[str] = tuple(CONDITIONS),
    name: str = "gold",
) -> dict[str, Json]:
    """By condition `{"n", "num_had", "errors", "signature", measure.., "intervals", "delta"}`, JSON values, fractions.

    `delta` is the condition minus `everything`, by measure, with its 95 % interval. A clip with a failed answer under
    one condition is left out of all; `n` is what is left, `errors` counts the condition's own failures. Raises
    InputError for files that cannot be read, and where no clip is left.
    """
    answers = {condition: _rows(samples, out / condition / "predictions.jsonl", mode) for condition in conditions}
    failed = {condition: {row.id for row in rows if row.status == "error"} for condition, rows in answers.items()}
    left_out = set().union(*failed.values())
    samples = [sample for sample in samples if sample.id not in left_out]
    if not samples:
        raise InputError(
            f"{out}: every clip has a failed {mode} answer; ask them again, or score one mode alone (--mode)"
        )
    gold = {sample.id: sample.labels for sample in samples}
    clusters = {sample.id: sample.cluster for sample in samples if sample.cluster is not None}
    had = _had(samples, out / EVERYTHING / "predictions.jsonl")
    whole: ScoreReport | None = None
    result: dict[str, Json] = {}
    for condition in conditions:
        answered = {row.id: row.labels for row in answers[condition] if row.id in gold}
        report = score(gold, answered, wheels, name=name, mode=mode, clusters=clusters)
        whole = whole or report
        measured, rest = report.open_vocabulary, CONDITIONS[condition]
        delta = compare(whole, report)
        result[condition] = {
            "n": len(samples),
            "num_had": sum(bool(had.get(sample.id, set()) & set(rest)) for sample in samples) if rest else len(samples),
            "errors": len(failed[condition]),
            "signature": report.signature,
            **{key: or_none(getattr(measured, key)) for key in MEASURES},
            "intervals": {key: [or_none(bound) for bound in report.intervals[key]] for key in MEASURES},
            "delta": {
                key: {item: or_none(getattr(delta[key], field)) for item, field in _DELTA.items()} for key in MEASURES
            },
        }
    return result


def run(
    manifest: Path,
    model: str,
    out: Path,
    *,
    limit: int | None = None,
    modes: Sequence[Mode] = ("fast", "slow"),
    max_new_tokens: int = 1024,
    wheels: str = "builtin",
    protocol: str = "official",
) -> int:
    """Ask, score, print the table, write OUT/modality.json and the plot; 1 where answers failed, otherwise 0.

    Raises InputError for options, files and models that cannot be used.
    """
    if limit is not None and limit < 1:
        raise InputError(f"--limit {limit}: give 1 or more")
    if max_new_tokens < 1:
        raise InputError(f"--max-new-tokens {max_new_tokens}: give 1 or more")
    table = load_wheels(wheels, protocol)
    samples = [sample for sample in read_manifest(manifest) if sample.labels][:limit]
    if not samples:
        raise InputError(f"{manifest}: no row has labels; give a manifest with gold labels")
    from mer_r1.generation.local import load_model
    from mer_r1.pipelines.predict import generation_bar

    with generation_bar("Asking") as progress:
        errors = generate_without(load_model(model), samples, out, modes, max_new_tokens, progress=progress)
    if rank_and_world_size()[0] > 0:
        return 0
    by_mode = {mode: score_without(samples, out, mode, table, name=manifest.stem) for mode in modes}
    result: Json = {"model": Path(model).name or model, "n": len(samples), "modes": by_mode}
    result["finding"] = {mode: finding(rows) for mode, rows in by_mode.items()}
    write_json(out / "modality.json", result)
    console = Console(highlight=False)
    print_modality(result, console)
    from mer_r1.display.diagnosis_plots import draw_modality

    paths = draw_modality(result, out / "modality")
    console.print(f"\n{out / 'modality.json'}, {', '.join(path.name for path in paths)}", markup=False, soft_wrap=True)
    for error in errors:
        console.print(error, markup=False, soft_wrap=True)
    return 1 if errors else 0


def finding(rows: Mapping[str, Json]) -> str:
    """In plain words how much the subtitle alone answers, and which media the model surely uses."""
    whole, alone = (number_at(rows[name], "f1") for name in (EVERYTHING, "subtitle-alone"))
    used = [name.removeprefix("no-") for name, row in rows.items() if name.startswith("no-") and _is_below(row)]
    head = "No medium is surely missed" if not used else f"What is surely missed when it is away: {', '.join(used)}"
    if not whole or alone is None:
        return f"{head}."
    return f"{head}. The subtitle alone reaches {100 * alone:.1f} of {100 * whole:.1f} points of F1."


def print_modality(result: Json, console: Console) -> None:
    """The table for people."""
    for mode, rows in result["modes"].items():
        num = rows[EVERYTHING]["n"]
        rest = f" (of {result['n']}, the others have a failed answer)" if num < result["n"] else ""
        table = Table(title=f"{mode} answers of {escape(result['model'])}, {num} clips{rest}", title_justify="left")
        for head in ("asked with", "had it", "recall", "precision", "F1", "F1 − everything", "errors"):
            table.add_column(head, justify="left" if head == "asked with" else "right")
        for name, row in rows.items():
            delta = row["delta"]["f1"]
            value = _delta(delta) if name != EVERYTHING and None not in delta.values() else ""
            cells = ["–" if row[key] is None else f"{100 * row[key]:.1f}" for key in MEASURES]
            table.add_row(name.replace("-", " "), str(row["num_had"]), *cells, escape(value), str(row["errors"] or ""))
        console.print(table)
        console.print(result["finding"][mode], markup=False)
        console.print(rows[EVERYTHING]["signature"], markup=False, soft_wrap=True)


_DELTA = {"value": "delta", "low": "low", "high": "high", "p_value": "p_value"}


def _delta(row: Json) -> str:
    value, low, high = (100 * row[key] for key in ("value", "low", "high"))
    return f"{value:+.1f}\n[{low:.1f}, {high:.1f}]".replace("-", "−")


def _is_below(row: Json) -> bool:
    high = number_at(row, "delta", "f1", "high")
    return high is not None and high < 0


def _reader(backbone: Backbone, media: tuple[str, ...]) -> Callable[[Sample], Prompt]:
    """Reads a sample's prompt without these media."""
    from threading import Lock

    from mer_r1.media import read_clip

    lock = Lock()  # tokenizers are not for several threads at once

    def read(sample: Sample) -> Prompt:
        shown, clip = drop(sample, read_clip(sample, backbone.budget), *media)
        with lock:
            return backbone.prepare(shown, clip)

    return read


def _rows(samples: Sequence[Sample], path: Path, mode: Mode) -> list[Prediction]:
    """The answers of a mode about these samples."""
    asked = {sample.id for sample in samples}
    return [row for row in read_predictions(path) if row.mode == mode and row.id in asked]


def _had(samples: Sequence[Sample], path: Path) -> dict[str, set[str]]:
    """The media of each clip, as its answer's facts say it."""
    had = {sample.id: {"subtitle"} if sample.subtitle and sample.subtitle.strip() else set() for sample in samples}
    for _, row in read_json_lines(path):
        facts, media = row.get("media"), had.get(str(row.get("id")))
        if isinstance(facts, dict) and media is not None:
            media |= {"video"} if facts.get("size") else set()
            media |= {"sound"} if facts.get("audio_s") else set()
    return had
