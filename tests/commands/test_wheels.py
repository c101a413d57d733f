"""`mer-r1 wheels`: where words stand, in which words two sources differ, and the published tables fetched."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mer_r1.commands import main
from mer_r1.display.wheels import summary, way_text
from mer_r1.emotion import download as download_module
from mer_r1.emotion.compare import WheelDifference, WordDifference, compare
from mer_r1.emotion.compiled import CompiledWheels, pack
from mer_r1.emotion.download import Fetched
from mer_r1.emotion.wheel import Way, WheelSet
from tests.small_tables import FORMATS, write_tables
from tests.small_wheels import CATEGORIES, IDS, SMALL


def show(*words: str) -> int:
    return main(["wheels", "show", *words])


@pytest.fixture
def before(tmp_path: Path) -> Path:
    return write_tables(tmp_path / "before")


@pytest.fixture
def after(tmp_path: Path) -> Path:
    """The same tables with one form less, one more, and two that are forms of other words."""
    changed = {"hazy": "hazy,gale", "cloudless": "cloudless,cloud", "breezy": "breezy,overcast", "balmy": "balmier"}
    return write_tables(tmp_path / "after", formats={**FORMATS, **changed})


def test_a_known_word_gets_its_category_in_every_wheel(capsys: pytest.CaptureFixture[str]) -> None:
    assert show("furious") == 0
    printed = capsys.readouterr().out
    wheels = WheelSet.load()
    for name, way in zip(wheels.short_names, wheels.explain("furious"), strict=True):
        assert any(name in line and str(way.category) in line for line in printed.splitlines())
    assert "Plutchik: Plutchik's eight primary emotions" in printed
    assert all(title in printed for title in wheels.titles)
    assert wheels.sha256[:12] in printed


def test_known_words_are_shown_beside_unknown_ones_with_near_spellings(capsys: pytest.CaptureFixture[str]) -> None:
    assert show("happy", "furius", "qwerty") == 0
    printed = capsys.readouterr().out
    assert "'furius' is not in the wheels; near: furious" in printed
    assert "'qwerty' is not in the wheels\n" in printed


def test_only_unknown_words_end_in_one_without_an_empty_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert show("qwerty", "") == 1
    printed = capsys.readouterr().out
    assert "wheel" not in printed.replace("in the wheels", "")


@pytest.mark.parametrize("word", ["[bold]x", "[/]", ":smile:", "<script>"])
def test_markup_in_a_word_is_printed_as_it_stands(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert show(word) == 1
    assert f"{word!r} is not in the wheels" in capsys.readouterr().out


def test_unknown_wheels_are_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert show("happy", "--wheels", "zz") == 2
    assert "'zz'" in capsys.readouterr().err


def test_a_way_leaves_out_steps_that_repeat() -> None:
    assert way_text(Way("w1", "angrily", "anger", "anger", "angry")) == "angrily > anger"
    assert way_text(Way("w1", "lost", "lost", None, None)) == "lost > no category in this wheel"


def test_tables_of_a_folder_are_shown_for_a_protocol_and_a_level(
    before: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["wheels", "show", "cloud", "cloude", "--wheels", str(before)]) == 0
    printed = capsys.readouterr().out
    assert "cloud > cloudless > clear" in printed
    assert "sunny" in printed
    assert "'cloude' is not in the wheels; near: cloud" in printed
    assert "wheel 5 of before" in printed
    assert main(["wheels", "show", "cloud", "--wheels", str(before), "--protocol", "corrected", "--level", "2"]) == 0
    printed = capsys.readouterr().out
    assert "cloud > cloudy > gloomy" in printed
    assert "dark" in printed
    assert WheelSet.load(str(before), protocol="corrected", level=2).sha256[:12] in printed


def test_compare_lists_words_that_are_mapped_differently_or_known_to_one(before: Path, after: Path) -> None:
    found = compare(WheelSet.load(str(before)), WheelSet.load(str(after)))
    by_word = {item.word: item for item in found.words}
    assert [*by_word] == ["balmier", "haziness", "hot", "overcast"]
    assert by_word["overcast"] == WordDifference(
        "overcast",
        True,
        True,
        (
            WheelDifference("w1", ("sunny",), ("stormy",)),
            WheelDifference("w2", (), ("rough",)),
            WheelDifference("w4", ("sunny",), ("stormy",)),
        ),
    )
    assert (by_word["balmier"].in_a, by_word["balmier"].in_b) == (False, True)
    assert by_word["balmier"].wheels[0] == WheelDifference("w1", (), ("sunny",))
    assert (by_word["haziness"].in_a, by_word["haziness"].in_b) == (True, False)
    assert by_word["hot"].wheels == (WheelDifference("w2", ("rough",), ()),)
    assert found.by_name == (True,) * 5
    assert found.num_differing == {"w1": 3, "w2": 3, "w3": 0, "w4": 3, "w5": 0}
    assert found.num_words == (found.num_shared + 1, found.num_shared + 1)


def test_compare_names_equal_votes_in_the_order_of_the_wheel(before: Path, after: Path) -> None:
    found = compare(*(WheelSet.load(str(folder), protocol="corrected") for folder in (before, after)))
    (haziness,) = (item for item in found.words if item.word == "haziness")
    assert haziness.wheels[0] == WheelDifference("w1", ("sunny", "stormy"), ())


def test_compare_finds_nothing_between_equal_sets_and_mirrors(before: Path, after: Path) -> None:
    a, b = WheelSet.load(str(before)), WheelSet.load(str(after))
    assert compare(a, a).words == ()
    there, back = compare(a, b), compare(b, a)
    assert [(w.word, w.in_b, w.in_a) for w in there.words] == [(w.word, w.in_a, w.in_b) for w in back.words]
    assert there.num_differing == back.num_differing


def test_wheels_with_other_category_names_are_compared_by_reach_alone() -> None:
    names = (("joy", "anger", "sadness"), ("anger", "joy", "sadness"), *(("up", "down", "low"),) * 3)
    table = {word: pack((*ids[:4], ids[4]), names) for word, ids in IDS.items()}
    other = WheelSet(CompiledWheels("other", SMALL.names, SMALL.titles, names, {**table, "sad": 0, "lost": 1}))
    found = compare(SMALL, other)
    assert found.by_name == (True, True, False, False, False)
    by_word = {item.word: [w.wheel for w in item.wheels] for item in found.words}
    assert by_word == {
        "angry": ["w2"],
        "at ease": ["w2"],
        "glad": ["w2"],
        "happy": ["w2"],
        "lost": ["w1"],
        "sad": ["w1", "w2", "w3", "w4"],
    }
    assert summary(found, ("small", "other")) == [
        "w3, w4, w5: the two have other category names, so only whether a word reaches a category is compared",
        "words that differ: 6 (w1 2, w2 5, w3 1, w4 1, w5 0), 6 of them known to both",
        "small: 6 words, 0 unknown to the other",
        "other: 6 words, 0 unknown to the other",
    ]


def test_a_known_word_without_a_home_still_differs_from_an_unknown_one() -> None:
    table = {word: pack(ids, CATEGORIES) for word, ids in IDS.items() if word != "lost"}
    other = WheelSet(CompiledWheels("other", SMALL.names, SMALL.titles, CATEGORIES, table))
    assert compare(SMALL, other).words == (WordDifference("lost", True, False, ()),)


def test_the_comparison_is_printed_up_to_a_limit_and_written_whole(
    before: Path, after: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out" / "compare.json"
    assert main(["wheels", "compare", str(before), str(after), "--limit", "2", "--json", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "balmier" in printed
    assert "haziness" in printed
    assert "overcast" not in printed
    assert "... and 2 more words\n" in printed
    assert "words that differ: 4 (w1 3, w2 3, w3 0, w4 3, w5 0), 2 of them known to both" in printed
    a, b = WheelSet.load(str(before)), WheelSet.load(str(after))
    assert f"before@{a.sha256[:8]}: 34 words, 1 unknown to the other" in printed
    written = json.loads(out.read_text())
    assert (written["a"], written["b"]) == (f"before@{a.sha256[:8]}", f"after@{b.sha256[:8]}")
    assert (written["protocol"], written["level"]) == ("official", 1)
    assert [word["word"] for word in written["words"]] == ["balmier", "haziness", "hot", "overcast"]
    assert written["num_differing"] == {"w1": 3, "w2": 3, "w3": 0, "w4": 3, "w5": 0}


def test_rows_tell_unknown_from_unplaced(before: Path, after: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["wheels", "compare", str(before), str(after)]) == 0
    rows = [[cell.strip() for cell in line.split("\u2502")[1:-1]] for line in capsys.readouterr().out.splitlines()]
    assert ["balmier", "w1", "unknown", "sunny"] in rows
    assert ["hot", "w2", "rough", "-"] in rows


def test_equal_sources_and_a_limit_of_nothing_print_the_counts_alone(
    before: Path, after: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["wheels", "compare", str(before), str(before)]) == 0
    assert capsys.readouterr().out.startswith("words that differ: 0 (")
    assert main(["wheels", "compare", str(before), str(after), "--limit", "0"]) == 0
    assert capsys.readouterr().out.startswith("... and 4 more words; --limit prints more, --json writes all\n")


def test_compare_takes_protocol_and_level(before: Path, after: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["wheels", "compare", str(before), str(after), "--protocol", "corrected", "--level", "2"]
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    assert f"before@{WheelSet.load(str(before), protocol='corrected', level=2).sha256[:8]}" in printed
    assert "overcast" in printed


@pytest.mark.parametrize(
    ("arguments", "message"), [(("builtin", "--limit", "-1"), "--limit -1 is below 0"), (("zz",), "'zz'")]
)
def test_a_limit_below_nothing_and_unknown_sources_are_errors(
    arguments: tuple[str, ...], message: str, before: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["wheels", "compare", str(before), *arguments]) == 2
    assert message in capsys.readouterr().err


def test_download_names_each_file_and_fetches_both_sets_by_default(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[tuple[list[str], Path | None]] = []

    def fetch(names: list[str], folder: Path | None) -> list[Fetched]:
        asked.append((names, folder))
        return [Fetched(Path(name) / "format.csv", "fetched") for name in names]

    monkeypatch.setattr(download_module, "download", fetch)
    assert main(["wheels", "download"]) == 0
    assert capsys.readouterr().out == "official/format.csv: fetched\nmer2026/format.csv: fetched\n"
    assert main(["wheels", "download", "mer2026", "--to", str(tmp_path)]) == 0
    assert asked == [(["official", "mer2026"], None), (["mer2026"], tmp_path)]


def test_a_wrong_name_to_download_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["wheels", "download", "builtin"]) == 2
    assert capsys.readouterr().err == (
        "mer-r1: error: wheels 'builtin' cannot be fetched; use one of: official, mer2026\n"
    )
