"""A long clip window by window: each answer is that of a file cut there, and the words are those said in it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pytest
from PIL import Image

from mer_r1.data.sample import Prediction
from mer_r1.errors import InputError
from mer_r1.generation import timeline as module
from mer_r1.generation.make import Service
from mer_r1.generation.predict import predict
from mer_r1.generation.timeline import PredictedWindow, predict_windows
from mer_r1.media.subtitles import Cue, Subtitles
from mer_r1.media.windows import read_windows
from tests.generation.server import ANSWER, be_quick
from tests.judge.endpoint import says, serve
from tests.media.make_media import gray_frames, tone, write_media
from tests.media.test_windows import film

if TYPE_CHECKING:
    from mer_r1.models.qwen2_5_omni import OmniBackbone

SHORT = 6


def content(prediction: Prediction) -> tuple[object, ...]:
    return (prediction.mode, prediction.raw, prediction.labels, prediction.status, prediction.media)


@pytest.mark.slow
def test_a_window_is_answered_as_a_file_that_was_cut_there(tiny: OmniBackbone, tmp_path: Path) -> None:
    whole = film(tmp_path / "whole.mkv", 0, 5)
    said = Subtitles((Cue(0.5, 1.0, "I won!"), Cue(3.2, 4.0, "It is awful news.")), "a.srt")
    found = [
        *predict_windows(whole, window_s=2, hop_s=1.5, model=tiny, subtitles=said, max_new_tokens=SHORT),
    ]
    assert [(window.start_s, window.end_s) for window in found] == [(0, 2), (1.5, 3.5), (3.0, 5.0)]
    assert [window.subtitle for window in found] == ["I won!", "It is", "It is awful news."]
    for window in found:
        cut = film(tmp_path / f"{window.start_s}.mkv", window.start_s, window.end_s)
        wanted = predict(cut, model=tiny, subtitle=window.subtitle, max_new_tokens=SHORT)
        assert [*map(content, window.predictions)] == [*map(content, wanted)]
        assert {prediction.id for prediction in window.predictions} == {str(whole)}


@pytest.mark.slow
def test_windows_come_while_later_ones_are_not_decoded_yet(
    tiny: OmniBackbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[float] = []

    def counting(*arguments: object) -> object:
        for window in read_windows(*arguments):  # type: ignore[arg-type]
            read.append(window.window.start_s)
            yield window

    monkeypatch.setattr(module, "read_windows", counting)
    windows = predict_windows(
        film(tmp_path / "a.mkv", 0, 4), window_s=0.5, hop_s=0.5, model=tiny, mode="fast", max_new_tokens=2
    )
    next(windows)
    assert read == [0.0]
    next(windows)
    assert len(read) == 5


def test_the_words_of_a_file_beside_are_found_and_can_be_left_out(tiny: OmniBackbone, tmp_path: Path) -> None:
    clip = film(tmp_path / "a.mkv", 0, 2)
    (tmp_path / "a.srt").write_text("1\n00:00:00,000 --> 00:00:02,000\nI won!\n")
    choices: tuple[tuple[Literal["find"] | None, str | None], ...] = (("find", "I won!"), (None, None))
    for subtitles, wanted in choices:
        (window,) = predict_windows(clip, model=tiny, mode="fast", subtitles=subtitles, max_new_tokens=2)
        assert window.subtitle == wanted


def test_a_row_has_the_window_and_the_keys_of_a_predictions_file() -> None:
    window = PredictedWindow(2.5, 7.50001, "I won!", (Prediction("a", "slow", "raw", "", ("happy",), "ok"),))
    (row,) = window.rows()
    assert {*row} == {*Prediction.__dataclass_fields__, "start_s", "end_s", "subtitle"}
    assert (row["id"], row["start_s"], row["end_s"], row["subtitle"]) == ("a", 2.5, 7.5, "I won!")


@pytest.mark.slow
def test_of_a_file_that_is_cut_short_the_answers_before_are_given(tiny: OmniBackbone, tmp_path: Path) -> None:
    path = write_media(
        tmp_path / "a.mkv", frames=gray_frames(14) * 3, sound=tone(5, 16_000), video_options={"bf": "0", "g": "8"}
    )
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    windows = predict_windows(path, window_s=1, hop_s=1, model=tiny, mode="fast", max_new_tokens=2)
    assert next(windows).start_s == 0
    with pytest.raises(InputError, match=r"a\.mkv: its"):
        list(windows)


def test_wrong_windows_and_files_are_found_before_a_model_is_loaded(tmp_path: Path) -> None:
    clip = film(tmp_path / "a.mkv", 0, 1)
    with pytest.raises(InputError, match="--window 0"):
        next(predict_windows(clip, window_s=0, model="no model"))
    with pytest.raises(InputError, match=r"lost\.mp4: no such file"):
        next(predict_windows(tmp_path / "lost.mp4", model="no model"))
    Image.new("RGB", (16, 16)).save(tmp_path / "a.png")
    with pytest.raises(InputError, match=r"a\.png: is a picture; windows are for video and sound"):
        next(predict_windows(tmp_path / "a.png", model="no model"))


def test_a_server_is_sent_the_frames_of_each_window_and_refuses_whole_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("httpx")
    be_quick(monkeypatch)
    clip = film(tmp_path / "a.mkv", 0, 4)
    with serve(lambda number, body: says(ANSWER)) as endpoint:
        service = Service(endpoint.url, budget={"num_frames": 2})
        found = [*predict_windows(clip, window_s=2, hop_s=2, model="omni-7b", mode="slow", url=service)]
        with pytest.raises(InputError, match="give --served-as NAME, or a budget such as --num-frames 8"):
            next(predict_windows(clip, model="omni-7b", url=endpoint.url))
    assert [window.predictions[0].labels for window in found] == [("happy", "calm")] * 2
    sent = [
        [part["type"] for message in asked.body["messages"] for part in message["content"] if message["role"] == "user"]
        for asked in endpoint.asked
    ]
    assert sent == [["video_url", "audio_url", "text"]] * 2
    assert endpoint.asked[0].body["messages"] != endpoint.asked[1].body["messages"]
