"""Answers judged step by step, those of a benchmark's run and those of a file (`mer-r1 judge mme-emotion`).

Responses are a JSON list of `{"video_id", "model_response"}`, joined to the questions by `video_id`; where one clip
stands in several tasks, the row says `"task"`. Questions without a response are named, left out and make the result
incomplete.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from mer_r1.benchmarks.mme_emotion.judge import NUM_FRAMES, Case, Judge, judge_case, prompts_sha256
from mer_r1.benchmarks.mme_emotion.questions import (
    TITLE,
    Question,
    find_clip,
    question_of,
    read_list,
    read_questions,
    task_named,
    text_of,
)
from mer_r1.benchmarks.mme_emotion.score import Judging, MmeReport, score
from mer_r1.benchmarks.mme_emotion.store import CACHE, check_settings, judge_into, kept_judgements
from mer_r1.data.files import locked, write_json
from mer_r1.data.manifest import read_manifest
from mer_r1.errors import InputError
from mer_r1.evaluation.records import METRICS_FILE
from mer_r1.judge.client import AnswerCache, load_prompt
from mer_r1.text import printable

GIVEN = "given"
# What a dry run estimates with; none of it is measured.
CHARACTERS_A_TOKEN = 4
TOKENS_A_PICTURE = 258
STEPS_AN_ANSWER = 6
TOKENS_A_SCORE = 10


@dataclass(frozen=True)
class JudgeChoice:
    """Who judges: `model` at `url`, and `steps_model` there for stage 1 (None: the same)."""

    url: str
    model: str
    key_env: str | None = None
    steps_model: str | None = None
    num_workers: int = 8


@dataclass(frozen=True)
class Answers:
    """The cases to judge, and the questions that have no response."""

    cases: tuple[Case, ...]
    missing: tuple[Question, ...] = ()
    with_frames: bool = False
    with_clues: bool = False


def read_answers(questions: Path, responses: Path, *, videos: Path | None = None, clues: Path | None = None) -> Answers:
    """The responses of a file joined to their questions; with `videos`, or a manifest, stage 2 sees the clips.

    Raises InputError for files that do not fit together.
    """
    asked: list[tuple[Question, Path | None]]
    if questions.suffix == ".jsonl":
        asked = [(question_of(sample), sample.video) for sample in read_manifest(questions)]
    else:
        asked = [(q, find_clip(videos, q.task, q.video_id) if videos else None) for q in read_questions(questions)]
        if videos is not None and not any(clip for _, clip in asked):
            raise InputError(
                f"{videos}: holds none of the clips; give the folder below which {asked[0][0].video_id} is"
            )
    responses_of = read_responses(responses, [question for question, _ in asked])
    return cases_of(asked, responses_of, clues, with_frames=videos is not None or questions.suffix == ".jsonl")


def read_responses(path: Path, questions: Sequence[Question]) -> dict[str, str]:
    """The responses of a file by the question's id; a row whose response is null is left out.

    Raises InputError for rows of no question, of several, and for a second response to one question.
    """
    of_clip: dict[str, list[Question]] = {}
    for question in questions:
        of_clip.setdefault(question.video_id, []).append(question)
    responses: dict[str, str] = {}
    extra: list[str] = []
    for number, row in enumerate(read_list(path), start=1):
        video_id = text_of(path, number, row, "video_id")
        task = row.get("task")
        fitting = [q for q in of_clip.get(video_id, []) if task is None or task_named(task) == q.task]
        if not fitting:
            extra.append(video_id)
            continue
        if len(fitting) > 1:
            names = ", ".join(question.task for question in fitting)
            raise InputError(f'{path}: row {number}: {printable(video_id)} stands in {names}; give "task", one of them')
        if fitting[0].id in responses:
            raise InputError(f"{path}: row {number}: a second response to {printable(video_id)}; keep one")
        if row.get("model_response") is not None:
            responses[fitting[0].id] = text_of(path, number, row, "model_response")
    if extra:
        raise InputError(
            f"{path}: {len(extra)} responses belong to no question, the first {printable(extra[0])}; take them out, or "
            "give the questions that they answer"
        )
    return responses


def cases_of(
    asked: Sequence[tuple[Question, Path | None]],
    responses: Mapping[str, str],
    clues: Path | None,
    *,
    with_frames: bool,
) -> Answers:
    """Questions, clips and responses joined; `clues` is a file of descriptions of the sound. Raises InputError."""
    heard: dict[str, str] = {}
    for number, row in enumerate(read_list(clues) if clues else (), start=1):
        assert clues is not None, "there are rows"
        heard.setdefault(text_of(clues, number, row, "video_id"), text_of(clues, number, row, "audio_clue"))
    cases = tuple(
        Case(question, responses[question.id], heard.get(question.video_id), with_frames, clip if with_frames else None)
        for question, clip in asked
        if question.id in responses
    )
    missing = tuple(question for question, _ in asked if question.id not in responses)
    return Answers(cases, missing, with_frames, clues is not None)


def judge_answers(
    answers: Answers,
    choice: JudgeChoice,
    out: Path,
    *,
    title: str,
    mode: str = GIVEN,
    progress: Callable[[int, int], None] | None = None,
) -> MmeReport:
    """Judge into `out`, resumed from what is there, score, and write OUT/metrics.json.

    `mode` is not known of a file of responses. Raises InputError and JudgeError.
    """
    num_frames = NUM_FRAMES if answers.with_frames else 0
    num_clues = sum(case.clue is not None for case in answers.cases)
    judging = Judging(choice.model, choice.steps_model or choice.model, prompts_sha256(), num_frames, num_clues)
    settings = {
        "judge": choice.model,
        "steps": judging.steps_model,
        "prompts": judging.prompts_sha256[:16],
        "frames": num_frames,
        "clues": answers.with_clues,
    }
    with locked(out):
        check_settings(out, settings)
        with (
            closing(AnswerCache(out / CACHE)) as cache,
            closing(Judge(choice.url, judging.steps_model, cache, choice.key_env, choice.num_workers)) as steps_judge,
            closing(Judge(choice.url, choice.model, cache, choice.key_env, choice.num_workers)) as judge,
        ):
            judge_one = partial(judge_case, steps_judge=steps_judge.say, scores_judge=judge.say)
            judgements = judge_into(out, answers.cases, judge_one, choice.num_workers, progress)
    report = score(judgements, [question.task for question in answers.missing], judging, mode)
    write_json(out / METRICS_FILE, report.as_json(title, mode))
    return report


def plan(answers: Answers, out: Path, price_in: float | None, price_out: float | None) -> Iterator[str]:
    """What judging would take: calls, tokens, cost. Nothing is written and no request is made.

    Prices are those of a million tokens, in any currency.
    """
    kept = kept_judgements(out, answers.cases)
    to_ask = [case for case in answers.cases if case.question.id not in kept and case.response.strip()]
    tokens_in = tokens_out = 0
    asked = len(load_prompt("mme_steps")) + len(load_prompt("mme_scores")) + len(load_prompt("mme_last_several"))
    for case in to_ask:
        characters = asked + 2 * len(case.response) + len(case.clue or "")
        pictures = NUM_FRAMES if case.clip else 0
        tokens_in += characters // CHARACTERS_A_TOKEN + TOKENS_A_PICTURE * pictures
        tokens_out += len(case.response) // CHARACTERS_A_TOKEN + TOKENS_A_SCORE * STEPS_AN_ANSWER
    yield f"{len(answers.cases)} responses, {len(kept)} judged already, {len(answers.missing)} questions without one"
    yield f"{2 * len(to_ask)} calls, and as many again at most where replies are not in their form"
    yield (
        f"about {tokens_in:,} tokens in and {tokens_out:,} out. A guess: {CHARACTERS_A_TOKEN} characters a token, "
        f"{TOKENS_A_PICTURE} tokens a picture, {NUM_FRAMES} pictures a clip (shorter clips have fewer), "
        f"{STEPS_AN_ANSWER} steps an answer"
    )
    if price_in is None or price_out is None:
        yield "cost: give --price-in and --price-out, per million tokens"
    else:
        cost = (tokens_in * price_in + tokens_out * price_out) / 1e6
        yield f"cost: about {cost:,.2f} at {price_in:g} in and {price_out:g} out per million tokens"


def missing_line(answers: Answers) -> str:
    """The questions without a response, the first ones by name; "" where all have one."""
    if not answers.missing:
        return ""
    names = ", ".join(printable(question.id) for question in answers.missing[:5])
    more = ", ..." if len(answers.missing) > 5 else ""
    return f"{len(answers.missing)} questions of {TITLE} have no response: {names}{more}"
