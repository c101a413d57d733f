"""Rewards of emotion words as functions of TRL's signature, for any trainer: `(completions, **columns)` -> a list.

    recall, precision, f1    over the wheels        format    the response format is kept, and there is reasoning
    accuracy                 one label, and it is a gold one

    GRPOTrainer(model, reward_funcs=[rewards.recall, rewards.precision, rewards.format], train_dataset=..., ...)

They are `metrics.rewards.score_response`, which the trainer and the evaluator of this package call too; formulas and
conventions are there. The functions of this module count over the built-in wheels under the protocol "official" and
read `<think>…</think><answer>a, b</answer>`; `make_rewards` makes them with other wheels, protocols and formats.

Columns: `labels`, the gold words, a list or a text a row (`format` needs none); `candidates`, the labels a row is
answered from, is optional and read by `accuracy` alone. A completion is a text, or a chat of which the last message
counts. None means that a reward does not apply to a row, which TRL then leaves out of its group: gold that reaches no
category, and for `accuracy` gold that is none of the candidates.

The rewards that need a model are not here: calibration reads confidences of slow and fast thinking, and EMO-R3's
reflection asks a judge. The trainer of this package has both (docs/objectives.md).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import isnan
from os import PathLike
from typing import Any, Protocol, get_args

from mer_r1.data.labels import corrected_labels, names_gold, read_labels
from mer_r1.emotion.wheel import WheelSet, load_wheels
from mer_r1.errors import InputError
from mer_r1.metrics.rewards import score_response
from mer_r1.objectives import TEXT_REWARDS, LengthPenalty
from mer_r1.prompting.response import RESPONSE_FORMATS, parse_response
from mer_r1.text import kind_of, printable

Completion = str | Sequence[Mapping[str, Any]]
"""What a trainer hands over of one answer: its text, or its messages."""


class RewardFunction(Protocol):
    """One reward in [0, 1] a completion, None where it does not apply; columns that it does not read are ignored.

    Raises InputError for a column that is missing or of another length, and for labels that cannot be read.
    """

    __name__: str

    def __call__(self, completions: Sequence[Completion], **columns: Any) -> list[float | None]: ...


def make_rewards(
    names: Iterable[str] = ("recall", "precision", "f1", "format", "accuracy"),
    *,
    wheels: str | PathLike[str] | WheelSet = "builtin",
    protocol: str | None = None,
    response_format: str = "think_answer",
    length_penalty: LengthPenalty = "none",
) -> list[RewardFunction]:
    """The reward functions of these names, in order; a trainer logs each under its name.

    The names are those of the module, and initial_f1 and fallback for the response format answer_think_answer. `wheels`
    and `protocol` are as in `score`; `response_format` is a name in RESPONSE_FORMATS; `length_penalty` is what F1 alone
    is multiplied by (metrics/rewards.py). Raises InputError for an unknown name.
    """
    names = tuple(names)
    for name in names:
        _validate("reward", name, TEXT_REWARDS)
    _validate("response format", response_format, tuple(RESPONSE_FORMATS))
    _validate("length penalty", length_penalty, get_args(LengthPenalty))
    loaded = load_wheels(wheels, protocol)
    return [_function(name, loaded, response_format, length_penalty) for name in names]


def _function(name: str, wheels: WheelSet, response_format: str, length_penalty: LengthPenalty) -> RewardFunction:
    parser = wheels.protocol.parser

    def reward(completions: Sequence[Completion], **columns: Any) -> list[float | None]:
        golds = _golds(name, columns.get("labels"), len(completions), parser)
        choices = _column("candidates", columns.get("candidates"), len(completions))
        values: list[float | None] = []
        for completion, gold, candidates in zip(completions, golds, choices, strict=True):
            response = parse_response(_text(completion), response_format)
            value: float = getattr(score_response(response, gold, wheels, length_penalty=length_penalty), name)
            applies = not isnan(value) and (name != "accuracy" or _can_be_named(gold, candidates))
            values.append(value if applies else None)
        return values

    reward.__name__ = reward.__qualname__ = name
    reward.__doc__ = f"The reward {name!r} of each completion, over the {wheels.source} wheels; see mer_r1.rewards."
    return reward


def _golds(name: str, labels: Any, num: int, parser: str) -> list[tuple[str, ...]]:
    """The gold words of each row, as the protocol reads them; none where the reward needs none."""
    if name == "format":
        return [()] * num
    if labels is None:
        raise InputError(
            f"reward {name}: the data set has no column `labels`; name the column of gold emotion words so"
        )
    golds: list[tuple[str, ...]] = []
    for row, field in enumerate(_column("labels", labels, num)):
        words, error = read_labels(field, parser)
        if error:
            raise InputError(f"reward {name}: row {row} of the batch: {error}; give a list of words or a text")
        golds.append(words)
    return golds


def _column(name: str, values: Any, num: int) -> Sequence[Any]:
    """The values of a column, one a completion; None each where there is no column."""
    if values is None:
        return [None] * num
    if isinstance(values, str) or len(values) != num:
        found = "a text" if isinstance(values, str) else f"{len(values)} values"
        raise InputError(f"column `{name}`: {found} for {num} completions; give a list with one value a completion")
    return list(values)


def _can_be_named(gold: Sequence[str], candidates: Any) -> bool:
    """Whether one label can be right: there is gold and, where candidates are given, one of them is gold."""
    if not candidates:
        return bool(gold)
    return any(names_gold((candidate,), gold) for candidate in corrected_labels(candidates))


def _text(completion: Completion) -> str:
    """The text of a completion; of a chat that of its last message, parts of a kind other than text left out."""
    if isinstance(completion, str):
        return completion
    content = completion[-1].get("content") if completion else None
    if isinstance(content, list | tuple):
        return "".join(part["text"] for part in content if part.get("type") == "text")
    if content is None or isinstance(content, str):
        return content or ""
    raise InputError(f"a completion's content is {kind_of(content)}; give a text, or chat messages with texts")


def _validate(what: str, name: str, known: Sequence[str]) -> None:
    if name not in known:
        raise InputError(f"{what} {printable(name)!r} is not known; use one of: {', '.join(known)}")


recall, precision, f1, format, accuracy = make_rewards()
