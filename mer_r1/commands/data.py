"""Data and tables: `synth`, `prepare`, `check`, `wheels`."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from mer_r1.commands.options import Verbs, add_protocol_option, add_verb, add_wheel_options


def synth(verbs: Verbs) -> None:
    """Add `mer-r1 synth`."""
    parser = add_verb(verbs, "synth", "Make the MiniMER corpus, clips or pictures with known emotions, and manifests.")
    parser.add_argument("out", type=Path, metavar="OUT")
    parser.add_argument("--num", type=int, default=800, help="clips or pictures in all splits together (default 800)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, help="length of a clip, 0.5 to 60 (default 1)")
    parser.add_argument("--workers", type=int, default=min(os.cpu_count() or 1, 8))
    parser.add_argument(
        "--form", help="profile of a clip's reasoning: think_answer (default) or set_steps, with step tags and a box"
    )
    parser.add_argument("--pictures", action="store_true", help="make pictures: scenes with a face, one label each")

    def command(options: argparse.Namespace) -> int:
        from mer_r1.pipelines import synth

        return synth.run(
            options.out, options.num, options.seed, options.seconds, options.workers, options.form, options.pictures
        )

    parser.set_defaults(command=command)


def prepare(verbs: Verbs) -> None:
    """Add `mer-r1 prepare`."""
    parser = add_verb(verbs, "prepare", "Turn a data set's folder, as its owners distribute it, into a manifest.")
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
    parser.add_argument("--num", type=int, metavar="N", help="of pictures: N of them, chosen by --seed")
    parser.add_argument("--missing", type=Path, metavar="FILE", help="write the list of all missing files there")

    def command(options: argparse.Namespace) -> int:
        from mer_r1.pipelines import prepare

        return prepare.run(
            options.name,
            options.root,
            options.out,
            seed=options.seed,
            num_sft=options.sft_num,
            missing=options.missing,
            split=options.split,
            num=options.num,
        )

    parser.set_defaults(command=command)


def check(verbs: Verbs) -> None:
    """Add `mer-r1 check`."""
    parser = add_verb(verbs, "check", "Prove a manifest sound before anything trains: media readable, gold scores 1.0.")
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--limit", type=int, help="decode the media of the first rows only")
    parser.add_argument("--workers", type=int, default=min(os.cpu_count() or 1, 8), help="processes that decode")
    parser.add_argument("--json", type=Path, metavar="OUT", help="write all that was found there")
    add_wheel_options(parser)

    def command(options: argparse.Namespace) -> int:
        from mer_r1.pipelines import check

        return check.run(
            options.manifest,
            options.limit,
            options.wheels,
            protocol=options.protocol,
            workers=options.workers,
            json_out=options.json,
        )

    parser.set_defaults(command=command)


def wheels(verbs: Verbs) -> None:
    """Add `mer-r1 wheels`."""
    parser = add_verb(verbs, "wheels", "Emotion words and where they stand in the five wheels.")
    kinds = parser.add_subparsers(required=True, metavar="{show,compare,tokens,download}")
    shown = add_verb(kinds, "show", "The category of each word in every wheel, and the way there.")
    shown.add_argument("words", nargs="+", metavar="WORD")
    add_wheel_options(shown)
    compared = add_verb(kinds, "compare", "The words that two sources of wheels map differently.")
    compared.add_argument("a", metavar="A", help="builtin, official, mer2026, or a folder")
    compared.add_argument("b", metavar="B", help="the same")
    compared.add_argument("--limit", type=int, default=50, metavar="N", help="print the first N words (default 50)")
    compared.add_argument("--json", type=Path, metavar="OUT", help="write all of them there")
    add_protocol_option(compared)
    for kind in (shown, compared):
        kind.add_argument("--level", type=int, choices=(1, 2), default=1, help="2: the middle ring (default 1)")
    counted = add_verb(kinds, "tokens", "With which tokens of a model's vocabulary words open, and which are shared.")
    counted.add_argument("--model", required=True, help="a tokenizer's or a run's folder, a Hub id, or tiny")
    add_wheel_options(counted)
    counted.add_argument("--out", type=Path, metavar="FILE", help="write every shared token there, as JSON")
    fetched = add_verb(kinds, "download", "Fetch the published tables, each checked against its known hash.")
    fetched.add_argument("names", nargs="*", metavar="official|mer2026", help="which (default both)")
    fetched.add_argument("--to", type=Path, metavar="DIR", help="into DIR/official, DIR/mer2026 (default: the cache)")

    def command(options: argparse.Namespace) -> int:
        from mer_r1.pipelines import wheels

        return wheels.show(options.words, options.wheels, options.protocol, options.level)

    def compare(options: argparse.Namespace) -> int:
        from mer_r1.pipelines import wheels

        choices = {"protocol": options.protocol, "level": options.level, "limit": options.limit, "out": options.json}
        return wheels.show_comparison(options.a, options.b, **choices)

    def download(options: argparse.Namespace) -> int:
        from mer_r1.pipelines import wheels

        return wheels.download(options.names, options.to)

    def tokens(options: argparse.Namespace) -> int:
        from mer_r1.analysis import wheel_tokens

        return wheel_tokens.run(options.model, options.wheels, options.protocol, options.out)

    counted.set_defaults(command=tokens)
    shown.set_defaults(command=command)
    compared.set_defaults(command=compare)
    fetched.set_defaults(command=download)
