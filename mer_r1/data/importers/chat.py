"""Chats for training, as LLaMA-Factory, ms-swift and TRL read them, turned into the columns of a manifest.

    messages | conversations | conversation     [{"role" | "from", "content" | "value"}], or [{"human", "assistant"}]
    prompt, completion                          lists of messages
    query, response | instruction, output       texts
    videos, audios, images                      paths, one a row; or media parts within a content

The last answer of a row counts. `<think>…</think><answer>…</answer>` is its reasoning and its labels; words alone are
its labels; prose without tags is reasoning, and the labels must come from another column. A solution or an answer in a
column of labels comes before. A subtitle is what a question holds between <Subtitle> and </Subtitle>. LLaMA-Factory's
dataset_info.json beside the file says what its columns and roles are called.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from mer_r1.data.importers.dataset_folder import dataset_info
from mer_r1.data.importers.table import Row, Table, is_blank, text_of
from mer_r1.data.labels import split_labels
from mer_r1.errors import InputError

_CHATS = (("prompt", "completion"), ("messages",), ("conversations",), ("conversation",), ("prompt",))
_PAIRS = (("query", "response"), ("instruction", "output"), ("prompt", "completion"))
_MEDIA = {"video": "videos", "audio": "audios", "image": "images"}
_USERS = frozenset({"user", "human"})
_ASSISTANTS = frozenset({"assistant", "gpt", "bot"})
_LONGEST_ANSWER = 12  # words; what is longer without tags is prose

_THOUGHT = re.compile(r"<think>(.*?)</think>", re.DOTALL)
_ANSWER = re.compile(r"<answer>(.*?)(?:</answer>|$)", re.DOTALL)
_BOX = re.compile(r"\\boxed\s*\{")
_SUBTITLE = re.compile(r"<Subtitle>(.*?)</Subtitle>", re.DOTALL)


@dataclass(frozen=True)
class _Form:
    """What the columns and roles of a file are called."""

    chat: tuple[str, ...]
    media: Mapping[str, str]
    users: frozenset[str] = _USERS
    assistants: frozenset[str] = _ASSISTANTS
    role: tuple[str, ...] = ("role", "from")
    content: tuple[str, ...] = ("content", "value")


@dataclass(frozen=True)
class Answer:
    """What an assistant's text says: its reasoning and its labels, either of which may be missing."""

    reasoning: str | None
    labels: tuple[str, ...]
    is_prose: bool = False


def with_chats(table: Table) -> Table:
    """A table of chats with the columns of a manifest; one of another kind as it is."""
    form = _form(table)
    if form is None:
        return table
    counts: Counter[str] = Counter()
    rows = [replace(row, cells=_cells(table, row, form, counts)) for row in table.rows]
    rows, num_fast = _without_repeats(rows)
    counts["fast"] = num_fast
    used = {*form.chat, *form.media.values()}
    fields = {kind: kind for kind in _MEDIA if any(not is_blank(row.cells.get(kind)) for row in rows)}
    fields |= {name: name for name in ("subtitle", "reasoning") if any(row.cells.get(name) for row in rows)}
    if "labels" not in table.columns and any(row.cells.get("labels") for row in rows):
        fields["labels"] = "labels"
    kept = [column for column in table.columns if column not in used or column in fields]
    columns = tuple(dict.fromkeys([*kept, *fields.values()]))
    return replace(
        table,
        form=f"{table.form}, chats",
        columns=columns,
        rows=tuple(replace(row, cells={column: row.cells.get(column) for column in columns}) for row in rows),
        fields={**table.fields, **fields},
        notes=(*table.notes, *_notes(counts)),
    )


def read_answer(text: str) -> Answer:
    """The reasoning and the labels of an assistant's text."""
    thought, answers = _THOUGHT.search(text), _ANSWER.findall(text)
    if answers or thought:
        rest = answers[-1] if answers else text[thought.end() :] if thought else ""
        reasoning = thought[1].strip() if thought else _ANSWER.sub("", text).strip()
        return Answer(reasoning or None, split_labels(rest))
    if _BOX.search(text):
        return Answer(text.strip() if text.strip()[:6] != "\\boxed" else None, split_labels(text))
    if len(text.split()) > _LONGEST_ANSWER:
        return Answer(text.strip(), (), is_prose=True)
    return Answer(None, split_labels(text))


def _form(table: Table) -> _Form | None:
    """What the file's columns are called; None where they are no chat."""
    entry = next((e for e in dataset_info(table.folder).values() if e.get("file_name") == table.path.name), {})
    columns, tags = (part if isinstance(part := entry.get(key), dict) else {} for key in ("columns", "tags"))
    media = {kind: str(columns.get(name, name)) for kind, name in _MEDIA.items()}
    named = ((str(columns["messages"]),),) if "messages" in columns else _CHATS
    chat = next((names for names in named if all(_is_chat(table, name) for name in names)), None)
    if chat is not None:
        return _Form(
            chat,
            media,
            _USERS | {str(tags.get("user_tag", "user"))},
            _ASSISTANTS | {str(tags.get("assistant_tag", "assistant"))},
            tuple(dict.fromkeys((str(tags.get("role_tag", "role")), "role", "from"))),
            tuple(dict.fromkeys((str(tags.get("content_tag", "content")), "content", "value"))),
        )
    named_pair = (str(columns.get("prompt", "")), str(columns.get("response", "")))
    pair = next((pair for pair in (named_pair, *_PAIRS) if set(pair) <= set(table.columns)), None)
    return None if pair is None else _Form(pair, media)


def _is_chat(table: Table, column: str) -> bool:
    cells = table.cells(column) if column in table.columns else []
    return bool(cells) and all(isinstance(cell, list) for cell in cells)


def _cells(table: Table, row: Row, form: _Form, counts: Counter[str]) -> dict[str, Any]:
    """The cells of a row with what its chat says."""
    questions, answers, media = _said(table, row, form)
    cells = dict(row.cells)
    for kind, column in form.media.items():
        if is_blank(cells.get(kind)) or column == kind:
            cells[kind] = _listed(row.cells.get(column)) or media.get(kind)
    found = _SUBTITLE.search("\n".join(questions))
    if is_blank(cells.get("subtitle")):
        cells["subtitle"] = found[1].strip() if found else None
    counts["several"] += len(answers) > 1
    text = answers[-1] if answers else text_of(cells.get("solution"))
    answer = read_answer(text) if text else Answer(None, ())
    counts["prose"] += answer.is_prose
    counts["none"] += not text
    if is_blank(cells.get("reasoning")):
        cells["reasoning"] = answer.reasoning
    if (given := cells.get("labels")) in (None, "", []):
        cells["labels"] = list(answer.labels)
    elif answer.reasoning and answer.labels and set(answer.labels) != set(_words(given)):
        cells["reasoning"] = text  # it commits to other words than the labels, which a whole response may
    return cells


def _without_repeats(rows: list[Row]) -> tuple[list[Row], int]:
    """The rows without those that only say the labels of another once more, as a clip's fast answer does; their number.

    Such a row has no reasoning, and another has one with the same media, words and labels.
    """
    keys = [repr([row.cells.get(name) for name in ("id", *_MEDIA, "subtitle", "labels")]) for row in rows]
    reasoned = {key for key, row in zip(keys, rows, strict=True) if row.cells.get("reasoning")}
    kept = [row for key, row in zip(keys, rows, strict=True) if row.cells.get("reasoning") or key not in reasoned]
    return kept, len(rows) - len(kept)


def _words(given: Any) -> tuple[str, ...]:
    return split_labels("\n".join(map(text_of, given)) if isinstance(given, list) else text_of(given))


def _listed(cell: Any) -> Any:
    """The media of a cell: a text, or a list without empty ones."""
    if isinstance(cell, list):
        return [item.get("path") if isinstance(item, dict) else item for item in cell if item]
    return None if is_blank(cell) else cell


def _said(table: Table, row: Row, form: _Form) -> tuple[list[str], list[str], dict[str, list[str]]]:
    """The questions, the answers, and the media within the contents."""
    questions: list[str] = []
    answers: list[str] = []
    media: dict[str, list[str]] = {}
    cells = [row.cells.get(column) for column in form.chat]
    if len(cells) == 2 and not any(isinstance(cell, list) for cell in cells):
        return [text_of(cells[0])], [text for text in (text_of(cells[1]),) if text], media
    for message in (message for cell in cells if isinstance(cell, list) for message in cell):
        if not isinstance(message, dict):
            raise InputError(f"{table.where(row)}: a message is no object; write {{'role', 'content'}}")
        for role, content in _turns(message, form):
            text = _text(content, media)
            if role in form.users:
                questions.append(text)
            elif role in form.assistants and text.strip():
                answers.append(text)
    return questions, answers, media


def _turns(message: dict[str, Any], form: _Form) -> list[tuple[str, Any]]:
    role = next((message[key] for key in form.role if key in message), None)
    if role is None:  # ms-swift's {"human": …, "assistant": …}
        return [(key, value) for key, value in message.items() if key in form.users | form.assistants]
    return [(text_of(role), next((message[key] for key in form.content if key in message), ""))]


def _text(content: Any, media: dict[str, list[str]]) -> str:
    """The text of a content; parts that are media are added to `media`."""
    if not isinstance(content, list):
        return text_of(content)
    texts = []
    for part in content:
        kind = part.get("type") if isinstance(part, dict) else None
        if kind == "text":
            texts.append(text_of(part.get("text")))
        elif kind in _MEDIA and isinstance(path := part.get(kind) or part.get("path"), str):
            media.setdefault(kind, []).append(path)
    return "\n".join(texts)


def _notes(counts: Counter[str]) -> list[str]:
    said = {
        "several": "rows have several answers; the last is taken",
        "prose": "answers are prose, which is their reasoning; say where labels are: --labels COL",
        "none": "rows have no answer",
        "fast": "rows are left out: another gives their labels with a reasoning",
    }
    return [f"{counts[key]:,} {text}" for key, text in said.items() if counts[key]]
