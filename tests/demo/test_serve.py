"""The served page: what is asked of the net, what a client may send, and what comes back over HTTP."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import pytest

from mer_r1.data.sample import MODES
from mer_r1.demo import serve
from mer_r1.demo.address import is_loopback, require_address
from mer_r1.demo.model import DemoModel
from mer_r1.demo.page import UPLOAD_FIRST
from mer_r1.demo.serve import PageRules
from mer_r1.demo.uploads import MAX_UPLOAD_MB, Uploads
from mer_r1.errors import InputError
from tests.demo.scripted import WRONG
from tests.media.make_media import gray_frames, tone, write_media

httpx = pytest.importorskip("httpx")


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("media") / "film.mp4"
    return write_media(path, frames=gray_frames(4), sound=tone(0.5, 16_000))


def upload(address: str, path: Path) -> str:
    """Upload as curl does; the path that the server gives the file."""
    with path.open("rb") as handle:
        reply = httpx.post(f"{address}gradio_api/upload", files={"files": (path.name, handle)})
    reply.raise_for_status()
    return str(reply.json()[0])


def call(address: str, clip: Any, *more: Any) -> tuple[str, Any]:
    """The named call as curl makes it: (event, data) at its end."""
    data = {"data": [clip, *(more or ("", "both", ""))]}
    started = httpx.post(f"{address}gradio_api/call/predict", json=data)
    started.raise_for_status()
    text = httpx.get(f"{address}gradio_api/call/predict/{started.json()['event_id']}", timeout=30).text
    event, _, rest = text.strip().rpartition("event: ")[2].partition("\ndata: ")
    return event, json.loads(rest)


def file_data(path: str) -> dict[str, Any]:
    return {"path": path, "meta": {"_type": "gradio.FileData"}}


def test_the_call_gives_the_rows_of_predict(served: str, film: Path) -> None:
    event, data = call(served, file_data(upload(served, film)), "Well done.", "both", "")
    assert event == "complete"
    fast, slow = data[0]
    assert (fast["id"], fast["mode"], fast["labels"]) == ("film", "fast", ["happy"])
    assert (slow["id"], slow["mode"], slow["labels"]) == ("film", "slow", ["happy", "calm"])
    assert fast["media"]["audio_s"] == pytest.approx(0.5, abs=0.05)
    (row,) = call(served, None, "Well.", "slow", "")[1][0]
    assert (row["id"], row["mode"]) == ("words", "slow")


def test_a_client_reaches_uploaded_files_alone(served: str, film: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret.mp4"
    secret.write_bytes(film.read_bytes())
    name = upload(served, film)
    for refused in (str(secret), "http://127.0.0.1:9/film.mp4", "file:///etc/passwd", "/etc/passwd", "../secret.mp4"):
        assert call(served, file_data(refused))[0] == "error", refused
    assert call(served, {**file_data(name), "path": str(secret), "url": name})[0] == "error"
    for path in (str(secret), "/etc/passwd", serve.__file__, str(Path.cwd() / "pyproject.toml")):
        assert httpx.get(f"{served}gradio_api/file={path}").status_code in (403, 404)
    assert httpx.get(f"{served}gradio_api/file={name}").status_code == 200


def test_what_is_wrong_comes_back_as_one_line(served: str, tmp_path: Path) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no film")
    event, data = call(served, file_data(upload(served, broken)))
    assert event == "error"
    assert str(data["error"]).startswith("broken.mp4: is not a media file")
    event, data = call(served, None, "gone", "both", "")
    assert (event, data["error"]) == ("error", str(WRONG))


def test_what_a_client_leaves_empty_has_its_default(served: str) -> None:
    event, data = call(served, None, "Well.", None, None)
    assert (event, [row["mode"] for row in data[0]]) == ("complete", list(MODES))
    event, data = call(served, None, None, "both", "")
    assert (event, data["error"]) == ("error", "nothing to answer: drop a file, record one, or type the words")


def test_a_file_that_was_not_uploaded_is_refused_with_what_to_do_and_no_traceback(
    served: str, server_log: Path, film: Path
) -> None:
    gradio_client = pytest.importorskip("gradio_client")
    for given in (str(film), file_data("/etc/passwd")):
        event, data = call(served, given)
        assert (event, data["error"]) == ("error", UPLOAD_FIRST)
    event, data = call(served, None, "Well.", "loud", "")
    assert event == "error"
    assert "loud" in data["error"]
    with pytest.raises(gradio_client.exceptions.AppError, match="handle_file"):
        gradio_client.Client(served, verbose=False).predict(clip=str(film), api_name="/predict")
    assert server_log.read_text() == ""


def test_gradios_client_makes_the_same_call(served: str, film: Path) -> None:
    gradio_client = pytest.importorskip("gradio_client")
    client = gradio_client.Client(served, verbose=False)
    rows = client.predict(clip=gradio_client.handle_file(str(film)), api_name="/predict")
    assert [row["mode"] for row in rows] == list(MODES)
    named = client.view_api(return_format="dict")["named_endpoints"]
    assert list(named) == ["/predict"]
    assert named["/predict"]["description"].startswith("The predictions of a clip")


def test_the_page_keeps_the_browser_from_any_other_address(served: str) -> None:
    reply = httpx.get(served)
    policy = reply.headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "connect-src 'self' data: blob:" in policy
    assert reply.headers["x-content-type-options"] == "nosniff"
    config = json.loads(reply.text.partition("window.gradio_config = ")[2].partition(";</script>")[0])
    assert config["analytics_enabled"] is False
    assert config["run_history"] is False
    assert config["max_file_size"] == MAX_UPLOAD_MB * 2**20


@pytest.mark.parametrize(
    ("path", "is_full", "status"), [("/upload", True, 507), ("/upload", False, 200), ("/", True, 200)]
)
def test_a_full_folder_takes_no_more_uploads(path: str, is_full: bool, status: int) -> None:
    class Folder:
        def is_full(self) -> bool:
            return is_full

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"x", b"y")]})

    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(PageRules(app, cast(Uploads, Folder()))({"type": "http", "path": path}, None, send))
    assert sent[0]["status"] == status
    assert b"content-security-policy" in dict(sent[0]["headers"])


def test_a_host_or_port_that_cannot_be_bound_is_named_before_anything_is_loaded() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match=rf"--host 127\.0\.0\.1 --port {port}: cannot be bound"):
            require_address("127.0.0.1", port)
    require_address("127.0.0.1", None)
    with pytest.raises(InputError, match="--port 0: give a number"):
        require_address("127.0.0.1", 0)
    with pytest.raises(InputError, match=r"--host 203\.0\.113\.7: cannot be bound"):
        require_address("203.0.113.7", None)
    for name in ("a..b", "a" * 70):  # no name of a host, which Python says by a UnicodeError
        with pytest.raises(InputError, match=rf"--host {name[:20]}.*: cannot be bound"):
            require_address(name, None)


@pytest.mark.parametrize(("host", "is_warned"), [("0.0.0.0", True), ("127.0.0.1", False)])
def test_a_host_that_others_reach_is_warned_of(
    host: str, is_warned: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    @contextmanager
    def serving(*_: object) -> Iterator[str]:
        yield f"http://{host}:7860/"

    class Interrupted:
        def wait(self) -> None:
            raise KeyboardInterrupt

    monkeypatch.setattr(serve, "serving", serving)
    monkeypatch.setattr("mer_r1.demo.serve.threading.Event", Interrupted)
    monkeypatch.setattr("mer_r1.demo.serve.signal.signal", lambda *_: None)
    with pytest.raises(KeyboardInterrupt):
        serve.serve(cast(DemoModel, None), host)
    printed = capsys.readouterr()
    assert printed.out == f"http://{host}:7860/  (Ctrl-C ends it)\n"
    assert printed.err.startswith(f"mer-r1: warning: --host {host}: whoever reaches this machine") == is_warned


def test_only_this_machine_reaches_a_loopback_address() -> None:
    assert all(map(is_loopback, ("127.0.0.1", "::1", "localhost", "127.3.2.1")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "192.168.0.2", "example.org")))
