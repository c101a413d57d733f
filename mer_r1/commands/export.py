"""`mer-r1 export`: a model in the layout of its family's official checkpoint; an adapter merged into its base."""

from __future__ import annotations

import argparse
from pathlib import Path

from mer_r1.commands.options import Commands, add_command


def add(commands: Commands) -> None:
    """Add `mer-r1 export`, and its earlier name `merge`."""
    text = "A model, or a LoRA adapter and its base as one, as engines and other trainers load it."
    parser = add_command(commands, "export", text, _run, aliases=("merge",))
    parser.add_argument(
        "source", metavar="RUN", help="a run, a model's folder, a checkpoint of a run, an adapter's folder, or a Hub id"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="the folder to write")
    parser.add_argument(
        "--dtype",
        choices=("bfloat16", "float16", "float32"),
        help="the precision of the weights (default: what they have)",
    )


def _run(options: argparse.Namespace) -> int:
    from mer_r1.evaluation.records import RUN_FILE, RunRecord
    from mer_r1.model_settings import model_folder
    from mer_r1.models.loading import export_model
    from mer_r1.recipe import read_recipe_without_idle_keys
    from mer_r1.training.model_card import Published, write_card

    folder = Path(model_folder(options.source))
    run = next((place for place in (folder, folder.parent) if (place / "recipe.yaml").is_file()), None)
    recipe = read_recipe_without_idle_keys(str(run / "recipe.yaml"))[0] if run else None
    record = RunRecord.read(run / RUN_FILE) if run else None
    export_model(options.source, options.out, options.dtype)
    if recipe and record:  # they give the model its card
        write_card(options.out, recipe, record, Published(run=run))
    print(f"Model: {options.out}  (from {folder})")
    return 0
