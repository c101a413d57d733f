"""The sentiment part of `mer-r1 score`: who says positive or negative, asked clip by clip, then WAF.

Three backends: "predictions" (rows carry `"sentiment"`), "lexicon" (the built-in wheels, offline), or the name of a
model behind an OpenAI-compatible endpoint, which gets the words of an answer and this package's own prompt. Clips
without a valence, or of valence 0, are not asked about. An answer without a word is neutral, and no model is asked.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from rich.markup import escape
from rich.table import Table

from mer_r1.errors import InputError
from mer_r1.manifest import shown
from mer_r1.metrics.sentiment import SentimentReport, lexicon_sentiment, lexicon_sha256, sentiment_score
from mer_r1.metrics.signature import wheels_part
from mer_r1.response import PARSERS

if TYPE_CHECKING:
    from mer_r1.verbs.score import Gold, ModePredictions

Task = Literal["auto", "open-vocabulary", "sentiment"]
Words = tuple[str, ...]

GIVEN = "predictions"
LEXICON = "lexicon"
NO_WORDS = "neutral"
PROMPT = "sentiment"


@dataclass(frozen=True)
class SentimentChoice:
    """Who turns words into a sentiment, as the user says it; nothing said: the predictions' own, where they have it."""

    backend: str | None = None
    url: str | None = None
    model: str | None = None
    key_env: str | None = None
    cache: Path | None = None

    def check(self) -> None:
        """Raises InputError for options that do not go together."""
        if self.backend not in (None, LEXICON):
            raise InputError(f"sentiment backend {self.backend!r} is not known; use {LEXICON}, or give --sentiment-url")
        if self.backend and self.url:
            raise InputError("--sentiment and --sentiment-url exclude each other; give one")
        if (self.url is None) != (self.model is None):
            raise InputError("--sentiment-url and --sentiment-model belong together; give both")
        if self.url is None and (self.key_env or self.cache):
            raise InputError(
                "--sentiment-key-env and --sentiment-cache need --sentiment-url; give it, or leave them out"
            )

    @property
    def name(self) -> str | None:
        """The backend chosen, None where the user chose none."""
        return self.backend or self.model


def sentiment_reports(
    truth: Gold,
    modes: Mapping[str, ModePredictions],
    choice: SentimentChoice,
    task: Task,
    *,
    gold: Path,
    pred: Path,
    parser: str,
) -> dict[str, SentimentReport]:
    """The sentiment report of each mode; empty where none is asked for and the files do not hold one.

    Raises InputError where sentiment is asked for and cannot be computed, and JudgeError where the model fails.
    """
    choice.check()
    backend = _backend(truth, modes, choice, task, gold, pred)
    if backend is None:
        return {}
    if not choice.name:
        judge, answers = GIVEN, {name: _given(truth, mode, pred) for name, mode in modes.items()}
    else:
        words = {name: _words(truth, mode, parser) for name, mode in modes.items()}
        distinct = sorted({clip for of_mode in words.values() for clip in of_mode.values()})
        judge, said = _lexicon(distinct) if choice.url is None else _asked(distinct, choice, pred)
        answers = {name: {clip: said[found] for clip, found in of_mode.items()} for name, of_mode in words.items()}
    return {
        name: sentiment_score(
            truth.valence,
            of_mode,
            backend=backend,
            judge=judge,
            name=gold.stem,
            parser=parser if choice.name else None,
            mode=modes[name].mode,
            clusters=truth.clusters,
        )
        for name, of_mode in answers.items()
    }


def _backend(
    truth: Gold, modes: Mapping[str, ModePredictions], choice: SentimentChoice, task: Task, gold: Path, pred: Path
) -> str | None:
    given = any(mode.sentiment for mode in modes.values())
    if task == "open-vocabulary":
        if choice.name:
            raise InputError(f"--task {task} computes no sentiment; leave out its options, or the task")
        return None
    if not truth.valence:
        if choice.name or task == "sentiment":
            raise InputError(f'{gold}: no row has a valence, which sentiment is scored against; give "valence": number')
        return None
    if task == "sentiment" and not (choice.name or given):
        raise InputError(
            f'{pred}: no row has a "sentiment"; give --sentiment lexicon, or --sentiment-url and --sentiment-model'
        )
    return choice.name or (GIVEN if given else None)


def _given(truth: Gold, mode: ModePredictions, pred: Path) -> dict[str, str]:
    """The predictions' own words. A clip that has a row but no word there is an error: no score is made up for it."""
    for identity in mode.labels:
        if truth.valence.get(identity) and identity not in mode.sentiment:
            raise InputError(
                f'{pred}:{mode.line[identity]}: no sentiment, which other rows have; give one, or "status": "error"'
            )
    return {identity: word for identity, word in mode.sentiment.items() if identity in truth.valence}


def _words(truth: Gold, mode: ModePredictions, parser: str) -> dict[str, Words]:
    if parser not in PARSERS:
        raise InputError(f"parser {parser!r} is not known; use one of: {', '.join(PARSERS)}")
    scored = ((identity, labels) for identity, labels in mode.labels.items() if truth.valence.get(identity))
    return {identity: tuple(filter(None, PARSERS[parser](labels))) for identity, labels in scored}


def _lexicon(clips: list[Words]) -> tuple[str, dict[Words, str]]:
    return wheels_part(LEXICON, lexicon_sha256()), {words: lexicon_sentiment(words) for words in clips}


def _asked(clips: list[Words], choice: SentimentChoice, pred: Path) -> tuple[str, dict[Words, str]]:
    from mer_r1.judge.client import JudgeClient, load_prompt

    assert choice.url is not None, "the caller asks an endpoint"
    assert choice.model is not None, "check() wants both"
    prompt = load_prompt(PROMPT)
    asked = [words for words in clips if words]
    questions = [[{"role": "user", "content": prompt.replace("{words}", ", ".join(words))}] for words in asked]
    cache = choice.cache or pred.with_name(f"{pred.name}.judge.sqlite")
    with JudgeClient(choice.url, choice.model, cache, key_env=choice.key_env) as client:
        answers = client.ask_all(questions)
    said = dict(zip(asked, map(read_answer, answers), strict=True))
    return wheels_part(choice.model, sha256(prompt.encode()).hexdigest()), {(): NO_WORDS, **said}


def read_answer(answer: str) -> str:
    """The judge's word without white space, quotes, marks and capitals around it; whatever else it says stays."""
    return answer.strip(" \t\r\n\"'`*.").lower()


def sentiment_table(report: SentimentReport) -> Table:
    """An empty table for the row of a report that stands alone."""
    table = Table(title=f"Sentiment by {escape(shown(report.backend))}, in %", title_justify="left")
    for title in ("", "score", "95 % interval"):
        table.add_column(title, justify="right" if title else "left")
    return table


def count_lines(report: SentimentReport) -> Iterator[str]:
    """What stands below the table, the signature last."""
    yield f"{report.n} clips are scored for sentiment, {report.zero_gold} of valence 0 are left out"
    yield f"{report.invalid} invalid and {report.missing} missing answers count as negative, as neutral does"
    constants = (f'always "{word}" {100 * waf:.2f}' for word, waf in report.constants.items() if waf == waf)
    yield f"accuracy {100 * report.accuracy:.2f}; WAF of {', '.join(constants)}" if report.n else "nothing to score"
    yield report.signature
