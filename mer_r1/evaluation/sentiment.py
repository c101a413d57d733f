"""Sentiment of predictions: who turns words into positive, negative or neutral, clip by clip, and the WAF of it.

Backends: "predictions" (rows carry `"sentiment"`), "lexicon" (the built-in wheels, offline), or a language model, which
gets the words of an answer in one of PROMPTS: behind an OpenAI-compatible endpoint, or a local one of transformers
(models/text_model.py). Clips without a valence are left out, and under "official" those of valence 0. An answer without
a word is neutral without a model.

The step has a record of its own: `SentimentChoice.out` is written as a predictions file, one row a prediction, whose
words and sentiments give the same score again without a model, under the protocol they were made for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeVar

from mer_r1.data.files import write_json_lines
from mer_r1.data.gold import Gold
from mer_r1.data.labels import read_labels
from mer_r1.data.predictions import ModePredictions
from mer_r1.emotion.protocol import OFFICIAL, Protocol
from mer_r1.errors import InputError
from mer_r1.metrics.sentiment import SentimentReport, is_scored, lexicon_sentiment, lexicon_sha256, sentiment_score
from mer_r1.metrics.signature import wheels_part
from mer_r1.text import printable

if TYPE_CHECKING:
    from mer_r1.models.text_model import TextModel

Name = TypeVar("Name", bound=str)
Words = tuple[str, ...]
Answers = dict[Words, str]

GIVEN = "predictions"
LEXICON = "lexicon"
NO_WORDS = "neutral"
UNIBENCH_JUDGE = "Qwen2.5-7B-Instruct"

PromptName = Literal["default", "mer-unibench"]


class SentimentPrompt(NamedTuple):
    """A file of judge/prompts/, and how it is asked; without a temperature greedily."""

    file: str
    temperature: float = 0.0
    top_p: float | None = None


PROMPTS: dict[PromptName, SentimentPrompt] = {
    "default": SentimentPrompt("sentiment"),
    # The question of MER-R1's Appendix B.1 in our words, sampled as MER-UniBench's own code does.
    "mer-unibench": SentimentPrompt("sentiment_unibench", temperature=0.7, top_p=0.8),
}


@dataclass(frozen=True)
class SentimentChoice:
    """Who turns words into a sentiment; with nothing given the predictions' own, where they have it.

    `backend` is "lexicon"; or `model` names a model: of the endpoint at `url`, or without `url` a local one, a folder
    or a Hub id; `prompt` is what it is asked, None the default. `out` is the record of the answers.
    """

    backend: str | None = None
    url: str | None = None
    model: str | None = None
    prompt: PromptName | None = None
    key_env: str | None = None
    cache: Path | None = None
    out: Path | None = None

    def check(self) -> None:
        """Raises InputError for options that do not go together."""
        if self.backend not in (None, LEXICON):
            raise InputError(f"sentiment backend {self.backend!r} is not known; use {LEXICON}, or --sentiment-model")
        if self.backend and (self.url or self.model):
            raise InputError("--sentiment excludes --sentiment-url and --sentiment-model; give one of the two ways")
        if self.prompt is not None and self.model is None:
            raise InputError("--sentiment-prompt is a question to a model; give --sentiment-model, or leave it out")
        if self.model is not None and not self.model.strip():
            raise InputError("--sentiment-model is empty; give the name of a model")
        if self.url is not None and self.model is None:
            raise InputError("--sentiment-url needs --sentiment-model, the model's name at that address; give both")
        if self.url is None and (self.key_env or self.cache):
            raise InputError(
                "--sentiment-key-env and --sentiment-cache need --sentiment-url; give it, or leave them out"
            )

    @property
    def name(self) -> str | None:
        """The backend chosen, None where the user chose none; of a local folder its name, not its path."""
        if self.model is not None and self.url is None and Path(self.model).exists():
            return Path(self.model).resolve().name or self.model
        return self.backend or self.model

    @property
    def asked(self) -> PromptName | None:
        """The prompt that a model gets; None where no model is asked."""
        return None if self.model is None else self.prompt or "default"


def not_unibench(backend: str | None, prompt: str | None) -> str | None:
    """Why a WAF is not MER-UniBench's, in a sentence: who turned words into a sentiment, and by which prompt.

    None where it may be, and where the predictions brought their own.
    """
    if backend == LEXICON:
        return "Sentiment by the built-in lexicon: these WAF are not MER-UniBench's."
    if prompt == "default":
        why = "Sentiment by this package's own prompt, asked greedily: these WAF are not MER-UniBench's"
        return f"{why}; --sentiment-prompt mer-unibench asks as it does."
    if prompt is not None and UNIBENCH_JUDGE.lower() not in (backend or "").lower():
        return f"Sentiment by {printable(backend or '')}: MER-UniBench asks {UNIBENCH_JUDGE}, so its WAF may differ."
    return None


def sentiment_reports(
    truth: Gold,
    modes: Mapping[Name, ModePredictions],
    choice: SentimentChoice,
    task: str,
    *,
    gold: Path,
    pred: Path,
    protocol: Protocol = OFFICIAL,
) -> dict[Name, SentimentReport]:
    """The sentiment report of each mode; empty where none is asked for and the files do not hold one.

    Writes `choice.out`. Raises InputError where sentiment is asked for and cannot be computed, and JudgeError where an
    endpoint fails.
    """
    choice.check()
    backend = _backend(truth, modes, choice, task, gold, pred)
    if backend is None:
        return {}
    scored = {identity for identity, valence in truth.valence.items() if is_scored(valence, protocol.name)}
    words = {name: _words(scored, mode, protocol) for name, mode in modes.items()}
    if not choice.name:
        judge, answers = GIVEN, {name: _given(scored, mode, pred) for name, mode in modes.items()}
    else:
        different = sorted({item for of_mode in words.values() for item in of_mode.values()})
        judge, by_words = _judged(different, choice, pred)
        answers = {name: {i: by_words[item] for i, item in of_mode.items()} for name, of_mode in words.items()}
    if choice.out is not None:
        _write_record(choice.out, modes, answers, protocol)
    reports = {
        name: sentiment_score(
            truth.valence,
            of_mode,
            backend=backend,
            protocol=protocol.name,
            judge=judge,
            name=gold.stem,
            parser=protocol.parser if choice.name else None,
            mode=modes[name].mode,
            clusters=truth.clusters,
        )
        for name, of_mode in answers.items()
    }
    return {name: replace(report, prompt=choice.asked) for name, report in reports.items()}


def _backend(
    truth: Gold, modes: Mapping[Name, ModePredictions], choice: SentimentChoice, task: str, gold: Path, pred: Path
) -> str | None:
    given = any(mode.sentiment for mode in modes.values())
    if task in ("open-vocabulary", "basic", "classes"):
        if choice.name or choice.out:
            raise InputError(f"--task {task} computes no sentiment; leave out its options, or the task")
        return None
    if not truth.valence:
        if choice.name or choice.out or task == "sentiment":
            raise InputError(f'{gold}: no row has a valence, which sentiment is scored against; give "valence": number')
        return None
    if not (choice.name or given) and (task == "sentiment" or choice.out):
        raise InputError(f'{pred}: no row has a "sentiment"; give --sentiment lexicon, or --sentiment-model')
    if choice.out is not None and choice.out.resolve() in (gold.resolve(), pred.resolve()):
        raise InputError(f"{choice.out}: --sentiment-out would overwrite what is scored; give another file")
    return choice.name or (GIVEN if given else None)


def _given(scored: set[str], mode: ModePredictions, pred: Path) -> dict[str, str]:
    """The predictions' own words. A clip that has a row but no word there is an error: no score is made up for it."""
    for identity in mode.labels:
        if identity in scored and identity not in mode.sentiment:
            raise InputError(
                f'{pred}:{mode.line[identity]}: no sentiment, which other rows have; give one, or "status": "error"'
            )
    return {identity: word for identity, word in mode.sentiment.items() if identity in scored}


def _words(scored: set[str], mode: ModePredictions, protocol: Protocol) -> dict[str, Words]:
    """The words of each scored clip that has a prediction."""
    return {
        identity: tuple(filter(None, read_labels(labels, protocol.parser)[0]))
        for identity, labels in mode.labels.items()
        if identity in scored
    }


def _judged(different: list[Words], choice: SentimentChoice, pred: Path) -> tuple[str, Answers]:
    """Who judges, as the signature names it, and the sentiment of each of these words."""
    assert choice.name is not None, "the caller has checked it"
    if choice.model is None or choice.asked is None:
        return wheels_part(LEXICON, lexicon_sha256()), {words: lexicon_sentiment(words) for words in different}
    from mer_r1.judge.client import JudgeClient, load_prompt

    how = PROMPTS[choice.asked]
    prompt = load_prompt(how.file)
    asked = [words for words in different if words]
    questions = [prompt.replace("{words}", ", ".join(words)) for words in asked]
    if choice.url is None:
        replies = _local(choice.model).answer(questions, temperature=how.temperature, top_p=how.top_p)
    else:
        cache = choice.cache or pred.with_name(f"{pred.name}.judge.sqlite")
        with JudgeClient(
            choice.url,
            choice.model,
            cache,
            key_env=choice.key_env,
            temperature=how.temperature,
            top_p=how.top_p,
        ) as client:
            replies = client.ask_all([[{"role": "user", "content": question}] for question in questions])
    judged = dict(zip(asked, map(read_answer, replies), strict=True))
    return wheels_part(choice.name, sha256(prompt.encode()).hexdigest()), {(): NO_WORDS, **judged}


@lru_cache(maxsize=1)
def _local(model: str) -> TextModel:
    """The model, loaded once for all sets of a benchmark."""
    from mer_r1.models.text_model import TextModel

    return TextModel.load(model)


def _write_record(
    out: Path,
    modes: Mapping[Name, ModePredictions],
    answers: Mapping[Name, Mapping[str, str]],
    protocol: Protocol,
) -> None:
    """One row a clip and mode, with the sentiment of those that are scored for it; what failed stays failed."""
    rows: list[dict[str, Any]] = []
    for name, mode in modes.items():
        named = {"mode": mode.mode} if mode.mode else {}
        for identity, words in _words(set(mode.labels), mode, protocol).items():
            alone = mode.labels[identity] is None and identity in mode.sentiment  # without labels, not with none
            row: dict[str, Any] = {"id": identity, **named, **({} if alone else {"labels": list(words)})}
            if sentiment := answers[name].get(identity, mode.sentiment[identity] if alone else None):
                row["sentiment"] = sentiment
            rows.append(row)
        rows += [{"id": identity, **named, "labels": [], "status": "error"} for identity in sorted(mode.failed)]
    write_json_lines(out, rows)


def read_answer(answer: str) -> str:
    """The judge's word in lower case, without white space, quotes and marks around it; whatever else it holds stays."""
    return answer.strip(" \t\r\n\"'`*.").lower()
