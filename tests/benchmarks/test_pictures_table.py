"""EMO-R3's table as data: its means are those of its cells, and one's own rows stand over the cells to compare with."""

from __future__ import annotations

from collections.abc import Mapping
from math import isnan

import pytest

from mer_r1.benchmarks.emotion_pictures.benchmark import domains
from mer_r1.benchmarks.emotion_pictures.layouts import PICTURE_SETS
from mer_r1.benchmarks.published import PublishedRow, published
from mer_r1.data.sample import Sample
from mer_r1.display.confusion import confusion_grid
from mer_r1.display.emotion_pictures import accuracy_grid
from mer_r1.evaluation.records import ScoreRecord, ScoresByMode
from mer_r1.metrics.accuracy import score_accuracy

ROUNDED = 0.0051
TABLE = published()["emotion-pictures"]


def cells(row: PublishedRow) -> dict[tuple[str, str], float]:
    """(set trained on, set asked about) -> accuracy."""
    pairs = [(train, test) for train, _, test in (column.partition(" → ") for column in TABLE.columns[:6])]
    return dict(zip(pairs, row.values, strict=False))


def test_every_method_has_six_cells_of_known_sets() -> None:
    methods = [f"{method}, G={num}" for num in (4, 8) for method in ("GRPO", "DAPO", "EMO-R3")]
    assert [row.model for row in TABLE.rows] == ["Vanilla", "SFT", *methods]
    trained, asked = ("EmoSet", "Emotion6"), ("EmoSet", "Emotion6", "WebEmo")
    assert set(asked) <= {item.title for item in PICTURE_SETS.values()}
    for row in TABLE.rows:
        assert set(cells(row)) == {(train, test) for train in trained for test in asked}


@pytest.mark.parametrize("row", TABLE.rows, ids=lambda row: row.model)
def test_the_means_are_those_of_the_cells(row: PublishedRow) -> None:
    inside = [value for (train, test), value in cells(row).items() if test == train]
    outside = [value for (train, test), value in cells(row).items() if test != train]
    means = (sum(inside) / 2, sum(outside) / 4, sum(inside + outside) / 6)
    for printed, mean in zip(row.values[6:], means, strict=True):
        assert isnan(printed) or printed == pytest.approx(mean, abs=ROUNDED)
    assert isnan(row.values[6]) == (row.model == "Vanilla")


def test_an_untrained_model_has_one_number_a_set() -> None:
    untrained = cells(TABLE.rows[0])
    assert all(untrained["EmoSet", test] == untrained["Emotion6", test] for _, test in untrained)


def test_the_cells_are_shares_of_the_pictures_that_the_note_says() -> None:
    num = {"EmoSet": 2000, "Emotion6": 594, "WebEmo": 2000}
    odd = [
        (row.model, train, test)
        for row in TABLE.rows
        for (train, test), value in cells(row).items()
        if round(100 * round(value * num[test] / 100) / num[test], 2) != pytest.approx(value, abs=ROUNDED)
    ]
    assert odd == [(f"DAPO, G={num}", name, name) for num in (4, 8) for name in ("EmoSet", "Emotion6")]
    assert "four of DAPO" in TABLE.note


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
    assert len(grid.rows) == 1 + len(TABLE.rows)
    assert grid.rows[5] == ("EMO-R3, G=4 (published)", "", "75.50", "60.44", "50.45", "75.50", "55.45", "62.13")
    other = accuracy_grid("mine", scores({"emotion6": None}), ["slow"], "emotion6")
    assert other.rows[0][2:] == ("–", "–", "–", "–")
    assert other.rows[5][:4] == ("EMO-R3, G=4 (published)", "", "70.71", "70.71")


def test_without_a_training_set_only_the_untrained_model_stands_beside() -> None:
    grid = accuracy_grid("mine", scores({"emoset": 0.5, "own": 0.1}), ["slow"], None)
    assert grid.rows[1:] == (("Vanilla (published)", "", "51.55", "–", "–", "–", "–"),)
    assert len(accuracy_grid("mine", scores({"own": 0.1}), ["slow"], "own").rows) == 1


def test_a_confusion_is_drawn_with_its_recalls() -> None:
    gold = [Sample(str(n), subtitle="x", labels=("joy",), candidates=("fear", "joy")) for n in range(4)]
    report = score_accuracy(gold, {"0": ("joy",), "1": ("fear",)}, name="own", mode="slow")
    grid = confusion_grid("own", report.confusion, {label: item.recall for label, item in report.recalls.items()})
    assert grid.columns == ("", "fear", "joy", "other", "none", "recall %")
    assert grid.rows == (("joy", "1", "1", "·", "2", "25.0"),)
