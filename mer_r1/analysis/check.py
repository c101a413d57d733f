"""A manifest validated before anything trains on it.

Every row is read, every medium decoded under the budget in processes of their own (media/validate.py), and the gold
answer of every row written out, parsed and scored by the functions that training uses: it must score 1.0. All problems
are listed, not only the first. For a stage (sft, rl, benchmark: analysis/stages.py) it is proved beforehand that the
stage can start, and counted which rows it would use.

A problem would break training: an invalid row, a medium that cannot be read, a label that does not
survive being written as an answer or is not among the row's own candidates, a row whose labels are all unknown to the
wheels, a row without labels or valence in a manifest of labelled rows. For a stage the last two are counted as what
the stage makes of them, and what stops the stage is a problem.

A notice (counted, with its lines) is worth a look: clips without sound, odd lengths, videos that stand still
or are black, silence, the same file or content in several rows, rows without subtitle, characters that were mended or
look odd, rows that are only "neutral" where the wheels have no such category, repeated or unknown labels, rows of
MME-Emotion (a judge scores those, not the wheels).
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import isnan
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from mer_r1.analysis.stages import Needs, Stage, StageRows, is_judged, rows_of_stage
from mer_r1.benchmarks.mme_emotion.questions import TITLE
from mer_r1.data.characters import oddities
from mer_r1.data.manifest import ManifestScan, as_list, scan_manifest
from mer_r1.data.sample import Sample
from mer_r1.emotion.wheel import load_wheels
from mer_r1.errors import InputError
from mer_r1.metrics.rewards import score_response
from mer_r1.metrics.signature import wheels_part
from mer_r1.prompting.response import parse_response
from mer_r1.text import printable
from mer_r1.threads import num_workers

if TYPE_CHECKING:
    from mer_r1.emotion.wheel import WheelSet
    from mer_r1.media import MediaBudget

NEUTRAL = "neutral"
PERFECT = 1.0
LONG = 10  # times the median length
UNUSED: dict[Stage, str] = {
    "sft": "rows that SFT cannot learn",
    "rl": "rows that RL drops (data.uncountable)",
    "benchmark": "rows that no metric scores",
}


@dataclass
class Findings:
    """What a check found: problems in words, the lines of each notice, unknown labels and how often each stands.

    `num_rows` counts the valid rows, `num_invalid` the others, behind which the file may go on (`is_whole` False).
    `faulty` are the lines of valid rows with a problem. `stages` are the rows of each stage that was asked for.
    """

    manifest: str = ""
    num_rows: int = 0
    num_invalid: int = 0
    is_whole: bool = True
    wheels: str = ""
    problems: list[str] = field(default_factory=list)
    faulty: set[int] = field(default_factory=set)
    notices: defaultdict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    unmapped_labels: Counter[str] = field(default_factory=Counter)
    num_read: int = 0
    frames: int = 0
    sound_s: float = 0.0
    stages: dict[Stage, StageRows] = field(default_factory=dict)

    @property
    def num_with_problems(self) -> int:
        """The rows that have a problem of their own."""
        return self.num_invalid + len(self.faulty)

    @property
    def num_in_file(self) -> int:
        """The rows of the file, as far as it was read."""
        return self.num_rows + self.num_invalid

    def is_ready(self, stage: Stage) -> bool:
        """Whether nothing that was found would stop this stage, which was asked for."""
        of_stages = {problem for rows in self.stages.values() for problem in rows.problems}
        return not self.stages[stage].problems and of_stages.issuperset(self.problems)

    def add_problem(self, line: int, problem: str) -> None:
        """A problem, in words, of the valid row of this line."""
        self.problems.append(problem)
        self.faulty.add(line)

    def as_json(self) -> dict[str, Any]:
        """All of it, every line of every notice, as `mer-r1 check --json` writes it."""
        dropped = self.stages["rl"].uncountable if "rl" in self.stages else None
        return {
            "manifest": self.manifest,
            "sound": not self.problems,
            "rows": self.num_rows,
            "rows_with_problems": self.num_with_problems,
            "rows_in_file": self.num_in_file,
            "stages": {
                name: {"ready": self.is_ready(name), **rows.as_json(self.faulty, self.num_in_file)}
                for name, rows in self.stages.items()
            },
            "decoded": self.num_read,
            "frames": self.frames,
            "sound_s": round(self.sound_s, 3),
            "problems": self.problems,
            "notices": {notice: sorted(lines) for notice, lines in sorted(self.notices.items()) if lines},
            "unmapped_labels": dict(self.unmapped_labels.most_common()),
            "uncountable": dropped.as_json() if dropped else None,
            "wheels": self.wheels,
        }


def check_manifest(
    manifest: Path,
    limit: int | None = None,
    wheels: str | WheelSet = "builtin",
    budget: MediaBudget | None = None,
    *,
    stages: Sequence[Stage] = (),
    needs: Needs | None = None,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
    before_media: Callable[[Findings], None] | None = None,
) -> Findings:
    """Everything that is found in a manifest.

    `limit` decodes the media of the first rows only; rows and labels are all checked. For each of `stages`, with the
    `needs` of its recipe, the rows that it would use are counted in `stages`. `workers` processes decode, by default
    one a core and at most eight. `before_media` is called with what the rows alone showed, before the first medium is
    decoded; `progress` with rows decoded and rows to decode. Raises InputError for unknown wheels, a limit or workers
    below 1, or a manifest that cannot be opened.
    """
    for option, value in (("--limit", limit), ("--workers", workers)):
        if value is not None and value < 1:
            raise InputError(f"{option} is {value}; give 1 or more, or leave it out")
    if manifest.is_dir():
        raise InputError(f"{manifest}: is a directory; give the path of a manifest (JSON lines)")
    if not manifest.is_file():
        raise InputError(f"{manifest}: no such file; give the path of a manifest (JSON lines)")
    if not os.access(manifest, os.R_OK):
        raise InputError(f"{manifest}: may not be read; change its permissions")
    table = load_wheels(wheels)
    scan = scan_manifest(manifest)
    found = Findings(
        manifest.name, len(scan.samples), scan.num_invalid, scan.is_whole, wheels_part(table.source, table.sha256)
    )
    found.problems += scan.problems
    for stage in stages:
        found.stages[stage] = rows = rows_of_stage(stage, manifest, scan, table, needs)
        found.problems += rows.problems
        for reason, lines in rows.unused.items():
            found.notices[f"{UNUSED[stage]}: {reason}"] += sorted(lines)
    check_labels(manifest, scan, table, found)
    check_rows(scan, found)
    if before_media is not None:
        before_media(found)
    check_media(manifest, scan, limit, budget, workers or num_workers(), found, progress)
    return found


def check_labels(manifest: Path, scan: ManifestScan, wheels: WheelSet, found: Findings) -> None:
    """The gold answer of every row against itself."""
    labelled = any(sample.labels for sample in scan.samples)
    for number, sample in zip(scan.lines, scan.samples, strict=True):
        errors = list(gold_errors(sample, wheels, found, number))
        if labelled and not sample.labels and sample.valence is None and not found.stages:
            errors.append("no labels, which other rows have, so that nothing is learned here; add them, or a valence")
        for error in errors:
            found.add_problem(number, f"{manifest}:{number}: {error}")


def gold_errors(sample: Sample, wheels: WheelSet, found: Findings, line: int) -> Iterator[str]:
    """What keeps the gold answer of a sample from scoring 1.0; notices are counted into `found` on the way."""
    if not sample.labels:
        found.notices["rows without labels"].append(line)
        return
    words = [label.lower().strip() for label in sample.labels]
    if len(set(words)) < len(words):
        found.notices["rows that repeat a label"].append(line)
    candidates = {candidate.lower().strip() for candidate in sample.candidates}
    if candidates and (foreign := [word for word in words if word not in candidates]):
        yield f"labels {printable(foreign)} are not among its candidates; add them there, or correct the labels"
    if is_judged(sample):
        found.notices[f"rows of {TITLE}, whose answers a judge scores and no wheel"].append(line)
        return
    unmapped = [word for word in dict.fromkeys(words) if not wheels.reaches(word)]
    found.unmapped_labels.update(unmapped)
    response = parse_response(f"<think>gold</think><answer>{', '.join(sample.labels)}</answer>")
    if set(response.labels) != set(words):
        yield (
            f"labels {printable(list(sample.labels))} are read back from an answer as "
            f"{printable(list(response.labels))}; {as_list('labels', list(sample.labels))}"
        )
        return
    rewards = score_response(response, sample.labels, wheels)
    if sample.candidates and isnan(rewards.f1) and len(words) == 1:
        return  # named by the hard match, which needs no wheel
    if isnan(rewards.f1):
        if set(words) == {NEUTRAL}:
            found.notices[f'rows that are only "{NEUTRAL}", which these wheels do not score'].append(line)
        elif not found.stages:
            labels = printable(list(sample.labels))
            yield f"labels {labels} reach no category of any wheel; look them up with `mer-r1 wheels show WORD`"
    elif (rewards.recall, rewards.precision, rewards.f1, rewards.format) != (PERFECT,) * 4:
        yield f"the gold answer scores {rewards} against itself; look its labels up with `mer-r1 wheels show WORD`"


def check_rows(scan: ManifestScan, found: Findings) -> None:
    """Rows without subtitle, rows of text alone, odd characters, and media that several rows use."""
    from mer_r1.media.validate import media_of

    found.notices["rows with characters of another encoding, mended on reading"] += scan.mended
    users: defaultdict[Path, list[int]] = defaultdict(list)
    for line, sample in zip(scan.lines, scan.samples, strict=True):
        if sample.subtitle is None or not sample.subtitle.strip():
            found.notices["rows without subtitle"].append(line)
        words = (sample.subtitle or "", sample.reasoning or "", *sample.labels, *sample.candidates)
        for oddity in oddities("\n".join(words)):
            found.notices[f"rows whose text has {oddity}"].append(line)
        media = media_of(sample)
        if not media:
            found.notices["rows of text alone"].append(line)
        for medium in media:
            users[medium].append(line)
    shared = {line for lines in users.values() if len(lines) > 1 for line in lines}
    found.notices["rows that share a file with another row"] += sorted(shared)


def check_media(
    manifest: Path,
    scan: ManifestScan,
    limit: int | None,
    budget: MediaBudget | None,
    workers: int,
    found: Findings,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Decode every medium of the first `limit` valid rows."""
    from mer_r1.media import MediaBudget
    from mer_r1.media.validate import inspect_rows, media_rows

    rows = media_rows(scan.lines[:limit], scan.samples[:limit])
    errors: list[tuple[int, str]] = []
    lengths: list[tuple[int, float]] = []
    content: defaultdict[str, defaultdict[Path, list[int]]] = defaultdict(lambda: defaultdict(list))
    for done, seen in enumerate(inspect_rows(rows, budget or MediaBudget(), workers), 1):
        if progress is not None:
            progress(done, len(rows))
        if seen.error is not None:
            errors.append((seen.line, seen.error))
            continue
        found.num_read += 1
        found.frames += seen.num_frames
        found.sound_s += seen.sound_s
        for remark in seen.remarks:
            found.notices[remark].append(seen.line)
        if seen.length_s is not None:
            lengths.append((seen.line, seen.length_s))
        for path, digest in seen.digests:
            content[digest][path].append(seen.line)
    for line, error in sorted(errors):
        found.add_problem(line, f"{manifest}:{line}: {error}")
    _compare(lengths, content.values(), found)


def _compare(
    lengths: Sequence[tuple[int, float]], content: Iterable[Mapping[Path, list[int]]], found: Findings
) -> None:
    """What shows only beside other rows: an odd length, the same content under another name."""
    usual_s = median(seconds for _, seconds in lengths) if lengths else 0.0
    found.notices[f"clips over {LONG} times the median length"] += [
        line for line, seconds in lengths if seconds > LONG * usual_s
    ]
    same = {line for files in content if len(files) > 1 for lines in files.values() for line in lines}
    found.notices["rows with the content of another file"] += sorted(same)
