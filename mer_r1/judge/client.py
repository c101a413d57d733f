"""Questions to a judging model at a chat endpoint (chat.py): one question, one answer kept in a cache, or an error.

Convention: an answer is a text that the model finished (finish_reason neither "length" nor "content_filter"); anything
else is a `JudgeError`, so that a failure never becomes a score.

The cache is one sqlite file: sha256 of (model, messages, temperature, and top_p where it is given) -> answer. The
address is not part of the key, so one model served in two places shares answers. Questions are not stored, nor is the
API key.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import threading
from collections.abc import Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import closing
from pathlib import Path
from typing import Any

from mer_r1.judge.chat import ChatClient, ChatError, Messages

JudgeError = ChatError
"""The judge gave no answer. The message is one line and never holds the API key."""


def load_prompt(name: str) -> str:
    """The text of `prompts/NAME.txt`, without the line end it closes with."""
    return (Path(__file__).parent / "prompts" / f"{name}.txt").read_text(encoding="utf-8").rstrip("\n")


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
            raise self._error(error) from None
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
            raise self._error(error) from None

    def _error(self, error: sqlite3.Error) -> JudgeError:
        fix = "free some space" if "full" in str(error) else "give another file, or delete it"
        return JudgeError(f"{self._path}: no usable cache of judge answers ({error}); {fix}")


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
        top_p: float | None = None,
        num_workers: int = 8,
        backoff_s: float = 1.0,
    ) -> None:
        """`url`, `key_env`, `timeout_s`, `retries` and `backoff_s` are those of `ChatClient`.

        `num_workers` (1 to 64) requests run at a time in `ask_all`.

        Raises JudgeError for an address, number, key or cache that cannot be used.
        """
        self._chat = ChatClient(
            url,
            model,
            who="judge",
            key_env=key_env,
            timeout_s=timeout_s,
            retries=retries,
            num_workers=num_workers,
            backoff_s=backoff_s,
        )
        self.model = model
        self.url = self._chat.url
        self._sampling = {"temperature": temperature} | ({} if top_p is None else {"top_p": top_p})
        self._num_workers = num_workers
        self._cache = None if cache is None else AnswerCache(cache)

    def __enter__(self) -> JudgeClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End waits and requests under way, close connections and cache."""
        self._chat.close()
        if self._cache is not None:
            self._cache.close()

    def ask(self, messages: Messages, stopped: threading.Event | None = None) -> str:
        """The model's answer as it wrote it, from the cache where it is there; `stopped` ends the tries.

        Raises JudgeError.
        """
        key = self.key(messages)
        if self._cache is not None and (kept := self._cache.get(key)) is not None:
            return kept
        reply = self._chat.ask(messages, self._sampling, stopped)
        if reply.finish_reason in ("length", "content_filter"):
            raise self._chat.unfinished(reply.finish_reason)
        if self._cache is not None:
            self._cache.put(key, self.model, reply.text)
        return reply.text

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
                    futures[key] = pool.submit(self.ask, messages, stopped)
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
        """The cache's key of a question: sha256 of the model, the messages and how it is sampled."""
        parts = [self.model, [dict(message) for message in messages], *self._sampling.values()]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
