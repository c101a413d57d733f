"""Scoring protocols: the choices that turn the same words and the same tables into different numbers.

    name        parser      neutral     a word with several candidates       a word that no wheel knows
    official    official    left out    the alphabetically first of them     dropped
    corrected   corrected   scored      the category most of them vote for   a category of its own

"official" is what MER-UniBench's code does; "corrected" is this package's, with its reasons in docs/scoring.md. What a
protocol decides about the mapping is compiled into a `WheelSet`; the rest is read by metrics/ and rewards.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from mer_r1.errors import InputError

if TYPE_CHECKING:
    from mer_r1.recipe import ProtocolName


@dataclass(frozen=True)
class Protocol:
    """One protocol. `parser` is a name in data.labels.PARSERS; the other fields are the columns of the table above."""

    name: ProtocolName
    parser: str
    neutral: bool
    choice: Literal["first", "votes"]
    oov: Literal["drop", "count"]


OFFICIAL = Protocol("official", parser="official", neutral=False, choice="first", oov="drop")
CORRECTED = Protocol("corrected", parser="corrected", neutral=True, choice="votes", oov="count")
PROTOCOLS: dict[str, Protocol] = {protocol.name: protocol for protocol in (OFFICIAL, CORRECTED)}


def protocol_of(name: str) -> Protocol:
    """The protocol of that name. Raises InputError for a name that is not in PROTOCOLS."""
    if name not in PROTOCOLS:
        raise InputError(f"protocol {name!r} is not known; use one of: {', '.join(PROTOCOLS)}")
    return PROTOCOLS[name]
