"""What must hold of every corpus, whatever its words: checked on generated ones, under both protocols."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mer_r1.emotion.wheel import WheelSet
from mer_r1.metrics.corpus_score import score
from mer_r1.metrics.open_vocabulary import MEASURES, OpenVocabularyScore, set_statistics, stack, wheel_scores

WHEELS = {name: WheelSet.load(protocol=name) for name in ("official", "corrected")}
BOTH = pytest.mark.parametrize("wheels", WHEELS.values(), ids=list(WHEELS))
EVERYWHERE = [word for word in WHEELS["official"].words if all(WHEELS["official"].map_set([word]))]
SOME = [*random.Random(0).sample(WHEELS["official"].words, 60), "neutral", "qwerty", "not a word", ""]
ANSWERS = st.lists(st.sampled_from(SOME), max_size=5)
CORPUS = st.lists(st.tuples(ANSWERS, ANSWERS), min_size=1, max_size=6)
Corpus = list[tuple[list[str], list[str]]]


def scored(corpus: Corpus, wheels: WheelSet) -> OpenVocabularyScore:
    return wheel_scores(stack([set_statistics(gold, said, wheels) for gold, said in corpus]))


def numbers(score: OpenVocabularyScore) -> list[float]:
    rows = [*(tuple(getattr(wheel, name) for name in MEASURES) for wheel in score.wheels)]
    return [value for row in rows for value in row]


@BOTH
@given(CORPUS)
def test_scores_lie_between_zero_and_one(wheels: WheelSet, corpus: Corpus) -> None:
    whole = scored(corpus, wheels)
    for wheel in whole.wheels:
        for value in (wheel.precision, wheel.recall, wheel.f1):
            assert math.isnan(value) or 0 <= value <= 1 + 1e-12
        assert math.isnan(wheel.hit) or wheel.hit >= 0


@BOTH
@given(CORPUS, st.randoms(use_true_random=False))
def test_order_duplicates_case_and_white_space_never_change_a_score(
    wheels: WheelSet, corpus: Corpus, chance: random.Random
) -> None:
    changed = []
    for gold, said in corpus:
        sides = []
        for words in (gold, said):
            repeated = words + chance.choices(words, k=2) if words else []
            chance.shuffle(repeated)
            sides.append([chance.choice((word, word.upper(), f" {word.title()}\t")) for word in repeated])
        changed.append((sides[0], sides[1]))
    chance.shuffle(changed)
    assert numbers(scored(changed, wheels)) == pytest.approx(numbers(scored(corpus, wheels)), nan_ok=True, abs=1e-12)


@BOTH
@given(CORPUS, st.sampled_from(SOME))
def test_adding_a_wrong_word_never_raises_precision_and_changes_no_recall(
    wheels: WheelSet, corpus: Corpus, word: str
) -> None:
    wrong = wheels.map_set([word])
    known = all(not ids & right for gold, _ in corpus for ids, right in zip(wrong, wheels.map_set(gold), strict=True))
    if not known or any(word in gold for gold, _ in corpus):
        return
    before, after = scored(corpus, wheels), scored([(gold, [*said, word]) for gold, said in corpus], wheels)
    for one, other in zip(before.wheels, after.wheels, strict=True):
        assert one.n == other.n
        assert math.isnan(one.precision) or other.precision <= one.precision + 1e-12
        assert other.recall == pytest.approx(one.recall, nan_ok=True)


@given(
    st.lists(st.tuples(*[st.lists(st.sampled_from(EVERYWHERE), min_size=1, max_size=5)] * 2), min_size=1, max_size=6)
)
def test_precision_and_recall_swap_when_gold_and_prediction_swap(corpus: Corpus) -> None:
    for wheels in WHEELS.values():
        one, other = scored(corpus, wheels), scored([(said, gold) for gold, said in corpus], wheels)
        for a, b in zip(one.wheels, other.wheels, strict=True):
            assert (a.precision, a.recall) == pytest.approx((b.recall, b.precision), abs=1e-12)
            assert a.f1 == pytest.approx(b.f1, nan_ok=True, abs=1e-12)
            assert a.hit == pytest.approx(b.hit, abs=1e-12)


@given(st.lists(st.tuples(*[st.lists(st.sampled_from(SOME[:-1]), min_size=1, max_size=4)] * 2), min_size=1, max_size=6))
def test_with_unknown_words_too_the_corrected_sides_swap_where_both_hold_something(corpus: Corpus) -> None:
    wheels = WHEELS["corrected"]
    for gold, said in corpus:
        one, other = set_statistics(gold, said, wheels), set_statistics(said, gold, wheels)
        assert (one.overlap, one.num_gold, one.num_predicted) == (other.overlap, other.num_predicted, other.num_gold)


@BOTH
@given(CORPUS)
def test_the_gold_itself_is_a_perfect_prediction(wheels: WheelSet, corpus: Corpus) -> None:
    for wheel in scored([(gold, gold) for gold, _ in corpus], wheels).wheels:
        assert wheel.n == 0 or (wheel.precision, wheel.recall, wheel.f1) == pytest.approx((1, 1, 1))


@BOTH
@given(CORPUS)
def test_the_report_of_files_is_the_score_of_their_words(wheels: WheelSet, corpus: Corpus) -> None:
    """`score` reads fields; from lists of plain words it must come to what the words give."""
    gold = {str(n): row[0] for n, row in enumerate(corpus)}
    said = {str(n): row[1] for n, row in enumerate(corpus)}
    assert numbers(score(gold, said, wheels).open_vocabulary) == pytest.approx(
        numbers(scored(corpus, wheels)), nan_ok=True, abs=1e-12
    )
