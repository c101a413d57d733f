"""The whole job on one laptop, from clips to a report, with nothing downloaded.

Clips are made (MiniMER), a tiny Qwen2.5-Omni Thinker learns to reason by SFT, RL starts from there twice (the F1
baseline and MER-R1), each model answers fast and slow on clips of people it has not met, and the answers are scored,
diagnosed and shown on a page. The same call resumes a stopped quickstart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from mer_r1.data.files import disk_full_named, locked
from mer_r1.data.manifest import read_manifest
from mer_r1.data.predictions import PREDICTIONS_FILE, read_predictions
from mer_r1.data.sample import MODES, Mode, Sample
from mer_r1.display.progress import Stages
from mer_r1.display.quickstart import MEDIA, SYSTEMS, TITLES, print_metrics
from mer_r1.errors import InputError
from mer_r1.evaluation.records import (
    METRICS_FILE,
    ConstantRecord,
    CorpusRecord,
    MetricsRecord,
    ScoreRecord,
    ScoresByMode,
)
from mer_r1.recipe import Recipe, read_recipe
from mer_r1.threads import num_workers

if TYPE_CHECKING:
    from mer_r1.metrics.corpus_score import ScoreReport
    from mer_r1.training.trainer import Progress

MAX_NEW_TOKENS = 64
SMOKE = "a smoke run, whose numbers mean nothing"
_CLIPS, _SFT, _BASELINE, _MER_R1, _PREDICT, _WITHOUT, _PAGE = (
    "Make clips",
    "Teach by SFT",
    "RL: baseline",
    "RL: MER-R1",
    "Predict fast and slow",
    "Predict without one medium",
    "Score and diagnose",
)
_EXPECTED_S = {_CLIPS: 65.0, _SFT: 280.0, _BASELINE: 120.0, _MER_R1: 130.0, _PREDICT: 50.0, _WITHOUT: 35.0, _PAGE: 12.0}
_EXPECTED_FAST_S = {_CLIPS: 3.0, _SFT: 27.0, _BASELINE: 5.0, _MER_R1: 6.0, _PREDICT: 5.0, _WITHOUT: 4.0, _PAGE: 2.0}


@dataclass(frozen=True)
class Size:
    """How much is done: clips in all, SFT steps, RL steps, test clips predicted without one medium.

    `sft` has further keys of the SFT recipe.
    """

    num_clips: int = 7000
    sft_steps: int = 700
    rl_steps: int = 150
    num_without: int = 300
    sft: tuple[str, ...] = ()


FULL = Size()
# The fewest steps after which answers are whole, so that RL and the page have something to work on.
FAST = Size(400, 100, 5, 20, ("optim.batch_size=8", "optim.learning_rate=2e-3", "optim.warmup_steps=10"))


def quickstart(out: Path, fast: bool = False, seed: int = 0, console: Console | None = None) -> MetricsRecord:
    """Do the whole job in `out`, show its progress and its numbers, and return what it writes to out/metrics.json.

    Raises InputError for a seed below 0 and a package that is missing.
    """
    from mer_r1.metrics.corpus_score import score
    from mer_r1.report.page import write_page
    from mer_r1.synthetic.corpus import Plan, write_corpus

    if seed < 0:
        raise InputError(f"--seed {seed}: give 0 or more")
    for module, extra in (
        ("torch", "train"),
        ("transformers", "train"),
        ("matplotlib", "report"),
        ("jinja2", "report"),
    ):
        if find_spec(module) is None:
            raise InputError(f"{module} is not installed; install it with: pip install 'mer-r1[{extra}]'")
    console = console or Console()
    size = FAST if fast else FULL
    workers = num_workers()
    stages = Stages(_EXPECTED_FAST_S if fast else _EXPECTED_S, out / "stages.json", console)
    with locked(out), stages:
        with stages.stage(_CLIPS):
            plan = Plan(size.num_clips, seed)
            manifests = write_corpus(plan, out / "data", workers, lambda done: stages.report(done, plan.num))
        for name, stage in zip(SYSTEMS, (_SFT, _BASELINE, _MER_R1), strict=True):
            with stages.stage(stage):
                _train(name, _recipe(name, out, size, seed, workers), out, stages)
        num_train, test = len(read_manifest(manifests["train"])), read_manifest(manifests["test"])
        with stages.stage(_PREDICT):
            _predict(out, test, workers, stages)
        with stages.stage(_WITHOUT):
            without = _without(out, manifests["test"], size, stages)
        with stages.stage(_PAGE):
            gold = {sample.id: sample.labels for sample in test}
            systems = {name: _score(out, name, manifests["test"]) for name in SYSTEMS}
            metrics = MetricsRecord(
                title=f"MER-R1 quickstart{f', {SMOKE}' if fast else ''}",
                corpus=CorpusRecord(name="MiniMER", seed=seed, train=num_train, test=len(test)),
                systems=systems,
                without=without,
                constant=_best_constant(score(gold, {}, name=manifests["test"].stem)),
                signature=systems["mer_r1"].diagnosis["signature"],
            )
    metrics = metrics.replace(seconds={**stages.total_s})  # the last stage is over
    metrics.write(out / METRICS_FILE)
    page, _ = write_page(out)
    print_metrics(metrics, console)
    if fast:
        console.print(f"This was {SMOKE}.")
    console.print(f"\nReport: [bold]{page}[/bold]\nNumbers: {out / METRICS_FILE}")
    return metrics


def _recipe(name: str, out: Path, size: Size, seed: int, workers: int) -> Recipe:
    shared = [f"data.train={out / 'data' / 'train.jsonl'}", f"data.workers={workers}", f"seed={seed}"]
    if name == "sft":
        return read_recipe("minimer-sft", [*shared, f"optim.max_steps={size.sft_steps}", *size.sft])
    rl = [f"model.source={out / 'sft'}", f"rl.objective={name}", f"optim.max_steps={size.rl_steps}"]
    return read_recipe("minimer-rl", [*shared, *rl])


def _train(name: str, recipe: Recipe, out: Path, stages: Stages) -> None:
    from mer_r1.pipelines.train import train

    def note(logs: dict[str, float]) -> str:
        if name == "sft":
            return f"loss {logs['loss']:.2f}" if "loss" in logs else ""
        if "reward/recall" not in logs:
            return ""
        return f"recall {logs['reward/recall']:.2f} precision {logs['reward/precision']:.2f}"

    def prepared(done: int, total: int, _: dict[str, float]) -> None:
        stages.report(done, total * 5, "reading clips")  # about a fifth of the stage

    def stepped(step: int, total: int, logs: dict[str, float]) -> None:
        stages.report(step + total // 4, total + total // 4, note(logs))

    progress: Progress = stepped
    train(recipe, out / name, progress, prepared if name == "sft" else None)


def _predict(out: Path, test: Sequence[Sample], workers: int, stages: Stages) -> None:
    from mer_r1.generation import generate_to_store
    from mer_r1.generation.local import LocalGenerator, kept, load_model
    from mer_r1.models.features import read_prompts

    for index, name in enumerate(SYSTEMS):
        backbone = load_model(str(out / name))
        with disk_full_named(out / "data" / "features"):
            prompts = read_prompts(backbone, test, out / "data" / "features", workers)

        def progress(done: int, total: int, index: int = index, name: str = name) -> None:
            stages.report(done + index * total, len(SYSTEMS) * total, TITLES[name])

        generator = LocalGenerator(backbone, MAX_NEW_TOKENS, read=kept(test, prompts))
        predictions = out / name / PREDICTIONS_FILE
        report = generate_to_store(predictions, test, generator, progress=progress)
        if report.errors:
            raise InputError(report.summary(predictions))


def _without(out: Path, manifest: Path, size: Size, stages: Stages) -> dict[str, ScoreRecord]:
    """F1 of MER-R1's slow answers on the first test clips with all media and with each one dropped."""
    from mer_r1.analysis.modality import EVERYTHING, Modality
    from mer_r1.emotion.wheel import WheelSet
    from mer_r1.evaluation.suite import Request, run_benchmark

    names = {"nothing": EVERYTHING, **{medium: f"no-{medium}" for medium in MEDIA}}
    titles = [name.replace("-", " ") for name in names.values()]

    def progress(title: str, done: int, total: int) -> None:
        stages.report(titles.index(title) * total + done, len(titles) * total, title)

    request = Request(
        str(out / "mer_r1"),
        manifest,
        out / "without",
        modes=("slow",),
        limit=size.num_without,
        max_new_tokens=MAX_NEW_TOKENS,
    )
    outcome = run_benchmark(Modality(WheelSet.load(), tuple(names.values())), request, progress=progress)
    assert outcome is not None, "there is one process"
    assert outcome.metrics is not None, "what is answered is scored"
    if outcome.problems:
        raise InputError(outcome.problems[0])
    sets = outcome.metrics.sets
    return {medium: slow for medium, name in names.items() if (slow := sets[name].slow) is not None}


def _score(out: Path, name: str, gold: Path) -> ScoresByMode:
    """Scores of both modes and the diagnosis of one system."""
    from mer_r1.analysis.paradox import diagnose
    from mer_r1.evaluation.score import score_file

    predictions = out / name / PREDICTIONS_FILE
    words = score_file(gold, predictions).words
    reports: dict[Mode, ScoreReport] = {mode: words[mode] for mode in MODES}
    scores = {mode: ScoreRecord.of_report(report.to_json()) for mode, report in reports.items()}
    diagnosis = diagnose(read_manifest(gold), read_predictions(predictions), name=gold.stem, reports=reports)
    return ScoresByMode(fast=scores["fast"], slow=scores["slow"], diagnosis=diagnosis.to_json())


def _best_constant(report: ScoreReport) -> ConstantRecord:
    """The constant answer with the best F1."""
    rows = [row for row in report.to_json()["constant_baselines"] if row["f1"] is not None]
    return ConstantRecord(**max(rows, key=lambda row: float(row["f1"])), signature=report.signature)
