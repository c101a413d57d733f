"""MME-Emotion: eight tasks, their question files, and what a model is asked (MER-R1 Appendix B.2; arXiv 2508.09210).

A question file is a JSON list of `{"video_id": "IEMOCAP/video/x.mp4", "label": "...", "label_set": ["...", ...]}`, one
file a task, or several tasks joined. A task is told by the row's own `"task"`, else by the file's name (`ER_Lab.json`),
else by the clip's data set and label set (`_deduced`). One clip may stand in several tasks, so a question is known by
task and `video_id` together, and a sample's id is `TASK/VIDEO_ID`.

Gold of the tasks with several labels is split at commas and semicolons, and nowhere else ("Doubt/Confusion" is one
label). A `video_id` is data: one that leads out of the folder is refused.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from mer_r1.data.prepared import MissingFile, PreparedSet
from mer_r1.data.sample import Sample
from mer_r1.errors import InputError
from mer_r1.prompting.templates import PROMPT_TEMPLATES, PromptTemplate
from mer_r1.text import kind_of, printable

NAME = "mme-emotion"
TITLE = "MME-Emotion"
WHERE = "questions: github.com/FunAudioLLM/MME-Emotion; clips, a zip a task: the Hub's data set Karl28/MME-Emotion"

Kind = Literal["one", "several", "sentiment", "strength", "intent"]


@dataclass(frozen=True)
class Task:
    """One task: its name, how many questions are published, and what kind of answer it wants."""

    name: str
    num: int
    kind: Kind

    @property
    def folder(self) -> str:
        """The name as the owners' files spell it."""
        return self.name.replace("-", "_")


TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        Task("ER-Lab", 500, "one"),
        Task("ER-Wild", 1800, "one"),
        Task("FG-ER", 500, "several"),
        Task("FG-SA", 500, "strength"),
        Task("ML-ER", 600, "several"),
        Task("Noise-ER", 500, "one"),
        Task("IR", 500, "intent"),
        Task("SA", 1600, "sentiment"),
    )
}
"""In the order of MER-R1's Table 2."""

_FILE_NAMES = {name.lower(): name for name in TASKS} | {"er-sl-wild": "ER-Wild"}
_PATTERNS = ("*.json", "question/*.json", "*/question/*.json", "*/*/question/*.json")
_ENDINGS = ("", ".mp4", ".avi", ".mkv")
_SENTIMENTS = {"positive", "negative", "neutral"}
# A data set whose clips stand in one task, or in ER-Wild and in others that `_deduced` knows by their labels.
_BY_SOURCE = {
    "IEMOCAP": "ER-Lab",
    "BOLD": "FG-ER",
    "MER2024": "Noise-ER",
    "CMU-MOSEI": "ML-ER",
    "CAER": "ER-Wild",
    "MC-EIU": "ER-Wild",
    "E3": "ER-Wild",
    "MELD": "ER-Wild",
    "MAFW": "ER-Wild",
    "DFEW": "ER-Wild",
}
_LONGEST_LABEL = 80
_LONGEST_NAME = 240  # bytes, which every file system takes with an ending


@dataclass(frozen=True)
class Question:
    """One question: `labels` are the gold (several only in the tasks with several), `candidates` the label set."""

    task: str
    video_id: str
    labels: tuple[str, ...]
    candidates: tuple[str, ...]

    @property
    def id(self) -> str:
        """What a sample of it is called."""
        return f"{self.task}/{self.video_id}"


def read_list(path: Path) -> list[dict[str, Any]]:
    """The objects of a JSON file that holds a list of them. Raises InputError that names the file, row and fix."""
    try:
        rows = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); give a JSON file that holds a list") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: not UTF-8 text; save the file as UTF-8") from None
    except (ValueError, RecursionError) as error:
        reason = getattr(error, "msg", "nested too deeply, or a number too long")
        raise InputError(f"{path}: not valid JSON ({reason}); give a file that holds one list of objects") from None
    if not isinstance(rows, list):
        raise InputError(f"{path}: holds {kind_of(rows)}; give a file that holds one list of objects")
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, dict):
            raise InputError(f"{path}: row {number} is {kind_of(row)}; every row must be an object")
    return rows


def text_of(path: Path, number: int, row: dict[str, Any], key: str) -> str:
    """A row's text under `key`. Raises InputError that names file, row and key."""
    value = row.get(key)
    if not isinstance(value, str):
        raise InputError(f'{path}: row {number}: "{key}" must be a text, found {kind_of(value)}; give one')
    return value


def question_files(root: Path) -> list[Path]:
    """The question files of a folder, or the file itself; other JSON lists beside them are passed over."""
    if root.is_file():
        return [root]
    found = sorted({path for pattern in _PATTERNS for path in root.glob(pattern) if path.is_file()})
    return [path for path in found if any("label_set" in row for row in read_list(path)[:1])]


def read_questions(root: Path) -> tuple[Question, ...]:
    """The questions of a file, or of all question files of a folder, in their order; a repeated one counts once.

    Raises InputError that names file and row for what is no question, and for one that stands there in two forms.
    """
    questions: dict[str, Question] = {}
    for path in question_files(root):
        for question in _questions(path):
            if questions.setdefault(question.id, question) != question:
                raise InputError(f"{path}: {printable(question.id)} stands there twice, with two labels; keep one")
    if not questions:
        raise InputError(f'{root}: no question file here (a JSON list with "video_id", "label", "label_set"); {WHERE}')
    return tuple(questions.values())


def _questions(path: Path) -> Iterator[Question]:
    for number, row in enumerate(read_list(path), start=1):
        video_id = text_of(path, number, row, "video_id")
        label = text_of(path, number, row, "label")
        if not _stays_inside(video_id):
            raise InputError(
                f'{path}: row {number}: video_id "{printable(video_id)}" is no path of a file below the folder; '
                "correct it"
            )
        candidates = _candidates(path, number, row)
        task = _task(path, number, row, candidates)
        several = TASKS[task].kind == "several"
        parts = label.replace(";", ",").split(",") if several else [label]
        labels = tuple(dict.fromkeys(part.strip() for part in parts if part.strip()))
        if not labels:
            raise InputError(f'{path}: row {number}: "label" is empty; give the gold label')
        yield Question(task, video_id, labels, candidates)


def _candidates(path: Path, number: int, row: dict[str, Any]) -> tuple[str, ...]:
    labels = row.get("label_set")
    if not (isinstance(labels, list) and labels and all(isinstance(label, str) for label in labels)):
        raise InputError(f'{path}: row {number}: "label_set" must be a list of labels; give the labels to choose from')
    for label in labels:
        # They stand in what a model is asked, so that a chat's control token must not be among them.
        if not label.strip() or len(label) > _LONGEST_LABEL or not label.isprintable() or set(label) & set("<>,;"):
            raise InputError(
                f'{path}: row {number}: "{printable(label)}" is no label; write a few words without , ; < >'
            )
    return tuple(dict.fromkeys(label.strip() for label in labels))


def _task(path: Path, number: int, row: dict[str, Any], candidates: Sequence[str]) -> str:
    named = row.get("task")
    if named is not None:
        if known := task_named(named):
            return known
        raise InputError(f'{path}: row {number}: task "{printable(named)}" is not known; use {", ".join(TASKS)}')
    stem = path.stem.replace("_", "-").lower()
    for name, task in _FILE_NAMES.items():
        if stem == name or stem.startswith(f"{name}-"):
            return task
    if deduced := _deduced(str(row["video_id"]).partition("/")[0], candidates):
        return deduced
    raise InputError(f'{path}: row {number}: which task it is of is not known; give "task", one of {", ".join(TASKS)}')


def task_named(named: object) -> str | None:
    """The task of this name in any of the owners' spellings ("ER_Lab"); None for anything else."""
    return _FILE_NAMES.get(named.strip().replace("_", "-").lower()) if isinstance(named, str) else None


def _deduced(source: str, candidates: Sequence[str]) -> str | None:
    """The task by label set, then by data set; None where both say nothing."""
    labels = {label.lower() for label in candidates}
    if any(label.startswith("very strong") for label in labels):
        return "FG-SA"
    if labels <= _SENTIMENTS:
        return "SA"
    if "questioning" in labels:
        return "IR"
    if source.upper() == "MAFW" and "neutral" not in labels:
        return "ML-ER"
    return next((task for name, task in _BY_SOURCE.items() if source.upper().startswith(name)), None)


def _stays_inside(name: str) -> bool:
    """Whether a name from a file is that of a file below a folder, on any system."""
    parts = name.split("/")
    return (
        name.isprintable()
        and not set(name) & set('\\:<>"|?*')
        and all(part.strip() and part not in (".", "..") for part in parts)
        and all(len(part.encode("utf-8", "replace")) <= _LONGEST_NAME for part in parts)
        and len(name) <= 4 * _LONGEST_NAME
    )


def find_clip(root: Path, task: str, video_id: str) -> Path | None:
    """The clip of a question below `root`: as its id says, or in its task's folder; None where it is not."""
    folders = (root, root / task, root / TASKS[task].folder, root / "MME-Emotion-Dataset" / task)
    tried = (folder / f"{video_id}{ending}" for ending in _ENDINGS for folder in folders)
    return next((path for path in tried if path.is_file()), None)


def prepare(root: Path) -> PreparedSet:
    """The samples of all questions below `root` whose clip is there. Raises InputError for a wrong question file."""
    questions = read_questions(root)
    samples: list[Sample] = []
    missing: list[MissingFile] = []
    for question in questions:
        clip = find_clip(root, question.task, question.video_id)
        if clip is None:
            missing.append(MissingFile(question.video_id, f"no such clip, which {question.task} asks about"))
        else:
            samples.append(sample_of(question, clip))
    return PreparedSet(NAME, TITLE, tuple(samples), tuple(missing), tuple(_notes(questions)), WHERE)


def _notes(questions: Sequence[Question]) -> Iterator[str]:
    counts = Counter(question.task for question in questions)
    for task in TASKS.values():
        if counts[task.name] != task.num:
            yield f"{task.name}: {counts[task.name]} questions, published are {task.num}"
    others = [question for question in questions if not set(question.labels) <= set(question.candidates)]
    if others:
        yield f"{len(others)} questions have a gold label that is not in their label set, the first {others[0].id}"


def sample_of(question: Question, clip: Path | None) -> Sample:
    """The manifest's row of a question; without a clip it has no medium."""
    return Sample(
        id=question.id,
        video=clip and clip.absolute(),
        labels=question.labels,
        candidates=question.candidates,
        source=f"{question.task}/{question.video_id.partition('/')[0]}",
    )


def question_of(sample: Sample) -> Question:
    """The question that a sample was made of. Raises InputError for a sample of another data set."""
    task = (sample.source or "").partition("/")[0]
    if task not in TASKS or not sample.id.startswith(f"{task}/") or not (sample.labels and sample.candidates):
        raise InputError(
            f"sample {printable(sample.id)}: is none of {TITLE}; make the manifest with `mer-r1 prepare {NAME}`"
        )
    return Question(task, sample.id.removeprefix(f"{task}/"), sample.labels, sample.candidates)


_LOOK = "Consider the face, the body, the tone of voice and the words."
_ONE_LABEL = ("Choose exactly one of these labels", "the chosen label alone")
_ASKED: dict[Kind, tuple[str, str, str]] = {
    "one": ("Which emotion does the main person show most clearly?", *_ONE_LABEL),
    "several": (
        "Which emotions does the main person show?",
        "One or more of these labels fit",
        "every label that fits, separated by commas,",
    ),
    "sentiment": ("What is the attitude that the person expresses?", *_ONE_LABEL),
    "strength": ("What is the attitude that the person expresses, and how strong is it?", *_ONE_LABEL),
    "intent": (
        "What does the speaker want to do with these words?",
        "Choose exactly one of these intents",
        "the chosen intent alone",
    ),
}
"""The question of each kind, how many of the candidates to choose, and what the answer is to hold."""


def template_for(task: str, candidates: Sequence[str]) -> PromptTemplate:
    """What a model is asked in a task with this label set, in the project's form. KeyError for an unknown task."""
    question, choice, answer = _ASKED[TASKS[task].kind]
    return replace(
        PROMPT_TEMPLATES["full"],
        question=f"{question} {_LOOK} {choice}: {', '.join(candidates)}. Describe what you notice, then give {answer} "
        "within the <answer> </answer> tags.",
    )
