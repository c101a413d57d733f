"""Label leak: what the words give away against chance, and what is no word of a wheel."""

import json

import pytest

from mer_r1.analysis.leak import NUM_SHUFFLES, known_words, subtitle_leak
from mer_r1.data.sample import Sample
from mer_r1.emotion.protocol import CORRECTED
from mer_r1.metrics.corpus_score import score
from tests.small_wheels import SMALL, small_wheels


def clips(*rows: tuple[str | None, str]) -> list[Sample]:
    return [Sample(str(n), subtitle=text, labels=tuple(words.split())) for n, (text, words) in enumerate(rows)]


def test_words_and_pairs_of_words_are_looked_up_whatever_stands_around_them() -> None:
    assert known_words("Happy! I’m at ease, 3 angry_men; unhappy.", SMALL) == ["Happy", "angry", "at ease"]
    assert known_words("", SMALL) == []


def test_subtitles_that_say_the_label_score_full_and_above_chance() -> None:
    texts = [("I am happy", "happy"), ("so sad", "sad"), ("angry!", "angry")] * 20
    found = subtitle_leak(clips(*texts), SMALL)
    assert found is not None
    assert found["found"]["names_gold"] == pytest.approx(1)
    assert found["found"]["f1"] == pytest.approx(1)
    assert found["shuffled"]["names_gold"] < 0.6
    assert found["p_value"] < 0.01
    assert found["finding"].endswith("give away more than chance.")
    json.dumps(found, allow_nan=False)


def test_subtitles_that_have_nothing_to_do_with_the_label_are_chance() -> None:
    found = subtitle_leak(clips(*[("happy", "sad"), ("sad", "happy"), ("happy", "happy"), ("sad", "sad")] * 15), SMALL)
    assert found is not None
    assert found["p_value"] > 0.2
    assert found["finding"].endswith("no more than chance.")


def test_the_words_are_scored_as_the_scorer_scores_an_answer() -> None:
    samples = clips(
        ("glad and sad", "happy"), ("nothing", "angry"), ("angry", "sad angry"), (None, "sad"), ("x", "lost")
    )
    found = subtitle_leak(samples, SMALL)
    assert found is not None
    assert (found["n"], found["without_subtitle"]) == (3, 1)
    gold = {sample.id: sample.labels for sample in samples[:3]}
    said = {"0": ["glad", "sad"], "1": [], "2": ["angry"]}
    measured = score(gold, said, SMALL)
    for key in ("precision", "recall", "f1"):
        assert found["found"][key] == pytest.approx(getattr(measured.open_vocabulary, key))
        assert found["found"]["intervals"][key] == pytest.approx(list(measured.intervals[key]))
    best = max((row for row in measured.constant_baselines if row.measure == "f1"), key=lambda row: row.f1)
    assert found["constant"]["words"] == list(best.words)
    assert found["names_any"] == pytest.approx(2 / 3)


def test_no_subtitle_and_no_gold_say_nothing() -> None:
    assert subtitle_leak(clips((None, "happy"), ("  ", "sad")), SMALL) is None
    assert subtitle_leak(clips(("happy", "")), SMALL) is None


def test_a_word_that_no_wheel_knows_is_no_wrong_answer_under_either_protocol() -> None:
    samples = clips(("quite happy blorg", "happy"), ("sad", "sad"))
    both = [subtitle_leak(samples, wheels) for wheels in (SMALL, small_wheels(CORRECTED))]
    assert [item and item["found"]["precision"] for item in both] == [pytest.approx(1)] * 2


def test_the_smallest_p_value_is_one_of_the_shuffles_and_the_data() -> None:
    """A p-value of 0 would say that no shuffle can ever be as good."""
    found = subtitle_leak(clips(*[("happy", "happy"), ("sad", "sad"), ("angry", "angry")] * 20), SMALL)
    assert found is not None
    assert found["p_value"] == 1 / (1 + NUM_SHUFFLES)
    all_alike = subtitle_leak(clips(*[("happy", "happy")] * 5), SMALL)
    assert all_alike is not None
    assert all_alike["p_value"] == 1.0
