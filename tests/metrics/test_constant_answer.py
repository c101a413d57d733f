"""The best constant answer: as good as every answer tried one by one, scored as the evaluator scores it."""

import math
import random
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mer_r1.emotion.compiled import pack, shifts
from mer_r1.metrics import constant_answer
from mer_r1.metrics.constant_answer import ConstantAnswer, best_constant_answers, by_frequency
from mer_r1.metrics.open_vocabulary import StatisticsArrays, wheel_scores

Sets = tuple[frozenset[int], ...]
Gold = Sequence[tuple[Sets, int]]
"""Of each sample the categories in each wheel, and the words that reach none."""

WHEELS = tuple(tuple(f"category {i}" for i in range(size)) for size in (4, 1, 3, 20, 48))
BUSY = [(0, 1, 2, 3), (0,), (0, 1, 2), (0, 7, 8, 19), (0, 31, 46, 47)]
REACHED = st.tuples(*(st.frozensets(st.sampled_from(ids), max_size=2) for ids in BUSY))
WORDS = st.lists(REACHED, min_size=1, max_size=7).map(lambda rows: {f"word {i}": row for i, row in enumerate(rows)})


@st.composite
def gold_files(draw: st.DrawFn) -> tuple[dict[str, Sets], Gold]:
    words = draw(WORDS)
    samples = st.tuples(st.lists(st.sampled_from(sorted(words)), max_size=3), st.sampled_from([0, 0, 1, 2]))
    drawn = draw(st.lists(samples, min_size=1, max_size=6))
    return words, [(union(words, chosen), extra) for chosen, extra in drawn]


def union(words: Mapping[str, Sets], chosen: Sequence[str]) -> Sets:
    return tuple(frozenset().union(*(words[word][k] for word in chosen)) for k in range(len(WHEELS)))


def answers_of(words: Mapping[str, Sets], gold: Gold) -> tuple[ConstantAnswer, ...]:
    packed = {word: pack(sets, WHEELS) for word, sets in words.items()}
    return best_constant_answers([pack(sets, WHEELS) for sets, _ in gold], [n for _, n in gold], packed, WHEELS)


def scored(words: Mapping[str, Sets], gold: Gold, chosen: Sequence[str]) -> tuple[float, float, float, float]:
    """Precision, recall, F1 and HIT of saying these words of every sample, with an F1 of 0/0 as 0."""
    said = union(words, chosen)
    overlap = [[len(g & p) for g, p in zip(sets, said, strict=True)] for sets, _ in gold]
    num_gold = [[len(g) + extra for g in sets] for sets, extra in gold]
    num_predicted = [[len(p) for p in said]] * len(gold)
    score = wheel_scores(StatisticsArrays(*(np.array(counts) for counts in (overlap, num_gold, num_predicted))))
    f1 = [0.0 if math.isnan(wheel.f1) and wheel.n else wheel.f1 for wheel in score.wheels]
    return score.precision, score.recall, sum(f1) / len(f1), score.hit


def distinct(words: Mapping[str, Sets]) -> list[str]:
    first: dict[Sets, str] = {}
    for word, sets in words.items():
        if any(sets):
            first.setdefault(sets, word)
    return list(first.values())


@settings(deadline=None)
@given(gold_files(), st.sampled_from([1, 2, 256]))
def test_no_answer_of_that_many_words_beats_it_and_ties_go_to_earlier_words(
    file: tuple[dict[str, Sets], Gold], pairs_at_once: int
) -> None:
    words, gold = file
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(constant_answer, "_PAIRS_AT_ONCE", pairs_at_once)
        answers = answers_of(words, gold)
    candidates = distinct(words)
    if not candidates or not all(any(sets[k] or extra for sets, extra in gold) for k in range(len(WHEELS))):
        assert answers == ()
        return
    sizes = range(1, min(3, len(candidates)) + 1)
    assert [(answer.measure, len(answer.words)) for answer in answers] == [(m, s) for m in ("f1", "hit") for s in sizes]
    for answer in answers:
        column = {"f1": 2, "hit": 3}[answer.measure]
        tried = {chosen: scored(words, gold, chosen) for chosen in combinations(candidates, len(answer.words))}
        best = max(values[column] for values in tried.values())
        assert answer.words == next(chosen for chosen, values in tried.items() if values[column] >= best - 1e-12)
        found = (answer.precision, answer.recall, answer.f1, answer.hit)
        assert found == pytest.approx(tried[answer.words], abs=1e-12)


def large_file(seed: int) -> tuple[dict[str, Sets], Gold]:
    """40 words of one to two categories a wheel, and 60 samples in which early words are frequent."""
    generator = random.Random(seed)
    words = {
        f"word {i}": tuple(
            frozenset(generator.randrange(len(names)) for _ in range(generator.choice((1, 1, 2)))) for names in WHEELS
        )
        for i in range(40)
    }
    chances = [1 / (1 + i) for i in range(40)]
    samples = [generator.choices(list(words), chances, k=generator.randint(1, 4)) for _ in range(60)]
    return words, [(union(words, chosen), generator.choice((0, 0, 1))) for chosen in samples]


def best_triple(words: Mapping[str, Sets], gold: Gold) -> tuple[float, float]:
    """The highest F1 and the highest HIT of three words, from every sample's precision and recall."""
    triples = np.array(list(combinations(distinct(words), 3)))
    f1, hit = np.zeros(len(triples)), np.zeros(len(triples))
    for k, names in enumerate(WHEELS):
        bits = {word: np.isin(np.arange(len(names)), list(sets[k])) for word, sets in words.items()}
        said = np.array([np.logical_or.reduce([bits[word] for word in triple]) for triple in triples], dtype=float)
        golds = np.array([[i in sets[k] for i in range(len(names))] for sets, _ in gold], dtype=float)
        num_gold = golds.sum(axis=1) + [extra for _, extra in gold]
        overlap = said @ golds[num_gold > 0].T
        precision = (overlap / said.sum(axis=1, keepdims=True)).mean(axis=1)
        recall = (overlap / num_gold[num_gold > 0]).mean(axis=1)
        f1 += np.nan_to_num(2 * precision * recall / np.maximum(precision + recall, 1e-300)) / len(WHEELS)
        hit += overlap.mean(axis=1) / len(WHEELS)
    return float(f1.max()), float(hit.max())


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_among_ten_thousand_triples_the_best_is_found(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    words, gold = large_file(seed)
    best_f1, best_hit = best_triple(words, gold)
    answers = answers_of(words, gold)
    assert (answers[2].f1, answers[5].hit) == pytest.approx((best_f1, best_hit), abs=1e-12)
    monkeypatch.setattr(constant_answer, "MAX_ROWS", 12)  # three words only among the twelve of the best pairs
    short = answers_of(words, gold)
    assert short[:2] + short[3:5] == answers[:2] + answers[3:5]
    assert len(set(short[2].words)) == len(set(short[5].words)) == 3
    assert 0.95 * best_f1 < short[2].f1 <= best_f1 + 1e-12
    assert 0.95 * best_hit < short[5].hit <= best_hit + 1e-12


def test_a_word_that_reaches_nothing_counts_as_a_category_that_no_answer_has() -> None:
    wheels = [("joy", "anger")]
    answers = best_constant_answers([0b01, 0b01, 0], [0, 1, 1], {"happy": 0b01}, wheels, sizes=[1])
    precision, recall = 2 / 3, (1 + 1 / 2) / 3
    f1 = 2 * precision * recall / (precision + recall)
    assert [answer.measure for answer in answers] == ["f1", "hit"]
    for answer in answers:
        assert (answer.precision, answer.recall, answer.f1, answer.hit) == pytest.approx((precision, recall, f1, 2 / 3))


def test_the_frequent_word_stands_for_its_category() -> None:
    words = by_frequency([("glad",), ("happy",), ("happy", "sad"), ("sad",)])
    assert words == ["happy", "sad", "glad"]
    answers = best_constant_answers([1], [0], dict.fromkeys(words, 1), [("joy",)])
    assert [(answer.measure, answer.words) for answer in answers] == [("f1", ("happy",)), ("hit", ("happy",))]


def test_one_sample_more_is_no_tie() -> None:
    answers = best_constant_answers([1] * 5000 + [2] * 5001, [0] * 10_001, {"happy": 1, "sad": 2}, [("joy", "sadness")])
    assert [answer.words for answer in answers if len(answer.words) == 1] == [("sad",), ("sad",)]


def test_no_gold_gives_no_answer_and_another_size_is_refused() -> None:
    wheels = [("joy",), ("joy", "anger")]
    assert best_constant_answers([], [], {}, wheels) == ()
    assert best_constant_answers([], [], {"happy": 0b011}, wheels) == ()
    assert best_constant_answers([0b011], [0], {"lost": 0}, wheels) == ()
    assert best_constant_answers([0b001], [0], {"happy": 0b011}, wheels) == ()  # no sample counts in the second wheel
    with pytest.raises(ValueError, match="from 1 to 3"):
        best_constant_answers([1], [0], {"happy": 1}, wheels, sizes=[4])
    with pytest.raises(ValueError, match="shorter"):
        best_constant_answers([1], [], {"happy": 1}, wheels)


def test_most_pairs_of_a_large_benchmark_are_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of some 600 words, each of which reaches one of nine categories in every wheel."""
    categories_of, generator = [[f"c{k}" for k in range(9)]] * 5, random.Random(0)
    packed = {
        f"word {n}": sum(1 << shift + generator.randrange(9) for shift in shifts(categories_of)) for n in range(600)
    }
    values = [*packed.values()]
    gold = [generator.choice(values) | generator.choice(values) for _ in range(5000)]
    tried, with_later = 0, constant_answer._with_later

    def counted(tables: Any, first_B: Any, second_B: Any) -> Any:
        nonlocal tried
        tried += len(first_B)
        return with_later(tables, first_B, second_B)

    monkeypatch.setattr(constant_answer, "_with_later", counted)
    assert len(best_constant_answers(gold, [0] * len(gold), packed, categories_of)) == 6
    num_words = len({*values})
    assert 0 < tried < 0.05 * num_words * (num_words - 1) / 2
