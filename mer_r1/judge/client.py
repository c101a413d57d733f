"""A client of any OpenAI-compatible chat endpoint: one question, one answer, kept in a cache, or an exception.

    POST {url}/chat/completions  {"model", "messages", "temperature", "stream": false}  ->  choices[0].message.content

Convention: an answer is a text that the model finished (finish_reason neither "length" nor "content_filter"); anything
else is a `JudgeError`, so that a failure never becomes a score. Busy (408, 409, 429) and broken servers (5xx),
time-outs and lost connections are tried again, `retries` times, after 1, 2, 4, ... seconds (at most 30, or what
Retry-After says); other statuses and unreadable replies are not.

The cache is one sqlite file: sha256 of (model, messages, temperature) -> answer. The address is not part of the key, so
one model served in two places shares answers. Questions are not stored. The API key is read from the environment
variable that the caller names; it goes into the request's header and nowhere else.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import sqlite3
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from mer_r1.errors import InputError
from mer_r1.manifest import shown

if TYPE_CHECKING:
    import httpx

Messages = Sequence[Mapping[str, str]]
"""A conversation: `{"role": "system" | "user" | "assistant", "content": text}`, in order."""

PATH = "/chat/completions"
BUSY = (408, 409, 429)
MAX_WAIT_S = 30.0
MAX_WORKERS = 64
_PROMPTS = Path(__file__).parent / "prompts"


class JudgeError(InputError):
    """The judge gave no answer. The message is one line and never holds the API key."""


class _PassingError(JudgeError):
    """A failure that may be gone at the next try; `wait_s` is what the server asks for."""

    def __init__(self, message: str, wait_s: float | None = None) -> None:
        super().__init__(message)
        self.wait_s = wait_s


def load_prompt(name: str) -> str:
    """The text of `prompts/NAME.txt`, without the line end it closes with."""
    return (_PROMPTS / f"{name}.txt").read_text(encoding="utf-8").rstrip("\n")


class AnswerCache:
    """Answers in one sqlite file; safe for threads, and for other processes on the same file."""

    def __init__(self, path: Path) -> None:
        """Open or make the file. Raises JudgeError where that cannot be done, or the file is something else."""
        self._path = path
        self._lock = threading.Lock()
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._connection = sqlite3.connect(path, timeout=30.0, check_same_thread=False)
        except sqlite3.Error as error:
            raise self._fault(error) from None
        try:
            self._run("CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, model TEXT, answer TEXT NOT NULL)")
            self.get("")
        except JudgeError:
            self._connection.close()
            raise

    def get(self, key: str) -> str | None:
        """The answer kept under `key`, or None."""
        rows = self._run("SELECT answer FROM answers WHERE key = ?", key)
        return str(rows[0][0]) if rows else None

    def put(self, key: str, model: str, answer: str) -> None:
        """Keep an answer; the first one of a key stays."""
        self._run("INSERT OR IGNORE INTO answers (key, model, answer) VALUES (?, ?, ?)", key, model, answer)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()

    def _run(self, statement: str, *values: str) -> list[Any]:
        try:
            with self._lock, self._connection, closing(self._connection.execute(statement, values)) as cursor:
                return cursor.fetchall()
        except sqlite3.Error as error:
            raise self._fault(error) from None

    def _fault(self, error: sqlite3.Error) -> JudgeError:
        return JudgeError(f"{self._path}: no usable cache of judge answers ({error}); give another file, or delete it")


class JudgeClient:
    """Asks one model. Safe for threads; a context manager that closes its connections and its cache."""

    def __init__(
        self,
        url: str,
        model: str,
        cache: Path | None = None,
        timeout_s: float = 60.0,
        retries: int = 4,
        *,
        key_env: str | None = None,
        temperature: float = 0.0,
        num_workers: int = 8,
        backoff_s: float = 1.0,
    ) -> None:
        """`url` is the API's base (such as http://localhost:8000/v1), with or without /chat/completions.

        `timeout_s` bounds each wait for the server. `key_env` names the environment variable that holds the API key
        (None: no key is sent). `num_workers` (1 to 64) requests run at a time in `ask_all`; `backoff_s` is the first
        wait before another try.

        Raises JudgeError for an address, number, key or cache that cannot be used.
        """
        if not model.strip():
            raise JudgeError("the judge's model has no name; give the name that the endpoint serves it by")
        if not (timeout_s > 0 and retries >= 0 and 1 <= num_workers <= MAX_WORKERS and backoff_s >= 0):
            raise JudgeError(f"judge: give timeout_s above 0, retries from 0, and num_workers from 1 to {MAX_WORKERS}")
        self.model = model
        self.url = _endpoint(url)
        self._timeout_s, self._retries, self._backoff_s = timeout_s, retries, backoff_s
        self._temperature, self._num_workers = temperature, num_workers
        self._key = _api_key(key_env)
        self._cache = None if cache is None else AnswerCache(cache)
        self._lock = threading.Lock()
        self._http: httpx.Client | None = None
        self._stopped = threading.Event()

    def __enter__(self) -> JudgeClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End waits between tries, close connections and cache."""
        self._stopped.set()
        with self._lock:
            if self._http is not None:
                self._http.close()
        if self._cache is not None:
            self._cache.close()

    def ask(self, messages: Messages) -> str:
        """The model's answer as it wrote it, from the cache where it is there. Raises JudgeError."""
        return self._ask(messages, self._stopped)

    def ask_all(self, conversations: Sequence[Messages]) -> list[str]:
        """The answers in order; equal conversations are asked once.

        Raises the JudgeError of the first that fails, and asks no more; answers that came before are in the cache.
        """
        keys = [self.key(messages) for messages in conversations]
        stopped = threading.Event()
        with ThreadPoolExecutor(self._num_workers, thread_name_prefix="judge") as pool:
            futures: dict[str, Future[str]] = {}
            for key, messages in zip(keys, conversations, strict=True):
                if key not in futures:
                    futures[key] = pool.submit(self._ask, messages, stopped)
            try:
                done, _ = wait(futures.values(), return_when=FIRST_EXCEPTION)
                failures = [error for future in done if (error := future.exception())]
                if failures:
                    raise failures[0]
            finally:
                stopped.set()
                pool.shutdown(wait=False, cancel_futures=True)
        return [futures[key].result() for key in keys]

    def key(self, messages: Messages) -> str:
        """The cache's key of a question: sha256 of the model, the messages and the temperature."""
        parts = [self.model, [dict(message) for message in messages], self._temperature]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def _ask(self, messages: Messages, stopped: threading.Event) -> str:
        key = self.key(messages)
        if self._cache is not None and (kept := self._cache.get(key)) is not None:
            return kept
        answer = self._try(messages, stopped)
        if self._cache is not None:
            self._cache.put(key, self.model, answer)
        return answer

    def _try(self, messages: Messages, stopped: threading.Event) -> str:
        for attempt in range(self._retries + 1):
            try:
                return self._request(messages)
            except _PassingError as error:
                times = "once" if attempt == 0 else f"{attempt + 1} times"
                last = JudgeError(f"{error} (asked {times}); wait, or see what the server says")
                wait_s = error.wait_s if error.wait_s is not None else self._backoff_s * 2**attempt
                wait_s = min(wait_s * random.uniform(1.0, 1.25), MAX_WAIT_S)
            if attempt == self._retries or stopped.wait(wait_s):
                break
        raise last

    def _request(self, messages: Messages) -> str:
        import httpx

        body = {
            "model": self.model,
            "messages": [dict(message) for message in messages],
            "temperature": self._temperature,
            "stream": False,
        }
        try:
            # ASCII with escapes, for a word of a model may hold half a surrogate pair, which UTF-8 cannot.
            response = self._connected().post(self.url, content=json.dumps(body).encode("ascii"))
        except httpx.TimeoutException:
            raise _PassingError(f"{self.url}: no answer within {self._timeout_s:g} s") from None
        except httpx.TransportError as error:
            reason = self._safe(f"{type(error).__name__}: {error}")
            raise _PassingError(f"{self.url}: no connection ({reason})") from None
        status = response.status_code
        said = f"{self.url}: status {status} ({self._safe(response.text)})"
        if status in BUSY or status >= 500:
            raise _PassingError(said, _seconds(response.headers.get("retry-after")))
        if status in (401, 403):
            raise JudgeError(f"{said}; name the environment variable that holds a valid API key")
        if status != 200:
            raise JudgeError(f"{said}; check the judge's address and model")
        return self._content(response)

    def _content(self, response: httpx.Response) -> str:
        try:
            choice = response.json()["choices"][0]
            content, reason = choice["message"]["content"], choice.get("finish_reason")
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            raise JudgeError(
                f"{self.url}: the reply is no chat completion ({self._safe(response.text)}); check the judge's address"
            ) from None
        if not isinstance(content, str) or reason in ("length", "content_filter"):
            raise JudgeError(
                f"{self.url}: {shown(self.model)} gave no finished text (finish_reason {shown(reason)}); use another"
            )
        return content.encode("utf-8", "replace").decode("utf-8")

    def _connected(self) -> httpx.Client:
        import httpx

        with self._lock:
            if self._http is None:
                headers = {"Content-Type": "application/json"}
                if self._key:
                    headers["Authorization"] = f"Bearer {self._key}"
                self._http = httpx.Client(headers=headers, timeout=self._timeout_s)
            return self._http

    def _safe(self, text: str) -> str:
        """What a server or library said, in one short line and without the API key."""
        return shown(text.replace(self._key, "***") if self._key else text)


def _endpoint(url: str) -> str:
    try:
        parts = urlsplit(url.strip())
        host, _ = parts.hostname, parts.port
    except ValueError:
        host, parts = None, urlsplit("")
    if parts.scheme not in ("http", "https") or not host:
        raise JudgeError("the judge's address is no web address; give the API's base, as http://localhost:8000/v1")
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise JudgeError("the judge's address holds a user, a query or a fragment; give it without, and the key apart")
    return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/').removesuffix(PATH)}{PATH}"


def _api_key(key_env: str | None) -> str | None:
    """The key itself. Messages leave out the name too, for a key may have been given in its place."""
    if key_env is None:
        return None
    key = os.environ.get(key_env, "").strip()
    if not key:
        raise JudgeError("the environment variable named for the judge's API key is not set; export it, or name none")
    if not (key.isascii() and key.isprintable()):
        raise JudgeError("the judge's API key holds characters that no header may have; export it again")
    return key


def _seconds(retry_after: str | None) -> float | None:
    """Retry-After in seconds; None where it is absent or a date."""
    return float(retry_after) if retry_after and retry_after.isascii() and retry_after.isdigit() else None
