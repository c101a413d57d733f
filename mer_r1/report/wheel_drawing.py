"""The emotion wheel drawn as a wheel: a sector a category, recall in the outer ring, precision in the inner one.

Both rings fill outwards from 0 to 100 %, by the radius; a thin arc marks 50 %. Numbers are those of
analysis/categories.py, added up over the sets that every system was asked about in every mode, so that wheels beside
each other are of the same clips; where no set is such, each wheel is of its own system's sets, and says which. The
colour of a sector follows the family of its emotion and says nothing more. The SVG holds names of categories (escaped),
titles of systems (escaped) and numbers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from mer_r1.analysis.categories import CategoryScore, category_scores
from mer_r1.data.sample import MODES, Mode
from mer_r1.emotion.wheel import WheelSet
from mer_r1.report.sets import PageSet, ShownSystem
from mer_r1.text import percent

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

Scores = Mapping[str, CategoryScore]


@dataclass(frozen=True)
class DrawnWheel:
    """One wheel of one system: the titles of its sets, and by mode the scores of its categories and the picture."""

    system: ShownSystem
    sets: tuple[str, ...]
    scores: dict[Mode, Scores]
    svg: dict[Mode, str]


@dataclass(frozen=True)
class WheelView:
    """One wheel with every system's drawing.

    `shared` are the titles of the sets that all of them are of, and `num_gold` counts the clips of each category; both
    are empty where the systems have no set in common.
    """

    name: str
    title: str
    categories: tuple[str, ...]
    shared: tuple[str, ...]
    num_gold: dict[str, int]
    drawn: tuple[DrawnWheel, ...]


def wheel_views(systems: Sequence[ShownSystem], sets: Sequence[PageSet], wheels: WheelSet) -> tuple[WheelView, ...]:
    """The five wheels of every system that was asked in any mode; none where no set has gold words."""
    labelled = [page_set for page_set in sets if any(sample.labels for sample in page_set.scored)]
    asked = {(index, mode) for item in labelled for index in item.answers for mode in _modes(item, index)}
    shared = [item for item in labelled if all(mode in _modes(item, index) for index, mode in asked)]
    pooled = shared or labelled
    scores = {
        (system.index, mode): found
        for system in systems
        for mode in MODES
        if (found := _pooled(system, pooled, mode, wheels))
    }
    views = []
    for name, title, categories in zip(wheels.names, wheels.titles, wheels.categories_of, strict=True):
        drawn = []
        for system in systems:
            own: dict[Mode, Scores] = {
                mode: scores[system.index, mode][name] for mode in MODES if (system.index, mode) in scores
            }
            pictures = {mode: _draw(f"{system.title}, {mode}", title, item) for mode, item in own.items()}
            if own:
                of_sets = tuple(item.title for item in pooled if _modes(item, system.index))
                drawn.append(DrawnWheel(system, of_sets, own, pictures))
        if drawn:
            first: Scores = next(iter(drawn[0].scores.values()))
            num_gold = {category: first[category].n_gold for category in categories} if shared else {}
            views.append(WheelView(name, title, categories, tuple(s.title for s in shared), num_gold, tuple(drawn)))
    return tuple(views)


def _modes(page_set: PageSet, system: int) -> set[Mode]:
    """In which modes a system was asked about a set."""
    return {mode for _, mode in page_set.answers.get(system, ())}


def _pooled(
    system: ShownSystem, sets: Sequence[PageSet], mode: Mode, wheels: WheelSet
) -> dict[str, dict[str, CategoryScore]]:
    """The scores of one mode over all sets; empty where a system has no answer of it."""
    total: dict[str, dict[str, CategoryScore]] = {}
    for page_set in sets:
        rows = page_set.of_mode(system.index, mode)
        for wheel, found in category_scores(page_set.scored, rows, wheels).items() if rows else ():
            sums = total.setdefault(wheel, {name: CategoryScore(0, 0, 0) for name in found})
            for name, item in found.items():
                old = sums[name]
                sums[name] = CategoryScore(
                    old.n_gold + item.n_gold, old.n_predicted + item.n_predicted, old.hits + item.hits
                )
    return total


def _draw(who: str, title: str, scores: Scores) -> str:
    """The SVG of one wheel."""
    words = "; ".join(f"{name} recall {percent(item.recall, 0)}, precision {percent(item.precision, 0)}"
                     for name, item in scores.items())  # fmt: skip
    half_width = LABEL + CHARACTER_WIDTH * max(7, *map(len, scores))
    parts = [
        f'<svg viewBox="{-half_width:.0f} {-HALF_HEIGHT:.0f} {2 * half_width:.0f} {2 * HALF_HEIGHT:.0f}" role="img" '
        f'class="wheel" aria-label="{escape(f"{who}: {title}, in percent: {words}.")}">'
    ]
    step, labels = 2 * math.pi / len(scores), []
    for index, (name, item) in enumerate(scores.items()):
        start, end = index * step, (index + 1) * step
        fallback = 360 * index // len(scores)
        hue = next((hue for prefix, hue in HUES.items() if name.lower().startswith(prefix)), fallback)
        colour = "--s:0%" if hue is None else f"--h:{hue}"
        tip = (
            f"{name}: recall {percent(item.recall, 0)}, precision {percent(item.precision, 0)}; {item.n_gold} clips "
            f"have it, {item.n_predicted} answers name it, {item.hits} rightly"
        )
        parts.append(f'<g style="{colour}"><title>{escape(tip)}</title>')
        for ring, value, kind in ((INNER, item.precision, "p"), (OUTER, item.recall, "r")):
            parts.append(f'<path class="bg" d="{_sector(start, end, *ring)}"/>')
            if value:
                parts.append(f'<path class="{kind}" d="{_sector(start, end, ring[0], _radius(ring, value))}"/>')
            parts.append(f'<path class="half" d="{_arc(start, end, _radius(ring, 0.5))}"/>')
        parts.append("</g>")
        labels.append(_label(name, item, (start + end) / 2))
    return "".join([*parts, *labels, "</svg>"])


def _label(name: str, score: CategoryScore, angle: float) -> str:
    x, y = LABEL * math.sin(angle), -LABEL * math.cos(angle)
    side = "middle" if abs(math.sin(angle)) < 0.2 else "start" if x > 0 else "end"
    y -= 2 + 16 * math.cos(angle)  # two lines that stand above a wheel's top and hang below its bottom
    values = (
        f"{percent(score.recall, 0)} · {percent(score.precision, 0)}"
        if score.n_gold or score.n_predicted
        else "no clips"
    )
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{side}">{escape(name)}'
        f'<tspan class="v" x="{x:.1f}" dy="1.15em">{values}</tspan></text>'
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
