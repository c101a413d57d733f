"""The inputs of the golden vectors: drawn from a seed, and written by hand where the official code has edges.

A label list is what the official scorer takes: "[happy, sad]", a bare word, a Python list, or something broken.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

COMMON = tuple(
    "happy joyful cheerful excited calm relaxed proud grateful hopeful amused playful curious surprised "  # noqa: SIM905
    "shocked amazed "
    "confused doubtful worried anxious nervous afraid scared tense stressed sad lonely depressed disappointed ashamed "
    "guilty embarrassed angry furious annoyed irritated frustrated disgusted jealous hatred contempt tired bored love "
    "affection sympathy admiration serious confident helpless resentment".split()
)
UNKNOWN = ("neutral", "zxqv", "no emotion", "n/a", "calm voice", "unsure what", "高兴", "mixed-up thing", "ok")
BASIC = {
    "MER": ("neutral", "angry", "happy", "sad", "worried", "surprise"),
    "MELD": ("anger", "joy", "sadness", "neutral", "disgust", "fear", "surprise"),
    "IEMOCAP": ("happy", "sad", "neutral", "angry"),
}
LESS = tuple(
    "fear fears feared fearing fearful fearless power powers powerful powerless help helpful rest rested "  # noqa: SIM905
    "restless use "
    "useful useless worth worthless sense senseless value price priceless speech speechless list listless aim aimless "
    "meaning meaningless emotion emotionless defense defenseless embrace".split()
)

NEAR_MISSES = (
    "happy.", "happy!", "very happy", "a little sad", "sad and angry", "sad/angry", "sad; angry",
    "sad，angry", "sad、angry", "(sad)", '"sad"', "`sad`", "*sad*", "1. sad", "- sad", "sad:", "sad sad",
    "not sad", "unsad", "feeling sad",
    "<answer>sad</answer>", "She is sad", "at ease", "at  ease", "burnt out", "so so",
)  # fmt: skip
UNICODE = (
    "fiancé", "İzmir", "happy\u200b", "ｈａｐｐｙ", "ﬁne", "GROSS", "groß", "don’t know", "don't know", "😀", "happy😀",
    "sad\u3000", "\ufeffsad", "sad\u00a0", "悲しい",
)  # fmt: skip
EMPTY: tuple[Any, ...] = ("", " ", "]", "[]", "\n", '""', "[neutral]", [], None)
BROKEN: tuple[tuple[Any, Any], ...] = (
    ("[", "sad"), ("[", "["), ("sad", "[[]"), ("sad", ["happy", None]), ("sad", [3, "happy"]), ("neutral", [None]),
    ("sad", 4.5),
)  # fmt: skip
LIST_STYLES: tuple[Callable[[Sequence[str]], str], ...] = (
    lambda words: ", ".join(words), ",".join, lambda words: f"[{','.join(words)}", lambda words: f"{','.join(words)}]",
    lambda words: f"[[{', '.join(words)}]]", lambda words: str(list(words)), lambda words: f"{',,'.join(words)},",
    lambda words: ",\n".join(words), lambda words: "[" + ", ".join(f'"{word}"' for word in words) + "]",
)  # fmt: skip


class Words(NamedTuple):
    """The forms that the official tables know, sorted, and groups of them."""

    forms: Sequence[str]
    ambiguous: Sequence[str]
    partial: Sequence[str]
    nowhere: Sequence[str]
    relatives: Mapping[str, Sequence[str]]


class Case(NamedTuple):
    """One sample: gold and predicted labels as the official scorer is given them."""

    id: str
    tag: str
    gt: Any
    pred: Any


def listed(words: Sequence[str]) -> str:
    """The words as the benchmark writes a list of labels."""
    return f"[{', '.join(words)}]"


def some(draw: random.Random, pool: Sequence[str], most: int) -> list[str]:
    """One to `most` different words."""
    return draw.sample(pool, min(len(pool), draw.randint(1, most)))


def cases(words: Words, seed: int) -> list[Case]:
    """About 1,100 cases with tags: those of `_drawn` in their numbers, then those written by hand."""
    draw = random.Random(seed)
    pairs: list[tuple[str, Any, Any]] = []
    for tag, (num, make) in _drawn(words, draw).items():
        pairs += [(tag, *make()) for _ in range(num)]
    pairs += [("empty", gold, said) for gold in ("sad", "[sad, angry]", "zxqv", "", "[]") for said in EMPTY]
    pairs += [
        ("gt_unknown", gold, said) for gold in UNKNOWN for said in ("[happy]", "[sad, angry]", "[neutral, happy]")
    ]
    pairs += [("near_miss", listed(some(draw, COMMON, 2)), said) for said in NEAR_MISSES]
    pairs += [("unicode", listed(some(draw, COMMON, 2)), said) for said in UNICODE]
    pairs += [("less", word, listed(some(draw, COMMON, 2))) for word in LESS]
    pairs += [("less", listed(some(draw, COMMON, 2)), listed([word])) for word in LESS]
    pairs += [("error", gold, said) for gold, said in BROKEN]
    return [Case(f"c{number:04d}", *pair) for number, pair in enumerate(pairs)]


def _drawn(words: Words, draw: random.Random) -> dict[str, tuple[int, Callable[[], tuple[Any, Any]]]]:
    forms = words.forms
    phrases = [form for form in forms if " " in form or "-" in form]
    families = sorted(base for base, relatives in words.relatives.items() if len(relatives) > 3)

    def lists(gold: Sequence[str], said: Sequence[str], most: int = 5) -> tuple[str, str]:
        return listed(some(draw, gold, most)), listed(some(draw, said, most))

    def morph() -> tuple[str, str]:
        base = draw.choice(families)
        return base, listed(some(draw, words.relatives[base], 4))

    def unknown() -> tuple[str, str]:
        return listed(some(draw, forms, 3)), listed(some(draw, UNKNOWN, 2) + some(draw, forms, 2))

    def duplicates() -> tuple[str, str]:
        gold = some(draw, COMMON, 3)
        return listed(gold), listed([*gold, *gold, *(word.upper() for word in gold), *some(draw, COMMON, 2)])

    def ragged(word: str) -> str:
        letters = (draw.choice((letter.lower(), letter.upper())) for letter in word)
        return draw.choice(("", " ", "  ")) + "".join(letters) + draw.choice(("", " ", "\t", "\u00a0"))

    def spaced() -> tuple[str, str]:
        return ragged(draw.choice(COMMON)), listed([ragged(word) for word in some(draw, COMMON, 4)])

    def styled() -> tuple[str, str]:
        style = draw.choice(LIST_STYLES)
        return style(some(draw, COMMON, 3)), style(some(draw, COMMON, 4))

    def same() -> tuple[str, str]:
        gold = some(draw, forms, 3)
        return listed(gold), listed(draw.sample(gold, len(gold)))

    def basic() -> tuple[str, str]:
        gold = draw.choice(sorted({*BASIC["MER"], *BASIC["MELD"]}))
        return draw.choice((gold, gold.capitalize())), listed([*some(draw, COMMON, 4), *draw.choice(([], [gold]))])

    return {
        "single": (70, lambda: (draw.choice(forms), draw.choice(forms))),
        "multi": (140, lambda: lists(forms, forms)),
        "common": (100, lambda: lists(COMMON, COMMON)),
        "ambiguous": (80, lambda: lists(words.ambiguous, words.ambiguous, 4)),
        "partial_wheels": (50, lambda: lists(words.partial, words.partial, 3)),
        "no_wheel": (30, lambda: lists(COMMON, words.nowhere, 2)),
        "phrase_hyphen": (60, lambda: lists(phrases, phrases, 4)),
        "morph": (60, morph),
        "unknown_mix": (50, unknown),
        "duplicates": (40, duplicates),
        "case_space": (50, spaced),
        "list_style": (60, styled),
        "list_input": (30, lambda: (some(draw, COMMON, 3), [ragged(word) for word in some(draw, forms, 4)])),
        "long_pred": (25, lambda: (listed(some(draw, COMMON, 4)), listed(draw.sample(forms, draw.randint(20, 80))))),
        "equal": (25, same),
        "basic_gt": (60, basic),
    }  # fmt: skip


def large_corpora(seed: int) -> dict[str, tuple[dict[str, str], dict[str, str]]]:
    """Name -> gold, predictions: two of the benchmark's size, where two thirds of the words agree."""
    draw = random.Random(seed)
    made = {}
    for number, size in enumerate((500, 450)):
        gold = {f"s{place}": some(draw, COMMON, 4) for place in range(size)}
        said = {
            name: [word if draw.random() < 2 / 3 else draw.choice(COMMON) for word in labels]
            for name, labels in gold.items()
        }
        made[f"drawn{number}"] = ({k: listed(v) for k, v in gold.items()}, {k: listed(v) for k, v in said.items()})
    return made


def hit_corpora(seed: int) -> dict[str, tuple[dict[str, str], dict[str, str]]]:
    """Name -> gold, predictions for hit rates: one word of a set's label list against a list of words."""
    draw = random.Random(seed)
    made: dict[str, tuple[dict[str, str], dict[str, str]]] = {}
    for name, labels in BASIC.items():
        for number, size in enumerate((5, 20, 60, 60, 300)):
            gold = {f"s{place}": draw.choice(labels) for place in range(size)}
            said = {key: listed([*some(draw, COMMON, 3), *draw.choice(([], [label]))]) for key, label in gold.items()}
            made[f"{name}_{number}"] = gold, said
        made[f"{name}_neutral_only"] = {"a": "neutral", "b": "neutral"}, {"a": "[happy]", "b": "[neutral]"}
        made[f"{name}_each"] = {label: label for label in labels}, {label: listed([label]) for label in labels}
        made[f"{name}_each_and_all"] = {label: label for label in labels}, dict.fromkeys(labels, listed(labels))
    made["capitals"] = {"a": "HAPPY", "b": "Sad", "c": "angry"}, {"a": "[happy]", "b": "[SAD]", "c": "[joyful]"}
    made["two_words"] = {"a": "happy, sad", "b": "angry"}, {"a": "[sad]", "b": "[happy, angry]"}
    made["fear"] = {"a": "fear", "b": "joy", "c": "anger"}, {"a": "[scared]", "b": "[fearful]", "c": "[fear]"}
    return made


def waf_corpora(seed: int) -> dict[str, tuple[dict[str, float], dict[str, str]]]:
    """Name -> valence by sample, predicted sentiment by sample, for weighted F1 and accuracy."""
    draw = random.Random(seed)
    words = ("positive", "negative", "neutral", "mixed", "Positive")
    made: dict[str, tuple[dict[str, float], dict[str, str]]] = {}
    for number, size in enumerate(
        (3, 3, 3, 5, 5, 5, 5, 10, 10, 10, 10, 40, 40, 40, 40, 40, 40, 40, 150, 150, 150, 500)
    ):
        gold = {f"s{place}": draw.choice((0.0, round(draw.uniform(-3, 3), 4), -0.6, 1.0)) for place in range(size)}
        gold["s0"] = draw.choice((-1.0, 1.0))  # without one that is not 0 the official code stops
        said = {name: draw.choices(words, (8, 8, 4, 1, 1))[0] for name in gold}
        made[f"drawn{number}"] = gold, said
    made |= {
        "all_zero": ({"a": 0.0, "b": 0.0}, {"a": "positive", "b": "neutral"}),
        "no_answer": ({"a": 1.0, "b": -1.0}, {"a": "positive"}),
        "neutral_is_negative": ({"a": -1.0, "b": 1.0, "c": 1.0}, {"a": "neutral", "b": "neutral", "c": "positive"}),
        "only_positive": ({"a": 1.0, "b": 2.0}, {"a": "positive", "b": "positive"}),
        "only_negative": ({"a": -1.0, "b": -2.0}, {"a": "negative", "b": "neutral"}),
        "all_wrong": ({"a": 1.0, "b": -2.0}, {"a": "negative", "b": "positive"}),
        "only_positive_all_wrong": ({"a": 1.0, "b": 2.0}, {"a": "negative", "b": "neutral"}),
        "invalid_is_neutral": ({"a": -1.0, "b": 1.0}, {"a": "mixed", "b": "POSITIVE"}),
        "one": ({"a": 0.2}, {"a": "positive"}),
    }  # fmt: skip
    return made
