"""What a model is asked. Our own words around the protocol's tags and the subtitle line."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class PromptStyle:
    """A system text ("" for none), the line that carries the subtitle, and the question."""

    system: str
    subtitle: str
    question: str

    def text(self, subtitle: str | None) -> str:
        """The user's text for one sample."""
        lines = [self.subtitle.format(subtitle=subtitle)] if subtitle else []
        return "\n".join([*lines, self.question])


PROMPT_STYLES: dict[str, PromptStyle] = {
    "full": PromptStyle(
        system=(
            "You are an assistant who understands people from what they show, how they sound and what they say. "
            "Look at every source you are given, weigh them against each other and check your conclusion. "
            "Write your reasoning between <think> and </think>, then your final answer between <answer> and </answer>."
        ),
        subtitle="The subtitle of this video is: <Subtitle>{subtitle}</Subtitle>.",
        question=(
            "Which emotions does the main person feel? Consider the face, the body, the tone of voice and the words. "
            "Describe what you notice, then give the words for the emotions, separated by commas, "
            "within the <answer> </answer> tags."
        ),
    ),
    # For the tiny backbone, whose prompt should not be longer than its answer.
    "brief": PromptStyle(system="", subtitle="{subtitle}", question="Emotions?"),
}
