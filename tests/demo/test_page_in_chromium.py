"""The page in a browser: clips dropped and recorded, texts as they come, nothing asked of the net, on any screen."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.demo.scripted import EVIL
from tests.media.make_media import gray_frames, tone, write_media
from tests.report.browser_page import Page, read_log

if TYPE_CHECKING:
    from selenium.webdriver.chrome.webdriver import WebDriver

BUTTON = (
    "[...document.querySelectorAll('button')].find((e) => e.offsetParent && (e.innerText + e.ariaLabel).includes('{}'))"
)
WHOLE = "return document.querySelectorAll('#mer-answers [aria-busy=false]').length === 2"


@pytest.fixture
def page(camera_driver: WebDriver, served: str) -> Iterator[Page]:
    """The page freshly opened, as wide as a desktop; at the end nothing was asked of any other address."""
    read_log(camera_driver, "performance")
    page = Page(camera_driver)
    page.size(1280, 900)
    camera_driver.get("about:blank")
    camera_driver.get(served)
    page.wait(lambda: page.js("return document.querySelectorAll('.mer-examples button').length === 3"))
    yield page
    sent = [json.loads(row["message"])["message"] for row in read_log(camera_driver, "performance")]
    asked = [row["params"]["request"]["url"] for row in sent if row["method"] == "Network.requestWillBeSent"]
    assert asked
    assert [url for url in asked if not url.startswith((served, "data:", "blob:", "about:", "chrome"))] == []
    severe = [row["message"] for row in read_log(camera_driver, "browser") if row["level"] == "SEVERE"]
    assert [message for message in severe if "AbortError" not in message] == []  # of an answer that was stopped


def click(page: Page, text: str) -> None:
    page.wait(lambda: page.js(f"return Boolean({BUTTON.format(text)})"))
    page.js(f"{BUTTON.format(text)}.click()")


def say(page: Page, words: str) -> None:
    from selenium.webdriver.common.by import By

    page.driver.find_element(By.CSS_SELECTOR, ".mer-ask textarea").send_keys(words)


def answered(page: Page, seconds: float = 60.0) -> str:
    page.wait(lambda: page.js("return document.querySelector('#mer-wheel .wheel')"), seconds)
    assert page.js(WHOLE)
    return page.text("#mer-answers")


def drop(page: Page, path: Path) -> None:
    from selenium.webdriver.common.by import By

    page.driver.find_element(By.CSS_SELECTOR, "input[type=file]").send_keys(str(path))
    page.wait(lambda: page.js("return document.querySelector('.mer.player > *')"))


def test_a_dropped_file_is_played_shown_as_it_is_seen_and_answered_twice(page: Page, tmp_path: Path) -> None:
    name = "a <b>film.mp4"
    film = write_media(tmp_path / name, frames=gray_frames(4), sound=tone(0.5, 16_000))
    drop(page, film)
    click(page, "Read the emotions")
    said = answered(page)
    assert said.index("Fast thinking") < said.index("Slow thinking") < said.index("her voice is calm")
    assert "50 %" in said
    assert page.js("return document.querySelector('.mer.player video').readyState") is not None
    assert page.js("return document.querySelectorAll('#mer-seen .frames img').length") == 4
    assert "4 frames of" in page.text("#mer-seen")
    assert page.js("return document.querySelectorAll('#mer-wheel .wheel path.r').length") > 0


def test_a_recorded_webcam_is_answered(page: Page) -> None:
    from selenium.webdriver.common.by import By

    page.js("[...document.querySelectorAll('button[role=tab]')].find((e) => e.innerText === 'Webcam').click()")
    access = page.wait(lambda: page.driver.find_elements(By.XPATH, "//button[contains(., 'Access')]"))[0]
    page.wait(access.is_displayed)
    access.click()  # a person's: the browser asks for the camera then
    click(page, "Record")
    page.js("return new Promise((done) => setTimeout(done, 1200))")
    page.js(f"{BUTTON.format('start recording')}.click()")
    page.wait(lambda: page.js("return document.querySelector('.mer-ask video[src]')"))
    click(page, "Read the emotions")
    assert "happy" in answered(page)
    seen = page.text("#mer-seen")
    assert "4 frames of" in seen
    assert "none" not in seen.partition("sound")[2].partition("words")[0]


def test_an_example_is_one_click_and_its_text_comes_bit_by_bit(page: Page) -> None:
    say(page, "slowly")
    click(page, "Read the emotions")
    first = page.wait(lambda: page.text("#mer-answers .slow .reasoning"))
    page.wait(lambda: len(page.text("#mer-answers .slow .reasoning")) > len(first))
    assert page.js("return document.querySelector('#mer-answers .slow').ariaBusy") == "true"
    answered(page)
    page.js("document.querySelector('.mer-examples button').click()")
    page.wait(lambda: "frames of 3.0 s" in page.text("#mer-seen"))
    assert "happy" in answered(page)


def test_stop_ends_an_answer_and_the_next_one_need_not_wait_for_it(page: Page) -> None:
    say(page, "very slowly")
    click(page, "Read the emotions")
    page.wait(lambda: page.js("return document.querySelectorAll('#mer-answers [aria-busy=true]').length === 2"))
    click(page, "Stop")
    page.wait(lambda: page.js(WHOLE))
    assert page.text("#mer-wheel").strip() == ""
    page.js("return new Promise((done) => setTimeout(done, 500))")  # as a person takes; Stop ends what begins with it
    page.js("document.querySelector('.mer-examples button').click()")
    assert "happy" in answered(page, 20)  # the first one would have taken half a minute


def test_a_hostile_text_stays_text_and_an_error_is_one_line(page: Page, tmp_path: Path) -> None:
    say(page, "hostile")
    click(page, "Read the emotions")
    assert EVIL in answered(page)
    assert (
        page.js("return document.querySelectorAll('#mer-answers img, #mer-answers a, #mer-answers strong').length") == 0
    )
    broken = tmp_path / "broken <i>clip.mp4"
    broken.write_bytes(b"no film")
    drop(page, broken)
    click(page, "Read the emotions")
    problem = page.wait(lambda: page.text("#mer-answers .problem"))
    assert "is not a media file" in problem
    assert "\n" not in problem
    assert str(tmp_path) not in problem
    assert page.text("#mer-seen").strip() == ""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_shows_it_in_one_column_without_a_sideways_scroll(page: Page, scheme: str, tmp_path: Path) -> None:
    values = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    page.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", values)
    page.size(390, 844, phone=True)
    say(page, "Well done.")
    click(page, "Read the emotions")
    answered(page)
    assert page.js("return document.scrollingElement.scrollWidth") <= 390
    left = page.js("return [...document.querySelectorAll('.mer .answer')].map((e) => e.getBoundingClientRect().left)")
    assert left[0] == left[1]
    named = page.js(
        "return [...document.querySelectorAll('button, input, textarea')].filter((e) => e.offsetParent "
        "&& !(e.innerText || e.ariaLabel || e.title || e.labels?.length || e.placeholder)).map((e) => e.outerHTML)"
    )
    assert named == []
