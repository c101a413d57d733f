"""Parity with the official MER-UniBench code, independent of the wheels: its recorded sets go in as integer ids."""

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from mer_r1.metrics.open_vocabulary import OpenVocabularyScore, SetStatistics, stack, statistics_of_sets, wheel_scores
from mer_r1.response import official_labels
from tests.golden import load_golden

TOLERANCE = 1e-12
WHEELS = tuple(f"case3_wheel{k}_level1" for k in range(1, 6))


@pytest.fixture(scope="module")
def golden() -> dict[str, Any]:
    return load_golden()


class Ids:
    """Category names -> integers, given out as they come."""

    def __init__(self) -> None:
        self.known: dict[str, int] = {}

    def __call__(self, names: Sequence[str]) -> frozenset[int]:
        return frozenset(self.known.setdefault(name, len(self.known)) for name in names)


def counts(case: dict[str, Any], metrics: Sequence[str]) -> SetStatistics:
    ids, out = Ids(), case["out"]["metrics"]
    return statistics_of_sets([ids(out[m]["gt"]) for m in metrics], [ids(out[m]["pred"]) for m in metrics])


def near(value: float, official: float | str) -> bool:
    return value != value if official == "NaN" else abs(value - float(official)) <= TOLERANCE


def metrics_of(case: dict[str, Any]) -> Iterator[str]:
    yield from (name for name, out in case["out"]["metrics"].items() if "error" not in out)


def test_every_case_alone_gives_the_official_precision_recall_and_hit(golden: dict[str, Any]) -> None:
    compared = 0
    for case in golden["cases"]:
        for metric in metrics_of(case):
            out = case["out"]["metrics"][metric]
            wheel = wheel_scores(stack([counts(case, [metric])])).wheels[0]
            assert wheel.n == (0 if out["skipped"] else 1), case["id"]
            assert near(wheel.precision, out["p"]), (case["id"], metric)
            assert near(wheel.recall, out["r"]), (case["id"], metric)
            compared += 2
            if "hit" in out:
                assert near(wheel.hit, out["hit"]), (case["id"], metric)
                compared += 1
    assert compared > 20_000


def whole(score: OpenVocabularyScore, official: dict[str, Any]) -> bool:
    names = {"precision": score.precision, "recall": score.recall, "fscore": score.f1}
    return all(near(value, official[name]) for name, value in names.items())


def test_every_f1_corpus_gives_the_official_means(golden: dict[str, Any]) -> None:
    cases = {case["id"]: case for case in golden["cases"]}
    compared = 0
    for corpus in golden["f1_corpora"]:
        chosen = corpus["process_names"] or corpus["ids"]
        for level in ("level1", "level2"):
            if "error" in corpus["out"][level]:
                continue
            metrics = [f"case3_wheel{k}_{level}" for k in range(1, 6)]
            score = wheel_scores(stack([counts(cases[name], metrics) for name in chosen]))
            assert whole(score, corpus["out"][level]), (corpus["name"], level)
            for metric, wheel in zip(metrics, score.wheels, strict=True):
                official = corpus["out"]["per_metric"][metric]
                assert wheel.n == official["n"], (corpus["name"], metric)
                assert near(wheel.precision, official["p"]), (corpus["name"], metric)
                assert near(wheel.recall, official["r"]), (corpus["name"], metric)
                assert near(wheel.f1, official["f"]), (corpus["name"], metric)
                compared += 1
    assert compared > 350


def word_map(golden: dict[str, Any]) -> dict[str, tuple[str, ...]]:
    """Word -> its category in each wheel ("": dropped), as far as the development half of the official table tells."""
    known = {row[0]: tuple(row[3:13:2]) for row in load_golden("word_table.json")["rows"]}
    for case in golden["cases"]:
        for side in ("gt", "pred"):
            if len(words := set(official_words(case[side]))) == 1 and "error" not in str(case["out"]["metrics"]):
                seqs = [case["out"]["metrics"][metric][f"{side}_seq"] for metric in WHEELS]
                known.setdefault(words.pop(), tuple(seq[0] if seq else "" for seq in seqs))
    return known


def official_words(field: object) -> tuple[str, ...]:
    if isinstance(field, list) and not all(isinstance(word, str) for word in field):
        return ()
    return official_labels(field if isinstance(field, str | list) else None)


def category_sets(words: Sequence[str], known: dict[str, tuple[str, ...]], ids: Ids) -> list[frozenset[int]]:
    rows = [known[word] for word in words if word in known]
    return [ids([row[k] for row in rows if row[k]]) for k in range(len(WHEELS))]


def is_unknown_for_sure(word: str) -> bool:
    """The table was split by the parity of SHA-1; a word of this half that is not in it is not in the whole either."""
    return int(hashlib.sha1(word.encode()).hexdigest(), 16) % 2 == 0


def test_every_hit_corpus_whose_words_are_known_gives_the_official_hit(golden: dict[str, Any]) -> None:
    known, compared = word_map(golden), 0
    for corpus in golden["hit_corpora"]:
        pairs = [(official_words(corpus["gt"][name]), official_words(corpus["pred"][name])) for name in corpus["gt"]]
        words = {word for pair in pairs for side in pair for word in side}
        if not all(word in known or is_unknown_for_sure(word) for word in words):
            continue
        ids = Ids()
        counted = [statistics_of_sets(*(category_sets(side, known, ids) for side in pair)) for pair in pairs]
        score = wheel_scores(stack(counted))
        assert near(score.hit, corpus["out"]["average"]["hitrate"]), corpus["name"]
        for metric, wheel in zip(WHEELS, score.wheels, strict=True):
            official = corpus["out"]["per_metric"][metric]
            assert wheel.n == official["n"], (corpus["name"], metric)
            assert near(wheel.hit, official["hitrate"]), (corpus["name"], metric)
        compared += 1
    assert compared >= 12


def test_the_official_parser_reads_every_field_as_the_official_code_does(golden: dict[str, Any]) -> None:
    compared = 0
    for case in golden["cases"]:
        for side in ("gt", "pred"):
            official, given = case["out"][f"{side}_list"], case[side]
            if not isinstance(official, list) or not all(isinstance(word, str) for word in official):
                continue
            assert official_labels(given) == tuple(word.lower().strip() for word in official), case["id"]
            compared += 1
    assert compared > 1_000
