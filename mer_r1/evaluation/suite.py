"""One loop for all benchmarks: find the sets, generate what is missing, score what counts, keep it in one folder.

    OUT/run.json                 what was run with what; its status is "running", at the end "finished"
    OUT/SET/manifest.jsonl       the samples that were asked about, those of an earlier and wider run too
    OUT/SET/predictions.jsonl    the answers (generation/store.py)
    OUT/metrics.json             the scores of all sets and their means

A `Benchmark` says what is asked, who generates and how a set is scored, and writes what else it keeps. The same command
resumes a stopped run and generates failed answers again. Under several processes all of them generate; the first one
holds the folder's lock, scores and writes. Nothing is printed: `progress` is called, and the outcome is returned.

Convention: answered.py says which answers count. A sample that is there with other gold or other candidates than before
is an error, since its answers and scores would not fit together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar

from mer_r1.data.files import locked
from mer_r1.data.manifest import MANIFEST_FILE, read_manifest, write_manifest
from mer_r1.data.predictions import PREDICTIONS_FILE, read_predictions
from mer_r1.data.prepared import PreparedSet
from mer_r1.data.sample import MODES, Mode, Prediction, Sample
from mer_r1.distributed import is_first_process
from mer_r1.errors import InputError
from mer_r1.evaluation.answered import FailedRule, answered
from mer_r1.evaluation.records import METRICS_FILE, RUN_FILE, MetricsRecord, RunRecord, versions
from mer_r1.generation import Generator, generate_to_store
from mer_r1.generation.make import LOCAL, Engine, Service, close_engine, make_generator
from mer_r1.objectives import FastThinking
from mer_r1.prompting.templates import PromptTemplate
from mer_r1.text import printable

KIND = "benchmark"
VERSIONED = ("av", "torch", "transformers")
ALONE = "; --mode fast or slow scores a mode that was answered alone"

Progress = Callable[[str, int, int], None]
"""Called with what is being done, such as a set's title, and how many of how many items are done."""


@dataclass(frozen=True)
class Request:
    """What every benchmark takes: which model answers, about what, and the run's folder (None: runs/BENCHMARK-MODEL).

    `sets` names some of the sets in `data`, `limit` takes that many samples of each; `failed` is answered.py's rule,
    `fast` how fast thinking is asked for (make_generator), `engine` what runs a model that is not behind an address.
    """

    model: str
    data: Path
    out: Path | None = None
    modes: tuple[Mode, ...] = MODES
    sets: tuple[str, ...] = ()
    limit: int | None = None
    max_new_tokens: int = 1024
    service: Service | None = None
    failed: FailedRule = "left-out"
    fast: FastThinking = "prefill"
    engine: Engine = LOCAL

    def __post_init__(self) -> None:
        """Raises InputError for a limit below 1."""
        if self.limit is not None and self.limit < 1:
            raise InputError(f"--limit {self.limit}: give 1 or more")

    def choose(self, known: Iterable[str]) -> list[str]:
        """The sets that are asked for, in the order of `known`. Raises InputError for a name that is not known."""
        names = list(known)
        if unknown := [name for name in self.sets if name not in names]:
            raise InputError(f"--sets: {printable(unknown[0])!r} is none of {', '.join(names)}")
        return [name for name in names if name in (self.sets or names)]

    @property
    def model_name(self) -> str:
        """What the model is called: of a folder its name, not its path."""
        return Path(self.model).resolve().name if Path(self.model).exists() else self.model


@dataclass(frozen=True)
class FoundSets:
    """The sets to ask about, by name, and of each known set that is not there a line on how to get it."""

    sets: Mapping[str, PreparedSet]
    absent: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class AnsweredSet:
    """A set with its answers.

    `samples` are those that count, and `answers` holds by mode the answer to each of them; under "as-empty" a failed
    one is an answer without text. `failed` names by mode what failed. `rows` are all rows by mode, failed ones too.
    """

    prepared: PreparedSet
    folder: Path
    samples: tuple[Sample, ...]
    answers: Mapping[Mode, Mapping[str, Prediction]]
    failed: Mapping[Mode, tuple[str, ...]]
    rows: Mapping[Mode, Mapping[str, Prediction]]

    @classmethod
    def count(
        cls, prepared: PreparedSet, folder: Path, rows: Mapping[Mode, Mapping[str, Prediction]], rule: FailedRule
    ) -> AnsweredSet:
        """Which samples count over these modes, by the rule of answered.py."""
        statuses = {mode: {row.id: row.status for row in of_mode.values()} for mode, of_mode in rows.items()}
        found = answered((sample.id for sample in prepared.samples), statuses, rule=rule, all_asked=True)
        counted = set(found.ids)
        samples = tuple(sample for sample in prepared.samples if sample.id in counted)
        failed = found.failed[0]
        answers = {
            mode: {i: Prediction(i, mode, "", "", (), "no_answer") for i in failed[mode] if i in counted}
            | {sample.id: row for sample in samples if (row := of_mode.get(sample.id)) and row.status != "error"}
            for mode, of_mode in rows.items()
        }
        return cls(prepared, folder, samples, answers, failed, rows)


@dataclass(frozen=True)
class AnsweredRun:
    """What a benchmark scores: all sets with their answers, in the folder `out`."""

    request: Request
    out: Path
    sets: Mapping[str, AnsweredSet]
    progress: Progress


@dataclass(frozen=True)
class Outcome:
    """What a run came to: `metrics`, None where none is to be written, and what is incomplete, a line each.

    A benchmark gives the scores of its sets and its own problems; `run_benchmark` adds what all benchmarks say.
    """

    run: AnsweredRun
    metrics: MetricsRecord | None
    problems: tuple[str, ...] = ()

    @property
    def exit_status(self) -> int:
        """1 where something is incomplete, otherwise 0."""
        return int(bool(self.problems))


OutcomeType = TypeVar("OutcomeType", bound=Outcome)
OutcomeType_co = TypeVar("OutcomeType_co", bound=Outcome, covariant=True)


class Benchmark(Protocol[OutcomeType_co]):
    """A benchmark: `name` is that of run.json and of the default folder, `settings` are what run.json says beside."""

    @property
    def name(self) -> str: ...

    @property
    def title(self) -> str: ...

    @property
    def settings(self) -> Mapping[str, Any]: ...

    def find_sets(self, request: Request) -> FoundSets:
        """The samples of each set, at most `request.limit`. Raises InputError for what cannot be used."""

    def generators(self, request: Request, sets: Sequence[str]) -> Mapping[str, Generator]:
        """Who answers the samples of each set; `same_generator` where one model answers all by one question."""

    def score(self, run: AnsweredRun) -> OutcomeType_co:
        """The scores of the samples that count; a set without one is left out."""


def same_generator(
    request: Request, sets: Sequence[str], template: PromptTemplate | None = None
) -> Mapping[str, Generator]:
    """The model of the request for every set; `template` is the question, None the model's own. Raises InputError."""
    generator = make_generator(
        request.model,
        request.service,
        max_new_tokens=request.max_new_tokens,
        template=template,
        fast=request.fast,
        engine=request.engine,
    )
    return dict.fromkeys(sets, generator)


def run_benchmark(
    benchmark: Benchmark[OutcomeType],
    request: Request,
    found: FoundSets | None = None,
    progress: Progress = lambda *_: None,
) -> OutcomeType | None:
    """Generate the answers that are missing, score and write; None in any process but the first.

    `found` is what `benchmark.find_sets` gave. Raises InputError for sets, model or settings that cannot be used, a
    folder that holds another run, samples that changed, and where nothing could be scored; and what `benchmark` raises.
    """
    found = found or benchmark.find_sets(request)
    out = request.out or Path("runs") / f"{benchmark.name}-{request.model_name.replace('/', '-')}"
    manifests: dict[str, list[Sample]] = {}
    with ExitStack() as stack:
        if is_first_process():
            stack.enter_context(locked(out))
            _validate_folder(out, benchmark.name)
            manifests = {name: _merged(out / name / MANIFEST_FILE, item.samples) for name, item in found.sets.items()}
        generators = benchmark.generators(request, tuple(found.sets))
        record = _record(benchmark, request, found, next(iter(generators.values())))
        if is_first_process():
            for name, samples in manifests.items():
                if samples:
                    write_manifest(out / name / MANIFEST_FILE, samples)
            record.write(out / RUN_FILE)
        problems: list[str] = []
        for name, prepared in found.sets.items():
            path, report_progress = out / name / PREDICTIONS_FILE, partial(progress, prepared.title)
            report = generate_to_store(path, prepared.samples, generators[name], request.modes, report_progress)
            if report.errors:
                problems.append(report.summary(path))
        del generators  # a model that judges may need its memory
        close_engine(request.engine)
        if not is_first_process():
            return None
        sets = {name: _answered(prepared, out / name, request) for name, prepared in found.sets.items()}
        outcome = benchmark.score(AnsweredRun(request, out, sets, progress))
        outcome = replace(outcome, problems=(*problems, *outcome.problems))
        if outcome.metrics is not None:
            metrics = _whole(outcome.metrics, benchmark, found, outcome)
            metrics.write(out / METRICS_FILE)
            outcome = replace(outcome, metrics=metrics)
        record.replace(status="finished").write(out / RUN_FILE)
    return outcome


def _validate_folder(out: Path, benchmark: str) -> None:
    try:
        there = RunRecord.read(out / RUN_FILE)
        is_same = not (out / RUN_FILE).exists() or (there.kind, there.benchmark) == (KIND, benchmark)
    except InputError:
        is_same = False
    if not is_same:
        raise InputError(f"{out}: holds a run of another kind; give another --out")


def _merged(path: Path, samples: Sequence[Sample]) -> list[Sample]:
    """What is asked now beside what was asked before. Raises InputError for a sample that has changed."""
    asked = {sample.id: sample for sample in read_manifest(path)} if path.exists() else {}
    for sample in samples:
        before = asked.get(sample.id, sample)
        if (before.labels, before.valence, before.candidates) != (sample.labels, sample.valence, sample.candidates):
            raise InputError(f"{path}: {printable(sample.id)} has another label or label set now; give another --out")
        asked[sample.id] = sample
    return list(asked.values())


def _record(benchmark: Benchmark[Outcome], request: Request, found: FoundSets, generator: Generator) -> RunRecord:
    settings = {
        "modes": list(request.modes),
        "sets": list(found.sets),
        "limit": request.limit,
        "max_new_tokens": request.max_new_tokens,
        "failed_answers": request.failed,
        **benchmark.settings,
        "asked": dict(generator.settings),
    }
    return RunRecord(
        kind=KIND,
        benchmark=benchmark.name,
        model=request.model_name,
        settings=settings,
        versions=versions(VERSIONED),
        status="running",
    )


def _answered(prepared: PreparedSet, folder: Path, request: Request) -> AnsweredSet:
    path = folder / PREDICTIONS_FILE
    found = read_predictions(path) if path.exists() and path.stat().st_size else []
    rows: dict[Mode, dict[str, Prediction]] = {mode: {} for mode in request.modes}
    for row in found:
        if row.mode in rows:
            rows[row.mode][row.id] = row
    return AnsweredSet.count(prepared, folder, rows, request.failed)


def _whole(metrics: MetricsRecord, benchmark: Benchmark[Outcome], found: FoundSets, outcome: Outcome) -> MetricsRecord:
    """The metrics with what every benchmark's say. Raises InputError where there is no score."""
    request = outcome.run.request
    if not metrics.sets:
        first = next(iter(outcome.problems), f"{benchmark.title}: no sample to score")
        raise InputError(first + (ALONE if len(request.modes) > 1 else ""))
    return metrics.replace(
        title=benchmark.title,
        benchmark=benchmark.name,
        limit=request.limit,
        failed_answers=request.failed,
        absent=list(found.absent),
        clips_not_there={name: len(prepared.missing) for name, prepared in found.sets.items() if prepared.missing},
        notes=[f"{prepared.title}: {note}" for prepared in found.sets.values() for note in prepared.notes],
        complete=metrics.complete is not False and not outcome.problems,
    )
