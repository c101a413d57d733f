"""A new objective, and how to add a new reward: written, checked on numbers, then a few RL steps of a tiny model.

    pip install '.[train]'
    python examples/new_reward.py [--steps 40] [--out runs/new_reward]

An objective is data: which rewards it adds before, and which after, their normalisation within a group
(docs/objectives.md). The one below keeps recall and precision apart as MER-R1 does and weighs precision twice, for an
application in which a wrong emotion costs more than a missing one. In the package it is one entry of OBJECTIVES in
mer_r1/objectives.py; from outside, as here, the entry is added before the recipe is read.

A reward that no objective has yet, computed from the text of an answer, is a field of `Rewards` (mer_r1/objectives.py)
and its line in `score_response` (mer_r1/metrics/rewards.py). Objectives, metrics.jsonl and `make_rewards` for other
trainers then have it by that name. A reward that needs the model's confidences or a judge belongs to mer_r1/rl/step.py.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from trl_reward import ROWS, taught_model  # the example beside this one: four subtitles, and a tiny model taught them

from mer_r1.data.files import read_json_lines
from mer_r1.objectives import OBJECTIVES, REWARDS, Objective, Term

CAREFUL = Objective((Term({"recall": 1.0}), Term({"precision": 1.0}, 2.0), Term({"format": 1.0}, "lambda_fmt")))
"""norm(R_R) + 2 norm(R_P) + lambda_fmt norm(R_fmt)"""


def main(arguments: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """Train, and return the rows of metrics.jsonl, one a step."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--out", type=Path, default=Path("runs/new_reward"))
    options = parser.parse_args(arguments)
    OBJECTIVES["careful"] = CAREFUL
    print("advantages of a group of four:", *(f"{value:+.2f}" for value in advantages_of_a_group()))

    from mer_r1.pipelines.train import train
    from mer_r1.recipe import Recipe

    sft: Path = options.out / "sft"
    recipe: dict[str, Any] = {
        "kind": "rl",
        "model": {"source": str(taught_model(sft))},
        "data": {"train": str(sft / "train.jsonl"), "workers": 0},
        "optim": {"learning_rate": 5e-4, "max_steps": options.steps, "batch_size": len(ROWS), "logging_steps": 1},
        # Hot, because a model that has memorised its four answers samples nothing else at 1.
        "rl": {"objective": "careful", "max_completion_length": 32, "temperature": 1.5, "beta": 0.0},
    }
    train(Recipe.model_validate(recipe), options.out / "rl")
    rows = [row for _, row in read_json_lines(options.out / "rl" / "metrics.jsonl")]
    rows = [row for row in rows if "reward/precision" in row]
    for row in rows[:: max(1, len(rows) // 8)]:
        print(f"step {row['step']:>3}  recall {row['reward/recall']:.2f}  precision {row['reward/precision']:.2f}")
    return rows


def advantages_of_a_group() -> list[float]:
    """What the objective makes of four answers: all right, one word too many, one too few, malformed."""
    import torch

    from mer_r1.rl.advantages import advantages

    rewards_PGK = torch.full((1, 4, len(REWARDS)), torch.nan)
    for name, values in {"recall": (1, 1, 0.5, 0), "precision": (1, 0.5, 1, 0), "format": (1, 1, 1, 0)}.items():
        rewards_PGK[0, :, REWARDS.index(name)] = torch.tensor(values, dtype=torch.float32)
    values_G: list[float] = advantages(rewards_PGK, "careful", {"lambda_fmt": 0.1})[0].tolist()
    return values_G


if __name__ == "__main__":
    main()
