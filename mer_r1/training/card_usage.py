"""The Python of a model card: the model loaded, a clip shown to it by the prompt that it was taught, its answer."""

from __future__ import annotations

from dataclasses import dataclass, fields

from mer_r1.media import MediaBudget
from mer_r1.prompting.templates import PromptTemplate

SUBTITLE, CANDIDATES = "I won the prize!", ("happy", "sad")
"""What stands for a sample's own in the example."""
_SIGHT = """videos=[clip.frames_THWC], videos_kwargs={"do_resize": False, "input_data_format": "channels_last"}"""

_TIMES = (
    "times = [*clip.facts.frame_times_s]",
    'about = {"total_num_frames": len(times), "frames_indices": times, "fps": 1.0}',
    'media["videos_kwargs"] |= {"do_sample_frames": False, "video_metadata": [about]}',
    'text = text.replace("<|vision_start|><|video_pad|><|vision_end|>", "<|video_pad|>")',
)


@dataclass(frozen=True)
class Loading:
    """How a class of checkpoints is loaded (model and processor or tokenizer), and what it reads of a clip.

    `is_timed`: its prompt holds the times of a video's frames, each with marks of its own.
    """

    model: str
    reader: str
    pipeline: str
    reads: str
    is_timed: bool = False

    @property
    def media(self) -> tuple[str, ...]:
        """The media of its prompt, in order."""
        return tuple(kind for kind, word in (("video", "pictures"), ("audio", "sound")) if word in self.reads)


def usage(
    loading: Loading, template: PromptTemplate, budget: MediaBudget, source: str, base: str | None = None
) -> list[str]:
    """The lines of the example. `source` is the model's folder or Hub id; `base` that of an adapter's base."""
    reader = "processor" if loading.media else "tokenizer"
    ours = ["from pathlib import Path", "", "from mer_r1 import MediaBudget, Sample, read_clip"]
    lines = ours if loading.media else []
    lines += ["from peft import PeftModel"] if base else []
    lines += [f"from transformers import {loading.model}, {loading.reader}", ""]
    lines += [f'model = {loading.model}.from_pretrained("{base or source}", dtype="auto")']
    lines += [f'model = PeftModel.from_pretrained(model, "{source}")'] if base else []
    lines += [f'{reader} = {loading.reader}.from_pretrained("{source}")', ""]
    lines += _chat(loading, template)
    lines += [f"text = {reader}.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)"]
    whole = 'add_special_tokens=False, return_tensors="pt"'  # the template writes what others begin a text with
    if loading.media:
        lines += [
            "# The frames and the sound that it was taught with; a medium that the clip lacks leaves chat and inputs.",
            f'clip = read_clip(Sample("clip", video=Path("clip.mp4")), {_budget(budget)})',
            f"media = dict({_SIGHT})",
            *(_TIMES if loading.is_timed else ()),
        ]
        lines += ["media |= dict(audio=[clip.waveform_N])"] if "audio" in loading.media else []
        lines += [f"inputs = processor(text=text, {whole}, **media)"]
    else:
        lines += [f"inputs = tokenizer(text, {whole})"]
    return [
        *lines,
        "ids = model.generate(**inputs, max_new_tokens=1024, do_sample=False)",
        f'print({reader}.batch_decode(ids[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)[0])',
    ]


def _chat(loading: Loading, template: PromptTemplate) -> list[str]:
    text = template.text(SUBTITLE, CANDIDATES)
    if not loading.media:
        system = [f'    {{"role": "system", "content": {template.system!r}}},'] if template.system else []
        return ["chat = [", *system, f'    {{"role": "user", "content": {text!r}}},', "]"]
    media = "".join(f'{{"type": "{kind}"}}, ' for kind in loading.media)
    system = [f'    {{"role": "system", "content": [{{"type": "text", "text": {template.system!r}}}]}},']
    user = f'    {{"role": "user", "content": [{media}{{"type": "text", "text": {text!r}}}]}},'
    return ["chat = [", *(system if template.system else []), user, "]"]


def _budget(budget: MediaBudget) -> str:
    changed = {field.name: value for field in fields(budget) if (value := getattr(budget, field.name)) != field.default}
    return f"MediaBudget({', '.join(f'{name}={value!r}' for name, value in changed.items())})"
