"""MME-Emotion's judge in two stages: an answer into steps, then a score for every step (MER-R1 Appendix B.2).

    stage 1   the answer's text alone                                      -> <step> lines, the last one the prediction
    stage 2   gold label, steps, frames of the clip, words for its sound   -> <score>Step 1: 1/1, Step 2: 0/1</score>

Frames are those of `frame_times` at one a second over the clip's first ten seconds, at most ten, as JPEG. Stage 1 sees
neither the gold label nor the clip. A reply that is not in its form is answered with a request for the form, once; what
is still not in its form makes the answer `unjudged`. A blank answer is not sent: it names nothing and reasons nothing.

The prompts are this package's own; only the tags are the benchmark's. Everything that comes from files or from a model
stands in them as data between tags of its own.
"""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal, TypeVar

from mer_r1.benchmarks.mme_emotion.forms import parse_scores, parse_steps
from mer_r1.benchmarks.mme_emotion.questions import TASKS, Question
from mer_r1.errors import InputError
from mer_r1.judge.chat import ChatClient, ChatError, Messages
from mer_r1.judge.client import AnswerCache, load_prompt
from mer_r1.media import MediaBudget, decode_file

Ask = Callable[[Messages], str]
Verdict = Literal["judged", "unjudged", "no_clip"]
Read = TypeVar("Read")

NUM_FRAMES = 10
FRAMES = MediaBudget(
    num_frames=NUM_FRAMES,
    fps=1.0,
    frames_multiple=1,
    max_video_s=float(NUM_FRAMES),
    max_pixels=640 * 480,
    size_multiple=2,
)
PROMPTS = ("mme_steps", "mme_steps_again", "mme_scores", "mme_last_one", "mme_last_several", "mme_scores_again")
_JPEG_QUALITY = 90
_OWN_TAGS = re.compile(r"<\s*+(/?)\s*+(response|sound|label|steps?|scores?)\s*+/?\s*+>", re.IGNORECASE)


@dataclass(frozen=True)
class Case:
    """One answer to judge. `clip` is read only `with_frames`; None there says that it is not to be found."""

    question: Question
    response: str
    clue: str | None = None
    with_frames: bool = False
    clip: Path | None = None

    @property
    def num_labels(self) -> int:
        """K, what the last step's score counts up to."""
        return len(self.question.labels) if TASKS[self.question.task].kind == "several" else 1

    @property
    def key(self) -> str:
        """Changes with everything that the judge sees; of a clip its size in bytes stands for it."""
        size = None
        if self.with_frames and self.clip:
            with suppress(OSError):  # a clip that is not there is found out when it is read
                size = self.clip.stat().st_size
        seen = [self.question.id, self.question.labels, self.response, self.clue, self.with_frames, size]
        return sha256(json.dumps(seen).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Judgement:
    """What came of a case: a row of judged.jsonl.

    `scores` has a number a step: 0 or 1, the last one 0 to `num_labels`; empty unless `status` is "judged". A blank
    answer has no steps and the score (0,). `why` says what failed where `status` is not "judged".
    """

    id: str
    task: str
    video_id: str
    status: Verdict
    num_labels: int
    key: str
    steps: tuple[str, ...] = ()
    scores: tuple[int, ...] = ()
    num_frames: int = 0
    why: str = ""

    @property
    def rec(self) -> float:
        """Recognition: the last step's score, 0 to 1."""
        return self.scores[-1] / self.num_labels

    @property
    def rea(self) -> float:
        """Reasoning: the mean of the steps before the last, 0 where there is none (as published)."""
        before = self.scores[:-1]
        return sum(before) / len(before) if before else 0.0


class _NoTextError(ChatError):
    """The judge answered without a text, as a filter does."""


class Judge(ChatClient):
    """One judging model, its answers kept by content. What it writes is given as it is: whether it has the form is for
    the parser, so that a filtered or cut-off answer leaves one sample unjudged and does not stop the others. A request
    that the server refuses with a status (400, as filters do) is such an answer once another one was answered.
    """

    def __init__(self, url: str, model: str, cache: AnswerCache, key_env: str | None, num_workers: int) -> None:
        """Raises ChatError for an address, name, number or key that cannot be used."""
        super().__init__(url, model, who="judge", key_env=key_env, timeout_s=120.0, num_workers=num_workers)
        self._answers = cache
        self._heard = False

    def unfinished(self, reason: object) -> ChatError:
        """The error for a reply without a text, which `say` takes as an empty one."""
        return _NoTextError(str(super().unfinished(reason)))

    def say(self, messages: Messages) -> str:
        """The answer, from the cache where it is there, "" for none. Raises ChatError where the endpoint fails.

        What a first request is refused for may be true of all of them (no such model, no pictures), so that is raised.
        """
        parts = [self.model, [dict(message) for message in messages]]
        key = sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
        kept = self._answers.get(key)
        if kept is None:
            try:
                kept = self.ask(messages, {"temperature": 0.0}).text
            except _NoTextError:
                kept = ""
            except ChatError as error:
                if not (error.of_one and self._heard):
                    raise
                return ""  # not kept: another server may answer
            self._answers.put(key, self.model, kept)
        self._heard = True
        return kept


def prompts_sha256() -> str:
    """The hash of all prompts of both stages."""
    return sha256("\0".join(map(load_prompt, PROMPTS)).encode()).hexdigest()


def judge_case(case: Case, steps_judge: Ask, scores_judge: Ask) -> Judgement:
    """Both stages of one case. Raises ChatError where an endpoint fails: then nothing is known of the case."""
    asked, num_labels = case.question, case.num_labels
    judgement = partial(Judgement, asked.id, asked.task, asked.video_id, num_labels=num_labels, key=case.key)
    if not case.response.strip():
        return judgement("judged", scores=(0,))
    try:
        pictures = frames_of(case.clip) if case.with_frames else []
    except InputError as error:
        return judgement("no_clip", why=str(error))
    judgement = partial(judgement, num_frames=len(pictures))
    steps = _parsed(steps_judge, steps_messages(case.response), parse_steps, load_prompt("mme_steps_again"))
    if steps is None:
        return judgement("unjudged", why="stage 1 gave no steps in the asked form")
    scores = _parsed(
        scores_judge,
        scores_messages(case, steps, pictures),
        lambda text: parse_scores(text, len(steps), num_labels),
        load_prompt("mme_scores_again").format(num_steps=len(steps), num_labels=num_labels),
    )
    if scores is None:
        return judgement("unjudged", steps=steps, why="stage 2 gave no scores in the asked form")
    return judgement("judged", steps=steps, scores=scores)


def _parsed(ask: Ask, messages: Messages, parse: Callable[[str], Read | None], again: str) -> Read | None:
    """What is read from the reply, or from that to one more request for the form; None where neither has it."""
    text = ask(messages)
    if (found := parse(text)) is not None:
        return found
    reply = {"role": "assistant", "content": text if text.strip() else "(nothing)"}
    return parse(ask([*messages, reply, {"role": "user", "content": again}]))


def steps_messages(response: str) -> Messages:
    """What stage 1 is asked: the answer's text and nothing else of the sample."""
    return [{"role": "user", "content": load_prompt("mme_steps").replace("{response}", _data(response))}]


def scores_messages(case: Case, steps: Sequence[str], pictures: Sequence[bytes]) -> Messages:
    """What stage 2 is asked; `pictures` are JPEG files, sent as content parts behind the text."""
    several = TASKS[case.question.task].kind == "several"
    values = {
        "last": load_prompt("mme_last_several" if several else "mme_last_one").format(num_labels=case.num_labels),
        "pictures": f"{len(pictures)} pictures of the clip, one a second" if pictures else "no pictures",
        "sound": _data(case.clue) if case.clue else "no description",
        "label": _data(", ".join(case.question.labels)),
        "num_steps": str(len(steps)),
        "steps": "\n".join(f"Step {index}: {_data(step)}" for index, step in enumerate(steps, start=1)),
    }
    # In one pass, so that a value that holds a {name} stays as it is.
    text = re.sub(r"\{([a-z_]+)\}", lambda found: values[found[1]], load_prompt("mme_scores"))
    if not pictures:
        return [{"role": "user", "content": text}]
    parts: list[dict[str, Any]] = [{"type": "text", "text": text}]
    for picture in pictures:
        url = f"data:image/jpeg;base64,{base64.b64encode(picture).decode()}"
        parts.append({"type": "image_url", "image_url": {"url": url}})
    return [{"role": "user", "content": parts}]


def _data(text: str) -> str:
    """A text that cannot close the prompt's tag around it."""
    return _OWN_TAGS.sub(r"(\1\2)", text)


def frames_of(clip: Path | None) -> list[bytes]:
    """The clip's frames as JPEG files. Raises InputError for a clip that is not there or cannot be read."""
    if clip is None:
        raise InputError("the clip is not there; fetch it, or judge without --videos")
    from PIL import Image

    frames_THWC = decode_file(clip, FRAMES, sound=False).frames_THWC
    assert frames_THWC is not None, "pictures were asked for"
    files = []
    for frame_HWC in frames_THWC:
        file = io.BytesIO()
        Image.fromarray(frame_HWC).save(file, "JPEG", quality=_JPEG_QUALITY)
        files.append(file.getvalue())
    return files
