"""`mer-r1 train --dry-run`: a run in ten lines, and with more asked for where its numbers come from and its recipe."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Iterator

from mer_r1.display.progress import in_words
from mer_r1.recipe import Recipe
from mer_r1.text import printable
from mer_r1.training.cost import Tokens
from mer_r1.training.estimate import GIB, Costs, Origin
from mer_r1.training.plan import Plan
from mer_r1.training.rows import Rows

_LABEL = 8  # characters of the longest
_WIDEST = 120


def print_plan(plan: Plan, command: str, *, verbose: bool = False) -> None:
    """Print a run's summary and `command`, which starts it.

    `verbose` adds the parts of memory and time, and the resolved recipe: the whole is then a recipe, its other lines
    comments.
    """
    head = "# " if verbose else ""
    width = min(shutil.get_terminal_size().columns, _WIDEST)
    for label, text in (*_lines(plan), *(_parts(plan.estimate.costs) if verbose else ())):
        first, others = f"{head}{label:<{_LABEL}} ", head + " " * (_LABEL + 1)
        for line in textwrap.wrap(
            text, width, initial_indent=first, subsequent_indent=others, break_long_words=False, break_on_hyphens=False
        ):
            print(line)
    print(f"{head}{'Start':<{_LABEL}} {command}")
    if verbose:
        print(plan.recipe.as_yaml(), end="")


def _lines(plan: Plan) -> Iterator[tuple[str, str]]:
    recipe, origin, costs = plan.recipe, plan.estimate.origin, plan.estimate.costs
    yield "Model", _model(origin, costs)
    if costs is not None:
        yield "Trains", _trained(recipe, costs)
    yield "Data", _data(plan)
    if plan.media and (plan.media.num_clips or plan.missing):
        yield "Clips", _clips(plan)
    yield "Prompt", _prompt(recipe, plan.estimate.tokens, costs)
    if costs is None:
        yield "Cost", "not known, because the size of the model is not"
        return
    yield "Steps", _steps(plan, costs)
    yield "Memory", _memory(costs)
    yield "Time", _time(recipe, costs)


def _model(origin: Origin, costs: Costs | None) -> str:
    if costs is None:
        return origin.remark
    text = f"{origin.remark}: {_count(costs.parameters)} parameters"
    if not costs.in_experts:
        return text
    experts = f"experts have {_count(costs.in_experts)}, {2 * costs.in_experts / GIB:.1f} GiB in bfloat16"
    return f"{text}, of which a token uses {_count(costs.active)}; {experts}"


def _trained(recipe: Recipe, costs: Costs) -> str:
    lora = recipe.model.lora
    if lora:
        held = f", its layers held in {recipe.model.quantization}" if recipe.model.quantization else ""
        adapters = f"{_count(costs.trained)} parameters of new adapters (LoRA, r = {lora.r})"
        return f"{adapters}; the model stays as it is{held}"
    what = "towers too" if recipe.model.train_towers else "all but the towers"
    return f"{_count(costs.trained)} parameters, {what} (full training)"


def _data(plan: Plan) -> str:
    data = plan.recipe.data
    if plan.rows is None:
        return f"not read; {_num(plan.estimate.num_rows or 0)} rows assumed (--rows)"
    texts = [f"{data.train}: {_rows(plan.recipe, plan.rows['train'])}"]
    if "eval" in plan.rows:
        texts.append(f"eval {data.eval}: {_rows(plan.recipe, plan.rows['eval'])}")
    return "; ".join(texts)


def _rows(recipe: Recipe, rows: Rows) -> str:
    used, dropped = len(rows.samples), rows.uncountable.reasons.total()
    text = f"{_num(used)} of {_num(rows.num_in_manifest)} rows"
    if dropped:
        done = "kept with advantage 0" if recipe.data.uncountable == "keep" else "dropped"
        text += f", {_num(dropped)} {done} ({rows.uncountable})"
    return text


def _clips(plan: Plan) -> str:
    assert plan.media is not None
    media, texts = plan.media, []
    if media.mean_s is not None:
        seconds = media.mean_s * media.num_clips
        in_all = f"{seconds / 3600:.1f} h" if seconds >= 3600 else f"{seconds / 60:.0f} min"
        texts.append(
            f"about {media.mean_s:.1f} s each, {in_all} in all (declared by {len(media.seconds)} of "
            f"{_num(media.num_clips)} files)"
        )
    if plan.missing:
        path = printable(plan.missing[0], 200)
        texts.append(f"{_num(len(plan.missing))} files are missing, the first {path}")
    return "; ".join(texts) or f"{_num(media.num_clips)} files of undeclared length"


def _prompt(recipe: Recipe, tokens: Tokens, costs: Costs | None) -> str:
    text = f"up to {_num(tokens.prompt)} tokens (video {tokens.video}, sound {tokens.audio}, text about {tokens.text})"
    if recipe.kind == "rl":
        length = f"{costs.answer} expected, " if costs else ""
        text += f"; {recipe.rl.num_generations} answers of {length}{_num(recipe.rl.max_completion_length)} at most"
    return text


def _steps(plan: Plan, costs: Costs) -> str:
    optim, rl = plan.recipe.optim, plan.recipe.rl
    batch = f"{costs.num_gpus} GPU{'s' * (costs.num_gpus > 1)} x {optim.batch_size}"
    if optim.gradient_accumulation_steps > 1:
        batch += f" x {optim.gradient_accumulation_steps} accumulated"
    a_step = f"{costs.prompts} a step ({batch})"
    if costs.steps is None:
        return f"not known: give data.num or optim.max_steps; {a_step}"
    if optim.max_steps > 0:
        return f"{_num(costs.steps)} (optim.max_steps), {a_step}"
    examples = f"{_num(plan.estimate.num_rows or 0)} rows"
    if plan.recipe.kind == "sft" and (targets := len(plan.recipe.sft.targets)) > 1:
        examples += f" x {targets} targets"
    if plan.recipe.kind == "rl" and rl.num_iterations > 1:
        examples += f" x {rl.num_iterations} steps on the same answers"
    epochs = f"{optim.num_train_epochs:g} epoch{'s' * (optim.num_train_epochs != 1)}"
    return f"{_num(costs.steps)} = {examples} x {epochs} / {a_step}"


def _memory(costs: Costs) -> str:
    each = f"{sum(costs.memory.values()) / GIB:.1f} of {costs.card.memory_gib:.0f} GiB of each {costs.card.name}"
    return f"{each}: fits" if costs.fix is None else f"{each}: does not fit; {costs.fix}"


def _time(recipe: Recipe, costs: Costs) -> str:
    if costs.step_s is None:
        return "not known for a GPU given by its memory alone; name one of its speed with --gpu, too"
    step = f"{costs.step_s:.3g} s" if costs.step_s >= 0.01 else "under 0.01 s"
    text = f"{step} a step on {costs.num_gpus} x {costs.card.name}"
    if costs.hours is not None:
        text = f"about {in_words(3600 * costs.hours)}, {text}"
    kind = "in bfloat16, float32 takes several times as long" if not recipe.optim.bf16 else "an estimate"
    return f"{text} ({kind}; docs/training.md)"


def _parts(costs: Costs | None) -> Iterator[tuple[str, str]]:
    """Where the numbers of memory and time come from."""
    if costs is None:
        return
    yield "GiB", " + ".join(f"{name} {size / GIB:.1f}" for name, size in costs.memory.items() if size >= GIB / 20)
    if costs.seconds is not None:
        yield "Seconds", " + ".join(f"{name} {value:.2g}" for name, value in costs.seconds.items())
    if (work := costs.work) is not None:
        yield (
            "Pass",
            f"{work.packed_tokens:.0f} tokens of a group; with the prompt repeated {work.repeated_tokens:.0f}, "
            f"{work.times:.1f} times the work",
        )


def _count(number: int) -> str:
    return f"{number / 1e9:.2f} billion" if number >= 1e8 else f"{number / 1e6:.2f} million"


def _num(number: int) -> str:
    return f"{number:,}"
