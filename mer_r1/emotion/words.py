"""Surface forms of emotion words: how a written word is normalised, and which base word each form belongs to.

    "  Angrily " -> "angrily" -> base word "angry" -> its wheel word in each wheel

Convention: a word is lower-cased and stripped of white space at both ends, and nothing more (no stemming, no guessing);
every known form is in the table. It is compiled from `data/words.txt`, whose head describes the format: base words in
groups that share five wheel words, and letters that add regular English forms by rule (/a happily, /s happiness,
/c happier, /n joys, /v annoyed, /w annoyed annoyingly). Irregular forms are written out. A phrase is known with spaces
and with hyphens alike ("at ease", "at-ease").

Source: this project's lists, from the taxonomies named in docs/wheels.md.
"""

from __future__ import annotations

from dataclasses import dataclass

from mer_r1.errors import InputError

NOT_PLACED = "-"
_VOWELS = "aeiou"


@dataclass(frozen=True)
class BaseWord:
    """One base word, all its surface forms (itself first) and its wheel word per wheel, None where it has none."""

    base: str
    forms: tuple[str, ...]
    wheel_words: tuple[str | None, ...]
    line: int


def normalise(word: str) -> str:
    """Lower case, without white space at both ends: the form under which a word is looked up."""
    return word.lower().strip()


def word_forms(stem: str, letters: str = "") -> tuple[str, ...]:
    """The surface forms of `stem` that the rule letters add, `stem` first.

    >>> word_forms("happy", "as")
    ('happy', 'happily', 'happiness')

    Raises InputError for a letter that is not one of a, s, c, n, v, w.
    """
    forms = [stem]
    for letter in letters:
        if letter == "a":
            forms += _adverb(stem)
        elif letter == "s":
            forms.append(_before_suffix(stem) + "ness")
        elif letter == "c":
            forms += [_join(stem, "er"), _join(stem, "est")]
        elif letter == "n":
            forms.append(_with_s(stem))
        elif letter == "v":
            forms += [_with_s(stem), _join(stem, "ed"), _ing(stem)]
        elif letter == "w":
            forms += [_with_s(stem), _join(stem, "ed"), _ing(stem), _ing(stem) + "ly"]
        else:
            raise InputError(f"{stem}/{letters}: unknown rule letter {letter!r}; use a, s, c, n, v or w")
    return tuple(forms)


def read_words(text: str, name: str, num_wheels: int) -> list[BaseWord]:
    """Parse a words file. `name` is the file's name for messages.

    Raises InputError, naming the line, for a group without `num_wheels` wheel words, a base word before the first
    group, an unknown rule letter, or a form that already belongs to another base word.
    """
    words: list[BaseWord] = []
    owners: dict[str, BaseWord] = {}
    wheel_words: tuple[str | None, ...] | None = None
    for number, line in enumerate(text.splitlines(), start=1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        try:
            if line.startswith("="):
                wheel_words = _group_head(line, num_wheels)
                continue
            if wheel_words is None:
                raise InputError("a base word comes before the first group; begin the group with '= w1 | w2 | ...'")
            word = BaseWord(*_base_and_forms(line), wheel_words, number)
            for form in word.forms:
                if (owner := owners.setdefault(form, word)) is not word:
                    raise InputError(
                        f"{form!r} already belongs to {owner.base!r} of line {owner.line}; keep one of them"
                    )
        except InputError as error:
            raise InputError(f"{name}:{number}: {error}") from None
        words.append(word)
    return words


def _group_head(line: str, num_wheels: int) -> tuple[str | None, ...]:
    cells = [cell.strip() for cell in line[1:].split("|")]
    if len(cells) != num_wheels or not all(cells):
        raise InputError(f"a group needs {num_wheels} wheel words between '|', found {len(cells)}; write - for none")
    return tuple(None if cell == NOT_PLACED else cell for cell in cells)


def _base_and_forms(line: str) -> tuple[str, tuple[str, ...]]:
    forms: dict[str, None] = {}
    for token in line.split():
        stem, _, letters = token.partition("/")
        for form in word_forms(normalise(stem.replace("_", " ")), letters):
            forms.update(dict.fromkeys((form, form.replace(" ", "-"), form.replace("-", " "))))
    return next(iter(forms)), tuple(forms)


def _ends_consonant_y(stem: str) -> bool:
    return len(stem) > 1 and stem[-1] == "y" and stem[-2] not in _VOWELS


def _is_short(stem: str) -> bool:
    """One syllable, by vowel letters ("shy", "glad"): y stays before -ly and -ness, a last consonant may double."""
    return not any(letter in _VOWELS for letter in stem[:-2])


def _before_suffix(stem: str) -> str:
    """The stem before -ness and -ly: "happy" -> "happi", "shy" stays."""
    return stem[:-1] + "i" if _ends_consonant_y(stem) and not _is_short(stem) else stem


def _adverb(stem: str) -> list[str]:
    """-ly by spelling rule; none for a stem that ends in -ly itself ("lonely")."""
    if stem.endswith("ly"):
        return []
    if stem.endswith("le") and stem[-3] not in _VOWELS:
        return [stem[:-1] + "y"]
    if stem.endswith("ic"):
        return [stem + "ally"]
    if stem.endswith("ll"):
        return [stem + "y"]
    return [_before_suffix(stem) + "ly"]


def _with_s(stem: str) -> str:
    if _ends_consonant_y(stem):
        return stem[:-1] + "ies"
    return stem + ("es" if stem.endswith(("s", "x", "z", "ch", "sh")) else "s")


def _doubles(stem: str) -> bool:
    """A one-syllable stem that ends consonant, vowel, consonant doubles the last: "sob" -> "sobb"."""
    last = stem[-3:]
    return (
        len(last) == 3
        and _is_short(stem)
        and last[0] not in _VOWELS
        and last[1] in _VOWELS
        and last[2] not in _VOWELS + "wxy"
    )


def _join(stem: str, suffix: str) -> str:
    """`stem` with a suffix that begins with e (-ed, -er, -est)."""
    if stem.endswith("e"):
        return stem + suffix[1:]
    if _ends_consonant_y(stem):
        return stem[:-1] + "i" + suffix
    return stem + (stem[-1] if _doubles(stem) else "") + suffix


def _ing(stem: str) -> str:
    if stem.endswith("ie"):
        return stem[:-2] + "ying"
    if stem.endswith("e") and not stem.endswith(("ee", "oe", "ye")):
        return stem[:-1] + "ing"
    return stem + (stem[-1] if _doubles(stem) else "") + "ing"
