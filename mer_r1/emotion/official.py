"""The wheels of MER-UniBench ("official"), their authors' later correction ("mer2026") and user tables.

    surface form -> base words -> wheel words -> categories, per wheel

compiled from a folder of tables (tables.py). What a form with several candidates reaches is the protocol's choice:

    first   the wheel words of all its base words, sorted; the first that the wheel has decides. This is G(.) of the
            authors' code (my_affectgpt/evaluation/wheel.py), exactly.
    votes   a wheel word takes its own category. Otherwise every wheel word votes for its category with the number of
            the eight synonym lists that name the base word under it; the most votes win, and equal votes win together.
            Who votes: the row of the form itself, where it is a base word that reaches this wheel; else the rows of all
            its base words, but for those in "-less" of a form without "less" (to fear is not to be fearless, as
            MER-UniBench has it; it is the correction that the authors made in MER2026).

No official table knows "neutral". A protocol that scores it adds a last category "neutral" to each wheel, reached by
the built-in wheels' forms of the word "neutral" that the tables do not know.

The files are found in the user's cache folder, where `mer-r1 wheels download` puts them, or in any folder. A compiled
table is kept in that cache folder too, under the hash of all it was made from.
Source: docs/wheels.md and docs/scoring.md; the votes are this project's rule.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from mer_r1.emotion.compiled import NEUTRAL, NUM_WHEELS, CompiledWheels, Route, pack
from mer_r1.emotion.protocol import Protocol
from mer_r1.emotion.tables import FILES, LEVELS, Tables, missing_files, parse_tables, read_files
from mer_r1.emotion.words import read_words
from mer_r1.errors import InputError

_OFFICIAL_SHA256 = {
    "format.csv": "ba6de7d61db8e129d1d7ef8a2aae22a9e93a2c2e3e683e6f2735d04455f016f2",
    "synonym.xlsx": "23f81f9ab1d2418aaf96775304fb5dc52c62bb5d5ef652a97471d045fc9d2e29",
    "wheel1.xlsx": "e70485d354b82a7491ff24648273182a5f4f13f92c76e6b3e4f9033f5e6afcc1",
    "wheel2.xlsx": "acc001e076a8e60440361f58dd8c05ed900c4890c84bb7d8d1df93708a7d9c87",
    "wheel3.xlsx": "d62f30bf88c17c55876634cd088eacaef98278fc25457474364439872f9dbf83",
    "wheel4.xlsx": "660260561b7fe15550f3679a01e7c783608ce3403d4c28db0a88520f68d83aea",
    "wheel5.xlsx": "2dd4595b2cf8e7628ca06a416a8e38ac831614b244f23d1ae613dc34007649f1",
}
PINNED: Mapping[str, Mapping[str, str]] = {
    "official": _OFFICIAL_SHA256,
    "mer2026": _OFFICIAL_SHA256 | {"format.csv": "82234299875465ecf6c196ace42ffbe745baaeea72b5e39de955af36929982a4"},
}
"""The published wheels: source -> file -> SHA-256."""

GIVEN_BY = "--wheels DIR, in a recipe rl.wheels=DIR"
"""How a command and a training are given a folder of tables."""

_TITLES = {"official": "MER-UniBench", "mer2026": "MER2026"}
_COMPILED_FORMAT = 1
"""Raise it with every change of what the tables compile to, or old compiled tables will be taken for new ones."""

_WORDS = Path(__file__).parent / "data" / "words.txt"


@dataclass(frozen=True)
class Source:
    """The seven files of one folder. Two are equal when their name and their content are."""

    name: str
    digest: str
    files: Mapping[str, bytes] = field(compare=False, repr=False)
    folder: Path = field(compare=False)


@dataclass(frozen=True)
class Placement:
    """The category of a form in a wheel, and the base word and wheel word through which the form reaches it."""

    base: str
    wheel_word: str
    category: str


def validate_level(level: int) -> None:
    """Raises InputError for a level other than 1 and 2."""
    if level not in LEVELS:
        raise InputError(f"level {level} does not exist in the wheels; use 1 or 2")


def user_folder() -> Path:
    """The folder in which this package keeps what can be made or fetched again."""
    from platformdirs import user_cache_path

    return user_cache_path("mer-r1", appauthor=False)


def published_folder(name: str) -> Path:
    """Where `mer-r1 wheels download` puts the files of "official" or "mer2026"."""
    return user_folder() / "wheels" / name


def is_here(name: str) -> bool:
    """Whether all files of "official" or "mer2026" are in the user's cache; whether they are right is not looked at."""
    return not missing_files(published_folder(name))


def read_source(source: str) -> Source:
    """Find, read and hash the files of "official", "mer2026" or a folder.

    Raises InputError for an unknown source, for missing files, and for published files that are not the published ones.
    """
    if source in PINNED:
        return _read_published(source)
    folder = Path(source)
    if not source or not os.path.isdir(folder):
        raise InputError(
            f"wheels {source!r} are not known; use builtin, {', '.join(PINNED)}, or a folder that holds {FILES[0]}, "
            f"{FILES[1]} and {FILES[2]} to {FILES[-1]}"
        )
    files = read_files(folder)
    hashes = _hashes(files)
    for name, pinned in PINNED.items():
        if hashes == pinned:
            return _source(name, files, folder)
    name = "".join(character if character.isprintable() else "_" for character in folder.resolve().name)
    return _source(f"own-{name}" if name in ("", "builtin", *PINNED) else name, files, folder)


def _read_published(name: str) -> Source:
    folder = published_folder(name)
    if missing := missing_files(folder):
        raise InputError(
            f"the wheels {name} are not here yet ({', '.join(missing)} missing in {folder}); fetch them with "
            f"`mer-r1 wheels download {name}`, put them there by hand, or give a folder that has them: {GIVEN_BY}"
        )
    files = read_files(folder)
    hashes = _hashes(files)
    if wrong := [file for file, pinned in PINNED[name].items() if hashes[file] != pinned]:
        raise InputError(
            f"{folder}: {', '.join(wrong)} not as published (the SHA-256 differs); fetch them again with "
            f"`mer-r1 wheels download {name}`, or give your own tables as a folder: {GIVEN_BY}"
        )
    return _source(name, files, folder)


def _source(name: str, files: Mapping[str, bytes], folder: Path) -> Source:
    digest = sha256("\n".join(f"{file} {value}" for file, value in sorted(_hashes(files).items())).encode())
    return Source(name, digest.hexdigest(), files, folder)


def _hashes(files: Mapping[str, bytes]) -> dict[str, str]:
    return {name: sha256(data).hexdigest() for name, data in files.items()}


def compiled_tables(source: Source, protocol: Protocol, level: int) -> CompiledWheels:
    """The wheels of a source for a protocol and level 1 or 2, from the compiled table where a valid one is kept.

    Otherwise they are compiled, and kept. Raises InputError for errors in the tables.
    """
    key = _key(source, protocol, level)
    path = user_folder() / "compiled" / f"{key[:32]}.json"
    wheels = _read_compiled(path, key, source, protocol, level)
    if wheels is None:
        from mer_r1.data.files import write_text

        categories_of, table = compile_tables(parse_tables(source.files, source.folder), protocol, level)
        body = json.dumps({"categories_of": categories_of, "table": table})
        with suppress(OSError):  # a cache that cannot be written costs time, nothing else
            write_text(path, f"{json.dumps(_head(key, body.encode()))}\n{body}")
        wheels = _compiled(source, protocol, level, categories_of, table)
    return wheels


def _key(source: Source, protocol: Protocol, level: int) -> str:
    """The hash of all that a compiled table depends on."""
    neutral = sha256(_WORDS.read_bytes()).hexdigest() if protocol.neutral else ""
    parts = (_COMPILED_FORMAT, source.digest, repr(protocol), level, neutral)
    return sha256(json.dumps(parts).encode()).hexdigest()


def _compiled(
    source: Source,
    protocol: Protocol,
    level: int,
    categories_of: tuple[tuple[str, ...], ...],
    table: Mapping[str, int],
) -> CompiledWheels:
    title = _TITLES.get(source.name, source.name) + (", middle ring" if level == 2 else "")
    return CompiledWheels(
        source=source.name,
        names=tuple(f"w{k}" for k in range(1, NUM_WHEELS + 1)),
        titles=tuple(f"wheel {k} of {title}" for k in range(1, NUM_WHEELS + 1)),
        categories_of=categories_of,
        table=table,
        protocol=protocol,
        routes=lambda: _routes(parse_tables(source.files, source.folder), protocol, level),
    )


def _read_compiled(path: Path, key: str, source: Source, protocol: Protocol, level: int) -> CompiledWheels | None:
    """The compiled table in a file, or None where there is none or it is not, to the last byte, what was written."""
    try:
        head, _, body = path.read_bytes().partition(b"\n")
        if json.loads(head) != _head(key, body):
            return None
        compiled: dict[str, Any] = json.loads(body)
        return _compiled(source, protocol, level, tuple(map(tuple, compiled["categories_of"])), compiled["table"])
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None


def _head(key: str, body: bytes) -> dict[str, str]:
    return {"key": key, "sha256": sha256(body).hexdigest()}


def compile_tables(
    tables: Tables, protocol: Protocol, level: int
) -> tuple[tuple[tuple[str, ...], ...], dict[str, int]]:
    """The categories of each wheel, and of every form the categories that it reaches, packed.

    "neutral" is the last category where the protocol scores it, else left out.
    """
    last = (NEUTRAL,) if protocol.neutral else ()
    categories_of = tuple(tuple(c for c in wheel.categories(level) if c != NEUTRAL) + last for wheel in tables.wheels)
    ids_of = [{category: i for i, category in enumerate(categories)} for categories in categories_of]
    table = {
        form: pack(
            [[ids[p.category] for p in placements] for ids, placements in zip(ids_of, of_form, strict=True)],
            categories_of,
        )
        for form, of_form in _all_placements(tables, protocol, level)
    }
    return categories_of, table


def _routes(tables: Tables, protocol: Protocol, level: int) -> dict[str, Route]:
    """The route of every form; without placement in a wheel, the first base word that counts and no wheel word."""
    routes: dict[str, Route] = {}
    for form, of_form in _all_placements(tables, protocol, level):
        bases = tables.base_words.get(form, ())
        base = next(iter(bases if protocol.choice == "first" else _voters(form, bases)), None)
        routes[form] = tuple(
            (" + ".join(dict.fromkeys(p.base for p in placements)), " + ".join(p.wheel_word for p in placements))
            if placements
            else (base, None)
            for placements in of_form
        )
    return routes


def _all_placements(tables: Tables, protocol: Protocol, level: int) -> Iterator[tuple[str, list[list[Placement]]]]:
    """Every form, and its placements in each wheel: none, one, or several in the wheel's order of categories."""
    choose: Callable[[Tables, str, Mapping[str, str]], list[Placement]]
    choose = {"first": first_placement, "votes": voted_placements}[protocol.choice]
    wheels = [wheel.category_of(level) for wheel in tables.wheels]
    if not protocol.neutral:
        wheels = [{word: c for word, c in wheel.items() if c != NEUTRAL} for wheel in wheels]
    for form in tables.base_words:
        yield form, [choose(tables, form, wheel) for wheel in wheels]
    if protocol.neutral:
        for form in _neutral_forms():
            if form not in tables.base_words:
                yield form, [[Placement(NEUTRAL, NEUTRAL, NEUTRAL)]] * NUM_WHEELS


def first_placement(tables: Tables, form: str, category_of: Mapping[str, str]) -> list[Placement]:
    """The placement through the alphabetically first of all wheel words of all base words that the wheel has."""
    bases = tables.base_words[form]
    candidates = [(word, base) for base in bases for word in tables.votes[base] if word in category_of]
    if not candidates:
        return []
    word, base = min(candidates)
    return [Placement(base, word, category_of[word])]


def voted_placements(tables: Tables, form: str, category_of: Mapping[str, str]) -> list[Placement]:
    """One placement for each category with the most votes, through its wheel word with the most."""
    if form in category_of:
        return [Placement(form, form, category_of[form])]
    bases = _voters(form, tables.base_words[form])
    if any(word in category_of for word in tables.votes.get(form, ())):
        bases = [form]
    of_category: dict[str, list[tuple[int, str, str]]] = {}
    for base in bases:
        for word, votes in tables.votes[base].items():
            if word in category_of:
                of_category.setdefault(category_of[word], []).append((-votes, word, base))
    totals = {category: -sum(votes for votes, _, _ in entries) for category, entries in of_category.items()}
    most = max(totals.values(), default=0)
    order = dict.fromkeys(category_of.values())
    winners = [category for category in order if totals.get(category) == most]
    best = [(category, min(of_category[category])) for category in winners]
    return [Placement(base, word, category) for category, (_, word, base) in best]


def _voters(form: str, bases: Sequence[str]) -> list[str]:
    """The base words but for those in "-less" of a form without "less"."""
    return [base for base in bases if "less" in form or not base.endswith("less")]


def _neutral_forms() -> tuple[str, ...]:
    """The built-in wheels' forms of the word "neutral" itself."""
    words = read_words(_WORDS.read_text(encoding="utf-8"), _WORDS.name, NUM_WHEELS)
    neutral = (NEUTRAL,) * NUM_WHEELS
    return tuple(form for word in words if word.base == NEUTRAL and word.wheel_words == neutral for form in word.forms)
