"""`mer-r1 wheels tokens --manifest`: occurrences of gold words worked out by hand, and a file that agrees with them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mer_r1.analysis.gold_tokens import GoldCount, GoldOpener, gold_report
from mer_r1.commands import main
from mer_r1.data.gold import Gold
from mer_r1.errors import InputError
from tests.small_wheels import SMALL
from tests.word_pieces import Pieces, glued_tokenizer


def gold(*labels: object) -> Gold:
    return Gold({str(number): field for number, field in enumerate(labels)}, {}, {}, {})


def test_every_occurrence_of_a_gold_word_counts() -> None:
    """One id a byte: "angry" and "at ease" open with the same letter, and every word with a space after another."""
    found = gold_report(
        Pieces(), SMALL, gold(("happy", "angry"), "happy, qwerty", ("happy", "sad"), ("angry",), ("qwerty",), 3, None)
    )
    assert (found.num_rows, found.num_malformed, found.num_answers, found.num_times) == (7, 1, 5, 8)
    assert found.unknown == {"qwerty": 2}
    assert found.by_wheel[0].categories == (
        GoldCount("joy", 1, 0, num_times=3, num_first=3, num_first_shared=0, num_later_shared=0, num_lost=0),
        GoldCount("anger", 1, 0, num_times=2, num_first=1, num_first_shared=1, num_later_shared=1, num_lost=2),
        GoldCount("sadness", 1, 0, num_times=1, num_first=0, num_first_shared=0, num_later_shared=1, num_lost=0),
    )
    assert found.by_wheel[0].total == GoldCount("w1", 3, 0, 6, 4, num_first_shared=1, num_later_shared=2, num_lost=2)
    assert found.by_wheel[0].shared == (
        GoldOpener(ord(" "), " ", {"angry": 1, "sad": 1}),
        GoldOpener(ord("a"), "a", {"angry": 1}),
    )
    assert found.by_wheel[4].total.num_times == 5  # sad has no home in w5
    assert found.glued == {}


def test_words_that_share_nothing_are_not_counted_as_shared() -> None:
    class Whole(Pieces):
        """An id a text."""

        def encode(self, text: str, add_special_tokens: bool = True) -> list[int]:
            return [sum(ord(character) * 1000**place for place, character in enumerate(text))]

    found = gold_report(Whole(), SMALL, gold(("happy", "angry"), ("happy",)))
    assert found.by_wheel[0].total == GoldCount("w1", 2, 2, 3, 2, num_first_shared=0, num_later_shared=0, num_lost=0)
    assert found.by_wheel[0].shared == ()


def test_first_words_that_share_their_first_token_with_the_tag_are_named() -> None:
    tokenizer = glued_tokenizer()
    assert len(tokenizer.encode(">happy")) == 1
    found = gold_report(tokenizer, SMALL, gold(("happy", "sad"), ("happy",), ("lost",)))
    assert (found.num_answers, found.glued) == (3, {"happy": 2})


def test_a_corpus_without_a_word_that_a_wheel_knows_is_refused() -> None:
    with pytest.raises(InputError, match="no gold word that a wheel knows"):
        gold_report(Pieces(), SMALL, gold(("qwerty",), None))


def test_the_command_prints_and_writes_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setattr("mer_r1.analysis.wheel_tokens.load_tokenizer", lambda _: _Sized())
    manifest, out = tmp_path / "train.jsonl", tmp_path / "tokens.json"
    rows = [{"id": "a", "labels": ["happy", "[red]x"]}, {"id": "b", "labels": ["happy", "tired"]}]
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    arguments = ["wheels", "tokens", "--model", "m", "--manifest", str(manifest)]
    assert main([*arguments, "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    written = json.loads(out.read_text())["gold"]
    assert (written["num_rows"], written["num_times"], written["unknown"]) == (2, 4, {"[red]x": 1})
    assert written["by_wheel"][0]["total"]["num_times"] == 3
    assert f"{manifest}: 4 gold words in 2 rows; each occurrence counts" in printed
    assert "w1, as written: 'h' (id 104) opens happy 2" in printed
    assert "w1, as written: ' ' (id 32) opens tired 1" in printed
    assert "in no wheel, 1 occurrences: [red]x 1" in printed
    manifest.write_text(json.dumps({"id": "a", "labels": ["qwerty"]}) + "\n")
    assert main(arguments) == 2
    assert f"{manifest}: no gold word that a wheel knows" in capsys.readouterr().err
    assert main([*arguments[:-1], str(tmp_path / "none.jsonl")]) == 2


class _Sized(Pieces):
    def __len__(self) -> int:
        return 256
