"""One question to an OpenAI-compatible chat endpoint, sent until it is answered or cannot be.

    POST {url}/chat/completions  {"model", "messages", "stream": false, ...}  ->  choices[0].message.content

With `stream` true the same text comes in pieces (events.py); a server that gives it whole all the same is understood.

Convention: busy (408, 409, 429) and broken servers (5xx), time-outs and lost connections are tried again, `retries`
times, after 1, 2, 4, ... seconds (at most 30, or what Retry-After says); other statuses and unreadable replies are not.
A reply is read up to MAX_REPLY_BYTES. The API key is read from the environment variable that the caller names; it goes
into the request's header and nowhere else.
"""

from __future__ import annotations

import json
import os
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from mer_r1.errors import InputError
from mer_r1.judge.events import BrokenStreamError, whole_reply
from mer_r1.text import printable

if TYPE_CHECKING:
    import httpx

Messages = Sequence[Mapping[str, Any]]
"""A conversation in order: `{"role": "system" | "user" | "assistant", "content": text or a list of content parts}`."""

PATH = "/chat/completions"
BUSY = (408, 409, 429)
ONE_REQUEST = (400, 413, 415, 422)  # what a server says of one request; other statuses below 500 are said of all
MAX_WAIT_S = 30.0
MAX_CONNECT_S = 10.0
MAX_WORKERS = 64
MAX_REPLY_BYTES = 16 * 2**20
PIECE_BYTES = 2**16


class ChatError(InputError):
    """No answer came. The message is one line and never holds the API key.

    `of_all` says that every other question fails in the same way (address, model or key are wrong), `of_one` that the
    server refused this one request and may answer others, `unreachable` that no connection could be made.
    """

    def __init__(self, message: str, *, of_all: bool = False, of_one: bool = False, unreachable: bool = False) -> None:
        super().__init__(message)
        self.of_all = of_all
        self.of_one = of_one
        self.unreachable = unreachable


class _PassingError(ChatError):
    """A failure that may be gone at the next try; `wait_s` is what the server asks for."""

    def __init__(self, message: str, wait_s: float | None = None, *, unreachable: bool = False) -> None:
        super().__init__(message, unreachable=unreachable)
        self.wait_s = wait_s


@dataclass(frozen=True)
class ChatReply:
    """What the model wrote, and the server's word for why it stopped ("stop", "length", "content_filter", ...).

    `ended_by_model`: the server tells a stop text from the model's own end (`stop_reason`, as vLLM): the latter.
    `body` is the whole reply, for what a server says beyond the API.
    """

    text: str
    finish_reason: str | None
    ended_by_model: bool = False
    body: Mapping[str, Any] = field(default_factory=dict, repr=False)


class ChatClient:
    """Asks one model. Safe for threads; a context manager that ends all requests and closes their connections."""

    def __init__(
        self,
        url: str,
        model: str,
        *,
        who: str,
        key_env: str | None = None,
        timeout_s: float = 60.0,
        retries: int = 4,
        num_workers: int = 8,
        backoff_s: float = 1.0,
    ) -> None:
        """`url` is the API's base (such as http://localhost:8000/v1), with or without /chat/completions.

        `who` names the endpoint in messages ("judge"). `key_env` names the environment variable that holds the API key
        (None: no key is sent). `timeout_s` bounds each wait for the server and the reading of a reply; `backoff_s` is
        the first wait before another try; `num_workers` (1 to 64) is only checked, for the caller's threads.

        Raises ChatError for an address, name, number or key that cannot be used.
        """
        if not model.strip():
            raise ChatError(f"the {who}'s model has no name; give the name that the endpoint serves it by")
        if not (timeout_s > 0 and retries >= 0 and 1 <= num_workers <= MAX_WORKERS and backoff_s >= 0):
            raise ChatError(f"{who}: give timeout_s above 0, retries from 0, and num_workers from 1 to {MAX_WORKERS}")
        self.model = model
        self.url = _endpoint(url, who)
        self._who = who
        self._key = _api_key(key_env, who)
        self._timeout_s, self._retries, self._backoff_s = timeout_s, retries, backoff_s
        self._lock = threading.Lock()
        self._http: httpx.Client | None = None
        self._sockets: list[socket.socket] = []
        self._closed = threading.Event()

    def __enter__(self) -> ChatClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End waits between tries and requests under way (they fail in their threads), and close all connections."""
        self._closed.set()
        with self._lock:
            for connected in self._sockets:
                with suppress(OSError):  # the other side, or this one, has closed it already
                    connected.shutdown(socket.SHUT_RDWR)  # wakes a thread that waits for bytes, which closing does not
            self._sockets.clear()
            if self._http is not None:
                self._http.close()

    def ask(self, messages: Messages, fields: Mapping[str, Any], stopped: threading.Event | None = None) -> ChatReply:
        """The model's reply. `fields` stand beside model and messages in the request; `stopped` ends the tries.

        Raises ChatError.
        """
        return self.send(self.body(messages, fields), stopped)

    def body(self, messages: Messages, fields: Mapping[str, Any], *, stream: bool = False) -> bytes:
        """The request for `send`: who has large messages can let go of them before it is sent."""
        body = {"model": self.model, "messages": [dict(message) for message in messages], **fields, "stream": stream}
        # ASCII with escapes, for a word of a model may hold half a surrogate pair, which UTF-8 cannot.
        return json.dumps(body).encode("ascii")

    def send(
        self, body: bytes, stopped: threading.Event | None = None, wrote: Callable[[str], None] | None = None
    ) -> ChatReply:
        """The model's reply to a request, asked for until it is there or the tries are over. Raises ChatError.

        `wrote` is called with the text so far as a streamed reply comes; what it raises ends the request. A reply that
        breaks off is asked for anew, and its text begins anew.
        """
        stopped = self._closed if stopped is None else stopped
        for attempt in range(self._retries + 1):
            try:
                return self._request(body, wrote)
            except _PassingError as error:
                times = "once" if attempt == 0 else f"{attempt + 1} times"
                last = ChatError(
                    f"{error} (asked {times}); wait, or see what the server says", unreachable=error.unreachable
                )
                wait_s = error.wait_s if error.wait_s is not None else self._backoff_s * 2**attempt
                wait_s = min(wait_s * random.uniform(1.0, 1.25), MAX_WAIT_S)
            if attempt == self._retries or stopped.wait(wait_s) or self._closed.is_set():
                break
        raise last

    def _request(self, body: bytes, wrote: Callable[[str], None] | None) -> ChatReply:
        import httpx

        try:
            with self._connected().stream(
                "POST",
                self.url,
                content=_pieces(body),
                headers={"Content-Length": str(len(body))},
                extensions={"trace": self._keep_socket},
            ) as response:
                if wrote is not None and response.headers.get("content-type", "").startswith("text/event-stream"):
                    return self._streamed(response, wrote)
                return self._reply(response, self._read(response))
        except httpx.TimeoutException as error:
            lost = isinstance(error, httpx.ConnectTimeout)
            raise _PassingError(f"{self.url}: no answer within {self._timeout_s:g} s", unreachable=lost) from None
        except httpx.DecodingError:
            raise ChatError(f"{self.url}: the reply cannot be unpacked; check the {self._who}'s address") from None
        except httpx.TransportError as error:
            reason = self._safe(f"{type(error).__name__}: {error}")
            lost = isinstance(error, httpx.ConnectError | httpx.ProxyError)
            raise _PassingError(f"{self.url}: no connection ({reason})", unreachable=lost) from None

    def _read(self, response: httpx.Response) -> bytes:
        deadline = time.monotonic() + self._timeout_s
        said = bytearray()
        for piece in response.iter_bytes():
            said += piece
            if len(said) > MAX_REPLY_BYTES:
                raise self._too_long()
            if time.monotonic() > deadline:
                raise _PassingError(f"{self.url}: no whole answer within {self._timeout_s:g} s")
        return bytes(said)

    def _streamed(self, response: httpx.Response, wrote: Callable[[str], None]) -> ChatReply:
        if response.status_code != 200:
            return self._reply(response, self._read(response))
        try:
            return self._chat_reply(whole_reply(self._lines(response), wrote), "")
        except BrokenStreamError as error:
            if said := str(error):
                raise self._no_completion(self._safe(said)) from None
            raise _PassingError(f"{self.url}: the reply broke off") from None

    def _lines(self, response: httpx.Response) -> Iterator[str]:
        num_bytes, begun = 0, list[bytes]()
        for piece in response.iter_bytes():
            num_bytes += len(piece)
            if num_bytes > MAX_REPLY_BYTES:
                raise self._too_long()
            first, *more = piece.split(b"\n")
            begun.append(first)
            for line in more:
                yield b"".join(begun).decode("utf-8", "replace")
                begun = [line]
        yield b"".join(begun).decode("utf-8", "replace")

    def _too_long(self) -> ChatError:
        return ChatError(
            f"{self.url}: the reply is longer than {MAX_REPLY_BYTES // 2**20} MiB; check the {self._who}'s address"
        )

    def _no_completion(self, said: str) -> ChatError:
        return ChatError(f"{self.url}: the reply is no chat completion ({said}); check the {self._who}'s address")

    def _reply(self, response: httpx.Response, body: bytes) -> ChatReply:
        status = response.status_code
        text = self._safe(body[:4096].decode("utf-8", "replace"))
        said = f"{self.url}: status {status} ({text})"
        if status in BUSY or status >= 500:
            raise _PassingError(said, _seconds(response.headers.get("retry-after")))
        if status in (401, 403):
            raise ChatError(f"{said}; name the environment variable that holds a valid API key", of_all=True)
        if status != 200:
            one = status in ONE_REQUEST
            fix = f"check the {self._who}'s address and model: the base of the API, mostly …/v1, and the name there"
            raise ChatError(f"{said}; {fix}", of_all=not one, of_one=one)
        try:
            whole = json.loads(body)
        except (ValueError, RecursionError):
            whole = None
        return self._chat_reply(whole, text)

    def _chat_reply(self, whole: Any, said: str) -> ChatReply:
        try:
            choice = whole["choices"][0]
            content, reason = choice["message"]["content"], choice.get("finish_reason")
            ended_by_model = choice.get("stop_reason", "") is None
        except (LookupError, TypeError, AttributeError):
            raise self._no_completion(said) from None
        if not isinstance(content, str):
            raise self.unfinished(reason)
        written = content.encode("utf-8", "replace").decode("utf-8")
        return ChatReply(written, None if reason is None else str(reason), ended_by_model, whole)

    def unfinished(self, reason: object) -> ChatError:
        """The error for a reply without a finished text."""
        return ChatError(
            f"{self.url}: {printable(self.model)} gave no finished text "
            f"(finish_reason {printable(reason)}); use another"
        )

    def _connected(self) -> httpx.Client:
        import httpx

        with self._lock:
            if self._closed.is_set():
                raise ChatError(f"{self.url}: the {self._who} is closed; ask before closing")
            if self._http is None:
                headers = {"Content-Type": "application/json"}
                if self._key:
                    headers["Authorization"] = f"Bearer {self._key}"
                connect_s = min(self._timeout_s, MAX_CONNECT_S)
                self._http = httpx.Client(headers=headers, timeout=httpx.Timeout(self._timeout_s, connect=connect_s))
            return self._http

    def _keep_socket(self, event: str, facts: Mapping[str, Any]) -> None:
        """httpcore tells of every connection that is made; `close` needs them to wake the threads that wait there."""
        if not event.endswith(("connect_tcp.complete", "start_tls.complete")):
            return
        made = facts["return_value"].get_extra_info("socket")
        with self._lock:
            self._sockets = [kept for kept in self._sockets if kept.fileno() >= 0] + [made]
            if self._closed.is_set():
                with suppress(OSError):
                    made.shutdown(socket.SHUT_RDWR)

    def _safe(self, text: str) -> str:
        """What a server or library said, in one short line and without the API key."""
        return printable(text.replace(self._key, "***") if self._key else text)


def _pieces(body: bytes) -> Iterator[bytes]:
    """A large body as one piece would be copied again for every part of it that the network takes."""
    for start in range(0, len(body), PIECE_BYTES):
        yield body[start : start + PIECE_BYTES]


def _endpoint(url: str, who: str) -> str:
    try:
        parts = urlsplit(url.strip())
        host, _ = parts.hostname, parts.port
    except ValueError:
        host, parts = None, urlsplit("")
    if parts.scheme not in ("http", "https") or not host:
        raise ChatError(f"the {who}'s address is no web address; give the API's base, as http://localhost:8000/v1")
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise ChatError(f"the {who}'s address holds a user, a query or a fragment; give it without, and the key apart")
    return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/').removesuffix(PATH)}{PATH}"


def _api_key(key_env: str | None, who: str) -> str | None:
    """The key itself. Messages leave out the name too, for a key may have been given in its place."""
    if key_env is None:
        return None
    key = os.environ.get(key_env, "").strip()
    if not key:
        raise ChatError(f"the environment variable named for the {who}'s API key is not set; export it, or name none")
    if not (key.isascii() and key.isprintable()):
        raise ChatError(f"the {who}'s API key holds characters that no header may have; export it again")
    return key


def _seconds(retry_after: str | None) -> float | None:
    """Retry-After in seconds; None where it is absent or a date."""
    return float(retry_after) if retry_after and retry_after.isascii() and retry_after.isdigit() else None
