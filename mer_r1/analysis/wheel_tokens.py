"""`mer-r1 wheels tokens`: the ids with which the words of every category open, in the vocabulary of one tokenizer.

Confidence is read at the first token of an answer word (rl/calibration.py). Many words open alike, "dis" for one: an id
that opens words of two categories of a wheel speaks for both, or for none where a recipe says `shared_tokens: drop`.
Such ids are counted here, per wheel and category, before anything trains, with the words that they open. Only a
tokenizer is read, no weights.

Counted as everywhere: distinct ids, each word both as it stands, which is how an answer's first word is written, and
after a space, as the others are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mer_r1.emotion.wheel import WheelSet
from mer_r1.errors import InputError, first_line

_FIX = "give a folder with tokenizer.json, a run's folder, tiny, or a Hub id such as Qwen/Qwen2.5-Omni-7B while online"


@dataclass(frozen=True)
class TokenCount:
    """Words and the distinct ids that open them, of one category or of a whole wheel.

    `num_shared_ids` open words of another category of the wheel too. `num_alone` words open with a shared id as they
    stand, `num_spaced` after a space; `num_lost` in both ways, so that they keep no id where shared ones are dropped.
    """

    name: str
    num_words: int
    num_ids: int
    num_shared_ids: int
    num_alone: int
    num_spaced: int
    num_lost: int


@dataclass(frozen=True)
class SharedId:
    """An id that opens words of two or more categories of a wheel, its text, and those words by category."""

    id: int
    text: str
    words: dict[str, tuple[str, ...]]


@dataclass(frozen=True)
class WheelTokens:
    """One wheel: its total (a word of two categories counts once), its categories, its shared ids, busiest first."""

    total: TokenCount
    categories: tuple[TokenCount, ...]
    shared: tuple[SharedId, ...]


def token_report(tokenizer: Any, wheels: WheelSet) -> tuple[WheelTokens, ...]:
    """Of each wheel the ids that open its words in this tokenizer's vocabulary, and which of them are shared."""
    from mer_r1.models.category_confidence import category_ids, opening_ids

    opening = opening_ids(tokenizer, wheels)
    by_wheel = category_ids(opening, wheels)
    return tuple(_wheel_tokens(wheel, ids_of, opening, tokenizer, wheels) for wheel, ids_of in enumerate(by_wheel))


def _wheel_tokens(
    wheel: int,
    ids_of: tuple[frozenset[int], ...],
    opening: Mapping[str, tuple[int, int]],
    tokenizer: Any,
    wheels: WheelSet,
) -> WheelTokens:
    from mer_r1.models.category_confidence import shared_ids

    names = wheels.categories_of[wheel]
    words_of = {name: wheels.words_of(wheel, name) for name in names}
    shared = shared_ids(ids_of)

    def count(name: str, words: set[str]) -> TokenCount:
        ids: frozenset[int] = frozenset().union(*(opening[word] for word in words))
        hits = [(opening[word][0] in shared, opening[word][1] in shared) for word in words]
        num_alone, num_spaced = (sum(column) for column in zip(*hits, strict=True)) if hits else (0, 0)
        return TokenCount(name, len(words), len(ids), len(ids & shared), num_alone, num_spaced, sum(map(all, hits)))

    openers = []
    for ident in shared:
        found = {name: tuple(word for word in words if ident in opening[word]) for name, words in words_of.items()}
        openers.append(SharedId(ident, tokenizer.decode([ident]), {name: found[name] for name in names if found[name]}))
    openers.sort(key=lambda item: (-sum(map(len, item.words.values())), item.id))
    return WheelTokens(
        total=count(wheels.names[wheel], {word for words in words_of.values() for word in words}),
        categories=tuple(count(name, set(words)) for name, words in words_of.items()),
        shared=tuple(openers),
    )


def load_tokenizer(source: str) -> Any:
    """A model's byte-level tokenizer without its weights; "tiny" is the tokenizer of the tiny model, made here.

    Raises InputError for a folder without a whole tokenizer, a Hub id that cannot be had, and one that is not
    byte-level. Code that comes with a checkpoint is never run.
    """
    from mer_r1.models.checkpoint import require_source
    from mer_r1.models.token_offsets import require_byte_level

    if source == "tiny":
        from mer_r1.models.tiny.omni import tiny_tokenizer
        from mer_r1.synthetic.corpus import minimer_texts

        return tiny_tokenizer(minimer_texts())
    folder = Path(source)
    require_source(source, _FIX)
    if folder.is_file():
        raise InputError(f"{source}: a file, not a folder; {_FIX}")
    import transformers

    index = folder / "model" if (folder / "model" / "config.json").exists() else source
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(str(index), trust_remote_code=False)
    except Exception as error:  # a damaged file raises any of a dozen kinds, a plain Exception among them
        raise InputError(f"{source}: no tokenizer can be loaded ({first_line(error)}); {_FIX}") from error
    if not tokenizer.encode("Words", add_special_tokens=False):  # what transformers makes of no file at all
        raise InputError(f"{source}: the tokenizer is missing (tokenizer.json); {_FIX}")
    require_byte_level(tokenizer, source)
    return tokenizer
