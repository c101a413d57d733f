"""Wheels compiled from tables: what each protocol makes of them, where they are found, and the kept compiled table."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import mer_r1.emotion.wheel as wheel_module
from mer_r1.emotion import official
from mer_r1.emotion.compiled import NUM_WHEELS
from mer_r1.emotion.official import PINNED, Source, compiled_tables, published_folder, read_source
from mer_r1.emotion.protocol import CORRECTED, OFFICIAL, Protocol, protocol_of
from mer_r1.emotion.tables import FILES
from mer_r1.emotion.wheel import WheelSet
from mer_r1.errors import InputError
from tests.small_tables import FORMATS, SKY, WHEEL_HEAD, WHEELS, read_tables, synonym_rows, write_tables

NONE: frozenset[str] = frozenset()
NEUTRAL_ONLY = frozenset({"neutral"})
COMPILED = {
    ("official", 1): "f83c8b246062",
    ("official", 2): "d98d5580dbeb",
    ("corrected", 1): "9874b55cb717",
    ("corrected", 2): "9f342a870569",
}


@pytest.fixture
def tables(tmp_path: Path) -> Path:
    return write_tables(tmp_path / "weather")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder for one test, and no wheels kept in the process."""
    folder = tmp_path / "cache"
    monkeypatch.setattr(official, "user_folder", lambda: folder)
    wheel_module._of_tables.cache_clear()
    return folder


def load(source: Source, protocol: Protocol, level: int) -> WheelSet:
    """The wheels of a source, without those that the process keeps."""
    return WheelSet(compiled_tables(source, protocol, level))


def of(folder: Path, protocol: str, *, level: int = 1) -> WheelSet:
    return WheelSet.load(str(folder), protocol=protocol, level=level)


def in_sky(folder: Path, word: str, level: int = 1) -> tuple[set[str], set[str]]:
    """What a word reaches in w1 under the two protocols."""
    both = (of(folder, protocol, level=level).categories([word])[0] for protocol in ("official", "corrected"))
    first, votes = (set(names) for names in both)
    return first, votes


@pytest.mark.parametrize(
    ("word", "first", "votes", "why"),
    [
        ("balmy", "sunny", "sunny", "a wheel word"),
        ("hazy", "sunny", "sunny stormy", "two votes each"),
        ("muggy", "sunny", "stormy", "balmy comes first, gusty has more votes"),
        ("muggier", "sunny", "stormy", "the same through its base word"),
        ("dark", "sunny", "stormy", "a wheel word that is listed as a synonym of bright"),
        ("hot", "sunny", "sunny", "mild and warm of its own row, though breezy has eight votes for windy"),
        ("heat", "sunny", "sunny", "no base word: hot and sultry together"),
        ("gale", "sunny", "sunny", "no base word: hazy two and two, sultry one for warm"),
        ("cloud", "sunny", "stormy", "cloudy, and no form of cloudless"),
        ("cloudless", "sunny", "sunny", "itself"),
        ("overcast", "sunny", "", "of no base word but cloudless"),
        ("dusty", "", "", "a word of other wheels"),
    ],
)
def test_each_protocol_chooses_by_its_rule(tables: Path, word: str, first: str, votes: str, why: str) -> None:
    assert in_sky(tables, word) == (set(first.split()), set(votes.split())), why


def test_a_row_that_does_not_reach_a_wheel_leaves_it_to_the_other_base_words(tables: Path) -> None:
    for protocol in ("official", "corrected"):
        found = of(tables, protocol).categories(["hot"])
        assert found[1:3] == (frozenset({"rough"}), frozenset({"dry"})), "breezy > windy; hot > dusty"


def test_level_2_maps_to_the_middle_ring(tables: Path) -> None:
    assert in_sky(tables, "sunny", 2) == ({"bright"}, {"bright"})
    assert in_sky(tables, "gusty", 2) == ({"windy"}, {"windy"})
    assert in_sky(tables, "hazy", 2) == ({"bright"}, {"bright", "dark"})
    assert of(tables, "official", level=2).categories_of[0] == ("warm", "bright", "windy", "dark")
    assert of(tables, "corrected", level=2).titles[0] == "wheel 1 of weather, middle ring"


@pytest.mark.parametrize("level", [1, 2])
def test_every_wheel_word_reaches_its_own_category_when_corrected(tables: Path, level: int) -> None:
    wheels = of(tables, "corrected", level=level)
    for k, wheel in enumerate(read_tables(tables).wheels):
        for word, category in wheel.category_of(level).items():
            assert wheels.categories([word])[k] == {category}


def test_neutral_is_the_last_category_when_corrected_only(tables: Path) -> None:
    plain, corrected = of(tables, "official"), of(tables, "corrected")
    assert [*corrected.categories_of] == [(*categories, "neutral") for categories in plain.categories_of]
    assert plain.lookup("neutral") is None
    for word in ("neutral", "Neutrally", "neutrality"):
        assert corrected.categories([word]) == (NEUTRAL_ONLY,) * NUM_WHEELS
    assert corrected.lookup("expressionless") is None
    assert set(corrected.words) - set(plain.words) == {"neutral", "neutrally", "neutrality"}


def test_tables_that_know_neutral_keep_their_own_word(tmp_path: Path) -> None:
    rows = [SKY[0], ("neutral", "flat", "even"), *SKY[1:]]
    formats = {**FORMATS, "hazy": "hazy,neutrality", "even": "evenly"}
    folder = write_tables(tmp_path, wheels=(rows, *WHEELS[1:]), formats=formats)
    plain, corrected = of(folder, "official"), of(folder, "corrected")
    assert plain.categories_of[0] == ("sunny", "stormy")
    assert corrected.categories_of[0] == ("sunny", "stormy", "neutral")
    assert (plain.categories(["evenly"])[0], corrected.categories(["evenly"])[0]) == (NONE, NEUTRAL_ONLY)
    assert corrected.categories(["neutral"])[:2] == (NEUTRAL_ONLY, NONE)
    assert corrected.categories(["neutrality"])[0] == {"sunny", "stormy"}
    assert corrected.categories(["neutrally"]) == (NEUTRAL_ONLY,) * NUM_WHEELS


@pytest.mark.parametrize(
    ("protocol", "word", "wheel", "base", "wheel_word"),
    [
        ("official", "hot", 0, "hot", "mild"),
        ("official", "hot", 1, "breezy", "windy"),
        ("official", "heat", 0, "hot", "mild"),
        ("official", "cloud", 0, "cloudless", "clear"),
        ("official", "cloud", 1, "cloudless", None),
        ("corrected", "cloud", 0, "cloudy", "gloomy"),
        ("corrected", "cloud", 1, "cloudy", None),
        ("corrected", "overcast", 0, None, None),
        ("corrected", "muggier", 0, "muggy", "gusty"),
        ("corrected", "dark", 0, "dark", "dark"),
        ("corrected", "haziness", 0, "hazy", "bright + dark"),
        ("corrected", "neutrally", 4, "neutral", "neutral"),
    ],
)
def test_the_way_leads_through_the_words_that_decide(
    tables: Path, protocol: str, word: str, wheel: int, base: str | None, wheel_word: str | None
) -> None:
    way = of(tables, protocol).explain(word)[wheel]
    assert (way.form, way.base, way.wheel_word) == (word, base, wheel_word)
    assert (way.category is None) == (wheel_word is None)


@pytest.mark.parametrize("protocol", ["official", "corrected"])
def test_every_way_ends_where_the_word_is_mapped(tables: Path, protocol: str) -> None:
    wheels = of(tables, protocol)
    for word in wheels.words:
        for way, reached in zip(wheels.explain(word), wheels.categories([word]), strict=True):
            assert set((way.category or "").split(" + ")) - {""} == reached


def test_the_source_is_named_by_content_then_by_folder(
    tables: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert of(tables, "official").source == "weather"
    assert of(tables, "official").titles[4] == "wheel 5 of weather"
    monkeypatch.chdir(tables)
    assert of(Path("."), "official").source == "weather"
    for name in ("official", "mer2026", "builtin"):
        assert of(write_tables(tmp_path / name), "official").source == f"own-{name}"
    assert of(write_tables(tmp_path / "tab\ttab"), "official").source == "tab_tab"


def test_equal_tables_are_one_wheel_set_a_process_wherever_they_lie(tables: Path, tmp_path: Path) -> None:
    again = write_tables(tmp_path / "copy" / "weather")
    for file in FILES:
        (again / file).write_bytes((tables / file).read_bytes())
    assert of(tables, "official") is of(again, "official")
    assert of(tables, "official") is not of(tables, "corrected")
    (again / "format.csv").write_text("name,format\nmuggy,sticky\n")
    assert of(again, "official").reaches("sticky")
    assert not of(tables, "official").reaches("sticky")


@pytest.mark.parametrize("source", ["nonsense", "", "weather/wheel1.xlsx", "x\0y", "x" * 5000])
def test_a_source_that_is_no_folder_is_refused_with_the_known_ones(
    tables: Path, source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tables.parent)
    with pytest.raises(InputError, match="are not known; use builtin, official, mer2026, or a folder that holds"):
        WheelSet.load(source)


@pytest.mark.parametrize("level", [0, 3])
def test_a_level_that_is_not_there_is_refused(tables: Path, level: int) -> None:
    with pytest.raises(InputError, match=f"level {level} does not exist in the wheels; use 1 or 2"):
        of(tables, "official", level=level)


@pytest.mark.parametrize("name", ["official", "mer2026"])
def test_wheels_that_were_not_fetched_are_named_with_the_command(cache: Path, name: str) -> None:
    folder = published_folder(name)
    with pytest.raises(InputError) as caught:
        WheelSet.load(name)
    line = str(caught.value)
    assert f"the wheels {name} are not here yet ({', '.join(FILES)} missing in {folder})" in line
    assert f"`mer-r1 wheels download {name}`" in line
    assert line.endswith("--wheels DIR, in a recipe rl.wheels=DIR")
    write_tables(folder)
    (folder / "wheel4.xlsx").unlink()
    with pytest.raises(InputError, match=r"\(wheel4.xlsx missing in"):
        WheelSet.load(name)


def test_published_wheels_are_taken_only_when_every_hash_is_right(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_tables(published_folder("official"))
    hashes = official._hashes(read_source(str(folder)).files)
    monkeypatch.setattr(official, "PINNED", {"official": hashes})
    assert WheelSet.load("official").source == "official"
    assert of(folder, "official").source == "official"
    assert WheelSet.load("official").titles[0] == "wheel 1 of MER-UniBench"
    (folder / "format.csv").write_text("name,format\n")
    with pytest.raises(InputError, match=r"format.csv not as published .* `mer-r1 wheels download official`"):
        WheelSet.load("official")
    assert of(folder, "official").source == "own-official"


def test_the_pinned_tables_differ_in_the_forms_alone() -> None:
    assert [*PINNED] == ["official", "mer2026"]
    assert all(tuple(files) == FILES for files in PINNED.values())
    assert [name for name in FILES if PINNED["official"][name] != PINNED["mer2026"][name]] == ["format.csv"]


def compiled_file(cache: Path) -> Path:
    (path,) = (cache / "compiled").iterdir()
    return path


def never(*arguments: object) -> None:
    raise AssertionError("compiled anew")


@pytest.mark.parametrize(("protocol", "level"), COMPILED)
def test_a_kept_table_is_the_compiled_one_and_is_not_compiled_again(
    cache: Path, tables: Path, protocol: str, level: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = read_source(str(tables))
    first = load(source, protocol_of(protocol), level)
    with monkeypatch.context() as patch:
        patch.setattr(official, "compile_tables", never)
        again = load(source, protocol_of(protocol), level)
    assert again.sha256 == first.sha256
    assert (again.source, again.titles, again.protocol) == (first.source, first.titles, first.protocol)
    assert again.explain("hazy") == first.explain("hazy")


def test_every_protocol_level_and_content_has_a_file_of_its_own(cache: Path, tables: Path) -> None:
    for protocol in (OFFICIAL, CORRECTED):
        for level in (1, 2):
            load(read_source(str(tables)), protocol, level)
    (tables / "format.csv").write_text("name,format\n")
    load(read_source(str(tables)), OFFICIAL, 1)
    assert len([*(cache / "compiled").iterdir()]) == 5


def test_a_change_of_the_built_in_words_is_compiled_anew(
    cache: Path, tables: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = read_source(str(tables))
    assert load(source, CORRECTED, 1).lookup("even-handed") is None
    words = tmp_path / "words.txt"
    words.write_text("= neutral | neutral | neutral | neutral | neutral\nneutral even-handed\ncalm\n")
    monkeypatch.setattr(official, "_WORDS", words)
    assert load(source, CORRECTED, 1).categories(["even-handed"])[0] == {"neutral"}
    assert load(source, CORRECTED, 1).lookup("calm") is not None, "a word of the tables"
    assert load(source, CORRECTED, 1).categories(["calm"])[0] == set()
    words.write_text("= neutral | neutral | neutral | neutral | -\nneutral even-handed\n")
    assert load(source, CORRECTED, 1).lookup("even-handed") is None, "its group is not neutral everywhere"


def test_a_kept_table_under_the_name_of_another_is_not_taken(cache: Path, tables: Path) -> None:
    source = read_source(str(tables))
    first = load(source, OFFICIAL, 1)
    path = compiled_file(cache)
    load(source, CORRECTED, 1)
    (other,) = set((cache / "compiled").iterdir()) - {path}
    path.write_bytes(other.read_bytes())
    assert load(source, OFFICIAL, 1).sha256 == first.sha256


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda data: b"",
    "cut": lambda data: data[:-20],
    "longer": lambda data: data + b" ",
    "one digit": lambda data: data.replace(b'"hazy": ', b'"hazy": 1'),
    "a category": lambda data: data.replace(b"stormy", b"stormi"),
    "foreign": lambda data: b"hello",
    "foreign json": lambda data: b"[1]\n{}",
    "not utf-8": lambda data: b"\xff\xfe" + data,
    "other key": lambda data: data.replace(b'"key": "', b'"key": "0'),
    "deep": lambda data: b"[" * 100_000,
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_kept_table_is_compiled_anew_and_replaced(cache: Path, tables: Path, name: str) -> None:
    source = read_source(str(tables))
    first = load(source, OFFICIAL, 1)
    path = compiled_file(cache)
    whole = path.read_bytes()
    path.write_bytes(DAMAGES[name](whole))
    assert path.read_bytes() != whole
    assert load(source, OFFICIAL, 1).sha256 == first.sha256
    assert path.read_bytes() == whole


@pytest.mark.parametrize(
    "body",
    [
        {},
        [],
        None,
        {"categories_of": 5, "table": {}},
        {"categories_of": [["a"]] * 4, "table": {}},
        {"categories_of": [["a"]] * 5, "table": {"x": 1 << 5}},
        {"categories_of": [["a"]] * 5, "table": {"x": "y"}},
        {"categories_of": [["a"]] * 5, "table": 3},
    ],
)
def test_a_kept_table_of_another_make_is_not_trusted_even_with_the_right_hash(
    cache: Path, tables: Path, body: object
) -> None:
    source = read_source(str(tables))
    first = load(source, OFFICIAL, 1)
    path = compiled_file(cache)
    key = json.loads(path.read_bytes().partition(b"\n")[0])["key"]
    text = json.dumps(body).encode()
    path.write_bytes(json.dumps(official._head(key, text)).encode() + b"\n" + text)
    assert load(source, OFFICIAL, 1).sha256 == first.sha256


def test_a_cache_that_cannot_be_written_or_read_breaks_nothing(cache: Path, tables: Path) -> None:
    source = read_source(str(tables))
    cache.write_text("a file in the way")
    first = load(source, OFFICIAL, 1)
    assert cache.read_text() == "a file in the way"
    cache.unlink()
    load(source, OFFICIAL, 1)
    path = compiled_file(cache)
    path.unlink()
    path.mkdir()
    assert load(source, OFFICIAL, 1).sha256 == first.sha256
    assert [*path.parent.iterdir()] == [path]


@pytest.mark.parametrize(("protocol", "level"), COMPILED)
def test_what_tables_compile_to_changes_with_the_format_number_only(tables: Path, protocol: str, level: int) -> None:
    """When this fails, raise _COMPILED_FORMAT, or kept tables of the old rule stand for the new one."""
    found = of(tables, protocol, level=level).sha256[:12]
    assert (official._COMPILED_FORMAT, found) == (1, COMPILED[protocol, level])


@pytest.mark.slow
def test_a_kept_table_is_loaded_fast_and_without_openpyxl(cache_folder: Path, tables: Path) -> None:
    of(tables, "corrected")
    code = (
        "import sys, time\n"
        "from mer_r1.emotion.wheel import WheelSet\n"
        f"wheels = WheelSet.load({str(tables)!r}, protocol='corrected')\n"
        "wheels.map_set(['hazy'])\n"
        "print([m for m in ('openpyxl', 'csv', 'numpy', 'zipfile') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_two_hundred_categories_pack_and_unpack(tmp_path: Path) -> None:
    rows = [WHEEL_HEAD, *((f"c{k}", f"m{k}", f"w{k}") for k in range(200))]
    folder = write_tables(tmp_path, wheels=(rows,) * 5, synonyms=synonym_rows({}), formats={})
    assert of(folder, "corrected").categories(["w199", "neutral"]) == (frozenset({"c199", "neutral"}),) * 5


def test_protocols_are_part_of_what_a_table_is_kept_under(cache: Path, tables: Path) -> None:
    source = read_source(str(tables))
    other = Protocol("official", parser="official", neutral=False, choice="votes", oov="drop")
    assert load(source, OFFICIAL, 1).categories(["muggy"])[0] == {"sunny"}
    assert load(source, other, 1).categories(["muggy"])[0] == {"stormy"}
