"""Variants of a training, several seeds each: trained, predicted, scored, side by side.

Variants are one recipe with one key varied, or the chains of recipes of a variants file (sweep_variants.py). Runs of
one seed start alike and differ in what is varied alone. Every model answers slow and fast, greedily, on a held-out
manifest and, if wanted, on another one from outside; beside these stand the rewards of the sampled answers in
training. All is shown as mean and range over the seeds and as curves over the steps. The same call resumes a stopped
sweep.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from mer_r1.analysis.sweep import LABELS, MODES, WORDS, Measures, summary, thirds
from mer_r1.benchmarks.emotion_pictures.benchmark import validate_gold
from mer_r1.data.files import disk_full_named, locked, write_json, write_text
from mer_r1.data.labels import names_gold
from mer_r1.data.manifest import read_manifest
from mer_r1.data.predictions import read_predictions
from mer_r1.data.sample import Sample
from mer_r1.display.progress import training_bars
from mer_r1.display.sweep import markdown, print_sweep
from mer_r1.display.sweep_plot import plot
from mer_r1.distributed import rank_and_world_size
from mer_r1.emotion.wheel import load_wheels
from mer_r1.errors import InputError
from mer_r1.generation import generate_to_store
from mer_r1.generation.make import LOCAL, Engine, close_engine, make_model_generator, require_engine
from mer_r1.metrics.corpus_score import score_signature
from mer_r1.metrics.countable import gold_words
from mer_r1.metrics.signature import signature
from mer_r1.pipelines.sweep_variants import Cell, cells, read_variants, varied

if TYPE_CHECKING:
    from mer_r1.generation.generator import ModelGenerator


@dataclass(frozen=True)
class SweepSet:
    """A manifest whose samples every model predicts."""

    path: Path
    samples: list[Sample]

    @property
    def measures(self) -> Measures:
        """Accuracy where every sample has candidates to choose from, else the scores of free words."""
        return LABELS if all(sample.candidates for sample in self.samples) else WORDS


def sweep(
    source: str,
    vary: str | None,
    seeds: Sequence[int],
    test: Path,
    out: Path,
    overrides: Sequence[str] = (),
    max_new_tokens: int = 64,
    other: Path | None = None,
    engine: Engine = LOCAL,
    console: Console | None = None,
) -> dict[str, Any]:
    """Do what is missing of the sweep in `out`, print its table, and return what it writes to out/sweep.json.

    `source` is a recipe with `vary` written key=value,value,… and without it a variants file. Raises InputError for one
    that is not, for what a recipe rejects, where `engine` is vLLM and that is not installed, and under a launcher of
    several processes, which would all do the work. `engine` answers; with vLLM each model is opened anew.
    """
    if (world_size := rank_and_world_size()[1]) > 1:
        raise InputError(
            f"WORLD_SIZE={world_size}: a sweep runs in one process; start it without a launcher, or "
            "launch `mer-r1 train` for each value and seed"
        )
    require_engine(engine)
    console = console or Console()
    key, variants = varied(source, vary) if vary is not None else ("variant", read_variants(source))
    planned = cells(variants, overrides, seeds, out)
    sets = [SweepSet(path, read_manifest(path)) for path in (test, other) if path is not None]
    for item in sets:
        if item.measures is LABELS:
            validate_gold(item.path, item.samples)
    measures = sets[0].measures
    rows = []
    with locked(out):
        for number, cell in enumerate(planned, 1):
            unread = f"  (does not read {', '.join(cell.idle_keys)})" if cell.idle_keys else ""
            console.print(f"{number}/{len(planned)}  {key}={cell.value}  seed {cell.seed}{unread}", highlight=False)
            rows.append(_run_cell(cell, sets, max_new_tokens, engine))
        facts = [{"test": s.path.name, "n": len(s.samples), "signature": _signature(s)} for s in sets]
        result = {"key": key, **facts[0], "other": facts[1:], "runs": rows, "summary": summary(rows)}
        write_json(out / "sweep.json", result)
        write_text(out / "sweep.md", markdown(result, measures))
        if any(line for row in rows for line in row["dynamics"].values()):
            for ending in ("svg", "png"):
                plot(rows, measures.plotted, out / f"dynamics.{ending}")
    print_sweep(result, measures, console)
    return result


def _run_cell(cell: Cell, sets: Sequence[SweepSet], max_new_tokens: int, engine: Engine) -> dict[str, Any]:
    """Train, predict and score one variant with one seed."""
    from mer_r1.pipelines.train import train

    for run in cell.runs:
        with training_bars() as (progress, prepared):
            train(run.recipe, run.out, progress, prepared)
    generator = make_model_generator(str(cell.out), engine, max_new_tokens)
    test, *others = [
        _greedy(cell, generator, item, cell.out / name)
        for item, name in zip(sets, ("predictions.jsonl", "predictions-other.jsonl"), strict=False)
    ]
    close_engine(engine)
    dynamics = _dynamics(cell.out / "metrics.jsonl", sets[0].measures.rewards)
    ends = {name.removeprefix("reward/"): thirds(line) for name, line in dynamics.items()}
    leading = sets[-1].measures.greedy[-1]
    return {
        "value": cell.value,
        "seed": cell.seed,
        "greedy": test,
        "other": {mode: other[mode][leading] for other in others for mode in MODES},
        "sampled": {name: both and both[1] for name, both in ends.items()},
        "rise": {name: both and both[1] - both[0] for name, both in ends.items()},
        "dynamics": dynamics,
    }


def _greedy(cell: Cell, generator: ModelGenerator, test: SweepSet, predictions: Path) -> dict[str, dict[str, float]]:
    """Generate the answers that are missing, and score: by mode and metric."""
    from mer_r1.generation.local import LocalGenerator, kept
    from mer_r1.models.features import read_prompts

    if isinstance(generator, LocalGenerator):
        data, folder = cell.runs[-1].recipe.data, test.path.parent
        with disk_full_named(folder):
            keep_in = folder / "features" if data.keep_features else None
            prompts = read_prompts(generator.backbone, test.samples, keep_in, data.workers)
        generator = generator.reading(kept(test.samples, prompts))
    report = generate_to_store(predictions, test.samples, generator)
    if report.errors:
        raise InputError(report.summary(predictions))
    return _scores(test, predictions)


def _scores(test: SweepSet, predictions: Path) -> dict[str, dict[str, float]]:
    """By mode and metric, as `score` and the reward count: an answer that cannot be read is wrong."""
    if test.measures is LABELS:
        answers = {(row.mode, row.id): row.labels for row in read_predictions(predictions)}
        right = {mode: [names_gold(answers[mode, row.id], row.labels) for row in test.samples] for mode in MODES}
        return {mode: {"accuracy": sum(hits) / len(hits)} for mode, hits in right.items()}
    from mer_r1.evaluation.score import score_file

    reports = score_file(test.path, predictions).words
    return {mode: {key: reports[mode].to_json()["open_vocabulary"][key] for key in WORDS.greedy} for mode in MODES}


def _signature(test: SweepSet) -> str:
    """What the greedy numbers of a test set were computed on, and how."""
    name, number = test.path.stem, len(test.samples)
    if test.measures is LABELS:
        return signature(set=name, n=number, parser="corrected", mode="fast+slow")
    wheels = load_wheels("builtin", "official")
    unscorable = sum(not wheels.map_words(gold_words(sample, wheels))[0] for sample in test.samples)
    return score_signature(wheels, name, number, "fast+slow", unscorable)


def _dynamics(metrics: Path, rewards: Sequence[str]) -> dict[str, list[tuple[int, float]]]:
    """(step, value) of every logged one of the rewards."""
    rows = [json.loads(line) for line in metrics.read_text(encoding="utf-8").splitlines()]
    names = [f"reward/{name}" for name in rewards]
    return {name: [(row["step"], row[name]) for row in rows if row.get(name) is not None] for name in names}
