"""`mer-r1 train --dry-run`: the resolved recipe as YAML, and what the run will cost as comments."""

from __future__ import annotations

from collections.abc import Iterator

from mer_r1.recipe import Recipe
from mer_r1.training.cost import GPUS
from mer_r1.training.estimate import GIB, Costs, Estimate


def print_estimate(recipe: Recipe, estimate: Estimate) -> None:
    """Print the recipe and the estimate."""
    print(recipe.as_yaml(), end="")
    for line in _lines(recipe, estimate):
        print(f"# {line}")


def _lines(recipe: Recipe, estimate: Estimate) -> Iterator[str]:
    tokens = estimate.tokens
    media = tokens.video + tokens.audio
    yield f"media tokens of a clip: at most {media}, with about {tokens.text} of text {tokens.prompt} of a prompt"
    if estimate.origin.remark:
        yield f"model: {estimate.origin.remark}"
    if estimate.costs is not None:
        yield from _cost_lines(recipe, estimate.costs)


def _cost_lines(recipe: Recipe, costs: Costs) -> Iterator[str]:
    gpus = f"{costs.num_gpus} x {costs.gpu}"
    yield f"parameters: {_count(costs.parameters)}, of them trained {_count(costs.trained)}"
    shown = " + ".join(f"{name} {value / GIB:.1f}" for name, value in costs.memory.items() if value >= GIB / 20)
    yield f"GiB of each GPU: {sum(costs.memory.values()) / GIB:.1f} of {GPUS[costs.gpu].memory_gib:.0f} = {shown}"
    if costs.fix is not None:
        yield f"does not fit on {gpus}: {costs.fix}"
    yield f"a step: {costs.prompts} prompts on {gpus}, answers of {costs.answer} tokens"
    parts = " + ".join(f"{name} {value:.2g}" for name, value in costs.seconds.items())
    yield f"seconds of a step: {sum(costs.seconds.values()):.3g} = {parts}"
    if (work := costs.work) is not None:
        yield (
            f"tokens of a group's pass: {work.packed_tokens:.0f}; prompts repeated: {work.repeated_tokens:.0f}, "
            f"{work.times:.1f} times the work"
        )
    if costs.steps is None:
        yield f"steps: not known before {recipe.data.train} is there, or data.num or optim.max_steps is set"
    else:
        yield f"steps: {costs.steps}; hours: {costs.hours:.2g}"
    if not recipe.optim.bf16:
        yield "float32 takes several times these seconds; they are bfloat16's (optim.bf16)"
    yield "an estimate (formulas: docs/training.md); measured on: CPU only so far"


def _count(number: int) -> str:
    return f"{number / 1e9:.2f} billion" if number >= 1e8 else f"{number / 1e6:.2f} million"
