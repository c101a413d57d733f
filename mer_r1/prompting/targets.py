"""What a sample teaches, as text: the response of a slow, a fast or a label target. Read without torch.

A slow target is the annotated reasoning and its answer; a fast target is the response format's prefill, which carries
no loss, and the gold words. Where the response format answers first, a slow target begins with the gold words. A label
target is a whole response without a chain of thought, learned from its first token (EMO-R3's cold start).
"""

from __future__ import annotations

from dataclasses import dataclass

from mer_r1.data.sample import Sample
from mer_r1.errors import InputError
from mer_r1.prompting.response import RESPONSE_FORMATS, ResponseFormat, is_well_formed, parse_response
from mer_r1.recipe import TargetKind


@dataclass(frozen=True)
class TargetText:
    """What one training example answers: `given` is context without loss, `learned` carries it.

    Both are pieces that are turned into ids one by one, cut where the answer opens, so that its first word never shares
    a token with that. `ends` says whether the end token follows.
    """

    given: tuple[str, ...]
    learned: tuple[str, ...]
    ends: bool = True

    @property
    def text(self) -> str:
        """The whole response."""
        return "".join((*self.given, *self.learned))


def target_text(sample: Sample, kind: TargetKind, response_format: ResponseFormat) -> TargetText:
    """A sample's target.

    Raises InputError for a sample without labels, and for a slow target without a reasoning that the response format
    can use.
    """
    if not sample.labels:
        raise InputError(f"sample {sample.id!r}: has no labels to learn from; add `labels` or leave the row out")
    prefill = response_format.fast_prefill
    at_once = f"{', '.join(sample.labels)}{response_format.stop}"
    if kind == "fast":  # where reasoning follows the first answer, that answer does not end the turn
        return TargetText((prefill,), (at_once,), ends=not response_format.fallback)
    first = (prefill, at_once) if response_format.fallback else ()
    if kind == "label":
        unthought = RESPONSE_FORMATS["think_answer"].fast_prefill if response_format.fallback else prefill
        return TargetText((), (*first, unthought, at_once))
    head, opening, answer = _whole_text(sample, response_format).rpartition(response_format.opens)
    return TargetText((), (*first, head + opening, answer))


def slow_text(sample: Sample, response_format: ResponseFormat = RESPONSE_FORMATS["think_answer"]) -> str:
    """The slow target of a sample: its `reasoning` as it stands when it is a whole response, else with the gold words.

    A reasoning that is a whole response commits to its annotator's own words; a plain one is followed by the labels.
    Three steps and a box, where the response format asks for a think block, become that block and its answer; nothing
    else becomes three steps.
    """
    reasoning, words = (sample.reasoning or "").strip(), sample.labels
    if response_format.name == "set_steps" or is_well_formed(reasoning):
        return reasoning
    if is_well_formed(reasoning, "set_steps"):
        response = parse_response(reasoning, "set_steps")
        reasoning, words = response.reasoning, response.labels
    return f"<think>{reasoning}</think><answer>{', '.join(words)}</answer>"


def _whole_text(sample: Sample, response_format: ResponseFormat) -> str:
    if not (sample.reasoning or "").strip():
        raise InputError(
            f"sample {sample.id!r}: has no reasoning for a slow target; add `reasoning`, or train fast or label only"
        )
    text = slow_text(sample, response_format)
    if response_format.name == "set_steps" and not is_well_formed(text, response_format.name):
        raise InputError(
            f"sample {sample.id!r}: its reasoning is no whole response in three steps; make it "
            "<step1>…</step1><step2>…</step2><step3>…</step3>\\boxed{label}, or train fast or label only"
        )
    if response_format.name != "set_steps" and not is_well_formed(text):
        raise InputError(
            f"sample {sample.id!r}: its reasoning and labels make no well-formed answer; take tags out of `reasoning`, "
            "or make it a whole <think>…</think><answer>…</answer>"
        )
    return text
