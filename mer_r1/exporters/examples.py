"""Samples as examples for another trainer: the very texts that ours shows and teaches, with the media beside them.

The prompt is that of a prompt template, the response that of a target (prompting/targets.py), so a model that is
trained elsewhere is trained on the same text. What differs is loss: our fast targets carry none on their prefill, and
other trainers count a whole response. Text from files is data: what is written like a control token is taken out, and a
row whose text holds a tag that the trainer reads as a medium (`<video>`) is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

from mer_r1.data.manifest import MEDIA_KEYS
from mer_r1.data.sample import Mode, Sample
from mer_r1.errors import InputError
from mer_r1.prompting.response import RESPONSE_FORMATS
from mer_r1.prompting.targets import target_text
from mer_r1.prompting.templates import PROMPT_TEMPLATES, PromptTemplate, without_servers_control
from mer_r1.text import printable

Purpose = Literal["sft", "rl"]
Fast = Literal["prefill", "prompt"]
KINDS = ("video", "image", "audio")
"""Kinds of media, in the order of our chats: what is seen, then what is heard, then the text."""


class Medium(NamedTuple):
    """A file of a sample."""

    kind: str
    path: Path


@dataclass(frozen=True)
class Example:
    """A prompt with its media, and what it teaches.

    `response` is None where answers are sampled (RL); `solution` is the answer block of the gold labels. `num_frames`
    is how many pictures stand for a film where the trainer reads none.
    """

    sample: Sample
    system: str
    user: str
    media: tuple[Medium, ...]
    response: str | None
    solution: str
    num_frames: int | None = None

    def chat(self, *, tags: bool = False) -> list[dict[str, str]]:
        """System, user and assistant, as far as there are; with `tags`, one a medium before the user's text."""
        before = "".join(f"<{medium.kind}>" for medium in self.media) if tags else ""
        turns = (("system", self.system or None), ("user", before + self.user), ("assistant", self.response))
        return [{"role": role, "content": content} for role, content in turns if content is not None]

    def files(self, kind: str) -> list[Path]:
        """The files of one kind."""
        return [medium.path for medium in self.media if medium.kind == kind]


@dataclass(frozen=True)
class Choice:
    """Which examples are made: for SFT those of `modes`, for RL one a sample without a response.

    `num_frames` turns films into that many pictures.
    """

    purpose: Purpose = "sft"
    modes: tuple[Mode, ...] = ("slow",)
    fast: Fast = "prefill"
    prompt_style: str = "full"
    num_frames: int | None = None


@dataclass
class LeftOut:
    """Rows that give no example, by reason: their ids."""

    ids: dict[str, list[str]] = field(default_factory=dict)

    def add(self, sample: Sample, reason: str) -> None:
        """One more."""
        self.ids.setdefault(reason, []).append(sample.id)

    def lines(self) -> list[str]:
        """A line a reason: how many, why, and the first."""
        return [
            f"left out: {len(ids):,} rows, each {reason} (the first is {printable(ids[0])!r})"
            for reason, ids in self.ids.items()
        ]


def make_examples(samples: Sequence[Sample], choice: Choice, tags: Sequence[str] = ()) -> tuple[list[Example], LeftOut]:
    """The examples of samples, sample by sample, and the rows that give none or not all.

    `tags` are what the trainer reads as media in a text. Raises InputError for a prompt template that is not known or
    cannot be used so, and where no row is left.
    """
    template = PROMPT_TEMPLATES.get(choice.prompt_style)
    if template is None:
        raise InputError(f"--prompt-style {printable(choice.prompt_style)}: give one of {', '.join(PROMPT_TEMPLATES)}")
    if choice.purpose == "sft" and "fast" in choice.modes:
        _require_fast(template, choice)
    made: list[Example] = []
    left_out = LeftOut()
    for sample in samples:
        try:
            made += _examples_of(sample, choice, template, tags)
        except _Unfit as reason:
            left_out.add(sample, str(reason))
    if not made:
        raise InputError(f"no row gives an example; {'; '.join(left_out.lines()) or 'the manifest has no rows'}")
    return made, left_out


class _Unfit(Exception):
    """Why a row gives no example."""


def _require_fast(template: PromptTemplate, choice: Choice) -> None:
    if choice.fast == "prompt":
        template.answer_only()
    elif RESPONSE_FORMATS[template.response_format].fallback:
        raise InputError(
            f"--prompt-style {choice.prompt_style}: its fast answer does not end the response, and other trainers end "
            "every response; give --mode slow"
        )


def _examples_of(sample: Sample, choice: Choice, template: PromptTemplate, tags: Sequence[str]) -> list[Example]:
    media = _media(sample)
    if not sample.labels:
        raise _Unfit("without labels")
    if template.needs_candidates and not sample.candidates:
        raise _Unfit("without candidates, which the prompt template shows")
    modes: tuple[Mode | None, ...] = choice.modes if choice.purpose == "sft" else (None,)
    examples = []
    for mode in modes:
        used = template.answer_only() if mode == "fast" and choice.fast == "prompt" else template
        candidates = [without_servers_control(label) for label in sample.candidates]
        user = used.text(without_servers_control(sample.subtitle) if sample.subtitle else None, candidates)
        form = RESPONSE_FORMATS[used.response_format]
        response = None
        if mode is not None:
            try:
                response = without_servers_control(target_text(sample, mode, form).text)
            except InputError:
                raise _Unfit("without a reasoning that a slow answer can be made of") from None
        solution = f"{form.opens}{', '.join(sample.labels)}{form.stop}"
        if held := next((tag for tag in tags if tag in f"{user}{response}{solution}"), None):
            raise _Unfit(f"with {held} in its text, which the trainer would take for a file")
        examples.append(Example(sample, used.system, user, media, response, solution, choice.num_frames))
    return examples


def _media(sample: Sample) -> tuple[Medium, ...]:
    media = []
    for kind in KINDS:
        path: Path | None = getattr(sample, kind)
        if path is None:
            continue
        if not path.is_file():
            raise _Unfit(f"without its {kind}: no such file")
        media.append(Medium(kind, path))
    return tuple(media)


assert {*KINDS} == {*MEDIA_KEYS}
