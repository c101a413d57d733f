"""The curves of a training: what its log holds, in which unit, and which rewards are worth a curve.

A number of the log is drawn where some step has it. A reward that only some objectives pay (accuracy, reflection) is
logged by every run and says nothing about one that does not pay it: it is drawn where the objective reads it, or, where
the objective is not known, where the run logged no recall, which every run of open vocabulary does.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mer_r1.display.plots import running_mean
from mer_r1.evaluation.runs import System
from mer_r1.objectives import OBJECTIVES, REFLECTION_REWARDS, rewards_of
from mer_r1.report.plots import GRID, PLACEHOLDERS, STYLES, WIDTH, Figure, Limits, draw_figure, fit, legend, named
from mer_r1.report.sets import ShownSystem

if TYPE_CHECKING:
    from matplotlib.axes import Axes

OF_SOME_OBJECTIVES = ("accuracy", *REFLECTION_REWARDS)


@dataclass(frozen=True)
class Log:
    """A key of metrics.jsonl as the page draws it: times `scale`, within `limits`, raw and as a running mean."""

    key: str
    caption: str
    label: str
    limits: Limits = (None, None)
    scale: float = 1.0
    smooth: bool = True


SHARE: Limits = (0.0, 1.0)
PERCENT: Limits = (0.0, 100.0)
LARGE = (
    Log("reward/recall", "Recall reward of the sampled answers.", "recall reward, 0 to 1", SHARE),
    Log("reward/precision", "Precision reward of the sampled answers.", "precision reward, 0 to 1", SHARE),
)
SMALL = (
    Log("loss", "SFT loss.", "loss", (0.0, None), smooth=False),
    Log("answer_words", "Words an answer.", "words", (0.0, None)),
    Log("entropy", "Entropy of the policy: 0 would be sure of every token.", "per token, natural log", (0.0, None)),
    Log("kl", "Distance from the SFT model (KL divergence).", "per token, natural log"),
    Log("frac_reward_zero_std", "Groups without signal (all advantages 0).", "percent of groups", PERCENT, 100),
    Log(
        "sampling/sampling_logp_difference/mean",
        "The sampler’s log-probability of a token against the policy’s, mean |difference|.",
        "natural log",
        (0.0, None),
    ),
    Log("sampling/pearson", "Correlation of the sampler’s probabilities and the policy’s.", "Pearson", (-1.0, 1.0)),
    Log("sampling/kl", "Distance of the sampler from the policy (KL divergence).", "per token, natural log"),
    Log(
        "sampling/frac_beyond",
        "Tokens whose two probabilities differ by more than a factor of 2.",
        "percent of tokens",
        PERCENT,
        100,
    ),
    Log("reward/format", "Format reward.", "format reward, 0 to 1", SHARE),
    Log("reward/accuracy", "Accuracy reward: the one answer is a gold label.", "accuracy reward, 0 to 1", SHARE),
    Log(
        "reward/reflection",
        "Reflective reward: coherence and consistency of the steps.",
        "reflective reward, 0 to 1",
        SHARE,
    ),
)


def large_logs(systems: Sequence[ShownSystem]) -> list[Figure]:
    """The two rewards of MER-R1 Figure 7, of every system that reinforcement learning trained."""
    rl = [item for item in systems if _is_rl(item.system)]
    return [figure for log in LARGE if (figure := log_plot(rl, log))]


def small_logs(systems: Sequence[ShownSystem]) -> list[Figure]:
    """Everything else that was logged: the loss of supervised fine-tuning, the rest of reinforcement learning."""
    rl = [item for item in systems if _is_rl(item.system)]
    sft = [item for item in systems if item not in rl]
    found = (log_plot(sft if log.key == "loss" else rl, log, width=3.6, height=2.2) for log in SMALL)
    return [figure for figure in found if figure]


def pays(system: System, reward: str) -> bool:
    """Whether a reward of a run is one to look at, by the rule above."""
    if reward not in OF_SOME_OBJECTIVES:
        return True
    if system.run.objective in OBJECTIVES:
        return reward in rewards_of(system.run.objective)
    return not system.series("reward/recall")[0]


def log_plot(systems: Sequence[ShownSystem], log: Log, *, height: float = 2.6, width: float = WIDTH) -> Figure | None:
    """One logged number over training steps, a line for each system: raw faint, running mean strong."""
    rows = list(_series(systems, log))
    if not rows:
        return None

    def draw(axes: Axes) -> None:
        for item, steps, values in rows:
            colour, style = PLACEHOLDERS[item.colour], STYLES[item.colour]
            mark = "o" if len(steps) < 3 else None
            if log.smooth:
                axes.plot(steps, values, color=colour, alpha=0.3, linewidth=0.9)
                values = running_mean(values)
            axes.plot(steps, values, color=colour, linestyle=style, linewidth=2, label=named(item), marker=mark)
        fit(axes, "y", log.limits)
        axes.set_xlabel("step")
        axes.set_ylabel(log.label)
        axes.grid(color=GRID)
        if len(rows) > 1:
            legend(axes)

    words = [f"{item.title} from {values[0]:.3g} to {running_mean(values)[-1]:.3g}" for item, _, values in rows]
    return draw_figure(f"log-{log.key}", draw, log.caption, words, height=height, width=width)


def _series(systems: Sequence[ShownSystem], log: Log) -> Iterator[tuple[ShownSystem, list[float], list[float]]]:
    """(system, steps, values) of every system that has the number."""
    for item in systems:
        steps, values = item.system.series(log.key)
        if steps and pays(item.system, log.key.removeprefix("reward/")):
            yield item, steps, [log.scale * value for value in values]


def _is_rl(system: System) -> bool:
    return any(system.series(f"reward/{name}")[0] for name in ("recall", "accuracy"))
