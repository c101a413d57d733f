"""The paper's Propositions 1-3 measured on sampled groups (MER-R1 Section 4.2, Appendix A; numpy only).

A group is G responses with a recall R, a precision P and an F1 reward F each. With mu, sigma the group's means and
population standard deviations, rho = corr(R, P), z the standardised rewards, A_F = z(F) and A_dual = z(R) + z(P):

    Prop. 3   corr(R, A_dual) = corr(P, A_dual) = sqrt((1 + rho) / 2)                        exact
    Prop. 2   corr(R, A_F) ~ (a_R sigma_R + a_P rho sigma_P) / sigma_F, the same with R and P swapped,
              a_R = 2 mu_P^2 / (mu_R + mu_P)^2, a_P = 2 mu_R^2 / (mu_R + mu_P)^2             first order in R, P
    Prop. 1   corr(R, A_F) > corr(P, A_F) if and only if tau > 1,
              tau = (sigma_R / mu_R^2) / (sigma_P / mu_P^2)                                  follows from Prop. 2

What is called the lean of the F1 advantage is corr(R, A_F) - corr(P, A_F). As Prop. 2 takes F for linear around the
means, Prop. 1 may fail where the rewards spread wide or tau is near 1; `summary` counts how often.

The trainer's norm adds EPS to an unbiased std, which shrinks z by sigma / (sigma + EPS) and so tilts A_dual a little
to the reward of larger spread; `dual_eps` is Prop. 3 under it.

Convention: a group counts when R, P and F each vary and |rho| < 1; elsewhere a correlation is not defined, or nothing
can lean. Shape letters: N groups, G responses of a group.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from math import inf
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mer_r1.emotion.wheel import WheelSet
from mer_r1.metrics.open_vocabulary import set_statistics
from mer_r1.metrics.rewards import sample_scores
from mer_r1.objectives import EPS

Floats = NDArray[np.float64]

LARGE, SMALL = 64, 4
"""Responses of a group: many, so that a correlation is measured well, and as few as the paper samples."""
DRAWN = f"sets of {LARGE}"
"""The family that is plotted."""
FLAT = 1e-9
DISTANCES = (0.0, 0.1, 0.3, 1.0, inf)
"""Edges of |ln tau|, the distance from the border between the two sides."""
SPREADS = (0.0, 0.2, 0.5, inf)
"""Edges of the spread of a group: the larger one of sigma_R / mu_R and sigma_P / mu_P."""

MOST = (3.0, 1.0)
"""How far, in logits, boldness and skill may vary within a sampled group; boldness more, for rho of both signs."""


class Groups(NamedTuple):
    """Rewards of N groups of G responses, in [0, 1]."""

    recall_NG: Floats
    precision_NG: Floats
    f1_NG: Floats


@dataclass(frozen=True)
class Measured:
    """One number a group that counts (`lean_N` and so on), and how many groups were left out."""

    rho_N: Floats
    tau_N: Floats
    spread_N: Floats
    f1_N2: Floats
    """corr(R, A_F) and corr(P, A_F), measured."""
    f1_approx_N2: Floats
    """The same by Proposition 2."""
    dual_N2: Floats
    """corr(R, A_dual) and corr(P, A_dual), measured."""
    dual_eps_N2: Floats
    """The same where A_dual is made as the trainer makes it."""
    num_left_out: int

    @property
    def lean_N(self) -> Floats:
        return np.asarray(self.f1_N2[:, 0] - self.f1_N2[:, 1])

    @property
    def dual_expected_N(self) -> Floats:
        return np.asarray(np.sqrt((1 + self.rho_N) / 2))

    @property
    def agrees_N(self) -> NDArray[np.bool_]:
        """Whether the F1 advantage leans to the side that tau names."""
        return np.asarray((self.lean_N > 0) == (self.tau_N > 1))


def sample_sets(num_groups: int, group_size: int, seed: int) -> Groups:
    """Groups of set answers in one wheel, by their counts.

    A gold set has 1 to 40 members. A response finds each with one chance and adds false ones with another; both
    chances vary within the group by boldness (more of both, so recall against precision) and by skill (more of one and
    less of the other, so recall with precision), each as strong as the group's draw says.
    """
    rng = np.random.default_rng(seed)

    def per_group(low: float, high: float) -> Floats:
        return rng.uniform(low, high, (num_groups, 1))

    num_gold = np.exp(per_group(0.0, np.log(40.5))).astype(np.int64)
    num_others = np.ceil(num_gold * per_group(0.5, 3.0)).astype(np.int64)
    boldness, skill = (per_group(0.0, most) * rng.normal(size=(num_groups, group_size)) for most in MOST)
    found = rng.binomial(num_gold, _chance(per_group(-1.0, 2.0) + boldness + skill))
    false = rng.binomial(num_others, _chance(per_group(-3.0, 0.5) + boldness - skill))
    predicted = found + false
    return Groups(found / num_gold, found / np.maximum(predicted, 1), 2 * found / (num_gold + predicted))


def sample_words(num_groups: int, group_size: int, seed: int, wheels: WheelSet) -> Groups:
    """Groups of word answers, scored as the trainer scores them: means over the wheels.

    Gold is 1 to 6 words of the wheels. A response keeps each with one chance and adds other words, chances varying
    within a group as in `sample_sets`. F is the mean of the wheels' F1, which is not 2RP / (R + P) of the means.
    """
    rng = np.random.default_rng(seed)
    words = [word for word in wheels.words if wheels.reaches(word)]
    rewards = np.empty((3, num_groups, group_size))
    for group in range(num_groups):
        gold = rng.choice(words, size=rng.integers(1, min(6, len(words)) + 1), replace=False).tolist()
        boldness, skill = (rng.uniform(0.0, most) * rng.normal(size=group_size) for most in MOST)
        keeps = rng.random((group_size, len(gold))) < _chance(rng.uniform(-1.0, 2.0) + boldness + skill)[:, None]
        num_false = rng.binomial(6, _chance(rng.uniform(-3.0, 0.5) + boldness - skill))
        others = rng.choice(words, size=(group_size, 6)).tolist()
        for i in range(group_size):
            answer = [word for word, kept in zip(gold, keeps[i], strict=True) if kept] + others[i][: num_false[i]]
            rewards[:, group, i] = sample_scores(set_statistics(gold, answer, wheels))
    return Groups(*rewards)


def _chance(logits: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-logits)))


def sample_families(num_groups: int, seed: int, wheels: WheelSet) -> dict[str, Measured]:
    """The families of groups by the name they have in tables, each of `num_groups` groups.

    Answers as sets in one wheel; the same in groups as small as the paper's; and answers in words of the wheels, scored
    as the trainer scores them.
    """
    return {
        DRAWN: measure(sample_sets(num_groups, LARGE, seed)),
        f"sets of {SMALL}": measure(sample_sets(num_groups, SMALL, seed)),
        f"words of {LARGE}": measure(sample_words(num_groups, LARGE, seed, wheels)),
    }


def measure(groups: Groups) -> Measured:
    """Both sides of the propositions for every group that counts; see the module for the convention."""
    stacked = np.stack(groups)
    stds = stacked.std(axis=2)
    counts = np.asarray((stds > FLAT).all(axis=0))
    counts[counts] &= np.abs(_corr(stacked[0, counts], stacked[1, counts])) < 1 - FLAT
    recall_NG, precision_NG, f1_NG = stacked[:, counts]
    means_2N, (sigma_r, sigma_p, sigma_f) = stacked[:2, counts].mean(axis=2), stds[:, counts]
    mu_r, mu_p = means_2N
    rho_N = _corr(recall_NG, precision_NG)
    pull_r, pull_p = (2 * (mu / (mu_r + mu_p)) ** 2 * sigma for mu, sigma in ((mu_p, sigma_r), (mu_r, sigma_p)))
    approx = [(pull_r + rho_N * pull_p) / sigma_f, (pull_p + rho_N * pull_r) / sigma_f]
    dual_NG = _standardised(recall_NG) + _standardised(precision_NG)
    dual_eps_NG = _standardised(recall_NG, 1, EPS) + _standardised(precision_NG, 1, EPS)

    def with_both(advantage_NG: Floats) -> Floats:
        return np.stack([_corr(recall_NG, advantage_NG), _corr(precision_NG, advantage_NG)], axis=1)

    return Measured(
        rho_N=rho_N,
        tau_N=np.asarray((sigma_r / mu_r**2) / (sigma_p / mu_p**2)),
        spread_N=np.maximum(sigma_r / mu_r, sigma_p / mu_p),
        f1_N2=with_both(_standardised(f1_NG)),
        f1_approx_N2=np.stack(approx, axis=1),
        dual_N2=with_both(dual_NG),
        dual_eps_N2=with_both(dual_eps_NG),
        num_left_out=int((~counts).sum()),
    )


def _standardised(values_NG: Floats, ddof: int = 0, eps: float = 0.0) -> Floats:
    centred_NG = values_NG - values_NG.mean(axis=1, keepdims=True)
    return np.asarray(centred_NG / (values_NG.std(axis=1, ddof=ddof, keepdims=True) + eps))


def _corr(one_NG: Floats, other_NG: Floats) -> Floats:
    """Pearson's correlation of each row; the rows vary."""
    return np.asarray((_standardised(one_NG) * _standardised(other_NG)).mean(axis=1))


def summary(measured: Measured) -> dict[str, Any]:
    """The propositions in numbers, as JSON values; None where no group counts."""
    if not len(measured.rho_N):
        return {"groups": 0, "left_out": measured.num_left_out, "prop1": None, "prop2": None, "prop3": None}
    expected = measured.dual_expected_N[:, None]
    errors = np.abs(measured.f1_N2 - measured.f1_approx_N2)
    return {
        "groups": len(measured.rho_N),
        "left_out": measured.num_left_out,
        "prop3": {
            "max_error": float(np.abs(measured.dual_N2 - expected).max()),
            "max_error_eps": float(np.abs(measured.dual_eps_N2 - expected).max()),
            "median_error_eps": float(np.median(np.abs(measured.dual_eps_N2 - expected))),
        },
        "prop2": {"median_error": float(np.median(errors)), "error_95": float(np.quantile(errors, 0.95))},
        "prop1": {
            "agree": float(measured.agrees_N.mean()),
            "median_abs_lean": float(np.median(np.abs(measured.lean_N))),
            "cells": [
                _cell(measured, distances, spreads)
                for distances in pairwise(DISTANCES)
                for spreads in pairwise(SPREADS)
            ],
        },
    }


def _cell(measured: Measured, distances: tuple[float, float], spreads: tuple[float, float]) -> dict[str, Any]:
    """The share of groups that agree with tau, among those of a distance of ln tau from 0 and a spread."""
    distance_N = np.abs(np.log(measured.tau_N))
    inside = (distance_N >= distances[0]) & (distance_N < distances[1])
    inside &= (measured.spread_N >= spreads[0]) & (measured.spread_N < spreads[1])
    return {
        "distance": [distances[0], None if distances[1] == inf else distances[1]],
        "spread": [spreads[0], None if spreads[1] == inf else spreads[1]],
        "groups": int(inside.sum()),
        "agree": float(measured.agrees_N[inside].mean()) if inside.any() else None,
    }
