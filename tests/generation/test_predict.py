"""`predict`: one call for files and samples, by a checkpoint here or a model at an address."""

from __future__ import annotations

import wave
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from mer_r1.data.sample import Prediction, Sample
from mer_r1.errors import InputError
from mer_r1.generation import predict as module
from mer_r1.generation.make import DEFAULT_MODEL
from mer_r1.generation.predict import clip_sample, predict
from tests.generation.server import ANSWER, be_quick
from tests.judge.endpoint import says, serve
from tests.media.make_media import gray_frames, tone, write_media

if TYPE_CHECKING:
    from mer_r1.models.qwen2_5_omni import OmniBackbone

SHORT = 4


@pytest.fixture
def film(tmp_path: Path) -> Path:
    return write_media(tmp_path / "film.mp4", frames=gray_frames(4), sound=tone(0.5, 16_000))


@pytest.fixture
def voice(tmp_path: Path) -> Path:
    with wave.open(str(tmp_path / "voice.wav"), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(16_000)
        out.writeframes(b"\0\1" * 8000)
    return tmp_path / "voice.wav"


def test_predictions_come_clip_by_clip_and_fast_before_slow(tiny: OmniBackbone, film: Path, voice: Path) -> None:
    made = predict([film, str(voice), film], model=tiny, max_new_tokens=SHORT)
    assert [(row.id, row.mode) for row in made] == [
        (str(path), mode) for path in (film, voice, film) for mode in ("fast", "slow")
    ]
    assert made[:2] == made[4:]
    assert made[0].raw.startswith("<think></think><answer>")
    assert [row.media.audio_s for row in made[2:4] if row.media] == pytest.approx([0.5, 0.5])


@pytest.mark.slow
def test_one_clip_and_one_mode_give_one_prediction(tiny: OmniBackbone, film: Path) -> None:
    for clip in (film, str(film), clip_sample(film)):
        (made,) = predict(clip, model=tiny, mode="slow", max_new_tokens=SHORT)
        assert (made.id, made.mode) == (str(film), "slow")


@pytest.mark.slow
def test_a_subtitle_goes_with_a_file_and_changes_the_answer(tiny: OmniBackbone, film: Path) -> None:
    texts = (None, "It is awful news.", "I got what I wished for.")
    made = [predict(film, model=tiny, mode="slow", subtitle=text, max_new_tokens=20)[0].raw for text in texts]
    assert len(set(made)) > 1


def test_a_file_that_fails_is_an_error_row_and_the_others_are_answered(
    tiny: OmniBackbone, film: Path, tmp_path: Path
) -> None:
    (tmp_path / "text.mp4").write_text("this is no film")
    clips: list[str | Path | Sample] = [
        film,
        Sample("lost", video=tmp_path / "lost.mp4"),
        tmp_path / "text.mp4",
    ]
    good, lost, text = predict(clips, model=tiny, mode="fast", max_new_tokens=SHORT)
    assert good.status != "error"
    assert [row.status for row in (lost, text)] == ["error"] * 2
    assert "lost.mp4: no such file" in str(lost.error)
    assert "is not a media file" in str(text.error)


@pytest.mark.slow
def test_a_folder_is_its_clips(tiny: OmniBackbone, film: Path, voice: Path) -> None:
    made = predict(film.parent, model=tiny, mode="fast", max_new_tokens=SHORT)
    assert [row.id for row in made] == [str(film), str(voice)]


def test_words_are_found_beside_a_clip_unless_others_are_given_or_none_are_wanted(
    tiny: OmniBackbone, film: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    film.with_suffix(".srt").write_text(
        "1\n00:00:00,000 --> 00:00:01,000\nI won!\n\n2\n00:05:00,000 --> 00:05:01,000\nLater.\n"
    )
    seen: list[str | None] = []

    class Watched:
        def generate(self, samples: Sequence[Sample], mode: Any) -> list[Prediction]:
            seen.extend(sample.subtitle for sample in samples)
            return [Prediction(sample.id, mode, "", "", (), "ok") for sample in samples]

    monkeypatch.setattr(module, "make_generator", lambda *_, **__: Watched())
    predict(film, model=tiny, mode="fast")
    predict(film, model=tiny, mode="fast", subtitle="Given.")
    predict(film, model=tiny, mode="fast", subtitles=None)
    assert seen == ["I won!", "Given.", None], "the model is shown the first 120 s, and the words said in them"


def test_a_path_without_a_file_is_found_before_a_model_is_loaded(film: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"/lost\.mp4: no such file; give the path of"):
        predict([film, tmp_path / "lost.mp4"], model=str(tmp_path / "no model"))
    with pytest.raises(InputError, match=r"a\.mp4, film, b\.mp4: no such files; give the path of"):
        predict(["a.mp4", film, "film", Sample("x", subtitle="said"), "b.mp4"], model=str(tmp_path / "no model"))


@pytest.mark.slow
def test_a_batch_too_large_for_the_memory_is_answered_one_by_one(
    tiny: OmniBackbone, film: Path, voice: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    from mer_r1.generation import local
    from mer_r1.generation.batch import predict_batch

    wanted = predict([film, voice], model=tiny, mode="fast", max_new_tokens=SHORT)

    def small_machine(backbone: Any, prompts: Sequence[Any], *rest: Any) -> list[Prediction]:
        if len(prompts) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return predict_batch(backbone, prompts, *rest)

    monkeypatch.setattr(local, "predict_batch", small_machine)
    made = predict([film, voice], model=tiny, mode="fast", max_new_tokens=SHORT)
    assert [(row.id, row.raw) for row in made] == [(row.id, row.raw) for row in wanted]


def test_a_model_at_an_address_answers_files_too(film: Path, voice: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("httpx")
    be_quick(monkeypatch)
    with serve(lambda number, body: says(ANSWER)) as endpoint:
        made = predict([film, voice], model="omni-7b", mode="slow", url=endpoint.url)
    assert [(row.id, row.labels) for row in made] == [(str(path), ("happy", "calm")) for path in (film, voice)]
    assert {asked.body["model"] for asked in endpoint.asked} == {"omni-7b"}


def test_a_loaded_model_has_no_address(tiny: OmniBackbone, film: Path) -> None:
    with pytest.raises(InputError, match="by its name there"):
        predict(film, model=tiny, url="http://127.0.0.1:1/v1")


def test_two_samples_with_one_id_are_an_error(tiny: OmniBackbone) -> None:
    first = Sample("a", subtitle="x")
    with pytest.raises(InputError, match="two different samples have the id 'a'"):
        predict([first, replace(first, subtitle="y")], model=tiny)


def test_the_ending_of_a_name_says_what_medium_it_is() -> None:
    assert clip_sample(Path("a.WAV")).audio == Path("a.WAV")
    assert clip_sample(Path("a.PnG")).image == Path("a.PnG")
    assert clip_sample(Path("a.mkv"), "said").video == Path("a.mkv")
    assert clip_sample(Path("a"), "said").subtitle == "said"


def test_a_file_named_as_a_video_that_holds_sound_alone_is_sound(tmp_path: Path) -> None:
    path = write_media(tmp_path / "voice.mp4", sound=tone(0.5, 16_000))
    assert (clip_sample(path).audio, clip_sample(path).video) == (path, None)


@pytest.mark.parametrize("name", ["a.wav", "a.png", "a.mp4"])
def test_a_clip_is_given_the_labels_to_choose_from(name: str) -> None:
    assert clip_sample(Path(name), None, ["joy", "fear"]).candidates == ("joy", "fear")


def test_without_a_quickstart_the_default_model_names_what_makes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"no run here yet; run `mer-r1 quickstart`, or give --model"):
        module.predict(Sample("a", subtitle="said"), model=DEFAULT_MODEL)
