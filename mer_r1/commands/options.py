"""What the command line's verbs share."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from mer_r1.errors import InputError

if TYPE_CHECKING:
    from mer_r1.evaluation.sentiment import SentimentChoice
    from mer_r1.generation.make import Service

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


def add_service_options(parser: argparse.ArgumentParser, asked: str = "the model", requests: str = "") -> None:
    """A model behind an address as the one that is asked; read back by `service_of`."""
    parser.add_argument("--url", help=f"ask {asked} at this OpenAI-compatible address instead")
    parser.add_argument("--key-env", metavar="VARIABLE", help="environment variable that holds its API key")
    parser.add_argument("--no-sound", action="store_true", help="with --url: the model takes no sound")
    requests = requests or "with --url: requests at a time"
    parser.add_argument("--workers", type=int, default=8, metavar="N", help=f"{requests} (default 8)")


def service_of(options: argparse.Namespace) -> Service | None:
    """What `add_service_options` asked for; None without an address. Raises InputError for what needs one."""
    from mer_r1.generation.make import Service

    if options.url is not None:
        return Service(options.url, options.key_env, sound=not options.no_sound, num_workers=options.workers)
    if options.key_env is not None or options.no_sound:
        given = "--no-sound" if options.key_env is None else "--key-env"
        raise InputError(f"{given} goes with --url; give the address, or leave it out")
    return None


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


def add_judge_options(parser: argparse.ArgumentParser) -> None:
    """What both commands that judge MME-Emotion's answers take beside the judge's address and name."""
    parser.add_argument("--judge-key-env", metavar="VARIABLE", help="environment variable that holds the API key")
    parser.add_argument("--steps-model", metavar="NAME", help="the model of stage 1, where it is another")
    parser.add_argument("--clues", type=Path, metavar="FILE", help='a JSON list of {"video_id", "audio_clue"}')


def sentiment_choice(options: argparse.Namespace) -> SentimentChoice:
    """What `add_sentiment_options` asked for."""
    from mer_r1.evaluation.sentiment import SentimentChoice

    return SentimentChoice(
        backend=options.sentiment,
        url=options.sentiment_url,
        model=options.sentiment_model,
        key_env=options.sentiment_key_env,
        cache=options.sentiment_cache,
        out=options.sentiment_out,
    )
