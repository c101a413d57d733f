"""MME-Emotion: questions asked by their task's own prompt, answers judged where a judge is named (arXiv 2508.09210).

    OUT/responses.MODE.json      the answers as MME-Emotion's own scripts and `mer-r1 judge` take them
    OUT/judge/MODE/              the judge's replies and judgements (store.py), and their numbers
    OUT/metrics.json             all numbers, of every mode that was judged so far; TASK/score.json those of a task

The model is loaded once; a task's questions with the same label set are answered together. A question whose clip is not
there, or whose answer failed, has no response: it is counted as missing, and the same command generates it again. Each
mode is judged alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any, get_args

from mer_r1.benchmarks.mme_emotion.judging import (
    Answers,
    JudgeChoice,
    cases_of,
    judge_answers,
    missing_line,
)
from mer_r1.benchmarks.mme_emotion.questions import (
    NAME,
    TASKS,
    TITLE,
    Question,
    find_clip,
    question_of,
    read_questions,
    sample_of,
    template_for,
)
from mer_r1.benchmarks.mme_emotion.score import MmeReport
from mer_r1.data.files import write_json
from mer_r1.data.manifest import read_manifest
from mer_r1.data.prepared import MissingFile, PreparedSet
from mer_r1.data.sample import Mode, Prediction, Sample
from mer_r1.errors import InputError
from mer_r1.evaluation.records import METRICS_FILE, MetricsRecord, ScoresByMode
from mer_r1.evaluation.suite import AnsweredRun, AnsweredSet, FoundSets, Outcome, Request
from mer_r1.generation import Generator
from mer_r1.generation.make import make_generator, make_model_generator
from mer_r1.prompting.templates import PromptTemplate


@dataclass(frozen=True)
class QuestionGenerator:
    """Answers every sample of MME-Emotion by the prompt of its task and label set; see `generation.Generator`.

    `plain` is the model with its own question, `styled` gives the same model with another one.
    """

    plain: Generator
    styled: Callable[[PromptTemplate], Generator]

    @property
    def settings(self) -> Mapping[str, Any]:
        """Those of the model, and in the place of its own prompt the hash of all tasks' prompts."""
        prompts = "\0".join(repr(template_for(task, ("labels",))) for task in TASKS)
        return {**self.plain.settings, "prompt": f"{NAME} {sha256(prompts.encode()).hexdigest()[:16]}"}

    def generate(self, samples: Sequence[Sample], mode: Mode) -> Iterator[Prediction]:
        """Label set by label set."""
        groups: dict[tuple[str, tuple[str, ...]], list[Sample]] = {}
        for sample in samples:
            question = question_of(sample)
            groups.setdefault((question.task, question.candidates), []).append(sample)
        for (task, candidates), of_group in groups.items():
            yield from self.styled(template_for(task, candidates)).generate(of_group, mode)


@dataclass(frozen=True)
class MmeOutcome(Outcome):
    """The reports of the modes that were judged now."""

    reports: Mapping[Mode, MmeReport] = field(default_factory=dict)


@dataclass(frozen=True)
class MmeEmotion:
    """The benchmark: without `judge` answers are written and not judged. `clues` describe the sound to the judge."""

    judge: JudgeChoice | None = None
    clues: Path | None = None
    with_frames: bool = True

    name = NAME
    title = TITLE

    @property
    def settings(self) -> Mapping[str, Any]:
        return {}

    def find_sets(self, request: Request) -> FoundSets:
        """The questions of each task; `data` is a folder with question files and clips, or a manifest of `prepare`.

        Raises InputError for an unknown task, wrong question files, and where no clip is there.
        """
        data, names = request.data, request.choose(TASKS)
        manifest = data if data.is_file() else data / f"{NAME}.jsonl"
        if manifest.is_file() and manifest.suffix == ".jsonl":
            samples = read_manifest(manifest)
        else:
            root = data.parent if data.is_file() else data
            samples = [sample_of(q, find_clip(root, q.task, q.video_id)) for q in read_questions(data)]
        found = {}
        tasks = [question_of(sample).task for sample in samples]
        for name in names:
            of_task = [sample for task, sample in zip(tasks, samples, strict=True) if task == name][: request.limit]
            there = {s.id for s in of_task if s.video or s.audio or s.image or s.subtitle}
            missing = (s.id.removeprefix(f"{name}/") for s in of_task if s.id not in there)
            if of_task:
                found[name] = PreparedSet(
                    name,
                    name,
                    tuple(sample for sample in of_task if sample.id in there),
                    tuple(MissingFile(path, "no such clip") for path in missing),
                )
        if not any(prepared.samples for prepared in found.values()):
            raise InputError(f"{request.data}: no question of these tasks has its clip here; see docs/mme-emotion.md")
        return FoundSets(found)

    def generators(self, request: Request, sets: Sequence[str]) -> Mapping[str, Generator]:
        """The model, loaded once; at an address each prompt has a generator of its own, which loads nothing."""
        if request.fast != "prefill":
            raise InputError("--fast prompt: MME-Emotion's questions have no wording for an answer alone; leave it out")
        if request.service is not None:
            make = partial(make_generator, request.model, request.service, max_new_tokens=request.max_new_tokens)
            return dict.fromkeys(sets, QuestionGenerator(make(), lambda template: make(template=template)))
        loaded = make_model_generator(request.model, request.engine, request.max_new_tokens)
        return dict.fromkeys(sets, QuestionGenerator(loaded, loaded.with_template))

    def score(self, run: AnsweredRun) -> MmeOutcome:
        """Write the responses of every mode and judge them. Raises JudgeError where the judge fails."""
        reports: dict[Mode, MmeReport] = {}
        problems: list[str] = []
        for mode in run.request.modes:
            answers = self._answers(run, mode)
            if line := missing_line(answers):
                problems.append(f"{mode}: {line}")
            if self.judge is not None:
                out, progress = run.out / "judge" / mode, partial(run.progress, f"Judging {mode}")
                report = judge_answers(answers, self.judge, out, title=TITLE, mode=mode, progress=progress)
                reports[mode] = report
                if report.total.no_clip:
                    problems.append(f"{mode}: {report.total.no_clip} clips that the judge should see are not there")
        return MmeOutcome(run, _all_modes(run.out) if reports else None, tuple(problems), reports)

    def _answers(self, run: AnsweredRun, mode: Mode) -> Answers:
        """The answers of a mode, written as a responses file too. What failed has no response."""
        asked: list[tuple[Question, Path | None]] = []
        responses: dict[str, str] = {}
        for name, item in run.sets.items():
            counted = AnsweredSet.count(item.prepared, item.folder, {mode: item.rows[mode]}, run.request.failed)
            responses |= {row.id: row.raw for row in counted.answers[mode].values()}
            asked += [(question_of(sample), sample.video) for sample in item.prepared.samples]
            asked += [(Question(name, missing.path, (), ()), None) for missing in item.prepared.missing]
        rows = [
            {
                "task": question.task,
                "video_id": question.video_id,
                "ground_truth": ",".join(question.labels),
                "model_response": responses[question.id],
            }
            for question, _ in asked
            if question.id in responses
        ]
        write_json(run.out / f"responses.{mode}.json", rows)
        return cases_of(asked, responses, self.clues, with_frames=self.with_frames)


def _all_modes(out: Path) -> MetricsRecord:
    """The numbers of all modes judged so far, now or before; writes TASK/score.json."""
    modes: tuple[Mode, ...] = get_args(Mode)
    found = {mode: MetricsRecord.read(out / "judge" / mode / METRICS_FILE) for mode in modes}
    parts = {mode: part for mode, part in found.items() if part.means}
    sets: dict[str, ScoresByMode] = {}
    for task in TASKS:
        found_scores = ((mode, part.sets[task].of_mode(mode)) for mode, part in parts.items() if task in part.sets)
        if scores := {mode: record for mode, record in found_scores if record is not None}:
            sets[task] = ScoresByMode.of(scores)
            write_json(out / task / "score.json", sets[task].to_json())
    signatures: dict[str, str] = {mode: part.signature for mode, part in parts.items()}
    return MetricsRecord(
        sets=sets,
        means={mode: part.means[mode] for mode, part in parts.items()},
        signature=next(iter(signatures.values())),
        signatures=signatures,
        complete=all(part.complete for part in parts.values()),
    )
