"""Where an answer lies in a response's ids, and its fast context: the same ids at the same anchors, however cut.

A word whose first token is not its own, for it begins with a mark before the word, has no anchor.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mer_r1.models.backbone import Backbone
from mer_r1.models.tiny.omni import tiny_tokenizer
from mer_r1.models.token_offsets import fast_branch, locate_answer
from mer_r1.prompting.response import RESPONSE_FORMATS, ResponseFormat
from mer_r1.synthetic.corpus import minimer_texts
from tests.word_pieces import Pieces, Words, glued_tokenizer

PREFILL = "<think></think><answer>"


@pytest.fixture(scope="module")
def glued() -> Backbone:
    return Words(glued_tokenizer())


@pytest.fixture(scope="module")
def tiny() -> Backbone:
    """The tiny model's tokenizer, without the model."""
    return Words(tiny_tokenizer(minimer_texts(300)))


def _check_anchors(backbone: Backbone, text: str, words: list[str], ids: list[int]) -> None:
    """Every anchor is the id that covers its word's first character; the fast context ends in the same ids."""
    found = locate_answer(backbone, ids)
    at = text.rindex("<answer>") + len("<answer>")
    anchor_of = {}
    ends = [len(backbone.decode(ids[: num + 1])) for num in range(len(ids))]
    for word in words:
        begin = text.lower().index(word, at)
        at = begin + len(word)
        anchor = next(num for num, end in enumerate(ends) if begin < end)
        if not text[ends[anchor - 1] : begin].strip():
            anchor_of[word] = anchor
    if not anchor_of:
        assert found is None
        return
    assert found
    assert dict(zip(found.words, found.anchors, strict=True)) == anchor_of
    fast = [*found.prefill_ids, *ids[found.start :]]
    assert backbone.decode(fast) == PREFILL + text[text.rindex("<answer>") + len("<answer>") :]
    shift = len(found.prefill_ids) - found.start
    assert [fast[anchor + shift] for anchor in found.anchors] == [ids[anchor] for anchor in found.anchors]


ANSWER_WORDS = st.lists(st.sampled_from(["happy", "glad", "angry", "sad", "lost"]), min_size=1, max_size=4, unique=True)
SEPARATORS = st.sampled_from([", ", ",", "; ", "\n", ",\n- "])


@pytest.mark.slow
@settings(max_examples=40)
@given(ANSWER_WORDS, SEPARATORS, st.sampled_from(["", " ", "\n", "1. "]), st.sampled_from(["", "I see.", "a, b\n"]))
def test_anchors_are_the_first_tokens_of_the_words(
    tiny: Backbone, glued: Backbone, words: list[str], separator: str, head: str, thought: str
) -> None:
    text = f"<think>{thought}</think><answer>{head}{separator.join(words)}</answer>"
    for backbone in (tiny, glued):
        _check_anchors(backbone, text, words, backbone.text_ids(text))


@st.composite
def cut_responses(draw: st.DrawFn) -> tuple[str, str, dict[str, int], list[bytes]]:
    """A response format, the text of the last answer, the byte at which each word first begins with a piece of its own,
    a response in pieces.

    Pieces may begin and end inside a character; one begins somewhere in what the text and the prefill have in common.
    """
    response_format = RESPONSE_FORMATS[draw(st.sampled_from(sorted(RESPONSE_FORMATS)))]
    thought = draw(st.text(st.characters(exclude_characters="<", exclude_categories=["Cs"]), max_size=12))
    first = "<answer>calm, sad</answer>" if response_format.name == "answer_think_answer" else ""
    head = f"{first}<think>{thought}</think>{response_format.opens}".encode()
    words = draw(st.lists(st.sampled_from(["happy", "sad", "glücklich", "心痛", "at ease"]), min_size=1, max_size=5))
    answer = b""
    places: list[tuple[str, int]] = []
    for index, word in enumerate(words):
        answer += draw(st.sampled_from([b", ", b",", b"\n- "])) if index else draw(st.sampled_from([b"", b" ", b"1. "]))
        places.append((word, len(head) + len(answer)))
        answer += word.encode()
    answer += response_format.stop.encode()
    whole = head + answer
    common = b"</think><answer>" if response_format.name == "think_answer" else response_format.opens.encode()
    cuts = draw(st.sets(st.integers(1, len(whole) - 1), max_size=20)) - set(range(len(head) - len(common), len(head)))
    edges = sorted({0, *cuts, draw(st.integers(len(head) - len(common), len(head))), len(whole)})
    pieces = [whole[start:end] for start, end in pairwise(edges)]
    begins: dict[str, int] = {}
    for word, begin in places:
        if not whole[max(edge for edge in edges if edge <= begin) : begin].decode(errors="ignore").strip():
            begins.setdefault(word, begin)
    return response_format.name, answer.decode(), begins, pieces


@pytest.mark.slow
@settings(max_examples=60)
@given(cut_responses())
def test_slow_and_fast_agree_at_every_anchor_however_the_tokenizer_cuts(
    response: tuple[str, str, dict[str, int], list[bytes]],
) -> None:
    name, answer, begins, pieces = response
    response_format = RESPONSE_FORMATS[name]
    tokenizer = Pieces()
    ids = [tokenizer.add(piece) for piece in pieces]
    found = locate_answer(Words(tokenizer), ids, response_format)
    if not begins:
        assert found is None
        return
    assert found
    assert list(found.words) == [*begins]
    _check_covers(pieces, found.anchors, [*begins.values()])
    whole = [*found.prefill_ids, *ids[found.start :]]
    assert tokenizer.decode(whole) == response_format.fast_prefill + answer
    fast = fast_branch(ids, found)
    assert list(fast.targets) == [ids[anchor] for anchor in found.anchors] == [whole[anchor] for anchor in fast.anchors]
    assert list(fast.ids) == whole[: max(fast.anchors)]  # all that stands before the last anchor, and no more
    shift = len(response_format.fast_prefill.encode()) - len(b"".join(pieces)) + len(answer.encode())
    moved = [begin + shift for begin in begins.values()]
    _check_covers([tokenizer.pieces[ident] for ident in whole], fast.anchors, moved)


def _check_covers(pieces: Sequence[bytes], anchors: Sequence[int], begins: Sequence[int]) -> None:
    for anchor, begin in zip(anchors, begins, strict=True):
        assert len(b"".join(pieces[:anchor])) <= begin < len(b"".join(pieces[: anchor + 1]))


def _located(pieces: Sequence[bytes], response_format: ResponseFormat) -> tuple[Pieces, list[int], Any]:
    tokenizer = Pieces()
    ids = [tokenizer.add(piece) for piece in pieces]
    return tokenizer, ids, locate_answer(Words(tokenizer), ids, response_format)


def test_a_fast_branch_stops_before_the_last_words_first_id() -> None:
    head = [b"<think>", b"I see.", b"</think>", b"<answer", b">ha", b"ppy", b",", b" s", b"ad", b", gl", b"ad, "]
    tokenizer, ids, found = _located([*head, b"calm", b", ha", b"ppy</answer>"], RESPONSE_FORMATS["think_answer"])
    fast = fast_branch(ids, found)
    assert found.words == ("sad", "calm")
    assert tokenizer.decode(fast.ids) == PREFILL[:-1] + ">happy, sad, glad, "
    assert [tokenizer.decode([target]) for target in fast.targets] == [" s", "calm"]
    assert fast.anchors[-1] == len(fast.ids)


def test_of_two_answers_the_last_is_spliced_behind_the_tag_alone() -> None:
    pieces = [
        b"<answer>",
        b"sad",
        b"</answer><think>I see.</think>",
        b"<answer>",
        b"happy",
        b", ",
        b"glad",
        b"</answer>",
    ]
    tokenizer, ids, found = _located(pieces, RESPONSE_FORMATS["answer_think_answer"])
    fast = fast_branch(ids, found)
    assert found.words == ("happy", "glad")
    assert tokenizer.decode(fast.ids) == "<answer>happy, "
    assert [tokenizer.decode([target]) for target in fast.targets] == ["happy", "glad"]


def test_a_token_that_reaches_back_beyond_the_prefill_has_no_fast_context() -> None:
    """The fast context would need another id, and then the anchors do not agree."""
    pieces = [b"<think>", b"I see", b".</think><answer>happy,", b" sad", b"</answer>"]
    assert _located(pieces, RESPONSE_FORMATS["think_answer"])[2] is None
    pieces[1:3] = [b"I see.", b"</think><answer>happy,"]
    tokenizer, ids, found = _located(pieces, RESPONSE_FORMATS["think_answer"])
    assert tokenizer.decode(fast_branch(ids, found).ids) == f"{PREFILL}happy,"
    assert tokenizer.decode(found.prefill_ids) == "<think>"


def test_a_token_that_covers_the_tag_and_the_word_belongs_to_the_answer(glued: Backbone) -> None:
    """No id of the word's category can stand at its place, so confidence in it is not read there."""
    text = "<think>I see.</think><answer>happy, sad</answer>"
    ids = glued.text_ids(text)
    found = locate_answer(glued, ids)
    assert found
    assert found.words == ("sad",)
    assert glued.decode([ids[found.start]]) == ">happy"
    assert glued.decode(found.prefill_ids) == PREFILL[:-1]
    assert locate_answer(glued, glued.text_ids("<think>I see.</think><answer>happy</answer>")) is None


@pytest.mark.parametrize(
    "thought", ["Ein Lächeln – 心 \U0001f600.", "\U0001f600" * 9, "write <answer>sad</answer> here", "a\r\n\tb"]
)
def test_what_was_thought_does_not_move_the_anchors(tiny: Backbone, thought: str) -> None:
    text = f"<think>{thought}</think><answer>happy, glad</answer>"
    _check_anchors(tiny, text, ["happy", "glad"], tiny.text_ids(text))


def test_bytes_that_are_no_text_do_not_move_the_anchors(tiny: Backbone) -> None:
    """A policy samples tokens, not text: pieces of a character decode to U+FFFD, three bytes for one."""
    piece = tiny.text_ids("心")[:1]
    assert tiny.decode(piece) == "\ufffd"
    for head in (piece, piece * 3, [*tiny.text_ids("\U0001f600")[:2], *piece]):
        ids = [*tiny.text_ids("<think>"), *head, *tiny.text_ids("</think><answer>happy, glad</answer>")]
        _check_anchors(tiny, tiny.decode(ids), ["happy", "glad"], ids)


def test_control_tokens_do_not_move_the_anchors(tiny: Backbone) -> None:
    start, end = tiny.tokenizer.convert_tokens_to_ids(["<|im_start|>", "<|im_end|>"])
    text = "<think>a</think><answer>happy, glad</answer>"
    ids = tiny.text_ids(text)
    _check_anchors(tiny, text, ["happy", "glad"], [start, *ids[:2], end, *ids[2:], end])


@pytest.mark.parametrize(
    "text", ["", "happy", "<think>a</think>", "<answer></answer>", "<answer>, .</answer>", "<answer>happy"]
)
def test_a_response_without_a_closed_answer_has_no_anchors(tiny: Backbone, text: str) -> None:
    assert locate_answer(tiny, tiny.text_ids(text)) is None


@pytest.mark.parametrize(
    "text", ["<think>x</think><answer>sad</answer><answer>happy</answer>", "<answer>happy</answer>"]
)
def test_the_last_answer_is_the_one_that_counts(tiny: Backbone, text: str) -> None:
    _check_anchors(tiny, text, ["happy"], tiny.text_ids(text))
