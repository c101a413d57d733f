"""`mer-r1 merge`: a LoRA run's adapter and its base become one plain checkpoint."""

from __future__ import annotations

from pathlib import Path

from mer_r1.errors import InputError
from mer_r1.evaluation.records import RUN_FILE, RunRecord
from mer_r1.recipe import read_recipe
from mer_r1.training.model_card import write_card


def run(source: Path, out: Path) -> int:
    """Merge the adapter of a run, or of a folder that holds one, into `out`; 0 when done.

    A run's recipe and facts give the merged model its card. Raises InputError where there is no adapter, its base is
    not there, or `out` exists.
    """
    if not source.is_dir():
        raise InputError(f"{source}: no such folder; give a run trained with model.lora")
    from mer_r1.models.loading import merge_adapter
    from mer_r1.models.lora import ADAPTER_CONFIG, adapter_base

    folder = source / "model" if (source / "model" / ADAPTER_CONFIG).is_file() else source
    base = adapter_base(folder)
    merge_adapter(folder, out)
    if (source / "recipe.yaml").is_file():
        write_card(out, read_recipe(str(source / "recipe.yaml")), RunRecord.read(source / RUN_FILE).to_json())
    print(f"Model: {out}  (the adapter {folder} merged into {base})")
    return 0
