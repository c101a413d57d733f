"""The wheel: its numbers are the categories' recall and precision over all sets, and its rings end where they say."""

from __future__ import annotations

import math
import re

import pytest

from mer_r1.report.wheel_drawing import INNER, OUTER, wheel_views
from mer_r1.sample import Sample
from tests.report.runs import Page, shown_of
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
    wheels = type(SMALL)("x", SMALL.names, ("<b>",) * 5, (("<i>&", "joy"),) * 5, {"happy": 1})
    systems, sets = shown_of(GOLD[:1], one={"1": (None, "happy")})
    page = Page(wheel_views(systems, sets, wheels)[0].drawn[0].svg["slow"])
    assert {tag for tag, _ in page.tags} == {"svg", "g", "title", "path", "text", "tspan"}
    assert "<i>&" in page.text


def test_without_gold_words_there_is_no_wheel() -> None:
    systems, sets = shown_of([Sample("1", subtitle="x", valence=1.0)], one={"1": ("happy", "happy")})
    assert wheel_views(systems, sets, SMALL) == ()


def _radii(path: str) -> list[float]:
    return [math.hypot(float(x), float(y)) for x, y in re.findall(r"[ML]([-\d.]+) ([-\d.]+)", path)]
