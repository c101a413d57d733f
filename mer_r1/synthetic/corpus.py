"""MiniMER: procedurally made mp4 clips with known emotions, and their manifests.

Clip i of a corpus depends only on (seed, i) and its person on (seed, person), so the same seed gives the same corpus
whatever the number of processes. People are shared out to train, val and test: no person is in two splits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path

import av
import numpy as np
from av.container import OutputContainer
from numpy.typing import NDArray

from mer_r1.data.files import atomic_path
from mer_r1.data.sample import Sample
from mer_r1.errors import InputError
from mer_r1.synthetic import faces, voices
from mer_r1.synthetic.parts import write_parts
from mer_r1.synthetic.state import draw_scene
from mer_r1.synthetic.subtitles import TARGETS, slow_target, subtitle

FPS = 6
CLIPS_PER_PERSON = 20
SPLITS = ("train", "val", "test")
_PERSON, _SCENE, _TEXT = 0, 1, 2  # independent random streams of one seed


@dataclass(frozen=True)
class Plan:
    """What a corpus is made from; kept in corpus.json. `form` is the response format of the reasoning."""

    num: int
    seed: int
    seconds: float = 1.0
    form: str = "think_answer"

    @property
    def num_people(self) -> int:
        return max(5, self.num // CLIPS_PER_PERSON)

    def split_of(self, person: int) -> str:
        """Of ten people, one is in val and one in test; the smallest corpora have one of each."""
        return {3: "val", 4: "test"}.get(person % 10 if self.num_people >= 10 else person, "train")


def write_clip(path: Path, frames_THWC: NDArray[np.uint8] | None, waveform_N: NDArray[np.float32] | None) -> None:
    """Write frames at FPS as H.264 and 16 kHz mono sound as AAC, either or both, as mp4; whole or not at all."""
    options = {"fflags": "+bitexact"}
    with atomic_path(path) as temporary, av.open(str(temporary), "w", format="mp4", options=options) as out:
        video = None if frames_THWC is None else _video_stream(out, frames_THWC)
        sound = None
        if waveform_N is not None:
            aac = {"b": "32k", "aac_coder": "fast"}
            sound = out.add_stream("aac", rate=voices.RATE_HZ, layout="mono", options=aac)
        if video is not None and frames_THWC is not None:
            for image in frames_THWC:
                out.mux(video.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
            out.mux(video.encode(None))
        if sound is not None and waveform_N is not None:
            frame = av.AudioFrame.from_ndarray(waveform_N[None], format="fltp", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = voices.RATE_HZ, 0, Fraction(1, voices.RATE_HZ)
            out.mux(sound.encode(frame))
            out.mux(sound.encode(None))


def _video_stream(out: OutputContainer, frames_THWC: NDArray[np.uint8]) -> av.VideoStream:
    options = {"preset": "ultrafast", "crf": "22", "bf": "0", "threads": "1"}
    video = out.add_stream("libx264", rate=FPS, options=options)
    video.height, video.width = frames_THWC.shape[1:3]
    video.pix_fmt = "yuv420p"
    return video


def make_clip(plan: Plan, folder: Path, index: int) -> tuple[str, Sample]:
    """Make clip `index`: writes its file and returns (split, sample)."""
    person = index % plan.num_people
    person_rng = np.random.default_rng([plan.seed, _PERSON, person])
    looks, voice = faces.draw_looks(person_rng), voices.draw_voice(person_rng)
    rng = np.random.default_rng([plan.seed, _SCENE, index])
    scene = draw_scene(rng)
    words = subtitle(scene, rng)
    wave = voices.speak(voice, scene.voice, plan.seconds, rng)
    num_frames = round(plan.seconds * FPS)
    frames = faces.draw_face(looks, scene.face, num_frames, voices.loudness_per_frame(wave, num_frames), rng)
    sees, hears = scene.missing != "face", scene.missing != "voice"
    path = folder / "clips" / f"{index:06d}{'.mp4' if sees else '.m4a'}"
    write_clip(path, frames if sees else None, wave if hears else None)
    sample = Sample(
        id=f"minimer-{plan.seed}-{index:06d}",
        video=path if sees else None,
        audio=None if sees else path,
        subtitle=words,
        labels=scene.gold,
        valence=round(scene.state.valence, 4),
        reasoning=TARGETS[plan.form](scene),
        cluster=f"person-{person}",
        source="contradicting" if scene.contradicting else "consistent",
    )
    return plan.split_of(person), sample


def write_corpus(
    plan: Plan, folder: Path, workers: int = 1, progress: Callable[[int], None] | None = None
) -> dict[str, Path]:
    """Make a corpus and return its manifests by split, as `write_parts` does.

    Raises InputError for fewer than 5 clips, and when the folder holds a corpus of another plan.
    """
    if plan.num < 5:
        raise InputError(f"--num {plan.num}: a corpus needs at least 5 clips, so that every split has one")
    facts = {"corpus": "MiniMER", "num": plan.num, "seed": plan.seed, "seconds": plan.seconds}
    if plan.form != "think_answer":
        facts["form"] = plan.form
    return write_parts(partial(make_clip, plan, folder), SPLITS, folder, facts, workers, progress)


def minimer_texts(num: int = 3000, seed: int = 0) -> Iterator[str]:
    """Subtitles, reasoning and labels like MiniMER's, of no clip of it: for the tiny tokenizer."""
    for index in range(num):
        rng = np.random.default_rng([seed, _TEXT, index])
        scene = draw_scene(rng)
        yield "\n".join((subtitle(scene, rng) or "", slow_target(scene), ", ".join(scene.gold)))
