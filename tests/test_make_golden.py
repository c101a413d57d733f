"""`make golden` without a network and with wrong files, and the inputs that it draws. Nothing is downloaded."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import golden, make_golden
from tests.golden_cases import Words, cases
from tests.official_code import CODE

DEAD = "http://127.0.0.1:1"
ROOTS = [f"word{number}" for number in range(30)] + ["let-down", "at odds"]
FAMILIES = {root: [root, f"{root}s", f"{root}ly", f"{root}ness"] for root in ROOTS}
FORMS = [form for forms in FAMILIES.values() for form in forms]
WORDS = Words(FORMS, FORMS[:8], FORMS[8:16], FORMS[16:24], FAMILIES)


class Other(http.server.BaseHTTPRequestHandler):
    """Answers every address with a file that is not the published one."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"import shutil")

    def log_message(self, format: str, *arguments: object) -> None:
        """Says nothing."""


@pytest.fixture
def other(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a server of other files."""
    monkeypatch.setenv("no_proxy", "*")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Other) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def error_line(folder: Path, host: str, capsys: pytest.CaptureFixture[str]) -> str:
    assert make_golden.main(["--folder", str(folder), "--host", host]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert not [path for path in folder.rglob("*") if path.is_file()]
    return line


def test_without_a_network_it_is_one_line_that_says_what_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("no_proxy", "*")
    line = error_line(tmp_path, DEAD, capsys)
    assert line.startswith(f"make golden: error: {next(iter(CODE))}: not fetched from {DEAD}/zeroQiaoba/AffectGPT/")
    assert "`make golden` needs the network once" in line


def test_code_that_is_not_the_published_one_is_refused_and_never_kept(
    tmp_path: Path, other: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "gave another file than the published one (SHA-256 " in error_line(tmp_path, other, capsys)


def test_what_is_missing_is_skipped_with_the_command_that_makes_it_and_fails_in_ci(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(golden, "ROOTS", (tmp_path,))
    monkeypatch.delenv("CI", raising=False)
    for find in (golden.load_golden, golden.shared_wheels):
        with pytest.raises(pytest.skip.Exception, match="`make golden` makes them"):
            find()
    monkeypatch.setenv("CI", "true")
    with pytest.raises((pytest.fail.Exception, pytest.skip.Exception), match="`make golden` makes them") as caught:
        golden.load_golden()
    assert caught.type is pytest.fail.Exception


def test_cases_follow_from_the_seed_alone_and_have_names_of_their_own() -> None:
    drawn = cases(WORDS, seed=1)
    assert drawn == cases(WORDS, seed=1) != cases(WORDS, seed=2)
    assert len({case.id for case in drawn}) == len(drawn) > 1000
