"""Characters of another encoding: mended where they can mean one thing only, named where they cannot."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mer_r1.data.characters import mended, oddities

MENDED = [
    ("It\x92s fine\x85", "It’s fine…"),
    ("\x93Oh\x94 \x96 well", "“Oh” – well"),
    ("fatigu\xe9\x85\x94", "fatigué…”"),  # these bytes are one Chinese character in UTF-8
    ("\x93d\xe9j\xe0 vu\x94", "“déjà vu”"),
    ("it\xe2\x80\x99s", "it’s"),  # UTF-8 read as Latin-1
    ("\xc3\x89t\xc3\xa9", "Été"),
    ("\xf0\x9f\x98\x80 well", "😀 well"),
    ("\xe9\x97\xae\xe9\xa2\x98", "问题"),
    ("好 it\x92s", "好 it’s"),
    ("\ufeffhello", "hello"),
]
KEPT = ["It’s fine…", "a\tb\nc", "Ã©t", "naïve", "好", "x\x81y", "\0", "\u200bx", "😀"]
ODD = [
    ("itâ€™s", "UTF-8"),
    ("Ã©t\xc3\xa9", "UTF-8"),
    ("æˆ‘æ˜¯", "UTF-8"),
    ("ðŸ˜€", "UTF-8"),
    ("\ufffd", "U+FFFD"),
    ("a\0b", "control"),
    ("x\x81y", "control"),
    ("hap\u200bpy", "invisible"),
    ("hap\u200dpy", "invisible"),
]
PLAIN = [
    "It’s — “fine” …",
    "CAFÉ…",
    "« café… »",
    "„Spaß“",
    "a\tb\nc",
    "我是",
    "\U0001f469\u200d\U0001f4bb",
    "می\u200cخواهم",
    "Ça, là",
]


@pytest.mark.parametrize(("text", "expected"), MENDED)
def test_what_can_mean_one_thing_only_is_mended(text: str, expected: str) -> None:
    assert mended(text) == expected
    assert list(oddities(expected)) == []


@pytest.mark.parametrize("text", KEPT)
def test_everything_else_stays(text: str) -> None:
    assert mended(text) == text


@pytest.mark.parametrize(("text", "kind"), ODD)
def test_what_is_odd_is_named(text: str, kind: str) -> None:
    (found,) = oddities(mended(text))
    assert kind in found


@pytest.mark.parametrize("text", PLAIN)
def test_plain_text_of_many_languages_is_not_odd(text: str) -> None:
    assert mended(text) == text
    assert list(oddities(text)) == []


@given(st.text(st.characters(codec="cp1252"), max_size=30))
def test_cp1252_read_as_latin_1_comes_back(text: str) -> None:
    read = text.encode("cp1252").decode("latin-1")
    try:
        read.encode("latin-1").decode("utf-8")
    except UnicodeDecodeError:  # where the bytes are UTF-8 too, they are taken for that
        assert mended(read) == text
