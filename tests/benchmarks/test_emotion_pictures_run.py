"""`mer-r1 benchmark emotion-pictures`: from manifests to accuracies in and out of domain; faults are never scored."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from mer_r1.benchmarks.emotion_pictures.benchmark import EmotionPictures
from mer_r1.benchmarks.emotion_pictures.layouts import EMOSET_LABELS, EMOTION6_LABELS
from mer_r1.commands import main
from mer_r1.commands.benchmark import run
from mer_r1.data.manifest import read_manifest, write_manifest
from mer_r1.data.sample import Mode, Prediction, Sample
from mer_r1.display.emotion_pictures import print_pictures
from mer_r1.emotion.wheel import WheelSet
from mer_r1.errors import InputError
from mer_r1.evaluation import suite
from mer_r1.evaluation.runs import read_runs
from mer_r1.evaluation.suite import Request
from mer_r1.generation import failed, make
from mer_r1.generation.make import Service
from mer_r1.metrics.rewards import score_response
from mer_r1.prompting.response import parse_response
from tests.benchmarks.conftest import Asking, read_json
from tests.benchmarks.picture_layouts import copy_picture
from tests.judge.endpoint import says, serve
from tests.report.runs import page_of

SAID = "<step1>a</step1><step2>b</step2><step3>c</step3>"


@dataclass
class Knows:
    """Answers in the form of SET: the gold in slow mode; in fast mode the first candidate, and nothing to the last."""

    faulty: set[str] = field(default_factory=set)
    question: str = "Steps? {candidates}"

    @property
    def settings(self) -> dict[str, Any]:
        return {"model": "knows", "prompt": {"question": self.question}}

    def generate(self, samples: Sequence[Sample], mode: Mode) -> Iterator[Prediction]:
        for sample in samples:
            word = sample.labels[0].title() if mode == "slow" else sample.candidates[0]
            text = SAID if mode == "fast" and sample == samples[-1] else SAID * (mode == "slow") + f"\\boxed{{{word}}}"
            said = parse_response(text, "set_steps")
            fine = Prediction(sample.id, mode, text, said.reasoning, said.labels, said.status)
            yield failed(sample.id, mode, InputError("no picture")) if sample.id in self.faulty else fine


def rows(image: Path, candidates: tuple[str, ...], num: int) -> list[Sample]:
    return [
        Sample(f"{n:02d}", image=image, labels=(candidates[n % len(candidates)],), candidates=candidates)
        for n in range(num)
    ]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    image = copy_picture(folder / "gray.png")
    write_manifest(folder / "emoset.jsonl", rows(image, EMOSET_LABELS, 16))
    write_manifest(folder / "emotion6.jsonl", rows(image, EMOTION6_LABELS, 6))
    return folder


def ran(data: Path, out: Path, **options: Any) -> tuple[int, str]:
    """Exit status and what was printed."""
    console = Console(file=io.StringIO(), width=240)
    benchmark = EmotionPictures(options.pop("in_domain", None), options.pop("template", None))
    status = run(benchmark, Request("knows", data, out, **options), print_pictures, console)
    return status, console.file.getvalue()  # type: ignore[attr-defined]


def test_sets_are_asked_scored_and_laid_beside_the_published_rows(data: Path, tmp_path: Path, asking: Asking) -> None:
    asking(Knows())
    status, text = ran(data, tmp_path, in_domain="emotion6")
    assert status == 0
    metrics, record = read_json(tmp_path / "metrics.json"), read_json(tmp_path / "run.json")
    assert list(metrics["sets"]) == ["emotion6", "emoset"], "the set that was trained on comes first"
    slow, fast = ({name: item[mode] for name, item in metrics["sets"].items()} for mode in ("slow", "fast"))
    assert [item["accuracy"] for item in slow.values()] == [1, 1]
    assert fast["emoset"]["accuracy"] == 2 / 16
    assert (fast["emoset"]["unparsed"], fast["emoset"]["confusion"]["fear"]["amusement"]) == (1, 2)
    assert fast["emoset"]["confusion"]["sadness"]["none"] == 1
    assert metrics["means"]["fast"]["A"]["accuracy"] == pytest.approx((2 / 16 + 1 / 6) / 2)
    assert {key: item["num_sets"] for key, item in metrics["means"]["slow"].items()} == {"A^I": 1, "A^O": 1, "A": 2}
    low, high = metrics["means"]["fast"]["A^O"]["interval"]
    assert low <= 2 / 16 <= high
    assert metrics["signature"].startswith("set:emotion-pictures/emotion6+emoset|n:22|parser:one-label|mode:fast+slow|")
    assert (record["benchmark"], record["status"], record["settings"]["in_domain"]) == (
        "emotion-pictures",
        "finished",
        "emotion6",
    )
    for name in ("emoset", "emotion6"):
        asked, given = read_manifest(tmp_path / name / "manifest.jsonl"), read_manifest(data / f"{name}.jsonl")
        assert [(sample.id, sample.labels) for sample in asked] == [(sample.id, sample.labels) for sample in given]
        assert set(read_json(tmp_path / name / "score.json")["modes"]) == {"fast", "slow"}
    assert "EMO-R3, G=4 (published)" in text
    assert "EmoSet, fast: 12.50 [" in text
    assert "always amusement 12.50; 1 without a label, 0 no single candidate" in text
    assert "A^O, slow: 100.00 [100.00, 100.00] over 1 set" in text
    assert "EmoSet, slow: gold down, answers across" in text
    assert metrics["signature"] in text


def test_the_accuracy_is_the_one_that_training_is_paid(data: Path, tmp_path: Path, asking: Asking) -> None:
    asking(Knows())
    ran(data, tmp_path, sets=("emoset",))
    gold = {sample.id: sample.labels for sample in read_manifest(data / "emoset.jsonl")}
    wheels = WheelSet.load()
    said = [json.loads(line) for line in (tmp_path / "emoset" / "predictions.jsonl").read_text().splitlines()]
    for mode in ("fast", "slow"):
        paid = [
            score_response(parse_response(row["raw"], "set_steps"), gold[row["id"]], wheels).accuracy
            for row in said
            if row["mode"] == mode
        ]
        measured = read_json(tmp_path / "metrics.json")["sets"]["emoset"][mode]["accuracy"]
        assert sum(paid) / len(paid) == measured


def test_a_failed_picture_is_in_no_number_and_is_asked_by_the_same_command(
    data: Path, tmp_path: Path, asking: Asking
) -> None:
    asking(Knows({"03"}))
    status, text = ran(data, tmp_path, modes=("slow",))
    metrics = read_json(tmp_path / "metrics.json")
    assert (status, metrics["complete"]) == (1, False)
    assert [item["slow"]["n"] for item in metrics["sets"].values()] == [15, 5]
    assert [item["slow"]["accuracy"] for item in metrics["sets"].values()] == [1, 1]
    assert "1 answers failed and are in no number" in text
    assert "no picture; the same command tries them again" in text
    asking(Knows())
    assert ran(data, tmp_path, modes=("slow",))[0] == 0
    assert read_json(tmp_path / "metrics.json")["sets"]["emoset"]["slow"]["n"] == 16


def test_a_set_of_which_nothing_could_be_asked_is_left_out(data: Path, tmp_path: Path, asking: Asking) -> None:
    asking(Knows({f"{n:02d}" for n in range(6)}))
    assert ran(data, tmp_path, in_domain="emotion6")[0] == 1
    metrics = read_json(tmp_path / "metrics.json")
    assert (list(metrics["sets"]), set(metrics["means"]["slow"])) == (["emoset"], {"A"})
    with pytest.raises(InputError, match=r"6 of 6 answers failed, such as .*: no picture"):
        ran(data, tmp_path / "again", sets=("emotion6",), modes=("slow",))


@pytest.mark.slow
def test_the_run_is_read_by_the_report_and_the_diagnosis(data: Path, tmp_path: Path, asking: Asking) -> None:
    asking(Knows())
    ran(data, tmp_path / "run", in_domain="emoset")
    (system,) = read_runs([tmp_path / "run"])
    assert [item.title for item in system.sets] == ["EmoSet", "Emotion6"]
    slow = system.sets[0].scores.slow
    assert slow is not None
    assert slow.accuracy == 1
    page = page_of(tmp_path / "run").read_text(encoding="utf-8")
    assert "EmoSet" in page
    assert main(["diagnose", str(tmp_path / "run"), "--out", str(tmp_path / "diagnosis")]) == 0
    assert "emoset" in read_json(tmp_path / "diagnosis" / "diagnosis.json")["sets"]


def test_few_pictures_can_be_asked_and_the_rest_later(data: Path, tmp_path: Path, asking: Asking) -> None:
    asking(Knows())
    assert "The first 2 pictures of each set" in ran(data, tmp_path, limit=2, modes=("slow",))[1]
    first = (tmp_path / "emoset" / "predictions.jsonl").read_text()
    ran(data, tmp_path, modes=("slow",))
    later = (tmp_path / "emoset" / "predictions.jsonl").read_text()
    assert (first.count("\n"), later.count("\n"), later.startswith(first)) == (2, 16, True)


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"sets": ("fi",)}, "--sets: 'fi' is none of emoset, emotion6"),
    ({"in_domain": "webemo"}, "--in-domain: 'webemo' is none of emoset, emotion6"),
    ({"in_domain": "emoset", "sets": ("emotion6",)}, "--in-domain: 'emoset' is none of emotion6"),
    ({"limit": 0}, "--limit 0"),
    ({"template": "steps"}, "--prompt-style steps: not known; use one of full"),
]


@pytest.mark.parametrize(("options", "message"), WRONG, ids=[message for _, message in WRONG])
def test_wrong_options_are_named_before_anything_is_asked(
    options: dict[str, Any], message: str, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(suite, "make_generator", lambda *_, **__: pytest.fail("a model is loaded"))
    monkeypatch.setattr(make, "validate_generator", lambda *_, **__: None)
    with pytest.raises(InputError, match=message):
        ran(data, tmp_path / "out", **options)
    assert not (tmp_path / "out" / "run.json").exists()


def test_a_question_that_shows_no_candidates_is_refused(data: Path, tmp_path: Path, asking: Asking) -> None:
    asking(Knows(question="Emotions?"))
    with pytest.raises(InputError, match="shows no candidates to choose from; give --prompt-style choice, or set"):
        ran(data, tmp_path)


def test_a_model_at_an_address_is_shown_the_candidates(data: Path, tmp_path: Path) -> None:
    with serve(lambda _, __: says(SAID + "\\boxed{fear}")) as endpoint:
        options: dict[str, Any] = {"service": Service(endpoint.url), "modes": ("slow",), "sets": ("emotion6",)}
        with pytest.raises(InputError, match="shows no candidates"):
            ran(data, tmp_path / "own", **options)
        assert ran(data, tmp_path / "set", template="set", **options)[0] == 0
    asked = [json.dumps(item.body) for item in endpoint.asked]
    assert len(asked) == 6
    assert all(", ".join(EMOTION6_LABELS) in body and "image_url" in body for body in asked)
    slow = read_json(tmp_path / "set" / "metrics.json")["sets"]["emotion6"]["slow"]
    assert (slow["accuracy"], slow["recalls"]["fear"]["recall"]) == (pytest.approx(1 / 6), 1)


def test_a_set_without_gold_among_its_candidates_is_named(data: Path, tmp_path: Path, asking: Asking) -> None:
    asking(Knows())
    with pytest.raises(InputError, match=r"no NAME\.jsonl in it"):
        ran(tmp_path, tmp_path / "out")
    image = data / "gray.png"
    for sample, message in (
        (Sample("a", image=image, candidates=("joy",)), "no labels"),
        (Sample("a", image=image, labels=("joy",)), "no candidates"),
        (Sample("a", image=image, labels=("joy",), candidates=("fear",)), "the label 'joy' outside its candidates"),
    ):
        write_manifest(tmp_path / "own.jsonl", [sample])
        with pytest.raises(InputError, match=f"own.jsonl: a has {message}"):
            ran(tmp_path, tmp_path / "out")


def test_a_narrower_run_scores_what_it_asked_and_keeps_what_the_wider_one_did(
    data: Path, tmp_path: Path, asking: Asking
) -> None:
    asking(Knows())
    ran(data, tmp_path, sets=("emoset",))
    wide, answers = (tmp_path / "emoset" / name for name in ("manifest.jsonl", "predictions.jsonl"))
    before, rows = read_manifest(wide), answers.read_bytes()
    ran(data, tmp_path, sets=("emoset",), limit=2)
    assert read_json(tmp_path / "metrics.json")["sets"]["emoset"]["slow"]["n"] == 2
    assert (read_manifest(wide), answers.read_bytes()) == (before, rows)
