"""The group of rollouts that is shown is the first in which recall and precision prefer different answers."""

from __future__ import annotations

from pathlib import Path

from mer_r1.evaluation.records import RolloutRecord
from mer_r1.evaluation.runs import read_groups
from mer_r1.report.rollout_group import choose_group
from tests.report.runs import write_lines


def rows(step: int, *rewards: tuple[float, float]) -> list[RolloutRecord]:
    return [
        RolloutRecord(step=step, id="t", labels=(f"w{k}",), rewards={"recall": r, "precision": p}, advantage=0.0)
        for k, (r, p) in enumerate(rewards)
    ]


def test_the_group_is_the_first_where_recall_and_precision_disagree(tmp_path: Path) -> None:
    agree, disagree = rows(1, (1, 1), (0.5, 0.5), (0, 0)), rows(2, (1, 0), (0, 1), (0, 0))
    written = [*agree, *disagree, *rows(3, (1, 0), (0, 1), (0, 0))]
    write_lines(tmp_path / "r.jsonl", [row.to_json() for row in written])
    groups = list(read_groups(tmp_path / "r.jsonl"))
    assert [group[0].step for group in groups] == [1, 2, 3]
    assert choose_group(groups) == disagree


def test_without_such_a_group_it_is_the_first_of_the_most_different() -> None:
    same, agree = rows(1, (1, 1), (1, 1)), rows(2, (1, 1), (0.5, 0.5), (0, 0))
    assert choose_group([same, agree, rows(3, (1, 1), (0.5, 0.5), (0, 0))]) == agree
    assert choose_group([]) is None
