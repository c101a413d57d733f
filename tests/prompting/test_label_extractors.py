"""Answers of other models: the words that each style holds, negations, and text of any kind."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mer_r1.data.labels import split_labels
from mer_r1.emotion.wheel import WheelSet
from mer_r1.errors import InputError
from mer_r1.prompting.label_extractors import LABEL_EXTRACTORS, MAX_PHRASE, extract_labels
from mer_r1.prompting.response import parse_response

WHEELS = WheelSet.load(protocol="corrected")
EVERYDAY = ["happy", "sad", "angry", "calm", "worried", "surprised", "ashamed"]


def described(text: str) -> tuple[str, ...]:
    labels, status = extract_labels(text, "description", WHEELS)
    assert status == ("ok" if labels else "no_answer")
    return labels


def test_a_description_holds_its_emotion_words_in_order_and_once() -> None:
    text = (
        "In the video the man smiles. His voice is Calm, and later joyful; the subtitle says he is calm. "
        "He seems to be over the moon, in a good mood and at ease."
    )
    assert described(text) == ("smiles", "calm", "joyful", "over the moon", "in a good mood", "at ease")
    assert described("The person's face is neutral.") == ("neutral",)
    assert described("A man in a blue shirt stands in a kitchen.") == ()
    assert described("He is lost in thought, or lost.") == ("lost in thought", "lost")
    assert described("She is good-humored; on cloud-nine.") == ("good humored", "on cloud nine")


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("He is not happy but sad.", ("sad",)),
        ("He isn't happy, he is calm.", ("calm",)),
        ("He isn’t happy. Calm.", ("calm",)),
        ("No sign of any sadness; she is calm.", ("calm",)),
        ("She speaks without anger, fear or shame, and seems calm.", ("calm",)),
        ("neither angry nor sad", ()),
        ("She never looks sad while she is happy", ("happy",)),
        ("He feels fear rather than anger", ("fear",)),
        ("He lacks joy", ()),
        ("free from worry. Happy", ("happy",)),
        ("not only surprised but also happy", ("surprised", "happy")),
        ("There is no doubt that he is happy", ("happy",)),
        ("He does not look at the camera and seems sad", ("sad",)),
        ("Not in a good mood", ()),
        ("not happy, calm", ()),
        ("Is he angry? No. Sad", ("angry", "sad")),
        ("nothing but joy", ("joy",)),
    ],
)
def test_a_negated_word_is_no_label(text: str, labels: tuple[str, ...]) -> None:
    assert described(text) == labels


@given(st.lists(st.sampled_from(EVERYDAY), min_size=1, unique=True), st.sampled_from(["not", "without", "no sign of"]))
def test_what_is_denied_word_by_word_leaves_nothing_and_what_is_said_stays(words: list[str], denial: str) -> None:
    assert described(" ".join(f"The man is {word}." for word in words)) == tuple(words)
    assert described(" ".join(f"The man is {denial} {word}." for word in words)) == ()
    assert described(f"He is {denial} {' or '.join(words)}.") == ()
    assert described(f"He is {denial} {', '.join(words)}; but calm") == ("calm",)


def test_words_that_mostly_tell_of_the_clip_are_passed_over() -> None:
    assert described("The content of the clip draws attention to a strong focus.") == ()


@pytest.mark.parametrize(
    ("style", "text", "labels", "status"),
    [
        ("list", "[happy, sad]", ("happy", "sad"), "ok"),
        ("list", "Happy, sad and angry.", ("happy", "sad", "angry"), "ok"),
        ("list", "Output: ['Happy', \"sad\"]\nThat is all.", ("happy", "sad"), "ok"),
        ("list", "1. happy\n2. sad", ("happy", "sad"), "ok"),
        ("list", "[]", (), "no_answer"),
        ("list", "[happy, sad", ("happy", "sad"), "ok"),
        ("r1-omni", "<think>He frowns.</think>\n<answer>angry</answer>", ("angry",), "ok"),
        ("r1-omni", "angry", (), "no_answer"),
        ("humanomni-v2", "<context>A happy <answer>x</answer></context><think>t</think><answer>sad, calm</answer>",
         ("sad", "calm"), "ok"),
        ("humanomni-v2", "<context>A room and", (), "truncated"),
        ("humanomni-v2", "<context>He says <answer>happy</answer></context><think>t</think>", (), "no_answer"),
        ("humanomni-v2", "<think>t</think><answer>sad</answer>", ("sad",), "ok"),
        ("affectgpt", "The character's emotional state is happy, at ease and excited.",
         ("happy", "at ease", "excited"), "ok"),
        ("affectgpt", "The character’s emotional states are: worried, xyzzy", ("worried", "xyzzy"), "ok"),
        ("affectgpt", "The character's emotional state is hard to tell, since he is not angry but very sad here.",
         ("sad",), "ok"),
        ("affectgpt", "His brow is furrowed, he may be worried or angry.", ("worried", "angry"), "ok"),
        ("affectgpt", "The character's emotional state is happy, sad.###Human: angry?", ("happy", "sad"), "ok"),
        ("affectgpt", "The character's emotional state is happy</s></s>", ("happy",), "ok"),
        ("affectgpt", "He looks sad.</s> ### Assistant: angry", ("sad",), "ok"),
        ("affectgpt", "", (), "no_answer"),
        ("think_answer", "<think>t</think><answer>sad", (), "truncated"),
        ("answer_think_answer", "<answer>sad</answer><think>t</think><answer>calm</answer>", ("calm",), "ok"),
        ("set_steps", "<step1>a face</step1>\\boxed{sad} or \\boxed{Calm}", ("calm",), "ok"),
        ("set_steps", "<step1>a face</step1>\\boxed{sad", (), "truncated"),
    ],
)  # fmt: skip
def test_each_style_is_read_as_it_is_written(style: str, text: str, labels: tuple[str, ...], status: str) -> None:
    assert extract_labels(text, style, WHEELS) == (labels, status)


def test_an_unknown_style_is_an_error_that_names_the_known_ones() -> None:
    with pytest.raises(InputError, match="style 'prose' is not known; use one of: description, list"):
        extract_labels("happy", "prose")


def test_a_text_is_a_description_by_the_built_in_wheels_unless_said_otherwise() -> None:
    assert extract_labels("Her face is expressionless; she is happy, not sad.") == (("expressionless", "happy"), "ok")


PIECES = st.sampled_from(
    ["<think>", "</think>", "<answer>", "</answer>", "<context>", "</context>", "[", "]",
     ", ", " and ", "not ", "happy ",
     "n't", "\n", "The character's emotional state is ", "rather than ", "\ud800", "愤怒，", "."]
)  # fmt: skip


@given(st.lists(PIECES | st.text(max_size=8)).map("".join), st.sampled_from(sorted(LABEL_EXTRACTORS)))
def test_any_text_gives_words_and_a_status(text: str, style: str) -> None:
    labels, status = extract_labels(text, style, WHEELS)
    assert status in ("ok", "truncated", "no_answer")
    assert (status == "ok") <= bool(labels)
    assert all(isinstance(label, str) and label for label in labels)
    if style == "description":
        assert all(label == "neutral" or WHEELS.reaches(label) for label in labels)
        assert len(set(labels)) == len(labels)
    if style == "think_answer":
        assert labels == parse_response(text).labels


@given(st.lists(st.sampled_from(EVERYDAY), min_size=1, unique=True))
def test_a_list_comes_back_from_every_style_that_can_hold_it(words: list[str]) -> None:
    answer = ", ".join(words)
    texts = {
        "list": f"[{answer}]",
        "r1-omni": f"<think>sad</think><answer>{answer}</answer>",
        "humanomni-v2": f"<context>sad</context><think>sad</think><answer>{answer}</answer>",
        "affectgpt": f"The character's emotional state is {answer}.",
        "description": f"The person looks {answer}.",
        "think_answer": f"<think>sad</think><answer>{answer}</answer>",
        "answer_think_answer": f"<answer>sad</answer><think>sad</think><answer>{answer}</answer>",
        "set_steps": f"<step1>sad</step1><step2>sad</step2><step3>sad</step3>\\boxed{{{answer}}}",
    }
    assert set(texts) == set(LABEL_EXTRACTORS)
    for style, text in texts.items():
        assert extract_labels(text, style, WHEELS) == (split_labels(answer), "ok")


class CountedWheels:
    """Wheels that know no word, and count how often they are asked."""

    num_asked = 0

    def reaches(self, word: str) -> bool:
        self.num_asked += 1
        return False


HOSTILE = ["not ", "happy ", "a", "a ", "'", "x'", "[", "<think>", "<answer>", "<context>", "the character's ", ",",
           " ",            "over the ", "in a good ", "emotional state is ", "\n"]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("style", sorted(LABEL_EXTRACTORS))
def test_hostile_text_takes_work_in_proportion_to_its_length(style: str) -> None:
    for piece in HOSTILE:
        wheels, num = CountedWheels(), 20_000 // len(piece)
        extract_labels(piece * num, style, wheels)
        assert wheels.num_asked <= MAX_PHRASE * max(1, len(piece.split())) * num, repr(piece)
