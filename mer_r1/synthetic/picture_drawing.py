"""MiniMER's pictures drawn: a light, a thing and a face, painted or as a sketch on paper.

Everything is drawn three times as large and reduced, which smooths the edges. The thing and the face are side by side,
either on the left; positions, sizes and colours vary. A sketch has outlines, pale fills on paper and smaller faces.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from mer_r1.synthetic.faces import Colour, Looks, draw_looks, mix
from mer_r1.synthetic.picture_scenes import PictureScene

SIZE = 84
_SCALE = 3
_FULL = SIZE * _SCALE

Style = Literal["painted", "sketched"]
Point = tuple[float, float]

_INK = (44, 40, 52)
_PAPER = {"by day": (250, 244, 226), "in the rain": (206, 210, 214), "at night": (120, 118, 150)}
_SKY = {"by day": (140, 200, 245), "in the rain": (128, 136, 146), "at night": (24, 28, 74)}
_GROUND = {"by day": (122, 190, 92), "in the rain": (96, 122, 96), "at night": (40, 66, 58)}
_GAY = ((226, 52, 60), (250, 190, 40), (66, 140, 230), (240, 110, 190), (70, 190, 110))
_NIGHT = (14, 16, 50)
_GLOWING = ("a fire", "fireworks")


@dataclass(frozen=True)
class Pen:
    """Draws in the units of one thing: (0, 0) is its middle, 1 half its size (`half`, in pixels); y goes down.

    Colours are mixed with `wash`, a colour and its share. A sketch has outlines.
    """

    draw: ImageDraw.ImageDraw
    middle: Point
    half: float
    wash: tuple[Colour, float]
    sketch: bool

    def _at(self, x: float, y: float) -> Point:
        return self.middle[0] + self.half * x, self.middle[1] + self.half * y

    def _fill(self, colour: Colour) -> Colour:
        return mix(colour, *self.wash)

    def oval(self, x: float, y: float, wide: float, high: float, colour: Colour) -> None:
        """A filled ellipse of half-axes `wide` and `high`."""
        box = (*self._at(x - wide, y - high), *self._at(x + wide, y + high))
        outlined = self.sketch and self.half * min(wide, high) > 6
        self.draw.ellipse(box, fill=self._fill(colour), outline=_INK if outlined else None, width=4 * outlined)

    def shape(self, points: Sequence[Point], colour: Colour) -> None:
        """A filled polygon."""
        corners = [self._at(*point) for point in points]
        self.draw.polygon(corners, fill=self._fill(colour))
        if self.sketch:
            self.draw.line([*corners, corners[0]], fill=_INK, width=4, joint="curve")

    def box(self, left: float, top: float, right: float, bottom: float, colour: Colour) -> None:
        """A filled rectangle."""
        self.shape(((left, top), (right, top), (right, bottom), (left, bottom)), colour)

    def line(self, points: Sequence[Point], colour: Colour, width: float) -> None:
        """A line of a width in the same units; a sketch draws it thin and in ink."""
        corners = [self._at(*point) for point in points]
        thick = max(3, round(width * self.half * (0.6 if self.sketch else 1.0)))
        self.draw.line(corners, fill=mix(colour, _INK, 0.6) if self.sketch else self._fill(colour), width=thick)


def _gay(rng: np.random.Generator) -> Colour:
    return _GAY[rng.integers(len(_GAY))]


def _spider(pen: Pen, rng: np.random.Generator) -> None:
    dark = mix((20, 18, 22), (90, 50, 30), float(rng.random()))
    for side in (-1, 1):
        for rise in (-0.75, -0.3, 0.2, 0.65):
            knee = (side * 0.6, rise * 0.8 - 0.35)
            pen.line(((side * 0.2, 0.05), knee, (side * 0.98, rise + 0.3)), dark, 0.1)
    pen.oval(0, 0.28, 0.42, 0.46, dark)
    pen.oval(0, -0.22, 0.25, 0.24, dark)
    for side in (-1, 1):
        pen.oval(side * 0.1, -0.28, 0.06, 0.06, (240, 60, 60))


def _cliff(pen: Pen, rng: np.random.Generator) -> None:
    rock = mix((150, 108, 74), (128, 120, 112), float(rng.random()))
    dark = mix(rock, _INK, 0.5)
    pen.box(-0.6, 0.1, 0.7, 1.6, (34, 30, 44))
    pen.shape(((-1.2, -0.6), (-0.15, -0.6), (-0.34, 0.0), (-0.2, 0.6), (-0.36, 1.6), (-1.2, 1.6)), rock)
    pen.shape(((1.2, -0.3), (0.42, -0.3), (0.56, 0.2), (0.36, 0.8), (0.5, 1.6), (1.2, 1.6)), rock)
    for top in (-0.25, 0.25, 0.75, 1.2):
        pen.line(((-1.1, top), (-0.7, top + 0.14), (-0.42, top + 0.06)), dark, 0.07)
        pen.line(((0.64, top + 0.3), (1.1, top + 0.2)), dark, 0.07)


def _present(pen: Pen, rng: np.random.Generator) -> None:
    paper, ribbon = _gay(rng), (255, 244, 200)
    pen.box(-0.75, -0.2, 0.75, 0.85, paper)
    pen.box(-0.85, -0.4, 0.85, -0.05, mix(paper, (0, 0, 0), 0.2))
    pen.box(-0.13, -0.4, 0.13, 0.85, ribbon)
    for side in (-1, 1):
        pen.oval(side * 0.32, -0.58, 0.3, 0.19, ribbon)
    pen.oval(0, -0.5, 0.13, 0.13, mix(ribbon, (0, 0, 0), 0.2))


def _grave(pen: Pen, rng: np.random.Generator) -> None:
    stone = mix((150, 150, 156), (110, 108, 112), float(rng.random()))
    pen.oval(0, 0.85, 0.95, 0.2, (104, 74, 48))
    pen.oval(0, -0.35, 0.55, 0.55, stone)
    pen.box(-0.55, -0.35, 0.55, 0.8, stone)
    pen.line(((0, -0.6), (0, 0.4)), (50, 50, 56), 0.15)
    pen.line(((-0.3, -0.25), (0.3, -0.25)), (50, 50, 56), 0.15)


def _dog(pen: Pen, rng: np.random.Generator) -> None:
    coats = ((176, 118, 62), (236, 220, 190), (92, 66, 50))
    coat = coats[rng.integers(len(coats))]
    dark = mix(coat, (30, 20, 16), 0.45)
    pen.line(((0.7, 0.0), (0.98, -0.5)), coat, 0.16)
    for x in (-0.35, -0.1, 0.42, 0.65):
        pen.box(x - 0.1, 0.3, x + 0.1, 0.92, coat)
    pen.oval(0.15, 0.12, 0.68, 0.36, coat)
    pen.oval(-0.52, -0.3, 0.36, 0.34, coat)
    pen.oval(-0.86, -0.18, 0.22, 0.16, coat)
    pen.oval(-1.02, -0.24, 0.09, 0.08, _INK)
    pen.oval(-0.28, -0.28, 0.15, 0.36, dark)
    pen.oval(-0.62, -0.4, 0.07, 0.07, _INK)


def _fire(pen: Pen, rng: np.random.Generator) -> None:
    lean = float(rng.uniform(-0.15, 0.15))
    flame = ((-0.8, 0.6), (-0.72, -0.15), (-0.42, 0.1), (lean, -1.0), (0.4, 0.05), (0.75, -0.3), (0.8, 0.6), (0, 0.85))
    for size, colour in ((1.0, (226, 60, 24)), (0.68, (250, 150, 30)), (0.38, (255, 232, 110))):
        pen.shape([(x * size, 0.75 + (y - 0.75) * size) for x, y in flame], colour)
    for slope in (-0.16, 0.16):
        pen.line(((-0.9, 0.78 - slope), (0.9, 0.78 + slope)), (96, 60, 34), 0.2)


def _rubbish(pen: Pen, rng: np.random.Generator) -> None:
    bag = mix((48, 56, 48), (84, 96, 60), float(rng.random()))
    pen.oval(0, 0.78, 1.0, 0.22, (128, 150, 40))
    pen.shape(((-0.15, -0.4), (-0.35, -0.75), (0.35, -0.75), (0.15, -0.4)), bag)
    pen.oval(0, 0.2, 0.68, 0.64, bag)
    pen.line(((-0.9, 0.75), (-0.35, 0.62)), (240, 240, 230), 0.1)
    for x in (-0.8, -0.65, -0.5):
        pen.line(((x, 0.55), (x + 0.06, 0.85)), (240, 240, 230), 0.07)
    for _ in range(5):
        x, y = rng.uniform(-0.9, 0.9), rng.uniform(-1.0, -0.5)
        pen.oval(float(x), float(y), 0.07, 0.07, (20, 20, 20))
    for x in (0.2, 0.55):
        pen.line(((x, -0.35), (x + 0.12, -0.5), (x, -0.65), (x + 0.12, -0.85)), (150, 180, 40), 0.08)


def _mountain(pen: Pen, rng: np.random.Generator) -> None:
    rock = mix((104, 112, 140), (128, 104, 92), float(rng.random()))
    peak = float(rng.uniform(-0.2, 0.2))
    pen.shape(((-0.2, 0.6), (0.62, -0.55), (1.3, 0.6)), mix(rock, (255, 255, 255), 0.2))
    pen.shape(((-1.3, 0.6), (peak - 0.2, -1.25), (0.9, 0.6)), rock)
    left, right = peak - 0.2 - 0.27 * (peak + 1.1), peak - 0.2 + 0.27 * (1.1 - peak)
    snow = ((left, -0.75), (peak - 0.2, -1.25), (right, -0.75), (right - 0.22, -0.62), (peak - 0.2, -0.78))
    pen.shape((*snow, (left + 0.2, -0.6)), (250, 250, 255))


def _fireworks(pen: Pen, rng: np.random.Generator) -> None:
    for x, y, reach in ((-0.3, -0.75, 0.7), (0.5, -0.1, 0.5)):
        colour, turn = _gay(rng), float(rng.uniform(0, 1))
        for ray in range(9):
            angle = 2 * np.pi * (ray + turn) / 9
            dx, dy = float(np.cos(angle)), float(np.sin(angle))
            pen.line(((x + 0.2 * reach * dx, y + 0.2 * reach * dy), (x + reach * dx, y + reach * dy)), colour, 0.1)
            pen.oval(x + reach * dx, y + reach * dy, 0.08, 0.08, (255, 240, 150))
    pen.line(((0.1, 0.9), (-0.05, 0.4), (-0.2, -0.2)), (250, 220, 140), 0.06)


def _balloons(pen: Pen, rng: np.random.Generator) -> None:
    first = int(rng.integers(len(_GAY)))
    for index, (x, y) in enumerate(((-0.5, -0.5), (0.5, -0.6), (0.0, -0.95))):
        colour = _GAY[(first + index) % len(_GAY)]
        pen.line(((x, y + 0.4), (0.0, 0.9)), (240, 240, 240), 0.05)
        pen.oval(x, y, 0.38, 0.47, colour)
        pen.oval(x - 0.12, y - 0.18, 0.09, 0.12, mix(colour, (255, 255, 255), 0.7))


def _vase(pen: Pen, rng: np.random.Generator) -> None:
    china = mix(_gay(rng), (255, 255, 255), 0.3)
    light = mix(china, (255, 255, 255), 0.5)
    rim = ((-0.52, -0.1), (-0.3, 0.2), (-0.12, -0.2), (0.1, 0.16), (0.3, -0.04), (0.5, 0.3))
    pen.shape(((-0.3, 0.95), (-0.62, 0.4), *rim, (0.2, 0.95)), china)
    pen.line(((-0.5, 0.42), (-0.2, 0.56), (0.1, 0.46), (0.4, 0.54)), light, 0.1)
    for shard in (
        ((0.45, 0.98), (0.62, 0.5), (1.05, 0.9)),
        ((-1.05, 0.98), (-0.85, 0.55), (-0.55, 0.95)),
        ((0.5, -0.25), (0.95, -0.5), (0.85, 0.05)),
        ((-0.9, -0.1), (-0.62, -0.5), (-0.5, -0.25)),
    ):
        pen.shape(shard, china)
    pen.line(((-0.1, -0.1), (0.0, -0.5), (0.2, -0.7)), (60, 130, 60), 0.09)
    for turn in np.linspace(0, 2 * np.pi, 5, endpoint=False).tolist():
        pen.oval(0.2 + 0.16 * float(np.cos(turn)), -0.8 + 0.16 * float(np.sin(turn)), 0.13, 0.13, (250, 246, 250))
    pen.oval(0.2, -0.8, 0.1, 0.1, (246, 196, 40))


THINGS: dict[str, Callable[[Pen, np.random.Generator], None]] = {
    "a spider": _spider,
    "a cliff": _cliff,
    "a present": _present,
    "a grave": _grave,
    "a dog": _dog,
    "a fire": _fire,
    "rubbish": _rubbish,
    "a mountain": _mountain,
    "fireworks": _fireworks,
    "balloons": _balloons,
    "a broken vase": _vase,
}


def _mouth(pen: Pen, face: str, force: float) -> None:
    dark, lip = (110, 26, 36), (150, 44, 52)
    if face == "an open mouth":
        pen.oval(0, 0.5, 0.22 + 0.05 * force, 0.2 + 0.12 * force, dark)
        return
    bend = {"a smile": 0.55, "closed eyes": 0.0, "a turned-down mouth": -0.45}[face] * force
    span = [(0.46 * u, 0.52 + bend * (0.45 - u * u)) for u in np.linspace(-1.0, 1.0, 9).tolist()]
    pen.line(span, lip, 0.13)


def _eyes(pen: Pen, face: str, force: float, looks: Looks) -> None:
    lift, tilt = {
        "a smile": (0.0, 0.0),
        "an open mouth": (0.16, 0.0),
        "closed eyes": (-0.02, 0.0),
        "a turned-down mouth": (0.0, 0.16),
    }[face]
    for side in (-1, 1):
        x = side * 0.4
        if face == "closed eyes":
            arc = [(x + 0.22 * u, -0.08 - 0.12 * u * u) for u in np.linspace(-1.0, 1.0, 7).tolist()]
            pen.line(arc, _INK, 0.1)
        else:
            high = (0.27 if face == "an open mouth" else 0.2) * looks.eye_size
            pen.oval(x, -0.12, 0.21, high, (252, 252, 252))
            pen.oval(x, -0.1, 0.11, min(high, 0.13), _INK)
        brow = -0.47 - lift * force
        pen.line(((x - side * 0.24, brow - tilt * force), (x + side * 0.24, brow + tilt * force)), looks.hair, 0.12)


def _person(pen: Pen, scene: PictureScene, rng: np.random.Generator) -> None:
    looks = draw_looks(rng)
    pen.shape(((-1.15, 1.9), (-0.85, 1.15), (-0.3, 0.9), (0.3, 0.9), (0.85, 1.15), (1.15, 1.9)), _gay(rng))
    wide = 0.95 * looks.width
    pen.oval(0, -0.2, wide + 0.12, 0.98, looks.hair)
    pen.oval(0, 0.06, wide, 1.0, looks.skin)
    _eyes(pen, scene.face, scene.force, looks)
    pen.line(((0, 0.05), (-0.06, 0.24), (0.05, 0.25)), mix(looks.skin, (60, 30, 20), 0.4), 0.06)
    _mouth(pen, scene.face, scene.force)


def _backdrop(pen: Pen, light: str, rng: np.random.Generator) -> None:
    shade = float(rng.uniform(-0.12, 0.12))
    towards = (255, 255, 255) if shade > 0 else (0, 0, 0)
    if not pen.sketch:
        for row in range(_FULL):
            sky = mix(_SKY[light], (255, 255, 255), 0.35 * row / _FULL)
            pen.draw.line(((0, row), (_FULL, row)), fill=mix(sky, towards, abs(shade)))
    horizon = float(rng.uniform(0.2, 0.4))
    pen.box(-1.1, horizon, 1.1, 1.1, mix(_GROUND[light], towards, abs(shade)))
    x, y = float(rng.uniform(-0.25, 0.25)), float(rng.uniform(-0.82, -0.72))
    if light == "by day":
        pen.oval(x, y, 0.15, 0.15, (255, 222, 60))
    elif light == "at night":
        pen.oval(x, y, 0.13, 0.13, (244, 240, 205))
        for _ in range(7):
            pen.oval(float(rng.uniform(-1, 1)), float(rng.uniform(-1, -0.3)), 0.02, 0.02, (255, 255, 230))
    else:
        for offset in (-0.2, 0.0, 0.2):
            pen.oval(x + offset, y + 0.05 * abs(offset), 0.2, 0.12, (84, 90, 100))


class Picture(NamedTuple):
    """An RGB picture of SIZE x SIZE and where its face is: (left, top, right, bottom) in pixels."""

    image: Image.Image
    face_box: tuple[int, int, int, int]


def draw_picture(scene: PictureScene, rng: np.random.Generator, style: Style = "painted") -> Picture:
    """Draw the scene."""
    sketch = style == "sketched"
    image = Image.new("RGB", (_FULL, _FULL), _PAPER[scene.light])
    draw = ImageDraw.Draw(image)
    wash = (_PAPER[scene.light], 0.5 if sketch else 0.0)
    _backdrop(Pen(draw, (_FULL / 2, _FULL / 2), _FULL / 2, wash, sketch), scene.light, rng)
    turn = 1 if rng.random() < 0.5 else -1
    (thing_x, thing_y), (face_x, face_y) = rng.uniform(-7, 7, (2, 2)).tolist()
    dim = scene.light == "at night" and not sketch and scene.thing not in _GLOWING
    thing_at = (_FULL / 2 + turn * 64 + thing_x, 168 + thing_y)
    thing_half = 60 * float(rng.uniform(0.9, 1.08))
    THINGS[scene.thing](Pen(draw, thing_at, thing_half, (_NIGHT, 0.35) if dim else wash, sketch), rng)
    face_at = (_FULL / 2 - turn * 62 + face_x, 150 + face_y)
    face_half = 48 if sketch else 54
    _person(Pen(draw, face_at, face_half, wash, sketch), scene, rng)
    if scene.light == "in the rain":
        for x, y in rng.uniform(0, _FULL, (26, 2)).tolist():
            draw.line(((x, y), (x - 6, y + 18)), fill=(196, 214, 234), width=3)
    left, top = (round((middle - 1.1 * face_half) / _SCALE) for middle in face_at)
    side = round(2.2 * face_half / _SCALE)
    return Picture(image.reduce(_SCALE), (left, top, left + side, top + side))
