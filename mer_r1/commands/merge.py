"""`mer-r1 merge`: a LoRA run's adapter and its base become one plain checkpoint."""

from __future__ import annotations

import argparse
from pathlib import Path

from mer_r1.commands.options import Commands, add_command
from mer_r1.errors import InputError


def add(commands: Commands) -> None:
    """Add `mer-r1 merge`."""
    parser = add_command(commands, "merge", "A LoRA run's adapter and its base as one plain checkpoint.", _run)
    parser.add_argument("run", type=Path, metavar="RUN", help="a run trained with model.lora, or an adapter's folder")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="the checkpoint to write")


def _run(options: argparse.Namespace) -> int:
    source: Path = options.run
    if not source.is_dir():
        raise InputError(f"{source}: no such folder; give a run trained with model.lora")
    from mer_r1.evaluation.records import RUN_FILE, RunRecord
    from mer_r1.models.loading import merge_adapter
    from mer_r1.models.lora import ADAPTER_CONFIG, adapter_base
    from mer_r1.recipe import read_recipe_without_idle_keys
    from mer_r1.training.model_card import write_card

    folder = source / "model" if (source / "model" / ADAPTER_CONFIG).is_file() else source
    base = adapter_base(folder)
    merge_adapter(folder, options.out)
    if (source / "recipe.yaml").is_file():  # a run's recipe and facts give the model its card
        recipe, _ = read_recipe_without_idle_keys(str(source / "recipe.yaml"))
        write_card(options.out, recipe, RunRecord.read(source / RUN_FILE))
    print(f"Model: {options.out}  (the adapter {folder} merged into {base})")
    return 0
