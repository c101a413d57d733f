"""The whole page in headless Chromium: no console error, no request, and a policy under which browser and clip work."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from mer_r1.report.page import write_page
from tests.report.browser_page import Page, read_log
from tests.report.runs import EVIL, make_asked, make_quickstart, page_of

if TYPE_CHECKING:
    from selenium.webdriver.chrome.webdriver import WebDriver


@pytest.fixture(scope="module")
def opened(driver: WebDriver, tmp_path_factory: pytest.TempPathFactory) -> Page:
    path = page_of(make_quickstart(tmp_path_factory.mktemp("whole")))
    for log in ("browser", "performance"):
        read_log(driver, log)  # what other pages left there
    return Page(driver).open(path)


def test_the_page_opens_without_errors_and_asks_no_network(opened: Page) -> None:
    assert [row for row in read_log(opened.driver, "browser") if row["level"] in ("SEVERE", "WARNING")] == []
    messages = [json.loads(row["message"])["message"] for row in read_log(opened.driver, "performance")]
    urls = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    assert [url for url in urls if not url.startswith(("file:", "data:", "about:"))] == []
    assert opened.js("return document.title") == f"A run {EVIL}"
    assert opened.count() == 3


PLAY = """
    const video = document.querySelector('video.player'), done = arguments[0];
    video.muted = true;
    video.addEventListener('timeupdate', () => video.currentTime > 0 && done(video.currentTime));
    video.addEventListener('error', () => done('error ' + video.error.message));
    video.play();
"""


def test_the_player_of_a_card_plays_its_file_under_the_page_s_policy(opened: Page) -> None:
    assert opened.js("return document.querySelector('video.player').getAttribute('src')") == "data/clips/a%20b.mp4"
    played = opened.driver.execute_async_script(PLAY)
    assert isinstance(played, int | float), played


def test_a_copied_clip_plays_in_its_card_and_in_the_browser_of_a_page_that_was_moved(
    driver: WebDriver, tmp_path: Path
) -> None:
    folder = make_quickstart(tmp_path / "run")
    moved = write_page(folder, out=tmp_path / "a" / "b" / "c" / "mailed.html", embed_mb=1)[0]
    page = Page(driver).open(moved, "#samples?open=a")
    assert isinstance(driver.execute_async_script(PLAY), int | float)
    in_browser = PLAY.replace("video.player", "#sb-detail video")
    assert isinstance(driver.execute_async_script(in_browser), int | float)
    assert page.js("return document.querySelector('#sb-detail video').src").startswith("data:video/mp4;base64,")


def test_a_player_whose_file_went_away_says_so_in_its_place(driver: WebDriver, tmp_path: Path) -> None:
    folder = make_quickstart(tmp_path / "run")
    path = page_of(folder)
    (folder / "data" / "clips" / "a b.mp4").unlink()
    page = Page(driver).open(path)
    page.wait(lambda: page.text(".players .sb-gone"))
    assert page.text(".players .sb-gone") == "The file is missing, or this browser cannot play it."
    assert page.js("return document.querySelectorAll('video').length") == 0


def test_the_first_key_reaches_a_link_to_the_content_and_another_leads_back_to_the_top(opened: Page) -> None:
    opened.size(390, 844, phone=True)
    opened.js("scrollTo({top: 0, behavior: 'instant'})")
    opened.js("document.activeElement.blur()")
    top = "return document.querySelector('.skip').getBoundingClientRect().top"
    assert opened.js(top) < 0
    opened.press("\ue004")
    assert opened.js("return document.activeElement.className") == "skip"
    assert opened.js(top) >= 0
    opened.press("\ue007")
    opened.wait(lambda: opened.js("return document.activeElement.id") == "content")
    opened.js("document.getElementById('made').scrollIntoView({behavior: 'instant'})")
    opened.wait(lambda: opened.js("return scrollY") > 1000)
    shown = "return getComputedStyle(document.querySelector('.to-top')).visibility"
    opened.wait(lambda: opened.js(shown) == "visible")
    opened.click(".to-top")
    opened.wait(lambda: opened.js("return scrollY") < 10)
    opened.js("history.replaceState(null, '', location.pathname)")


def test_a_table_that_is_wider_than_a_phone_is_reached_by_keys_and_has_a_name(opened: Page) -> None:
    opened.size(390, 844, phone=True)
    script = """return [...document.querySelectorAll('.scroll')].filter((e) => e.scrollWidth > e.clientWidth)
        .map((e) => [e.tabIndex, e.getAttribute('aria-label'), getComputedStyle(e).backgroundAttachment])"""
    wide = opened.js(script)
    assert wide
    assert all(index == 0 and label and "local" in shadow for index, label, shadow in wide)


def test_no_other_script_can_run(opened: Page) -> None:
    opened.js("const s = document.createElement('div'); s.innerHTML = '<img src=x onerror=\"window.hacked=1\">';"
              "document.body.append(s);")  # fmt: skip
    opened.js("const s = document.createElement('script'); s.textContent = 'window.hacked=2'; document.body.append(s);")
    assert opened.js("return window.hacked") is None


def test_wheel_and_mode_are_chosen_without_script(opened: Page) -> None:
    def visible() -> list[str]:
        script = "return [...document.querySelectorAll('.view')].filter((e) => e.offsetHeight).map((e) => e.className)"
        return list(opened.js(script))

    assert visible() == ["view view-0"]
    opened.js("document.getElementById('wheel-3').click()")
    assert visible() == ["view view-3"]
    height = "return document.querySelector('.view-3 .of-{}').offsetHeight"
    assert opened.js(height.format("fast")) == 0
    opened.js("document.getElementById('mode-fast').click()")
    assert opened.js(height.format("fast")) > 100
    assert opened.js(height.format("slow")) == 0


def test_on_paper_what_was_closed_is_open_and_the_chosen_wheel_is_named(opened: Page) -> None:
    table, labels = (
        "document.querySelector('.view-0 table').checkVisibility()",
        "[...document.querySelectorAll('.wheels > label')]",
    )
    shown = f"return {labels}.filter((e) => e.offsetHeight).map((e) => e.innerText)"
    opened.js("document.getElementById('wheel-0').click(); document.getElementById('mode-slow').click()")
    assert opened.js(f"return {table}") is False
    assert len(opened.js(shown)) == 7
    opened.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        assert opened.js(f"return {table}") is True
        assert opened.js(shown) == ["Ekman", "slow"]
    finally:
        opened.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_never_scrolls_sideways(opened: Page, width: int) -> None:
    opened.size(width, 900)
    assert opened.js("return document.documentElement.scrollWidth - window.innerWidth") <= 0


def test_nothing_is_left_in_the_page_s_folder_but_the_page(opened: Page) -> None:
    path = Path(opened.driver.current_url.removeprefix("file://").split("#")[0])
    assert sorted(entry.name for entry in path.parent.iterdir()) == [
        "baseline", "data", "mer_r1", "metrics.json", "report.html"
    ]  # fmt: skip


def test_titles_of_forty_letters_do_not_make_a_phone_s_page_scroll(opened: Page, tmp_path: Path) -> None:
    gold = {"a": ["happy"], "b": ["sad"]}
    answers = {identity: (words, words) for identity, words in gold.items()}
    runs = [make_asked(tmp_path / (letter * 40), gold, answers) for letter in "an"]
    opened.open(page_of(*runs, out=tmp_path / "report.html"))
    opened.size(390, 900, phone=True)
    opened.click("#sb-more > summary")
    opened.wait(lambda: opened.js("return document.getElementById('sb-a').offsetHeight"))
    assert opened.js("return document.documentElement.scrollWidth") <= 390
