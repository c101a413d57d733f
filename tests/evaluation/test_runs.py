"""The folders of runs: each kind is told by what it holds, titles are made different, what is wrong is named."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mer_r1.data.sample import Sample
from mer_r1.errors import InputError
from mer_r1.evaluation.runs import EvaluatedSet, System, read_groups, read_runs, shared_sets
from mer_r1.report.sets import page_sets, shown_systems

CLIPS = [{"id": "a", "subtitle": "Oh.", "labels": ["happy"]}, {"id": "b", "subtitle": "So.", "labels": ["sad"]}]


def write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def write_answers(folder: Path, clips: list[dict[str, Any]] = CLIPS, word: str = "happy") -> None:
    rows = [{"id": clip["id"], "mode": mode, "labels": [word]} for clip in clips for mode in ("fast", "slow")]
    write_lines(folder / "predictions.jsonl", rows)


def quickstart(folder: Path) -> Path:
    write_lines(folder / "data" / "test.jsonl", CLIPS)
    for name in ("sft", "baseline", "mer_r1"):
        write_answers(folder / name)
        write_lines(folder / name / "metrics.jsonl", [{"step": 5, "reward/recall": 0.5}, {"step": 10, "loss": 1.0}])
        (folder / name / "recipe.yaml").write_text("# recipe\n")
        (folder / name / "run.json").write_text('{"kind": "rl"}')
    numbers = {name: {"slow": {"f1": 0.5, "intervals": {"f1": [0.4, 0.6]}}} for name in ("baseline", "mer_r1")}
    (folder / "metrics.json").write_text(json.dumps({"systems": numbers}))
    return folder


def benchmark(folder: Path, model: str = "org/Omni-7B") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "run.json").write_text(json.dumps({"kind": "benchmark", "status": "running", "model": model}))
    (folder / "metrics.json").write_text(json.dumps({"sets": {"meld": {"title": "MELD"}, "iemocap": {}}}))
    for name in ("iemocap", "meld", "another"):
        write_lines(folder / name / "manifest.jsonl", CLIPS)
        write_answers(folder / name)
    write_lines(folder / "begun" / "manifest.jsonl", CLIPS)
    (folder / "begun" / "predictions.jsonl").write_text("")
    return folder


def test_a_quickstart_has_three_systems_with_one_set(tmp_path: Path) -> None:
    systems = read_runs([quickstart(tmp_path / "qs")])
    assert [(system.name, system.title) for system in systems] == [
        ("sft", "SFT"), ("baseline", "Baseline"), ("mer_r1", "MER-R1")
    ]  # fmt: skip
    for system in systems:
        (only,) = system.sets
        assert (only.name, [sample.id for sample in only.samples]) == ("test", ["a", "b"])
        assert set(only.of_mode("fast")) == {"a", "b"}
        assert {row.mode for row in only.of_mode("fast").values()} == {"fast"}
        assert (system.series("reward/recall"), system.recipe) == (([5.0], [0.5]), "# recipe\n")
    slow = systems[2].sets[0].scores.slow
    assert slow is not None
    assert (slow.value("f1"), slow.bounds("f1")) == (0.5, (0.4, 0.6))
    assert (systems[0].sets[0].scores.slow, systems[1].run.kind) == (None, "rl")


def test_one_system_of_a_quickstart_finds_its_clips(tmp_path: Path) -> None:
    (system,) = read_runs([quickstart(tmp_path / "qs") / "mer_r1"])
    assert (system.name, system.title, len(system.sets[0].samples)) == ("mer_r1", "MER-R1", 2)


def test_a_benchmark_has_its_sets_in_the_order_of_its_metrics(tmp_path: Path) -> None:
    (system,) = read_runs([benchmark(tmp_path / "omni")])
    assert (system.name, system.title) == ("omni", "Omni-7B")
    assert [(item.name, item.title) for item in system.sets] == [
        ("meld", "MELD"), ("iemocap", "iemocap"), ("another", "another")
    ]  # fmt: skip


def test_a_training_has_no_sets_and_a_manifest_with_answers_has_one(tmp_path: Path) -> None:
    write_lines(tmp_path / "rl" / "metrics.jsonl", [{"step": 1, "kl": None}])
    write_lines(tmp_path / "asked" / "manifest.jsonl", CLIPS)
    write_answers(tmp_path / "asked")
    training, asked = read_runs([tmp_path / "rl", tmp_path / "asked"])
    assert (training.sets, training.series("kl")) == ((), ([], []))
    assert (asked.sets[0].name, len(asked.sets[0].predictions)) == ("test", 4)


def test_names_and_titles_of_several_runs_are_different(tmp_path: Path) -> None:
    folders = [quickstart(tmp_path / "one"), quickstart(tmp_path / "two"), quickstart(tmp_path / "deep" / "two")]
    systems = read_runs([*folders, benchmark(tmp_path / "b" / "bench", "x/MER-R1")])
    assert len({system.name for system in systems}) == len({system.title for system in systems}) == len(systems) == 10
    titles = [system.title for system in systems if system.title.startswith("MER-R1")]
    assert titles == ["MER-R1 (one)", "MER-R1 (two)", "MER-R1 (two) #2", "MER-R1 (bench)"]


@pytest.mark.parametrize("name", ["empty", "none"])
def test_a_folder_that_is_no_run_is_named_with_what_is_needed(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=rf"{name}: no .*manifest.jsonl and predictions.jsonl"):
        read_runs([tmp_path / name])


def test_no_folder_and_a_folder_given_twice_are_refused(tmp_path: Path) -> None:
    run = quickstart(tmp_path / "qs")
    with pytest.raises(InputError, match="no folder given"):
        read_runs([])
    with pytest.raises(InputError, match="given twice"):
        read_runs([run, tmp_path / "qs" / ".." / "qs"])


def test_what_is_wrong_in_a_folder_is_named_by_file(tmp_path: Path) -> None:
    run = quickstart(tmp_path / "qs")
    (run / "mer_r1" / "predictions.jsonl").write_text('{"id": 3}\n')
    with pytest.raises(InputError, match=r"predictions.jsonl:1: id must be a text"):
        read_runs([run])
    (run / "metrics.json").write_text('{"systems": {"../x": {}}}')
    with pytest.raises(InputError, match=r"must be the name of a folder"):
        read_runs([run])
    (run / "metrics.json").write_text("{")
    with pytest.raises(InputError, match=r"metrics.json: cannot be read as JSON"):
        read_runs([run])


def test_a_title_from_outside_stands_on_one_line(tmp_path: Path) -> None:
    (system,) = read_runs([benchmark(tmp_path / "b", "org/evil\x1b[31m\nname" + "x" * 200)])
    assert system.title.isprintable()
    assert len(system.title) <= 60


def test_groups_are_runs_of_rows_of_one_step_and_clip(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [{"step": step, "id": "a", "rewards": {}, "advantage": 0.5} for step in (1, 1, 2)]
    write_lines(tmp_path / "r.jsonl", [*rows, {"step": 2, "id": "b", "rewards": {}, "advantage": None}])
    assert [len(group) for group in read_groups(tmp_path / "r.jsonl")] == [2, 1]
    assert list(read_groups(tmp_path / "none.jsonl")) == []


def test_a_run_that_is_called_as_another_ones_number_keeps_a_name_of_its_own(tmp_path: Path) -> None:
    folders = [tmp_path / index for index in ("p/run", "q/run", "z/run-2", "z/run #2")]
    for folder in folders:
        write_lines(folder / "manifest.jsonl", CLIPS)
        write_answers(folder)
    systems = read_runs(folders)
    assert [system.name for system in systems] == ["run", "run-2", "run-2-2", "run #2"]
    assert [system.title for system in systems] == ["run", "run #2", "run-2", "run #2 #2"]


def test_two_runs_share_a_set_where_ids_labels_and_valence_are_the_same() -> None:
    """The diagnosis once took sets that differ in valence alone for one, and the page for two."""
    gold = (Sample("a", subtitle="x", labels=("happy",), valence=0.5),)
    other = (replace(gold[0], valence=-0.5),)
    sets = {"one": gold, "two": other, "three": gold}
    systems = [System(name, name, Path(name), (EvaluatedSet("t", "T", Path(), of, {}),)) for name, of in sets.items()]
    assert [(item.title, list(item.answers)) for item in shared_sets(systems)] == [
        ("T", ["one", "three"]), ("T (2)", ["two"])
    ]  # fmt: skip
    assert [list(item.answers) for item in page_sets(shown_systems(systems))] == [[0, 2], [1]]
