"""Which words of an answer are right, which gold words it misses, and how the answer as a whole stands.

A word is compared with the gold words by category, wheel by wheel, in the wheels that know both:

    right     its category is a gold one in all of them        partly   in some of them
    wrong     in none of them                                  unknown  no wheel knows both

An answer is right when it reaches exactly the gold categories of every wheel, partly right when it reaches some of
them, wrong when it reaches none. What no wheel knows is what the wheels' protocol makes of it: dropped by "official", a
category of its own by "corrected". Without an answer (no row, an error, no word) there is no state; an answer to a clip
that the protocol cannot count, for no gold word is left, is not judged. Convention: words are read by the protocol's
own parser, repeats count once. These marks are for looking; the numbers are those of metrics/corpus_score.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from mer_r1.data.labels import read_labels
from mer_r1.data.sample import Prediction
from mer_r1.emotion.compiled import shifts
from mer_r1.emotion.wheel import MappedWords, WheelSet

Verdict = Literal["right", "partly", "wrong", "unknown"]
CHARACTERS: dict[Verdict, str] = {"right": "r", "partly": "p", "wrong": "w", "unknown": "u"}
NO_STATE, NO_GOLD = "-", "n"


@dataclass(frozen=True)
class Word:
    """A word of an answer: its verdict, the verdict in words, and its confidence (None: not known)."""

    text: str
    verdict: Verdict
    why: str
    confidence: float | None


class Verdicts:
    """The verdicts by one wheel set; what words reach in it is cached."""

    def __init__(self, wheels: WheelSet) -> None:
        self.wheels = wheels
        self._counts_unknown = wheels.protocol.oov == "count"
        sizes = [len(names) for names in wheels.categories_of]
        self._masks = [(1 << n) - 1 << shift for n, shift in zip(sizes, shifts(wheels.categories_of), strict=True)]
        self._hits = lru_cache(maxsize=1 << 16)(self._find_hits)

    def words(self, labels: Sequence[str]) -> tuple[str, ...]:
        """The words of a label field, each once."""
        return tuple(dict.fromkeys(read_labels(labels, self.wheels.protocol.parser)[0]))

    def mapped(self, words: Sequence[str]) -> MappedWords:
        """The categories that words reach, packed, and the words that reach none."""
        return self.wheels.map_words(words)

    def characters(self, words: Sequence[str], gold: MappedWords) -> str:
        """One character a word of `words`: r(ight), p(artly), w(rong), u(nknown)."""
        packed = (self.wheels.map_words((word,))[0] for word in words)
        return "".join(CHARACTERS[_verdict(*self._hits(word, gold[0]))] for word in packed)

    def state(self, row: Prediction | None, words: Sequence[str], gold: MappedWords) -> str:
        """How an answer stands: r, p, w, n (not judged), or "-"."""
        if row is None or row.status == "error" or not words:
            return NO_STATE
        answer = self.wheels.map_words(words)
        unknown, unknown_gold = (set(item[1]) if self._counts_unknown else set() for item in (answer, gold))
        if not (gold[0] or unknown_gold):
            return NO_GOLD
        if (answer[0], unknown) == (gold[0], unknown_gold):
            return "r"
        return "p" if answer[0] & gold[0] or unknown & unknown_gold else "w"

    def of_words(self, labels: Sequence[str], gold: Sequence[str], confidence: dict[str, float] | None) -> list[Word]:
        """The verdict on each word of an answer."""
        right = self.mapped(self.words(gold))[0]
        result = []
        for text in self.words(labels):
            hits, known = self._hits(self.wheels.map_words((text,))[0], right)
            verdict = _verdict(hits, known)
            why = {"partly": f"{hits} of {known} wheels", "unknown": "not judged"}.get(verdict, verdict)
            result.append(Word(text, verdict, why, (confidence or {}).get(text)))
        return result

    def missed(self, labels: Sequence[str], gold: Sequence[str]) -> list[str]:
        """The gold words of which the answer reaches the category in no wheel."""
        answer = self.mapped(self.words(labels))[0]
        packed = [(word, self.wheels.map_words((word,))[0]) for word in self.words(gold)]
        return [word for word, reached in packed if reached and not reached & answer]

    def _find_hits(self, word: int, gold: int) -> tuple[int, int]:
        """In how many wheels a word's category is a gold one, of how many that know both."""
        known = [mask for mask in self._masks if word & mask and gold & mask]
        return sum(bool(word & gold & mask) for mask in known), len(known)


def _verdict(hits: int, known: int) -> Verdict:
    if not known:
        return "unknown"
    return "right" if hits == known else "partly" if hits else "wrong"
