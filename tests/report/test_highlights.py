"""The clips shown large: the strongest of each kind once, then others by their rules, never more than eight."""

from __future__ import annotations

from pathlib import Path

import pytest

from mer_r1.data.sample import Sample
from mer_r1.report.highlights import NUM_CLIPS, Highlight, cases_of, choose_highlights
from mer_r1.report.players import PageMedia
from mer_r1.report.verdicts import Verdicts
from tests.report.runs import shown_of
from tests.small_wheels import SMALL

VERDICTS = Verdicts(SMALL)
GOLD = {
    "kept": "happy", "calm": "happy", "found": "sad", "bad": "happy", "odd": "sad", "rest": "happy", "less": "happy sad"
}  # fmt: skip
REFERENCE = {
    "kept": ("happy", "sad"), "calm": ("happy angry sad", "happy"), "found": ("angry", "angry"),
    "bad": ("happy", "happy"), "odd": ("sad", "sad"), "rest": ("happy", "happy"),
    "less": ("happy sad angry", "happy sad angry"),
}  # fmt: skip
TUNED = {
    "kept": ("happy", "glad"), "calm": ("happy angry", "happy"), "found": ("angry", "sad"),
    "bad": ("happy", "angry"), "odd": ("sad", "sad"), "rest": ("happy", "happy"), "less": ("happy", "happy"),
}  # fmt: skip


def samples() -> list[Sample]:
    return [
        Sample(name, subtitle="x", labels=tuple(words.split()), source="contradicting" if name == "odd" else None)
        for name, words in GOLD.items()
    ]


def shown(highlights: list[Highlight]) -> dict[str, list[str]]:
    return {item.title: [clip.sample.id for clip in item.clips] for item in highlights}


def test_clips_are_chosen_by_the_cases_of_the_paper() -> None:
    systems, sets = shown_of(samples(), baseline=REFERENCE, mer_r1=TUNED)
    highlights = choose_highlights(cases_of(systems, sets, SMALL), sets, VERDICTS, PageMedia(Path()))
    assert shown(highlights) == {
        "Fast intuition retained": ["kept"],
        "Spurious emotion suppressed": ["calm"],
        "Missed emotion recovered": ["found"],
        "Failure": ["bad"],
        "Contradicting signals": ["odd"],
        "Not chosen": ["rest", "less"],
    }
    assert [item.count for item in highlights] == [1, 2, 1, 1, 1, None]  # found is suppressed too
    answers = highlights[0].clips[0].answers
    assert [(item.system.title, item.mode, [word.text for word in item.words]) for item in answers] == [
        ("baseline", "fast", ["happy"]),
        ("baseline", "slow", ["sad"]),
        ("mer_r1", "fast", ["happy"]),
        ("mer_r1", "slow", ["glad"]),
    ]
    assert answers[1].missed == ["happy"]


def test_one_system_is_compared_with_itself() -> None:
    systems, sets = shown_of(samples(), one=REFERENCE)
    cases = cases_of(systems, sets, SMALL)
    assert list(cases.rules) == ["lost", "suppressed", "recovered", "failure"]
    assert cases.ranked("lost") == [(0, "kept")]
    assert cases.pair == (systems[0],)


def test_a_kind_is_ranked_by_strength_over_all_sets() -> None:
    systems, sets = shown_of(samples(), baseline=REFERENCE, mer_r1=TUNED)
    cases = cases_of(systems, sets, SMALL)
    ranked = [cases.strengths[index][identity]["suppressed"] for index, identity in cases.ranked("suppressed")]
    assert ranked == sorted(ranked, reverse=True)
    assert cases.strengths[0]["kept"] == {"retained": pytest.approx(1.0)}


def test_never_more_than_eight_clips_are_shown() -> None:
    many = [Sample(str(n), subtitle="x", labels=("sad",)) for n in range(20)]
    systems, sets = shown_of(many, sft={str(n): ("sad", "sad") for n in range(20)})
    highlights = choose_highlights(cases_of(systems, sets, SMALL), sets, VERDICTS, PageMedia(Path()))
    found = [identity for of_kind in shown(highlights).values() for identity in of_kind]
    assert found == [str(n) for n in range(NUM_CLIPS)]
