"""The wheel: its numbers are the categories' recall and precision over all sets, and its rings end where they say."""

from __future__ import annotations

import math
import re
from dataclasses import replace

import pytest

from mer_r1.data.sample import Sample
from mer_r1.display.wheel_shapes import INNER, OUTER
from mer_r1.emotion.compiled import CompiledWheels
from mer_r1.emotion.wheel import WheelSet
from mer_r1.report.sets import PageSet, ShownSystem, page_sets, shown_systems
from mer_r1.report.wheel_drawing import wheel_views
from tests.report.runs import Page, shown_of, systems_of
from tests.small_wheels import SMALL

GOLD = [Sample("1", subtitle="x", labels=("happy",)), Sample("2", subtitle="x", labels=("happy", "sad"))]


def test_a_view_says_what_was_found_of_each_category() -> None:
    systems, sets = shown_of(GOLD, one={"1": (None, "glad angry"), "2": (None, "sad")})
    views = wheel_views(systems, sets, SMALL)
    assert [view.name for view in views] == list(SMALL.names)
    assert views[0].num_gold == {"joy": 2, "anger": 0, "sadness": 1}
    (drawn,) = views[0].drawn
    assert list(drawn.svg) == ["slow"]
    joy, anger = drawn.scores["slow"]["joy"], drawn.scores["slow"]["anger"]
    assert (joy.recall, joy.precision, anger.recall, anger.precision) == (0.5, 1.0, None, 0.0)
    label = next(attrs["aria-label"] or "" for tag, attrs in Page(drawn.svg["slow"]).tags if tag == "svg")
    assert "one, slow: one, in percent: joy recall 50, precision 100; anger recall –, precision 0" in label


def test_a_ring_fills_as_far_as_its_number() -> None:
    systems, sets = shown_of(GOLD, one={"1": (None, "glad angry"), "2": (None, "sad")})
    svg = wheel_views(systems, sets, SMALL)[0].drawn[0].svg["slow"]
    radii = {kind: max(_radii(path)) for kind, path in re.findall(r'class="(r|p)" d="([^"]+)"', svg.split("</g>")[0])}
    assert radii["r"] == pytest.approx(sum(OUTER) / 2, abs=0.1)  # recall of joy 50 %
    assert radii["p"] == pytest.approx(INNER[1], abs=0.1)  # precision 100 %


def test_sectors_go_round_once() -> None:
    systems, sets = shown_of(GOLD, one={"1": ("happy", "happy"), "2": ("happy", "happy")})
    svg = wheel_views(systems, sets, SMALL)[0].drawn[0].svg["fast"]
    starts = [
        math.atan2(float(x), -float(y)) % (2 * math.pi)
        for x, y in re.findall(r'class="bg" d="M([-\d.]+) ([-\d.]+)L', svg)[1::2]
    ]
    assert starts == pytest.approx([0, 2 * math.pi / 3, 4 * math.pi / 3], abs=0.01)


def test_names_of_categories_are_escaped() -> None:
    wheels = WheelSet(CompiledWheels("x", SMALL.names, ("<b>",) * 5, (("<i>&", "joy"),) * 5, {"happy": 1}))
    systems, sets = shown_of(GOLD[:1], one={"1": (None, "happy")})
    page = Page(wheel_views(systems, sets, wheels)[0].drawn[0].svg["slow"])
    assert {tag for tag, _ in page.tags} == {"svg", "g", "title", "path", "text", "tspan"}
    assert "<i>&" in page.text


def test_without_gold_words_there_is_no_wheel() -> None:
    systems, sets = shown_of([Sample("1", subtitle="x", valence=1.0)], one={"1": ("happy", "happy")})
    assert wheel_views(systems, sets, SMALL) == ()


def systems_with(**sets_of: str) -> tuple[tuple[ShownSystem, ...], tuple[PageSet, ...]]:
    """Systems by name, each with sets of one letter; every clip is happy, and every answer but those of set x."""
    found = []
    for name, sets in sets_of.items():
        (one,) = systems_of(GOLD[:1], **{name: {"1": ("happy", "happy")}})
        other = systems_of(GOLD[:1], **{name: {"1": ("angry", "angry")}})[0].sets[0]
        own = [replace(other if item == "x" else one.sets[0], name=item, title=item) for item in sets]
        found.append(replace(one, sets=tuple(own)))
    systems = shown_systems(found)
    return systems, page_sets(systems)


def test_a_wheel_is_of_the_sets_that_all_systems_were_asked_about() -> None:
    view = wheel_views(*systems_with(one="abx", other="ab"), SMALL)[0]
    assert view.shared == ("a", "b")
    assert view.num_gold["joy"] == 2
    assert [item.scores["slow"]["joy"].n_gold for item in view.drawn] == [2, 2]
    assert [item.scores["slow"]["joy"].recall for item in view.drawn] == [1.0, 1.0]


def test_without_a_common_set_each_wheel_names_its_own_sets() -> None:
    view = wheel_views(*systems_with(one="ax", other="b"), SMALL)[0]
    assert (view.shared, view.num_gold) == ((), {})
    assert [item.sets for item in view.drawn] == [("a", "x"), ("b",)]
    assert [item.scores["slow"]["joy"].recall for item in view.drawn] == [0.5, 1.0]


def test_the_numbers_of_several_sets_are_added_up() -> None:
    view = wheel_views(*systems_with(one="abx"), SMALL)[0]
    joy = view.drawn[0].scores["fast"]["joy"]
    assert (joy.n_gold, joy.n_predicted, joy.hits) == (3, 2, 2)


def test_a_category_without_clips_says_so_in_words() -> None:
    systems, sets = shown_of(GOLD, one={"1": (None, "glad"), "2": (None, "sad")})
    page = Page(wheel_views(systems, sets, SMALL)[0].drawn[0].svg["slow"])
    assert "anger no clips" in page.text
    assert "joy 50 · 100" in page.text


def _radii(path: str) -> list[float]:
    return [math.hypot(float(x), float(y)) for x, y in re.findall(r"[ML]([-\d.]+) ([-\d.]+)", path)]
