"""What run.json and metrics.json hold, as typed records: whoever writes such a file and whoever reads it use one class.

    RunRecord       run.json of a training run or of a benchmark: what was run with what, and how far it came
    MetricsRecord   metrics.json: the scores of a benchmark by set, or those of a quickstart by system
    RolloutRecord   a line of rollouts.jsonl
    ScoreRecord     the scores of one mode on one set: its measures, their intervals, its counts and its signature

Convention: records are frozen. A key that a class does not know is kept, so a file that is read and written again loses
nothing, and only what was given is written. A number that is null, absent or not finite is None. Files of version 0.1.0
are read: its benchmarks had the status "done", and `response_format` was `profile`.
"""

from __future__ import annotations

import json
import math
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AliasChoices, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from mer_r1.data.files import write_json
from mer_r1.data.sample import Mode
from mer_r1.errors import InputError
from mer_r1.text import printable
from mer_r1.version import __version__

RUN_FILE, METRICS_FILE = "run.json", "metrics.json"

Json = dict[str, Any]
Bounds = tuple[float, float] | None


def finite(value: object) -> float | None:
    """The value as a number, or None where it is no finite one."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:  # an integer of hundreds of digits
        return None
    return number if math.isfinite(number) else None


def bounds_of(value: object) -> Bounds:
    """[low, high] as a pair, or None where one of them is missing."""
    if not isinstance(value, list | tuple) or len(value) != 2:
        return None
    low, high = map(finite, value)
    return None if low is None or high is None else (low, high)


def _count(value: object) -> int | None:
    number = finite(value)
    return None if number is None else int(number)


Number = Annotated[float | None, BeforeValidator(finite)]
Count = Annotated[int | None, BeforeValidator(_count)]


class Record(BaseModel):
    """A frozen record of a JSON object."""

    model_config = ConfigDict(frozen=True, extra="allow")

    def replace(self, **changes: Any) -> Self:
        """The record with these fields changed."""
        return self.model_copy(update=changes)

    def to_json(self) -> Json:
        """The object of the file: what was given, in the order of the fields."""
        return self.model_dump(mode="json", exclude_unset=True)

    @classmethod
    def from_json(cls, value: object, source: Path | str) -> Self:
        """The record of an object that was read from `source`. Raises InputError that names file and field."""
        try:
            return cls.model_validate(value)
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(printable(str(part)) for part in first["loc"]) or "the file"
            raise InputError(f"{source}: {field}: {first['msg']}; run it again, or remove the file") from None

    @classmethod
    def read(cls, path: Path) -> Self:
        """The record of a file; an empty one where there is no file. Raises InputError for a file that is none."""
        try:
            value = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return cls()
        except (OSError, ValueError, RecursionError):
            raise InputError(f"{path}: cannot be read as JSON; remove it or write it again") from None
        return cls.from_json(value, path)

    def write(self, path: Path) -> None:
        """Write the file, whole or not at all."""
        write_json(path, self.to_json())


class RunRecord(Record):
    """run.json. `kind` is "sft", "rl" or "benchmark"; `status` is "running" until the last file is written.

    `uncountable` holds the rule of RL for rows without countable gold, and how many it met in which manifest and why.
    """

    kind: str = ""
    benchmark: str = ""
    model: str = ""
    objective: str | None = None
    settings: dict[str, Any] = {}
    versions: dict[str, str] = {}
    architecture: str = ""
    response_format: str = Field(default="", validation_alias=AliasChoices("response_format", "profile"))
    reads: str = ""
    wheels: str = ""
    base_model: str | None = None
    license: str = ""
    rows: Count = None
    row_ids: str = ""
    uncountable: dict[str, Any] = {}
    processes: Count = None
    steps: Count = None
    status: Annotated[
        Literal["", "running", "finished"], BeforeValidator(lambda value: "finished" if value == "done" else value)
    ] = ""


class ScoreRecord(Record):
    """The scores of one mode on one set, fractions from 0 to 1; a measure that was not taken is None.

    `measure` names the headline. `failed` samples have an answer that failed (answered.py); version 0.1.0 called them
    `errors`.
    """

    task: str = ""
    measure: str = ""
    n: Count = None
    failed: Count = Field(default=None, validation_alias=AliasChoices("failed", "errors"))
    signature: str = ""
    intervals: dict[str, Any] = {}
    precision: Number = None
    recall: Number = None
    f1: Number = None
    hit: Number = None
    waf: Number = None
    accuracy: Number = None
    rec: Number = None
    rea: Number = None
    cot: Number = None
    missing: Count = None
    unanswered: Count = None
    refusals: Count = None
    misread: Count = None
    invalid: Count = None
    unjudged: Count = None

    @classmethod
    def of_report(cls, report: Json, **more: Any) -> Self:
        """What metrics.json keeps of a report of `mer-r1 score`, as JSON values, and `more` beside it."""
        kept = report | report.get("open_vocabulary", {}) | more
        return cls(**{name: kept[name] for name in ScoreRecord.model_fields if name in kept})

    def value(self, measure: str) -> float | None:
        """A measure by its name."""
        return finite(getattr(self, measure, None))

    def bounds(self, measure: str) -> Bounds:
        """The 95 % interval of a measure, or None."""
        return bounds_of(self.intervals.get(measure))


class ConstantRecord(ScoreRecord):
    """The scores of one answer given to every clip: its words."""

    words: list[str] = []


class ScoresByMode(Record):
    """The scores of one set, or of one system of a quickstart, by mode; `title` is the set's.

    `diagnosis` is that of the system (analysis/paradox.py).
    """

    title: str = ""
    fast: ScoreRecord | None = None
    slow: ScoreRecord | None = None
    diagnosis: Any = None

    @classmethod
    def of(cls, scores: Mapping[Mode, ScoreRecord], title: str = "") -> ScoresByMode:
        """The scores by mode, as one record."""
        return cls.model_validate(dict(scores) | ({"title": title} if title else {}))

    def of_mode(self, mode: Mode) -> ScoreRecord | None:
        """The scores of one mode, or None where it was not scored."""
        return self.fast if mode == "fast" else self.slow


class CorpusRecord(Record):
    """The clips of a quickstart: their seed, and how many of each part."""

    name: str = ""
    seed: Count = None
    train: Count = None
    test: Count = None


class MetricsRecord(Record):
    """metrics.json. A benchmark has `sets` and `means`, a quickstart `systems`, `corpus`, `without` and `seconds`.

    `without` maps a medium that was taken away ("nothing": none) to the scores; `constant` is the best answer that is
    the same for every clip; `seconds` maps a stage to its time. Of a benchmark, `complete` says whether every sample
    was answered, `limit` how many samples of each set were asked about, `absent` names the sets that are missing,
    `clips_not_there` counts missing clips by set, and `notes` are for the reader; `signatures` are those of the modes
    where each has its own.
    """

    title: str = ""
    benchmark: str = ""
    corpus: CorpusRecord = CorpusRecord()
    sets: dict[str, ScoresByMode] = {}
    means: dict[str, dict[str, Any]] = {}
    systems: dict[str, ScoresByMode] | None = None
    without: dict[str, ScoreRecord] | None = None
    constant: ConstantRecord | None = None
    seconds: dict[str, Number] = {}
    signature: str = ""
    signatures: dict[str, str] = {}
    complete: bool | None = None
    limit: Count = None
    absent: list[str] = []
    clips_not_there: dict[str, int] = {}
    notes: list[str] = []

    def mean(self, mode: Mode, name: str) -> ScoreRecord | None:
        """A mean over sets that has measures and intervals of its own, such as MME-Emotion's "micro"."""
        found = self.means.get(mode, {}).get(name)
        return ScoreRecord.from_json(found, f"means.{mode}.{name}") if isinstance(found, dict) else None


class RolloutRecord(Record):
    """A line of rollouts.jsonl: a sampled response, its rewards and its advantage; `step` and `id` name the group."""

    step: Any = None
    id: Any = None
    text: str = ""
    labels: tuple[str, ...] = ()
    rewards: dict[str, Number] = {}
    advantage: Number = None
    ended: Any = None


def versions(packages: Sequence[str]) -> dict[str, str]:
    """The versions of mer_r1, of Python and of those packages that are installed."""
    found = {"mer_r1": __version__, "python": platform.python_version()}
    for name in packages:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
