"""How far a sampler's log-probabilities are from the policy's, and the loss corrected for it.

Shape letters: B rollouts, R response ids.

An engine draws with the policy's weights by other kernels, perhaps in another precision: its distribution q is not
quite that of the policy before its update, p_old. With d = log p_old - log q of a drawn token, a step has

    mean and largest |d|                                    TRL's sampling_logp_difference
    Pearson's correlation of the probabilities p_old and q  as in verl
    KL(q || p_old), the mean of exp(d) - 1 - d              Schulman's k3, the tokens being q's own
    the share of tokens whose probabilities differ by more than a factor of BEYOND

over all its tokens, of all micro-batches and processes: `Mismatch` holds sums. A correction is a weight w of a token's
part of the policy loss, without gradient; the KL term has none. It makes the loss one of q's samples: of the whole
ratio p / q = (p / p_old) (p_old / q) the first factor is clipped (losses.py) and the second bounded here, by the cap C:

    token_truncate     min(exp d, C)                        token_mask     exp d, or 0 where that is above C
    sequence_truncate  min(exp of the sum of d, C)          sequence_mask  exp of the sum of d, or 0 above C

the last two the same for all tokens of a response. Names and results are those of TRL 1.16's
vllm_importance_sampling_mode with vllm_importance_sampling_clip_max. A token for which the sampler gives no
log-probability has d = 0 in a weight, and is in no number.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import log, nan, sqrt
from typing import NamedTuple

import torch
from torch import Tensor

from mer_r1.objectives import MismatchCorrection

BEYOND = 2.0
MAX_MISMATCH_FLOAT32, MAX_MISMATCH_BF16 = 0.005, 0.1  # docs/objectives.md, The mismatch, says why
_SPREADLESS = 1e-12  # a variance of probabilities that float64 sums do not resolve


class Mismatch(NamedTuple):
    """Sums over tokens, and over the weights of a correction (tokens or responses; none without a correction).

    `p` and `q` are probabilities of the policy and of the sampler; `difference` is |d|, `largest` its maximum.
    """

    tokens: int
    difference: float
    largest: float
    kl: float
    beyond: int
    p: float
    q: float
    pp: float
    qq: float
    pq: float
    weights: int = 0
    weight: float = 0.0
    capped: int = 0

    @property
    def mean_difference(self) -> float:
        """The mean |d| a token; NaN without tokens."""
        return self.difference / self.tokens if self.tokens else nan

    @property
    def pearson(self) -> float:
        """NaN where one of the two has no spread."""
        if not self.tokens:
            return nan
        p, q, pp, qq, pq = (value / self.tokens for value in (self.p, self.q, self.pp, self.qq, self.pq))
        variances = (pp - p * p, qq - q * q)
        return (pq - p * q) / sqrt(variances[0] * variances[1]) if min(variances) > _SPREADLESS else nan

    def of_tokens(self) -> dict[str, float]:
        """The numbers of metrics.jsonl that are means over tokens."""
        num = self.tokens or nan
        return {
            "sampling/sampling_logp_difference/mean": self.mean_difference,
            "sampling/sampling_logp_difference/max": self.largest,
            "sampling/pearson": self.pearson,
            "sampling/kl": self.kl / num,
            "sampling/frac_beyond": self.beyond / num,
        }

    def of_weights(self) -> dict[str, float]:
        """Those that are means over the weights of the correction."""
        num = self.weights or nan
        return {"sampling/importance_sampling_ratio/mean": self.weight / num, "sampling/frac_capped": self.capped / num}


def compare(
    old_log_probs_BR: Tensor,
    sampled_log_probs_BR: Tensor,
    mask_BR: Tensor,
    correction: MismatchCorrection,
    cap: float,
) -> tuple[Mismatch, Tensor | None]:
    """The mismatch of a micro-batch, and what its loss is multiplied by: (B, R), (B, 1), or None without correction.

    `mask_BR` is 1 on response tokens. Where the sampler gives NaN it gives no log-probability.
    """
    sampled_log_probs_BR = sampled_log_probs_BR.to(old_log_probs_BR)
    is_known_BR = mask_BR.bool() & ~sampled_log_probs_BR.isnan()
    difference_BR = (old_log_probs_BR - sampled_log_probs_BR).masked_fill(~is_known_BR, 0.0)
    d, p, q = (
        values_BR[is_known_BR].double()
        for values_BR in (difference_BR, old_log_probs_BR.exp(), sampled_log_probs_BR.exp())
    )
    mismatch = Mismatch(
        tokens=len(d),
        difference=float(d.abs().sum()),
        largest=float(d.abs().amax()) if len(d) else 0.0,
        kl=float((d.expm1() - d).sum()),
        beyond=int((d.abs() > log(BEYOND)).sum()),
        p=float(p.sum()),
        q=float(q.sum()),
        pp=float((p * p).sum()),
        qq=float((q * q).sum()),
        pq=float((p * q).sum()),
    )
    if correction == "none":
        return mismatch, None
    is_token = correction.startswith("token")
    ratio = difference_BR.exp() if is_token else difference_BR.sum(1, keepdim=True).exp()
    weights = ratio.clamp(max=cap) if correction.endswith("truncate") else ratio.masked_fill(ratio > cap, 0.0)
    counted = mask_BR.bool() if is_token else torch.ones_like(ratio, dtype=torch.bool)
    mismatch = mismatch._replace(
        weights=int(counted.sum()),
        weight=float(weights[counted].double().sum()),
        capped=int((ratio > cap)[counted].sum()),
    )
    return mismatch, weights


def total(parts: Sequence[Mismatch]) -> Mismatch:
    """The mismatch of several micro-batches, as that of all their tokens."""
    summed = Mismatch(*(sum(values) for values in zip(*parts, strict=True)))
    return summed._replace(largest=max(part.largest for part in parts))
