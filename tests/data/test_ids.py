"""Ids that do not match: an example of both sides and the likely reason, or none that is a guess."""

import pytest

from mer_r1.data.ids import unmatched


@pytest.mark.parametrize(
    ("strange", "known", "reason"),
    [
        ("a.mp4", "a", 'the ending ".mp4"'),
        ("a.mp4", "a.wav", 'the ending ".mp4" and ".wav"'),
        ("clips/a", "a", 'the folder "clips/"'),
        (r"C:\clips\a.mp4", "a", 'the folder "C:/clips/" and the ending ".mp4"'),
        ("a", "x/a.mp4", 'the folder "x/" and the ending ".mp4"'),
        ("DIA0_utt1", "dia0_utt1", "upper and lower case"),
        ("clips/A.MP4", "a", 'the folder "clips/" and the ending ".MP4" and upper and lower case'),
        (" a ", "a", "white space"),
    ],
)
def test_the_likely_reason_is_named(strange: str, known: str, reason: str) -> None:
    assert unmatched([strange], {known: 1}, "PRED", "GOLD") == (
        f'1 id of PRED is not in GOLD, such as "{strange}"; GOLD has "{known}": they differ by {reason} '
        "(1 of the 1 so); write them alike in both"
    )


def test_matching_ids_are_no_matter() -> None:
    assert unmatched(["a"], {"a", "b"}, "PRED", "GOLD") is None


def test_of_many_those_that_would_match_are_counted() -> None:
    ids = [f"clips/{n}.mp4" for n in range(700)]
    found = unmatched([*ids, "other", "3"], {str(n) for n in range(600)}, "PRED", "GOLD")
    assert found is not None
    assert found.startswith('701 ids of PRED are not in GOLD, such as "clips/0.mp4"; GOLD has "0"')
    assert "(600 of the 701 so)" in found


def test_what_could_be_two_clips_is_not_guessed() -> None:
    both = unmatched(["x/1.mp4"], ["a/1.mp4", "b/1.mp4"], "PRED", "GOLD")
    assert both == '1 id of PRED is not in GOLD, such as "x/1.mp4"; GOLD has ids such as "a/1.mp4"'
    assert "differ" not in (unmatched(["x/1", "y/1"], ["1"], "PRED", "GOLD") or "")
    assert unmatched(["v1.5"], ["v1"], "PRED", "GOLD") == (
        '1 id of PRED is not in GOLD, such as "v1.5"; GOLD has ids such as "v1"'
    )


def test_an_id_cannot_steer_the_terminal() -> None:
    assert "\x1b" not in (unmatched(["\x1b[2Ja.mp4"], ["\x1b[2Ja"], "PRED", "GOLD") or "\x1b")
