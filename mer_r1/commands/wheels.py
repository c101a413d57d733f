"""`mer-r1 wheels`: emotion words in the five wheels; what two sources map differently; the published tables."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mer_r1.commands.options import Commands, add_command, add_protocol_option, add_wheel_options
from mer_r1.errors import InputError


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
    compared.add_argument(
        "--limit", type=int, default=50, metavar="N", help="print the first N words (default %(default)s)"
    )
    compared.add_argument(
        "--json", type=Path, metavar="OUT", help="write all of them there (default: they are only printed)"
    )
    add_protocol_option(compared)
    for kind in (shown, compared):
        kind.add_argument(
            "--level", type=int, choices=(1, 2), default=1, help="1: inner ring, 2: middle ring (default %(default)s)"
        )
    text = "The tokens of a model's vocabulary with which words open, and those that categories share."
    counted = add_command(kinds, "tokens", text, _tokens)
    counted.add_argument(
        "--model", required=True, metavar="MODEL", help="a tokenizer's or a run's folder, a Hub id, or tiny"
    )
    add_wheel_options(counted)
    counted.add_argument(
        "--manifest",
        type=Path,
        metavar="FILE",
        help="weigh sharing by how often each gold word occurs in these rows (default: all words alike)",
    )
    counted.add_argument(
        "--out", type=Path, metavar="FILE", help="write every shared token there, as JSON (default: none is written)"
    )
    fetched = add_command(kinds, "download", "Fetch the published tables, each checked against its known hash.", _fetch)
    fetched.add_argument("names", nargs="*", metavar="official|mer2026", help="which tables (default both)")
    fetched.add_argument(
        "--to", type=Path, metavar="DIR", help="write DIR/official and DIR/mer2026 (default: the cache folder)"
    )


def _show(options: argparse.Namespace) -> int:
    from mer_r1.display.wheels import print_words
    from mer_r1.emotion.wheel import WheelSet

    wheels = WheelSet.load(options.wheels, protocol=options.protocol, level=options.level)
    settings = f"level {options.level}, protocol {options.protocol}, sha256 {wheels.sha256[:12]}"
    print_words(options.words, wheels, f"Wheels {wheels.source}, {settings}")
    return 0 if any(wheels.explain(word) for word in options.words) else 1


def _compare(options: argparse.Namespace) -> int:
    from mer_r1.data.files import validate_outputs, write_json
    from mer_r1.display.wheels import print_comparison
    from mer_r1.emotion.compare import compare
    from mer_r1.emotion.wheel import WheelSet
    from mer_r1.metrics.signature import wheels_part

    if options.limit < 0:
        raise InputError(f"--limit {options.limit} is below 0; give the number of words to print")
    validate_outputs({"--json": (options.json, "JSON")}, (Path(options.a), Path(options.b)))
    a, b = (WheelSet.load(one, protocol=options.protocol, level=options.level) for one in (options.a, options.b))
    found, names = compare(a, b), (wheels_part(a.source, a.sha256), wheels_part(b.source, b.sha256))
    if options.json is not None:
        head = {"a": names[0], "b": names[1], "protocol": options.protocol, "level": options.level}
        write_json(options.json, head | asdict(found) | {"num_differing": found.num_differing})
    rest = "" if options.json is not None else "; --limit prints more, --json writes all"
    print_comparison(found, names, options.limit, rest=rest)
    return 0


def _tokens(options: argparse.Namespace) -> int:
    from mer_r1.analysis.gold_tokens import gold_report
    from mer_r1.analysis.wheel_tokens import load_tokenizer, token_report
    from mer_r1.data.files import validate_outputs, write_json
    from mer_r1.data.gold import read_gold
    from mer_r1.display.wheel_tokens import print_gold_tokens, print_wheel_tokens
    from mer_r1.emotion.wheel import WheelSet
    from mer_r1.metrics.signature import wheels_part

    validate_outputs({"--out": (options.out, "JSON")}, (options.manifest,))
    wheels = WheelSet.load(options.wheels, protocol=options.protocol)
    gold = None if options.manifest is None else read_gold(options.manifest)
    tokenizer = load_tokenizer(options.model)
    report, name = token_report(tokenizer, wheels), wheels_part(wheels.source, wheels.sha256)
    try:
        of_gold = None if gold is None else gold_report(tokenizer, wheels, gold)
    except InputError as error:
        raise InputError(f"{options.manifest}: {error}") from None
    if options.out is not None:
        head = {"model": options.model, "num_ids": len(tokenizer), "wheels": wheels.source}
        head |= {"wheels_sha256": wheels.sha256, "protocol": options.protocol}
        found: dict[str, Any] = {"by_wheel": [asdict(item) for item in report]}
        if of_gold is not None:
            found |= {"manifest": str(options.manifest), "gold": asdict(of_gold)}
        write_json(options.out, head | found)
    title = f"{options.model}, {len(tokenizer):,} ids; wheels {name}, protocol {options.protocol}"
    print_wheel_tokens(report, title)
    if of_gold is not None:
        print_gold_tokens(of_gold, str(options.manifest))
    return 0


def _fetch(options: argparse.Namespace) -> int:
    from mer_r1.emotion import download
    from mer_r1.emotion.official import PINNED

    for file in download.download(options.names or [*PINNED], options.to):
        print(f"{file.path}: {file.how}")
    return 0
