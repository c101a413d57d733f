"""MER-Caption+, the training set: labels, descriptions and subtitles of one folder, split for SFT and RL.

    SFT = the 5,000 clips that come first in the order of sha256("SEED:name");  RL = all others

Convention: a clip's reasoning is its description, which is plain text. MER2025 ships it, MER2026 has the same labels
without it: where its table is not there, no clip has a reasoning. The order depends on seed and name alone, so the
same seed gives the same split whatever the order of the tables, and a clip less moves one other at most.
Source: MER-R1 Section 5.1, Appendix C (5,000 random clips for SFT, the rest for RL); the tables of the two challenges.
"""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256
from pathlib import Path

from mer_r1.benchmarks.clips import Clips, find_folder, need_folder, subtitle_of
from mer_r1.benchmarks.mer_unibench.layouts import OPEN_SET, open_labels
from mer_r1.benchmarks.tables import read_table
from mer_r1.data.prepared import PreparedSet
from mer_r1.data.sample import Sample
from mer_r1.errors import InputError

NAME = "mer-caption"
TITLE = "MER-Caption+"
FOLDER, LATER_FOLDER = "mer2025-dataset", "mer2026-dataset"
DESCRIPTIONS = "track3_train_mercaptionplus.csv"
NUM = 31_327
NUM_SFT = 5_000
WHERE = "MERChallenge/MER2025 on Hugging Face, after signing its licence; academic use only, not to be passed on"


def read_caption(root: Path) -> PreparedSet:
    """All clips of MER-Caption+ by name, with labels, subtitle and, where its table is there, description.

    Raises InputError for a folder or table that is not there or cannot be read, and for a name that would lead to
    another folder.
    """
    later = find_folder(FOLDER, root) is None and find_folder(LATER_FOLDER, root)
    folder = later or need_folder(FOLDER, root, TITLE, WHERE)
    words = read_table(folder / "track2_train_mercaptionplus.csv", [OPEN_SET])
    described = (folder / DESCRIPTIONS).exists()
    descriptions = read_table(folder / DESCRIPTIONS, ["reason"]) if described else None
    subtitles = read_table(folder / "subtitle_chieng.csv", ["english"])
    clips = Clips(folder, "video", "audio", (".mp4",), needs_sound=False)
    samples: list[Sample] = []
    names = sorted(words.cells)
    for name in names:
        reasoning = descriptions and descriptions.cells.get(name, {}).get("reason", "").strip()
        if descriptions and not reasoning:
            clips.add_missing_row(name, descriptions)
        elif media := clips.find(name):
            samples.append(
                Sample(
                    id=name,
                    video=media[0],
                    audio=media[1],
                    subtitle=subtitle_of(subtitles, name, "english"),
                    labels=open_labels(words, name),
                    reasoning=reasoning or None,
                    source=NAME,
                )
            )
    tables = (words, descriptions) if descriptions else (words,)
    notes = [*clips.notes(NUM, names, subtitles, *tables)]
    if not descriptions:
        notes.append(
            f"no {DESCRIPTIONS} in {folder.name}, as in MER2026: none of the {len(samples)} clips has a reasoning; for "
            "SFT on slow targets put MER2025's table there, or train the answers alone (sft.targets=[fast])"
        )
    return PreparedSet(NAME, TITLE, tuple(samples), tuple(clips.missing), tuple(notes), WHERE)


def split(prepared: PreparedSet, num_sft: int = NUM_SFT, seed: int = 0) -> dict[str, PreparedSet]:
    """The clips for "sft" and for "rl", both sorted by name.

    Raises InputError when `num_sft` leaves one of the two without clips.
    """
    num = len(prepared.samples)
    if not 0 < num_sft < num:
        raise InputError(f"--sft-num is {num_sft} and {num} clips are there; give a number from 1 to {max(num - 1, 1)}")
    order = sorted(prepared.samples, key=lambda sample: sha256(f"{seed}:{sample.id}".encode()).digest())
    chosen = {sample.id for sample in order[:num_sft]}
    parts = {
        "sft": [sample for sample in prepared.samples if sample.id in chosen],
        "rl": [sample for sample in prepared.samples if sample.id not in chosen],
    }
    return {part: replace(prepared, samples=tuple(samples)) for part, samples in parts.items()}
