"""A page that follows a run: written again when a file changes, whole at any time, and standing in the end."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from mer_r1.commands import main
from mer_r1.errors import InputError
from mer_r1.report import watch
from mer_r1.report.page import PageChoice, write_choice
from mer_r1.report.watch import standing, state_of, watch_page
from tests.report.browser_page import Page
from tests.report.runs import make_asked, page_of, write_lines

if TYPE_CHECKING:
    from selenium.webdriver.chrome.webdriver import WebDriver

ALL = {"a": ["happy"], "b": ["sad"]}


def make_training(folder: Path, num_steps: int, status: str = "running") -> Path:
    """A training's folder after so many logged steps."""
    write_lines(folder / "metrics.jsonl", [{"step": step, "loss": 1.0 / step} for step in range(1, num_steps + 1)])
    (folder / "run.json").write_text(json.dumps({"kind": "sft", "status": status}))
    return folder


def add(path: Path, text: str) -> None:
    with path.open("a", encoding="utf-8") as handle:
        handle.write(text)


def steps_of(page: Path) -> int:
    """How far the loss of a page goes, by the words of its figure."""
    words = page.read_text(encoding="utf-8")
    return next((step for step in range(9, 0, -1) if f"from 1 to {1 / step:.3g}." in words), 0)


class Run:
    """What happens to a run while its page sleeps, a step a sleep; notes what the page then was."""

    def __init__(self, *steps: Callable[[], object]) -> None:
        self.steps: Iterator[Callable[[], object]] = iter(steps)
        self.started: list[Path] = []
        self.waited: list[str] = []

    def sleep(self, seconds: float) -> None:
        next(self.steps)()

    def watched(self, *folders: Path) -> int:
        choice = PageChoice(refresh_s=1.0)
        return watch_page(folders, None, choice, started=self.started.append, waiting=self.waited.append)


@pytest.fixture
def follow(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Run]:
    def made(*steps: Callable[[], object]) -> Run:
        run = Run(*steps)
        monkeypatch.setattr(watch, "sleep", run.sleep)
        return run

    return made


@pytest.mark.slow
def test_the_page_grows_with_the_log_and_stands_when_the_run_is_finished(
    tmp_path: Path, follow: Callable[..., Run]
) -> None:
    folder = make_training(tmp_path / "run", 2)
    page, seen = folder / "report.html", []

    def grow() -> None:
        seen.append((steps_of(page), "data-seconds" in page.read_text()))
        add(folder / "metrics.jsonl", json.dumps({"step": 3, "loss": 1 / 3}) + '\n{"step": 4, "lo')  # half a line

    def finish() -> None:
        seen.append((steps_of(page), "data-seconds" in page.read_text()))
        add(folder / "metrics.jsonl", 'ss": 0.25}\n')
        (folder / "run.json").write_text(json.dumps({"kind": "sft", "status": "finished"}))

    run = follow(grow, finish)
    assert run.watched(folder) == 0
    assert seen == [(2, True), (3, True)]
    assert steps_of(page) == 4
    assert (run.started, run.waited) == ([page], [])
    assert page.read_bytes() == page_of(folder, out=tmp_path / "run" / "other.html").read_bytes()


@pytest.mark.slow
def test_nothing_is_written_where_nothing_changed(tmp_path: Path, follow: Callable[..., Run]) -> None:
    folder = make_training(tmp_path / "run", 2)
    times = []

    def look() -> None:
        times.append((folder / "report.html").stat().st_mtime_ns)

    def end() -> None:
        raise KeyboardInterrupt

    run = follow(look, look, look, end)
    with pytest.raises(KeyboardInterrupt):
        run.watched(folder)
    assert len(set(times)) == 1
    assert "<!--live-->" not in (folder / "report.html").read_text()  # who ends it leaves a page that stands
    assert steps_of(folder / "report.html") == 2


@pytest.mark.slow
def test_a_run_that_has_just_begun_is_waited_for_and_said_once(tmp_path: Path, follow: Callable[..., Run]) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    run = follow(lambda: None, lambda: None, lambda: make_training(folder, 1, "finished"))
    assert run.watched(folder) == 0
    assert len(run.waited) == 1
    assert "no run that can be read" in run.waited[0]
    assert steps_of(folder / "report.html") == 1


@pytest.mark.slow
def test_a_quickstart_is_followed_from_its_first_stage_and_what_is_not_answered_yet_is_in_no_number(
    tmp_path: Path, follow: Callable[..., Run]
) -> None:
    folder = tmp_path / "quick"
    folder.mkdir()
    (folder / "stages.json").write_text("{}")
    seen = []

    def answer() -> None:
        seen.append((folder / "report.html").read_text())
        clips = [{"id": name, "subtitle": "x", "labels": words} for name, words in ALL.items()]
        write_lines(folder / "data" / "test.jsonl", clips)
        rows = [{"id": "a", "mode": mode, "labels": ["happy"]} for mode in ("fast", "slow")]
        write_lines(folder / "sft" / "predictions.jsonl", rows)

    def finish() -> None:
        seen.append((folder / "report.html").read_text())
        more = [{"id": "b", "mode": mode, "labels": ["sad"]} for mode in ("fast", "slow")]
        add(folder / "sft" / "predictions.jsonl", "".join(json.dumps(row) + "\n" for row in more))
        (folder / "metrics.json").write_text('{"systems": {"sft": {}}}')

    assert follow(answer, finish).watched(folder) == 0
    assert 'id="results"' not in seen[0]
    assert "set:test|n:1|" in seen[1]
    assert "1 clip was not answered and left out of every number here" in seen[1]
    assert "set:test|n:2|" in (folder / "report.html").read_text()


def test_what_is_wrong_whatever_the_run_holds_is_said_at_once(tmp_path: Path, follow: Callable[..., Run]) -> None:
    with pytest.raises(InputError, match="no such folder; give one that a run is writing into"):
        follow().watched(tmp_path / "gone")
    folder = make_training(tmp_path / "run", 1, "finished")
    (folder / "metrics.jsonl").write_text("no JSON\n")
    with pytest.raises(InputError, match=r"metrics.jsonl:1: not valid JSON"):  # a finished run does not get better
        follow().watched(folder)
    for seconds in ("0", "-1", "nan", "inf"):
        assert main(["report", str(folder), "--watch", seconds]) == 2


def test_the_state_of_a_run_changes_with_its_files_and_not_with_its_page(tmp_path: Path) -> None:
    folder = make_asked(tmp_path / "run", ALL, {"a": (["happy"], ["happy"])})
    before = state_of([folder])
    (folder / "report.html").write_text("x")
    assert state_of([folder]) == before
    add(folder / "predictions.jsonl", "\n")
    assert state_of([folder]) != before


def test_a_page_stands_when_what_loads_it_again_is_gone() -> None:
    assert standing("a<!--live--><script>\nx</script><!--/live-->b<!--live-->c<!--/live-->d") == "abd"
    assert standing("nothing") == "nothing"


@pytest.mark.slow
def test_ctrl_c_ends_it_with_status_0_and_a_page_that_stands(tmp_path: Path) -> None:
    folder = make_training(tmp_path / "run", 2)
    command = [sys.executable, "-m", "mer_r1", "report", str(folder), "--watch", "1"]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a job in the background ignores it
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            assert process.stdout.readline().strip() == str(folder / "report.html")
            process.send_signal(signal.SIGINT)
            assert process.wait(60) == 0
            assert (process.stdout.read(), process.stderr.read()) == ("", "")
        finally:
            process.kill()
    assert "<!--live-->" not in (folder / "report.html").read_text()


@pytest.mark.slow
def test_an_open_page_loads_itself_again_where_the_reader_is_and_interrupts_nobody(
    driver: WebDriver, tmp_path: Path
) -> None:
    folder = make_training(make_asked(tmp_path / "run", ALL, {"a": (["happy"], ["happy"])}), 2)
    path, choice = folder / "report.html", PageChoice(refresh_s=1.0)
    write_choice([folder], path, choice)
    page = Page(driver).open(path)
    page.size(1280, 500)
    page.js("document.querySelector('.view-2 details').open = true; document.getElementById('wheel-2').click()")
    page.js("document.getElementById('sb-q').focus(); window.old = true")
    time.sleep(2.5)
    assert page.js("return window.old") is True  # who writes is not interrupted
    page.js("document.activeElement.blur(); document.getElementById('training').scrollIntoView({behavior: 'instant'})")
    top = "return document.getElementById('training').getBoundingClientRect().top"
    before = page.js(top)
    add(folder / "metrics.jsonl", json.dumps({"step": 3, "loss": 1 / 3}) + "\n")
    write_choice([folder], path, choice)
    loss = "return document.querySelector('#training ~ .grid svg')?.getAttribute('aria-label') ?? ''"
    page.wait(lambda: "from 1 to 0.333" in page.js(loss))
    assert page.js("return window.old") is None
    page.wait(lambda: abs(page.js(top) - before) < 3)
    assert page.js("return document.getElementById('wheel-2').checked") is True
    assert page.js("return document.querySelector('.view-2 details').open") is True
    assert page.text("#live").startswith("Live. This run is not finished.")
    write_choice([folder], path, PageChoice())
    page.wait(lambda: page.text("#live") == "")
    assert page.count() == 2
