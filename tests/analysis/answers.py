"""Answers to two clips in both modes, and confidences of the small wheels."""

from __future__ import annotations

from typing import Any

from mer_r1.data.sample import Mode, Prediction

Gold = dict[str, tuple[str, ...]]


GOLD: Gold = {"a": ("happy", "sad"), "b": ("angry",)}


def said(identity: str, mode: Mode, *words: str, **rest: Any) -> Prediction:
    return Prediction(identity, mode, "", "", words, rest.pop("status", "ok"), **rest)


ANSWERS = [
    said("a", "fast", "happy", "sad", "angry"),
    said("b", "fast", "angry"),
    said("a", "slow", "happy"),
    said("b", "slow", "sad", "angry"),
]


def at_both(categories: dict[str, dict[str, float]]) -> dict[str, Any]:
    """An answer of one word, of which both positions are the same."""
    return {"categories": categories, "categories_first": categories}


def confident(joy: float, anger: float, sadness: float) -> dict[str, dict[str, float]]:
    """Log-confidences of the small wheels, the same in each."""
    row = {"joy": joy, "anger": anger, "sadness": sadness}
    return {**dict.fromkeys(("w1", "w2", "w3", "w4"), row), "w5": {"joy": joy, "anger": anger}}
