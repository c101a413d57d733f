"""`mer-r1 merge`: a LoRA run's adapter and its base become one plain checkpoint."""

from __future__ import annotations

import argparse
from pathlib import Path

from mer_r1.commands.options import Commands, add_command


def add(commands: Commands) -> None:
    """Add `mer-r1 merge`."""
    parser = add_command(commands, "merge", "A LoRA run's adapter and its base as one plain checkpoint.", _run)
    parser.add_argument("run", type=Path, metavar="RUN", help="a run trained with model.lora, or an adapter's folder")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="the checkpoint to write")


def _run(options: argparse.Namespace) -> int:
    from mer_r1.pipelines import merge

    return merge.run(options.run, options.out)
