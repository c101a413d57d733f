"""What the command line's verbs share."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from mer_r1.verbs.sentiment import SentimentChoice

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


def add_sentiment_options(parser: argparse.ArgumentParser) -> None:
    """Who turns an answer's words into a sentiment; read back by `sentiment_choice`."""
    parser.add_argument(
        "--sentiment", choices=("lexicon",), help="words to positive or negative by the built-in wheels"
    )
    parser.add_argument("--sentiment-model", metavar="MODEL", help="or by this local model, a folder or a Hub id")
    parser.add_argument("--sentiment-url", metavar="URL", help="or by MODEL at this OpenAI-compatible address")
    parser.add_argument("--sentiment-key-env", metavar="VARIABLE", help="environment variable that holds its API key")
    parser.add_argument(
        "--sentiment-cache", type=Path, metavar="FILE", help="its cache (default PRED with .judge.sqlite at its end)"
    )
    parser.add_argument(
        "--sentiment-out", type=Path, metavar="FILE", help="keep the answers: predictions that score without a model"
    )


def sentiment_choice(options: argparse.Namespace) -> SentimentChoice:
    """What `add_sentiment_options` asked for."""
    from mer_r1.verbs.sentiment import SentimentChoice

    return SentimentChoice(
        backend=options.sentiment,
        url=options.sentiment_url,
        model=options.sentiment_model,
        key_env=options.sentiment_key_env,
        cache=options.sentiment_cache,
        out=options.sentiment_out,
    )
