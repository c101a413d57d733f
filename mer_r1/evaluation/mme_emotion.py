"""`mer-r1 benchmark mme-emotion`: questions asked by their task's own prompt, answers judged where a judge is named.

    OUT/run.json                 what was run with what
    OUT/TASK/manifest.jsonl      the gold; TASK/predictions.jsonl the answers, TASK/score.json the task's numbers
    OUT/responses.MODE.json      the answers as MME-Emotion's own scripts and `mer-r1 judge` take them
    OUT/judge/MODE/              the judge's replies and judgements (benchmarks/mme_emotion/store.py), and their numbers
    OUT/metrics.json             all numbers, of every mode that was judged so far

The model is loaded once; a task's questions with the same label set are asked together. A question whose clip is not
there, or whose answer failed, has no response: it is counted as missing, and the same command asks it again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any, get_args

from rich.console import Console

from mer_r1.benchmarks.mme_emotion.judging import (
    METRICS,
    Answers,
    JudgeChoice,
    cases_of,
    judge_answers,
    missing_lines,
)
from mer_r1.benchmarks.mme_emotion.questions import (
    NAME,
    TASKS,
    TITLE,
    find_clip,
    question_of,
    read_questions,
    sample_of,
    template_for,
)
from mer_r1.benchmarks.mme_emotion.score import MmeReport
from mer_r1.data.files import locked, write_json
from mer_r1.data.manifest import read_manifest, write_manifest
from mer_r1.data.predictions import read_predictions
from mer_r1.data.sample import Mode, Prediction, Sample
from mer_r1.display.mme_emotion import print_mme
from mer_r1.distributed import rank_and_world_size
from mer_r1.errors import InputError
from mer_r1.evaluation.mer_unibench import model_name, run_record, validate_benchmark_folder
from mer_r1.evaluation.records import RUN_FILE
from mer_r1.evaluation.runs import Json, read_object
from mer_r1.generation import Generator, generate_to_store
from mer_r1.generation.make import Service, make_generator, validate_generator
from mer_r1.pipelines.predict import generation_bar
from mer_r1.prompting.templates import PromptTemplate
from mer_r1.text import printable


@dataclass(frozen=True)
class QuestionGenerator:
    """Asks every sample of MME-Emotion by the prompt of its task and label set; see `generation.store.Generator`.

    `plain` is the model asked its own question, `styled` gives the same model asked another one.
    """

    plain: Generator
    styled: Callable[[PromptTemplate], Generator]

    @property
    def settings(self) -> Mapping[str, Any]:
        """Those of the model, and in the place of its own prompt the hash of all tasks' prompts."""
        asked = "\0".join(repr(template_for(task, ("labels",))) for task in TASKS)
        return {**self.plain.settings, "prompt": f"{NAME} {sha256(asked.encode()).hexdigest()[:16]}"}

    def generate(self, samples: Sequence[Sample], mode: Mode) -> Iterator[Prediction]:
        """Label set by label set."""
        groups: dict[tuple[str, tuple[str, ...]], list[Sample]] = {}
        for sample in samples:
            question = question_of(sample)
            groups.setdefault((question.task, question.candidates), []).append(sample)
        for (task, candidates), of_group in groups.items():
            yield from self.styled(template_for(task, candidates)).generate(of_group, mode)


@dataclass(frozen=True)
class MmeRun:
    """What is asked of whom: `data` is a folder with question files and clips, or a manifest of `prepare`."""

    model: str
    data: Path
    out: Path
    modes: tuple[Mode, ...] = ("slow",)
    tasks: tuple[str, ...] = ()
    limit: int | None = None
    max_new_tokens: int = 1024
    service: Service | None = None


def run(wanted: MmeRun, choice: JudgeChoice | None, *, clues: Path | None = None, with_frames: bool = True) -> int:
    """Ask, write the responses, judge with `choice`; 0, or 1 when questions have no answer or no clip.

    Raises InputError for data, model or settings that cannot be used, and JudgeError where the judge fails.
    """
    console = Console(highlight=False, emoji=False)
    validate_generator(wanted.model, wanted.service, max_new_tokens=wanted.max_new_tokens)
    tasks = read_tasks(wanted)
    is_first = rank_and_world_size()[0] == 0
    with ExitStack() as stack:
        if is_first:
            stack.enter_context(locked(wanted.out))
            validate_benchmark_folder(wanted.out, NAME)
            for name, samples in tasks.items():
                _keep_manifest(wanted.out / name / "manifest.jsonl", list(filter(_has_medium, samples)))
        generator = _generator(wanted)
        settings = {
            "modes": list(wanted.modes),
            "sets": list(tasks),
            "limit": wanted.limit,
            "asked": generator.settings,
        }
        record = run_record(NAME, model_name(wanted.model), settings)
        if is_first:
            record.write(wanted.out / RUN_FILE)
        _ask(wanted, tasks, generator, console)
        if not is_first:
            return 0
        reports, num_missing = _judge(wanted, tasks, choice, clues, with_frames, console)
        record.replace(status="finished").write(wanted.out / RUN_FILE)
    if reports:
        print_mme({f"{model_name(wanted.model)} ({mode})": report for mode, report in reports.items()}, console)
    else:
        said = f"{wanted.out}: the answers are written; --judge-url and --judge-model have them judged"
        console.print(said, markup=False, soft_wrap=True)
    return 1 if num_missing or not all(report.complete for report in reports.values()) else 0


def read_tasks(wanted: MmeRun) -> dict[str, list[Sample]]:
    """The questions of each task as samples; one whose clip is not there has no medium. Raises InputError."""
    if unknown := [name for name in wanted.tasks if name not in TASKS]:
        raise InputError(f"task {printable(unknown[0])} is not known; use {', '.join(TASKS)}")
    if wanted.limit is not None and wanted.limit < 1:
        raise InputError(f"--limit {wanted.limit}: give 1 or more")
    prepared = wanted.data if wanted.data.is_file() else wanted.data / f"{NAME}.jsonl"
    if prepared.is_file() and prepared.suffix == ".jsonl":
        samples = read_manifest(prepared)
    else:
        root = wanted.data.parent if wanted.data.is_file() else wanted.data
        samples = [sample_of(q, find_clip(root, q.task, q.video_id)) for q in read_questions(wanted.data)]
    of_task: dict[str, list[Sample]] = {name: [] for name in TASKS if name in (wanted.tasks or TASKS)}
    for sample in samples:
        if (task := question_of(sample).task) in of_task:
            of_task[task].append(sample)
    found = {name: rows[: wanted.limit] for name, rows in of_task.items() if rows}
    if not any(_has_medium(sample) for rows in found.values() for sample in rows):
        raise InputError(f"{wanted.data}: no question of these tasks has its clip here; see docs/mme-emotion.md")
    return found


def _has_medium(sample: Sample) -> bool:
    return bool(sample.video or sample.audio or sample.image or sample.subtitle)


def _keep_manifest(path: Path, samples: Sequence[Sample]) -> None:
    """Write what is asked beside what was asked before.

    Raises InputError where answers to another form of these questions are there.
    """
    asked = {sample.id: sample for sample in read_manifest(path)} if path.exists() else {}
    for sample in samples:
        if question_of(asked.setdefault(sample.id, sample)) != question_of(sample):
            raise InputError(f"{path}: {printable(sample.id)} has another label or label set now; give another --out")
        asked[sample.id] = sample
    if asked:
        write_manifest(path, list(asked.values()))


def _generator(wanted: MmeRun) -> QuestionGenerator:
    """The model, loaded once; of an endpoint every style has an generator of its own, which loads nothing."""
    make = partial(make_generator, wanted.model, wanted.service, max_new_tokens=wanted.max_new_tokens)
    plain = make()
    if wanted.service is not None:
        return QuestionGenerator(plain, lambda style: make(style=style))
    from mer_r1.generation.local import LocalGenerator

    assert isinstance(plain, LocalGenerator), "there is no address"
    return QuestionGenerator(plain, plain.with_template)


def _ask(wanted: MmeRun, tasks: Mapping[str, Sequence[Sample]], generator: Generator, console: Console) -> None:
    """Fill the predictions of every task."""
    for name, samples in tasks.items():
        out = _predictions(wanted, name)
        with generation_bar(name) as progress:
            report = generate_to_store(out, list(filter(_has_medium, samples)), generator, wanted.modes, progress)
        if report.errors:
            console.print(report.summary(out), markup=False, soft_wrap=True)


def _judge(
    wanted: MmeRun,
    tasks: Mapping[str, Sequence[Sample]],
    choice: JudgeChoice | None,
    clues: Path | None,
    with_frames: bool,
    console: Console,
) -> tuple[dict[str, MmeReport], int]:
    """Write the answers of every mode and judge them; the reports, none without a judge, and how many are missing."""
    reports: dict[str, MmeReport] = {}
    num_missing = 0
    for mode in wanted.modes:
        answers = _answers(wanted, tasks, mode, clues, with_frames)
        num_missing += len(answers.missing)
        for line in missing_lines(answers):
            console.print(f"{mode}: {line}", markup=False, soft_wrap=True)
        if choice is not None:
            reports[mode] = judge_answers(answers, choice, wanted.out / "judge" / mode, mode)
    if reports:
        _write_numbers(wanted, reports)
    return reports, num_missing


def _predictions(wanted: MmeRun, task: str) -> Path:
    return wanted.out / task / "predictions.jsonl"


def _answers(
    wanted: MmeRun, tasks: Mapping[str, Sequence[Sample]], mode: Mode, clues: Path | None, with_frames: bool
) -> Answers:
    """The answers of a mode, written as a responses file too. What failed has no response."""
    said: dict[str, str] = {}
    for name in tasks:
        path = _predictions(wanted, name)
        for row in read_predictions(path) if path.exists() and path.stat().st_size else ():
            if row.mode == mode and row.status != "error":
                said[row.id] = row.raw
    asked = [(question_of(sample), sample.video) for samples in tasks.values() for sample in samples]
    rows = [
        {
            "task": question.task,
            "video_id": question.video_id,
            "ground_truth": ",".join(question.labels),
            "model_response": said[question.id],
        }
        for question, _ in asked
        if question.id in said
    ]
    write_json(wanted.out / f"responses.{mode}.json", rows)
    return cases_of(asked, said, clues, with_frames=with_frames)


def _write_numbers(wanted: MmeRun, reports: Mapping[str, MmeReport]) -> None:
    """judge/MODE/metrics.json of these modes, and metrics.json and TASK/score.json of all modes judged so far."""
    for mode, report in reports.items():
        write_json(wanted.out / "judge" / mode / METRICS, report.as_json(TITLE, mode))
    found = {mode: read_object(wanted.out / "judge" / mode / METRICS) for mode in get_args(Mode)}
    parts = {mode: part for mode, part in found.items() if part}
    whole: Json = {"title": TITLE, "benchmark": NAME, "complete": True, "sets": {}, "means": {}}
    for part in parts.values():
        whole["complete"] &= part["complete"]
        whole["means"].update(part["means"])
        for name, numbers in part["sets"].items():
            whole["sets"].setdefault(name, {}).update(numbers)
    whole["sets"] = {name: whole["sets"][name] for name in TASKS if name in whole["sets"]}
    whole["signatures"] = {mode: part["signature"] for mode, part in parts.items()}
    whole["signature"] = next(iter(whole["signatures"].values()))
    write_json(wanted.out / METRICS, whole)
    for name, numbers in whole["sets"].items():
        write_json(wanted.out / name / "score.json", numbers)
