"""A served model that was trained here: what its folder says, and that frames and sound go out as they are taken."""

from __future__ import annotations

import base64
import io
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mer_r1.data.sample import Sample
from mer_r1.errors import InputError
from mer_r1.generation import generate_to_store
from mer_r1.generation.endpoint import EndpointGenerator
from mer_r1.generation.make import Service, make_generator
from mer_r1.generation.served import read_served
from mer_r1.media import MediaBudget, read_clip
from mer_r1.media.budget import SHORTEST_SOUND
from mer_r1.model_settings import write_settings
from mer_r1.models.qwen2_5_omni import OmniBackbone
from mer_r1.prompting.templates import PROMPT_TEMPLATES
from tests.generation.server import ANSWER, answer, be_quick, bytes_of, parts, wave_of
from tests.judge.endpoint import Endpoint, Reply, says, serve
from tests.media.make_media import gray_frames, tone, write_image, write_media

pytest.importorskip("httpx")

BUDGET = MediaBudget(num_frames=4, fps=None, max_pixels=56 * 84, min_pixels=56 * 84, max_audio_s=1.0)
TOKENIZER = {
    "added_tokens": [
        {"id": 3, "content": "<answer>", "special": False},
        {"id": 4, "content": "<|im_end|>", "special": True},
        {"id": 5, "content": "<|AUDIO|>", "special": True},
    ],
    "model": {"vocab": {"a": 0, "b": 1, "c": 2}},
}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    be_quick(monkeypatch)


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("media") / "film.mp4"
    return write_media(path, frames=gray_frames(10), sound=tone(0.5, 16_000))


def write_folder(folder: Path, kind: str = "qwen2_5_omni", style: str = "brief") -> Path:
    """The small files of a checkpoint: ids 0 to 5 are tokens, 6 and 7 pad the table."""
    folder.mkdir(parents=True)
    text = {"text_config": {"vocab_size": 8}}
    config = {"model_type": kind} | ({"thinker_config": text} if kind == "qwen2_5_omni" else text)
    for name, value in (
        ("config", config),
        ("tokenizer", TOKENIZER),
        ("tokenizer_config", {"eos_token": "<|im_end|>"}),
    ):
        (folder / f"{name}.json").write_text(json.dumps(value))
    write_settings(folder, BUDGET, style)
    return folder


def ask_one(model: Path | str, sample: Sample, mode: Any = "slow", **options: Any) -> tuple[Any, Endpoint]:
    with serve(lambda number, body: says(ANSWER if mode == "slow" else "calm</answer>")) as endpoint:
        (prediction,) = make_generator(str(model), Service(endpoint.url, **options)).generate([sample], mode)
    return prediction, endpoint


def test_a_video_goes_out_as_the_frames_and_the_sound_that_a_local_model_is_given(film: Path, tmp_path: Path) -> None:
    run = write_folder(tmp_path / "run" / "model").parent
    prediction, endpoint = ask_one(run, Sample("a", video=film, subtitle="Well done."), served_as="mine")
    body = endpoint.asked[0].body
    clip = read_clip(Sample("a", video=film), BUDGET)
    assert clip.frames_THWC is not None
    assert clip.waveform_N is not None
    sent = parts(body)
    assert list(sent) == ["video_url", "audio_url"]
    head, _, listed = sent["video_url"].partition(";base64,")
    assert head == "data:video/jpeg"
    shown = [np.asarray(Image.open(io.BytesIO(base64.b64decode(each, validate=True)))) for each in listed.split(",")]
    assert np.array_equal(np.stack(shown), clip.frames_THWC)
    assert np.array_equal(wave_of(sent["audio_url"])[1], clip.waveform_N)
    assert clip.facts.video_s
    rate = pytest.approx(4 / clip.facts.video_s, rel=2e-6)
    assert body["mm_processor_kwargs"] == {"do_resize": False, "fps": rate}
    assert body["media_io_kwargs"] == {"video": {"num_frames": -1, "fps": rate}}
    assert body["model"] == "mine"
    assert body["logit_bias"] == {"5": -100.0, "6": -100.0, "7": -100.0}
    (user,) = body["messages"]
    assert user["content"][-1] == {"type": "text", "text": PROMPT_TEMPLATES["brief"].text("Well done.")}
    assert prediction.media == clip.facts


def test_one_frame_is_a_picture_and_a_short_sound_is_padded_as_it_is_locally(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "model")
    picture = write_image(tmp_path / "face.png", gray_frames(1)[0])
    short = write_media(tmp_path / "short.wav", sound=tone(0.02, 16_000), audio_codec="pcm_s16le", rate=16_000)
    _, endpoint = ask_one(folder, Sample("a", image=picture, audio=short), served_as="m")
    body = endpoint.asked[0].body
    sent = parts(body)
    assert list(sent) == ["image_url", "audio_url"]
    kind, data = bytes_of(sent["image_url"])
    frames = read_clip(Sample("a", image=picture), BUDGET).frames_THWC
    assert frames is not None
    assert kind == "image/png"
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(data))), frames[0])
    assert body["mm_processor_kwargs"] == {"do_resize": False}
    assert "media_io_kwargs" not in body
    samples_N = wave_of(sent["audio_url"])[1]
    assert len(samples_N) == SHORTEST_SOUND
    assert not samples_N[320:].any()


def test_words_alone_ask_nothing_of_the_server(tmp_path: Path) -> None:
    _, endpoint = ask_one(write_folder(tmp_path / "model"), Sample("a", subtitle="hm"), served_as="m")
    assert not {"mm_processor_kwargs", "media_io_kwargs"} & endpoint.asked[0].body.keys()


def test_a_model_that_hears_nothing_is_sent_no_sound(film: Path, tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "model", kind="qwen2_5_vl")
    for model, options in ((folder, {"served_as": "m"}), ("m", {"budget": {"num_frames": 2}, "sound": False})):
        prediction, endpoint = ask_one(model, Sample("a", video=film, audio=film), **options)
        assert list(parts(endpoint.asked[0].body)) == ["video_url"]
        assert prediction.media.audio_taken_s == 0.0
        assert prediction.media.audio_s == read_clip(Sample("a", video=film, audio=film), BUDGET).facts.audio_s


def test_what_is_given_by_hand_takes_the_place_of_the_folders(film: Path, tmp_path: Path) -> None:
    folder, hand = write_folder(tmp_path / "model"), {"num_frames": 2, "max_pixels": 84 * 84}
    service = Service("http://localhost:1/v1", served_as="m", prompt_style="set_clips", budget=hand)
    settings = make_generator(str(folder), service).settings
    assert settings["budget"] == asdict(BUDGET) | hand
    assert settings["prompt"] == PROMPT_TEMPLATES["set_clips"].settings
    alone = make_generator("m", Service("http://localhost:1/v1", prompt_style="brief", budget=hand)).settings
    assert alone["budget"] == asdict(MediaBudget()) | hand
    assert (alone["media"], alone["prompt"]["question"]) == ("frames", "Emotions?")
    _, endpoint = ask_one("m", Sample("a", video=film), "fast", budget=hand)
    assert parts(endpoint.asked[0].body)["video_url"].count(",") == 2


def test_the_name_alone_is_sent_files_and_the_default_question(film: Path) -> None:
    settings = make_generator("m", Service("http://localhost:1/v1")).settings
    assert (settings["media"], settings["prompt"]) == ("file", PROMPT_TEMPLATES["full"].settings)
    assert "budget" not in settings
    _, endpoint = ask_one("m", Sample("a", video=film))
    assert bytes_of(parts(endpoint.asked[0].body)["video_url"]) == ("video/mp4", film.read_bytes())
    assert not {"logit_bias", "mm_processor_kwargs"} & endpoint.asked[0].body.keys()


def test_answers_to_files_and_to_frames_are_not_kept_in_one_place(tmp_path: Path) -> None:
    out, sample = tmp_path / "out.jsonl", Sample("a", subtitle="hm")
    with serve(answer) as endpoint:
        files = EndpointGenerator(endpoint.url, "m")
        generate_to_store(out, [sample], files, ["slow"])
        path = tmp_path / "out.jsonl.settings.json"
        kept = json.loads(path.read_text())
        del kept["settings"]["media"]  # as 0.1.0 wrote them
        path.write_text(json.dumps(kept))
        generate_to_store(out, [sample], files, ["slow", "fast"])
        with pytest.raises(InputError, match="made with media file, not frames"):
            generate_to_store(out, [sample], EndpointGenerator(endpoint.url, "m", budget=BUDGET), ["slow"])
        wider = EndpointGenerator(endpoint.url, "m", budget=MediaBudget(num_frames=2))
        other = tmp_path / "other.jsonl"
        generate_to_store(other, [sample], wider, ["slow"])
        with pytest.raises(InputError, match=r"made with budget\.num_frames 2, not 4"):
            generate_to_store(other, [sample], EndpointGenerator(endpoint.url, "m", budget=BUDGET), ["slow"])


def test_a_server_that_takes_no_word_on_media_ends_the_work_with_one_line(film: Path, tmp_path: Path) -> None:
    text = "Per-request mm_processor_kwargs are disabled by default because they can change …"
    refusal = Reply(400, json.dumps({"error": {"message": text}}).encode())
    folder = write_folder(tmp_path / "model")
    with serve(lambda number, body: refusal if "mm_processor_kwargs" in body else says(ANSWER)) as endpoint:
        generator = make_generator(str(folder), Service(endpoint.url, served_as="m", num_workers=1))
        rows = generator.generate(
            [Sample("a", subtitle="hm"), Sample("b", video=film), Sample("c", video=film)], "slow"
        )
        assert next(rows).status == "ok"
        with pytest.raises(InputError, match="start it with --trust-request-mm-kwargs"):
            next(rows)
        assert len(endpoint.asked) == 2


def test_what_is_no_served_model_is_one_line(tmp_path: Path) -> None:
    def fault(model: Path | str, **options: Any) -> str:
        with pytest.raises(InputError) as caught:
            make_generator(str(model), Service("http://localhost:1/v1", **options))
        assert "\n" not in str(caught.value)
        return str(caught.value)

    assert "none: no model's folder (config.json is missing)" in fault(tmp_path / "none", served_as="m")
    assert "--prompt-style: prompt template 'brif' is none of full, " in fault("m", prompt_style="brif")
    odd = write_folder(tmp_path / "odd", style="odd")
    assert f"{odd}: prompt template 'odd' is none of full, " in fault(odd, served_as="m")
    assert make_generator(str(odd), Service("http://localhost:1/v1", served_as="m", prompt_style="full"))
    assert "num_frames is 3; give a multiple" in fault("m", budget={"num_frames": 3})
    for name, text, message in (
        ("mer_r1.json", "{}", "not the settings of a model"),
        ("tokenizer.json", "[]", "cannot be read; the checkpoint is damaged"),
        ("config.json", "{}", "is not that of a language model"),
    ):
        damaged = write_folder(tmp_path / name.replace(".", "-"))
        (damaged / name).write_text(text)
        assert message in fault(damaged, served_as="m")


def test_the_ids_that_are_suppressed_there_are_those_that_are_suppressed_here(
    tiny_folder: Path, tiny: OmniBackbone
) -> None:
    folder = read_served(str(tiny_folder))
    assert folder.suppressed == tuple((tiny.suppressed_V == float("-inf")).nonzero()[:, 0].tolist())
    assert (folder.budget, folder.prompt_style, folder.hears) == (tiny.budget, tiny.prompt_style, True)
