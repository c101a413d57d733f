"""What the command line's verbs share."""

from __future__ import annotations

import argparse
from typing import TypeAlias

Verbs: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def add_verb(verbs: Verbs, name: str, text: str) -> argparse.ArgumentParser:
    """A verb of that name; `text` is its line in the list and the head of its own help."""
    return verbs.add_parser(name, help=text, description=text)


def add_wheel_options(parser: argparse.ArgumentParser) -> None:
    """--wheels and --protocol."""
    parser.add_argument("--wheels", default="builtin", help="builtin (default), official, mer2026, or a folder")
    add_protocol_option(parser)


def add_protocol_option(parser: argparse.ArgumentParser) -> None:
    """--protocol."""
    parser.add_argument("--protocol", choices=("official", "corrected"), default="official")
