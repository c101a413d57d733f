"""Modality: one medium taken away at a time, answers kept, differences paired, and a finding no stronger than those."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from rich.console import Console

from mer_r1.analysis.modality import CONDITIONS, EVERYTHING, Modality, finding
from mer_r1.commands import benchmark, main
from mer_r1.data.manifest import write_manifest
from mer_r1.data.sample import MediaFacts, Mode, Prediction, Sample
from mer_r1.display.modality import print_modality
from mer_r1.errors import InputError
from mer_r1.evaluation.suite import FoundSets, Request, run_benchmark
from mer_r1.generation import Generator, failed
from mer_r1.metrics.corpus_score import compare, score
from tests.analysis.answers import said
from tests.small_wheels import SMALL

if TYPE_CHECKING:
    from mer_r1.models.qwen2_5_omni import OmniBackbone

CLIPS = [Sample("a", subtitle="x", labels=("happy",)), Sample("b", audio=Path("b.wav"), labels=("sad", "angry"))]
SAID = {
    EVERYTHING: ("happy", "sad"),
    "no-video": ("happy angry", "sad"),
    "no-sound": ("happy", "sad angry"),
    "no-subtitle": ("happy", "sad"),
    "subtitle-alone": ("happy", "angry"),
}
FACTS = {"a": MediaFacts(size=(8, 8)), "b": MediaFacts(audio_s=1.0)}


@dataclass
class Says:
    """Answers CLIPS with the words of a condition, and fails for some ids in the slow mode."""

    words: tuple[str, ...]
    faulty: Sequence[str] = ()
    settings: dict[str, Any] = field(default_factory=dict)

    def generate(self, samples: Sequence[Sample], mode: Mode) -> Iterator[Prediction]:
        for sample in samples:
            words = self.words[CLIPS.index(sample)].split()
            fine = said(sample.id, mode, *words, media=FACTS[sample.id])
            yield failed(sample.id, mode, InputError("broken")) if mode == "slow" and sample.id in self.faulty else fine


@dataclass(frozen=True)
class Scripted(Modality):
    """CLIPS, answered as SAID says; `faulty` are the ids that fail under each condition."""

    faulty: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def find_sets(self, request: Request) -> FoundSets:
        write_manifest(request.data, CLIPS)
        found = super().find_sets(request)
        return FoundSets({name: replace(item, samples=tuple(CLIPS)) for name, item in found.sets.items()})

    def generators(self, request: Request, sets: Sequence[str]) -> dict[str, Generator]:
        return {name: Says(SAID[name], self.faulty.get(name, ())) for name in sets}


def answered(out: Path, modes: tuple[Mode, ...] = ("slow",), **faulty: Sequence[str]) -> Any:
    """What modality.json says."""
    of_condition = {name.replace("_", "-"): ids for name, ids in faulty.items()}
    outcome = run_benchmark(Scripted(SMALL, faulty=of_condition), Request("m", out / "m.jsonl", out, modes))
    assert outcome is not None
    assert outcome.exit_status == bool(faulty)
    assert outcome.numbers == json.loads((out / "modality.json").read_text())
    return outcome.numbers


def test_each_condition_has_the_scorers_numbers_and_its_paired_difference(tmp_path: Path) -> None:
    found = answered(tmp_path)["modes"]["slow"]
    gold = {clip.id: clip.labels for clip in CLIPS}
    reports = {
        name: score(gold, dict(zip("ab", (text.split() for text in texts), strict=True)), SMALL)
        for name, texts in SAID.items()
    }
    for name, report in reports.items():
        assert found[name]["f1"] == report.open_vocabulary.f1
        difference = compare(reports[EVERYTHING], report)["f1"]
        assert found[name]["delta"]["f1"] == {
            "value": difference.delta, "low": difference.low, "high": difference.high, "p_value": difference.p_value
        }  # fmt: skip
    assert found[EVERYTHING]["delta"]["recall"]["value"] == 0
    assert [found[name]["num_had"] for name in CONDITIONS] == [2, 1, 1, 1, 2]
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert {name: item["slow"]["f1"] for name, item in metrics["sets"].items()} == {
        name: report.open_vocabulary.f1 for name, report in reports.items()
    }


def test_a_clip_with_a_failed_answer_counts_under_no_condition_and_the_failure_is_counted(tmp_path: Path) -> None:
    found = answered(tmp_path / "one", no_video=["a"])["modes"]["slow"]
    assert {name: (row["n"], row["failed"]) for name, row in found.items()} == {
        name: (1, int(name == "no-video")) for name in CONDITIONS
    }
    of_b = score({"b": CLIPS[1].labels}, {"b": ["sad"]}, SMALL).open_vocabulary
    assert found[EVERYTHING]["recall"] == found["no-video"]["recall"] == of_b.recall
    assert found["no-video"]["delta"]["recall"]["value"] == 0
    with pytest.raises(InputError, match=r"every clip has a failed answer; ask them again$"):
        answered(tmp_path / "all", no_video=["a", "b"])


def test_a_clip_that_failed_in_one_mode_is_in_no_number_of_the_other(tmp_path: Path) -> None:
    found = answered(tmp_path / "one", ("fast", "slow"), no_video=["a"])["modes"]
    for mode, num_failed in (("fast", 0), ("slow", 1)):
        assert {name: (row["n"], row["failed"]) for name, row in found[mode].items()} == {
            name: (1, num_failed if name == "no-video" else 0) for name in CONDITIONS
        }
    assert found["fast"] == {name: {**row, "failed": 0, "signature": found["fast"][name]["signature"]}
                             for name, row in found["slow"].items()}  # fmt: skip
    with pytest.raises(InputError, match="ask them again, or score one mode alone"):
        answered(tmp_path / "all", ("fast", "slow"), no_video=["a", "b"])


def test_the_table_says_how_many_clips_are_left_and_nothing_of_an_interval_that_is_not_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    print_modality(answered(tmp_path, no_video=["a"]), Console(width=200))
    printed = capsys.readouterr().out
    assert "slow answers of m, 1 clips (of 2, the others have a failed answer)" in printed
    assert "nan" not in printed


def row(f1: float | None, high: float) -> dict[str, Any]:
    return {"f1": f1, "delta": {"f1": {"value": high - 0.1, "low": high - 0.2, "high": high}}}


def test_the_finding_names_what_is_surely_missed() -> None:
    rows = {
        EVERYTHING: row(0.8, 0),
        "no-video": row(0.6, -0.1),
        "no-sound": row(0.8, 0.1),
        "subtitle-alone": row(0.4, -0.3),
    }
    assert finding(rows) == (
        "What is surely missed when it is away: video. The subtitle alone reaches 40.0 of 80.0 points of F1."
    )
    rows = {EVERYTHING: row(None, 0), "no-video": row(0.6, 0.1), "subtitle-alone": row(None, 0)}
    assert finding(rows) == "No medium is surely missed."


@pytest.mark.slow
def test_a_model_is_asked_without_each_medium_and_not_asked_again(
    tiny: "OmniBackbone", samples: list[Sample], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mer_r1.models.qwen2_5_omni import OmniBackbone

    seen: list[tuple[bool, bool, bool]] = []
    prepare = OmniBackbone.prepare

    def watched(self: OmniBackbone, sample: Sample, clip: Any) -> Any:
        seen.append((clip.frames_THWC is not None, clip.waveform_N is not None, sample.subtitle is not None))
        return prepare(self, sample, clip)

    monkeypatch.setattr(OmniBackbone, "prepare", watched)
    whole = [sample for sample in samples if sample.video and sample.subtitle][:1]
    write_manifest(tmp_path / "clips.jsonl", whole)
    reported: list[tuple[str, int, int]] = []
    request = Request("tiny", tmp_path / "clips.jsonl", tmp_path, ("fast",), max_new_tokens=4)
    dropping = Modality(SMALL, backbone=tiny)
    run_benchmark(dropping, request, progress=lambda *item: reported.append(item))
    assert seen == [
        (True, True, True),
        (False, True, True),
        (True, False, True),
        (True, True, False),
        (False, False, True),
    ]
    assert reported == [(name.replace("-", " "), 1, 1) for name in CONDITIONS]
    run_benchmark(dropping, request)
    assert len(seen) == 5
    settings = json.loads((tmp_path / "no-sound" / "predictions.jsonl.settings.json").read_text())
    assert '"without": ["sound"]' in json.dumps(settings)


@pytest.mark.slow
def test_the_verb_asks_scores_prints_and_draws(
    tiny_folder: Path, corpus: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib")
    command = ["diagnose", "modality", "--manifest", str(corpus["train"]), "--model", str(tiny_folder)]
    command += ["--out", str(tmp_path), "--limit", "2", "--mode", "fast", "--max-new-tokens", "4"]
    assert main(command) == 0
    result = json.loads((tmp_path / "modality.json").read_text())
    assert (result["n"], list(result["modes"]), list(result["modes"]["fast"])) == (2, ["fast"], list(CONDITIONS))
    assert {path.name for path in tmp_path.glob("modality.*")} == {"modality.json", "modality.svg", "modality.png"}
    printed = capsys.readouterr().out
    assert "subtitle alone" in printed
    assert result["modes"]["fast"][EVERYTHING]["signature"] in printed


@pytest.mark.parametrize(
    ("options", "message"),
    [({"limit": 0}, "--limit 0"), ({"max_new_tokens": 0}, "--max-new-tokens 0"), ({}, "no row has labels")],
)
def test_options_and_manifests_that_cannot_be_used_are_named(
    tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    manifest = tmp_path / "m.jsonl"
    manifest.write_text('{"id": "a", "subtitle": "x"}\n')
    with pytest.raises(InputError, match=message):
        benchmark.run(Modality(SMALL), Request(str(tmp_path), manifest, tmp_path / "out", **options), lambda *_: None)
    assert not (tmp_path / "out").exists()
