"""Annotated answers in the form of structured emotional thinking (EMO-R3 Section 3: trigger, reaction, appraisal)."""

from __future__ import annotations


def level(value: float, edge: float = 0.33) -> int:
    """-1, 0 or 1: below -edge, between, above edge."""
    return int(value > edge) - int(value < -edge)


def appraisal(valence: float, arousal: float) -> str:
    """Step 3 in words, from valence and arousal in [-1, 1]."""
    good = {1: "Positive", 0: "Mixed", -1: "Negative"}[level(valence)]
    awake = {1: "high", 0: "middle", -1: "low"}[level(arousal)]
    return f"{good}, {awake} arousal."


def set_text(trigger: str, reaction: str, judged: str, answer: str) -> str:
    r"""A whole response: `<step1>trigger</step1><step2>reaction</step2><step3>judged</step3>\boxed{answer}`."""
    return f"<step1>{trigger}</step1><step2>{reaction}</step2><step3>{judged}</step3>\\boxed{{{answer}}}"
