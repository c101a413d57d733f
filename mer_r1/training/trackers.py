"""Trackers of experiments, told what metrics.jsonl is told: the same names, the same steps, by the first process alone.

    tensorboard   event files in the run's folder       trackio   a local database, or a Space (TRACKIO_SPACE_ID)
    wandb         wandb.ai, or offline (WANDB_MODE)     swanlab   swanlab.cn, or local (SWANLAB_MODE)

Whoever is not named here (mlflow, comet_ml …) is served by transformers' own callbacks, which write `train/` before
each name. A run has a name and an id of its own in every tracker: FOLDER-ID, kept in the run's trackers.json, so that a
resumed run goes on there. Where it goes back behind its last lines the steps between are reported again, with the same
numbers. Accounts, projects and modes are the trackers' own settings and environment variables; the project is
`mer-r1` unless those say otherwise. Nothing is imported before it is asked for.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from mer_r1.data.files import write_json
from mer_r1.errors import InputError, first_line

PROJECT = "mer-r1"


class Tracker(Protocol):
    """One open tracker."""

    def log(self, numbers: Mapping[str, float], step: int) -> None:
        """Report the numbers of a line of metrics.jsonl."""

    def finish(self, *, failed: bool) -> None:
        """Close the run there."""


@dataclass(frozen=True)
class TrackedRun:
    """What a tracker is told of a run: its folder, its name and id there, its recipe, the step it goes on from."""

    folder: Path
    name: str
    id: str
    config: Mapping[str, Any]
    step: int


class _TensorBoard:
    def __init__(self, run: TrackedRun) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer: Any = SummaryWriter(
            str(run.folder / "tensorboard"), purge_step=run.step + 1 if run.step else None
        )
        self._writer.add_text("recipe", f"```json\n{json.dumps(run.config, indent=2)}\n```")

    def log(self, numbers: Mapping[str, float], step: int) -> None:
        for name, value in numbers.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def finish(self, *, failed: bool) -> None:
        self._writer.close()


class _Trackio:
    def __init__(self, run: TrackedRun) -> None:
        import trackio

        self._module: Any = trackio
        self._run: Any = trackio.init(PROJECT, name=run.name, config=dict(run.config), resume="allow", embed=False)

    def log(self, numbers: Mapping[str, float], step: int) -> None:
        self._run.log(dict(numbers), step=step)

    def finish(self, *, failed: bool) -> None:
        self._module.finish()


class _Wandb:
    def __init__(self, run: TrackedRun) -> None:
        import wandb

        project = os.environ.get("WANDB_PROJECT") or PROJECT
        self._run: Any = wandb.init(
            project=project, name=run.name, id=run.id, resume="allow", dir=str(run.folder), config=dict(run.config)
        )

    def log(self, numbers: Mapping[str, float], step: int) -> None:
        self._run.log(dict(numbers), step=step)

    def finish(self, *, failed: bool) -> None:
        self._run.finish(exit_code=int(failed))


class _SwanLab:
    def __init__(self, run: TrackedRun) -> None:
        import swanlab

        self._module: Any = swanlab
        self._run: Any = swanlab.init(
            project=os.environ.get("SWANLAB_PROJECT") or os.environ.get("SWANLAB_PROJ_NAME") or PROJECT,
            name=run.name,
            id=run.id,
            resume="allow",
            log_dir=os.environ.get("SWANLAB_LOG_DIR") or str(run.folder / "swanlog"),
            config=dict(run.config),
        )

    def log(self, numbers: Mapping[str, float], step: int) -> None:
        self._run.log(dict(numbers), step=step)

    def finish(self, *, failed: bool) -> None:
        self._module.finish(state="crashed" if failed else "success")


TRACKERS: dict[str, Callable[[TrackedRun], Tracker]] = {
    "tensorboard": _TensorBoard,
    "trackio": _Trackio,
    "wandb": _Wandb,
    "swanlab": _SwanLab,
}


def chosen(names: Iterable[str]) -> list[str]:
    """The trackers of TRACKERS among `names`; `all` are those that are installed."""
    names = set(names)
    return [name for name in TRACKERS if name in names or ("all" in names and find_spec(name))]


def validate_trackers(names: Iterable[str]) -> None:
    """Raises InputError for a tracker of TRACKERS whose package is not installed."""
    for name in chosen(names):
        if find_spec(name) is None:
            raise InputError(
                f"optim.report_to: {name} is not installed; install it with: pip install {name}, or take it out of the "
                "recipe"
            )


@contextmanager
def open_trackers(names: Sequence[str], folder: Path, config: Mapping[str, Any], step: int) -> Iterator[list[Tracker]]:
    """The `chosen` trackers, open within the block.

    Raises InputError for one that refuses, as for want of an account.
    """
    opened: list[Tracker] = []
    failed = True
    try:
        for name in chosen(names):
            identity = _identity(folder)
            run = TrackedRun(folder, f"{folder.resolve().name}-{identity}", identity, config, step)
            opened.append(_opened(name, run))
        yield opened
        failed = False
    finally:
        for tracker in opened:
            tracker.finish(failed=failed)


def _opened(name: str, run: TrackedRun) -> Tracker:
    try:
        return TRACKERS[name](run)
    except Exception as error:
        raise InputError(f"optim.report_to: {name} cannot be used ({first_line(error)})") from error


def _identity(folder: Path) -> str:
    """The id of a run in its trackers, made once."""
    path = folder / "trackers.json"
    try:
        return str(json.loads(path.read_text(encoding="utf-8"))["id"])
    except (OSError, ValueError, KeyError, TypeError):
        identity = secrets.token_hex(4)
        write_json(path, {"id": identity})
        return identity
