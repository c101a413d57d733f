"""The published tables are as printed: their means are those of their rows, and the tables agree with each other."""

from __future__ import annotations

from math import isnan

import pytest

from mer_r1.benchmarks.mer_unibench.benchmark import OFFICIAL, UNIFIED, means_of
from mer_r1.benchmarks.mer_unibench.layouts import SETS
from mer_r1.benchmarks.published import published, tables_of
from mer_r1.display.mer_unibench import BESIDE, groups_grid, official_grid, unified_grid
from mer_r1.evaluation.records import ScoreRecord, ScoresByMode

ROUNDED = 0.0101  # rows are rounded, and some means are cut
MISPRINTED = {("Baseline", "slow"): 70.52}  # Table 3; its rows give 70.55, as Tables 4 and 5 print


def mean(values: tuple[float, ...]) -> float:
    return sum(values) / len(values)


def test_every_table_is_there_and_every_row_fills_its_columns() -> None:
    assert {name: len(table.rows) for name, table in published().items()} == {
        "mer-unibench": 15,
        "mme-emotion": 6,
        "unified": 6,
        "ablation": 4,
        "calibration": 6,
        "emotion-pictures": 8,
    }
    for name, table in published().items():
        assert all(len(row.values) == len(table.columns) for row in table.rows)
        assert all(isnan(value) or 0 < value < 100 for row in table.rows for value in row.values)
        assert ("arXiv 2602.23802" if name == "emotion-pictures" else "arXiv 2606.27652") in table.source


def test_the_columns_are_the_sets_in_their_order() -> None:
    titles = tuple(data.title for data in SETS.values())
    assert published()["mer-unibench"].columns == (*titles, "Mean")
    assert published()["unified"].columns == (*titles, "R-Mean", "Mean")


@pytest.mark.parametrize("row", published()["mer-unibench"].rows, ids=lambda row: row.model)
def test_a_mean_of_table_1_is_the_plain_mean_of_nine(row: object) -> None:
    values = row.values  # type: ignore[attr-defined]
    assert mean(values[:9]) == pytest.approx(values[9], abs=ROUNDED)


@pytest.mark.parametrize("row", published()["unified"].rows, ids=lambda row: f"{row.model} {row.mode}")
def test_means_of_table_3_are_plain_means(row: object) -> None:
    values, key = row.values, (row.model, row.mode)  # type: ignore[attr-defined]
    assert mean(values[:5]) == pytest.approx(values[9], abs=ROUNDED)
    if key in MISPRINTED:
        assert values[10] == MISPRINTED[key]
        assert mean(values[:9]) == pytest.approx(70.55, abs=ROUNDED)
    else:
        assert mean(values[:9]) == pytest.approx(values[10], abs=ROUNDED)


@pytest.mark.parametrize("name", ["ablation", "calibration"])
def test_means_of_the_ablations_weigh_the_groups_by_their_sets(name: str) -> None:
    for row in published()[name].rows:
        fine, hit, f1, sentiment, official, unified = row.values
        assert (fine + 4 * hit + 4 * sentiment) / 9 == pytest.approx(official, abs=ROUNDED)
        assert (fine + 4 * f1 + 4 * sentiment) / 9 == pytest.approx(unified, abs=ROUNDED)


def test_the_tables_agree_where_they_print_the_same() -> None:
    table, unified = published()["mer-unibench"], published()["unified"]
    for model in ("Baseline", "MER-R1"):
        (first,), (third,) = table.rows_of(model), unified.rows_of(model, mode="slow")
        same = (0, 5, 6, 7, 8)
        assert [first.values[index] for index in same] == [third.values[index] for index in same]
        assert published()["calibration"].rows_of(model)[0].values[4] == first.values[9]
    assert published()["ablation"].rows[-1].values == published()["calibration"].rows[-1].values


def test_cot_of_table_2_is_the_mean_of_recognition_and_reasoning() -> None:
    for row in published()["mme-emotion"].rows:
        recognition, reasoning, cot = row.values[-3:]
        assert (recognition + reasoning) / 2 == pytest.approx(cot, abs=0.051)


def numbers(names: list[str], value: float) -> dict[str, ScoresByMode]:
    record = ScoreRecord(f1=value, hit=value + 0.1, waf=value + 0.2)
    return {name: ScoresByMode.of({"slow": record}) for name in names}


def test_a_mean_over_all_nine_takes_each_set_by_its_own_measure() -> None:
    every = numbers([*SETS], 0.5)
    means = means_of(every, "slow")
    assert means["mean"] == pytest.approx((0.5 + 4 * 0.6 + 4 * 0.7) / 9)
    assert means["mean_f1"] == pytest.approx((0.5 + 4 * 0.5 + 4 * 0.7) / 9)
    assert means["r_mean"] == pytest.approx(0.5)
    assert (means["num_sets"], means["num_recognition_sets"]) == (9, 5)
    groups = {name: means[name] for name in ("fine_f1", "basic_hit", "basic_f1", "sentiment_waf")}
    assert groups == pytest.approx({"fine_f1": 0.5, "basic_hit": 0.6, "basic_f1": 0.5, "sentiment_waf": 0.7})
    every["meld"] = ScoresByMode.of({"slow": ScoreRecord(f1=0.5)})
    assert means_of(every, "slow")["mean"] is None
    assert means_of(every, "slow")["basic_hit"] is None
    assert means_of(every, "slow")["basic_f1"] == pytest.approx(0.5)
    alone = means_of({"mosi": every["mosi"]}, "slow")
    assert (alone["r_mean"], alone["fine_f1"], alone["sentiment_waf"]) == (None, None, pytest.approx(0.7))


def test_own_rows_stand_over_the_published_ones_as_printed() -> None:
    grid = official_grid("mine", numbers([*SETS], 0.5), ["slow"])
    assert grid.columns[2:4] == ("OV-MERD+ F1", "MER2023 HIT")
    assert grid.columns[-2:] == ("CH-SIMS v2 WAF", "Mean")
    assert grid.rows[0][:4] == ("mine", "slow", "50.00", "60.00")
    assert [row[0] for row in grid.rows[1:]] == [f"{model} (published)" for model in BESIDE]
    assert grid.rows[-1][-1] == "83.50"
    unified = unified_grid("mine", numbers([*SETS], 0.5), ["slow"])
    assert unified.columns[-2:] == ("R-Mean", "Mean")
    assert [row[:2] for row in unified.rows] == [
        ("mine", "slow"),
        ("Baseline (published)", "slow"),
        ("MER-R1 (published)", "slow"),
    ]
    assert unified.rows[-1][-2:] == ("61.80", "73.14")


def test_a_mean_of_fewer_sets_says_so_and_is_taken_of_the_same_published_columns() -> None:
    grid = unified_grid("mine", numbers(["meld", "mosi"], 0.5), ["slow"])
    assert grid.columns[2:] == ("MELD F1", "CMU-MOSI WAF", "R-Mean of 1 set", "Mean of 2 sets")
    assert grid.rows[-1][2:] == ("48.70", "86.06", "48.70", "67.38")


def test_the_columns_of_tables_4_and_5_are_recomputed_from_tables_1_and_3() -> None:
    """The published numbers of single sets, as a run's, give the published means of the groups."""
    for model in ("Baseline", "MER-R1"):
        (first,), (third,) = (
            published()[name].rows_of(model, mode=mode) for name, mode in (("mer-unibench", None), ("unified", "slow"))
        )
        sets = {}
        for index, (name, layout) in enumerate(SETS.items()):
            official, unified = OFFICIAL[layout.task], UNIFIED[layout.task]
            record = ScoreRecord.of_report({official: first.values[index] / 100, unified: third.values[index] / 100})
            sets[name] = ScoresByMode.of({"slow": record})
        grid = groups_grid("mine", {"slow": means_of(sets, "slow")}, ["slow"])
        assert grid.columns[2:] == published()["ablation"].columns
        values = published()["calibration"].rows_of(model)[0].values
        assert [float(cell) for cell in grid.rows[0][2:]] == pytest.approx(values, abs=ROUNDED)
        assert [row[0] for row in grid.rows].count(f"{model} (published)") <= 1
    assert [row[0] for row in grid.rows[1:]] == [
        "Baseline (published)",
        "RD (published)",
        "A1: word-level confidence (published)",
        "B1: in the reward (published)",
        "RD + AD (published)",
        "A2: without precision calibration (published)",
        "B2: in both (published)",
        "RD + AD + SFCC (published)",
    ]


def test_all_five_tables_of_the_paper_are_those_of_its_two_benchmarks() -> None:
    tables = [table.source for name in ("mer-unibench", "mme-emotion") for table in tables_of(name)]
    assert sorted(source[-7:] for source in tables) == [f"Table {number}" for number in range(1, 6)]
