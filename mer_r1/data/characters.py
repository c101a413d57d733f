"""Characters that got lost or changed before a text came here: mended where they can mean one thing only, else named.

`mended` is applied to every text that comes in, a manifest's and a gold file's rows and the owners' tables alike:

    UTF-8 read as Latin-1        the whole text is UTF-8: "â" and the controls U+0080, U+0099  ->  U+2019
    cp1252 read as Latin-1       a control from U+0080 to U+009F  ->  its character in cp1252 (U+0092: U+2019)
    a byte order mark (U+FEFF)   goes

Five of these controls have no character in cp1252 and stay. Nothing else is changed, for it could mean several things:
`oddities` names it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_BOM = "\ufeff"
_TO_MEND = re.compile(f"[\x80-\x9f{_BOM}]")


def _of_cp1252(code: int) -> str:
    return bytes([code]).decode("cp1252", errors="ignore") or chr(code)


_CP1252 = {code: _of_cp1252(code) for code in range(0x80, 0xA0)} | {ord(_BOM): ""}
_HIGH = "".join(_of_cp1252(code) for code in range(0x80, 0xC0))  # what cp1252 makes of a byte that goes on in UTF-8

_ODD = {
    "U+FFFD, which stands for a character that was lost": re.compile("\ufffd"),
    "the look of UTF-8 read as cp1252 (such as “â€™”)": re.compile(
        f"[ÂÃ][{_HIGH}]|â€[{_HIGH}]|ðŸ[{_HIGH}]{{2}}|(?:[ã-é][{_HIGH}]{{2}}){{2}}|ï»¿"
    ),
    "control characters": re.compile("[\x00-\x08\x0e-\x1b\x1f\x7f-\x84\x86-\x9f]"),
    # Joiners belong to emoji and to many scripts; beside a Latin letter they are stray.
    "invisible characters": re.compile(
        "[\xad\u200b\u200e\u200f\u202a-\u202e\u2060\u2066-\u2069]|(?<=[A-Za-z])[\u200c\u200d]|[\u200c\u200d](?=[A-Za-z])"
    ),
}


def mended(text: str) -> str:
    """The text with the characters that it was meant to have; the same text where there is nothing to mend."""
    if not _TO_MEND.search(text):
        return text
    return _read_as_utf_8(text).translate(_CP1252)


def _read_as_utf_8(text: str) -> str:
    """The text that these bytes are in UTF-8, where they are; one letter of East Asia alone is "é" before two marks."""
    try:
        whole = text.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return text
    letters = re.findall("[^\x00-\x7f]", whole)
    return text if len(letters) == 1 and "\u3000" <= letters[0] <= "\uffff" else whole


def oddities(text: str) -> Iterator[str]:
    """What is odd about the characters of a text, of which nothing is mended."""
    return (name for name, pattern in _ODD.items() if pattern.search(text))
