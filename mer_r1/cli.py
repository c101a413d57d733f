"""The command `mer-r1`: parses, calls one verb, ends with a status.

Status 0: done. 1: done, and the answer is no (an unknown word). 2: a wrong input, said in one line on standard error.
130: stopped by Ctrl-C.
"""

from __future__ import annotations

import argparse
import errno
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from mer_r1 import __version__
from mer_r1.errors import InputError

Command = Callable[[argparse.Namespace], int]
EXTRAS = {
    "torch": "train",
    "torchvision": "train",
    "transformers": "train",
    "accelerate": "train",
    "safetensors": "train",
    "peft": "train",
    "matplotlib": "report",
    "jinja2": "report",
    "httpx": "judge",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit status."""
    parsed = _parser().parse_args(arguments)
    command: Command = parsed.command
    try:
        return command(parsed)
    except InputError as error:
        return _fault(str(error))
    except ModuleNotFoundError as error:
        extra = EXTRAS.get((error.name or "").partition(".")[0])
        if extra is None:
            raise
        return _fault(f"{error.name} is not installed; install it with: pip install 'mer-r1[{extra}]'")
    except KeyboardInterrupt:
        goes_on = getattr(parsed, "goes_on", False)
        print(f"mer-r1: stopped{'; the same command goes on' if goes_on else ''}", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:
        return _os_fault(error)


def _fault(message: str) -> int:
    line = "".join(character if character.isprintable() else " " for character in message)
    print(f"mer-r1: error: {line}", file=sys.stderr)
    return 2


class _Parser(argparse.ArgumentParser):
    """Says a wrong command line in one line, as every other wrong input is said."""

    def error(self, message: str) -> NoReturn:
        self.exit(_fault(f"{message}; see {self.prog} --help"))


def _os_fault(error: OSError) -> int:
    name = error.filename2 or error.filename  # of a rename, where it leads
    place = f"{name}: " if name else ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return _fault(f"{place}no space left on the disk; free some and run the same command again")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return _fault(f"{place}may not be written or read; give another folder or change its permissions")
    if error.errno in (errno.ENOTDIR, errno.EISDIR, errno.ENOENT, errno.EEXIST, errno.ENAMETOOLONG):
        return _fault(f"{place}{error.strerror}; give another path")
    raise error


def _parser() -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = _Parser(
        prog="mer-r1", description="Reasoning models that read human emotion from video, voice and words."
    )
    parser.add_argument("--version", action="version", version=f"mer-r1 {__version__}")
    verbs = parser.add_subparsers(required=True, metavar="VERB")
    for add in (_quickstart, _synth, _check, _train, _sweep, _merge, _predict, _score, _diagnose, _report, _wheels):
        add(verbs)
    return parser


def _verb(verbs: argparse._SubParsersAction[argparse.ArgumentParser], name: str, text: str) -> argparse.ArgumentParser:
    return verbs.add_parser(name, help=text, description=text)


def _add_wheel_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--wheels", default="builtin", help="builtin (default), official, mer2026, or a folder")
    _add_protocol_option(parser)


def _add_protocol_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--protocol", choices=("official", "corrected"), default="official")


def _quickstart(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = _verb(verbs, "quickstart", "The whole job on one laptop: clips, SFT, RL twice, scores, a page.")
    parser.add_argument("--fast", action="store_true", help="a one-minute smoke run; its numbers mean nothing")
    parser.add_argument("--out", type=Path, help="folder of the run (default runs/quickstart, or runs/quickstart-fast)")
    parser.add_argument("--seed", type=int, default=0)

    def command(options: argparse.Namespace) -> int:
        from mer_r1.verbs import quickstart

        out = options.out or Path("runs/quickstart-fast" if options.fast else "runs/quickstart")
        quickstart.run(out, options.fast, options.seed)
        return 0

    parser.set_defaults(command=command, goes_on=True)


def _synth(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = _verb(verbs, "synth", "Make the MiniMER corpus: mp4 clips with known emotions, and manifests.")
    parser.add_argument("out", type=Path, metavar="OUT")
    parser.add_argument("--num", type=int, default=800, help="clips in all splits together (default 800)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=1.0, help="length of a clip, 0.5 to 60 (default 1)")
    parser.add_argument("--workers", type=int, default=min(os.cpu_count() or 1, 8))

    def command(options: argparse.Namespace) -> int:
        from mer_r1.verbs import synth

        return synth.run(options.out, options.num, options.seed, options.seconds, options.workers)

    parser.set_defaults(command=command)


def _check(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = _verb(verbs, "check", "Prove a manifest sound before anything trains: media readable, gold scores 1.0.")
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--limit", type=int, help="decode the media of the first rows only")
    _add_wheel_options(parser)

    def command(options: argparse.Namespace) -> int:
        from mer_r1.verbs import check

        return check.run(options.manifest, options.limit, options.wheels, protocol=options.protocol)

    parser.set_defaults(command=command)


def _train(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = _verb(verbs, "train", "Train by a recipe (SFT or RL); the same command goes on with a stopped run.")
    parser.add_argument("recipe", help="a .yaml file, or the name of one that comes with the package")
    parser.add_argument("overrides", nargs="*", metavar="section.key=value")
    parser.add_argument("--out", type=Path, help="folder of the run (default runs/<recipe>)")
    parser.add_argument("--dry-run", action="store_true", help="print the resolved recipe and what it will cost only")
    parser.add_argument("--gpu", default="h100", help="dry run: h100, h200, a100-80, a100-40, l40s or rtx4090")
    parser.add_argument("--gpus", type=int, metavar="N", help="dry run: how many of them (default 8; with LoRA 1)")
    parser.add_argument(
        "--answer-tokens", type=int, default=256, metavar="N", help="dry run: expected length of answers"
    )

    def command(options: argparse.Namespace) -> int:
        from mer_r1.recipe import read_recipe

        recipe = read_recipe(options.recipe, options.overrides)
        if options.dry_run:
            from mer_r1.verbs.dry_run import dry_run

            return dry_run(recipe, options.gpu, options.gpus, options.answer_tokens)
        from mer_r1.verbs import train

        return train.run_shown(recipe, options.out or Path("runs") / Path(options.recipe).stem)

    parser.set_defaults(command=command, goes_on=True)


def _sweep(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = _verb(verbs, "sweep", "One recipe with one key varied over several seeds: trained, scored, side by side.")
    parser.add_argument("recipe", help="as for train")
    parser.add_argument("overrides", nargs="*", metavar="section.key=value")
    parser.add_argument("--vary", required=True, metavar="KEY=A,B,…", help="such as rl.objective=baseline,mer_r1")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], metavar="N")
    parser.add_argument("--test", type=Path, required=True, help="manifest of the clips to be asked about")
    parser.add_argument("--max-new-tokens", type=int, default=64)
    parser.add_argument("--out", type=Path, required=True)

    def command(options: argparse.Namespace) -> int:
        from mer_r1.verbs import sweep

        varied = (options.vary, options.seeds, options.test, options.out)
        sweep.run(options.recipe, *varied, options.overrides, options.max_new_tokens)
        return 0

    parser.set_defaults(command=command, goes_on=True)


def _merge(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = _verb(verbs, "merge", "A LoRA run's adapter and its base as one plain checkpoint.")
    parser.add_argument("run", type=Path, metavar="RUN")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")

    def command(options: argparse.Namespace) -> int:
        from mer_r1.verbs import merge

        return merge.run(options.run, options.out)

    parser.set_defaults(command=command)


def _predict(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = _verb(verbs, "predict", "Emotions of any clip, fast and slow, with reasoning and confidence.")
    parser.add_argument("clips", nargs="*", type=Path, metavar="CLIP", help="video, sound or picture files")
    parser.add_argument("--subtitle", help="the words spoken in the clips; alone, without CLIP, it is all there is")
    parser.add_argument("--manifest", type=Path, help="predict every row of a manifest into --out instead")
    parser.add_argument("--out", type=Path, help="predictions file of --manifest (JSON lines, appended to)")
    parser.add_argument("--mode", choices=("fast", "slow", "both"), default="both")
    parser.add_argument("--model", default="runs/quickstart/mer_r1", help="a run, a checkpoint's folder or a Hub id")
    parser.add_argument("--max-new-tokens", type=int, default=1024)
    parser.add_argument("--json", action="store_true", help="print JSON lines")

    def command(options: argparse.Namespace) -> int:
        from mer_r1.verbs import predict

        return predict.run(
            options.clips,
            subtitle=options.subtitle,
            manifest=options.manifest,
            out=options.out,
            modes=("fast", "slow") if options.mode == "both" else (options.mode,),
            source=options.model,
            max_new_tokens=options.max_new_tokens,
            json_lines=options.json,
        )

    parser.set_defaults(command=command)


def _score(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = _verb(verbs, "score", "MER-UniBench's numbers of a predictions file: F1 over emotion wheels, HIT, WAF.")
    parser.add_argument("--gold", type=Path, required=True)
    files = parser.add_mutually_exclusive_group(required=True)
    files.add_argument("--pred", type=Path, help="the predictions to score")
    files.add_argument("--compare", type=Path, nargs=2, metavar=("A", "B"), help="two of them, and B minus A")
    _add_wheel_options(parser)
    parser.add_argument("--task", choices=("auto", "open-vocabulary", "basic", "sentiment"), default="auto")
    parser.add_argument("--mode", help="score this mode only")
    parser.add_argument("--strict", action="store_true", help="malformed and missing rows are errors, not counts")
    _add_sentiment_options(parser)
    parser.add_argument("--json", type=Path, metavar="OUT", help="write the numbers there too")
    parser.set_defaults(command=_run_score)


def _run_score(options: argparse.Namespace) -> int:
    from mer_r1.verbs import score
    from mer_r1.verbs.sentiment import SentimentChoice

    choice = SentimentChoice(
        backend=options.sentiment,
        url=options.sentiment_url,
        model=options.sentiment_model,
        key_env=options.sentiment_key_env,
        cache=options.sentiment_cache,
        out=options.sentiment_out,
    )
    settings = score.Settings(
        wheels=options.wheels,
        protocol=options.protocol,
        task=options.task,
        strict=options.strict,
        mode=options.mode,
        sentiment=choice,
    )
    if options.compare:
        first, second = options.compare
        score.run_compare(options.gold, first, second, settings, options.json)
    else:
        score.run(options.gold, options.pred, settings, options.json)
    return 0


def _add_sentiment_options(parser: argparse.ArgumentParser) -> None:
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


def _diagnose(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = _verb(verbs, "diagnose", "The thinking paradox measured: fast against slow on the same clips.")
    parser.add_argument(
        "what", nargs="?", choices=("theory",), help="theory: the paper's propositions on sampled groups"
    )
    parser.add_argument("--gold", type=Path)
    parser.add_argument("--pred", type=Path, help="predictions of both modes")
    _add_wheel_options(parser)
    parser.add_argument("--json", type=Path, metavar="OUT", help="write the numbers there too")
    parser.add_argument("--groups", type=int, default=1000, metavar="N", help="theory: sampled groups of each family")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="theory: draw them, .svg or .png")

    def command(options: argparse.Namespace) -> int:
        if options.what == "theory":
            from mer_r1.verbs import theory

            theory.run(options.groups, options.json, options.plot)
            return 0
        if options.gold is None or options.pred is None:
            raise InputError("diagnose: --gold and --pred are needed; or ask for `mer-r1 diagnose theory`")
        from mer_r1.verbs import diagnose

        diagnose.run(options.gold, options.pred, options.wheels, options.json, protocol=options.protocol)
        return 0

    parser.set_defaults(command=command)


def _report(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = _verb(verbs, "report", "One offline HTML page of a finished run.")
    parser.add_argument("run", type=Path, help="a folder made by quickstart")
    parser.add_argument("--out", type=Path, help="the page (default RUN/report.html)")

    def command(options: argparse.Namespace) -> int:
        from mer_r1.verbs import report

        print(report.run(options.run, options.out))
        return 0

    parser.set_defaults(command=command)


def _wheels(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = _verb(verbs, "wheels", "Emotion words and where they stand in the five wheels.")
    kinds = parser.add_subparsers(required=True, metavar="{show,compare,tokens,download}")
    shown = _verb(kinds, "show", "The category of each word in every wheel, and the way there.")
    shown.add_argument("words", nargs="+", metavar="WORD")
    _add_wheel_options(shown)
    compared = _verb(kinds, "compare", "The words that two sources of wheels map differently.")
    compared.add_argument("a", metavar="A", help="builtin, official, mer2026, or a folder")
    compared.add_argument("b", metavar="B", help="the same")
    compared.add_argument("--limit", type=int, default=50, metavar="N", help="print the first N words (default 50)")
    compared.add_argument("--json", type=Path, metavar="OUT", help="write all of them there")
    _add_protocol_option(compared)
    for kind in (shown, compared):
        kind.add_argument("--level", type=int, choices=(1, 2), default=1, help="2: the middle ring (default 1)")
    counted = _verb(kinds, "tokens", "With which tokens of a model's vocabulary words open, and which are shared.")
    counted.add_argument("--model", required=True, help="a tokenizer's or a run's folder, a Hub id, or tiny")
    _add_wheel_options(counted)
    counted.add_argument("--out", type=Path, metavar="FILE", help="write every shared token there, as JSON")
    fetched = _verb(kinds, "download", "Fetch the published tables, each checked against its known hash.")
    fetched.add_argument("names", nargs="*", metavar="official|mer2026", help="which (default both)")
    fetched.add_argument("--to", type=Path, metavar="DIR", help="into DIR/official, DIR/mer2026 (default: the cache)")

    def command(options: argparse.Namespace) -> int:
        from mer_r1.verbs import wheels

        return wheels.show(options.words, options.wheels, options.protocol, options.level)

    def compare(options: argparse.Namespace) -> int:
        from mer_r1.verbs import wheels

        choices = {"protocol": options.protocol, "level": options.level, "limit": options.limit, "out": options.json}
        return wheels.show_comparison(options.a, options.b, **choices)

    def download(options: argparse.Namespace) -> int:
        from mer_r1.verbs import wheels

        return wheels.download(options.names, options.to)

    def tokens(options: argparse.Namespace) -> int:
        from mer_r1.verbs import wheel_tokens

        return wheel_tokens.run(options.model, options.wheels, options.protocol, options.out)

    counted.set_defaults(command=tokens)
    shown.set_defaults(command=command)
    compared.set_defaults(command=compare)
    fetched.set_defaults(command=download)
