"""The values that travel through the package. Frozen, plain, without third-party imports at run time."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Mode = Literal["fast", "slow"]
MODES: tuple[Mode, ...] = get_args(Mode)
Status = Literal["ok", "truncated", "no_answer", "error"]
Position = Literal["first", "mean"]
"""Where an answer's category confidences are read: at its first word, or the mean of log over all its words."""
POSITIONS: tuple[Position, ...] = get_args(Position)


@dataclass(frozen=True)
class Sample:
    """One row of a manifest. Media paths are absolute or relative to the working directory, already resolved.

    `labels` are the gold emotion words, empty where unknown. `candidates` are the labels that an answer is chosen from,
    empty where it is free. `valence` lies in [-1, 1] by convention of the source.
    `cluster` groups rows that are not independent (one speaker, one dialogue) for the bootstrap.
    """

    id: str
    video: Path | None = None
    audio: Path | None = None
    image: Path | None = None
    subtitle: str | None = None
    labels: tuple[str, ...] = ()
    valence: float | None = None
    reasoning: str | None = None
    cluster: str | None = None
    source: str | None = None
    candidates: tuple[str, ...] = ()


@dataclass(frozen=True)
class MediaFacts:
    """What was really taken from a sample's media; written beside every prediction.

    Times in seconds. `size` is (width, height) of the source as shown (rotation applied), `taken_size` of the frames
    handed on. `audio_gap_s` is how much of what was taken is silence in place of sound that the file does not hold. A
    medium that the sample has not got leaves its fields None and `frame_times_s` empty. `notices` say what was odd
    about the files, in words that `check` counts rows by.
    """

    frame_times_s: tuple[float, ...] = ()
    video_s: float | None = None
    size: tuple[int, int] | None = None
    taken_size: tuple[int, int] | None = None
    audio_s: float | None = None
    audio_taken_s: float | None = None
    audio_gap_s: float | None = None
    decoder: str | None = None
    notices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Clip:
    """Decoded media of one sample.

    `frames_THWC`: uint8, T frames of H x W x RGB; None without video or image.
    `waveform_N`: float32 mono at 16 kHz in [-1, 1]; None without a sound track.
    """

    frames_THWC: NDArray[np.uint8] | None
    waveform_N: NDArray[np.float32] | None
    facts: MediaFacts


@dataclass(frozen=True)
class Response:
    """A model's text taken apart. Malformed text is a status, never an exception.

    `answers` holds the raw text of every answer block in order; `labels` the words of the last one. `well_formed` says
    whether the whole text keeps strictly to its response format, which the format reward pays; a text may be "ok"
    without.
    """

    reasoning: str
    answers: tuple[str, ...]
    labels: tuple[str, ...]
    status: Status
    well_formed: bool = False


@dataclass(frozen=True)
class Prediction:
    """One line of predictions.jsonl.

    `confidence` maps an emotion word of the answer to its category's probability mass at the word's first token, in
    (0, 1]. `categories` maps wheel ("w1" ... "w5") to category to log-confidence (Eq. 1), averaged over answer words;
    `categories_first` has it at the first token of the answer's first word (None in rows that 0.1.0 wrote). A word that
    shares its first token with a mark before it is passed over.
    `error` says what failed where `status` is "error": such a row is no answer, and is generated again.
    """

    id: str
    mode: Mode
    raw: str
    reasoning: str
    labels: tuple[str, ...]
    status: Status
    media: MediaFacts | None = None
    confidence: dict[str, float] | None = None
    categories: dict[str, dict[str, float]] | None = None
    categories_first: dict[str, dict[str, float]] | None = None
    error: str | None = None

    def categories_at(self, position: Position) -> dict[str, dict[str, float]] | None:
        """The log-confidence of every category at this position; None where it is not known."""
        return self.categories_first if position == "first" else self.categories


@dataclass(frozen=True)
class Rollout:
    """One sampled answer of a group during reinforcement learning, as written to rollouts.jsonl.

    `confidences` maps an answer word to its (slow, fast) log-confidence: that of its category, averaged over the wheels
    that know it, or under ablation A1 its own. None where nothing is calibrated. `reflection` holds what the judge of
    its steps said, "coherence" and "consistency", as written; what was not graded is missing, None without a judge.
    `ended` says whether the end token followed the text; None where it was not asked for.
    """

    step: int
    id: str
    text: str
    labels: tuple[str, ...]
    status: Status
    rewards: dict[str, float | None]
    advantage: float
    confidences: dict[str, tuple[float, float]] | None = None
    reflection: dict[str, str] | None = None
    ended: bool | None = None
