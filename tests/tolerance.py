"""How far apart float32 lets two ways to the same number lie, on any processor."""

from __future__ import annotations

from math import sqrt

from torch import Tensor, nn

EPSILON = 2.0**-23


def float32_tolerance(num_terms: int, magnitude: float = 1.0) -> float:
    """The largest difference that rounding leaves between two sums of the same terms added in different orders.

    The order is the processor's: it follows the width of its registers, so what one machine measures bounds no other.
    An addition rounds by up to eps / 2 of a partial sum, which is no larger than `magnitude`, up as often as down, so
    the roundings of `num_terms` additions grow with their root: a standard deviation of 0.29 eps, 0.41 eps between two
    sums. The factor 4 leaves room for the largest of some thousand numbers (five deviations) twice.
    """
    return 4 * EPSILON * sqrt(num_terms) * magnitude


def logit_tolerance(model: nn.Module, values: Tensor) -> float:
    """`float32_tolerance` of what a model's layers add up, one after the other, for its logits or states `values`."""
    num_terms = sum(layer.in_features for layer in model.modules() if isinstance(layer, nn.Linear))
    return float32_tolerance(num_terms, float(values[values.isfinite()].abs().max()))
