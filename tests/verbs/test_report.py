"""The page: it says what the files say, escapes it, fetches nothing, and is there however little of a run is."""

import json
import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mer_r1.emotion.wheel import WheelSet, pack
from mer_r1.errors import InputError
from mer_r1.report.cases import choose_clips, choose_group, judge_words, missed_words
from mer_r1.report.page import clock
from mer_r1.report.pictures import outline, picture
from mer_r1.report.plots import running_mean
from mer_r1.run_folder import System, read_groups, read_run
from mer_r1.sample import Mode, Prediction, Sample
from mer_r1.verbs.report import run
from tests.media.make_media import gray_frames, tone, write_media
from tests.small_wheels import SMALL

EVIL = "<script>alert('x')</script><img src=http://evil.example/x>&\"'"
VOID = {"meta", "img", "br", "link", "input", "hr"}


def write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def measured(f1: float) -> dict[str, Any]:
    interval = [f1 - 0.05, f1 + 0.05]
    return {
        "recall": f1, "precision": f1, "f1": f1, "hit": 1.1, "answer_words": 2.0, "intervals": {"f1": interval},
    }  # fmt: skip


def diagnosis(gap: float) -> dict[str, Any]:
    row = {"num_categories": 2.0, "confidence_gold": -1.0, "margin": 2.0}
    delta = {"value": gap, "low": gap - 0.1, "high": gap + 0.1}
    return {
        "fast": row, "slow": {**row, "margin": 3.0}, "delta": dict.fromkeys(("recall", "precision", "f1"), delta),
        "retained_hit_rate": 0.875, "finding": "A finding & more.",
    }  # fmt: skip


def make_run(folder: Path) -> Path:
    """A small whole run: two systems with answers to three clips, one of them a real video, logs and rollouts."""
    (folder / "data" / "clips").mkdir(parents=True)
    write_media(folder / "data" / "clips" / "a.mp4", frames=gray_frames(8, 64, 48), sound=tone(1.0, 16_000))
    clips = [
        {"id": "a", "video": "clips/a.mp4", "subtitle": EVIL, "labels": ["happy"], "source": "contradicting"},
        {"id": "b", "subtitle": "So it is.", "labels": ["sad"]},
        {"id": "c", "video": "clips/gone.mp4", "labels": ["angry"]},
    ]
    write_lines(folder / "data" / "test.jsonl", clips)
    write_lines(folder / "data" / "train.jsonl", [{"id": "t", "subtitle": "Training line.", "labels": ["happy"]}])
    systems = {}
    for name, f1 in (("baseline", 0.5), ("mer_r1", 0.6)):
        rows = [
            {"id": clip["id"], "mode": mode, "labels": ["happy", EVIL], "reasoning": EVIL, "confidence": {"happy": 0.7}}
            for clip in clips
            for mode in ("fast", "slow")
        ]
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
        (folder / name / "recipe.yaml").write_text(f"# {EVIL}\n")
        systems[name] = {"fast": measured(f1), "slow": measured(f1 + 0.1), "diagnosis": diagnosis(0.02)}
    metrics = {
        "title": f"A run {EVIL}", "signature": "set:test|n:3", "corpus": {"train": 1, "test": 3, "seed": 7},
        "seconds": {"Make clips": 12.0, "RL: MER-R1": 300.0}, "systems": systems,
        "without": {"nothing": {"f1": 0.7, "n": 3}, "sound": {"f1": 0.45, "n": 3}},
        "constant": {"words": ["sad", EVIL], "precision": 0.2, "recall": 0.3, "f1": 0.24},
    }  # fmt: skip
    (folder / "metrics.json").write_text(json.dumps(metrics))
    return folder


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = make_run(tmp_path_factory.mktemp("run"))
    path = run(folder)
    assert path == folder / "report.html"
    return path.read_text(encoding="utf-8")


class Page(HTMLParser):
    """Tags, attributes and visible text; open tags must close in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
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
        self.words.append(data)


def test_text_from_files_never_becomes_markup(whole: str) -> None:
    page = Page(whole)
    assert not [tag for tag, _ in page.tags if tag in ("script", "iframe", "link", "object")]
    images = [attrs["src"] or "" for tag, attrs in page.tags if tag == "img"]
    assert images
    assert all(source.startswith("data:image/jpeg;base64,") for source in images)
    assert not [name for _, attrs in page.tags for name in attrs if name.startswith("on")]
    text = " ".join(page.words)
    for part in ("“" + EVIL, f"# {EVIL}", f"A run {EVIL}"):
        assert part in text
    assert whole.count("&lt;script&gt;") >= 10  # title twice, subtitle, words, reasonings, recipes ...


def test_the_page_closes_its_tags_and_fetches_nothing(whole: str) -> None:
    page = Page(whole)
    assert page.stack == []
    for _, attrs in page.tags:
        for name in ("src", "href", "xlink:href", "data", "action"):
            assert (attrs.get(name) or "#").startswith(("#", "data:image/jpeg;base64,"))
    style = whole[whole.index("<style>") : whole.index("</style>")]
    assert not re.search(r"url\(|@import|@font-face", style)
    assert "default-src 'none'" in whole
    assert "prefers-color-scheme: dark" in style
    assert "@media print" in style
    assert len(whole) < 3_000_000


def test_names_within_the_page_are_there_once(whole: str) -> None:
    identities = [attrs["id"] for _, attrs in Page(whole).tags if attrs.get("id")]
    assert len(identities) == len(set(identities))
    for target in re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', whole):
        assert next(filter(None, target)) in identities


def test_the_page_says_what_was_measured(whole: str) -> None:
    text = " ".join(" ".join(Page(whole).words).split())
    for part in ("Baseline", "MER-R1", "70.0", "65.0 – 75.0", "set:test|n:3", "A finding & more.", "87.5 %", "24.0",
                 "seed 7", "Make clips", "RL: MER-R1", "5.2 min in all", "torch 2.baseline, 2.mer_r1", "at step 3",
                 "Training line."):  # fmt: skip
        assert part in text
    assert "SFT" not in text.replace("SFT model", "")


def test_every_figure_says_in_words_what_it_shows(whole: str) -> None:
    labels = [attrs.get("aria-label") or "" for tag, attrs in Page(whole).tags if tag == "svg"]
    assert len(labels) >= 8
    assert all(labels)
    assert "MER-R1 slow 70.0" in labels[0]
    assert any("MER-R1’s slow answers on 3 clips" in label and "without sound 45.0" in label for label in labels)
    assert sum("Recall reward" in label and "MER-R1 from 0.51 to 0.58" in label for label in labels) == 1


def test_the_same_folder_gives_the_same_bytes(tmp_path: Path) -> None:
    folder = make_run(tmp_path)
    pages = [run(folder, tmp_path / name).read_bytes() for name in ("one.html", "two.html")]
    assert pages[0] == pages[1]


def test_a_clip_that_cannot_be_read_is_said_and_the_page_stands(whole: str) -> None:
    assert "The clip cannot be shown:" in whole
    assert "gone.mp4" in whole


def test_verdicts_stand_in_words_and_symbol_beside_the_colour(whole: str) -> None:
    assert re.search(r'class="word right"><span class="sign"[^>]*>✓</span><b>happy</b><span class="why">right<', whole)
    assert re.search(r'class="word wrong"><span class="sign"[^>]*>✗</span><b>happy</b><span class="why">wrong<', whole)


def test_a_page_is_written_of_metrics_alone(tmp_path: Path) -> None:
    (tmp_path / "metrics.json").write_text('{"systems": {}}')
    assert Page(run(tmp_path).read_text(encoding="utf-8")).stack == []
    (tmp_path / "metrics.json").write_text('{"systems": {"mine": {"slow": {"f1": null}, "diagnosis": 3}, "sft": {}}}')
    write_lines(tmp_path / "sft" / "metrics.jsonl", [{"step": 1, "loss": 3.0}, {"step": 2}])
    text = run(tmp_path).read_text(encoding="utf-8")
    assert Page(text).stack == []
    assert "SFT loss" in text
    assert 'id="clips"' not in text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "not found; `mer-r1 quickstart` makes"),
        ("{", "cannot be read as JSON"),
        ('{"systems": []}', 'an object with "systems" is needed'),
        ('{"systems": {"../other": {}}}', "must be the name of a folder"),
    ],
)
def test_a_folder_without_right_metrics_is_refused(tmp_path: Path, text: str | None, message: str) -> None:
    if text is not None:
        (tmp_path / "metrics.json").write_text(text)
    with pytest.raises(InputError, match=f"metrics.json.*{message}"):
        run(tmp_path)
    assert not (tmp_path / "report.html").exists()


@pytest.mark.parametrize("package", ["jinja2", "matplotlib"])
def test_a_missing_package_is_named_with_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    make_run(tmp_path)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(InputError, match=r"pip install 'mer-r1\[report\]'"):
        run(tmp_path)


def test_a_word_is_right_wrong_or_right_in_some_wheels() -> None:
    words = judge_words(("glad", "angry", "lost", "qwerty", "glad"), ("happy",), SMALL, {"glad": 0.5})
    assert [(word.verdict, word.why) for word in words] == [
        ("right", "right"), ("wrong", "wrong"), ("unknown", "in no wheel"), ("unknown", "in no wheel")
    ]  # fmt: skip
    assert words[0].confidence == 0.5
    joy, mostly_anger = ((0,),) * 5, ((0,), (1,), (1,), (1,), ())
    table = {"x": pack(joy, SMALL.categories_of), "y": pack(mostly_anger, SMALL.categories_of)}
    wheels = WheelSet(SMALL.source, SMALL.names, SMALL.titles, SMALL.categories_of, table)
    assert [(word.verdict, word.why) for word in judge_words(("y",), ("x",), wheels)] == [("partly", "1 of 4 wheels")]
    assert missed_words(("glad",), ("happy", "sad", "lost"), SMALL) == ["sad"]


def system(name: str, answers: dict[str, tuple[str, str]]) -> System:
    """A system whose answers are given as (fast, slow) words in one text each."""
    modes: tuple[Mode, ...] = ("fast", "slow")
    rows = {
        (identity, mode): Prediction(identity, mode, "", "", tuple(text.split()), "ok")
        for identity, pair in answers.items()
        for mode, text in zip(modes, pair, strict=True)
    }
    return System(name, name, Path(), {}, (), rows, {}, "")


def test_clips_are_chosen_by_the_cases_of_the_paper() -> None:
    gold = {
        "kept": "happy",
        "calm": "happy",
        "found": "sad",
        "bad": "happy",
        "odd": "sad",
        "rest": "happy",
        "less": "happy sad",
    }
    samples = [
        Sample(name, subtitle="x", labels=tuple(word.split()), source="contradicting" if name == "odd" else None)
        for name, word in gold.items()
    ]
    reference = {
        "kept": ("happy", "sad"), "calm": ("happy angry", "happy"), "found": ("angry", "angry"),
        "bad": ("happy", "happy"), "odd": ("sad", "sad"), "rest": ("happy", "happy"),
        "less": ("happy sad angry", "happy sad angry"),
    }  # fmt: skip
    tuned = {
        "kept": ("happy", "glad"), "calm": ("happy angry", "happy"), "found": ("angry", "sad"),
        "bad": ("happy", "angry"), "odd": ("sad", "sad"), "rest": ("happy", "happy"),
        "less": ("happy", "happy"),
    }  # fmt: skip
    cases = choose_clips(samples, [system("baseline", reference), system("mer_r1", tuned)], SMALL)
    shown = {case.name: [sample.id for sample in case.samples] for case in cases}
    assert shown == {
        "retained": ["kept"], "suppressed": ["calm"], "recovered": ["found"], "failure": ["bad"],
        "contradicting": ["odd"], "first": ["rest", "less"],
    }  # fmt: skip
    assert [case.count for case in cases] == [1, 2, 1, 1, 1, None]  # found is suppressed too; less loses a right one


def test_without_two_systems_the_first_clips_are_shown_and_never_more_than_eight() -> None:
    samples = [Sample(str(n), subtitle="x", labels=("sad",)) for n in range(20)]
    cases = choose_clips(samples, [system("sft", {"0": ("sad", "sad")})], SMALL)
    assert [sample.id for case in cases for sample in case.samples] == [str(n) for n in range(8)]


def test_the_group_is_the_first_where_recall_and_precision_disagree(tmp_path: Path) -> None:
    def rows(step: int, *rewards: tuple[float, float]) -> list[dict[str, Any]]:
        return [
            {"step": step, "id": "t", "labels": [f"w{k}"], "rewards": {"recall": r, "precision": p}, "advantage": 0.0}
            for k, (r, p) in enumerate(rewards)
        ]

    agree, disagree = rows(1, (1, 1), (0.5, 0.5), (0, 0)), rows(2, (1, 0), (0, 1), (0, 0))
    write_lines(tmp_path / "r.jsonl", agree + disagree + rows(3, (1, 0), (0, 1), (0, 0)))
    groups = list(read_groups(tmp_path / "r.jsonl"))
    assert [group[0]["step"] for group in groups] == [1, 2, 3]
    assert choose_group(groups) == disagree
    assert choose_group(groups[:1]) == agree
    assert choose_group([]) is None
    assert list(read_groups(tmp_path / "none.jsonl")) == []


def test_a_picture_holds_four_frames_with_times_and_the_sound(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    write_media(path, frames=gray_frames(8, 320, 240), sound=tone(1.0, 16_000))
    shown = picture(Sample("a", video=path))
    assert len(shown.frames) == 4
    assert shown.frames[0][1] is not None
    assert sum(len(uri) for uri, _ in shown.frames) < 20_000
    assert shown.sound.startswith("M")
    assert picture(Sample("a", subtitle="x")) == type(shown)((), "", None)


def test_the_outline_of_silence_is_flat_and_of_a_tone_fills_the_field() -> None:
    def heights(waveform: Any) -> list[float]:
        return [float(point.split()[1]) for point in outline(waveform)[1:-1].split("L")]

    assert set(heights(np.zeros(1000, np.float32))) == {1.0, 1.02}
    assert min(heights(tone(1.0, 16_000)[0])) == 0
    assert max(heights(tone(1.0, 16_000)[0])) == pytest.approx(2.02)
    assert outline(np.zeros(0, np.float32)) == ""


def test_a_running_mean_keeps_a_constant_and_does_not_lag_a_line() -> None:
    assert running_mean([3.0] * 50) == pytest.approx([3.0] * 50)
    line = [float(n) for n in range(100)]
    assert running_mean(line)[4:-4] == pytest.approx(line[4:-4])
    assert running_mean([1.0, 5.0]) == [1.0, 5.0]


def test_a_broken_log_is_named_by_file_and_line(tmp_path: Path) -> None:
    folder = make_run(tmp_path)
    (folder / "mer_r1" / "metrics.jsonl").write_text('{"step": 1}\n{"step"')
    with pytest.raises(InputError, match=r"metrics.jsonl:2: not valid JSON"):
        read_run(folder)


def test_times_are_said_as_people_say_them() -> None:
    assert [clock(seconds) for seconds in (35.1, 401.2, 7200)] == ["35 s", "6.7 min", "2.0 h"]
