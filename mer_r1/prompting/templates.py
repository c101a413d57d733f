"""Prompt templates: the texts around a sample's media and subtitle. This project's wording, the protocol's tags."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, overload

from mer_r1.errors import InputError
from mer_r1.prompting.response import FALLBACK_ANSWER

NO_CANDIDATES = "has no candidates, which this prompt template shows; add `candidates` to its row, or give --candidates"
_CANDIDATES = "{candidates}"
_CONTROL = re.compile(r"<\|[^|<>\s]{1,64}\|>")


@dataclass(frozen=True)
class PromptTemplate:
    """A system text ("" for none), the line that carries the subtitle, the question, and the response format.

    `{candidates}` in the question is replaced by a sample's candidate labels, which it then needs; `choices` is the
    line that shows them where they are optional. `fast` are the system text and the question that ask for the answer
    alone, where the template has them.
    """

    system: str
    subtitle: str
    question: str
    response_format: str = "think_answer"
    choices: str = ""
    fast: tuple[str, str] | None = None

    @property
    def settings(self) -> dict[str, str]:
        """What decides the text of a prompt, as JSON values; the template for the answer alone is one of its own."""
        return {name: value for name, value in asdict(self).items() if name != "fast"}

    def answer_only(self) -> PromptTemplate:
        """The template that asks for an answer without reasoning: fast thinking as a prompt.

        Raises InputError where there is none.
        """
        if self.fast is None:
            have = ", ".join(name for name, template in PROMPT_TEMPLATES.items() if template.fast)
            raise InputError(f"this prompt template cannot ask for an answer alone; {have} can, or take fast: prefill")
        system, question = self.fast
        return replace(self, system=system, question=question, response_format="answer_only", fast=None)

    @property
    def needs_candidates(self) -> bool:
        """Whether a sample needs candidate labels."""
        return _CANDIDATES in self.question

    def text(self, subtitle: str | None, candidates: Sequence[str] = ()) -> str:
        """The user's text for one sample. Raises InputError where the question needs candidates and there are none."""
        if self.needs_candidates and not candidates:
            raise InputError(NO_CANDIDATES)
        shown = ", ".join(candidates)
        lines = [self.subtitle.format(subtitle=subtitle)] if subtitle else []
        choices = [self.choices.replace(_CANDIDATES, shown)] if self.choices and candidates else []
        return "\n".join([*lines, self.question.replace(_CANDIDATES, shown), *choices])


_TASK = (
    "You are an assistant who understands people from what they show, how they sound and what they say. "
    "Look at every source you are given, weigh them against each other and check your conclusion. "
)
_STEPS = (
    "Work in three steps. Between <step1> and </step1> name what is there that can move a person: what happens, faces "
    "and bodies, {senses}. Between <step2> and </step2> say how a human being feels about exactly that. Between "
    "<step3> and </step3> judge whether this feeling is pleasant or unpleasant, and whether it is stirred up or calm. "
    "After the third step write your answer as \\boxed{{{answer}}} and nothing more."
)
_ALONE = "Answer at once, without writing any reasoning: your answer between <answer> and </answer>, and nothing more."
_SUBTITLE = "The subtitle of this video is: <Subtitle>{subtitle}</Subtitle>."

PROMPT_TEMPLATES: dict[str, PromptTemplate] = {
    "full": PromptTemplate(
        system=_TASK
        + "Write your reasoning between <think> and </think>, then your final answer between <answer> and </answer>.",
        subtitle=_SUBTITLE,
        question=(
            "Which emotions does the main person feel? Consider the face, the body, the tone of voice and the words. "
            "Describe what you notice, then give the words for the emotions, separated by commas, "
            "within the <answer> </answer> tags."
        ),
        fast=(
            _TASK + _ALONE,
            "Which emotions does the main person feel? Consider the face, the body, the tone of voice and the words. "
            "Give only the words for the emotions, separated by commas, within the <answer> </answer> tags.",
        ),
    ),
    "full_first": PromptTemplate(
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
        response_format="answer_think_answer",
    ),
    "set": PromptTemplate(
        system=_TASK + _STEPS.format(senses="surroundings and light", answer="label"),
        subtitle=_SUBTITLE,
        question="Which emotion does this picture call up? Choose one label: {candidates}.",
        response_format="set_steps",
    ),
    "set_clips": PromptTemplate(
        system=_TASK + _STEPS.format(senses="tone of voice, and what is said", answer="words"),
        subtitle=_SUBTITLE,
        question="Which emotions does the main person feel? Box the words for them, separated by commas.",
        response_format="set_steps",
        choices="Choose among these: {candidates}.",
    ),
    "choice": PromptTemplate(
        system=_TASK
        + "Write your reasoning between <think> and </think>, then your final answer between <answer> and </answer>.",
        subtitle=_SUBTITLE,
        question="Which emotion does this picture call up? Answer with one label: {candidates}.",
        fast=(_TASK + _ALONE, "Which emotion does this picture call up? Answer with one label: {candidates}."),
    ),
    # For the tiny backbone, whose prompt should not be longer than its answer.
    "brief": PromptTemplate(system="", subtitle="{subtitle}", question="Emotions?", fast=("", "Emotions at once?")),
    "brief_first": PromptTemplate(
        system="", subtitle="{subtitle}", question="Emotions first?", response_format="answer_think_answer"
    ),
    "brief_set": PromptTemplate(
        system="", subtitle="{subtitle}", question="Steps? {candidates}", response_format="set_steps"
    ),
    "brief_choice": PromptTemplate(
        system="",
        subtitle="{subtitle}",
        question="Emotion? {candidates}",
        fast=("", "Emotion at once? {candidates}"),
    ),
    "brief_set_clips": PromptTemplate(
        system="", subtitle="{subtitle}", question="Steps?", response_format="set_steps", choices="{candidates}"
    ),
}


@overload
def without_control(tokenizer: Any, control_ids: Iterable[int], text: str) -> str: ...
@overload
def without_control(tokenizer: Any, control_ids: Iterable[int], text: str | None) -> str | None: ...
def without_control(tokenizer: Any, control_ids: Iterable[int], text: str | None) -> str | None:
    """Text from a file is data: a control token written in it must not become one."""
    if not text:
        return text
    for token in tokenizer.convert_ids_to_tokens(sorted(control_ids)):
        text = text.replace(token, " ")
    return text


def without_servers_control(text: str) -> str:
    """Text for a server's chat template, whose control tokens are not known: what is written like one is taken out."""
    while (cleaned := _CONTROL.sub(" ", text)) != text:
        text = cleaned
    return text


def media_chat(
    template: PromptTemplate, media: Sequence[str], subtitle: str | None, candidates: Sequence[str] = ()
) -> list[dict[str, Any]]:
    """The chat for a processor: one user turn of media ("video", "image", "audio", in this order) and text."""
    text = template.text(subtitle, candidates)
    content = [*({"type": medium} for medium in media), {"type": "text", "text": text}]
    system = {"role": "system", "content": [{"type": "text", "text": template.system}]}
    user = {"role": "user", "content": content}
    return [system, user] if template.system else [user]
