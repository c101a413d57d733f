"""`mer-r1 check`: a manifest proved sound before anything trains on it.

Every row is read, every medium decoded under the budget, and the gold answer of every row written out, parsed and
scored by the functions that training uses: it must score 1.0. All problems are listed, not only the first.

A problem (exit status 2): a faulty row, a medium that cannot be read, a label that does not survive being written as an
answer, a row whose labels are all unknown to the wheels. A notice (counted, status 0): clips without sound or subtitle,
rows without labels, rows that are only "neutral" where the wheels have no such category, single unknown labels,
repeated labels, media used by several rows.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.progress import Progress
from rich.table import Table

from mer_r1.errors import InputError
from mer_r1.manifest import ManifestScan, scan_manifest, shown
from mer_r1.metrics.corpus_score import load_wheels
from mer_r1.response import parse_response
from mer_r1.rewards import score_response
from mer_r1.sample import Clip, Sample

if TYPE_CHECKING:
    from mer_r1.emotion.wheel import WheelSet
    from mer_r1.media import MediaBudget

NEUTRAL = "neutral"
PERFECT = 1.0
NUM_SHOWN = 20


@dataclass
class Findings:
    """What a check found: problems in words, notices counted, unknown labels and how often each stands."""

    problems: list[str] = field(default_factory=list)
    notices: Counter[str] = field(default_factory=Counter)
    unmapped_labels: Counter[str] = field(default_factory=Counter)
    num_read: int = 0
    frames: int = 0
    sound_s: float = 0.0


def run(
    manifest: Path,
    limit: int | None = None,
    wheels: str = "builtin",
    budget: MediaBudget | None = None,
    *,
    protocol: str = "official",
) -> int:
    """Check a manifest and print what was found; 0 when sound, 2 with problems.

    `limit` decodes the media of the first rows only; rows and labels are all checked. Raises InputError for unknown
    wheels, a limit below 1 or a manifest that cannot be opened.
    """
    if limit is not None and limit < 1:
        raise InputError(f"--limit is {limit}; give a number of rows from 1, or leave it out to decode all")
    if not manifest.is_file():
        raise InputError(f"{manifest}: no such file; give the path of a manifest (JSON lines)")
    table = load_wheels(wheels, protocol)
    console = Console()
    scan = scan_manifest(manifest)
    found = Findings(problems=list(scan.problems))
    check_labels(manifest, scan, table, found)
    check_media_use(scan.samples, found)
    check_media(manifest, scan, limit, budget, found, console)
    _print(manifest, scan, table, found, console)
    return 2 if found.problems else 0


def check_labels(manifest: Path, scan: ManifestScan, wheels: WheelSet, found: Findings) -> None:
    """The gold answer of every row against itself."""
    for number, sample in zip(scan.lines, scan.samples, strict=True):
        found.problems += [f"{manifest}:{number}: {fault}" for fault in gold_faults(sample, wheels, found)]


def gold_faults(sample: Sample, wheels: WheelSet, found: Findings) -> Iterator[str]:
    """What keeps the gold answer of a sample from scoring 1.0; notices are counted into `found` on the way."""
    if not sample.labels:
        found.notices["rows without labels"] += 1
        return
    words = [label.lower().strip() for label in sample.labels]
    if len(set(words)) < len(words):
        found.notices["rows that repeat a label"] += 1
    unmapped = [word for word in dict.fromkeys(words) if not wheels.reaches(word)]
    found.unmapped_labels.update(unmapped)
    response = parse_response(f"<think>gold</think><answer>{', '.join(sample.labels)}</answer>")
    if set(response.labels) != set(words):
        yield (
            f"labels {shown(list(sample.labels))} are read back from an answer as {shown(list(response.labels))}; "
            "write one plain word or phrase an entry"
        )
        return
    rewards = score_response(response, sample.labels, wheels)
    if isnan(rewards.f1):
        if set(words) == {NEUTRAL}:
            found.notices[f'rows that are only "{NEUTRAL}", which these wheels do not score'] += 1
        else:
            labels = shown(list(sample.labels))
            yield f"labels {labels} reach no category of any wheel; look them up with `mer-r1 wheels show WORD`"
    elif (rewards.recall, rewards.precision, rewards.f1, rewards.format) != (PERFECT,) * 4:
        yield f"the gold answer scores {rewards} against itself; look its labels up with `mer-r1 wheels show WORD`"


def check_media_use(samples: Iterable[Sample], found: Findings) -> None:
    """Rows without subtitle, and media that several rows use."""
    users: defaultdict[Path, list[str]] = defaultdict(list)
    for sample in samples:
        if sample.subtitle is None or not sample.subtitle.strip():
            found.notices["rows without subtitle"] += 1
        for medium in {path for path in (sample.video, sample.audio, sample.image) if path is not None}:
            users[medium].append(sample.id)
    found.notices["media used by several rows"] = sum(len(rows) > 1 for rows in users.values())


def check_media(
    manifest: Path,
    scan: ManifestScan,
    limit: int | None,
    budget: MediaBudget | None,
    found: Findings,
    console: Console,
) -> None:
    """Decode every medium of the first `limit` sound rows."""
    from mer_r1.media import MediaBudget, read_clip

    budget = budget or MediaBudget()
    rows = list(zip(scan.lines, scan.samples, strict=True))[:limit]
    with Progress(console=Console(stderr=True), transient=True) as progress:
        for number, sample in progress.track(rows, description="decoding"):
            if not (sample.video or sample.audio or sample.image):
                found.notices["rows of text alone"] += 1
                continue
            try:
                clip = read_clip(sample, budget)
            except (InputError, OSError) as error:
                found.problems.append(f"{manifest}:{number}: {error}")
                continue
            _count_clip(sample, clip, found)


def _count_clip(sample: Sample, clip: Clip, found: Findings) -> None:
    found.num_read += 1
    found.frames += 0 if clip.frames_THWC is None else len(clip.frames_THWC)
    found.sound_s += clip.facts.audio_taken_s or 0.0
    if sample.video is not None and clip.waveform_N is None:
        found.notices["clips without sound"] += 1


def _print(manifest: Path, scan: ManifestScan, wheels: WheelSet, found: Findings, console: Console) -> None:
    for problem in found.problems:
        console.print(problem, markup=False, highlight=False, soft_wrap=True)
    table = Table(
        title=f"{escape(manifest.name)}: {'sound' if not found.problems else 'NOT sound'}", title_justify="left"
    )
    table.add_column("what")
    table.add_column("count", justify="right")
    table.add_row("sound rows", str(len(scan.samples)))
    table.add_row("rows whose media were decoded", str(found.num_read))
    table.add_row("frames taken", str(found.frames))
    table.add_row("seconds of sound taken", f"{found.sound_s:.1f}")
    table.add_section()
    for notice, count in sorted(found.notices.items()):
        if count:
            table.add_row(notice, str(count))
    table.add_section()
    for word, count in found.unmapped_labels.most_common(NUM_SHOWN):
        table.add_row(escape(f'label "{shown(word)}" is not in the wheels'), str(count))
    if (more := len(found.unmapped_labels) - NUM_SHOWN) > 0:
        table.add_row("further labels not in the wheels", str(more))
    table.add_section()
    table.add_row("problems", str(len(found.problems)), style="bold")
    console.print(table)
    console.print(f"wheels {wheels.source}, sha256 {wheels.sha256[:8]}", markup=False, highlight=False)
