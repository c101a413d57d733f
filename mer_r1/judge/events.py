"""A chat completion that comes as server-sent events, put together again.

    data: {"choices": [{"delta": {"content": "…"}, "finish_reason": null}]}     one a piece of text
    data: [DONE]

What is put together has the form of a whole reply, so both are read by the same code.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any


class BrokenStreamError(ValueError):
    """The events are no chat completion, or end before it does. The message says what came, or is empty."""


def whole_reply(lines: Iterable[str], wrote: Callable[[str], None]) -> dict[str, Any]:
    """The reply that the events tell piece by piece; `wrote` is called with the text so far after each piece.

    Fields beside the text (`finish_reason`, `stop_reason`, `token_ids`) are those of the first choice. Raises
    BrokenStreamError.
    """
    text, ids = "", list[int]()
    last: dict[str, Any] = {}
    for line in lines:
        name, _, data = line.partition(":")
        if name != "data" or not data.strip():
            continue
        if data.strip() == "[DONE]":
            break
        try:
            event = json.loads(data)
            choices = event["choices"]
            if not choices:  # such as the counts of tokens at the end
                continue
            choice = choices[0]
            piece = choice["delta"].get("content") or ""
            ids += choice.get("token_ids") or ()
            text += piece
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            raise BrokenStreamError(data.strip()) from None
        last = {**last, **{key: choice[key] for key in ("finish_reason", "stop_reason") if key in choice}}
        if piece:
            wrote(text)
    if last.get("finish_reason") is None:
        raise BrokenStreamError("")
    more = {"token_ids": ids} if ids else {}
    return {"choices": [{"message": {"role": "assistant", "content": text}, **last, **more}]}
