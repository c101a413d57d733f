"""Parity with the official MER-UniBench code on its recorded corpora: its tables, its inputs, its numbers to 1e-12."""

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from mer_r1.data.labels import read_labels
from mer_r1.emotion.wheel import WheelSet
from mer_r1.metrics.corpus_score import ScoreReport, score
from mer_r1.metrics.open_vocabulary import SetStatistics, stack, wheel_scores
from tests.golden import load_golden, shared_wheels

TOLERANCE = 1e-12
LEVELS = (1, 2)


@pytest.fixture(scope="module")
def golden() -> dict[str, Any]:
    return load_golden()


@pytest.fixture(scope="module")
def tables() -> dict[int, WheelSet]:
    return {level: WheelSet.load(str(shared_wheels()), level=level) for level in LEVELS}


def near(value: float, official: float | str) -> bool:
    return value != value if official == "NaN" else abs(value - float(official)) <= TOLERANCE


def metric(wheel: int, level: int) -> str:
    return f"case3_wheel{wheel + 1}_level{level}"


def fails_officially(case: Mapping[str, Any]) -> bool:
    return any("error" in out for out in case["out"]["metrics"].values())


@pytest.mark.slow
def test_every_case_alone_gives_the_official_precision_recall_and_hit(
    golden: dict[str, Any], tables: dict[int, WheelSet]
) -> None:
    compared = 0
    for case in golden["cases"]:
        for level, wheels in tables.items():
            report = score({"x": case["gt"]}, {"x": case["pred"]}, wheels)
            assert report.malformed == int(fails_officially(case)), case["id"]
            if report.malformed:
                continue
            for k, wheel in enumerate(report.open_vocabulary.wheels):
                out = case["out"]["metrics"][metric(k, level)]
                assert wheel.n == (0 if out["skipped"] else 1), case["id"]
                assert near(wheel.precision, out["p"]), (case["id"], k, level)
                assert near(wheel.recall, out["r"]), (case["id"], k, level)
                assert "hit" not in out or near(wheel.hit, out["hit"]), (case["id"], k, level)
                compared += 1
    assert compared > 8_000


def test_the_sets_of_words_that_cases_one_and_two_compare_give_the_official_numbers(golden: dict[str, Any]) -> None:
    compared = 0
    for case in golden["cases"]:
        for name in ("case1", "case2"):
            if "error" in (out := case["out"]["metrics"][name]):
                continue
            gold, said = set(out["gt"]), set(out["pred"])
            counts = SetStatistics((len(gold & said),), (len(gold),), (len(said),))
            wheel = wheel_scores(stack([counts])).wheels[0]
            assert near(wheel.precision, out["p"]), (case["id"], name)
            assert near(wheel.recall, out["r"]), (case["id"], name)
            compared += 1
    assert compared > 1_500


def f1_corpora(golden: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any], dict[str, Any], dict[str, Any]]]:
    """Name, gold, predictions and official output of every corpus that the official code survives."""
    cases = {case["id"]: case for case in golden["cases"]}
    for corpus in golden["f1_corpora"]:
        if "error" not in corpus["out"]["level1"]:
            chosen = corpus["process_names"] or corpus["ids"]
            gold, said = ({name: cases[name][side] for name in chosen} for side in ("gt", "pred"))
            yield corpus["name"], gold, said, corpus["out"]
    for corpus in golden["realistic_f1_corpora"]:
        yield corpus["name"], corpus["gt"], corpus["pred"], corpus["out"]


def agrees(report: ScoreReport, level: int, official: Mapping[str, Any]) -> bool:
    names = {"precision": "precision", "recall": "recall", "fscore": "f1"}
    whole = all(
        near(getattr(report.open_vocabulary, ours), official[f"level{level}"][theirs]) for theirs, ours in names.items()
    )
    rows = [official["per_metric"][metric(k, level)] for k in range(5)]
    return whole and all(
        wheel.n == row["n"]
        and near(wheel.precision, row["p"])
        and near(wheel.recall, row["r"])
        and near(wheel.f1, row["f"])
        for wheel, row in zip(report.open_vocabulary.wheels, rows, strict=True)
    )


@pytest.mark.slow
def test_every_f1_corpus_gives_the_official_numbers(golden: dict[str, Any], tables: dict[int, WheelSet]) -> None:
    compared = 0
    for name, gold, said, official in f1_corpora(golden):
        for level, wheels in tables.items():
            assert agrees(score(gold, said, wheels), level, official), (name, level)
            compared += 1
    assert compared >= 2 * 40


def test_the_corpus_that_stops_the_official_code_is_scored_without_its_one_bad_row(
    golden: dict[str, Any], tables: dict[int, WheelSet]
) -> None:
    cases = {case["id"]: case for case in golden["cases"]}
    corpus = next(row for row in golden["f1_corpora"] if "error" in row["out"]["level1"])
    gold, said = ({name: cases[name][side] for name in corpus["ids"]} for side in ("gt", "pred"))
    report = score(gold, said, tables[1])
    bad = [name for name in corpus["ids"] if fails_officially(cases[name])]
    assert report.malformed_ids == tuple(bad)
    assert len(bad) >= 1
    assert report.n == len(gold)
    empty = {name: None if name in bad else labels for name, labels in said.items()}
    assert score(gold, empty, tables[1]).to_json()["open_vocabulary"] == report.to_json()["open_vocabulary"]


@pytest.mark.slow
def test_every_hit_corpus_gives_the_official_hit(golden: dict[str, Any], tables: dict[int, WheelSet]) -> None:
    for corpus in golden["hit_corpora"]:
        report = score(corpus["gt"], corpus["pred"], tables[1])
        assert near(report.open_vocabulary.hit, corpus["out"]["average"]["hitrate"]), corpus["name"]
        for level, wheels in tables.items():
            rows = score(corpus["gt"], corpus["pred"], wheels).open_vocabulary.wheels
            for k, wheel in enumerate(rows):
                official = corpus["out"]["per_metric"][metric(k, level)]
                assert wheel.n == official["n"], (corpus["name"], k, level)
                assert near(wheel.hit, official["hitrate"]), (corpus["name"], k, level)
    assert len(golden["hit_corpora"]) >= 25


def test_the_official_parser_reads_every_field_as_the_official_code_does(golden: dict[str, Any]) -> None:
    compared = 0
    for case in golden["cases"]:
        for side in ("gt", "pred"):
            official, given = case["out"][f"{side}_list"], case[side]
            words, error = read_labels(given, "official")
            if isinstance(official, list) and all(isinstance(word, str) for word in official):
                assert words == tuple(word.lower().strip() for word in official), case["id"]
                assert error is None, case["id"]
                compared += 1
            else:
                assert error is not None, case["id"]
    assert compared > 1_000
