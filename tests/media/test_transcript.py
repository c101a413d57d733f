"""Words by speech recognition: at the clip's times whatever pieces it is heard in, and nothing is downloaded for it."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from mer_r1.errors import InputError
from mer_r1.media import transcript as module
from mer_r1.media.subtitles import Cue
from mer_r1.media.transcript import Transcriber
from tests.media.make_media import gray_frames, tone, write_media

pytest.importorskip("faster_whisper")
LANGUAGES = ("en", "de")


@pytest.fixture(scope="module")
def whisper(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Whisper of two layers, in CTranslate2's format."""
    import_module("mer_r1.models")  # before transformers, which imports torchvision
    import torch
    from ctranslate2.converters import TransformersConverter
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast, WhisperConfig, WhisperForConditionalGeneration

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    inner = Tokenizer(models.BPE({letter: number for number, letter in enumerate(alphabet)}, []))
    inner.pre_tokenizer, inner.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    names = ["endoftext", "startoftranscript", *LANGUAGES, "translate", "transcribe", "startoflm", "startofprev"]
    names += ["nospeech", "notimestamps"]
    inner.add_special_tokens([f"<|{name}|>" for name in names])
    inner.add_tokens([AddedToken(f"<|{0.02 * step:.2f}|>") for step in range(1501)])
    end, start = inner.token_to_id("<|endoftext|>"), inner.token_to_id("<|startoftranscript|>")
    sizes = dict.fromkeys(("encoder_layers", "decoder_layers", "encoder_attention_heads", "decoder_attention_heads"), 2)
    torch.manual_seed(0)
    model = WhisperForConditionalGeneration(
        WhisperConfig(
            vocab_size=inner.get_vocab_size(), d_model=64, encoder_ffn_dim=64, decoder_ffn_dim=64, pad_token_id=end,
            bos_token_id=end, eos_token_id=end, decoder_start_token_id=start, **sizes,
        )
    )  # fmt: skip
    settings = model.generation_config
    settings.lang_to_id = {f"<|{name}|>": inner.token_to_id(f"<|{name}|>") for name in LANGUAGES}
    settings.no_timestamps_token_id = inner.token_to_id("<|notimestamps|>")
    settings.suppress_tokens, settings.begin_suppress_tokens, settings.alignment_heads = [], [], [[1, 0]]
    folder = tmp_path_factory.mktemp("whisper")
    model.save_pretrained(folder / "hf")
    PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="<|endoftext|>").save_pretrained(folder / "hf")
    TransformersConverter(str(folder / "hf"), copy_files=["tokenizer.json"]).convert(str(folder / "ct2"))
    return folder / "ct2"


@pytest.fixture
def film(tmp_path: Path) -> Path:
    return write_media(tmp_path / "film.mp4", frames=gray_frames(14) * 2, sound=tone(3.5, 16_000))


@pytest.mark.slow
def test_a_recogniser_gives_words_within_the_clip_and_the_same_each_time(whisper: Path, film: Path) -> None:
    transcriber = Transcriber(str(whisper))
    found = transcriber.subtitles(film)
    assert found.source == f"transcript by {whisper}"
    assert found.cues
    assert all(0 <= cue.start_s < 3.6 and cue.text for cue in found.cues)
    assert found == transcriber.subtitles(film)


class Heard:
    """A recogniser that says how loud each second was."""

    def transcribe(self, waveform_N: np.ndarray[Any, np.dtype[np.float32]], **_: object) -> tuple[list[Any], None]:
        words = [
            SimpleNamespace(start=at / 16_000, end=at / 16_000 + 0.5, word=f" {np.abs(waveform_N[at:]).max():.1f}")
            for at in range(0, len(waveform_N), 16_000)
        ]
        late = SimpleNamespace(start=99.0, end=100.0, word=" ghost")
        return [SimpleNamespace(words=words), SimpleNamespace(words=[late]), SimpleNamespace(words=None)], None


def test_words_stand_at_the_clip_s_times_whatever_pieces_it_is_heard_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_load", lambda _: Heard())
    monkeypatch.setattr(module, "PIECE_S", 2.0)
    sound = tone(4, 16_000) * np.repeat([0.2, 0.4, 0.6, 1.0], 16_000).astype(np.float32)
    path = write_media(
        tmp_path / "a.mkv", frames=gray_frames(4), sound=sound, audio_codec="pcm_s16le", audio_format="s16"
    )
    assert Transcriber("any").subtitles(path).cues == (
        Cue(0.0, 0.5, "0.2"), Cue(1.0, 1.5, "0.2"), Cue(2.0, 2.5, "0.5"), Cue(3.0, 3.5, "0.5"),
    )  # fmt: skip


def test_a_clip_without_sound_has_no_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_load", lambda _: Heard())
    assert Transcriber("any").subtitles(write_media(tmp_path / "a.mp4", frames=gray_frames(4))).cues == ()


def test_a_model_that_is_not_here_is_named_with_what_fetches_it_and_nothing_is_downloaded(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"small: is not on this machine.*hf download Systran/faster-whisper-small,"):
        Transcriber("small")
    with pytest.raises(InputError, match=r"own/er: is not on this machine.*hf download own/er,"):
        Transcriber("own/er")
    with pytest.raises(InputError, match=r"smal: no such model; give the folder .*, or one of tiny.en, tiny"):
        Transcriber("smal")
    with pytest.raises(InputError, match=r"holds no Whisper model of CTranslate2 \(model.bin is missing\)"):
        Transcriber(str(tmp_path))
    (tmp_path / "model.bin").write_bytes(b"x")
    with pytest.raises(InputError, match=r"tokenizer.json is missing"):
        Transcriber(str(tmp_path))
    (tmp_path / "tokenizer.json").write_text(json.dumps({}))
    with pytest.raises(InputError, match=r"cannot be loaded .*; copy it again"):
        Transcriber(str(tmp_path))
