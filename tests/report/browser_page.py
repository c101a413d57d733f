"""A page that holds nothing but the sample browser, made of a payload, and a headless Chromium to look at it."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import os
import random
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import mer_r1.report

if TYPE_CHECKING:
    from selenium.webdriver.chrome.webdriver import WebDriver

Json = dict[str, Any]

TEMPLATES = Path(mer_r1.report.__file__).parent / "templates"
POLICY = (
    "default-src 'none'; script-src '{}'; style-src 'unsafe-inline'; img-src data: file: 'self'; "
    "media-src data: file: 'self'"
)
CATEGORIES = ["joy", "sadness", "anger", "fear", "surprise", "disgust", "neutral"]
WORDS = ["happy", "glad", "sad", "lonely", "angry", "annoyed", "afraid", "nervous", "surprised", "disgusted", "calm"]
CATEGORY_OF = [0, 0, 1, 1, 2, 2, 3, 3, 4, 5, 6]
KEYS = ("0.fast", "0.slow", "1.fast", "1.slow")
SUBTITLES = (
    "They did it without me.",
    "I do not know what to say.",
    "",
    "Well, that is that, isn't it?",
    "我不知道该说什么。",
)
CHUNK_SIZE = 200
CONTROL = "document.getElementById('sb-' + arguments[0])"
KINDS = [
    ("retained", "Fast intuition retained", "Baseline drops a right category that MER-R1 keeps."),
    ("suppressed", "Spurious emotion suppressed", "MER-R1 leaves out a wrong category."),
    ("failure", "Failure", "MER-R1 names no right category."),
]


@dataclass
class Payload:
    """The index and, of each sample, its long texts, as the page holds them in chunks."""

    index: Json
    texts: list[Json]


def make_payload(num: int, *, seed: int = 0, num_sentences: int = 4) -> Payload:
    """`num` samples of two systems, two modes, two sets and two wheels, drawn from a seed."""
    draw = random.Random(seed)
    columns = ("id", "set", "medium", "has", "path", "subtitle", "gold", "category", "valence", "case", "strength")
    index: Json = {name: [] for name in columns}
    index["answers"] = {key: {name: [] for name in ("words", "verdict", "status", "state")} for key in KEYS}
    index |= {
        "systems": [{"title": "Baseline", "colour": 1}, {"title": "MER-R1", "colour": 2}],
        "sets": ["meld", "iemocap"],
        "note_keys": ["aaaa", "bbbb"],
        "wheels": [{"name": "w1", "categories": CATEGORIES}, {"name": "w2", "categories": CATEGORIES[:3]}],
        "sources": ["builtin@061bd875 corrected"],
        "kinds": [{"key": key, "title": title, "rule": rule} for key, title, rule in KINDS],
        "words": WORDS,
        "chunk_size": CHUNK_SIZE,
        "num": num,
    }
    return Payload(index, [_add_sample(index, i, draw, num_sentences) for i in range(num)])


def _add_sample(index: Json, i: int, draw: random.Random, num_sentences: int) -> Json:
    medium = draw.choice(["video", "video", "video", "audio", "text"])
    gold = draw.sample(range(len(WORDS)), draw.randint(1, 3))
    subtitle = draw.choice(SUBTITLES)
    bits = draw.choice([0, 0, 0, 1, 2, 3, 4])
    letters = {"video": "va", "audio": "a", "text": ""}[medium] + ("s" if subtitle else "")
    row: Json = {
        "id": f"clip-{i:06d}", "set": i % 2, "medium": medium, "has": letters, "path": None, "subtitle": subtitle,
        "gold": gold, "category": sorted({CATEGORY_OF[word] for word in gold}), "valence": draw.choice([None, 0.5]),
        "case": bits, "strength": [draw.randint(1, 9) for _ in range(bits.bit_count())],
    }  # fmt: skip
    for name, value in row.items():
        index[name].append(value)
    texts: Json = {"r": {}, "raw": {}, "c": {}, "g": [row["category"], [c for c in row["category"] if c < 3]]}
    for key in KEYS:
        _add_answer(index["answers"][key], row["category"], draw)
        texts["c"][key] = [[round(-6 * draw.random(), 4) for _ in categories] for categories in (CATEGORIES, "abc")]
        if key.endswith("slow"):
            said = f"The {draw.choice(['face', 'voice', 'line'])} shows {draw.choice(WORDS)} signs, token{i}. "
            texts["r"][key] = said + "The mouth is drawn, the brows are level; the pitch falls. " * num_sentences
        if index["answers"][key]["status"][i] == "t":
            texts["raw"][key] = "<think>I began to think and"
    return texts


def _add_answer(answer: Json, gold: list[int], draw: random.Random) -> None:
    status = draw.choices("otn-", [90, 4, 3, 3])[0]
    words = draw.sample(range(len(WORDS)), draw.randint(1, 3)) if status == "o" else []
    verdict = "".join("r" if CATEGORY_OF[word] in gold else draw.choice("wwpu") for word in words)
    state = "-" if not words else "p"
    if words and set(verdict) == {"r"}:
        state = "r"
    elif words and not set(verdict) & {"r", "p"}:
        state = "w"
    row = {"words": None if status == "-" else words, "verdict": verdict, "status": status, "state": state}
    for name, value in row.items():
        answer[name].append(value)


def write_page(folder: Path, payload: Payload) -> Path:
    """The page, from the package's own templates, with a report's policy: its own script and nothing else."""
    jinja2 = pytest.importorskip("jinja2")
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    body = environment.get_template("browser.html.j2").render()
    script = body[body.index("<script>") + len("<script>") : body.index("</script>")]
    digest = "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    styles = "".join((TEMPLATES / name).read_text(encoding="utf-8") for name in ("style.css", "browser.css"))
    chunks = [payload.texts[k : k + CHUNK_SIZE] for k in range(0, len(payload.texts), CHUNK_SIZE)]
    packed = [base64.b64encode(gzip.compress(json.dumps(chunk).encode(), mtime=0)).decode() for chunk in chunks]
    index = json.dumps(payload.index, ensure_ascii=False).replace("<", "\\u003c")
    parts = [
        f'<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY.format(digest)}"><title>browser</title>',
        f"<style>{styles}</style></head><body><main><h1>A run</h1>{body}</main>",
        f'<script type="application/json" id="samples-index">{index}</script>',
        *(f'<script type="text/plain" id="chunk-{k}">{chunk}</script>' for k, chunk in enumerate(packed)),
        "</body></html>",
    ]
    path = folder / "report.html"
    path.write_text("\n".join(parts), encoding="utf-8")
    return path


def read_log(driver: WebDriver, kind: str) -> list[Json]:
    """What came into a log ("browser" or "performance") since it was last read."""
    rows: list[Json] = driver.execute("getLog", {"type": kind})["value"]
    return rows


class Page:
    """What a person does on the page, and what is then to be seen."""

    def __init__(self, driver: WebDriver) -> None:
        self.driver = driver

    def open(self, path: Path, hash_: str = "") -> Page:
        self.driver.get("about:blank")
        self.driver.get(path.as_uri() + hash_)
        self.wait(lambda: self.js("return window.merR1Ready === true"))
        return self

    def js(self, script: str, *values: Any) -> Any:
        return self.driver.execute_script(script, *values)

    def wait(self, is_there: Callable[[], Any], seconds: float = 60.0) -> Any:
        end = time.monotonic() + seconds
        while not (found := is_there()):
            assert time.monotonic() < end, "what was waited for did not come"
            time.sleep(0.02)
        return found

    def text(self, selector: str) -> str:
        return str(self.js("return document.querySelector(arguments[0])?.innerText ?? ''", selector))

    def texts(self, selector: str) -> list[str]:
        return list(self.js("return [...document.querySelectorAll(arguments[0])].map((e) => e.textContent)", selector))

    def choose(self, name: str, value: str) -> None:
        self.put(name, value, "change")
        assert self.js(f"return {CONTROL}.value", name) == value

    def search(self, text: str) -> None:
        self.put("q", text, "input")

    def put(self, name: str, value: str, event: str) -> None:
        script = f"const c = {CONTROL}; c.value = arguments[1]; c.dispatchEvent(new Event(arguments[2]))"
        self.js(script, name, value, event)

    def count(self) -> int:
        return int(self.text("#sb-count b").replace(",", ""))

    def first_ids(self, num: int = 5) -> list[str]:
        return self.texts(".sb-item .sb-id")[:num]

    def click(self, selector: str) -> None:
        self.js("document.querySelector(arguments[0]).click()", selector)

    def press(self, *keys: str) -> None:
        for key in keys:
            self.driver.switch_to.active_element.send_keys(key)

    def size(self, width: int, height: int, phone: bool = False) -> None:
        values = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": phone}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", values)


@contextmanager
def chromium(width: int = 1280, height: int = 900, arguments: Sequence[str] = ()) -> Iterator[WebDriver]:
    """A headless Chromium, with more `arguments`, that keeps its console and network logs.

    Skips where there is none, unless CI=true.
    """
    missing = [name for name in ("chromium", "chromedriver") if shutil.which(name) is None]
    try:
        from selenium import webdriver
        from selenium.webdriver.chrome.service import Service
    except ModuleNotFoundError:
        missing.append("selenium")
    if missing:
        message = f"{', '.join(missing)} is missing; install chromium, chromium-driver and the package selenium"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    options = webdriver.ChromeOptions()
    options.binary_location = str(shutil.which("chromium"))
    for argument in (
        "--headless=new",
        "--no-sandbox",
        "--disable-dev-shm-usage",
        "--mute-audio",
        "--disable-gpu",
        *arguments,
    ):
        options.add_argument(argument)
    options.add_argument("--autoplay-policy=no-user-gesture-required")
    options.add_argument(f"--window-size={width},{height}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(str(shutil.which("chromedriver"))))
    try:
        driver.set_script_timeout(30)
        yield driver
    finally:
        driver.quit()
