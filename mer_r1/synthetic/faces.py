"""Drawn faces: a person's looks and a state in, RGB frames out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from mer_r1.synthetic.state import State

Colour = tuple[int, int, int]

SIZE = 96
_SCALE = 2  # drawn twice as large and reduced, which smooths the edges
_SKINS = ((255, 224, 196), (241, 194, 150), (224, 172, 120), (198, 134, 86), (141, 85, 48), (96, 58, 36))
_HAIRS = ((34, 26, 22), (84, 52, 30), (150, 102, 52), (214, 178, 108), (120, 120, 124), (128, 46, 30))


@dataclass(frozen=True)
class Looks:
    """What stays the same over one person's clips; offsets are added to what the state draws."""

    skin: Colour
    hair: Colour
    backdrop: Colour
    width: float
    mouth_offset: float
    brow_offset: float
    eye_size: float


def draw_looks(rng: np.random.Generator) -> Looks:
    """Draw a person."""
    backdrop = tuple(int(value) for value in rng.integers(150, 215, 3))
    return Looks(
        skin=_SKINS[rng.integers(len(_SKINS))],
        hair=_HAIRS[rng.integers(len(_HAIRS))],
        backdrop=cast(Colour, backdrop),
        width=float(rng.uniform(0.86, 1.0)),
        mouth_offset=float(rng.normal(0.0, 0.08)),
        brow_offset=float(rng.normal(0.0, 0.08)),
        eye_size=float(rng.uniform(0.85, 1.15)),
    )


def mix(first: Colour, second: Colour, share: float) -> Colour:
    """`share` of the second colour and the rest of the first."""
    red, green, blue = (int(a + (b - a) * share) for a, b in zip(first, second, strict=True))
    return red, green, blue


def _eyes(draw: ImageDraw.ImageDraw, looks: Looks, shown: State, centre: tuple[float, float], blink: float) -> None:
    x, y = centre
    opening = max(0.12, (0.55 + 0.4 * shown.arousal) * (1.0 - blink)) * looks.eye_size
    gaze_y, gaze_x = (3.0, 3.5) if shown.dominance < -0.33 else (0.0, 0.0)  # looking away and down
    for side in (-1, 1):
        eye_x, eye_y = x + side * 32, y - 18
        height = 15 * opening
        draw.ellipse((eye_x - 15, eye_y - height, eye_x + 15, eye_y + height), fill=(250, 250, 250))
        pupil = min(8.0, height)
        px, py = eye_x + gaze_x, eye_y + gaze_y * min(1.0, opening)
        draw.ellipse((px - pupil, py - pupil, px + pupil, py + pupil), fill=(30, 26, 30))
        # The inner end of a brow goes down with dominance (a frown) and up with its absence (worry).
        tilt = 16 * (shown.dominance + looks.brow_offset)
        brow_y = eye_y - 25 - 6 * shown.arousal
        inner, outer = (eye_x - side * 19, brow_y + tilt), (eye_x + side * 19, brow_y - 0.5 * tilt)
        draw.line((inner, outer), fill=looks.hair, width=10)


def _mouth(draw: ImageDraw.ImageDraw, looks: Looks, shown: State, centre: tuple[float, float], speech: float) -> None:
    x, y = centre[0], centre[1] + 42
    curve = 27 * (shown.valence + looks.mouth_offset)
    opening = (4 + 10 * max(0.0, shown.arousal)) * speech
    span = np.linspace(-1.0, 1.0, 13)
    upper = [(x + 34 * u, y - curve * (u * u - 0.4) - opening * (1 - u * u)) for u in span]
    lower = [(x + 34 * u, y - curve * (u * u - 0.4) + opening * (1 - u * u)) for u in span[::-1]]
    draw.polygon(upper + lower, fill=(120, 30, 40))
    draw.line(upper, fill=(140, 40, 48), width=9, joint="curve")
    draw.line(lower, fill=(140, 40, 48), width=9, joint="curve")


def draw_frame(looks: Looks, shown: State, shift: tuple[float, float], blink: float, speech: float) -> Image.Image:
    """One frame of SIZE x SIZE. `shift` in pixels of the drawing, `blink` and `speech` in [0, 1]."""
    full = SIZE * _SCALE
    image = Image.new("RGB", (full, full), looks.backdrop)
    draw = ImageDraw.Draw(image)
    x, y = full / 2 + shift[0], full * 0.53 + shift[1]
    half_w, half_h = 70 * looks.width, 84
    draw.ellipse((x - half_w - 7, y - half_h - 16, x + half_w + 7, y + 34), fill=looks.hair)
    draw.ellipse((x - half_w, y - half_h, x + half_w, y + half_h), fill=looks.skin)
    flush = float(np.clip(0.25 + 0.35 * shown.arousal - 0.25 * min(0.0, shown.dominance), 0.0, 0.7))
    for side in (-1, 1):
        cheek = mix(looks.skin, (225, 70, 70), flush)
        draw.ellipse((x + side * 44 - 14, y + 10, x + side * 44 + 14, y + 30), fill=cheek)
    _eyes(draw, looks, shown, (x, y), blink)
    draw.line(((x, y - 6), (x - 5, y + 16), (x + 4, y + 17)), fill=mix(looks.skin, (60, 30, 20), 0.4), width=4)
    _mouth(draw, looks, shown, (x, y), speech)
    return image.reduce(_SCALE)


def draw_face(
    looks: Looks, shown: State, num_frames: int, loudness: NDArray[np.float64], rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Frames (num_frames, SIZE, SIZE, 3) of a face that moves, blinks and speaks with the given loudness per frame."""
    reach = 1.0 + 2.5 * max(0.0, shown.arousal + 0.5)
    phases = rng.uniform(0, 2 * np.pi, 2)
    drift = rng.normal(0.0, 2.0, 2)
    blink_at = int(rng.integers(num_frames * 3))  # in a third of the clips
    frames = []
    for index in range(num_frames):
        turn = 2 * np.pi * index / max(1, num_frames) * (1.0 + max(0.0, shown.arousal))
        shift = (drift[0] + reach * np.sin(turn + phases[0]), drift[1] + 0.6 * reach * np.sin(turn + phases[1]))
        blink = 0.9 if index == blink_at else 0.0
        # An expression settles in over the first frames.
        grown = 0.7 + 0.3 * min(1.0, 2.0 * (index + 1) / num_frames)
        moment = State(shown.valence * grown, shown.arousal, shown.dominance * grown)
        frames.append(np.asarray(draw_frame(looks, moment, shift, blink, float(loudness[index]))))
    return np.stack(frames)
