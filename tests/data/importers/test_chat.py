"""Chats of LLaMA-Factory, ms-swift and TRL: media, reasoning, labels and subtitle out of each form of the docs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mer_r1.data.importers.chat import Answer, read_answer
from mer_r1.errors import InputError
from tests.data.importers.tables import media, prepared, samples, write, write_json

TAUGHT = "<think>She smiles.</think><answer>happy, calm</answer>"


def one(tmp_path: Path, row: dict[str, Any], name: str = "t.jsonl") -> Any:
    media(tmp_path, "d/1.mp4", "d/1.mp3", "d/1.jpg")
    (found,) = samples(write(tmp_path / name, json.dumps(row) + "\n"))
    return found


@pytest.mark.parametrize(
    "chat",
    [
        {"messages": [{"role": "user", "content": "<video><audio>Which?"}, {"role": "assistant", "content": TAUGHT}]},
        {"messages": [{"role": "user", "content": "<video><audio>Which?"}, {"role": "gpt", "content": TAUGHT}]},
        {"conversations": [{"from": "human", "value": "<video>Which?"}, {"from": "gpt", "value": TAUGHT}]},
        {"conversation": [{"human": "<video>Hi", "assistant": "Hello"}, {"human": "Which?", "assistant": TAUGHT}]},
        {"query": "<video>Which?", "response": TAUGHT, "history": []},
        {"instruction": "<video>Which?", "input": "", "output": TAUGHT},
        {"prompt": [{"role": "user", "content": "Which?"}], "completion": [{"role": "assistant", "content": TAUGHT}]},
        {"messages": [{"role": "user", "content": "<video>Which?"}], "solution": TAUGHT},
    ],
    ids=lambda chat: "-".join(chat),
)
def test_every_form_of_a_chat_gives_the_same_sample(tmp_path: Path, chat: dict[str, Any]) -> None:
    found = one(tmp_path, chat | {"videos": ["d/1.mp4"], "audios": ["d/1.mp3"]})
    assert (found.id, found.labels, found.reasoning) == ("1", ("happy", "calm"), "She smiles.")
    assert (found.video, found.audio) == (tmp_path / "d/1.mp4", tmp_path / "d/1.mp3")


@pytest.mark.parametrize("key", ["messages", "conversations"])
def test_a_json_file_of_one_chat_is_one_sample(tmp_path: Path, key: str) -> None:
    turns = [{"role": "user", "content": "Which?"}, {"role": "assistant", "content": TAUGHT}]
    assert one(tmp_path, {key: turns, "videos": ["d/1.mp4"]}, "t.json").labels == ("happy", "calm")


def test_media_within_contents_are_taken(tmp_path: Path) -> None:
    content = [{"type": "image", "image": "d/1.jpg"}, {"type": "text", "text": "Which? <Subtitle>Oh no</Subtitle>."}]
    answer = [{"type": "text", "text": "<answer>sad</answer>"}]
    messages = [{"role": "user", "content": content}, {"role": "assistant", "content": answer}]
    found = one(tmp_path, {"messages": messages})
    assert (found.image, found.subtitle, found.labels) == (tmp_path / "d/1.jpg", "Oh no", ("sad",))


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (TAUGHT, Answer("She smiles.", ("happy", "calm"))),
        ("<think>\nA\n</think>\n\nsad", Answer("A", ("sad",))),
        ("<think></think><answer>sad</answer>", Answer(None, ("sad",))),
        ("happy; sad", Answer(None, ("happy", "sad"))),
        ("<step1>a</step1>\\boxed{awe}", Answer("<step1>a</step1>\\boxed{awe}", ("awe",))),
        ("\\boxed{awe}", Answer(None, ("awe",))),
        (
            "A girl who is drawing a picture of a guitar and feel nervous.",
            Answer("A girl who is drawing a picture of a guitar and feel nervous.", (), is_prose=True),
        ),
    ],
)
def test_an_answer_is_reasoning_and_labels(text: str, answer: Answer) -> None:
    assert read_answer(text) == answer


def test_prose_is_reasoning_and_is_told(tmp_path: Path) -> None:
    media(tmp_path, "d/1.mp4", "d/2.mp4")
    prose = "In the video the lady frowns, her voice shakes, and she looks away from all of them."
    rows = [
        {
            "messages": [{"role": "user", "content": "<video>Why?"}, {"role": "assistant", "content": text}],
            "videos": [f"d/{number}.mp4"],
            "emotion": "sad",
        }
        for number, text in ((1, prose), (2, prose))
    ]
    imported = prepared(write_json(tmp_path / "t.json", rows)).imported
    assert [(sample.reasoning, sample.labels) for sample in imported.samples] == [(prose, ("sad",))] * 2
    assert imported.notes[0].startswith("2 answers are prose")


def test_labels_of_their_own_stay_and_a_response_with_others_is_kept_whole(tmp_path: Path) -> None:
    row: dict[str, Any] = {"messages": [{"role": "user", "content": "?"}, {"role": "assistant", "content": TAUGHT}]}
    row |= {"videos": ["d/1.mp4"], "id": "x", "valence": 0.5, "candidates": ["happy", "calm", "joy"]}
    same = one(tmp_path, row | {"labels": ["calm", "happy"]})
    assert (same.id, same.labels, same.reasoning, same.valence) == ("x", ("calm", "happy"), "She smiles.", 0.5)
    assert same.candidates == ("happy", "calm", "joy")
    other = one(tmp_path, row | {"labels": ["happy", "joy"]})
    assert (other.labels, other.reasoning) == (("happy", "joy"), TAUGHT)


def test_the_list_of_llama_factory_says_what_columns_and_roles_are_called(tmp_path: Path) -> None:
    media(tmp_path, "d/1.mp4")
    info = {
        "mine": {
            "file_name": "t.json",
            "formatting": "sharegpt",
            "columns": {"messages": "talk", "videos": "films"},
            "tags": {"role_tag": "who", "content_tag": "said", "user_tag": "asks", "assistant_tag": "tells"},
        }
    }
    write_json(tmp_path / "dataset_info.json", info)
    talk = [{"who": "asks", "said": "<video>?"}, {"who": "tells", "said": "fear"}]
    path = write_json(tmp_path / "t.json", [{"talk": talk, "films": ["d/1.mp4"]}])
    for source in (path, tmp_path):
        (found,) = samples(source)
        assert (found.video, found.labels) == (tmp_path / "d/1.mp4", ("fear",))


def test_two_videos_of_a_row_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"t\.jsonl:1: 2 videos; a sample has one"):
        one(tmp_path, {"query": "<video><video>", "response": "sad", "videos": ["d/1.mp4", "d/1.mp4"]})


def test_a_message_that_is_no_object_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"t\.jsonl:1: a message is no object"):
        one(tmp_path, {"messages": ["hello"], "videos": ["d/1.mp4"]})


def test_a_fast_answer_beside_the_slow_one_is_left_out(tmp_path: Path) -> None:
    media(tmp_path, "1.mp4", "2.mp4")
    answers = ((1, TAUGHT), (1, "<think></think><answer>happy, calm</answer>"), (2, "<answer>happy, calm</answer>"))
    rows = [{"query": "?", "response": text, "videos": [f"{number}.mp4"]} for number, text in answers]
    imported = prepared(write_json(tmp_path / "t.json", rows)).imported
    assert [(sample.id, sample.reasoning) for sample in imported.samples] == [("1", "She smiles."), ("2", None)]
    assert imported.notes[0].startswith("1 rows are left out")


def test_rows_of_grpo_have_their_labels_and_no_answer(tmp_path: Path) -> None:
    row = {"prompt": [{"role": "user", "content": "?"}], "images": ["d/1.jpg"], "labels": ["joy"]}
    assert one(tmp_path, row | {"solution": "<answer>joy</answer>"}).labels == ("joy",)


def test_a_flag_of_preferences_is_no_label(tmp_path: Path) -> None:
    row = {"messages": [{"role": "user", "content": "?"}, {"role": "assistant", "content": "sad"}], "label": True}
    assert one(tmp_path, row | {"videos": ["d/1.mp4"]}).labels == ("sad",)
