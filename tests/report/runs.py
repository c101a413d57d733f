"""Small runs for the tests of the page."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from mer_r1.data.sample import Mode, Prediction, Sample
from mer_r1.evaluation.runs import Answers, EvaluatedSet, System
from mer_r1.report.page import write_page
from mer_r1.report.sets import ShownSystem, page_sets, shown_systems
from tests.media.make_media import gray_frames, tone, write_media

Json = dict[str, Any]

EVIL = "<script>alert('x')</script><img src=http://evil.example/x>&\"'</script><!--<script"
VOID = {"meta", "img", "br", "link", "input", "hr"}
MODES: tuple[Mode, ...] = ("fast", "slow")


def write_lines(path: Path, rows: Sequence[Json]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def make_quickstart(folder: Path) -> Path:
    """A small whole quickstart: two systems with answers to three clips, one a real video, logs and rollouts."""
    (folder / "data" / "clips").mkdir(parents=True)
    write_media(folder / "data" / "clips" / "a b.mp4", frames=gray_frames(8, 64, 48), sound=tone(1.0, 16_000))
    clips = [
        {"id": "a", "video": "clips/a b.mp4", "subtitle": EVIL, "labels": ["happy"], "source": "contradicting"},
        {"id": "b", "subtitle": "So it is.", "labels": ["sad", "unhappy"]},
        {"id": "c", "video": "clips/gone.mp4", "labels": ["angry"]},
    ]
    write_lines(folder / "data" / "test.jsonl", clips)
    write_lines(folder / "data" / "train.jsonl", [{"id": "t", "subtitle": "Training line.", "labels": ["happy"]}])
    for name, fast, slow in (("baseline", ["happy", EVIL], ["happy"]), ("mer_r1", ["sad"], ["sad", "happy"])):
        rows = [
            {"id": clip["id"], "mode": mode, "labels": words, "reasoning": EVIL, "confidence": {"happy": 0.7},
             "categories": {"w1": {"joy": -0.5, "sadness": -2.0}}}
            for clip in clips
            for mode, words in (("fast", fast), ("slow", slow))
        ]  # fmt: skip
        write_lines(folder / name / "predictions.jsonl", rows)
        log = [{"step": s, "reward/recall": 0.5 + s / 100, "reward/precision": 0.6, "kl": None} for s in range(1, 9)]
        write_lines(folder / name / "metrics.jsonl", log)
        group = [
            {"step": 3, "id": "t", "text": f"<think>{EVIL}</think><answer>x</answer>", "labels": words, "status": "ok",
             "rewards": {"recall": r, "precision": p, "calibration_plus": None}, "advantage": r - p}
            for words, r, p in ((["happy"], 0.4, 1.0), (["happy", "sad"], 0.9, 0.5), ([], 0.0, 0.0))
        ]  # fmt: skip
        write_lines(folder / name / "rollouts.jsonl", group)
        (folder / name / "run.json").write_text(json.dumps({"versions": {"torch": f"2.{name}"}}))
        (folder / name / "recipe.yaml").write_text(f"# {EVIL}\ntrain: {folder.resolve()}/data/train.jsonl\n")
    metrics = {
        "title": f"A run {EVIL}", "corpus": {"train": 1, "test": 3, "seed": 7},
        "seconds": {"Make clips": 12.0, "RL: MER-R1": 300.0}, "systems": {"baseline": {}, "mer_r1": {}},
        "without": {"nothing": {"f1": 0.7, "n": 3}, "sound": {"f1": 0.45, "n": 3}},
    }  # fmt: skip
    (folder / "metrics.json").write_text(json.dumps(metrics))
    return folder


def page_of(*folders: Path, out: Path | None = None) -> Path:
    """The page of these runs, written."""
    return write_page(*folders, out=out)[0]


def make_asked(
    folder: Path, gold: Mapping[str, list[str]], answers: Mapping[str, tuple[Any, Any]], **more: Any
) -> Path:
    """A folder of manifest.jsonl and predictions.jsonl; an answer is its (fast, slow) words, None: no row."""
    write_lines(folder / "manifest.jsonl", [{"id": i, "subtitle": f"Line {i}.", "labels": w} for i, w in gold.items()])
    rows = [
        {"id": identity, "mode": mode, "labels": words, **more}
        for identity, pair in answers.items()
        for mode, words in zip(MODES, pair, strict=True)
        if words is not None
    ]
    write_lines(folder / "predictions.jsonl", rows)
    return folder


def make_benchmark(folder: Path, sets: Mapping[str, Mapping[str, list[str]]], model: str, numbers: Json) -> Path:
    """A benchmark's folder where every set is answered with its gold words, fast, and with "happy", slow."""
    for name, gold in sets.items():
        make_asked(folder / name, gold, {identity: (words, ["happy"]) for identity, words in gold.items()})
    (folder / "run.json").write_text(json.dumps({"kind": "benchmark", "benchmark": "mer-unibench", "model": model}))
    (folder / "metrics.json").write_text(json.dumps(numbers))
    return folder


def rows_of(answers: Mapping[str, tuple[str | None, str | None]], **more: Any) -> Answers:
    """Answers given as (fast, slow) words in one text each; None: no row."""
    return {
        (identity, mode): Prediction(identity, mode, "", "", tuple(text.split()), more.get("status", "ok"))
        for identity, pair in answers.items()
        for mode, text in zip(MODES, pair, strict=True)
        if text is not None
    }


def systems_of(samples: Sequence[Sample], **answers: Mapping[str, tuple[str | None, str | None]]) -> list[System]:
    """A system a name, all asked about the same samples."""
    return [
        System(name, name, Path(name), (EvaluatedSet("t", "t", Path(), tuple(samples), rows_of(rows)),))
        for name, rows in answers.items()
    ]


def shown_of(
    samples: Sequence[Sample], **answers: Mapping[str, tuple[str | None, str | None]]
) -> tuple[tuple[ShownSystem, ...], Any]:
    """The same as the page has them: systems and sets."""
    systems = shown_systems(systems_of(samples, **answers))
    return systems, page_sets(systems)


class Page(HTMLParser):
    """Tags, attributes, visible text and what script elements hold; open tags must close in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self.stack: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.stack.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.stack.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.stack and self.stack[-1] == "script":
            self.scripts.append((self.tags[-1][1], data))
        else:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())
