"""An emotion wheel as an SVG: a sector a category, two rings that fill outwards by their radius from 0 to 100 %.

A thin arc marks 50 %. The colour of a sector follows the family of its emotion and says nothing more. Classes: `bg` a
ring's ground, `r` what fills the outer ring, `p` the inner one, `half` the arcs, `v` the numbers; the page has the
style.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

INNER, OUTER = (20.0, 54.0), (60.0, 104.0)  # radii of the rings
LABEL = 115.0
HALF_HEIGHT, CHARACTER_WIDTH = 147.0, 6.6
HUES = {
    "joy": 48, "happ": 48, "amus": 48, "optim": 60, "anticip": 80,
    "peace": 150, "calm": 150, "relie": 165, "trust": 140,
    "power": 25, "surpris": 32, "love": 335, "tender": 335, "fear": 275, "scare": 275, "anxi": 275, "sad": 215,
    "shame": 300, "guilt": 300, "disgust": 100, "bad": 190, "ang": 5, "mad": 5, "rage": 5, "neutral": None,
}  # fmt: skip
"""Degrees of a colour circle by how a category's name begins; None is grey, and what is not here comes by its index."""


@dataclass(frozen=True)
class Sector:
    """One category: how far its rings are filled, as fractions (None: not at all), and its texts.

    `values` stand below the name, `tip` is what a pointer over the sector shows.
    """

    name: str
    outer: float | None
    inner: float | None
    values: str
    tip: str


def draw_wheel(label: str, sectors: Sequence[Sector]) -> str:
    """The SVG of one wheel; `label` is what it says to those who do not see it. All texts are escaped."""
    half_width = LABEL + CHARACTER_WIDTH * max(7, *(len(sector.name) for sector in sectors))
    parts = [
        f'<svg viewBox="{-half_width:.0f} {-HALF_HEIGHT:.0f} {2 * half_width:.0f} {2 * HALF_HEIGHT:.0f}" role="img" '
        f'class="wheel" aria-label="{escape(label)}">'
    ]
    step, labels = 2 * math.pi / len(sectors), []
    for index, sector in enumerate(sectors):
        start, end = index * step, (index + 1) * step
        hue = hue_of(sector.name, 360 * index // len(sectors))
        colour = "--s:0%" if hue is None else f"--h:{hue}"
        parts.append(f'<g style="{colour}"><title>{escape(sector.tip)}</title>')
        for ring, value, kind in ((INNER, sector.inner, "p"), (OUTER, sector.outer, "r")):
            parts.append(f'<path class="bg" d="{_sector(start, end, *ring)}"/>')
            if value:
                parts.append(f'<path class="{kind}" d="{_sector(start, end, ring[0], _radius(ring, value))}"/>')
            parts.append(f'<path class="half" d="{_arc(start, end, _radius(ring, 0.5))}"/>')
        parts.append("</g>")
        labels.append(_label(sector, (start + end) / 2))
    return "".join([*parts, *labels, "</svg>"])


def hue_of(category: str, fallback: int) -> int | None:
    """Degrees of the colour circle of a category; None is grey."""
    return next((hue for prefix, hue in HUES.items() if category.lower().startswith(prefix)), fallback)


def _label(sector: Sector, angle: float) -> str:
    x, y = LABEL * math.sin(angle), -LABEL * math.cos(angle)
    side = "middle" if abs(math.sin(angle)) < 0.2 else "start" if x > 0 else "end"
    y -= 2 + 16 * math.cos(angle)  # two lines that stand above a wheel's top and hang below its bottom
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{side}">{escape(sector.name)}'
        f'<tspan class="v" x="{x:.1f}" dy="1.15em">{escape(sector.values)}</tspan></text>'
    )


def _sector(start: float, end: float, low: float, high: float) -> str:
    """The path of a piece of a ring, clockwise from the top."""
    large = int(end - start > math.pi)
    return (
        f"M{_point(start, low)}L{_point(start, high)}A{high:.1f} {high:.1f} 0 {large} 1 {_point(end, high)}"
        f"L{_point(end, low)}A{low:.1f} {low:.1f} 0 {large} 0 {_point(start, low)}Z"
    )


def _arc(start: float, end: float, radius: float) -> str:
    large = int(end - start > math.pi)
    return f"M{_point(start, radius)}A{radius:.1f} {radius:.1f} 0 {large} 1 {_point(end, radius)}"


def _point(angle: float, radius: float) -> str:
    return f"{radius * math.sin(angle):.1f} {-radius * math.cos(angle):.1f}"


def _radius(ring: tuple[float, float], value: float) -> float:
    return ring[0] + (ring[1] - ring[0]) * value
