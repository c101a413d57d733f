"""The sample browser in headless Chromium: it shows what the payload says, finds what a recount finds, no more."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.media.make_media import gray_frames, tone, write_media
from tests.report.browser_page import (
    CATEGORIES,
    KINDS,
    TEMPLATES,
    WORDS,
    Json,
    Page,
    Payload,
    make_payload,
    read_log,
    write_page,
)

if TYPE_CHECKING:
    from selenium.webdriver.chrome.webdriver import WebDriver

NUM = 450
FORBIDDEN = ("innerHTML", "outerHTML", "insertAdjacent", "write(", "eval(", "Function(", "fetch(", "http")
EVIL = (
    "<img src=x onerror=\"window.hacked=1\">",
    "</script><script>window.hacked=1</script><!--<script>",
    "\u202egnorw\u202e مرحبا שלום &amp; \u2028 'quoted' \"twice\"",
    "w" * 10_000,
)  # fmt: skip


@pytest.fixture
def page(driver: WebDriver) -> Iterator[Page]:
    driver.get("about:blank")
    for log in ("browser", "performance"):
        read_log(driver, log)
    made = Page(driver)
    made.size(1280, 900)
    yield made
    assert [row for row in read_log(driver, "browser") if row["level"] in ("SEVERE", "WARNING")] == []


@pytest.fixture(scope="module")
def payload() -> Payload:
    made = make_payload(NUM)
    made.index["path"][0], made.index["medium"][0], made.index["has"][0] = "clips/a%20b.mp4", "video", "vs"
    return made


@pytest.fixture(scope="module")
def path(payload: Payload, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("browser")
    (folder / "clips").mkdir()
    write_media(folder / "clips" / "a b.mp4", frames=gray_frames(12, 64, 48), sound=tone(1.5, 16_000))
    return write_page(folder, payload)


def state(payload: Payload, key: str, i: int) -> str:
    return str(payload.index["answers"][key]["state"][i])


def found(payload: Payload, term: str, *, deep: bool = False) -> list[int]:
    """The samples that hold a term, counted here."""
    return [i for i in range(payload.index["num"]) if term.lower() in everything(payload, i, deep).lower()]


def everything(payload: Payload, i: int, deep: bool) -> str:
    index = payload.index
    words = [*index["gold"][i], *(word for answer in index["answers"].values() for word in answer["words"][i] or [])]
    long = [*payload.texts[i]["r"].values(), *payload.texts[i]["raw"].values()] if deep else []
    return "\n".join([index["id"][i], index["subtitle"][i], *(index["words"][word] for word in words), *long])


def test_the_page_opens_without_a_word_in_the_console_and_without_a_request(page: Page, path: Path) -> None:
    page.open(path)
    page.click(".sb-item")
    page.wait(lambda: page.js("return document.querySelector('video').readyState >= 1"))
    rows = [json.loads(row["message"])["message"] for row in read_log(page.driver, "performance")]
    urls = [row["params"]["request"]["url"] for row in rows if row["method"] == "Network.requestWillBeSent"]
    assert path.as_uri() in urls
    assert [url for url in urls if not url.startswith(("file:", "data:", "about:"))] == []
    assert page.count() == NUM


@pytest.mark.parametrize("place", range(len(KINDS)))
def test_a_kind_shows_its_samples_the_strongest_first(page: Page, path: Path, payload: Payload, place: int) -> None:
    key, title, rule = KINDS[place]
    page.open(path)
    page.click(f"[data-kind={key}]")
    index = payload.index
    hits = [i for i in range(NUM) if index["case"][i] >> place & 1]
    strength = {i: index["strength"][i][(index["case"][i] & ((1 << place) - 1)).bit_count()] for i in hits}
    assert page.count() == len(hits) > 0
    assert page.first_ids(8) == [index["id"][i] for i in sorted(hits, key=lambda i: -strength[i])[:8]]
    assert page.text("#sb-rule") == rule
    assert page.text(f"[data-kind={key}]").split() == [*title.split(), str(len(hits))]
    page.click(f"[data-kind={key}]")
    assert page.count() == NUM


def test_every_choice_counts_as_a_recount_does(page: Page, path: Path, payload: Payload) -> None:
    index = payload.index
    wanted: dict[tuple[str, str], Callable[[int], bool]] = {
        ("set", "iemocap"): lambda i: index["set"][i] == 1,
        ("category", "anger"): lambda i: CATEGORIES.index("anger") in index["category"][i],
        ("medium", "v"): lambda i: "v" in index["has"][i],
        ("medium", "-s"): lambda i: "s" not in index["has"][i],
        ("aIs", "w"): lambda i: state(payload, "0.slow", i) == "w",
        ("aIs", "-"): lambda i: state(payload, "0.slow", i) == "-",
        ("bIs", "r"): lambda i: state(payload, "1.slow", i) == "r",
        ("bIs", "p"): lambda i: state(payload, "1.slow", i) == "p",
        ("ab", "differ"): lambda i: state(payload, "0.slow", i) != state(payload, "1.slow", i),
        ("ab", "w-r"): lambda i: (state(payload, "0.slow", i), state(payload, "1.slow", i)) == ("w", "r"),
        ("ab", "r-w"): lambda i: (state(payload, "0.slow", i), state(payload, "1.slow", i)) == ("r", "w"),
    }
    page.open(path)
    for (name, value), is_wanted in wanted.items():
        page.choose(name, value)
        assert page.count() == sum(map(is_wanted, range(NUM))) > 0, (name, value)
        page.choose(name, "")
    page.choose("set", "meld")
    page.choose("ab", "differ")
    both = [i for i in range(NUM) if index["set"][i] == 0 and wanted["ab", "differ"](i)]
    assert page.count() == len(both)
    assert page.first_ids() == [index["id"][i] for i in both[:5]]
    page.click("#sb-clear")
    assert page.count() == NUM


@pytest.mark.parametrize("term", ["clip-00012", "LONELY", "不知道", "well, LONELY"])
def test_search_finds_ids_subtitles_and_words(page: Page, path: Path, payload: Payload, term: str) -> None:
    page.open(path).search(term)
    sets = [set(found(payload, item)) for item in term.split()]
    assert page.count() == len(set.intersection(*sets)) > 0


def test_search_reaches_the_reasoning_when_asked(page: Page, path: Path, payload: Payload) -> None:
    page.open(path).search("token333.")
    assert page.count() == 0
    assert "No sample passes" in page.text("#sb-empty")
    page.click("#sb-deep")
    page.wait(lambda: page.count() == 1)
    assert page.first_ids() == ["clip-000333"]
    page.search("began")
    assert page.count() == len(found(payload, "began", deep=True)) > 0
    page.click("#sb-reset")
    assert page.count() == NUM


def test_a_view_can_be_linked(page: Page, path: Path) -> None:
    page.open(path)
    page.choose("category", "joy")
    page.choose("a", "0.fast")
    page.choose("aIs", "w")
    page.search("happy")
    page.click(".sb-item:nth-child(2)")
    num, title = page.count(), page.text(".sb-detail-head h3")
    assert 1 < num < NUM
    hash_ = page.wait(lambda: "open=" in (text := str(page.js("return location.hash"))) and text)
    page.open(path, hash_)
    assert (page.count(), page.text(".sb-detail-head h3")) == (num, title)
    assert page.js("return document.getElementById('sb-a').value") == "0.fast"
    page.open(path, "#samples?kind=nonsense&a=9.slow&wheel=99&set=x&unknown=1&open=gone")
    assert page.count() == NUM


def test_the_keyboard_is_enough(page: Page, path: Path, payload: Payload) -> None:
    page.open(path)
    page.press("/")
    page.press(*"clip-00000", "\ue007")  # Enter: from the search to the list
    assert page.count() == 10
    page.press("\ue015", "j", "k", "j")  # arrow down
    assert page.text(".sb-detail-head") == ""
    page.press("\ue007")
    assert page.text(".sb-detail-head h3") == payload.index["id"][2]
    page.press("j")
    assert page.text(".sb-detail-head h3") == payload.index["id"][3]
    assert page.js("return document.activeElement.getAttribute('aria-activedescendant')") == "sb-row-3"
    assert page.js("return document.getElementById('sb-row-3').getAttribute('aria-selected')") == "true"
    page.press("\ue010", "\ue011")  # End, Home
    assert page.text(".sb-detail-head h3") == payload.index["id"][0]
    page.press("\ue00c")  # Escape
    assert page.text(".sb-detail-head") == ""


def test_a_clip_is_loaded_when_opened_and_plays(page: Page, path: Path) -> None:
    page.open(path)
    assert page.js("return document.querySelectorAll('video, audio, img').length") == 0
    page.press("/", "\ue007", "\ue007")
    page.wait(lambda: page.js("return document.querySelector('video').readyState >= 1"))
    assert page.js("return document.querySelector('video').paused")
    page.press(" ")
    page.wait(lambda: page.js("return document.querySelector('video').currentTime > 0.05"))
    page.press("j")
    assert page.js("return document.querySelector('video') === null")
    assert "not beside this page" in page.text("#sb-detail") or not page.text(".sb-gone")


@pytest.mark.parametrize(
    "away", ["https://evil.example/a.mp4", "//evil.example/a.mp4", "/etc/passwd", "\\\\evil\\a", "javascript:1"]
)
def test_a_path_that_leads_away_is_no_source(page: Page, tmp_path: Path, away: str) -> None:
    made = make_payload(1)
    made.index["path"][0], made.index["medium"][0] = away, "video"
    page.open(write_page(tmp_path, made))
    page.click(".sb-item")
    assert page.text(".sb-gone") == "The file is not beside this page."
    assert page.js("return document.querySelectorAll('[src]').length") == 0


def test_two_answers_stand_side_by_side(page: Page, path: Path, payload: Payload) -> None:
    signs = {"r": "✓", "p": "◐", "w": "✗", "-": "–"}
    page.open(path)
    page.choose("a", "1.fast")
    marks = page.texts(".sb-item:nth-child(1) .sb-mark")
    assert marks == [signs[state(payload, key, 0)] for key in ("1.fast", "1.slow")]
    page.click(".sb-item:nth-child(4)")
    assert page.texts(".sb-detail > div > .sb-answers h4") == ["MER-R1"]
    assert page.text(".sb-others summary") == "one more system"
    page.choose("a", "0.slow")
    assert page.texts(".sb-detail > div > .sb-answers h4") == ["Baseline", "MER-R1"]
    shown = [word.split(",")[0] for word in page.texts(".sb-chip bdi")]
    keys = ("0.fast", "0.slow", "1.fast", "1.slow")
    assert shown == [WORDS[word] for key in keys for word in payload.index["answers"][key]["words"][3] or []]


def test_reasoning_and_confidence_come_from_the_chunk(page: Page, path: Path, payload: Payload) -> None:
    i = 433
    page.open(path, f"#samples?open={payload.index['sets'][i % 2]}/clip-{i:06d}")
    page.wait(lambda: page.texts(".sb-reasoning"))
    assert page.texts(".sb-reasoning") == list(payload.texts[i]["r"].values())
    page.wait(lambda: page.texts(".sb-bar-name"))
    assert [name.removeprefix("◆ ").removesuffix(", gold") for name in page.texts(".sb-bar-name")] == CATEGORIES
    gold = [index for index, name in enumerate(page.texts(".sb-bar-name")) if name.startswith("◆")]
    assert gold == payload.index["category"][i]
    share = page.js("return document.querySelector('.sb-bar-slow').style.getPropertyValue('--share')")
    assert float(share.rstrip("%")) == pytest.approx(
        100 * 2.718281828 ** payload.texts[i]["c"]["0.slow"][0][0], abs=0.01
    )
    assert "at an answer’s first word" in page.text(".sb-confidence .sb-note")
    page.click("[data-wheel='1']")
    page.wait(lambda: len(page.texts(".sb-bar-name")) == 3)


def hostile() -> Payload:
    made = make_payload(4)
    made.index |= {"words": [*WORDS, *EVIL], "subtitle": list(EVIL), "sets": list(EVIL[:2])}
    made.index["systems"][0]["title"] = EVIL[0]
    for i, text in enumerate(EVIL):
        made.index["id"][i] = text + str(i)
        made.index["gold"][i] = [len(WORDS) + i]
        for key, answer in made.index["answers"].items():
            answer["words"][i], answer["verdict"][i] = [len(WORDS) + i], "w"
            made.texts[i]["r"][key] = made.texts[i]["raw"][key] = text
    return made


@pytest.mark.parametrize("width", [1280, 390])
def test_hostile_text_shows_as_text(page: Page, tmp_path: Path, width: int) -> None:
    made = hostile()
    page.size(width, 850, phone=width < 500)
    page.open(write_page(tmp_path, made))
    for i, text in enumerate(EVIL):
        page.click(f".sb-item:nth-child({i + 1})")
        page.wait(lambda: page.texts(".sb-reasoning"))
        assert page.texts(".sb-reasoning") == [text] * 4
        assert page.texts(".sb-raw") == [text] * 4
        assert page.texts(".sb-said") == [f"“{text}”"]
        assert set(page.texts(".sb-chip bdi")) == {text}
        assert page.js("return document.documentElement.scrollWidth <= innerWidth")
        assert page.js("const d = document.getElementById('sb-detail'); return d.scrollWidth <= d.clientWidth")
    assert page.js("return window.hacked === undefined")
    assert page.js("return document.querySelectorAll('img').length") == 0


def test_a_phone_shows_one_thing_at_a_time(page: Page, path: Path) -> None:
    page.size(390, 844, phone=True)
    page.open(path)
    assert page.js("return document.documentElement.scrollWidth") == 390
    assert page.js("return getComputedStyle(document.getElementById('sb-detail')).display") == "none"
    page.click("#sb-more summary")
    assert page.js("return document.documentElement.scrollWidth") == 390
    page.click(".sb-item")
    box = page.js(
        "const b = document.getElementById('sb-detail').getBoundingClientRect(); return [b.x, b.y, b.width, b.height]"
    )
    assert box == [0, 0, 390, 844]
    page.driver.back()
    page.wait(lambda: page.js("return getComputedStyle(document.getElementById('sb-detail')).display") == "none")
    assert page.js("return window.merR1Ready") is True


def test_few_rows_of_many_samples_are_there(page: Page, tmp_path: Path) -> None:
    page.open(write_page(tmp_path, make_payload(5_000, num_sentences=1)))
    assert page.js("return document.querySelectorAll('.sb-item').length") < 60
    page.js("const l = document.getElementById('sb-list'); l.scrollTop = l.scrollHeight")
    page.wait(lambda: "clip-004999" in page.first_ids(60))
    assert page.js("return document.querySelectorAll('.sb-item').length") < 60
    assert page.driver.execute_async_script("merR1.measureFilter().then(arguments[0])") > 0
    assert page.count() == 5_000


def test_one_system_compares_its_fast_and_slow_answers(page: Page, tmp_path: Path) -> None:
    made = make_payload(6)
    made.index |= {"systems": made.index["systems"][:1], "sets": ["test"], "set": [0] * 6, "kinds": [], "case": [0] * 6}
    made.index["answers"] = {key: value for key, value in made.index["answers"].items() if key.startswith("0.")}
    page.open(write_page(tmp_path, made))
    assert [page.js(f"return document.getElementById('sb-{side}').value") for side in "ab"] == ["0.fast", "0.slow"]
    assert page.js("return document.getElementById('sb-set-label').hidden")
    page.click(".sb-item")
    assert page.texts(".sb-answers h4") == ["Baseline"]


def test_a_browser_that_cannot_unpack_says_so(page: Page, path: Path) -> None:
    script = {"source": "delete window.DecompressionStream"}
    made = page.driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", script)
    try:
        page.open(path)
        page.click(".sb-item")
        page.wait(lambda: "cannot unpack" in page.text(".sb-confidence"))
        assert page.texts(".sb-chip bdi")
    finally:
        page.driver.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", made)


def test_a_damaged_page_says_so(page: Page, path: Path, tmp_path: Path) -> None:
    text = path.read_text(encoding="utf-8").replace('id="samples-index">{', 'id="samples-index">')
    (tmp_path / "report.html").write_text(text, encoding="utf-8")
    page.driver.get((tmp_path / "report.html").as_uri())
    assert "damaged" in page.text("#sb-problem")


def test_print_leaves_the_browser_out(page: Page, path: Path) -> None:
    page.open(path)
    page.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    assert page.js("return getComputedStyle(document.getElementById('samples')).display") == "none"
    page.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


def test_no_script_makes_markup_of_text_or_fetches() -> None:
    texts: Json = {file.name: file.read_text(encoding="utf-8") for file in TEMPLATES.glob("browser*")}
    assert len(texts) == 9
    assert [(name, word) for name, text in texts.items() for word in FORBIDDEN if word in text] == []
    assert [name for name, text in texts.items() if len(text.splitlines()) > 400] == []


def write_note(page: Page, note: str, tags: str) -> None:
    script = """for (const [place, text] of [['.sb-own textarea', arguments[0]], ['.sb-own input', arguments[1]]]) {
        const field = document.querySelector(place);
        field.value = text;
        for (const kind of ['input', 'change']) field.dispatchEvent(new Event(kind, { bubbles: true }));
    }"""
    page.js(script, note, tags)


@pytest.fixture
def unnoted(page: Page, path: Path) -> Iterator[Page]:
    yield page.open(path)
    page.js("localStorage.clear()")


def test_a_note_is_kept_found_and_filtered_by(unnoted: Page, path: Path, payload: Payload) -> None:
    first, second = payload.index["id"][:2]
    unnoted.open(path, f"#samples?open=meld%2F{first}")
    write_note(unnoted, EVIL[0], "wrong gold, sarcasm, wrong gold")
    assert unnoted.text(".sb-own [role=status]") == "kept in this browser"
    assert unnoted.texts(".sb-item .sb-noted") == ["✎"]
    unnoted.open(path, f"#samples?open=meld%2F{first}")
    assert unnoted.js("return document.querySelector('.sb-own textarea').value") == EVIL[0]
    assert unnoted.js("return document.querySelector('.sb-own input').value") == "wrong gold, sarcasm"
    assert unnoted.texts("#sb-note option") == ["any", "with a note", "without a note", "#sarcasm", "#wrong gold"]
    for choice, num in (("*", 1), ("-", NUM - 1), ("#sarcasm", 1), ("", NUM)):
        unnoted.choose("note", choice)
        assert unnoted.count() == num
    unnoted.search("onerror")
    assert unnoted.first_ids() == [first]
    unnoted.search("")
    write_note(unnoted, " ", "")
    assert unnoted.texts(".sb-noted") == []
    unnoted.choose("note", "-")
    assert unnoted.count() == NUM
    assert unnoted.js("return window.hacked") is None
    assert second in unnoted.first_ids()


def test_another_page_s_notes_on_the_same_samples_are_not_overwritten(
    unnoted: Page, path: Path, payload: Payload
) -> None:
    first, third = payload.index["id"][0], payload.index["id"][2]
    unnoted.open(path, f"#samples?open=meld%2F{first}")
    unnoted.js("localStorage.setItem('mer-r1 notes aaaa', JSON.stringify({[arguments[0]]: {note: 'theirs'}}))", third)
    write_note(unnoted, "ours", "")
    kept = json.loads(unnoted.js("return localStorage.getItem('mer-r1 notes aaaa')"))
    assert {identity: each["note"] for identity, each in kept.items()} == {third: "theirs", first: "ours"}


@pytest.mark.parametrize("stored", ["no JSON", "[1]", '{"clip-000000": 3, "clip-000002": {"note": 1, "tags": []}}'])
def test_stored_notes_that_are_none_leave_the_page_standing(unnoted: Page, path: Path, stored: str) -> None:
    unnoted.js("localStorage.setItem('mer-r1 notes aaaa', arguments[0])", stored)
    unnoted.open(path)
    assert unnoted.count() == NUM


def test_where_nothing_can_be_kept_a_note_lasts_and_the_page_says_so(
    unnoted: Page, path: Path, payload: Payload
) -> None:
    unnoted.open(path, f"#samples?open=meld%2F{payload.index['id'][0]}")
    unnoted.js("Storage.prototype.setItem = () => { throw new Error('full'); }")
    for note in ("one", "two"):
        write_note(unnoted, note, "")
    assert unnoted.text(".sb-own [role=status]").startswith("This browser keeps nothing for this page")
    unnoted.choose("note", "*")
    assert unnoted.count() == 1


def saved(page: Page, folder: Path, ending: str) -> bytes:
    """What the button of a format saves, read back from the folder of downloads."""
    folder.mkdir(exist_ok=True)
    values = {"behavior": "allow", "downloadPath": str(folder)}
    page.driver.execute_cdp_cmd("Browser.setDownloadBehavior", values)
    target = folder / f"report-samples.{ending}"
    page.click(f"#sb-{ending}")
    page.wait(target.exists)
    return target.read_bytes()


def test_the_filtered_list_is_saved_in_order_with_answers_and_notes(
    unnoted: Page, path: Path, payload: Payload, tmp_path: Path
) -> None:
    index = payload.index
    unnoted.open(path, f"#samples?open=meld%2F{index['id'][0]}&aIs=w&a=1.slow")
    write_note(unnoted, 'He said "so",\nand left', "x")
    hits = [i for i in range(NUM) if state(payload, "1.slow", i) == "w"]
    rows = [json.loads(line) for line in saved(unnoted, tmp_path / "saved", "jsonl").decode().splitlines()]
    assert [row["id"] for row in rows] == [index["id"][i] for i in hits]
    for row, i in zip(rows, hits, strict=True):
        assert row["labels"] == [index["words"][word] for word in index["gold"][i]]
        assert (row["set"], row["subtitle"]) == (index["sets"][index["set"][i]], index["subtitle"][i])
        answers = {(each["system"], each["mode"]): each for each in row["answers"]}
        mine = answers["MER-R1", "slow"]
        assert mine["labels"] == [index["words"][word] for word in index["answers"]["1.slow"]["words"][i]]
        assert (mine["verdict"], mine["status"]) == ("wrong", "ok")
    unnoted.click("#sb-clear")
    table = list(csv.DictReader(io.StringIO(saved(unnoted, tmp_path / "saved", "csv").decode("utf-8-sig"), newline="")))
    assert [row["id"] for row in table] == index["id"]
    assert (table[0]["note"], table[0]["tags"]) == ('He said "so",\nand left', "x")
    assert table[0]["labels"] == ", ".join(index["words"][word] for word in index["gold"][0])
    assert table[hits[0]]["MER-R1 · slow verdict"] == "wrong"


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", " =1", "＝1"])
def test_no_cell_of_the_saved_table_is_a_formula(unnoted: Page, tmp_path: Path, text: str) -> None:
    made = make_payload(1)
    made.index["subtitle"][0], made.index["id"][0], made.index["systems"][0]["title"] = text, text, text
    made.index["words"] = [text] * len(made.index["words"])
    unnoted.open(write_page(tmp_path, made))
    content = saved(unnoted, tmp_path / "saved", "csv").decode("utf-8-sig")
    cells = [cell for row in csv.reader(io.StringIO(content, newline="")) for cell in row]
    assert "'" + text in cells
    assert not [cell for cell in cells if re.match(r"\s*[=+\-@＝]", cell)]


def test_an_empty_list_cannot_be_saved(unnoted: Page) -> None:
    unnoted.search("nothing holds this")
    unnoted.wait(lambda: unnoted.count() == 0)
    assert unnoted.js("return document.getElementById('sb-csv').disabled") is True
