"""`mer-r1 split`: a manifest in parts that share no speaker and keep the shares of labels."""

from __future__ import annotations

import argparse
from pathlib import Path

from mer_r1.commands.options import Commands, add_command


def add(commands: Commands) -> None:
    """Add `mer-r1 split`."""
    text = "Split a manifest: what belongs together stays together, label shares are kept."
    parser = add_command(commands, "split", text, _run)
    parser.add_argument("manifest", type=Path, metavar="MANIFEST", help="the manifest with all rows")
    parser.add_argument(
        "--by",
        choices=("id", "cluster", "source", "video", "audio", "image"),
        default="cluster",
        help="rows that are equal in this field stay in one part; id: every row by itself (default %(default)s, "
        "the speaker or dialogue)",
    )
    parser.add_argument(
        "--parts",
        default="train=0.8,dev=0.1,test=0.1",
        metavar="NAME=SIZE,…",
        help="shares, or counts of rows; one may be rest (default %(default)s)",
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the split (default %(default)s)")
    parser.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="folder for NAME.jsonl of every part (default MANIFEST without its ending)",
    )


def _run(options: argparse.Namespace) -> int:
    from mer_r1.data.manifest import read_manifest
    from mer_r1.data.split import read_parts, split, write_split
    from mer_r1.display.split import print_split
    from mer_r1.errors import InputError

    manifest: Path = options.manifest
    parts = read_parts(options.parts)
    out: Path = options.out or manifest.with_suffix("")
    if out == manifest or out.is_file():
        raise InputError(f"{out} is a file; give the folder for the parts with --out")
    made = split(read_manifest(manifest), parts, options.by, options.seed)
    print_split(made, write_split(out, made))
    return 0
