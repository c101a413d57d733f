"""Fetching the published tables: checked, whole or not at all, and every failure in one line. The server is local."""

from __future__ import annotations

import http.server
import re
import socket
import threading
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path

import pytest

from mer_r1.emotion import download as download_module
from mer_r1.emotion import official
from mer_r1.emotion.download import BASE_URLS, Fetched, download
from mer_r1.emotion.official import PINNED
from mer_r1.emotion.tables import FILES
from mer_r1.emotion.wheel import WheelSet
from mer_r1.errors import InputError
from tests.small_tables import write_tables

Answer = Callable[[http.server.BaseHTTPRequestHandler], None]


class Server(http.server.ThreadingHTTPServer):
    """Serves bytes by path, counts what it is asked for, and answers in another way where it should."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.answers: dict[str, Answer] = {}
        self.asked: list[str] = []

    @property
    def urls(self) -> dict[str, str]:
        return {name: f"http://127.0.0.1:{self.server_address[1]}/{name}" for name in PINNED}


class Handler(http.server.BaseHTTPRequestHandler):
    """One answer of the server."""

    server: Server

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        if self.path in self.server.answers:
            self.server.answers[self.path](self)
        elif self.path in self.server.files:
            send(self, self.server.files[self.path])
        else:
            self.send_error(404)

    def log_message(self, format: str, *arguments: object) -> None:
        """Says nothing."""


def send(handler: http.server.BaseHTTPRequestHandler, body: bytes, length: int | None = None) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(body) if length is None else length))
    handler.end_headers()
    handler.wfile.write(body)


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server of small tables in the place of the published ones, and the cache folder in tmp_path."""
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(official, "user_folder", lambda: tmp_path / "cache")
    first, second = write_tables(tmp_path / "a"), write_tables(tmp_path / "b", formats={"hot": "hot,heated"})
    contents = {file: (first / file).read_bytes() for file in FILES}
    revised = (second / "format.csv").read_bytes()
    hashes = {file: sha256(data).hexdigest() for file, data in contents.items()}
    pinned = {"official": hashes, "mer2026": hashes | {"format.csv": sha256(revised).hexdigest()}}
    monkeypatch.setattr(official, "PINNED", pinned)
    monkeypatch.setattr(download_module, "PINNED", pinned)
    served = Server()
    served.files = {f"/official/{file}": data for file, data in contents.items()} | {"/mer2026/format.csv": revised}
    thread = threading.Thread(target=served.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield served
    served.shutdown()
    served.server_close()
    thread.join()


def how(fetched: Iterator[Fetched]) -> dict[str, str]:
    return {f"{item.path.parent.name}/{item.path.name}": item.how for item in fetched}


def error_of(server: Server, names: tuple[str, ...] = ("official",), folder: Path | None = None) -> str:
    with pytest.raises(InputError) as caught:
        list(download(names, folder, server.urls))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_both_sets_come_into_the_cache_and_load_from_there(server: Server, tmp_path: Path) -> None:
    found = how(download(["official", "mer2026"], base_urls=server.urls))
    assert found == {f"official/{file}": "fetched" for file in FILES} | {
        f"mer2026/{file}": "fetched" if file == "format.csv" else "copied" for file in FILES
    }
    assert server.asked == [*(f"/official/{file}" for file in FILES), "/mer2026/format.csv"]
    folder = tmp_path / "cache" / "wheels"
    assert sorted(path.name for path in (folder / "official").iterdir()) == sorted(FILES)
    assert (WheelSet.load("official").source, WheelSet.load("mer2026").source) == ("official", "mer2026")
    assert not WheelSet.load("official").reaches("heated")
    assert WheelSet.load("mer2026").reaches("heated")


def test_one_set_alone_fetches_what_it_shares_with_the_other(server: Server) -> None:
    assert set(how(download(["mer2026"], base_urls=server.urls)).values()) == {"fetched"}
    assert sorted(server.asked) == sorted(["/mer2026/format.csv", *(f"/official/{file}" for file in FILES[1:])])


def test_right_files_are_left_alone_and_wrong_ones_in_the_cache_are_replaced(server: Server, tmp_path: Path) -> None:
    list(download(["official"], base_urls=server.urls))
    server.asked.clear()
    assert set(how(download(["official"], base_urls=server.urls)).values()) == {"there already"}
    assert server.asked == []
    path = tmp_path / "cache" / "wheels" / "official" / "wheel2.xlsx"
    path.write_bytes(b"damaged")
    assert how(download(["official"], base_urls=server.urls))["official/wheel2.xlsx"] == "fetched"
    assert server.asked == ["/official/wheel2.xlsx"]
    assert path.read_bytes() == server.files["/official/wheel2.xlsx"]


def test_a_folder_of_the_users_own_takes_them_and_keeps_its_own_files(server: Server, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    list(download(["mer2026"], folder, server.urls))
    assert WheelSet.load(str(folder / "mer2026")).source == "mer2026"
    assert not (tmp_path / "cache").exists() or not (tmp_path / "cache" / "wheels").exists()
    path = folder / "mer2026" / "format.csv"
    path.write_text("my own work")
    line = error_of(server, ("mer2026",), folder)
    assert line.startswith(f"{path}: in the way, for it is not the published file; move it or give another folder")
    assert path.read_text() == "my own work"


def test_an_unknown_name_is_refused_before_anything_is_fetched(server: Server) -> None:
    assert (
        error_of(server, ("official", "builtin")) == "wheels 'builtin' cannot be fetched; use one of: official, mer2026"
    )
    assert server.asked == []


def answer_with(status: int, **headers: str) -> Answer:
    def answer(handler: http.server.BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return answer


def hang_up(handler: http.server.BaseHTTPRequestHandler) -> None:
    handler.connection.shutdown(socket.SHUT_RDWR)


def nonsense(handler: http.server.BaseHTTPRequestHandler) -> None:
    handler.wfile.write(b"\x00\x01 nonsense\r\n\r\n")


def be_silent(handler: http.server.BaseHTTPRequestHandler) -> None:
    threading.Event().wait(1.5)


def drip(handler: http.server.BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.end_headers()
    for _ in range(40):
        handler.wfile.write(b"x")
        threading.Event().wait(0.05)


FAULTS: dict[str, tuple[Answer, str]] = {
    "missing": (answer_with(404), r"\(status 404\)"),
    "forbidden": (answer_with(403), r"\(status 403\)"),
    "broken": (answer_with(500), r"\(status 500\)"),
    "a loop": (answer_with(302, Location="/official/wheel1.xlsx"), r"\(status 302\)"),
    "to a file": (answer_with(302, Location="file:///etc/hostname"), r"\(status 302\)"),
    "to ftp": (answer_with(302, Location="ftp://127.0.0.1:9/x"), r"unknown url type: ftp"),
    "to data": (answer_with(302, Location="data:text/plain,x"), r"\(status 302\)"),
    "hung up": (hang_up, r"\(Remote end closed connection without response\)"),
    "nonsense": (nonsense, r"not fetched from .* \(.+\)"),
    "silence": (be_silent, r"\(timed out\)"),
    "slow": (drip, r"\((too slow|timed out)\)"),
    "another file": (
        lambda handler: send(handler, b"hello"),
        r"another file than .* \(SHA-256 2cf24dba5fb0\.\.\., not ",
    ),
    "cut": (lambda handler: send(handler, b"hello", 500), r"another file than|not fetched from"),
    "too large": (lambda handler: send(handler, bytes(300_000)), r"\(larger than 0 MB\)"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", FAULTS)
def test_a_file_that_cannot_be_had_is_named_with_address_and_way_out(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(download_module, "TIMEOUT_S", 0.2 if name in ("silence", "slow") else 10.0)
    monkeypatch.setattr(download_module, "MAX_FILE_BYTES", 200_000)
    answer, message = FAULTS[name]
    server.answers["/official/wheel1.xlsx"] = answer
    line = error_of(server)
    folder = tmp_path / "cache" / "wheels" / "official"
    assert line.startswith("wheel1.xlsx: ")
    assert re.search(message, line), line
    assert f"{server.urls['official']}/wheel1.xlsx" in line
    rest = "wheel1.xlsx, wheel2.xlsx, wheel3.xlsx, wheel4.xlsx, wheel5.xlsx"
    assert f"put {rest} into {folder} by hand (docs/wheels.md has the addresses)" in line
    assert line.endswith("--wheels DIR")
    assert sorted(path.name for path in folder.iterdir()) == ["format.csv", "synonym.xlsx"]


def test_redirects_within_http_are_followed(server: Server) -> None:
    server.files["/elsewhere"] = server.files["/official/wheel1.xlsx"]
    server.answers["/official/wheel1.xlsx"] = answer_with(301, Location="/elsewhere")
    assert how(download(["official"], base_urls=server.urls))["official/wheel1.xlsx"] == "fetched"
    assert "/elsewhere" in server.asked


@pytest.mark.parametrize("url", ["file:///etc", "ftp://127.0.0.1:9", "data:text/plain,x"])
def test_an_address_that_is_not_http_is_not_opened(server: Server, url: str) -> None:
    with pytest.raises(InputError, match=f"not fetched from {url}.*unknown url type"):
        list(download(["official"], base_urls={"official": url, "mer2026": url}))


def test_without_a_network_one_line_says_so(server: Server) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(InputError, match=rf"format.csv: not fetched from {url}/format.csv \(.*refused\); put format"):
        list(download(["official"], base_urls={"official": url}))


def test_the_addresses_are_those_of_one_commit() -> None:
    assert set(BASE_URLS) == {"official", "mer2026"}
    for url in BASE_URLS.values():
        assert re.fullmatch(
            r"https://raw\.githubusercontent\.com/zeroQiaoba/\w+/[0-9a-f]{40}/[\w/]+/emotion_wheel", url
        )
