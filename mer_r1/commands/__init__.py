"""The command `mer-r1`: parses, calls one verb, ends with a status.

Status 0: done. 1: done, and the answer is no (an unknown word, a manifest that is not sound, answers that are missing).
2: a wrong input, said in one line on standard error. 130: stopped by Ctrl-C.
"""

from __future__ import annotations

import argparse
import errno
import os
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from mer_r1 import __version__
from mer_r1.commands import benchmark, data, evaluation, judge, looking, training
from mer_r1.errors import InputError

Command = Callable[[argparse.Namespace], int]
VERBS = (
    training.quickstart,
    data.synth,
    data.prepare,
    data.check,
    training.train,
    training.sweep,
    training.merge,
    evaluation.predict,
    evaluation.score,
    benchmark.benchmark,
    judge.judge,
    looking.diagnose,
    looking.report,
    data.wheels,
)
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
        resumable = getattr(parsed, "resumable", False)
        print(f"mer-r1: stopped{'; the same command goes on' if resumable else ''}", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:
        return _os_error(error)


def _fault(message: str) -> int:
    line = "".join(character if character.isprintable() else " " for character in message)
    print(f"mer-r1: error: {line}", file=sys.stderr)
    return 2


class _Parser(argparse.ArgumentParser):
    """Says a wrong command line in one line, as every other wrong input is said."""

    def error(self, message: str) -> NoReturn:
        self.exit(_fault(f"{message}; see {self.prog} --help"))


def _os_error(error: OSError) -> int:
    name = error.filename2 or error.filename  # of a rename, where it leads
    index = f"{name}: " if name else ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return _fault(f"{index}no space left on the disk; free some and run the same command again")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return _fault(f"{index}may not be written or read; give another folder or change its permissions")
    if error.errno in (errno.ENOTDIR, errno.EISDIR, errno.ENOENT, errno.EEXIST, errno.ENAMETOOLONG):
        return _fault(f"{index}{error.strerror}; give another path")
    raise error


def _parser() -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = _Parser(
        prog="mer-r1", description="Reasoning models that read human emotion from video, voice and words."
    )
    parser.add_argument("--version", action="version", version=f"mer-r1 {__version__}")
    verbs = parser.add_subparsers(required=True, metavar="VERB")
    for add in VERBS:
        add(verbs)
    return parser
