"""The model of the page: loaded once, asked clip by clip, its answers handed out while they are written.

A checkpoint on this machine answers one question at a time; a model behind an address as many as its workers. What the
model sees is decoded here first, under the same media budget, so that a bad file is told of before the model is asked,
and the page shows the very frames and seconds.
"""

from __future__ import annotations

import itertools
import queue
import threading
import time
import traceback
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from mer_r1.data.sample import MODES, Clip, MediaFacts, Mode, Prediction, Sample
from mer_r1.demo.uploads import MAX_WORDS, require_length
from mer_r1.errors import InputError
from mer_r1.generation.generator import UNREADABLE, FastByPrompt, PromptedGenerator
from mer_r1.generation.make import LOCAL, Engine, Service, make_generator
from mer_r1.generation.predict import clip_sample
from mer_r1.generation.stream import stream
from mer_r1.generation.timeline import PredictedWindow, answer_windows
from mer_r1.media import MediaBudget, read_clip
from mer_r1.media.subtitles import Subtitles, find_subtitles, words_in
from mer_r1.model_settings import ModelFacts, model_facts
from mer_r1.objectives import FastThinking
from mer_r1.text import printable

PERIOD_S = 0.1
"""Texts are handed on at most so often: a page that is drawn at every id would be slower than the model."""
SHOWN = MediaBudget(num_frames=8, fps=None, max_pixels=160 * 160)
"""What is decoded for the page where a server takes its own frames from the file."""
LONG_S = 10.0
"""A clip from this length on is answered over time too."""
HOP_S, MAX_WINDOWS = 2.5, 60
NO_CLIP = Clip(None, None, MediaFacts())
FAILED = "the model failed; what it said is in the server's terminal"


@dataclass(frozen=True)
class Question:
    """A clip as it is asked about: `clip` is what the model sees of it.

    Where `is_exact` is False a server takes its own frames, and `clip` only shows the file. `subtitles` are those that
    were found in the file, whose words the sample has where none were typed.
    """

    sample: Sample
    clip: Clip
    seconds: float = 0.0
    is_exact: bool = True
    subtitles: Subtitles | None = None

    @property
    def words_from(self) -> str:
        """Where the words come from: "typed", or what they were found in."""
        return "typed" if self.subtitles is None else self.subtitles.source

    @property
    def is_long(self) -> bool:
        """Whether it is answered over time too, which takes a model that can be shown a part of it."""
        return self.is_exact and self.seconds >= LONG_S


@dataclass(frozen=True)
class Answers:
    """What is there of the answers: texts so far, predictions that are finished, and what went wrong for all."""

    texts: Mapping[Mode, str] = field(default_factory=dict)
    predictions: Mapping[Mode, Prediction] = field(default_factory=dict)
    problem: str = ""


class _LeftError(Exception):
    """Nobody waits for the answer any more."""


class DemoModel:
    """One generator for all visitors. `facts` say which model it is, `place` where it runs."""

    def __init__(self, generator: PromptedGenerator, facts: ModelFacts, place: str, num_parallel: int = 1) -> None:
        self.facts, self.place, self.num_parallel = facts, place, num_parallel
        # What was decoded for the page is shown to the model, which need not decode it again.
        self._clips: dict[str, Clip] = {}
        self._numbers = itertools.count()
        self._turns = threading.Semaphore(num_parallel)
        self.template, self.budget = generator.template, _budget_of(generator)
        self._whole = generator
        self._generator = generator if self.budget is None else generator.showing(self._as_decoded)
        fast = generator.of("fast") if isinstance(generator, FastByPrompt) else generator
        self.formats: Mapping[Mode, str] = {
            "fast": fast.template.response_format, "slow": generator.template.response_format
        }  # fmt: skip

    def question(self, path: Path | None, subtitle: str = "", candidates: Sequence[str] = ()) -> Question:
        """A file, or its words alone, made ready to ask about; decoded under the model's media budget.

        Raises InputError, without the file's folder, for what cannot be asked.
        """
        words = subtitle.strip()[:MAX_WORDS] or None
        if path is None:
            if words is None:
                raise InputError("nothing to answer: drop a file, record one, or type the words")
            return Question(Sample("words", subtitle=words, candidates=tuple(candidates)), NO_CLIP)
        name, budget = printable(path.name, 80), self.budget or SHOWN
        if not path.is_file():
            raise InputError(f"{name}: is no longer here, as uploads are removed after a while; drop it again")
        try:
            seconds = require_length(path, budget)
            found = find_subtitles(path) if words is None and seconds else None
            words = words or words_in(found, 0.0, min(seconds, budget.max_video_s))
            sample = clip_sample(path, words, candidates)
            clip = read_clip(sample, budget)
            return Question(replace(sample, id=printable(path.stem, 80)), clip, seconds, self.budget is not None, found)
        except UNREADABLE as error:
            raise InputError(_without_folder(str(error), path)) from None

    def answers(self, question: Question, modes: Sequence[Mode] = MODES) -> Generator[Answers, None, None]:
        """What there is of the answers, whenever there is more; the last is whole. Closing it ends the generation."""
        news: queue.SimpleQueue[tuple[Mode, str] | Prediction | str | None] = queue.SimpleQueue()
        left = threading.Event()

        def wrote(mode: Mode, text: str) -> None:
            if left.is_set():
                raise _LeftError
            news.put((mode, text))

        def work() -> None:
            asked = self._asked(question)
            try:
                with self._turns:
                    for prediction in stream(self._generator, asked, modes, wrote):
                        news.put(prediction)
            except _LeftError:
                pass
            except InputError as error:
                news.put(str(error))
            except Exception:
                traceback.print_exc()
                news.put(FAILED)
            finally:
                self._clips.pop(asked.id, None)
                news.put(None)

        threading.Thread(target=work, name="answering", daemon=True).start()
        texts: dict[Mode, str] = {}
        predictions: dict[Mode, Prediction] = {}
        problem, is_whole = "", False
        try:
            while not is_whole:
                until = time.monotonic() + PERIOD_S
                while (wait_s := until - time.monotonic()) > 0 and not is_whole:
                    try:
                        item = news.get(timeout=wait_s)
                    except queue.Empty:
                        break
                    if item is None:
                        is_whole = True
                    elif isinstance(item, str):
                        problem = item
                    elif isinstance(item, Prediction):
                        predictions[item.mode] = _public(item, question.sample)
                    else:
                        texts[item[0]] = item[1]
                yield Answers(dict(texts), dict(predictions), problem)
        finally:
            left.set()

    def windows(self, question: Question) -> Generator[list[PredictedWindow], None, None]:
        """The fast answers of a long clip over time: all that there are so far, whenever there are more.

        At most MAX_WINDOWS windows, each half over the next. Raises InputError as `answer_windows` does.
        """
        path = question.sample.video or question.sample.audio
        assert path is not None, "a long clip has a file"
        hop_s = max(HOP_S, question.seconds / MAX_WINDOWS)
        made: list[PredictedWindow] = []
        windows = answer_windows(
            path, self._whole, 2 * hop_s, hop_s, modes=["fast"], subtitles=question.subtitles,
            candidates=question.sample.candidates, identity=question.sample.id,
        )  # fmt: skip
        while True:
            try:
                with self._turns:  # a turn a window: others are answered between
                    window = next(windows, None)
            except InputError as error:
                raise InputError(_without_folder(str(error), path)) from None
            if window is None:
                return
            made.append(window)
            yield made

    def _asked(self, question: Question) -> Sample:
        """The sample that the generator is given, under an id of its own: without its file, where that is decoded."""
        asked = replace(question.sample, id=f"question {next(self._numbers)}")
        if not question.is_exact:
            return asked
        self._clips[asked.id] = question.clip
        return replace(asked, video=None, audio=None, image=None)

    def _as_decoded(self, sample: Sample, _: Clip) -> tuple[Sample, Clip]:
        return sample, self._clips[sample.id]

    def predictions(self, question: Question, modes: Sequence[Mode] = MODES) -> list[Prediction]:
        """The whole answers, in the order of `modes`. Raises InputError for what fails for all of them."""
        *_, last = self.answers(question, modes)
        if last.problem:
            raise InputError(last.problem)
        return [last.predictions[mode] for mode in modes]


def open_model(
    model: str,
    service: Service | None = None,
    *,
    max_new_tokens: int = 1024,
    fast: FastThinking = "prefill",
    engine: Engine = LOCAL,
) -> DemoModel:
    """The model of the page, loaded. Raises InputError as `make_generator` does."""
    generator = make_generator(model, service, max_new_tokens=max_new_tokens, fast=fast, engine=engine)
    place = "on this machine" if service is None else "behind an address"
    return DemoModel(generator, model_facts(model), place, 1 if service is None else service.num_workers)


def _budget_of(generator: PromptedGenerator) -> MediaBudget | None:
    """What the model is shown of a clip; None where a server takes its own frames from the file."""
    try:
        return generator.budget
    except InputError:
        return None


def _public(prediction: Prediction, sample: Sample) -> Prediction:
    """The prediction under the sample's own id, without the folder that its file lies in."""
    prediction = replace(prediction, id=sample.id)
    path = sample.video or sample.audio or sample.image
    if prediction.error is None or path is None:
        return prediction
    return replace(prediction, error=_without_folder(prediction.error, path))


def _without_folder(message: str, path: Path) -> str:
    return message.replace(str(path), printable(path.name, 80)).replace(str(path.parent), "")
