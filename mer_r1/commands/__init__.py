"""The command `mer-r1`: parses, calls one command, ends with a status.

Status 0: done. 1: done, and the answer is no (an unknown word, a manifest with problems, answers that failed or are
missing). 2: a wrong input, named in one line on standard error. 130: stopped by Ctrl-C.
"""

from __future__ import annotations

import argparse
import difflib
import errno
import os
import re
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

from mer_r1.commands import (
    benchmark,
    check,
    demo,
    diagnose,
    export,
    export_data,
    judge,
    predict,
    prepare,
    push,
    quickstart,
    report,
    score,
    split,
    sweep,
    synth,
    train,
    wheels,
)
from mer_r1.commands.help import Help
from mer_r1.commands.options import KINDS
from mer_r1.distributed import LAUNCHED, report_error
from mer_r1.errors import InputError
from mer_r1.threads import choose_threads
from mer_r1.version import __version__

COMMANDS = (
    quickstart,
    synth,
    prepare,
    split,
    check,
    train,
    sweep,
    export,
    export_data,
    predict,
    demo,
    score,
    benchmark,
    judge,
    diagnose,
    report,
    push,
    wheels,
)
"""In the order of the help; `add` of each adds its parser."""
EXTRAS = {
    "torch": "train",
    "torchvision": "train",
    "transformers": "train",
    "accelerate": "train",
    "safetensors": "train",
    "peft": "train",
    "huggingface_hub": "train",
    "matplotlib": "report",
    "jinja2": "report",
    "httpx": "judge",
    "datasets": "data",
    "pyarrow": "data",
    "gradio": "demo",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit status."""
    parsed = _parser().parse_args(arguments)
    try:
        choose_threads()
        status: int = parsed.command(parsed)
        return status
    except InputError as error:
        return _error(str(error))
    except ModuleNotFoundError as error:
        extra = EXTRAS.get((error.name or "").partition(".")[0])
        if extra is None:
            raise
        return _error(f"{error.name} is not installed; install it with: pip install 'mer-r1[{extra}]'")
    except KeyboardInterrupt:
        resumable = getattr(parsed, "resumable", False)
        if LAUNCHED not in os.environ:  # else the command that launched this says so
            print(f"mer-r1: stopped{'; run the same command again to resume' if resumable else ''}", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:
        return _os_error(error)


def _error(message: str) -> int:
    line = "".join(character if character.isprintable() else " " for character in message)
    if not report_error(line):
        print(f"mer-r1: error: {line}", file=sys.stderr)
    return 2


_OVERRIDE = re.compile(r"[A-Za-z_]\w*(\.\w+)*=")


class _Parser(argparse.ArgumentParser):
    """Takes options and arguments in any order, "~" as the user's folder, and reports a wrong line in one line."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"formatter_class": Help, **kwargs})
        self.register("type", None, os.path.expanduser)  # of what is a text or a path: a shell leaves --out=~/x alone
        self.register("type", Path, lambda text: Path(os.path.expanduser(text)))

    def error(self, message: str) -> NoReturn:
        self.exit(_error(f"{message}; see {self.prog} --help"))

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Overrides stand anywhere, other lists of arguments go on after an option, where argparse ends them."""
        args = sys.argv[1:] if args is None else args
        if kind := self._kind(args):
            return kind.parse_known_args(args[1:], namespace)
        args, overrides = self._without_overrides(args)
        parsed, rest = super().parse_known_args(args, namespace)
        if unknown := next((argument for argument in rest if argument.startswith("-") and argument != "--"), None):
            self.error(f"{unknown.partition('=')[0]}: no such option{self._meant(unknown)}")
        lists = [action for action in self._get_positional_actions() if action.nargs in ("*", "+")]
        more = [argument for argument in rest if argument != "--"]
        if lists and more:
            values = self._get_values(lists[-1], more)
            setattr(parsed, lists[-1].dest, [*getattr(parsed, lists[-1].dest), *values])
            more = []
        if overrides:
            parsed.overrides = [*parsed.overrides, *overrides]
        return parsed, more

    def _kind(self, args: Sequence[str]) -> argparse.ArgumentParser | None:
        """The parser of the kind of this command that stands first (options.add_kind); None where none does."""
        return self._registry_get(KINDS, args[0]) if args and KINDS in self._registries else None

    def _without_overrides(self, args: Sequence[str]) -> tuple[list[str], list[str]]:
        """The arguments, and the overrides among them: KEY=VALUE that is not the value of the option before it."""
        left: list[str] = []
        overrides: list[str] = []
        takes = any(action.dest == "overrides" for action in self._actions)
        for argument in args:
            before = left[-1] if left and left[-1].startswith("--") else " "
            options = [action for name, action in self._option_string_actions.items() if name.startswith(before)]
            is_value = any(action.nargs is None for action in options)
            (overrides if takes and not is_value and _OVERRIDE.match(argument) else left).append(argument)
        return left, overrides

    def _meant(self, unknown: str) -> str:
        """What an unknown option was probably meant to be."""
        name = unknown.partition("=")[0]
        if "." in name:
            return f"; an override is written without dashes, {name.lstrip('-')}=VALUE"
        close = difflib.get_close_matches(name, self._option_string_actions, n=1)
        return f"; did you mean {close[0]}?" if close else ""


def _os_error(error: OSError) -> int:
    name = error.filename2 or error.filename  # of a rename, where it leads
    index = f"{name}: " if name else ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return _error(f"{index}no space left on the disk; free some and run the same command again")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return _error(f"{index}may not be written or read; give another folder or change its permissions")
    if error.errno in (errno.ENOTDIR, errno.EISDIR, errno.ENOENT, errno.EEXIST, errno.ENAMETOOLONG):
        return _error(f"{index}{error.strerror}; give another path")
    raise error


@cache
def _parser() -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = _Parser(
        prog="mer-r1", description="Reasoning models that read human emotion from video, voice and words."
    )
    parser.add_argument("--version", action="version", version=f"mer-r1 {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", title="commands")
    for command in COMMANDS:
        command.add(commands)
    return parser
