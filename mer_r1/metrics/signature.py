"""The signature that stands beside every score: what it was computed on, and how.

    set:meld|n:2610|wheels:official@1a2b3c4d|protocol:official|parser:official|mode:slow|version:0.1.0

Convention (after sacrebleu): `name:value` joined by `|`, always in the order of PARTS; a part that was not given is
left out, except the version, which is always there. `n` is the number of samples; where the protocol leaves some out,
such as neutral gold, those that count of all: `n:1354/2610`. Two scores may be compared when their signatures agree in
all but the system.
"""

from __future__ import annotations

from collections.abc import Iterable

from mer_r1.text import printable
from mer_r1.version import __version__

PARTS = ("set", "n", "wheels", "protocol", "parser", "mode", "judge", "version")


def signature(**parts: str | int | None) -> str:
    """The signature of a score. Parts that are None are left out; `version` defaults to the package's.

    Raises ValueError for a part that is not in PARTS.
    """
    if unknown := sorted(set(parts) - set(PARTS)):
        raise ValueError(f"unknown signature part {', '.join(unknown)}; the parts are {', '.join(PARTS)}")
    if parts.get("version") is None:
        parts["version"] = __version__
    given = {name: str(parts[name]) for name in PARTS if parts.get(name) is not None}
    # without the two separators, white space and what cannot be printed
    plain = {name: "_".join(text.replace("|", "_").replace(":", "_").split()) for name, text in given.items()}
    return "|".join(f"{name}:{printable(text, 200)}" for name, text in plain.items())


def wheels_part(name: str, sha256: str) -> str:
    """Name and short hash of a wheel set, as it stands in a signature."""
    return f"{name}@{sha256[:8]}"


def parts_of(text: str) -> dict[str, str]:
    """The parts of a signature by name; empty for a text that is none."""
    pairs = (part.partition(":") for part in text.split("|"))
    return {name: value for name, _, value in pairs if name in PARTS}


def counted_by(wheels: str, protocol: str) -> str:
    """Wheels, as `wheels_part` names them, and a protocol, as run.json and the page say what a number is by."""
    return f"{wheels}, protocol {protocol}"


def counted_part(counted: int, whole: int) -> str:
    """How many of all samples count, as it stands in a signature."""
    return str(whole) if counted == whole else f"{counted}/{whole}"


def counts_of(text: str) -> tuple[int, int]:
    """How many samples count, and of how many, as `counted_part` wrote it. Raises ValueError for another text."""
    counted, _, whole = parts_of(text).get("n", "").partition("/")
    return int(counted), int(whole or counted)


def joined(signatures: Iterable[str]) -> str:
    """One signature for several scores: a part in which they differ, such as the mode, has all values, joined by "+".

    Parts that stand in some of them only are kept.
    """
    values: dict[str, dict[str, None]] = {}
    for text in signatures:
        for part in text.split("|"):
            name, _, value = part.partition(":")
            values.setdefault(name, {})[value] = None
    order = sorted(values, key=lambda name: PARTS.index(name) if name in PARTS else len(PARTS) - 1.5)
    return "|".join(f"{name}:{'+'.join(values[name])}" for name in order)
