"""What the endpoint of these tests says, well and badly, and how many requests it works on at a time."""

from __future__ import annotations

import base64
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mer_r1.data.sample import Sample
from mer_r1.generation.endpoint import EndpointGenerator
from mer_r1.judge import chat
from tests.judge.endpoint import Reply, Script, says

ANSWER = "<think>She smiles.</think><answer>happy, calm</answer>"

# Replies that are no answer: what a test names them by, the reply, and a part of the message of the row.
BAD: list[tuple[str, Reply, str]] = [
    ("not JSON", Reply(body=b"<html>hello</html>"), "no chat completion"),
    ("no choices", Reply(body=b'{"choices": []}'), "no chat completion"),
    ("no text", says(None), "no finished text"),
    ("refused", Reply(400, b'{"error": "prompt is too long"}'), "status 400 .*prompt is too long"),
    ("broken", Reply(500, b"out of memory"), r"status 500 \(out of memory\) \(asked 2 times\)"),
    ("busy", Reply(429), r"status 429 .*asked 2 times"),
    ("cut", Reply(body=b'{"choi', headers={"Content-Length": "1000"}), "no connection"),
    ("garbage", Reply(0), "no connection"),
    ("bad gzip", Reply(body=b"nothing", headers={"Content-Encoding": "gzip"}), "cannot be unpacked"),
    ("huge", Reply(body=b" " * (17 * 2**20)), "longer than 16 MiB"),
    ("withheld", says(ANSWER, "content_filter"), "withheld"),
    ("no numbers", says("!" * 40, "length"), "the served model's scores are no numbers"),
]


def identity(body: dict[str, Any]) -> str:
    """The sample that a request is about: the tests write its id as the subtitle."""
    text = str(next(message for message in body["messages"] if message["role"] == "user")["content"][-1]["text"])
    return text.partition("<Subtitle>")[2].partition("</Subtitle>")[0]


def parts(body: dict[str, Any]) -> dict[str, str]:
    """The media of a request: kind of part -> its address, in order."""
    user = next(message for message in body["messages"] if message["role"] == "user")
    return {part["type"]: part[part["type"]]["url"] for part in user["content"] if part["type"] != "text"}


def bytes_of(url: str) -> tuple[str, bytes]:
    """Kind and content of a data URL."""
    head, _, data = url.partition(";base64,")
    return head.removeprefix("data:"), base64.b64decode(data, validate=True)


def wave_of(url: str) -> tuple[int, NDArray[np.float32]]:
    """Rate and samples, in [-1, 1], of a mono wav of floats in a data URL."""
    kind, data = bytes_of(url)
    assert kind == "audio/wav"
    assert data[:16] == b"RIFF" + (len(data) - 8).to_bytes(4, "little") + b"WAVEfmt "
    kind_of_number, channels, rate = struct.unpack("<HHI", data[20:28])
    assert (kind_of_number, channels) == (3, 1)
    return rate, np.frombuffer(data.partition(b"data")[2][4:], "<f4")


class Gauge:
    """A script around another that keeps how many requests were under way at once."""

    def __init__(self, script: Script, seconds: float = 0.0) -> None:
        self.most = 0
        self._now = 0
        self._lock = threading.Lock()
        self._script, self._seconds = script, seconds

    def __call__(self, number: int, body: dict[str, Any]) -> Reply:
        with self._lock:
            self._now += 1
            self.most = max(self.most, self._now)
        time.sleep(self._seconds)
        with self._lock:
            self._now -= 1
        return self._script(number, body)


@contextmanager
def hanging(accepted: Callable[[], None] = lambda: None) -> Iterator[str]:
    """The address of a server that takes requests and never says a word."""
    server = socket.create_server(("127.0.0.1", 0))
    taken: list[socket.socket] = []

    def take() -> None:
        while True:
            try:
                taken.append(server.accept()[0])
            except OSError:
                return
            accepted()

    thread = threading.Thread(target=take)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.getsockname()[1]}/v1"
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()
        thread.join()
        for connection in taken:
            connection.close()


def texts(num: int) -> list[Sample]:
    """Samples of words alone, the id in the subtitle."""
    return [Sample(f"clip {number}", subtitle=f"clip {number}") for number in range(num)]


def generator(url: str, **options: Any) -> EndpointGenerator:
    return EndpointGenerator(url, "omni-7b", **{"retries": 1, "timeout_s": 5.0} | options)


def answer(number: int, body: dict[str, Any]) -> Reply:
    return says(ANSWER)


def be_quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No long wait between tries."""
    monkeypatch.setattr(chat, "MAX_WAIT_S", 0.01)
