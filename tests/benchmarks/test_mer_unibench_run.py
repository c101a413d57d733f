"""`mer-r1 benchmark mer-unibench`: from folders to tables, stopped and gone on with, faults never scored."""

from __future__ import annotations

import io
import json
import os
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from mer_r1.analysis.runs import diagnose_runs
from mer_r1.benchmarks.mer_unibench.benchmark import MerUniBench
from mer_r1.benchmarks.mer_unibench.layouts import read_set
from mer_r1.benchmarks.published import published
from mer_r1.commands.benchmark import run
from mer_r1.data.files import locked
from mer_r1.data.manifest import read_manifest, write_manifest
from mer_r1.data.sample import Mode, Prediction, Sample
from mer_r1.display.benchmark import print_published
from mer_r1.display.mer_unibench import print_unibench
from mer_r1.emotion.wheel import WheelSet
from mer_r1.errors import InputError
from mer_r1.evaluation import suite
from mer_r1.evaluation.runs import read_runs
from mer_r1.evaluation.sentiment import SentimentChoice
from mer_r1.evaluation.suite import Request, run_benchmark
from mer_r1.generation import failed, make, store
from mer_r1.generation.make import Service, validate_generator
from tests.benchmarks.conftest import Asking, read_json
from tests.benchmarks.layouts import write_layout
from tests.nursery import Nursery

THREE = ("ovmerdplus", "meld", "mosi")


@dataclass
class Knows:
    """Answers with the gold, and in fast mode with "bored"; fails for the ids in `faulty`, in mode `fails` or both."""

    faulty: set[str] = field(default_factory=set)
    fails: Mode | None = None
    max_new_tokens: int = 8

    @property
    def settings(self) -> dict[str, Any]:
        return {"model": "knows", "max_new_tokens": self.max_new_tokens}

    def generate(self, samples: Sequence[Sample], mode: Mode) -> Iterator[Prediction]:
        for sample in samples:
            feeling = ("happy",) if (sample.valence or 0) > 0 else ("sad",)
            words = ("bored",) if mode == "fast" else sample.labels or feeling
            fine = Prediction(sample.id, mode, ", ".join(words), "", words, "ok")
            error = sample.id in self.faulty and self.fails in (None, mode)
            yield failed(sample.id, mode, InputError("no film")) if error else fine


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("owners")
    for name in THREE:
        write_layout(name, folder, 4)
    return folder


@pytest.fixture(autouse=True)
def any_model_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(make, "validate_generator", lambda *_, **__: None)


def ran(data: Path, out: Path, model: str = "knows", scoring: Any = (), **options: Any) -> tuple[int, str]:
    """Exit status and what was printed."""
    console, benchmark = Console(file=io.StringIO(), width=240), MerUniBench(**dict(scoring))
    request = Request(model, data, out, **options)
    status = run(benchmark, request, lambda outcome, to: print_unibench(outcome, benchmark, to), console)
    return status, console.file.getvalue()  # type: ignore[attr-defined]


def test_sets_are_asked_scored_and_laid_beside_the_published_rows(data: Path, tmp_path: Path, asking: Asking) -> None:
    asking(Knows())
    status, text = ran(data, tmp_path)
    assert status == 0
    metrics, run = read_json(tmp_path / "metrics.json"), read_json(tmp_path / "run.json")
    assert list(metrics["sets"]) == list(THREE)
    slow, fast = ({name: modes[mode] for name, modes in metrics["sets"].items()} for mode in ("slow", "fast"))
    assert [slow[name]["measure"] for name in THREE] == ["f1", "hit", "waf"]
    assert [slow[name][slow[name]["measure"]] for name in THREE] == pytest.approx([1, 1, 1])
    assert fast["meld"]["hit"] < 0.5
    assert metrics["means"]["slow"]["mean"] == pytest.approx(1)
    assert metrics["means"]["slow"]["num_sets"] == 3
    assert metrics["complete"] is True
    assert metrics["limit"] is None
    assert set(slow["meld"]["intervals"]) >= {"f1", "hit", "level"}
    assert set(slow["mosi"]["intervals"]) >= {"waf"}
    assert metrics["signature"].startswith("set:mer-unibench/ovmerdplus+meld+mosi|n:")
    assert "|mode:fast+slow|judge:lexicon@" in metrics["signature"]
    assert "set:mosi|" in slow["mosi"]["signature"]
    assert (run["kind"], run["benchmark"], run["status"]) == ("benchmark", "mer-unibench", "finished")
    assert (run["model"], run["settings"]["asked"]["model"]) == ("knows", "knows")
    for name in THREE:
        gold = read_manifest(tmp_path / name / "manifest.jsonl")
        assert [sample.id for sample in gold] == [sample.id for sample in read_set(name, data).samples]
        assert set(read_json(tmp_path / name / "score.json")["modes"]) == {"fast", "slow"}
    lines = [line for line in text.splitlines() if "knows" in line]
    assert len(lines) == 4, "two tables, a row a mode"
    assert lines[1].count("100.00") == 4
    assert "MER-R1 (published)" in text
    assert "these WAF are not MER-UniBench's" in text
    assert "Published rows: MER-R1, arXiv" in text
    assert "Not the official wheels or protocol: these F1 and HIT are not MER-UniBench's." in text
    assert "unanswered:" not in text
    assert metrics["signature"] in text
    for left_out in ("MER2023 is left out: neither mer2023.jsonl nor mer2023-dataset-process is in", "AffectGPT"):
        assert left_out in text
    system = read_runs([tmp_path])[0]
    assert [item.name for item in system.sets] == list(THREE)
    kept = system.sets[2].sentiments
    assert kept is not None
    zero = {sample.id for sample in system.sets[2].samples if sample.valence == 0}
    assert set(kept) == {key for key in system.sets[2].predictions if key[0] not in zero}
    assert zero
    for protocol in ("official", "corrected"):  # what was not judged is left out, not counted as wrong
        gap = diagnose_runs([system], WheelSet.load(protocol=protocol)).sets["mosi"].sentiment[system.name]
        assert gap.n == len(kept) // 2
        if protocol == "official":
            assert (gap.fast, gap.slow) == (fast["mosi"]["waf"], slow["mosi"]["waf"])
    assert f"judge:{gap.judge}|" in slow["mosi"]["signature"]
    assert len(system.sets[0].predictions) == 2 * len(system.sets[0].samples)


def test_a_failed_clip_is_in_no_number_and_is_asked_by_the_same_command(
    data: Path, tmp_path: Path, asking: Asking
) -> None:
    lost = {read_set(name, data).samples[0].id for name in ("meld", "mosi")}
    asking(Knows(lost))
    status, text = ran(data, tmp_path, modes=("slow",))
    metrics = read_json(tmp_path / "metrics.json")
    assert (status, metrics["complete"]) == (1, False)
    meld = metrics["sets"]["meld"]["slow"]
    assert (meld["failed"], meld["hit"]) == (1, pytest.approx(1))
    assert meld["n"] == len(read_set("meld", data).samples) - 1
    assert "\n2 answers failed and are in no number" in text
    assert "incomplete: " in text
    assert "no film; the same command tries them again" in text
    asking(Knows())
    status, text = ran(data, tmp_path, modes=("slow",))
    metrics = read_json(tmp_path / "metrics.json")
    assert (status, metrics["complete"], metrics["sets"]["meld"]["slow"]["failed"]) == (0, True, 0)
    assert "incomplete" not in text


def test_a_set_of_which_no_clip_could_be_asked_is_left_out(data: Path, tmp_path: Path, asking: Asking) -> None:
    asking(Knows({sample.id for sample in read_set("mosi", data).samples}))
    assert ran(data, tmp_path / "a")[0] == 1
    metrics = read_json(tmp_path / "a" / "metrics.json")
    assert (list(metrics["sets"]), metrics["means"]["fast"]["num_sets"]) == (["ovmerdplus", "meld"], 2)
    with pytest.raises(InputError, match=r"8 of 8 answers failed, such as .*: no film"):
        ran(data, tmp_path / "b", sets=("mosi",))


def test_a_clip_that_failed_in_one_mode_is_in_no_number_of_the_other(
    data: Path, tmp_path: Path, asking: Asking
) -> None:
    asking(Knows({read_set(name, data).samples[0].id for name in ("meld", "mosi")}, "slow"))
    assert ran(data, tmp_path)[0] == 1
    sets = read_json(tmp_path / "metrics.json")["sets"]
    assert [(sets["meld"][mode]["n"], sets["meld"][mode]["failed"]) for mode in ("fast", "slow")] == [(3, 0), (3, 1)]
    whole = {name: len(read_set(name, data).samples) for name in THREE}
    scored = [sample for sample in read_set("mosi", data).samples[1:] if sample.valence]
    assert [sets["mosi"][mode]["n"] for mode in ("fast", "slow")] == [len(scored)] * 2
    assert sets["ovmerdplus"]["fast"]["n"] == whole["ovmerdplus"]


def test_where_a_mode_always_fails_it_is_said_how_the_other_is_scored(
    data: Path, tmp_path: Path, asking: Asking
) -> None:
    asking(Knows({sample.id for sample in read_set("meld", data).samples}, "fast"))
    with pytest.raises(
        InputError, match=r"4 of 8 answers failed.*; --mode fast or slow scores a mode that was answered"
    ):
        ran(data, tmp_path, sets=("meld",))
    assert ran(data, tmp_path, sets=("meld",), modes=("slow",))[0] == 0
    with pytest.raises(InputError, match=r"the same command tries them again$"):
        ran(data, tmp_path, sets=("meld",), modes=("fast",))


def test_unfinished_answers_are_counted_below_the_tables(data: Path, tmp_path: Path, asking: Asking) -> None:
    class Rambles(Knows):
        def generate(self, samples: Sequence[Sample], mode: Mode) -> Iterator[Prediction]:
            for sample in samples:
                yield Prediction(sample.id, mode, "<think>so", "so", (), "truncated")

    asking(Rambles())
    status, text = ran(data, tmp_path, modes=("slow",))
    assert status == 0
    sets = read_json(tmp_path / "metrics.json")["sets"]
    assert [sets[name]["slow"]["unanswered"] for name in THREE] == [4, 4, 4]
    assert "unanswered: 12 answers are cut off or empty" in text


def test_the_published_mean_beside_is_of_the_same_sets(data: Path, tmp_path: Path, asking: Asking) -> None:
    asking(Knows())
    _, text = ran(data, tmp_path, modes=("slow",), sets=("ovmerdplus", "meld"))
    values = next(row.values for row in published()["mer-unibench"].rows if row.model == "MER-R1")
    row = next(line for line in text.splitlines() if "MER-R1 (published)" in line)
    cells = [cell.strip() for cell in row.strip("│").split("│")]
    assert (values[0], values[3]) == (70.68, 71.90)
    assert cells == ["MER-R1 (published)", "", "70.68", "71.90", "71.29"]


def test_a_model_that_cannot_be_asked_leaves_no_folder(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(make, "validate_generator", validate_generator)
    wrong: list[dict[str, Any]] = [{}, {"service": Service("localhost")}, {"max_new_tokens": 0}]
    for options in wrong:
        with pytest.raises(InputError, match=r"no such folder|no web address|--max-new-tokens 0"):
            ran(data, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_one_mode_or_few_clips_can_be_asked_and_the_rest_later(data: Path, tmp_path: Path, asking: Asking) -> None:
    asking(Knows())
    status, text = ran(data, tmp_path, modes=("fast",), sets=("meld",), limit=2)
    assert status == 0
    assert "The first 2 clips of each set, not the whole sets." in text
    first = (tmp_path / "meld" / "predictions.jsonl").read_text()
    assert (first.count("\n"), read_json(tmp_path / "metrics.json")["limit"]) == (2, 2)
    ran(data, tmp_path, sets=("meld",))
    later = (tmp_path / "meld" / "predictions.jsonl").read_text()
    assert later.startswith(first)
    assert later.count("\n") == 8
    assert set(read_json(tmp_path / "metrics.json")["means"]) == {"fast", "slow"}


def test_manifests_that_are_prepared_are_taken_before_folders(data: Path, tmp_path: Path, asking: Asking) -> None:
    asking(Knows())
    write_manifest(tmp_path / "data" / "meld.jsonl", read_set("meld", data).samples[:3])
    status, text = ran(tmp_path / "data", tmp_path / "out")
    metrics = read_json(tmp_path / "out" / "metrics.json")
    assert (status, metrics["sets"]["meld"]["slow"]["n"]) == (0, 3)
    assert metrics["notes"] == ["MELD: 3 clips are scored, 2,610 published"]
    assert metrics["notes"][0] in text[text.index("MER-R1 (published)") :]


def test_clips_that_are_not_as_many_as_published_are_noted_once(data: Path, tmp_path: Path, asking: Asking) -> None:
    asking(Knows())
    folder = write_layout("meld", tmp_path / "data", 4)
    (folder / "subvideo" / "test_dia1_utt0.mp4").unlink()
    ran(tmp_path / "data", tmp_path / "out", limit=2)
    assert read_json(tmp_path / "out" / "metrics.json")["notes"] == ["MELD: 3 clips are scored, 2,610 published"]


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"sets": ("melt",)}, "--sets: 'melt' is none of ovmerdplus"),
    ({"sets": ("meld", "sims")}, r"CH-SIMS: neither sims\.jsonl nor sims-process is in .*AffectGPT"),
    ({"limit": 0}, "--limit 0"),
    ({"scoring": {"wheels": "nowhere"}}, "nowhere"),
    ({"scoring": {"sentiment": SentimentChoice(url="http://localhost:1")}}, "--sentiment-url needs"),
    ({"scoring": {"sentiment": SentimentChoice(out=Path("x"))}}, "--sentiment-out"),
]


@pytest.mark.parametrize(("options", "message"), WRONG, ids=[message for _, message in WRONG])
def test_wrong_options_are_named_before_anything_is_asked(
    options: dict[str, Any], message: str, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(suite, "make_generator", lambda *_, **__: pytest.fail("a model is loaded"))
    with pytest.raises(InputError, match=message):
        ran(data, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_a_folder_without_a_set_and_a_set_without_gold_are_named(data: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"OV-MERD\+: neither ovmerdplus\.jsonl nor ovmerdplus-process is in"):
        ran(tmp_path, tmp_path / "out")
    with pytest.raises(InputError, match=r"no such folder; give one that holds NAME\.jsonl"):
        ran(tmp_path / "nowhere", tmp_path / "out")
    write_manifest(tmp_path / "mosi.jsonl", [Sample("a", subtitle="said", labels=("happy",))])
    with pytest.raises(InputError, match="CMU-MOSI: no clip with a valence"):
        ran(tmp_path, tmp_path / "out")


def test_another_run_another_setting_and_a_second_process_are_refused(
    data: Path, tmp_path: Path, asking: Asking
) -> None:
    asking(Knows())
    ran(data, tmp_path / "out", sets=("meld",))
    with (
        locked(tmp_path / "out"),
        pytest.raises(InputError, match=f"{tmp_path / 'out'}: another process is at work here"),
    ):
        ran(data, tmp_path / "out", sets=("meld",))
    asking(Knows(max_new_tokens=9))
    with pytest.raises(InputError, match="made with max_new_tokens 8, not 9"):
        ran(data, tmp_path / "out", sets=("meld",))
    (tmp_path / "trained").mkdir()
    (tmp_path / "trained" / "run.json").write_text('{"kind": "rl"}')
    with pytest.raises(InputError, match="trained: holds a run of another kind"):
        ran(data, tmp_path / "trained", sets=("meld",))


def test_the_published_tables_are_printed(tmp_path: Path) -> None:
    console = Console(file=io.StringIO(), width=200)
    for name in ("mer-unibench", "mme-emotion", "emotion-pictures", "without a table"):
        print_published(name, console)
    printed = console.file.getvalue()  # type: ignore[attr-defined]
    assert all(value in printed for value in ("83.50", "51.5", "60.50", "EMO-R3, arXiv 2602.23802", "– │ 47.40"))
    one_line = " ".join(printed.split())
    assert [one_line.count(f"arXiv 2606.27652v1, Table {number})") for number in range(1, 6)] == [1] * 5
    console = Console(file=io.StringIO(), width=60)
    print_published("mme-emotion", console)
    narrow = console.file.getvalue()  # type: ignore[attr-defined]
    assert "83.50" not in narrow
    row = next(line for line in narrow.splitlines() if "MER-R1  " in line)
    assert row.split()[-3:] == ["38.4", "64.6", "51.5"]


def benchmark_and_die(model: str, data: str, out: str) -> None:
    """Run the benchmark in this process, and die behind the third row of answers."""
    left = iter(range(2))

    def append(handle: Any, row: Any, rows: Any) -> None:
        real(handle, row, rows)
        if next(left, None) is None:
            os.kill(os.getpid(), signal.SIGKILL)

    real = store._append
    setattr(store, "_append", append)  # noqa: B010  its signature is another
    run_benchmark(MerUniBench(), Request(model, Path(data), Path(out), max_new_tokens=24, sets=("ovmerdplus", "meld")))


def test_killed_while_a_model_answers_and_gone_on_with_by_two_processes_the_numbers_are_the_same(
    data: Path, tiny_folder: Path, nursery: Nursery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, whole = tmp_path / "out", tmp_path / "whole"
    options: dict[str, Any] = {"max_new_tokens": 24, "sets": ("ovmerdplus", "meld")}
    assert ran(data, whole, str(tiny_folder), **options)[0] == 0
    assert nursery.run(f"{__name__}:benchmark_and_die", tiny_folder, data, out) == [-9], nursery.printed()
    rows = out / "ovmerdplus" / "predictions.jsonl"
    done = rows.read_bytes()
    assert done.count(b"\n") == 3
    assert read_json(out / "run.json")["status"] == "running"
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank in ("1", "0"):
        monkeypatch.setenv("RANK", rank)
        assert ran(data, out, str(tiny_folder), **options)[0] == 0
    assert rows.read_bytes().startswith(done)
    assert read_json(out / "metrics.json") == read_json(whole / "metrics.json")
    for name in ("ovmerdplus", "meld"):
        first, second = (sorted(answers_of(folder / name)) for folder in (out, whole))
        assert first == second
        assert len(first) == 8
    assert not list(out.glob("*/*.parts"))


def answers_of(folder: Path) -> Iterator[tuple[str, str, str]]:
    for line in (folder / "predictions.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        yield row["id"], row["mode"], row["raw"]


def test_a_narrower_run_scores_what_it_asked_and_keeps_what_the_wider_one_did(
    data: Path, tmp_path: Path, asking: Asking
) -> None:
    asking(Knows())
    out = tmp_path / "run"
    assert ran(data, out, sets=("meld",))[0] == 0
    wide, rows = read_manifest(out / "meld/manifest.jsonl"), (out / "meld/predictions.jsonl").read_bytes()
    assert ran(data, out, sets=("meld",), limit=1)[0] == 0
    assert read_json(out / "metrics.json")["sets"]["meld"]["slow"]["n"] == 1
    assert read_manifest(out / "meld/manifest.jsonl") == wide
    assert (out / "meld/predictions.jsonl").read_bytes() == rows
