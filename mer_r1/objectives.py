"""Objectives as data: which rewards an advantage adds before, and which after, its normalisation (MER-R1 Section 4).

An objective is a sum of terms. A term weighs some rewards, adds them, normalises the sum within its group and weighs
the result. So adding inside a term entangles rewards before normalisation (the baseline), and separate terms keep them
apart (dual-objective disentanglement). docs/objectives.md has the table of all names; rl/advantages.py is the algebra.

A new objective is one entry of OBJECTIVES: recipes accept its name, and what a run has to compute for it (confidences,
a judge's scores, ...) and which of a recipe's keys it reads follow from its terms. The choices beside the objective
that a recipe offers are typed here too, once for the recipe and for the functions that take them.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from math import nan
from typing import Literal

EPS = 1e-4
"""What norm(x) adds to the std of a group."""


@dataclass(frozen=True)
class Rewards:
    """The rewards that the text of one response decides (metrics/rewards.py), in [0, 1], NaN where one does not apply.

    Terms name them as they are named here.
    """

    recall: float
    precision: float
    f1: float
    format: float
    initial_f1: float = nan
    fallback: float = nan
    accuracy: float = nan


TEXT_REWARDS = tuple(field.name for field in fields(Rewards))
CALIBRATION_REWARDS = ("calibration_plus", "calibration_minus")  # from the model's confidences
REFLECTION_REWARDS = ("coherence", "consistency", "reflection")  # from a judge
LENGTH_REWARDS = ("overlong",)  # from a response's number of tokens
REWARDS = (*TEXT_REWARDS, *CALIBRATION_REWARDS, *REFLECTION_REWARDS, *LENGTH_REWARDS)

COEFFICIENTS = ("lambda_cali", "lambda_fmt", "lambda_rer")
"""Keys of a recipe's rl section that a term may name as a weight."""

ScaleRewards = Literal["group", "batch", "none"]
LossType = Literal["grpo", "bnpo", "dapo", "dr_grpo"]
ImportanceLevel = Literal["token", "sequence"]
MismatchCorrection = Literal["none", "token_truncate", "token_mask", "sequence_truncate", "sequence_mask"]
KlEstimator = Literal["k3", "k3_corrected", "k2", "k1_in_reward"]
BetaSchedule = Literal["constant", "decay"]
LengthPenalty = Literal["none", "inverse", "ratio", "log"]
SharedTokens = Literal["count", "drop"]
FastThinking = Literal["prefill", "prompt"]
ConfidenceLevel = Literal["category", "word"]


@dataclass(frozen=True)
class Term:
    """`weight` x norm(sum of `parts`). A weight is a number or the name of a recipe's coefficient."""

    parts: Mapping[str, float | str]
    weight: float | str = 1.0


@dataclass(frozen=True)
class Objective:
    """A sum of terms.

    Without `scale` the normalisation does not divide by the std (Dr. GRPO); with `whiten` the sum is normalised once
    more, over the batch (GDPO). `confidence` says whose confidence the calibration rewards read: that of a word's
    category (Eq. 1), or that of the word itself (ablation A1).
    """

    terms: tuple[Term, ...]
    scale: bool = True
    whiten: bool = False
    confidence: ConfidenceLevel = "category"


_FORMAT = Term({"format": 1.0}, "lambda_fmt")
_DUAL = (Term({"recall": 1.0}), Term({"precision": 1.0}), _FORMAT)
_PLUS, _MINUS = Term({"calibration_plus": 1.0}, "lambda_cali"), Term({"calibration_minus": 1.0}, "lambda_cali")
_BASELINE = (Term({"f1": 1.0, "format": "lambda_fmt"}),)
_CALIBRATED_SUM = {"calibration_plus": "lambda_cali", "calibration_minus": "lambda_cali", "format": "lambda_fmt"}

OBJECTIVES: dict[str, Objective] = {
    "baseline": Objective(_BASELINE),
    "rd": Objective((Term({"recall": 1.0, "precision": 1.0, "format": "lambda_fmt"}),)),
    "rd_ad": Objective(_DUAL),
    "mer_r1": Objective((*_DUAL, _PLUS, _MINUS)),
    "mer_r1_a1": Objective((*_DUAL, _PLUS, _MINUS), confidence="word"),
    "mer_r1_a2": Objective((*_DUAL, _PLUS)),
    # The paper says "in the reward space" and no more: here all rewards meet before one normalisation, as in rd.
    "mer_r1_b1": Objective((Term({"recall": 1.0, "precision": 1.0, **_CALIBRATED_SUM}),)),
    "mer_r1_b2": Objective(
        (
            Term({"recall": 1.0, "calibration_plus": "lambda_cali"}),
            Term({"precision": 1.0, "calibration_minus": "lambda_cali"}),
            _FORMAT,
        )
    ),
    "gdpo": Objective(_DUAL, whiten=True),
    "dr_grpo": Objective(_BASELINE, scale=False),
    "dapo": Objective((Term({"f1": 1.0, "format": "lambda_fmt", "overlong": 1.0}),)),
    "affectgpt_r1": Objective((Term({"f1": 1.0, "format": 1.0}),)),
    "videoauto_r1": Objective((Term({"initial_f1": 0.9, "f1": 1.1, "format": 1.0, "fallback": 0.3}),)),
    "accuracy": Objective((Term({"accuracy": 0.9, "format": 0.1}),)),
    "emo_r3": Objective((Term({"accuracy": 0.8, "reflection": 0.1, "format": 0.1}),)),
    "emo_r3_words": Objective((Term({"f1": 0.8, "reflection": 0.1, "format": 0.1}),)),
    "mer_r1_rer": Objective((*_DUAL, _PLUS, _MINUS, Term({"reflection": 1.0}, "lambda_rer"))),
}


def misnamed(objective: Objective) -> str | None:
    """What is wrong with the names in an objective's terms, as half a sentence; None where all are known."""
    for term in objective.terms:
        if not term.parts:
            return "has a term without rewards; give it at least one"
        for kind, names, known in (
            ("reward", term.parts, REWARDS),
            ("coefficient", filter(_is_named, (term.weight, *term.parts.values())), COEFFICIENTS),
        ):
            for name in names:
                if name not in known:
                    close = difflib.get_close_matches(str(name), known, n=1)
                    hint = f"did you mean {close[0]!r}?" if close else f"use {', '.join(known)}"
                    return f"reads {name!r}, and no {kind} has that name; {hint}"
    return None


def _is_named(weight: float | str) -> bool:
    return isinstance(weight, str)


def rewards_of(objective: str) -> set[str]:
    """The rewards that an objective reads."""
    return {name for term in OBJECTIVES[objective].terms for name in term.parts}


def keys_of(objective: str) -> dict[str, bool]:
    """Keys of a recipe's rl section that only some objectives read, and whether this one does."""
    chosen, rewards = OBJECTIVES[objective], rewards_of(objective)
    weights = {weight for term in chosen.terms for weight in (term.weight, *term.parts.values())}
    return {
        **{name: name in weights for name in COEFFICIENTS},
        "length_penalty": "f1" in rewards,
        "calibration_floor": needs_calibration(objective),
        "fast": needs_calibration(objective),
        "shared_tokens": needs_calibration(objective) and chosen.confidence == "category",
        "scale_rewards": chosen.scale,
        "reflection": needs_reflection(objective),
        "soft_punish_cache": needs_length(objective),
    }


def needs_calibration(objective: str) -> bool:
    """Whether the objective reads the slow-fast confidence gap, and so needs the fast pass."""
    return not rewards_of(objective).isdisjoint(CALIBRATION_REWARDS)


def needs_initial_answer(objective: str) -> bool:
    """Whether the objective pays the answer before thinking, and so needs a response format that has one."""
    return not rewards_of(objective).isdisjoint({"initial_f1", "fallback"})


def needs_reflection(objective: str) -> bool:
    """Whether the objective pays what a judge says of an answer's steps, and so needs a format with steps."""
    return not rewards_of(objective).isdisjoint(REFLECTION_REWARDS)


def needs_length(objective: str) -> bool:
    """Whether the objective pays a response's number of tokens."""
    return not rewards_of(objective).isdisjoint(LENGTH_REWARDS)


def needs_wheels(objective: str) -> bool:
    """Whether the objective pays categories, so that gold which reaches none has no reward."""
    return not rewards_of(objective).isdisjoint({"recall", "precision", "f1", "initial_f1"})


def needs_choice(objective: str) -> bool:
    """Whether the objective pays the one right label among a sample's candidates."""
    return not rewards_of(objective).isdisjoint({"accuracy", "coherence", "reflection"})


def confidence_level(objective: str) -> ConfidenceLevel:
    """Whose confidence the calibration rewards of an objective compare: "category" (Eq. 1) or "word" (ablation A1)."""
    return OBJECTIVES[objective].confidence
