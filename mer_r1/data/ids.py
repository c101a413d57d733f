"""Ids of one file that another does not have: how many, an example of both sides, and how the two probably differ.

Ids of one clip often differ by what a tool wrote around them: a folder, the ending of the file, upper case, white
space. The other side is only named where one id alone can be meant.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable

from mer_r1.text import printable

_ENDING = re.compile(r"\.[A-Za-z][A-Za-z0-9]{1,4}\Z")


def unmatched(ids: Iterable[str], known: Collection[str], of: str, known_of: str) -> str | None:
    """Which of the ids are not among the known ones, in words; None where all are. `of` and `known_of` name the sides.

    700 ids of a.csv are not in gold.jsonl, such as "clips/x.mp4"; gold.jsonl has "x": they differ by the folder
    "clips/" and the ending ".mp4" (700 of the 700 so); write them alike in both
    """
    strangers = [identity for identity in ids if identity not in known]
    if not strangers:
        return None
    num = "1 id" if len(strangers) == 1 else f"{len(strangers):,} ids"
    head = f"{num} of {of} {'is' if len(strangers) == 1 else 'are'} not in {known_of}, such as"
    pairs = max((_pairs(strangers, known, form) for form in _FORMS), key=len)  # of equals the one that takes off least
    if pairs:
        one, other = pairs[0]
        return (
            f'{head} "{printable(one)}"; {known_of} has "{printable(other)}": they differ by {_difference(one, other)} '
            f"({len(pairs):,} of the {len(strangers):,} so); write them alike in both"
        )
    asked = set(strangers)
    free = next((identity for identity in known if identity not in asked), None)
    beside = "" if free is None else f'; {known_of} has ids such as "{printable(free)}"'
    return f'{head} "{printable(strangers[0])}"{beside}'


def _folder(identity: str) -> str:
    """What stands before the last slash, and the slash."""
    path = identity.replace("\\", "/")
    return path[: path.rfind("/") + 1]


def _ending(identity: str) -> str:
    found = _ENDING.search(identity.strip())
    return found.group() if found else ""


def _plain(identity: str) -> str:
    return " ".join(identity.casefold().split())


def _without_ending(identity: str) -> str:
    return _plain(identity.strip().removesuffix(_ending(identity)))


def _without_folder(identity: str) -> str:
    return _plain(identity[len(_folder(identity)) :])


def _bare(identity: str) -> str:
    return _without_ending(identity[len(_folder(identity)) :])


_FORMS: tuple[Callable[[str], str], ...] = (_plain, _without_ending, _without_folder, _bare)


def _pairs(strangers: list[str], known: Collection[str], form: Callable[[str], str]) -> list[tuple[str, str]]:
    """The strangers that come to the same as one known id, and no other stranger does; with that id."""
    of_known: dict[str, list[str]] = {}
    for identity in known:
        of_known.setdefault(form(identity), []).append(identity)
    forms = [form(identity) for identity in strangers]
    times = Counter(forms)
    return [
        (identity, of_known[text][0])
        for identity, text in zip(strangers, forms, strict=True)
        if text and times[text] == 1 and len(of_known.get(text, ())) == 1
    ]


def _difference(one: str, other: str) -> str:
    """In words what two ids that come to the same differ by."""
    parts = []
    if _folder(one) != _folder(other):
        parts.append("the folder " + " and ".join(f'"{printable(f)}"' for i in (one, other) if (f := _folder(i))))
    if _ending(one) != _ending(other):
        parts.append("the ending " + " and ".join(f'"{printable(e)}"' for i in (one, other) if (e := _ending(i))))
    stems = [i[len(_folder(i)) :].strip().removesuffix(_ending(i)) for i in (one, other)]
    if stems[0] != stems[1] and stems[0].casefold() == stems[1].casefold():
        parts.append("upper and lower case")
    return " and ".join(parts) or "white space"
