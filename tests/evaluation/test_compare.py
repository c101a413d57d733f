"""Several systems in one table: names, modes, Holm's correction, and the JSON of version 0.1.0 beside."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mer_r1.errors import InputError
from mer_r1.evaluation.compare import compare_files, rows_of_file, systems_of
from mer_r1.evaluation.score import Settings, score_file
from mer_r1.metrics.statistics import holm
from tests.evaluation.scoring import write

WORDS = ("happy", "sad", "angry")


@pytest.fixture
def gold(tmp_path: Path) -> Path:
    rows = ({"id": f"c{n}", "labels": [WORDS[n % 3]], "valence": 1 - n % 3} for n in range(30))
    return write(tmp_path / "gold.jsonl", *rows)


def system(path: Path, num_right: int, *modes: str, failed: int = 0, **more: Any) -> Path:
    """A file whose first answers are right."""
    path.parent.mkdir(exist_ok=True, parents=True)
    rows = [
        {"id": f"c{n}", "labels": [WORDS[(n + (n >= num_right)) % 3]], **({"mode": mode} if mode else {}), **more}
        | ({"status": "error"} if n < failed else {})
        for mode in modes or ("",)
        for n in range(30)
    ]
    return write(path, *rows)


def test_every_system_is_measured_against_the_first_and_p_is_corrected(gold: Path, tmp_path: Path) -> None:
    files = [system(tmp_path / f"{name}.jsonl", right) for name, right in (("a", 10), ("b", 14), ("c", 16), ("d", 30))]
    found = compare_files(gold, files)
    assert [row.system.name for row in found.rows] == ["a", "b", "c", "d"]
    assert found.rows[0].differences == {}
    alone = {path: score_file(gold, path).words["unstated"] for path in files}
    for row in found.rows:
        assert row.reports.words == alone[row.system.path]
    p = [row.differences["f1"].p_value for row in found.rows[1:]]
    assert [row.p_holm["f1"] for row in found.rows[1:]] == holm(p) != p
    two = compare_files(gold, files[:2])
    assert two.rows[1].differences == found.rows[1].differences
    assert two.rows[1].p_holm["f1"] == two.rows[1].differences["f1"].p_value, "one comparison needs no correction"


def test_modes_stand_one_below_the_other_and_one_family_has_them_all(gold: Path, tmp_path: Path) -> None:
    first, second = system(tmp_path / "a.jsonl", 10, "fast", "slow"), system(tmp_path / "b.jsonl", 14, "slow", "fast")
    third = system(tmp_path / "c.jsonl", 30, "slow")
    found = compare_files(gold, [first, second])
    assert [(row.mode, row.system.name) for row in found.rows] == [(m, s) for m in ("fast", "slow") for s in "ab"]
    assert (found.num_comparisons, found.not_compared) == (2, ())
    (signature,) = found.signatures
    assert "|mode:fast+slow|" in signature
    with_third = compare_files(gold, [first, second, third])
    assert [(row.mode, row.system.name) for row in with_third.rows] == [("slow", name) for name in "abc"]
    assert with_third.not_compared == ("fast",)
    other = system(tmp_path / "plain.jsonl", 14)
    assert [row.mode for row in compare_files(gold, [third, other]).rows] == ["slow", "unstated"]
    with pytest.raises(InputError, match=r"no mode in common \(.*a\.jsonl has fast, slow; .*--mode"):
        compare_files(gold, [first, other])
    named = compare_files(gold, [first, third], Settings(mode="slow"))
    assert [row.mode for row in named.rows] == ["slow", "slow"]


def test_a_clip_that_failed_for_one_system_is_left_out_of_all(gold: Path, tmp_path: Path) -> None:
    files = [system(tmp_path / f"{name}.jsonl", 20, failed=failed) for name, failed in (("a", 0), ("b", 4), ("c", 0))]
    found = compare_files(gold, files)
    assert [row.reports.main.whole for row in found.rows] == [26] * 3
    assert [row.reports.failed for row in found.rows] == [0, 4, 0]
    assert found.exit_status == 1
    assert "|n:26|" in found.signatures[0]


def test_json_has_a_row_a_system_and_of_two_the_reports_of_before(gold: Path, tmp_path: Path) -> None:
    files = [system(tmp_path / f"{name}.jsonl", right, sentiment="positive") for name, right in (("a", 10), ("b", 30))]
    two = compare_files(gold, files).to_json()
    first, second = two["rows"]
    assert (first["system"], first["file"], first["mode"], first["n"], first["counted"]) == (
        "a",
        str(files[0]),
        None,
        30,
        30,
    )
    assert first["difference"] is None
    assert second["f1"] == 1.0
    assert set(second["difference"]["f1"]) == {"delta", "low", "high", "p_value", "p_holm"}
    assert set(second["intervals"]) == {"precision", "recall", "f1", "hit", "waf", "accuracy"}
    assert len(two["signatures"]) == 2, "of the words and of the sentiment"
    assert two["first"] == {"file": "a.jsonl", **score_file(gold, files[0]).to_json()}
    assert two["difference"]["f1"]["delta"] == second["difference"]["f1"]["delta"]
    three = compare_files(gold, [*files, files[0]]).to_json()
    assert {"first", "second", "difference", "modes"}.isdisjoint(three)
    assert [row["system"] for row in three["rows"]] == ["a", "b", "a#2"]


def test_the_modes_of_one_file_are_rows_and_slow_stands_against_fast(gold: Path, tmp_path: Path) -> None:
    path = system(tmp_path / "a.jsonl", 10, "fast", "slow", "third")
    (named,) = systems_of([path])
    scored = score_file(gold, path)
    found = rows_of_file(named, scored)
    assert [(row.mode, bool(row.differences)) for row in found.rows] == [
        ("fast", False),
        ("slow", True),
        ("third", False),
    ]
    assert found.rows[1].differences == scored.slow_minus_fast


def test_a_system_goes_by_its_file_its_folder_or_as_much_of_the_path_as_tells_it_apart(tmp_path: Path) -> None:
    def names(*files: str) -> list[str]:
        return [system.name for system in systems_of(files)]

    assert names("runs/x/mer_r1/predictions.jsonl", "out/gpt.jsonl") == ["mer_r1", "gpt"]
    assert names("x/sft/predictions.jsonl", "y/sft/predictions.jsonl") == ["x/sft", "y/sft"]
    assert names("x/a.jsonl", "y/a.csv", "y/b.csv") == ["x/a", "y/a", "b"]
    assert names("a.jsonl", "a.jsonl") == ["a", "a#2"]
    assert names("Ours, v2=x/a.jsonl", "b.jsonl") == ["Ours, v2", "b"]
    assert names("b=x/a.jsonl", "b.jsonl") == ["b", "b#2"]
    folder = tmp_path / "lr=1e-5"
    system(folder / "predictions.jsonl", 10)
    assert systems_of([str(folder)])[0].path == folder / "predictions.jsonl", "a path that is there is no NAME=FILE"
    assert names(str(folder)) == ["lr=1e-5"]
    with pytest.raises(InputError, match="a: two systems of this name"):
        names("a=x.jsonl", "a=y.jsonl")
    for wrong in ("=x.jsonl", "a="):
        with pytest.raises(InputError, match="write NAME=FILE"):
            names(wrong)


def test_one_file_alone_is_not_compared(gold: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nothing to be compared with"):
        compare_files(gold, [system(tmp_path / "a.jsonl", 10)])
