"""The folders of runs, read for the diagnosis and the page. Nothing is evaluated here.

Four kinds of folder, told apart by what they hold:

    quickstart    metrics.json with "systems", data/test.jsonl, and a folder a system      its systems, one set "test"
                  (stages.json alone while it is under way)
    benchmark     run.json of kind "benchmark", and a folder a set                         one system with its sets
    predictions   manifest.jsonl and predictions.jsonl                                     one system, one set "test"
    training      metrics.jsonl, as `mer-r1 train` writes it                               one system without sets

A system's folder may hold metrics.jsonl (one line a logging step), run.json and recipe.yaml, a set's folder
manifest.jsonl and predictions.jsonl. Convention: whatever else is absent is left out. Names of sets and systems become
names of folders, so they are plain words. A run may be under way or stopped: a last line that is half-written is passed
over, as the command does that goes on with the run. Files of version 0.1.0 are read, its logged numbers under their
names of today.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any

from mer_r1.data.files import read_json_lines
from mer_r1.data.manifest import MANIFEST_FILE, read_manifest
from mer_r1.data.predictions import PREDICTIONS_FILE, SENTIMENT_FILE, read_modes, read_predictions
from mer_r1.data.sample import MODES, Mode, Prediction, Sample
from mer_r1.errors import InputError
from mer_r1.evaluation.answered import answered
from mer_r1.evaluation.records import (
    METRICS_FILE,
    RUN_FILE,
    Json,
    MetricsRecord,
    RolloutRecord,
    RunRecord,
    ScoresByMode,
    finite,
)
from mer_r1.text import printable

Answers = dict[tuple[str, Mode], Prediction]

TITLES = {"sft": "SFT", "baseline": "Baseline", "mer_r1": "MER-R1"}
TEST = "test"
STAGES_FILE = "stages.json"
"""In a quickstart's folder from its first second: the stages that are done."""
NUM_ROLLOUTS_READ = 20_000
MAX_RECIPE_CHARACTERS = 8_000
NEEDED = (
    "no run that can be read; a folder of `mer-r1 quickstart`, `benchmark` or `train` is needed, or one that holds "
    "manifest.jsonl and predictions.jsonl"
)
RENAMED = {  # as version 0.1.0 logged them
    "clip_share": "clip_ratio",
    "clip_share_low": "clip_ratio_low",
    "clip_share_high": "clip_ratio_high",
    "groups_without_signal": "frac_reward_zero_std",
}
_NAME = re.compile(r"\w[\w.-]*")


@dataclass(frozen=True)
class EvaluatedSet:
    """A data set that a system was asked about: its gold samples, and the answers by (id, mode).

    `scores` are those of metrics.json, empty where it has none; `sentiments` are the words of sentiment.jsonl, None
    where a benchmark of sentiment kept none.
    """

    name: str
    title: str
    folder: Path
    samples: tuple[Sample, ...]
    predictions: Answers
    scores: ScoresByMode = field(default_factory=ScoresByMode)
    sentiments: dict[tuple[str, Mode], str] | None = None

    def of_mode(self, mode: Mode) -> dict[str, Prediction]:
        """The answers of one mode by id."""
        return {identity: row for (identity, item), row in self.predictions.items() if item == mode}


@dataclass(frozen=True)
class System:
    """One system of a run: its name, title, and what its folder holds.

    `log` are the lines of metrics.jsonl in order; `metrics` is the metrics.json of a benchmark's folder; `under_way`:
    the quickstart that it is of is not finished.
    """

    name: str
    title: str
    folder: Path
    sets: tuple[EvaluatedSet, ...] = ()
    log: tuple[Json, ...] = ()
    run: RunRecord = field(default_factory=RunRecord)
    recipe: str = ""
    metrics: MetricsRecord = field(default_factory=MetricsRecord)
    under_way: bool = False

    @property
    def all_asked(self) -> bool:
        """Whether every clip is asked in every mode, so that one without an answer waits for it, or failed."""
        return self.under_way or self.run.kind == "benchmark"

    def series(self, key: str) -> tuple[list[float], list[float]]:
        """(steps, values) of one logged number, steps without it left out."""
        pairs = [(finite(row.get("step")), finite(row.get(key))) for row in self.log]
        known = [(step, value) for step, value in pairs if step is not None and value is not None]
        return [step for step, _ in known], [value for _, value in known]


@dataclass(frozen=True)
class SharedSet:
    """A data set and the answers of every system that was asked about it, by the system's name.

    `counted` are the samples that numbers are over, those that failed for no system (`evaluation.answered`); `failed`
    is how many answers of each system failed.
    """

    name: str
    title: str
    samples: tuple[Sample, ...]
    counted: tuple[Sample, ...]
    answers: dict[str, EvaluatedSet]
    failed: dict[str, int]


def read_runs(folders: Sequence[Path]) -> tuple[System, ...]:
    """The systems of all folders in order, with names and titles of their own.

    A set of a benchmark that has no prediction yet is left out. Raises InputError for no folder, for one that is no
    run, and for a file in it that is not what it should be.
    """
    if not folders:
        raise InputError(f"no folder given; {NEEDED.split('; ', 1)[1]}")
    seen = set[Path]()
    for folder in folders:
        if folder.resolve() in seen:
            raise InputError(f"{folder}: given twice; give each run once")
        seen.add(folder.resolve())
    return _distinct([(folder, system) for folder in folders for system in _read_folder(folder)])


def is_finished(folder: Path) -> bool | None:
    """Whether the run of a folder has come to its end; None where nothing in the folder says so.

    Raises InputError for a run.json or a metrics.json that is none.
    """
    status = RunRecord.read(folder / RUN_FILE).status
    if status:
        return status == "finished"
    if MetricsRecord.read(folder / METRICS_FILE).systems is not None:
        return True
    return False if (folder / STAGES_FILE).exists() else None


def shared_sets(systems: Sequence[System]) -> tuple[SharedSet, ...]:
    """The sets of all systems, in the order of first appearance.

    Sets of several systems are one where name and gold are the same, sample by sample: id, labels and valence.
    Otherwise they stand apart, and the later one has a number behind its name and its title.
    """
    found: dict[tuple[Any, ...], list[tuple[System, EvaluatedSet]]] = {}
    for system in systems:
        for item in system.sets:
            gold = tuple((sample.id, sample.labels, sample.valence) for sample in item.samples)
            found.setdefault((item.name, gold), []).append((system, item))
    names, titles = set[str](), set[str]()
    sets = []
    for rows in found.values():
        first = rows[0][1]
        name, title = free_name(first.name, "{}-{}", names), free_name(first.title, "{} ({})", titles)
        answers = {system.name: item for system, item in rows}
        counted, failed = first.samples, {}
        for system, item in rows:
            of_modes = {mode: item.of_mode(mode) for mode in MODES}
            statuses = {mode: {i: row.status for i, row in of.items()} for mode, of in of_modes.items() if of}
            found_of = answered([s.id for s in item.samples], statuses, all_asked=system.all_asked)
            failed[system.name] = sum(map(len, found_of.failed[0].values()))
            kept = set(found_of.ids)
            counted = tuple(sample for sample in counted if sample.id in kept)
        sets.append(SharedSet(name, title, first.samples, counted, answers, failed))
    return tuple(sets)


def read_groups(path: Path) -> Iterator[list[RolloutRecord]]:
    """The groups of a rollouts file in order, as far as its first lines: runs of rows of one step and one id."""
    if not path.exists():
        return
    group: list[RolloutRecord] = []
    for number, row in read_json_lines(path, growing=True):
        rollout = RolloutRecord.from_json(row, f"{path}:{number}")
        if group and (rollout.step, rollout.id) != (group[0].step, group[0].id):
            yield group
            group = []
        if number > NUM_ROLLOUTS_READ:
            return
        if "rewards" in row and rollout.advantage is not None:
            group.append(rollout)
    if group:
        yield group


def free_name(wanted: str, form: str, taken: set[str]) -> str:
    """The wanted name, or `form` of it with the first number that makes it another than all taken; it is taken now."""
    name = next(item for n in count(1) if (item := wanted if n == 1 else form.format(wanted, n)) not in taken)
    taken.add(name)
    return name


def _read_folder(folder: Path) -> tuple[System, ...]:
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; {NEEDED.split('; ', 1)[1]}")
    metrics = MetricsRecord.read(folder / METRICS_FILE)
    run = RunRecord.read(folder / RUN_FILE)
    if run.kind == "benchmark":
        return (_benchmark(folder, run, metrics),)
    if metrics.systems is not None:
        return _quickstart(folder, metrics.systems)
    if (folder / STAGES_FILE).exists():
        return tuple(replace(system, under_way=True) for system in _quickstart(folder, {}))
    manifest = folder / MANIFEST_FILE
    if not manifest.exists():  # a system of a quickstart, whose clips are beside it
        manifest = folder.resolve().parent / "data" / "test.jsonl"
    has_answers = manifest.exists() and (folder / PREDICTIONS_FILE).exists()
    if not has_answers and not (folder / "metrics.jsonl").exists():
        raise InputError(f"{folder}: {NEEDED}")
    name = folder.resolve().name
    sets = (_evaluated(TEST, TEST, folder, tuple(read_manifest(manifest))),) if has_answers else ()
    return (_system(folder, name, TITLES.get(name, printable(name)), sets),)


def _quickstart(folder: Path, scores: dict[str, ScoresByMode]) -> tuple[System, ...]:
    for name in scores:
        if not _NAME.fullmatch(name):
            raise InputError(f'{folder / METRICS_FILE}: system "{printable(name)}" must be the name of a folder')
    path = folder / "data" / "test.jsonl"
    test = tuple(read_manifest(path)) if path.exists() else ()
    systems = []
    for name in (*TITLES, *(name for name in scores if name not in TITLES)):
        own = folder / name
        if name in scores or own.is_dir():
            has_answers = (own / PREDICTIONS_FILE).exists()
            sets = (_evaluated(TEST, TEST, own, test, scores.get(name)),) if has_answers else ()
            systems.append(_system(own, name, TITLES.get(name, name), sets))
    return tuple(systems)


def _benchmark(folder: Path, run: RunRecord, metrics: MetricsRecord) -> System:
    """A benchmark's one system; its sets stand in the order of metrics.json, further ones follow by name."""
    found = sorted(path.parent.name for path in folder.glob(f"*/{PREDICTIONS_FILE}"))
    sets = []
    for name in dict.fromkeys([*filter(_NAME.fullmatch, metrics.sets), *found]):
        manifest, predictions = folder / name / MANIFEST_FILE, folder / name / PREDICTIONS_FILE
        if manifest.exists() and predictions.exists() and predictions.stat().st_size:
            scores = metrics.sets.get(name, ScoresByMode())
            sets.append(
                _evaluated(name, printable(scores.title or name), folder / name, tuple(read_manifest(manifest)), scores)
            )
    name = folder.resolve().name
    model = Path(run.model).name if run.model else name
    return replace(_system(folder, name, TITLES.get(model, printable(model)), tuple(sets), run), metrics=metrics)


def _evaluated(
    name: str, title: str, folder: Path, samples: tuple[Sample, ...], scores: ScoresByMode | None = None
) -> EvaluatedSet:
    rows = read_predictions(folder / PREDICTIONS_FILE, growing=True)
    answers = {(row.id, row.mode): row for row in rows}
    return EvaluatedSet(name, title, folder, samples, answers, scores or ScoresByMode(), _sentiments(folder))


def _sentiments(folder: Path) -> dict[tuple[str, Mode], str] | None:
    path = folder / SENTIMENT_FILE
    if not path.exists():
        return None
    modes = read_modes(path)
    return {
        (identity, mode): word for mode in MODES if mode in modes for identity, word in modes[mode].sentiment.items()
    }


def _system(
    folder: Path, name: str, title: str, sets: tuple[EvaluatedSet, ...], run: RunRecord | None = None
) -> System:
    log, recipe = folder / "metrics.jsonl", folder / "recipe.yaml"
    rows = [row for _, row in read_json_lines(log, growing=True)] if log.exists() else []
    return System(
        name=name,
        title=title,
        folder=folder,
        sets=sets,
        log=tuple({RENAMED.get(key, key): value for key, value in row.items()} for row in rows),
        run=run or RunRecord.read(folder / RUN_FILE),
        recipe=recipe.read_text(encoding="utf-8", errors="replace")[:MAX_RECIPE_CHARACTERS] if recipe.exists() else "",
    )


def _distinct(found: Sequence[tuple[Path, System]]) -> tuple[System, ...]:
    """Names and titles made different: a title that stands twice gets its folder's name, and then a number."""
    names, titles = set[str](), set[str]()
    repeated = Counter(system.title for _, system in found)
    systems = []
    for folder, system in found:
        title = system.title
        if repeated[title] > 1 and title != printable(folder.resolve().name):
            title = f"{title} ({printable(folder.resolve().name)})"
        name, title = free_name(system.name, "{}-{}", names), free_name(title, "{} #{}", titles)
        systems.append(replace(system, name=name, title=title))
    return tuple(systems)
