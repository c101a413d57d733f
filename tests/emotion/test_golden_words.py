"""The official protocol against the official code: its mapping of every recorded word, and what is known of the tables.

The numbers of the published tables are those that the official code counted when it ran.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from mer_r1.emotion.compiled import NUM_WHEELS
from mer_r1.emotion.tables import FILES, Tables, Wheel
from mer_r1.emotion.wheel import WheelSet
from mer_r1.emotion.words import normalise
from tests.golden import load_golden, shared_wheels
from tests.small_tables import base_word, read_tables, wheel_word

LEVELS = (1, 2)


@pytest.fixture(scope="module")
def folder() -> Path:
    return shared_wheels("official")


@pytest.fixture(scope="module")
def tables(folder: Path) -> Tables:
    return read_tables(folder)


@pytest.fixture(scope="module")
def wheels(folder: Path) -> dict[int, WheelSet]:
    """The official wheels by level."""
    return {level: WheelSet.load(str(folder), level=level) for level in LEVELS}


@pytest.fixture(scope="module")
def revised(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the authors' revision: one file of its own, six as before."""
    revision = tmp_path_factory.mktemp("revision")
    for file in FILES:
        shutil.copy(shared_wheels("mer2026") / file if file == "format.csv" else folder / file, revision / file)
    return revision


def one(names: frozenset[str]) -> str:
    """The one category of a word, or ""."""
    assert len(names) <= 1
    return "".join(names)


@pytest.mark.slow
def test_every_recorded_word_is_mapped_as_the_official_code_maps_it(
    tables: Tables, wheels: dict[int, WheelSet]
) -> None:
    golden = load_golden("word_table.json")
    assert golden["meta"]["columns"][:5] == ["form", "case1", "case2", "w1l1", "w1l2"]
    rows = golden["rows"]
    assert len(rows) >= 3743
    for form, *expected in rows:
        of_level = [wheels[level].categories([form]) for level in LEVELS]
        found = [one(names) for pair in zip(*of_level, strict=True) for names in pair]
        assert [base_word(tables, form), wheel_word(tables, form), *found] == expected, form


def mapped(metric: str, words: list[str], tables: Tables, wheels: dict[int, WheelSet]) -> list[str]:
    """The sorted set that a metric of the official code makes of parsed labels."""
    forms = [normalise(word) for word in words]
    if metric in ("case1", "case2"):
        choose = base_word if metric == "case1" else wheel_word
        return sorted({found for form in forms if (found := choose(tables, form)) is not None})
    wheel, level = (int(part[-1]) for part in metric.removeprefix("case3_").split("_"))
    return sorted(wheels[level].categories(forms)[wheel - 1])


def recorded(case: dict[str, Any]) -> list[tuple[str, str, list[str], list[str]]]:
    """Metric, side, parsed labels and mapped set of all that the official code mapped without an error."""
    return [
        (metric, side, case["out"][f"{side}_list"], out[side])
        for metric, out in case["out"]["metrics"].items()
        for side in ("gt", "pred")
        if side in out
    ]


@pytest.mark.slow
def test_every_recorded_label_list_is_mapped_to_the_same_sets(tables: Tables, wheels: dict[int, WheelSet]) -> None:
    cases = load_golden()["cases"]
    entries = [(case["id"], *entry) for case in cases for entry in recorded(case)]
    assert {metric for _, metric, *_ in entries} == {"case1", "case2"} | {
        f"case3_wheel{k}_level{level}" for k in range(1, NUM_WHEELS + 1) for level in LEVELS
    }
    assert len(entries) > 20_000
    for identity, metric, side, words, expected in entries:
        assert mapped(metric, words, tables, wheels) == expected, (identity, metric, side)


def test_the_counts_of_the_published_tables_are_those_of_the_official_code(
    tables: Tables, wheels: dict[int, WheelSet]
) -> None:
    assert (len(tables.votes), len(tables.base_words), len(wheels[1].words)) == (1255, 7386, 7386)
    num_bases = [len(bases) for bases in tables.base_words.values()]
    assert [num_bases.count(num) for num in (1, 2, 3, 4)] == [6499, 721, 156, 10]
    assert sum(len(votes) == 1 for votes in tables.votes.values()) == 824
    assert max(len(votes) for votes in tables.votes.values()) == 12
    assert len({word for wheel in tables.wheels for word in wheel.category_of(1)}) == 253


@pytest.mark.parametrize(
    ("k", "num_level1", "num_level2", "num_words", "num_mapped", "num_ambiguous"),
    [
        (0, 6, 36, 114, 4053, 599),
        (1, 7, 41, 126, 4400, 701),
        (2, 6, 36, 78, 3240, 301),
        (3, 6, 48, 102, 4074, 536),
        (4, 6, 36, 77, 3055, 315),
    ],
)
def test_each_published_wheel_has_the_counts_of_the_official_code(
    tables: Tables,
    wheels: dict[int, WheelSet],
    k: int,
    num_level1: int,
    num_level2: int,
    num_words: int,
    num_mapped: int,
    num_ambiguous: int,
) -> None:
    wheel: Wheel = tables.wheels[k]
    rings = [outer for middle in wheel.tree.values() for outer in middle]
    assert (len(wheel.categories(1)), len(rings)) == (num_level1, num_level2)
    assert wheels[1].categories_of[k] == wheel.categories(1)
    places = wheel.category_of(1)
    assert len(places) == num_words
    assert sum(bool(wheels[1].categories([word])[k]) for word in wheels[1].words) == num_mapped
    spans = [
        {places[word] for base in bases for word in tables.votes[base] if word in places}
        for bases in tables.base_words.values()
    ]
    assert sum(len(span) > 1 for span in spans) == num_ambiguous


def test_words_that_stand_twice_in_the_second_wheel_take_the_last_place(tables: Tables) -> None:
    places = tables.wheels[1].category_of(1)
    words = ("overwhelmed", "inferior", "embarrassed", "disappointed")
    assert [places[word] for word in words] == ["bad", "sad", "sad", "sad"]


def test_the_published_folder_has_the_published_name(folder: Path, revised: Path) -> None:
    assert (WheelSet.load(str(folder)).source, WheelSet.load(str(revised)).source) == ("official", "mer2026")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("happy joy", "happy happy joyful joy powerful"),
        ("angry anger", "mad angry mad anger mad"),
        ("sad sadness", "sad sad sad sad sad"),
        ("worried", "scared fearful scared fear scared"),
        ("surprise", "surprised surprised powerful fear -"),
        ("fear", "scared happy joyful genius joyful"),
        ("disgust", "disgusted disgusted - disgust -"),
        ("neutral", "- - - - -"),
    ],
)
def test_basic_emotions_stand_where_the_benchmark_has_them(
    wheels: dict[int, WheelSet], words: str, expected: str
) -> None:
    for word in words.split():
        assert [one(names) or "-" for names in wheels[1].categories([word])] == expected.split()


def test_the_revision_takes_wrong_forms_away_and_nothing_else(tables: Tables, revised: Path) -> None:
    after = read_tables(revised)
    assert (after.wheels, after.votes) == (tables.wheels, tables.votes)
    assert len(after.base_words) == 7356
    gone = set(tables.base_words) - set(after.base_words)
    changed = {form for form, bases in after.base_words.items() if tables.base_words[form] != bases}
    assert (len(gone), len(changed)) == (30, 34)
    assert {"fear", "fears", "feared", "power", "rest", "use", "worth"} <= changed
    assert {"help", "list"} <= gone
    assert all(set(after.base_words[form]) < set(tables.base_words[form]) for form in changed)
    categories = WheelSet.load(str(revised)).categories(["fear"])
    assert [one(names) for names in categories] == ["scared", "fearful", "scared", "fear", "scared"]


@pytest.mark.slow
def test_corrected_fear_is_fear_in_every_wheel(folder: Path, revised: Path) -> None:
    for source in (folder, revised):
        wheels = WheelSet.load(str(source), protocol="corrected")
        for word in ("fear", "fears", "feared", "fearful", "frightened"):
            found = [one(names) for names in wheels.categories([word])]
            assert found == ["scared", "fearful", "scared", "fear", "scared"], (source, word)


def test_the_corrected_protocol_makes_the_authors_own_correction(folder: Path, revised: Path) -> None:
    """Under it the two published tables agree on all words but three that are none."""
    before, after = (WheelSet.load(str(source), protocol="corrected") for source in (folder, revised))
    differing = [word for word in before.words if before.categories([word]) != after.categories([word])]
    assert differing == ["embraceless", "fearlesses", "receiptless"]


def test_the_corrected_protocol_changes_as_many_forms_as_the_documentation_says(
    wheels: dict[int, WheelSet], folder: Path
) -> None:
    corrected = WheelSet.load(str(folder), protocol="corrected")
    pairs = [(wheels[1].categories([word]), corrected.categories([word])) for word in wheels[1].words]
    assert [sum(a[k] != b[k] for a, b in pairs) for k in range(NUM_WHEELS)] == [322, 356, 159, 285, 184]
    assert [sum(len(b[k]) > 1 for _, b in pairs) for k in range(NUM_WHEELS)] == [72, 67, 19, 67, 23]


@pytest.mark.slow
@pytest.mark.parametrize("level", LEVELS)
def test_every_published_wheel_word_reaches_its_own_category_when_corrected(
    folder: Path, tables: Tables, level: int
) -> None:
    wheels = WheelSet.load(str(folder), protocol="corrected", level=level)
    for k, wheel in enumerate(tables.wheels):
        for word, category in wheel.category_of(level).items():
            assert wheels.categories([word])[k] == {category}


def test_no_official_table_knows_neutral_and_the_corrected_protocol_adds_it(folder: Path, tables: Tables) -> None:
    assert not {"neutral", "neutrally", "neutrality"} & set(tables.base_words)
    plain, corrected = WheelSet.load(str(folder)), WheelSet.load(str(folder), protocol="corrected")
    assert corrected.categories(["neutral"]) == (frozenset({"neutral"}),) * NUM_WHEELS
    assert set(corrected.words) - set(plain.words) == {"neutral", "neutrally", "neutrality"}
    assert [names[:-1] for names in corrected.categories_of] == [*plain.categories_of]
