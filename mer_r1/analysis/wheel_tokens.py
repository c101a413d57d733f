"""`mer-r1 wheels tokens`: the ids with which the words of every category open, in the vocabulary of one tokenizer.

Confidence is read at the first token of an answer word (rl/calibration.py). Many words open alike, "dis" for one: an id
that opens words of two categories of a wheel speaks for both, or for none where a recipe says `shared_tokens: drop`.
This verb counts such ids, per wheel and category, before anything trains, and shows the words that they open. It reads
a tokenizer only, no weights.

Counted as everywhere: distinct ids, each word both as it stands and after a space.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from mer_r1.emotion.wheel import WheelSet
from mer_r1.errors import InputError, first_line

NUM_EXAMPLES = 3
_NUM_WORDS_SHOWN = 2
_FIX = "give a folder with tokenizer.json, a run's folder, tiny, or a Hub id such as Qwen/Qwen2.5-Omni-7B while online"


@dataclass(frozen=True)
class TokenCount:
    """Words and the distinct ids that open them, of one category or of a whole wheel.

    `num_shared_ids` open words of another category of the wheel too. `num_touched` words open with a shared id, as they
    stand or after a space; `num_lost` of them in both ways, so that they keep no id where shared ones are dropped.
    """

    name: str
    num_words: int
    num_ids: int
    num_shared_ids: int
    num_touched: int
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

    opening = opening_ids(partial(tokenizer.encode, add_special_tokens=False), wheels)
    by_wheel = category_ids(opening, wheels)
    return tuple(_wheel_tokens(wheel, ids_of, opening, tokenizer, wheels) for wheel, ids_of in enumerate(by_wheel))


def _wheel_tokens(
    wheel: int,
    ids_of: tuple[frozenset[int], ...],
    opening: Mapping[str, frozenset[int]],
    tokenizer: Any,
    wheels: WheelSet,
) -> WheelTokens:
    from mer_r1.models.category_confidence import shared_ids

    names = wheels.categories_of[wheel]
    words_of = {name: wheels.words_of(wheel, name) for name in names}
    shared = shared_ids(ids_of)

    def count(name: str, words: set[str]) -> TokenCount:
        ids: frozenset[int] = frozenset().union(*(opening[word] for word in words))
        touched = [word for word in words if opening[word] & shared]
        num_lost = sum(opening[word] <= shared for word in touched)
        return TokenCount(name, len(words), len(ids), len(ids & shared), len(touched), num_lost)

    openers = []
    for ident in shared:
        found = {name: tuple(word for word in words if ident in opening[word]) for name, words in words_of.items()}
        openers.append(SharedId(ident, tokenizer.decode([ident]), {name: found[name] for name in names if found[name]}))
    openers.sort(key=lambda each: (-sum(map(len, each.words.values())), each.id))
    return WheelTokens(
        total=count(wheels.names[wheel], {word for words in words_of.values() for word in words}),
        categories=tuple(count(name, set(words)) for name, words in words_of.items()),
        shared=tuple(openers),
    )


def run(model: str, source: str = "builtin", protocol: str = "official", out: Path | None = None) -> int:
    """Print the table of a model's tokenizer, with examples of shared ids; write all of it to `out`; 0.

    `model` is a folder with a tokenizer, a run's folder, a Hub id, or "tiny". Raises InputError for one that cannot be
    had or is not byte-level, and for unknown wheels.
    """
    from rich.console import Console

    from mer_r1.data.files import write_json
    from mer_r1.metrics.signature import wheels_part

    wheels = WheelSet.load(source, protocol=protocol)
    tokenizer = load_tokenizer(model)
    report = token_report(tokenizer, wheels)
    if out is not None:
        head = {"model": model, "num_ids": len(tokenizer), "wheels": wheels.source, "wheels_sha256": wheels.sha256}
        write_json(out, {**head, "protocol": protocol, "by_wheel": [asdict(item) for item in report]})
    console = Console(emoji=False, markup=False, highlight=False)
    console.print(
        f"{model}, {len(tokenizer):,} ids; wheels {wheels_part(wheels.source, wheels.sha256)}, protocol {protocol}",
        soft_wrap=True,
    )
    console.print(_table(report))
    for item in report:
        for opener in item.shared[:NUM_EXAMPLES]:
            console.print(f"{item.total.name}: {_example(opener)}", soft_wrap=True)
    console.print(
        "touched: words that open with a shared id, as they stand or after a space; lost: in both ways, so that they "
        "keep no id under shared_tokens: drop",
        soft_wrap=True,
    )
    return 0


def load_tokenizer(source: str) -> Any:
    """A model's byte-level tokenizer without its weights; "tiny" is the tokenizer of the tiny model, made here.

    Raises InputError for a folder without a whole tokenizer, a Hub id that cannot be had, and one that is not
    byte-level. Code that comes with a checkpoint is never run.
    """
    from mer_r1.models.token_offsets import require_byte_level

    if source == "tiny":
        from mer_r1.models.tiny.omni import tiny_tokenizer
        from mer_r1.synthetic.corpus import minimer_texts

        return tiny_tokenizer(minimer_texts())
    folder = Path(source)
    if not folder.exists() and (source.startswith(("/", ".", "~")) or source.count("/") > 1):
        raise InputError(f"{source}: no such folder; {_FIX}")
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


def _table(report: tuple[WheelTokens, ...]) -> object:
    from rich.markup import escape
    from rich.table import Table

    table = Table()
    for head in ("wheel", "category"):
        table.add_column(head)
    for head in ("words", "first ids", "shared", "touched", "lost"):
        table.add_column(head, justify="right")
    for item in report:
        for index, count in enumerate(item.categories):
            table.add_row(item.total.name if index == 0 else "", escape(count.name), *_cells(count))
        table.add_row("", "all", *_cells(item.total))
        table.add_section()
    return table


def _cells(count: TokenCount) -> tuple[str, ...]:
    shares = [f"{num / count.num_words:.1%}" if count.num_words else "-" for num in (count.num_touched, count.num_lost)]
    return f"{count.num_words:,}", f"{count.num_ids:,}", f"{count.num_shared_ids:,}", *shares


def _example(opener: SharedId) -> str:
    parts = []
    for name, words in opener.words.items():
        rest = f" and {len(words) - _NUM_WORDS_SHOWN:,} more" if len(words) > _NUM_WORDS_SHOWN else ""
        parts.append(f"{name} ({', '.join(words[:_NUM_WORDS_SHOWN])}{rest})")
    return f"{opener.text!r} (id {opener.id}) opens words of {'; '.join(parts)}"
