"""`mer-r1 prepare`: an owners' folder turned into a manifest, with a list of what is missing."""

from __future__ import annotations

import argparse
from pathlib import Path

from mer_r1.commands.options import Commands, add_command


def add(commands: Commands) -> None:
    """Add `mer-r1 prepare`."""
    text = "Turn a data set's folder, as its owners distribute it, into a manifest."
    parser = add_command(commands, "prepare", text, _run)
    parser.add_argument(
        "name",
        metavar="NAME",
        help="mer-unibench, or one of it (ovmerdplus, mer2023, mer2024, meld, iemocap, mosi, mosei, sims, simsv2), "
        "mer-caption, mme-emotion; of pictures emoset, emotion6, emotion6-folders, webemo, webemo-25, webemo-2",
    )
    parser.add_argument("--root", type=Path, required=True, metavar="DIR", help="the folder that holds the owners' one")
    parser.add_argument(
        "--out", type=Path, required=True, help="the manifest; a folder for mer-unibench (NAME.jsonl) and mer-caption"
    )
    parser.add_argument("--seed", type=int, help="of mer-caption's split, and of what --num chooses (default 0)")
    parser.add_argument("--sft-num", type=int, metavar="N", help="mer-caption: clips in sft.jsonl (default 5000)")
    parser.add_argument("--split", choices=("train", "val", "test"), help="of pictures (default test)")
    parser.add_argument("--num", type=int, metavar="N", help="of pictures: N of them, chosen by --seed (default all)")
    parser.add_argument("--missing", type=Path, metavar="FILE", help="write the list of all missing files there")


def _run(options: argparse.Namespace) -> int:
    from mer_r1.benchmarks.prepare import Part, prepare
    from mer_r1.display.prepare import print_prepared

    part = Part(options.split, options.num, options.sft_num, options.seed)
    prepared = prepare(options.name, options.root, options.out, part, options.missing)
    print_prepared(prepared)
    return 0 if prepared.is_whole else 1
