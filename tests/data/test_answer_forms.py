"""Answers in the forms that chat models write them in: the words come out, at their places, and nothing else does."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mer_r1.data.answer_forms import is_plain, plain
from mer_r1.data.labels import is_misread, official_labels, split_labels, word_spans
from mer_r1.emotion.wheel import WheelSet
from mer_r1.evaluation.score import Settings
from mer_r1.prompting.label_extractors import extract_labels
from mer_r1.prompting.response import parse_response
from tests.evaluation.scoring import run, write
from tests.linear import processor_time

FORMS = {
    '```json\n["happy", "sad"]\n```': "happy sad",
    '```json ["happy"]```': "happy",
    "```\nhappy, sad\n```": "happy sad",
    'Here is the list:\n```json\n["happy", "sad"]\n```\nLet me know!': "happy sad",
    '{"emotions": ["happy","sad"]}': "happy sad",
    '{"happy":0.8}': "happy",
    '{"happy": 0.8, "sad": 0.1}': "happy sad",
    '{"happy": 0.8, "sad": 0.0}': "happy",
    "Emotions: happy, sad": "happy sad",
    "**Emotions:** happy, sad": "happy sad",
    "Emotion: Happy": "happy",
    "\\boxed{happy, sad}": "happy sad",
    "The answer is $\\boxed{\\text{happy}}$.": "happy",
    "\\boxed{\\text{happy}, \\text{sad}}": "happy sad",
    "happy: 0.8": "happy",
    "happy: 0.8, sad: 0.2": "happy sad",
    "1) happy 2) sad": "happy sad",
    "1. happy 2. sad": "happy sad",
    "(1) happy (2) sad": "happy sad",
    "happy (80%)": "happy",
    "happy (80%), sad (20%)": "happy sad",
    "The emotions are: happy, sad.": "happy sad",
    "The emotions are happy, sad and angry.": "happy sad angry",
    "- happy\n- sad": "happy sad",
    "• happy • sad": "happy sad",
    "* **happy**\n* **sad**": "happy sad",
    "happy and sad": "happy sad",
    "happy, sad.": "happy sad",
    "happy\nsad": "happy sad",
    "情绪：高兴、难过。": "高兴 难过",
    "他的情绪是高兴和难过": "高兴 难过",
    "答案：高兴，难过": "高兴 难过",
    "高兴（80%）；难过（20%）": "高兴 难过",
    "①高兴②难过": "高兴 难过",
    '{"emotions": ["happy", "sad"], "reasoning": "She smiles, and waves.", "confidence": 0.9}': "happy sad",
    '[{"emotion": "happy", "score": 0.9}, {"emotion": "sad", "score": 0.1}]': "happy sad",
    '{"primary_emotion": "happy", "secondary_emotion": "sad"}': "happy sad",
    '{"happy": "high", "sad": "low"}': "happy sad",
    '{"happy": true, "sad": false}': "happy",
    "{'emotions': ['happy', 'sad']}": "happy sad",
    '{"emotions": ["happy", "sa': "happy sa",
    "Emotions:\n1. Happy\n2. Sad": "happy sad",
    "Emotions\n- happy\n- sad": "happy sad",
    "Final answer: happy, sad": "happy sad",
    "Sure! Here are the emotions: happy, sad": "happy sad",
    "Based on the video, the emotions are: happy, sad": "happy sad",
    "Based on the video, the person appears happy and sad.": "happy sad",
    "She is happy.": "happy",
    "The person feels happy and sad.": "happy sad",
    '"happy" "sad"': "happy sad",
    "“happy”, “sad”": "happy sad",
    "happy | sad": "happy sad",
    "happy & sad": "happy sad",
    "happy + sad": "happy sad",
    "happy\tsad": "happy sad",
    "| Emotion | Score |\n|---|---|\n| happy | 0.8 |\n| sad | 0.2 |": "happy sad",
    "happy = 0.8; sad = 0.2": "happy sad",
    "happy - 0.8\nsad - 0.2": "happy sad",
    "happy 0.8, sad 0.2": "happy sad",
    "80% happy, 20% sad": "happy sad",
    "<emotion>happy</emotion>": "happy",
    "<answer>happy, sad</answer>": "happy sad",
    "<think>sad?</think>\nhappy": "happy",
    "Emotion: happy. Confidence: 0.9": "happy",
    "Primary emotion: happy; secondary emotion: sad": "happy sad",
    "Happy (because she smiles, and laughs), sad": "happy sad",
    "happy\n\nExplanation: She smiles broadly, and waves.": "happy",
    "Emotions: happy, sad\nReasoning: She smiles, and cries.": "happy sad",
    "happy. sad.": "happy sad",
    "happy, sad\n\nLet me know if you need anything else!": "happy sad",
    "happy - she smiles at the camera": "happy",
    "[happy, sad]": "happy sad",
    "Output: [happy, sad]": "happy sad",
    "`happy`, `sad`": "happy sad",
    "emotions:\n  - happy\n  - sad": "happy sad",
    '["happy", "sad"]<|im_end|>': "happy sad",
    '\\"happy\\", \\"sad\\"': "happy sad",
    "Happy!": "happy",
    "happy 😊, sad 😢": "happy sad",
    "The answer is: **happy**": "happy",
    "Answer: (A) happy": "happy",
    "happy/sad": "happy sad",
    '[("happy", 0.8), ("sad", 0.1)]': "happy sad",
    '{"happy": {"score": 0.8}, "sad": {"score": 0.2}}': "happy sad",
    "Her emotional state is best described as: happy, sad": "happy sad",
    "face: happy, voice: sad": "happy sad",
    '{"emotions": "happy, sad"}': "happy sad",
    '{"answer": "The person is happy and sad."}': "happy sad",
    "happy [0.8], sad [0.2]": "happy sad",
    "Happy: 8/10, Sad: 2/10": "happy sad",
    '{"emotions": []}': "",
    "[]": "",
    "{}": "",
    '{"emotion": null}': "",
    "1. **Happy** – she smiles at the camera\n2. **Sad** – he cries all the time": "happy sad",
    "Top emotions: 1) happy (0.8), 2) sad (0.2)": "happy sad",
    '```json\n{"emotions": ["happy"]}\n```': "happy",
    "\\boxed{sad}, no, \\boxed{happy}": "happy",
    '```\n{"emotions":\n  ["happy", "sad"]}\n```': "happy sad",
    "Here is my analysis:\n\n**Emotions:** happy, sad\n\n**Reasoning:** The person smiles, then cries.": "happy sad",
    "### Emotions\n\n- happy\n- sad": "happy sad",
    "Emotion(s): happy, sad": "happy sad",
    'Emotions = ["happy", "sad"]': "happy sad",
    "emotions = happy, sad": "happy sad",
    "1. Happy (0.85)\n2. Sad (0.15)": "happy sad",
    "1. Happy: 85%\n2. Sad: 15%": "happy sad",
    "a) happy b) sad": "happy sad",
    "A. happy\nB. sad": "happy sad",
    '{"result": {"emotions": [{"name": "happy", "confidence": 0.9}]}}': "happy",
    "The person in the video is experiencing happiness and sadness.": "happiness sadness",
    "Happy, Sad, and Angry.": "happy sad angry",
    "happy,sad,angry": "happy sad angry",
    "happy , sad": "happy sad",
    "“happy” and “sad”": "happy sad",
    "Happy;Sad": "happy sad",
    "<b>happy</b>, <i>sad</i>": "happy sad",
    "happy (high), sad (low)": "happy sad",
    "happy: high, sad: low": "happy sad",
    "Happy - 80%\nSad - 20%": "happy sad",
    "$\\boxed{\\text{happy, sad}}$": "happy sad",
    '\\boxed{["happy", "sad"]}': "happy sad",
    "\\(\\boxed{happy}\\)": "happy",
    "**Answer:** happy": "happy",
    "**Final Answer**: `happy`": "happy",
    "The final answer is happy.": "happy",
    "Answer: happy.": "happy",
    "> happy, sad": "happy sad",
    "happy\n\nsad": "happy sad",
    '"happy, sad"': "happy sad",
    "'happy', 'sad'": "happy sad",
    "['happy' 'sad']": "happy sad",
    "{happy, sad}": "happy sad",
    '("happy", "sad")': "happy sad",
    "Emotions detected: happy, sad": "happy sad",
    "情绪标签：【高兴、难过】": "高兴 难过",
    "答案是：高兴": "高兴",
    "该人物的情绪为：高兴，难过。": "高兴 难过",
    "主要情绪：高兴；次要情绪：难过": "高兴 难过",
    '["高兴", "难过"]': "高兴 难过",
    "高兴:0.8,难过:0.2": "高兴 难过",
    "Anger": "anger",
    "joy: 0.7 | sadness: 0.3": "joy sadness",
    "happy=0.8": "happy",
    "happy→0.8": "happy",
    "- happy (main)\n- sad (secondary)": "happy sad",
    "Emotions: [happy, sad]": "happy sad",
    "Label: 1": "",
    '{"emotion": "happy", "intensity": 0.8, "valence": "positive"}': "happy",
    '{"emotions": {"happy": 0.8, "sad": 0.2}}': "happy sad",
    "emotions:happy,sad": "happy sad",
    "I think she is happy.": "happy",
    "Happy.\nSad.": "happy sad",
    'happy, "sad"': "happy sad",
    "```happy, sad```": "happy sad",
    "`happy, sad`": "happy sad",
    "happy: she smiles\nsad: he cries": "happy sad",
    "i. happy\nii. sad": "happy sad",
    "I. Happy\nII. Sad": "happy sad",
    "Answer: B. happy": "happy",
    "happy -> sad": "happy sad",
    "#happy #sad": "happy sad",
    "happy and/or sad": "happy sad",
    "happy as well as sad": "happy sad",
    "happy, along with a hint of sadness": "happy sadness",
    "A mix of joy and fear": "joy fear",
    "She seems happy, but also nervous.": "happy nervous",
    "I would describe her as happy and sad": "happy sad",
    "Happiness is the main emotion.": "happiness",
    "Sure! happy, sad": "happy sad",
    "Sure. The person is happy.": "happy",
    "happy, sad. I hope this helps!": "happy sad",
    "happy, sad. Let me know if so.": "happy sad",
    "&quot;happy&quot;, &quot;sad&quot;": "happy sad",
    "N/A": "",
    ":the emotions are happy": "happy",
}
PLAIN = ["happy", "happy, sad", "Happy;SAD；calm，tense、shy", "at ease, happy/sad", "brand new, and-or"]
WHOLE = [
    "3 wishes, at ease",
    "over the moon, in a good mood",
    "self-conscious, don’t care",
    "over the moon and lost in thought",
    "a good sense of humor, out of control",
    "not a hint of fear, anything but happy",
]


@pytest.mark.parametrize(("answer", "words"), FORMS.items(), ids=lambda value: value[:40])
def test_the_words_of_a_form_are_read_and_nothing_else(answer: str, words: str) -> None:
    labels = tuple(words.split())
    assert split_labels(answer) == labels
    spans = word_spans(f"<{answer}>", 1, len(answer) + 1)
    assert tuple(dict.fromkeys(word for _, _, word in spans)) == labels
    assert [f"<{answer}>"[start:end].lower() for start, end, _ in spans] == [word for _, _, word in spans]
    assert extract_labels(answer, "list", WheelSet.load(protocol="corrected")).labels == labels


@pytest.mark.parametrize("answer", PLAIN + WHOLE)
def test_words_between_separators_stay_whole(answer: str) -> None:
    assert is_plain(answer) or answer in WHOLE
    written = [word.strip() for word in answer.lower().replace(" and ", ",").translate(COMMAS).split(",")]
    assert split_labels(answer) == tuple(written)


COMMAS = str.maketrans(";；，、/", ",,,,,")


def test_a_picture_alone_is_a_word_and_beside_one_is_none() -> None:
    assert split_labels("😀") == ("😀",)
    assert split_labels("happy 😀") == ("happy",)


def test_a_piece_of_many_words_is_a_word_where_no_other_is() -> None:
    sentence = "I will think before I name an emotion."
    assert split_labels(sentence) == ("i will think before i name an emotion",)
    assert split_labels(f"{sentence}\nhappy") == ("happy",)


def test_the_tags_of_a_response_may_hold_a_form() -> None:
    for answer in ('```json\n["happy", "sad"]\n```', "Emotions: happy, sad", '{"happy": 0.8, "sad": 0.2}'):
        assert parse_response(f"<think>a</think><answer>{answer}</answer>").labels == ("happy", "sad")


@pytest.mark.parametrize(
    ("field", "misread"),
    [
        ("happy, sad", False),
        ("['Happy', \"at  ease\"]", False),
        (["happy", "Sad "], False),
        (["happy, sad"], True),
        ("happy, sad.", True),
        ("happy; sad", True),
        ('{"happy": 0.8}', True),
        ("I'm afraid I can't say.", True),
        (None, False),
        (7, False),
    ],
)
def test_an_answer_is_misread_where_the_official_parser_reads_other_words(field: object, misread: bool) -> None:
    assert is_misread(field) == misread


@pytest.mark.parametrize("protocol", ["official", "corrected"])
def test_a_score_says_how_many_answers_the_official_parser_misreads(
    tmp_path: Path, protocol: str, capsys: pytest.CaptureFixture[str]
) -> None:
    answers = {"a": "Emotions: happy", "b": "happy", "c": ["happy"], "d": '```json\n["happy"]\n```'}
    gold = write(tmp_path / "gold.jsonl", *({"id": name, "labels": ["happy"]} for name in answers))
    pred = write(tmp_path / "pred.jsonl", *({"id": name, "labels": labels} for name, labels in answers.items()))
    result = run(gold, pred, Settings(protocol=protocol))
    assert result["misread"] == 2
    assert "2 answers hold other words to the official parser than to the corrected one" in capsys.readouterr().out
    assert result["open_vocabulary"]["recall"] == pytest.approx(1.0 if protocol == "corrected" else 0.75)


def test_the_official_parser_stays_as_it_is() -> None:
    assert official_labels('```json\n["happy"]\n```') == ("```json\n[", "happy", "]\n```")
    assert official_labels("happy: 0.8") == ("happy: 0.8",)


PIECES = st.sampled_from(
    ["{", "}", "[", "]", ":", "=", "```", "json", "\\boxed{", "\n", " - ", "happy", "sad", ", ", '"', "'", "0.8", "0",
     "(", ")", "1) ", "reason: ", "emotion: ", "the emotions are ", "she is ", " and ", ". ", "confidence", "</think>",
     "情绪：", "和"]
)  # fmt: skip


@given(st.lists(PIECES | st.text(max_size=3)).map("".join))
def test_any_text_keeps_its_length_and_its_words_their_places(text: str) -> None:
    read = plain(text)
    assert len(read) == len(text)
    assert all(new == old or new in ",:\n" for new, old in zip(read, text, strict=True))
    labels = split_labels(text)
    assert tuple(dict.fromkeys(word for _, _, word in word_spans(text, 0, len(text)))) == labels


HOSTILE = ["{", "}", "\\boxed{", "\\boxed{}", "```", "``` a", ":", "a:", "a:\n", "reason:", "emotion: ", "- ", " - ",
           "(", "a(", "1)", "0.", "1%", "the emotions of ", "she is ", ". ", "happy because ", "a ", " ", "\n",
           " is the emotion", "i call as ", ". i hope ", "a hint of ", " #a", "and/or ",
           "\n \n:", "和高"]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("piece", HOSTILE)
def test_hostile_text_takes_time_in_proportion_to_its_length(piece: str) -> None:
    text = piece * (50_000 // len(piece))
    with processor_time(3):
        split_labels(text)
        word_spans(text, 0, len(text))
