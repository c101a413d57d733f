"""What stands on the page: every text as text, words with their confidence, the wheel of both modes."""

from __future__ import annotations

import re
from html import unescape

import numpy as np
import pytest

from mer_r1.data.sample import Clip, MediaFacts, Mode, Prediction, Sample
from mer_r1.demo.model import Answers, Question
from mer_r1.demo.view import answers_html, head_html, problem_html, question_html, timeline_html, wheel_html
from mer_r1.generation.timeline import PredictedWindow
from tests.demo.scripted import EVIL

FORMATS: dict[Mode, str] = {"fast": "think_answer", "slow": "think_answer"}


def row(mode: Mode = "slow", **changes: object) -> Prediction:
    given = {
        "raw": "", "reasoning": "She smiles.", "labels": ("happy", "zorgy"), "status": "ok",
        "confidence": {"happy": 0.625}, "categories": {"w1": {"joy": np.log(0.75)}},
    }  # fmt: skip
    return Prediction("a", mode, **{**given, **changes})  # type: ignore[arg-type]


def question(sample: Sample, **facts: object) -> Question:
    clip = Clip(np.zeros((2, 8, 8, 3), np.uint8), np.zeros(160, np.float32), MediaFacts(**facts))  # type: ignore[arg-type]
    return Question(sample, clip, 1.0, True)


def texts(html: str) -> str:
    return unescape(re.sub(r"<[^>]*>", "", html))


@pytest.mark.parametrize(
    "html",
    [
        answers_html(Answers(predictions={"slow": row(reasoning=EVIL)}), FORMATS, is_whole=True),
        answers_html(Answers(predictions={"slow": row(status="truncated", raw=EVIL)}), FORMATS, is_whole=True),
        answers_html(Answers(predictions={"fast": row("fast", status="error", error=EVIL)}), FORMATS, is_whole=True),
        answers_html(Answers({"slow": f"<think>{EVIL}"}), FORMATS, is_whole=False),
        answers_html(Answers(problem=EVIL), FORMATS, is_whole=True),
        wheel_html(Answers(predictions={"slow": row(raw=EVIL)})).replace("\\&#34;", "&#34;"),
        question_html(question(Sample(EVIL, subtitle=EVIL))),
        problem_html(EVIL),
        head_html(EVIL, EVIL, EVIL, EVIL),
    ],
)
def test_a_hostile_text_is_text(html: str) -> None:
    assert EVIL in texts(html)
    assert "<img src=x" not in html
    assert "</script" not in html
    assert not re.search("[{@$]", html), "no mark of a template of the browser's is left"


def test_a_hostile_word_is_text() -> None:
    html = answers_html(
        Answers(predictions={"slow": row(labels=(EVIL,), confidence={EVIL: 0.5})}), FORMATS, is_whole=True
    )
    assert "<img src=x" not in html
    assert 'onerror=alert(1)"' not in html


def test_a_word_stands_with_its_category_and_its_confidence() -> None:
    html = answers_html(Answers(predictions={"slow": row()}), FORMATS, is_whole=True)
    assert 'aria-valuenow="62"' in html
    assert "width:62.5%" in html
    assert "62 %" in html
    assert re.search(r"<b>happy</b><span class=\"category\">joy", html)
    assert re.search(r"<b>zorgy</b><span class=\"category\">in no wheel", html)
    assert html.count('role="meter"') == 1


def test_a_text_that_is_being_written_shows_no_half_of_a_tag() -> None:
    html = answers_html(Answers({"slow": "<think>She smi</thi"}), FORMATS, is_whole=False)
    assert "She smi<span" in html
    assert 'aria-busy="true"' in html
    assert "thi" not in texts(html).replace("thinking", "")


def test_an_answer_without_a_word_says_so_and_shows_its_text() -> None:
    html = answers_html(
        Answers(predictions={"slow": row(labels=(), status="no_answer", raw="Hm.")}), FORMATS, is_whole=True
    )
    assert "holds no emotion word" in html
    assert "Hm." in html


def test_the_wheel_has_slow_in_its_outer_ring_and_fast_in_its_inner_one() -> None:
    fast = row("fast", categories={"w1": {"joy": np.log(0.5)}})
    html = wheel_html(Answers(predictions={"fast": fast, "slow": row()}))
    assert "joy: slow 75, fast 50" in html
    assert ">75 · 50<" in html
    assert html.count('class="r"') == html.count('class="p"') == 1
    assert wheel_html(Answers(problem="gone")) == ""


def test_what_the_model_sees_is_told_in_frames_and_seconds() -> None:
    facts = {
        "frame_times_s": (0.25, 0.75), "video_s": 1.0, "size": (64, 48), "taken_size": (8, 8), "audio_s": 3.0,
        "audio_taken_s": 1.0, "notices": ("odd",),
    }  # fmt: skip
    said = texts(question_html(question(Sample("a", subtitle="Well."), **facts)))
    for part in (
        "0.25 s",
        "2 frames of 1.0 s",
        "64 × 48 pixels, taken at 8 × 8",
        "the first 1.0 s of 3.0 s",
        "“Well.”",
        "odd",
    ):
        assert part in said


def test_a_clip_over_time_has_a_row_a_category_and_a_column_a_window() -> None:
    rows = [row("fast", categories={"w1": {"joy": np.log(share)}}) for share in (0.25, 0.75)]
    windows = [
        PredictedWindow(0.0, 5.0, EVIL, (rows[0],)),
        PredictedWindow(2.5, 7.5, None, (rows[1],)),
        PredictedWindow(5.0, 10.0, None, (row("fast", status="error", labels=(), categories=None, error=EVIL),)),
    ]
    html = timeline_html(windows, 20.0, is_growing=True)
    assert "50 % of the clip" in texts(html)
    assert "0:02.5–0:07.5: joy 75 %" in html
    assert 'style="--v:0.75"' in html
    assert html.count('<th scope="row">') == 7
    assert html.count(EVIL) == 0
    assert texts(html).count(EVIL) == 2
    assert "the server is gone" in timeline_html([], 20.0, is_growing=False, problem="the server is gone")
