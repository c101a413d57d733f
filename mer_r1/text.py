"""Values as people read them: text of any origin made fit for one line, and the one format of each kind of number.

Numbers: values are fractions; what is printed is in percent or, of a difference, in points. None and NaN are not
defined and print as MISSING. The minus sign is the typographical one, as wide as the plus sign. Callers of rich escape
the brackets of an interval.
"""

from __future__ import annotations

MISSING = "–"
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


def number(value: float | None, digits: int = 2) -> str:
    """A plain number."""
    return MISSING if value is None or value != value else f"{value:.{digits}f}".replace("-", "−")


def signed(value: float | None, digits: int = 2) -> str:
    """A difference, with its sign."""
    return MISSING if value is None or value != value else f"{value:+.{digits}f}".replace("-", "−")


def percent(value: float | None, digits: int = 2) -> str:
    """A fraction in percent, without the sign %."""
    return number(None if value is None else 100 * value, digits)


def points(value: float | None, digits: int = 1) -> str:
    """A difference of two fractions in points, with its sign."""
    return signed(None if value is None else 100 * value, digits)


def interval(low: float | None, high: float | None, digits: int = 2, *, scale: float = 100) -> str:
    """Bounds in percent or, with `scale` 1, plain: "[1.20, 3.40]"; MISSING where one of them is not defined."""
    bounds = [number(None if bound is None else scale * bound, digits) for bound in (low, high)]
    return MISSING if MISSING in bounds else f"[{bounds[0]}, {bounds[1]}]"


def with_interval(value: float | None, low: float | None, high: float | None, digits: int = 2) -> str:
    """A fraction in percent with its interval behind it, where it has one: "2.30 [1.20, 3.40]"."""
    bounds = interval(low, high, digits)
    return percent(value, digits) + (f" {bounds}" if bounds != MISSING else "")


def p_value(value: float | None) -> str:
    """Three decimals; the bootstrap resolves no more."""
    return number(value, 3)
