"""`mer-r1 wheels`: emotion words in the five wheels; what two sources map differently; the published tables."""

from __future__ import annotations

import argparse
from pathlib import Path

from mer_r1.commands.options import Commands, add_command, add_protocol_option, add_wheel_options


def add(commands: Commands) -> None:
    """Add `mer-r1 wheels` with `show`, `compare`, `tokens` and `download`."""
    parser = add_command(commands, "wheels", "Emotion words and where they stand in the five wheels.")
    kinds = parser.add_subparsers(required=True, metavar="{show,compare,tokens,download}")
    shown = add_command(kinds, "show", "The category of each word in every wheel, and the way there.", _show)
    shown.add_argument("words", nargs="+", metavar="WORD", help="emotion words or phrases")
    add_wheel_options(shown)
    compared = add_command(kinds, "compare", "The words that two sources of wheels map differently.", _compare)
    compared.add_argument("a", metavar="A", help="builtin, official, mer2026, or a folder")
    compared.add_argument("b", metavar="B", help="another of them")
    compared.add_argument("--limit", type=int, default=50, metavar="N", help="print the first N words (default 50)")
    compared.add_argument("--json", type=Path, metavar="OUT", help="write all of them there")
    add_protocol_option(compared)
    for kind in (shown, compared):
        kind.add_argument("--level", type=int, choices=(1, 2), default=1, help="2: the middle ring (default 1)")
    text = "The tokens of a model's vocabulary with which words open, and those that categories share."
    counted = add_command(kinds, "tokens", text, _tokens)
    counted.add_argument("--model", required=True, help="a tokenizer's or a run's folder, a Hub id, or tiny")
    add_wheel_options(counted)
    counted.add_argument("--out", type=Path, metavar="FILE", help="write every shared token there, as JSON")
    fetched = add_command(kinds, "download", "Fetch the published tables, each checked against its known hash.", _fetch)
    fetched.add_argument("names", nargs="*", metavar="official|mer2026", help="which (default both)")
    fetched.add_argument("--to", type=Path, metavar="DIR", help="into DIR/official, DIR/mer2026 (default the cache)")


def _show(options: argparse.Namespace) -> int:
    from mer_r1.pipelines import wheels

    return wheels.show(options.words, options.wheels, options.protocol, options.level)


def _compare(options: argparse.Namespace) -> int:
    from mer_r1.pipelines import wheels

    choices = {"protocol": options.protocol, "level": options.level, "limit": options.limit, "out": options.json}
    return wheels.show_comparison(options.a, options.b, **choices)


def _tokens(options: argparse.Namespace) -> int:
    from mer_r1.analysis import wheel_tokens

    return wheel_tokens.run(options.model, options.wheels, options.protocol, options.out)


def _fetch(options: argparse.Namespace) -> int:
    from mer_r1.pipelines import wheels

    return wheels.download(options.names, options.to)
