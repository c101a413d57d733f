"""What a model is asked. Our own words around the protocol's tags and the subtitle line."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from mer_r1.response import FALLBACK_ANSWER


@dataclass(frozen=True)
class PromptStyle:
    """A system text ("" for none), the line that carries the subtitle, the question, and the answer's profile."""

    system: str
    subtitle: str
    question: str
    profile: str = "think_answer"

    def text(self, subtitle: str | None) -> str:
        """The user's text for one sample."""
        lines = [self.subtitle.format(subtitle=subtitle)] if subtitle else []
        return "\n".join([*lines, self.question])


_TASK = (
    "You are an assistant who understands people from what they show, how they sound and what they say. "
    "Look at every source you are given, weigh them against each other and check your conclusion. "
)
_SUBTITLE = "The subtitle of this video is: <Subtitle>{subtitle}</Subtitle>."

PROMPT_STYLES: dict[str, PromptStyle] = {
    "full": PromptStyle(
        system=_TASK
        + "Write your reasoning between <think> and </think>, then your final answer between <answer> and </answer>.",
        subtitle=_SUBTITLE,
        question=(
            "Which emotions does the main person feel? Consider the face, the body, the tone of voice and the words. "
            "Describe what you notice, then give the words for the emotions, separated by commas, "
            "within the <answer> </answer> tags."
        ),
    ),
    "full_first": PromptStyle(
        system=_TASK
        + "Answer at once between <answer> and </answer>; if you cannot tell yet, write there: "
        + FALLBACK_ANSWER
        + " Then reason between <think> and </think>, and close with the same or a better answer, again between "
        "<answer> and </answer>.",
        subtitle=_SUBTITLE,
        question=(
            "Which emotions does the main person feel? Consider the face, the body, the tone of voice and the words. "
            "Give both answers as words for the emotions, separated by commas."
        ),
        profile="answer_think_answer",
    ),
    # For the tiny backbone, whose prompt should not be longer than its answer.
    "brief": PromptStyle(system="", subtitle="{subtitle}", question="Emotions?"),
    "brief_first": PromptStyle(
        system="", subtitle="{subtitle}", question="Emotions first?", profile="answer_think_answer"
    ),
}


def without_control(tokenizer: Any, control_ids: Iterable[int], text: str | None) -> str | None:
    """Text from a file is data: a control token written in it must not become one."""
    if not text:
        return text
    for token in tokenizer.convert_ids_to_tokens(sorted(control_ids)):
        text = text.replace(token, " ")
    return text


def media_chat(style: PromptStyle, media: Sequence[str], subtitle: str | None) -> list[dict[str, Any]]:
    """The chat for a processor: one user turn of media ("video", "image", "audio", in this order) and text."""
    content = [*({"type": medium} for medium in media), {"type": "text", "text": style.text(subtitle)}]
    system = {"role": "system", "content": [{"type": "text", "text": style.system}]}
    user = {"role": "user", "content": content}
    return [system, user] if style.system else [user]
