"""The emotion wheel drawn as a wheel: a sector a category, recall in the outer ring, precision in the inner one.

Numbers are those of analysis/categories.py, added up over the sets that every system was asked about in every mode, so
that wheels beside each other are of the same clips; where no set is such, each wheel is of its own system's sets, and
says which. display/wheel_shapes.py draws.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mer_r1.analysis.categories import CategoryScore, category_scores
from mer_r1.data.sample import MODES, Mode
from mer_r1.display.wheel_shapes import Sector, draw_wheel
from mer_r1.emotion.wheel import WheelSet
from mer_r1.report.sets import PageSet, ShownSystem
from mer_r1.text import percent

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
    named = zip(wheels.names, wheels.short_names, wheels.titles, wheels.categories_of, strict=True)
    for name, short, title, categories in named:
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
            views.append(WheelView(short, title, categories, tuple(s.title for s in shared), num_gold, tuple(drawn)))
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
    return draw_wheel(f"{who}: {title}, in percent: {words}.", [_sector(name, item) for name, item in scores.items()])


def _sector(name: str, score: CategoryScore) -> Sector:
    recall, precision = percent(score.recall, 0), percent(score.precision, 0)
    return Sector(
        name,
        outer=score.recall,
        inner=score.precision,
        values=f"{recall} · {precision}" if score.n_gold or score.n_predicted else "no clips",
        tip=f"{name}: recall {recall}, precision {precision}; {score.n_gold} clips have it, {score.n_predicted} "
        f"answers name it, {score.hits} rightly",
    )
