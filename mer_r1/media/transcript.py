"""The words of a clip by a speech recogniser on this machine: Whisper, run by faster-whisper.

A model is a folder in CTranslate2's format, or one of faster-whisper's names or a Hub id that is in the Hub's cache
already: nothing is downloaded. The sound is what every other reader of the clip hears (16 kHz, the clip's time zero),
read in pieces, so that memory does not grow with its length. Each word is a cue with times of its own.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mer_r1.errors import InputError, first_line
from mer_r1.media.budget import MediaBudget
from mer_r1.media.subtitles import Cue, Subtitles
from mer_r1.media.windows import Window, read_windows

DEFAULT_MODEL = "small"
PIECE_S = 300.0
_BUDGET = replace(MediaBudget(), max_audio_s=2 * PIECE_S)


class Transcriber:
    """A loaded recogniser. Raises InputError where faster-whisper or the model is missing."""

    def __init__(self, model: str = DEFAULT_MODEL) -> None:
        self.name = model
        self._model = _load(model)

    def subtitles(self, clip: Path) -> Subtitles:
        """The words of a video or sound file; none where it has no sound.

        Raises InputError, naming the file, for one that cannot be read.
        """
        cues: list[Cue] = []
        for window, piece in read_windows(clip, _BUDGET, PIECE_S, PIECE_S, pictures=False):
            if piece.waveform_N is not None:
                cues += self._words(piece.waveform_N, window)
        return Subtitles(tuple(cues), f"transcript by {self.name}")

    def _words(self, waveform_N: NDArray[np.float32], piece: Window) -> list[Cue]:
        segments, _ = self._model.transcribe(
            waveform_N, word_timestamps=True, temperature=0.0, condition_on_previous_text=False
        )
        return [
            Cue(piece.start_s + float(word.start), piece.start_s + float(word.end), word.word.strip())
            for segment in segments
            for word in segment.words or ()
            if word.word.strip() and piece.start_s + word.start < piece.end_s  # in the silence behind, nothing is said
        ]


def _load(model: str) -> Any:
    try:
        from faster_whisper import WhisperModel
        from faster_whisper.utils import _MODELS
    except ModuleNotFoundError as error:
        raise InputError(f"{error.name} is not installed; install it with: pip install 'mer-r1[transcribe]'") from None
    source = Path(model)
    for name in ("model.bin", "tokenizer.json"):  # without the second one faster-whisper would ask the Hub for it
        if source.is_dir() and not (source / name).is_file():
            raise InputError(
                f"--transcribe {model}: holds no Whisper model of CTranslate2 ({name} is missing); convert it with "
                "ct2-transformers-converter --copy_files tokenizer.json preprocessor_config.json"
            )
    try:
        return WhisperModel(model, compute_type="auto", local_files_only=True)
    except (OSError, ValueError, RuntimeError) as error:
        wanted = _MODELS.get(model, model)
        if source.is_dir():
            raise InputError(
                f"--transcribe {model}: cannot be loaded ({first_line(error)}); copy it again, or give another folder"
            ) from None
        if "/" not in wanted:
            raise InputError(
                f"--transcribe {model}: no such model; give the folder of a Whisper model of CTranslate2, or one of "
                f"{', '.join(_MODELS)}"
            ) from None
        raise InputError(
            f"--transcribe {model}: is not on this machine, and nothing is downloaded; fetch it with: "
            f"hf download {wanted}, or give its folder"
        ) from None
