"""The best constant answer: as good as every answer tried one by one, scored as the evaluator scores it."""

from collections.abc import Mapping
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mer_r1.metrics.constant_answer import best_constant_answers, by_frequency
from mer_r1.metrics.open_vocabulary import stack, statistics_of_sets, wheel_scores

SIZES = (4, 3, 3, 4, 2)
IDS = st.tuples(*(st.integers(-1, size - 1) for size in SIZES))
VOCABULARY = st.lists(IDS, min_size=1, max_size=7).map(lambda rows: {f"word {i}": row for i, row in enumerate(rows)})


def sets_of(words: tuple[str, ...], ids: Mapping[str, tuple[int, ...]]) -> list[frozenset[int]]:
    return [frozenset(ids[word][k] for word in words) - {-1} for k in range(len(SIZES))]


@settings(deadline=None)
@given(VOCABULARY, st.data())
def test_no_answer_of_that_many_words_beats_it(ids: Mapping[str, tuple[int, ...]], data: st.DataObject) -> None:
    golds = data.draw(st.lists(st.lists(st.sampled_from(sorted(ids)), max_size=3), min_size=1, max_size=6))
    gold_sets = [sets_of(tuple(gold), ids) for gold in golds]
    answers = best_constant_answers(gold_sets, ids, SIZES)
    if not all(any(sets[k] for sets in gold_sets) for k in range(len(SIZES))):
        assert answers == ()
        return
    distinct: dict[tuple[int, ...], str] = {}
    for word, row in ids.items():
        if any(i >= 0 for i in row):
            distinct.setdefault(row, word)
    assert len(answers) == min(3, len(distinct))
    for size, answer in enumerate(answers, start=1):
        assert len(answer.words) == size
        tried = {words: f1_of(words, gold_sets, ids) for words in combinations(sorted(distinct.values()), size)}
        assert answer.f1 == pytest.approx(max(tried.values()), abs=1e-12)
        score = wheel_scores(stack([statistics_of_sets(gold, sets_of(answer.words, ids)) for gold in gold_sets]))
        assert (answer.precision, answer.recall, answer.hit) == pytest.approx(
            (score.precision, score.recall, score.hit)
        )
        assert answer.f1 == pytest.approx(f1_of(answer.words, gold_sets, ids))


def f1_of(words: tuple[str, ...], gold_sets: list[list[frozenset[int]]], ids: Mapping[str, tuple[int, ...]]) -> float:
    score = wheel_scores(stack([statistics_of_sets(gold, sets_of(words, ids)) for gold in gold_sets]))
    return sum(0.0 if wheel.f1 != wheel.f1 else wheel.f1 for wheel in score.wheels) / len(score.wheels)


def test_a_large_vocabulary_is_searched_from_the_best_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    ids = {f"word {i}{j}{k}": (i, j, k, i, j % 2) for i in range(4) for j in range(3) for k in range(3)}
    gold_sets = [sets_of((word,), ids) for word in sorted(ids)[::2]]
    exact = best_constant_answers(gold_sets, ids, SIZES)
    monkeypatch.setattr("mer_r1.metrics.constant_answer.MAX_EXACT", 10)
    found = best_constant_answers(gold_sets, ids, SIZES)
    assert found[:2] == exact[:2]
    assert len(set(found[2].words)) == 3
    assert found[2].f1 <= exact[2].f1
    assert found[2].f1 == pytest.approx(exact[2].f1, abs=0.02)


def test_the_frequent_word_stands_for_its_category() -> None:
    words = by_frequency([("glad",), ("happy",), ("happy", "sad"), ("sad",)])
    assert words == ["happy", "sad", "glad"]
    same = (0, 0, 0, 0, 0)
    answers = best_constant_answers([[frozenset({0})] * 5], dict.fromkeys(words, same), SIZES)
    assert [answer.words for answer in answers] == [("happy",)]


def test_no_gold_gives_no_answer() -> None:
    assert best_constant_answers([], {}, SIZES) == ()
    assert best_constant_answers([[frozenset()] * 5], {"lost": (-1,) * 5}, SIZES) == ()
