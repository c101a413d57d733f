"""Text of any origin, made fit for one line of a message or a table."""

from __future__ import annotations

_KINDS: tuple[tuple[type | tuple[type, ...], str], ...] = (
    (type(None), "null"),
    (bool, "true or false"),  # before the numbers, for a bool is an int
    ((int, float), "a number"),
    (str, "a text"),
    ((list, tuple), "a list"),
    (dict, "an object"),
)


def printable(value: object, longest: int = 60) -> str:
    """A value as it may stand in a one-line message: without control characters, cut at `longest`."""
    text = str(value).encode("utf-8", "backslashreplace").decode("utf-8")
    text = "".join(character if character.isprintable() else " " for character in text)
    return text if len(text) <= longest else text[: longest - 3] + "..."


def kind_of(value: object) -> str:
    """What a person calls a value of this type."""
    for types, name in _KINDS:
        if isinstance(value, types):
            return name
    return f"of type {type(value).__name__}"
