"""MER-R1's rewards in TRL's GRPOTrainer: three lines, marked below. The model reads subtitles.

    pip install '.[train]' 'trl>=1.16,<2'
    python examples/trl_reward.py [--model DIR_OR_HUB_ID] [--steps 4] [--out runs/trl_reward]

Without --model a tiny model is made and taught to answer by SFT first, so the example runs offline on a CPU in a
minute. Its answers are short; raise --max-completion-length for a model that reasons.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mer_r1.data.sample import Sample
from mer_r1.prompting.templates import PROMPT_TEMPLATES

ROWS = (
    ("I won the prize!", ("happy", "surprised")),
    ("Leave me alone.", ("angry", "disgusted")),
    ("She is gone for ever.", ("sad",)),
    ("What was that noise?", ("afraid", "surprised")),
)


def main(arguments: Sequence[str] | None = None) -> list[dict[str, float]]:
    """Train, and return what TRL logged, a dictionary a step."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model")
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--max-completion-length", type=int, default=32)
    parser.add_argument("--out", type=Path, default=Path("runs/trl_reward"))
    options = parser.parse_args(arguments)
    model = options.model or str(taught_model(options.out / "sft"))

    import torch
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer

    from mer_r1.rewards import make_rewards

    # The columns: a prompt as TRL wants it, and the gold words under the name `labels`. Only the first word is gold, so
    # that precision has something to teach: SFT has taught both.
    rows = [{"prompt": chat(words), "labels": list(labels[:1])} for words, labels in ROWS]
    # The functions: recall and precision over the wheels, and the response format.
    rewards = make_rewards(["recall", "precision", "format"], wheels="builtin")
    config = GRPOConfig(
        output_dir=str(options.out / "grpo"),
        max_steps=options.steps,
        per_device_train_batch_size=8,
        num_generations=4,
        max_completion_length=options.max_completion_length,
        learning_rate=1e-5,
        # The paper's weights: each reward is normalised by itself, as the objective rd_ad does it.
        reward_weights=[1.0, 1.0, 0.1],
        multi_objective_aggregation="normalize_then_sum",
        use_cpu=not torch.cuda.is_available(),
        bf16=torch.cuda.is_available(),
        activation_checkpointing=False,
        logging_steps=1,
        report_to="none",
        save_strategy="no",
    )
    trainer = GRPOTrainer(model, reward_funcs=rewards, args=config, train_dataset=Dataset.from_list(rows))
    trainer.train()
    return [row for row in trainer.state.log_history if "reward" in row]


def chat(words: str) -> list[dict[str, str]]:
    """The prompt of one subtitle, as the tiny model is asked."""
    return [{"role": "user", "content": PROMPT_TEMPLATES["brief"].text(words)}]


def taught_model(folder: Path) -> Path:
    """A tiny language model that answers in the right form, from `mer-r1 train` of kind sft."""
    from mer_r1.data.manifest import write_manifest
    from mer_r1.models.tiny.text import write_tiny_text
    from mer_r1.pipelines.train import train
    from mer_r1.recipe import Recipe

    samples = [
        Sample(f"{number}", subtitle=words, labels=labels, reasoning="The words say so.")
        for number, (words, labels) in enumerate(ROWS)
    ]
    manifest, tiny = folder / "train.jsonl", folder / "tiny"
    write_manifest(manifest, samples)
    if not tiny.exists():
        texts = [f"{sample.subtitle} {sample.reasoning} {', '.join(sample.labels)}" for sample in samples]
        write_tiny_text(tiny, texts * 8)
    recipe: dict[str, Any] = {
        "kind": "sft",
        "model": {"source": str(tiny)},
        "data": {"train": str(manifest), "workers": 0},
        "optim": {"learning_rate": 3e-3, "max_steps": 20, "batch_size": 4, "warmup_steps": 3},
        "sft": {"targets": ["slow"]},
    }
    return train(Recipe.model_validate(recipe), folder / "run")


if __name__ == "__main__":
    main()
