"""Qwen2.5-Omni's Thinker, the paper's backbone: a Hub id or a folder, the official processor, one code path.

A sample's frames and sound are separate elements of the prompt, the subtitle a line of its text. Frames come sized from
the media budget, so the processor only cuts them into patches; sound is padded to its own length, not to the
processor's maximum.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mer_r1.errors import InputError, first_line
from mer_r1.files import write_json
from mer_r1.media import MediaBudget
from mer_r1.models.backbone import Backbone, Encoded, Prompt, PromptBatch
from mer_r1.models.prompts import PROMPT_STYLES
from mer_r1.sample import Clip, Sample

SETTINGS_FILE = "mer_r1.json"
_MODEL_TYPES = ("qwen2_5_omni", "qwen2_5_omni_thinker")
_SHORTEST_SOUND = 1600  # samples; a tenth of a second still gives the tower two tokens


@dataclass
class OmniBackbone(Backbone):
    """A Qwen2.5-Omni Thinker of any size."""

    def placeholder_ids(self) -> Sequence[int]:
        config = self.model.config
        return (config.audio_token_id, config.image_token_id, config.video_token_id)

    def _chat_text(self, sample: Sample, clip: Clip) -> str:
        style = PROMPT_STYLES[self.prompt_style]
        content: list[dict[str, str]] = []
        if clip.frames_THWC is not None:
            content.append({"type": "image" if _is_picture(clip) else "video"})
        if clip.waveform_N is not None:
            content.append({"type": "audio"})
        content.append({"type": "text", "text": style.text(_without_control(self, sample.subtitle))})
        chat: list[dict[str, Any]] = [{"role": "user", "content": content}]
        if style.system:
            chat.insert(0, {"role": "system", "content": [{"type": "text", "text": style.system}]})
        text: str = self.processor.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
        return text

    def prepare(self, sample: Sample, clip: Clip) -> Prompt:
        """One sample as ids, positions and the processor's arrays; floats are kept in float16."""
        arguments: dict[str, Any] = {"text": self._chat_text(sample, clip), "return_tensors": "pt"}
        frames = None if clip.frames_THWC is None else torch.from_numpy(clip.frames_THWC).permute(0, 3, 1, 2)
        if frames is not None and _is_picture(clip):
            arguments |= {"images": [frames[0]], "images_kwargs": {"do_resize": False}}
        elif frames is not None:
            arguments |= {"videos": [frames], "videos_kwargs": _video_arguments(clip, self.budget.max_video_s)}
        if clip.waveform_N is not None:
            wave = clip.waveform_N
            wave = np.pad(wave, (0, max(0, _SHORTEST_SOUND - len(wave))))
            arguments |= {"audio": [wave], "audio_kwargs": {"max_length": len(wave)}}
        features = self.processor(**arguments)
        ids, mask = features.pop("input_ids"), features.pop("attention_mask")
        features.pop("num_audio_tokens", None)
        media = {name: torch.as_tensor(value) for name, value in features.items()}
        positions = self._positions(ids, mask, media)
        halves = {name: value.half() if value.is_floating_point() else value for name, value in media.items()}
        if "video_second_per_grid" in media:
            halves["video_second_per_grid"] = media["video_second_per_grid"].float()
        return Prompt(sample.id, ids[0], positions[:, 0], halves, clip.facts)

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
        return torch.as_tensor(positions)

    def encode(self, batch: PromptBatch) -> Encoded:
        media = self.media_arguments(batch)
        thinker = self.model.model
        embeds = self.model.get_input_embeddings()(batch.input_ids_PT)
        config = self.model.config
        if "input_features" in media:
            sound = thinker.get_audio_features(
                media["input_features"], media["feature_attention_mask"], return_dict=True
            ).last_hidden_state
            embeds = _place(embeds, batch.input_ids_PT == config.audio_token_id, sound)
        if "pixel_values_videos" in media:
            video = thinker.get_video_features(
                media["pixel_values_videos"], media["video_grid_thw"], return_dict=True
            ).pooler_output
            embeds = _place(embeds, batch.input_ids_PT == config.video_token_id, torch.cat(video))
        if "pixel_values" in media:
            image = thinker.get_image_features(
                media["pixel_values"], media["image_grid_thw"], return_dict=True
            ).pooler_output
            embeds = _place(embeds, batch.input_ids_PT == config.image_token_id, torch.cat(image))
        return Encoded(embeds, batch.mask_PT, batch.positions_3PT)

    def towers(self) -> Sequence[Any]:
        return self.model.model.visual, self.model.model.audio_tower

    def save(self, folder: Path) -> None:
        """Write the processor and the settings beside a checkpoint, so that the folder is enough to load."""
        self.processor.save_pretrained(folder)
        write_settings(folder, self.budget, self.prompt_style)


def write_settings(folder: Path, budget: MediaBudget, prompt_style: str) -> None:
    """Write how samples are shown to the model of this folder."""
    write_json(folder / SETTINGS_FILE, {"prompt_style": prompt_style, "budget": asdict(budget)})


def _is_picture(clip: Clip) -> bool:
    return clip.frames_THWC is not None and len(clip.frames_THWC) == 1


def _place(embeds: Tensor, where: Tensor, features: Tensor) -> Tensor:
    return embeds.masked_scatter(where[..., None], features.to(embeds.dtype))


def _video_arguments(clip: Clip, max_video_s: float) -> dict[str, Any]:
    """The rate at which frames were taken sets how far their time positions lie apart."""
    assert clip.frames_THWC is not None
    seconds = clip.facts.video_s
    fps = len(clip.frames_THWC) / min(seconds, max_video_s) if seconds else 2.0
    return {"do_resize": False, "do_sample_frames": False, "cap_pixels_per_frame": False, "fps": fps}


def _without_control(backbone: Backbone, text: str | None) -> str | None:
    """Text from a file is data: a control token written in it must not become one."""
    if not text:
        return text
    for token in backbone.tokenizer.convert_ids_to_tokens(sorted(backbone.control_ids)):
        text = text.replace(token, " ")
    return text


def load_omni(source: str, budget: MediaBudget | None = None, prompt_style: str | None = None) -> OmniBackbone:
    """Load a Thinker from a folder or a Hub id, with the settings saved beside it or the given ones.

    Raises InputError for a folder that is no checkpoint or one of another kind, and for a Hub id that cannot be had.
    """
    folder = Path(source)
    saved_budget, saved_style = MediaBudget(), "full"
    if folder.exists():
        _check_kind(folder)
        if (folder / SETTINGS_FILE).exists():
            saved_budget, saved_style = read_settings(folder / SETTINGS_FILE)
    elif not _looks_like_hub_id(source):
        raise InputError(f"{source}: no such folder; give a run, a checkpoint's folder, or a Hub id")
    budget, prompt_style = budget or saved_budget, prompt_style or saved_style
    if prompt_style not in PROMPT_STYLES:
        raise InputError(f"{source}: prompt style {prompt_style!r} is none of {', '.join(PROMPT_STYLES)}")
    import transformers
    from safetensors import SafetensorError

    try:
        processor = transformers.Qwen2_5OmniProcessor.from_pretrained(source)
        model = transformers.Qwen2_5OmniThinkerForConditionalGeneration.from_pretrained(source, dtype="auto")
    except (OSError, ValueError, SafetensorError) as error:
        raise InputError(
            f"{source}: cannot be loaded as a Qwen2.5-Omni Thinker ({first_line(error)}); give the folder of a run, "
            "the folder of a downloaded checkpoint, or a Hub id such as Qwen/Qwen2.5-Omni-7B while online"
        ) from error
    return OmniBackbone(model.eval(), processor, budget, str(prompt_style))


def _looks_like_hub_id(source: str) -> bool:
    owner = source.partition("/")[0]
    return not source.startswith(("/", ".", "~")) and source.count("/") == 1 and not Path(owner).is_dir()


def read_settings(path: Path) -> tuple[MediaBudget, str]:
    """(media budget, prompt style) of a settings file. Raises InputError that names it when it is none."""
    try:
        saved = json.loads(path.read_text(encoding="utf-8"))
        return MediaBudget(**saved["budget"]), str(saved["prompt_style"])
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(f"{path}: not the settings of a model ({error}); copy it again, or remove it") from None


def _check_kind(folder: Path) -> None:
    config = folder / "config.json"
    if not config.is_file():
        raise InputError(f"{folder}: no checkpoint here (config.json is missing); give a run's folder or its `model`")
    try:
        kind = json.loads(config.read_text(encoding="utf-8")).get("model_type")
    except (ValueError, AttributeError):
        raise InputError(f"{config}: not a model configuration; the checkpoint is damaged, copy it again") from None
    if kind not in _MODEL_TYPES:
        raise InputError(
            f"{folder}: a checkpoint of kind {kind!r}; a Qwen2.5-Omni Thinker ({_MODEL_TYPES[1]}) is needed"
        )
