"""EMO-R3's table as data: its means are those of its cells, and one's own rows stand over the cells to compare with."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from mer_r1.benchmarks.emotion_pictures.layouts import PICTURE_SETS
from mer_r1.benchmarks.emotion_pictures.published import PublishedCells, domains, published_pictures
from mer_r1.data.sample import Sample
from mer_r1.display.emotion_pictures import accuracy_grid, confusion_grid, published_grid
from mer_r1.evaluation.records import ScoreRecord, ScoresByMode
from mer_r1.metrics.accuracy import score_accuracy

ROUNDED = 0.0051
ROWS = published_pictures().rows


def test_every_method_has_six_cells_of_known_sets() -> None:
    assert [row.model for row in ROWS] == [
        "Vanilla",
        "SFT",
        *(f"{method}, G={num}" for num in (4, 8) for method in ("GRPO", "DAPO", "EMO-R3")),
    ]
    for row in ROWS:
        assert list(row.cells) == ["emoset", "emotion6"]
        for train, cells in row.cells.items():
            assert next(iter(cells)) == train, "the set that was trained on comes first"
            assert set(cells) == {"emoset", "emotion6", "webemo"} <= set(PICTURE_SETS)
    assert "arXiv 2602.23802" in published_pictures().source


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.model)
def test_the_means_are_those_of_the_cells(row: PublishedCells) -> None:
    inside = [cells[train] for train, cells in row.cells.items()]
    outside = [value for train, cells in row.cells.items() for test, value in cells.items() if test != train]
    means = (sum(inside) / 2, sum(outside) / 4, sum(inside + outside) / 6)
    for printed, mean in zip(row.means, means, strict=True):
        assert printed is None or printed == pytest.approx(mean, abs=ROUNDED)
    assert (row.means[0] is None) == (row.model == "Vanilla")


def test_an_untrained_model_has_one_number_a_set() -> None:
    assert ROWS[0].cells["emoset"] == ROWS[0].cells["emotion6"]


def test_the_cells_are_shares_of_the_pictures_that_the_note_says() -> None:
    num = {"emoset": 2000, "emotion6": 594, "webemo": 2000}
    odd = [
        (row.model, train, test)
        for row in ROWS
        for train, cells in row.cells.items()
        for test, value in cells.items()
        if round(100 * round(value * num[test] / 100) / num[test], 2) != pytest.approx(value, abs=ROUNDED)
    ]
    assert odd == [(f"DAPO, G={num}", name, name) for num in (4, 8) for name in ("emoset", "emotion6")]
    assert "four of DAPO" in published_pictures().note


def test_in_domain_is_the_set_trained_on_and_out_of_domain_all_others() -> None:
    assert domains(["a", "b", "c"], "b") == {"A^I": ["b"], "A^O": ["a", "c"], "A": ["a", "b", "c"]}
    assert domains(["a", "b"], None) == {"A^I": [], "A^O": [], "A": ["a", "b"]}
    assert domains(["a"], "a") == {"A^I": ["a"], "A^O": [], "A": ["a"]}


def scores(accuracies: Mapping[str, float | None]) -> dict[str, ScoresByMode]:
    return {name: ScoresByMode.of({"slow": ScoreRecord(accuracy=value)}) for name, value in accuracies.items()}


def test_own_rows_stand_over_the_published_cells_of_the_same_training() -> None:
    sets = {"emoset": 0.5, "emotion6": 0.4, "webemo": 0.3}
    grid = accuracy_grid("mine", scores(sets), ["slow"], "emoset")
    assert grid.columns == ("", "", "EmoSet (trained on)", "Emotion6", "WebEmo", "A^I", "A^O", "A")
    assert grid.rows[0] == ("mine", "slow", "50.00", "40.00", "30.00", "50.00", "35.00", "40.00")
    assert len(grid.rows) == 1 + len(ROWS)
    assert grid.rows[5] == ("EMO-R3, G=4 (published)", "", "75.50", "60.44", "50.45", "75.50", "55.45", "62.13")
    other = accuracy_grid("mine", scores({"emotion6": None}), ["slow"], "emotion6")
    assert other.rows[0][2:] == ("–", "–", "–", "–")
    assert other.rows[5][:4] == ("EMO-R3, G=4 (published)", "", "70.71", "70.71")


def test_without_a_training_set_only_the_untrained_model_stands_beside() -> None:
    grid = accuracy_grid("mine", scores({"emoset": 0.5, "own": 0.1}), ["slow"], None)
    assert grid.rows[1:] == (("Vanilla (published)", "", "51.55", "–", "–", "–", "–"),)
    assert len(accuracy_grid("mine", scores({"own": 0.1}), ["slow"], "own").rows) == 1


def test_the_published_table_is_printed_whole() -> None:
    grid = published_grid()
    assert grid.columns[1:4] == ("EmoSet → EmoSet", "EmoSet → Emotion6", "EmoSet → WebEmo")
    assert grid.rows[0][-3:] == ("–", "–", "47.40")
    assert grid.rows[-1] == (
        "EMO-R3, G=8", "76.40", "59.26", "49.70", "71.72", "61.80", "43.65", "74.06", "53.60", "60.42"
    )  # fmt: skip


def test_a_confusion_is_drawn_with_its_recalls() -> None:
    gold = [Sample(str(n), subtitle="x", labels=("joy",), candidates=("fear", "joy")) for n in range(4)]
    report = score_accuracy(gold, {"0": ("joy",), "1": ("fear",)}, name="own", mode="slow")
    grid = confusion_grid("own", "slow", report.as_json())
    assert grid.columns == ("", "fear", "joy", "other", "none", "recall %")
    assert grid.rows == (("joy", "1", "1", "·", "2", "25.0"),)
