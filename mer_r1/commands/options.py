"""Arguments that several commands share, and the functions that read them back."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from mer_r1.data.sample import MODES, Mode
from mer_r1.errors import InputError

if TYPE_CHECKING:
    from mer_r1.benchmarks.mme_emotion.judging import JudgeChoice
    from mer_r1.evaluation.sentiment import SentimentChoice
    from mer_r1.generation.make import Engine, Service

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
Run = Callable[[argparse.Namespace], int]


def add_command(
    commands: Commands,
    name: str,
    text: str,
    run: Run | None = None,
    *,
    resumable: bool = False,
    aliases: Sequence[str] = (),
) -> argparse.ArgumentParser:
    """The parser of a new command. `text` is its line in the list of commands and the head of its own help.

    `run` executes it and returns the exit status; `resumable` tells whoever stops it that the same command resumes;
    `aliases` are other names of it.
    """
    parser = commands.add_parser(name, help=text, description=text, aliases=aliases)
    if run is not None:
        parser.set_defaults(command=run, resumable=resumable)
    return parser


KINDS = "kinds"
"""The registry of a parser that holds the parsers of its kinds."""


def add_kind(parser: argparse.ArgumentParser, name: str, text: str, run: Run) -> argparse.ArgumentParser:
    """The parser of a kind of a command: what stands behind `COMMAND name` is its own, its --help too.

    Unlike a command's list of kinds it leaves every other first argument to the command itself.
    """
    kind = type(parser)(prog=f"{parser.prog} {name}", description=text)
    kind.set_defaults(command=run, resumable=False)
    parser.register(KINDS, name, kind)
    return kind


def add_mode_option(parser: argparse._ActionsContainer, default: str = "both") -> None:
    """--mode, read back by `modes_of`, and --fast."""
    parser.add_argument(
        "--mode",
        choices=("fast", "slow", "both"),
        default=default,
        help="fast or slow thinking, or both (default %(default)s)",
    )
    parser.add_argument(
        "--fast",
        choices=("prefill", "prompt"),
        default="prefill",
        help="fast thinking by an empty reasoning that is written for the model, or by a prompt for the answer "
        "alone (default %(default)s)",
    )


def modes_of(options: argparse.Namespace) -> tuple[Mode, ...]:
    """The modes that --mode asks for."""
    return MODES if options.mode == "both" else (options.mode,)


DEFAULT_LENGTH = 1024


def add_length_option(parser: argparse._ActionsContainer, default: int = DEFAULT_LENGTH) -> None:
    """--max-new-tokens."""
    parser.add_argument(
        "--max-new-tokens",
        type=int,
        default=default,
        metavar="N",
        help="the longest response, in tokens (default %(default)s)",
    )


def add_benchmark_options(
    parser: argparse.ArgumentParser, *, data: str, sets: str, items: str, mode: str = "both"
) -> None:
    """What a benchmark needs: the model, the data, the run's folder, which part of it, and how answers are generated.

    The texts are the help of --data and --sets; `items` is what --limit counts.
    """
    parser.add_argument(
        "--published", action="store_true", default=argparse.SUPPRESS, help="print the published table only"
    )
    parser.add_argument(
        "--model",
        metavar="MODEL",
        help="a run, a checkpoint's folder or a Hub id; with --url the model's name there (no default)",
    )
    parser.add_argument("--data", type=Path, metavar="PATH", help=f"{data} (no default)")
    parser.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="the run's folder, resumed if it exists (default runs/NAME-MODEL)",
    )
    parser.add_argument("--sets", metavar="A,B", help=f"{sets} (default all)")
    parser.add_argument("--limit", type=int, metavar="N", help=f"the first N {items} of each set only (default all)")
    answers = parser.add_argument_group("how it answers")
    add_mode_option(answers, mode)
    add_length_option(answers)
    add_failed_option(answers)


def names_of(listed: str | None) -> tuple[str, ...]:
    """The names that --sets lists; none where it is not given. Raises InputError for a list without a name."""
    if listed is None:
        return ()
    names = tuple(name.strip() for name in listed.split(",") if name.strip())
    if not names:
        raise InputError(f"--sets {listed!r} names nothing; list names with commas between, or leave it out")
    return names


def add_wheel_options(parser: argparse._ActionsContainer) -> None:
    """--wheels and --protocol."""
    parser.add_argument(
        "--wheels",
        default="builtin",
        metavar="WHEELS",
        help="emotion wheels: builtin, official, mer2026, or a folder (default %(default)s)",
    )
    add_protocol_option(parser)


def add_protocol_option(parser: argparse._ActionsContainer) -> None:
    """--protocol."""
    parser.add_argument(
        "--protocol",
        choices=("official", "corrected"),
        default="official",
        help="rules that map a word to categories (default %(default)s)",
    )


def add_failed_option(parser: argparse._ActionsContainer) -> None:
    """--failed."""
    parser.add_argument(
        "--failed",
        choices=("left-out", "as-empty"),
        default="left-out",
        help="failed answers: left out of every number, or counted as empty ones; the exit status is 1 either way "
        "(default %(default)s)",
    )


def add_engine_options(parser: argparse._ActionsContainer) -> None:
    """What runs a model on this machine; read back by `engine_of`."""
    parser.add_argument(
        "--engine",
        choices=("local", "vllm"),
        default="local",
        help="what runs the model here: our own loop, or vLLM, faster on a GPU (docs/vllm.md; default %(default)s)",
    )
    parser.add_argument(
        "--tensor-parallel",
        type=int,
        default=1,
        metavar="N",
        help="with --engine vllm: GPUs that share each layer of the model (default %(default)s)",
    )
    parser.add_argument(
        "--quantization",
        choices=("nf4", "int8"),
        help="with --engine local: hold the language model's layers in 4 or 8 bits, for a small GPU (default: as they "
        "are stored)",
    )


def engine_of(options: argparse.Namespace) -> Engine:
    """What `add_engine_options` read. Raises InputError for a number that cannot be."""
    from mer_r1.generation.make import Engine

    return Engine(options.engine, options.tensor_parallel, options.quantization)


_BUDGET_OPTIONS = {
    "num_frames": (int, "the most frames of a clip"),
    "fps": (float, "frames a second of a clip; 0 takes --num-frames of every clip"),
    "max_pixels": (int, "the most pixels of a frame"),
    "min_pixels": (int, "the fewest pixels of a frame"),
    "max_video_s": (float, "the seconds of a clip that frames are taken from"),
    "max_audio_s": (float, "the seconds of sound"),
}


def add_service_options(
    parser: argparse.ArgumentParser,
    requests: str = "requests at the same time",
    *,
    styled: bool = False,
) -> None:
    """What answers: a model behind an address, read back by `service_of`, or what runs one here, by `engine_of`.

    `styled`: the command has a choice of prompt templates of its own, or asks questions of its own.
    """
    add_engine_options(parser.add_argument_group("a model on this machine"))
    group = parser.add_argument_group(
        "a model behind an address",
        "With --served-as, or one of --num-frames to --max-audio-s, frames are sent as they are taken here.",
    )
    group.add_argument(
        "--url", metavar="URL", help="an OpenAI-compatible address that serves the model (default: it runs here)"
    )
    group.add_argument(
        "--key-env", metavar="VARIABLE", help="environment variable that holds its API key (default: no key is sent)"
    )
    group.add_argument("--no-sound", action="store_true", help="the model takes no sound")
    group.add_argument("--workers", type=int, default=8, metavar="N", help=f"{requests} (default %(default)s)")
    group.add_argument(
        "--served-as",
        metavar="NAME",
        help="the model's name there (default --model); --model is then the run or the folder that is served, which "
        "says how clips are shown to it (vLLM with --trust-request-mm-kwargs)",
    )
    group.add_argument(
        "--confidence",
        action="store_true",
        help="with --served-as: read the confidence of the words too, by several more requests an answer",
    )
    parser.set_defaults(served_style=None)
    if not styled:
        group.add_argument(
            "--prompt-style",
            dest="served_style",
            metavar="STYLE",
            help="prompt template, such as full or brief (default the folder's, else full)",
        )
    for name, (kind, text) in _BUDGET_OPTIONS.items():
        group.add_argument(
            f"--{name.replace('_', '-')}",
            type=kind,
            metavar="N" if kind is int else "R",
            help=f"{text} (default the folder's)",
        )


def service_of(options: argparse.Namespace) -> Service | None:
    """What `add_service_options` read; None without an address. Raises InputError for an option that needs one."""
    from mer_r1.generation.make import Service

    budget = {name: value for name in _BUDGET_OPTIONS if (value := getattr(options, name)) is not None}
    if options.url is not None:
        return Service(
            options.url,
            options.key_env,
            sound=not options.no_sound,
            num_workers=options.workers,
            served_as=options.served_as,
            confidence=options.confidence,
            prompt_style=options.served_style,
            budget={name: None if (name, value) == ("fps", 0.0) else value for name, value in budget.items()},
        )
    alone = {
        "--key-env": options.key_env,
        "--no-sound": options.no_sound or None,
        "--served-as": options.served_as,
        "--confidence": options.confidence or None,
        "--prompt-style": options.served_style,
        **{f"--{name.replace('_', '-')}": value for name, value in budget.items()},
    }
    for name, value in alone.items():
        if value is not None:
            raise InputError(f"{name} goes with --url; give the address, or leave it out")
    return None


def add_sentiment_options(parser: argparse.ArgumentParser) -> None:
    """What turns an answer's words into a sentiment; read back by `sentiment_choice`."""
    title = "sentiment of an answer's words"
    group = parser.add_argument_group(
        title, "who says positive, negative or neutral; default: the row's own `sentiment`"
    )
    group.add_argument(
        "--sentiment", choices=("lexicon",), help="by the built-in wheels, offline (default: not by them)"
    )
    group.add_argument(
        "--sentiment-model",
        metavar="MODEL",
        help="by a language model: its name at --sentiment-url, else a folder or a Hub id (default: none is asked)",
    )
    group.add_argument(
        "--sentiment-prompt",
        choices=("default", "mer-unibench"),
        help="what MODEL is asked: this package's question, greedily, or MER-UniBench's at temperature 0.7 "
        "(default: default)",
    )
    group.add_argument(
        "--sentiment-url", metavar="URL", help="the OpenAI-compatible address of MODEL (default: it runs here)"
    )
    group.add_argument(
        "--sentiment-key-env",
        metavar="VARIABLE",
        help="environment variable that holds the address's API key (default: no key is sent)",
    )
    group.add_argument(
        "--sentiment-cache",
        type=Path,
        metavar="FILE",
        help="where the address's answers are kept (default: beside PRED, with .judge.sqlite behind its name)",
    )
    group.add_argument(
        "--sentiment-out",
        type=Path,
        metavar="FILE",
        help="write the answers as predictions, which score without a model (default: not kept)",
    )


def add_judge_options(parser: argparse.ArgumentParser, *, required: bool = False) -> None:
    """The judge of MME-Emotion's answers; read back by `judge_choice`."""
    none = "" if required else " (default: answers are not judged)"
    text = f"judge by a model at this OpenAI-compatible address{none}"
    group = parser.add_argument_group("judge")
    group.add_argument("--judge-url", required=required, metavar="URL", help=text)
    group.add_argument("--judge-model", required=required, metavar="NAME", help=f"the judge's name there{none}")
    group.add_argument(
        "--judge-key-env",
        metavar="VARIABLE",
        help="environment variable that holds the judge's API key (default: no key is sent)",
    )
    group.add_argument("--steps-model", metavar="NAME", help="the model of stage 1 (default the judge's)")
    group.add_argument(
        "--clues",
        type=Path,
        metavar="FILE",
        help='a JSON list of {"video_id", "audio_clue"} for the judge (default none)',
    )


def judge_choice(options: argparse.Namespace) -> JudgeChoice | None:
    """What `add_judge_options` and --workers read; None without a judge. Raises InputError for half of one."""
    from mer_r1.benchmarks.mme_emotion.judging import JudgeChoice

    url, model = options.judge_url, options.judge_model
    if (url is None) != (model is None):
        raise InputError("--judge-url and --judge-model go together; give both, or neither")
    return url and JudgeChoice(url, model, options.judge_key_env, options.steps_model, options.workers)


def sentiment_choice(options: argparse.Namespace) -> SentimentChoice:
    """What `add_sentiment_options` read."""
    from mer_r1.evaluation.sentiment import SentimentChoice

    return SentimentChoice(
        backend=options.sentiment,
        url=options.sentiment_url,
        model=options.sentiment_model,
        prompt=options.sentiment_prompt,
        key_env=options.sentiment_key_env,
        cache=options.sentiment_cache,
        out=options.sentiment_out,
    )
