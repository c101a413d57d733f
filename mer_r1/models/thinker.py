"""Thinkers: the part of a Qwen Omni that sees, hears and reads, and writes text; what its generations have in common.

A sample's frames and sound are separate elements of the prompt, the subtitle a line of its text. Sound is padded to its
own length, not to the processor's maximum.

A folder is written as the official checkpoint is laid out, without its voice: a configuration of the whole model that
holds the Thinker's, and weights behind `thinker.`. vLLM, transformers' Thinker and whole class, and the trainers built
on them take it as it is. A head tied to the embeddings is not written, and the text configuration says that it is tied.
"""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from mer_r1.data.files import write_json
from mer_r1.data.sample import Clip, Sample
from mer_r1.errors import InputError
from mer_r1.media import MediaBudget
from mer_r1.models.backbone import Backbone
from mer_r1.models.checkpoint import MEDIA_FIX, RUN_FIX, folder_kind, read_parts, require_source, settings_of
from mer_r1.models.frames import expanded, frame_arguments, frame_media, frame_tokens, kept_arrays, sound_of, taken_rate
from mer_r1.models.types import ChatPrompt, Prompt
from mer_r1.prompting.templates import media_chat

_PARTS = {"model.language_model.": "model.", "model.visual.": "visual.", "model.audio_tower.": "audio_tower."}
HOP = 160
"""Samples between two windows of sound that a tower reads: 10 ms."""


@dataclass
class ThinkerBackbone(Backbone):
    """A Thinker of any generation. A family says which classes are its own, and how many tokens a sound costs."""

    reads = "pictures, sound and subtitle"

    model_type: ClassVar[str]
    """Of the whole model; the Thinker's own ends in _thinker."""
    title: ClassVar[str]
    """What messages call the family."""
    example: ClassVar[str]
    """A Hub id."""
    architecture: ClassVar[str]
    """What the official checkpoint calls the whole model's class."""

    @classmethod
    @abstractmethod
    def classes(cls) -> tuple[Any, Any]:
        """The Thinker's class and the processor's, of transformers."""

    @staticmethod
    @abstractmethod
    def sound_tokens(num_windows: int) -> int:
        """What the audio tower makes of so many windows of sound."""

    @classmethod
    def load(
        cls, source: str, budget: MediaBudget | None = None, prompt_style: str | None = None, weights: bool = True
    ) -> Self:
        """Load a Thinker from a folder or a Hub id, with the settings saved beside it or the given ones.

        Without `weights` its model is on the meta device, enough to make prompts and to read answers.

        Raises InputError for a folder that is no checkpoint or one of another kind, and for a Hub id that cannot be
        loaded.
        """
        require_source(source)
        folder, own_type = Path(source), f"{cls.model_type}_thinker"
        if folder.exists():
            kind = folder_kind(folder, RUN_FIX)
            if kind not in (cls.model_type, own_type):
                raise InputError(f"{folder}: a checkpoint of kind {kind!r}; a {cls.title} ({own_type}) is needed")
            _require_sizes(folder / "config.json")
        shown_as = settings_of(source, budget, prompt_style, cls.model_type)
        fix = MEDIA_FIX.format(cls.example)
        return cls(*read_parts(source, cls.title, fix, *cls.classes(), "auto", weights), *shown_as)

    def placeholder_ids(self) -> Sequence[int]:
        config = self.model.config
        return (config.audio_token_id, config.image_token_id, config.video_token_id)

    def towers(self) -> Sequence[Any]:
        return self.model.get_encoder("image"), self.model.get_encoder("audio")

    def prepare(self, sample: Sample, clip: Clip) -> Prompt:
        """One sample as ids, positions and the processor's arrays; floats are kept in float16."""
        arguments = frame_arguments(clip, self.budget, lambda _, rate: {"fps": rate})
        if (wave := sound_of(clip)) is not None:
            arguments |= {"audio": [wave], "audio_kwargs": {"max_length": len(wave)}}
        features = self.processor(text=self._chat(sample, clip), return_tensors="pt", **arguments)
        ids, mask = features.pop("input_ids"), features.pop("attention_mask")
        features.pop("num_audio_tokens", None)
        arrays = {name: torch.as_tensor(value) for name, value in features.items()}
        positions = self._positions(ids, mask, arrays)
        kept = kept_arrays(arrays)
        if "video_second_per_grid" in arrays:
            kept["video_second_per_grid"] = arrays["video_second_per_grid"].float()
        return Prompt(sample.id, ids[0], positions[:, 0], kept, clip.facts)

    def chat_prompt(self, sample: Sample, clip: Clip) -> ChatPrompt:
        """One sample as the chat's ids and its media."""
        ids, wave = self.text_ids(self._chat(sample, clip)), sound_of(clip)
        counts = frame_tokens(clip, self.budget, self.model.config)
        if wave is not None:
            counts[self.model.config.audio_token_id] = self.sound_tokens(len(wave) // HOP)
        rate = taken_rate(clip, self.budget)
        return ChatPrompt(sample.id, ids, expanded(ids, counts), clip.facts, clip.frames_THWC, rate, wave)

    def _chat(self, sample: Sample, clip: Clip) -> str:
        media = [*frame_media(clip), *(["audio"] if clip.waveform_N is not None else [])]
        chat = media_chat(self.template, media, *self.texts_of(sample))
        return self.chat_text(chat)

    def _positions(self, ids: Tensor, mask: Tensor, media: dict[str, Tensor]) -> Tensor:
        """M-RoPE positions (3, 1, T) as the Thinker itself makes them; plain counting where there is no picture."""
        lengths = media["feature_attention_mask"].sum(-1) if "feature_attention_mask" in media else None
        positions, _ = self.model.get_rope_index(
            ids,
            media.get("image_grid_thw"),
            media.get("video_grid_thw"),
            mask,
            False,
            lengths,
            media.get("video_second_per_grid"),
        )
        return torch.as_tensor(positions).long()

    def official_name(self, name: str) -> str:
        """What the official checkpoint calls a weight of the Thinker, under whichever version of transformers."""
        held = next((prefix for prefix in _PARTS if name.startswith(prefix)), "")
        return f"thinker.{_PARTS.get(held, '')}{name.removeprefix(held)}"

    def save_config(self, folder: Path) -> None:
        """Write the configuration of a whole model without voice."""
        super().save_config(folder)
        thinker = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        tied = {"tie_word_embeddings": thinker["tie_word_embeddings"]}  # vLLM reads it of the text, transformers of all
        version = thinker.pop("transformers_version")
        inner = {name: value for name, value in thinker.items() if name != "architectures"}
        whole = {
            "architectures": [self.architecture],
            "model_type": self.model_type,
            "dtype": thinker["dtype"],
            "enable_audio_output": False,
            "thinker_config": inner | {"text_config": thinker["text_config"] | tied},
            "transformers_version": version,
        }
        write_json(folder / "config.json", whole)

    def _save_weights(self, folder: Path, weights: dict[str, Tensor]) -> None:
        official = dict(self.official_weights(weights.items()))
        self.model.save_pretrained(folder, state_dict=official, save_original_format=False)
        self.save_config(folder)


def _require_sizes(path: Path) -> None:
    """Raises InputError for a configuration without a text model: transformers would build one of 7B in its place."""
    config = json.loads(path.read_text(encoding="utf-8"))
    thinker = config.get("thinker_config", config)
    if not isinstance(thinker, dict) or not isinstance(thinker.get("text_config"), dict):
        raise InputError(f"{path}: not the configuration of a Thinker; the checkpoint is damaged, copy it again")
