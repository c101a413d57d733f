"""Refusals: no emotion word is read out of one, each is counted, and no answer is taken for one."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mer_r1.data.labels import corrected_labels, official_labels
from mer_r1.data.refusals import is_refusal, refuses, without_refusals
from mer_r1.emotion.wheel import WheelSet
from mer_r1.evaluation.score import Settings
from mer_r1.prompting.label_extractors import LABEL_EXTRACTORS, extract_labels
from mer_r1.prompting.response import RESPONSE_FORMATS, parse_response
from tests.evaluation.scoring import run, write
from tests.linear import processor_time

WHEELS = WheelSet.load(protocol="corrected")

REFUSALS = [
    "I'm afraid I can't help with identifying a person's emotions.",
    "Sorry, but guessing what somebody feels would not be right. I am happy to help with something else.",
    "I'm sorry, but I can't determine someone's emotional state (e.g., happy, sad, angry) from an image.",
    "I’m sorry, I can’t help with that.",
    "I apologize, but I am unable to identify emotions such as happiness, anger, or sadness from images.",
    "As an AI language model, I don't have feelings or emotions like happiness or sadness.",
    "As an AI, I cannot tell whether the person is happy or sad.",
    "I'm not able to determine if the person in the video is angry, sad, or happy.",
    "It is impossible to say whether he is happy or sad from a single frame.",
    "It's hard to tell if she is happy or sad.",
    "Unable to determine the emotion; it could be speculation to call her happy.",
    "I cannot identify emotions from images. I'd be happy to describe what I see instead!",
    "Sorry, I can't assist with that. Happy to help with something else!",
    "I'm really sorry, but I won't speculate about whether she's angry.",
    "My apologies, but I am not comfortable making guesses about someone's feelings. I'm glad to help otherwise.",
    "Unfortunately, I can't watch videos. I would be delighted to help if you describe the scene.",
    "There is not enough information to determine whether the speaker is sad.",
    "There's insufficient context to say if the man is happy.",
    "I don't think it's appropriate to guess if he's angry or calm.",
    "抱歉，我无法判断视频中人物的情绪。",
    "对不起，作为一个AI语言模型，我不能识别人的情绪。",
    "抱歉，我无法判断他是 happy 还是 sad。",
    "I cannot determine the person's happiness from this clip.",
    "I'm sorry, but emotions such as joy or anger cannot be determined from a still image.",
    "Emotions such as joy or anger can't be inferred from a still image.",
    "Whether she is happy or sad is unclear.",
    "I am uncomfortable with inferring feelings. I'm glad to describe clothing.",
    "I am not going to guess. I am here to help!",
    "I'm sorry. I can't do that.",
    "I can't help with that, sorry.",
    "I appreciate your interest, but I can't identify people's feelings.",
    "I regret that I can't help. I love helping, though.",
    "Thank you for your understanding and patience. I cannot infer emotions.",
    "If you're feeling sad or anxious, please reach out to someone. I can't infer feelings of others.",
    "I must respectfully decline to guess her feelings.",
    "No video was provided, so I can't tell if anyone is happy.",
    "We are sorry, but this model cannot recognise emotions like fear, anger or surprise.",
    "Afraid I can't help there.",
    "Unfortunately, no emotion can be determined with confidence.",
    "I'm sorry for any confusion. The video did not load.",
    "Sadly, I cannot view this content.",
    "It would be wrong to call him happy.",
    "没有足够的信息来判断",
    "不知道。",
    "I do not experience joy or sadness.",
    "\"I'm sorry, I can't help with that.\"",
    "I don't feel comfortable labeling this person as sad, angry, or happy.",
    "I'm afraid that isn't something I can do. I'm happy to talk about colours.",
    "I am unable to view the video, so I can't say if she is excited or nervous.",
    "It would be inappropriate for me to guess whether he feels ashamed or proud.",
    "I wouldn't be confident in saying she is happy.",
    "I can't make assumptions about someone's mood, happy or otherwise.",
    "Reading someone's feelings is a sensitive matter, so I must decline to answer.",
    "It is not possible to reliably determine her mood, be it joy, sorrow, or anger.",
    "I can’t provide labels like ‘happy’ or ‘sad’.",
    "I'm just an AI, so I'm never sad or happy.",
    "I'm sorry, but as a responsible assistant I would rather not label anybody as angry.",
    "Sorry about that! I'm unable to process the clip.",
    "I must apologize; identifying feelings from faces isn't something I do. I'd love to help with other things.",
    "I'm not able to provide that. Is there something else I can help you with? I'm happy to assist!",
    "I cannot comply with this request.",
    "Sorry, no.",
    "I do not have the ability to see images, so I cannot tell how happy or sad anyone is.",
    "I'm unable to assist with that request. If you're feeling upset, please talk to a friend.",
    "It's not possible for me to determine whether the individual is experiencing joy, sadness, or anger.",
    "As a language model, I have no way of knowing if they are afraid.",
    "I can't see any person in the image, so there are no emotions, such as happiness, to report.",
    "I don't have enough information to determine the emotion.",
    "There isn't enough information in the clip to determine whether she is angry.",
    "The emotional state cannot be determined from the given information.",
    "The emotion is unclear.",
    "Unfortunately I cannot identify emotions from images. I hope that helps and have a wonderful day!",
    "I'm sorry to disappoint you, but I can't do facial emotion analysis.",
    "Regrettably, I'm unable to say whether he's content or disappointed.",
    "I apologise for the inconvenience. I can't process videos.",
    "I would love to help, but inferring feelings such as anger is against my guidelines.",
    "My apologies. I am an AI and cannot perceive happiness or sadness.",
    "I'm afraid not.",
    "I'm afraid that I don't know.",
    "Sorry! I can't.",
    "Oh, I'm so sorry, I really can't say if he is nervous.",
    "No emotion can be determined.",
    "I cannot in good conscience guess whether she is depressed.",
    "I'd rather not speculate about whether the man is jealous.",
    "I'm hesitant to guess her feelings.",
    "Emotions like anger, joy, and fear are beyond what I can determine.",
    "我无法识别图片中人物的情绪，很抱歉。",
    "很遗憾，我不能提供帮助。",
    "作为AI助手，我没有情感。",
    "我很乐意帮助你，但是我无法分析情绪。",
    "无法确定。",
]

ANSWERS = {
    "I can't be certain, but she looks happy.": ("happy",),
    "I cannot be sure, but the man seems sad and worried.": ("sad", "worried"),
    "While I can't determine the cause, she is sad.": ("sad",),
    "It's hard to say, but he might be angry.": ("angry",),
    "It is hard to tell, she might be happy.": ("happy",),
    "He is afraid because he can't breathe.": ("afraid",),
    "She looks sorry.": ("sorry",),
    "He is happy to help her friend.": ("happy",),
    "She is happy to help her friend and he is glad.": ("happy", "glad"),
    "As an AI, I can't feel emotions, but the person in the video appears angry.": ("angry",),
    "I'm sorry for the delay. The woman is sad.": ("sad",),
    "I think she is sorry.": ("sorry",),
    'The woman says "I\'m so happy", and smiles.': ("happy", "smiles"),
    "He says that I'm sorry, and looks ashamed.": ("sorry", "ashamed"),
    "I am certain that she is sad.": ("sad",),
    "I see a happy man.": ("happy",),
    "I would say that he is worried.": ("worried",),
    "The man can't hide his joy.": ("joy",),
    "She cannot contain her excitement.": ("excitement",),
    "He can't help but smile.": ("smile",),
    "I can't help but notice that she is happy.": ("happy",),
    "She is unable to hide her sadness.": ("sadness",),
    "He is unable to speak and looks afraid.": ("afraid",),
    "He is anything but happy.": (),
    "Sorry! Happy to help with another video, though.": (),
    "He couldn't be happier.": ("happier",),
    "She could not be more excited.": ("excited",),
    "He couldn't be happy there.": (),
    "Instead of joy there is fear.": ("fear",),
    "He is not so much angry as disappointed.": ("disappointed",),
    "I cannot deny that she looks joyful.": ("joyful",),
    "She shows little joy.": (),
    "Sadly, she looks down.": ("sadly",),
    "She is far from calm.": (),
    "He is neither angry nor sad.": (),
    "Not at all happy.": (),
    "He is not happy at all.": (),
    "She is sad rather than angry.": ("sad",),
    "There is no sign of anger; he is calm.": ("calm",),
    "He doesn't seem to be very happy.": (),
    "He is nothing short of ecstatic.": ("ecstatic",),
    "Happiness is not visible; she is sad.": ("sad",),
    "Anger is absent.": (),
    "He is no longer sad.": (),
    "He rarely looks happy.": (),
    "She fails to look happy.": (),
    "He isn't smiling and she looks sad.": ("sad",),
    "Nowhere near happy.": (),
    "She is anything but calm; she is furious.": ("furious",),
    "He is sad, as opposed to angry.": ("sad",),
    "There are no obvious outward signs of happiness.": (),
    "I am not able to hear the audio, but the face shows fear.": ("fear",),
    "Although I cannot see his face, he sounds angry.": ("angry",),
    "Although I can't see the face clearly, the voice sounds happy.": ("happy",),
    "Sorry, ashamed.": ("sorry", "ashamed"),
    "Afraid and nervous.": ("afraid", "nervous"),
    "Happy to see her friend, she smiles.": ("happy", "smiles"),
    "The woman can't tell the truth and is afraid.": ("afraid",),
    "I believe he can't say what he wants and is frustrated.": ("frustrated",),
    "She is sad and cannot be comforted.": ("sad",),
    "The cause cannot be determined, but he is sad.": ("sad",),
    "He does not know what to do and is worried.": ("worried",),
    "Without doubt he is happy.": ("happy",),
    "She is not only sad but also angry.": ("sad", "angry"),
    "The person looks happy. I cannot identify who it is.": ("happy",),
    "I'm sorry, I can't identify the person, but they look sad.": ("sad",),
    "I can't tell you who this is. The person appears calm.": ("calm",),
    "He is hard to read yet clearly angry.": ("angry",),
    "The man finds it hard to say goodbye and is sad.": ("sad",),
    "The emotion is happy. Let me know if I can help further!": ("happy",),
    "他无法掩饰喜悦, he is happy": ("happy",),
    "It is difficult to know for certain; the woman is likely sad.": ("sad",),
    "I'm not sure, maybe happy?": ("happy",),
    "No, he is not happy, he is calm.": ("calm",),
    "She doesn't look happy but rather sad.": ("sad",),
    "He may not be happy.": (),
    "The man is not smiling; he is upset.": ("upset",),
    "He never hides his anger.": ("anger",),
    "There is not enough light, but the man sounds angry.": ("angry",),
    "His words are hard to understand, yet he is happy.": ("happy",),
    "The subtitle reads: I'm afraid. Her voice is loud.": ("afraid",),
    'The man says, "I can\'t do this anymore," his voice is sad.': ("sad",),
    "She looks at the camera and says I'm so happy for you. Her smile is wide.": ("happy", "smile"),
    "In the subtitle, \"I'm sorry, I can't help you\", the man seems ashamed.": ("sorry", "ashamed"),
    "The woman appears sorry and apologetic.": ("sorry", "apologetic"),
    "The girl is unable to speak; she is shocked.": ("shocked",),
    "He can't believe it and is surprised.": ("surprised",),
    "I think the man is afraid of losing her.": ("afraid",),
    "I feel that she is worried.": ("worried",),
    "I'm fairly confident the speaker is annoyed.": ("annoyed",),
    "The speaker doesn't know what to say, seeming embarrassed.": ("embarrassed",),
    "She cannot accept the loss and is heartbroken.": ("heartbroken",),
    "He says he is not afraid, but he is nervous.": ("nervous",),
    "We can see that he is angry.": ("angry",),
    "From the video, I can tell she is happy.": ("happy",),
    "I cannot tell his age; he is angry.": ("angry",),
    "I can't identify the person but the emotion is joy.": ("joy",),
    "It is difficult for him to speak, and he is sad.": ("sad",),
    "He is sad because he is unable to help her.": ("sad",),
    "They are happy to help.": ("happy",),
    "Her voice is neutral, no strong emotion can be determined.": ("neutral",),
    "The man is as happy as can be.": ("happy",),
    "The person is not only not happy, but angry.": ("angry",),
    "She isn't angry; she's hurt.": ("hurt",),
    "He doesn't appear to be in any way distressed, rather relaxed.": ("relaxed",),
    "Neither joy nor sadness, but pure anger.": ("anger",),
    "She shows anything but joy, namely disgust.": ("disgust",),
    "The man is hardly calm.": (),
    "He can't wait to go and is excited.": ("excited",),
    "As an aide, he is proud.": ("proud",),
    "The AI character looks happy.": ("happy",),
    "The model looks sad.": ("sad",),
    "She can't stop crying and is sad.": ("crying", "sad"),
    "No matter how hard he tries, he is sad.": ("sad",),
    "I don't doubt that he's happy.": ("happy",),
    "Unlike her friend, she is calm.": ("calm",),
    "He feels sorry for her.": ("sorry",),
    "She is afraid that he can't come.": ("afraid",),
    'The text reads "unable to determine", and the man is sad.': ("sad",),
    "他无法控制愤怒 angry": ("angry",),
    "He is overwhelmed and can't say a word.": ("overwhelmed",),
    "Her tone is sad, and she is not sure what to do.": ("sad",),
    "She has lost her job. She can't tell her family and is worried.": ("lost", "worried"),
    "There's no anger in his voice, only sadness.": ("sadness",),
    "The lack of joy is evident; he is sad.": ("sad",),
    "He isn't particularly happy or sad; neutral.": ("neutral",),
}

TAGGED = {
    "list": "{}",
    "r1-omni": "<think>a face</think><answer>{}</answer>",
    "humanomni-v2": "<context>a room</context><think>a face</think><answer>{}</answer>",
    "affectgpt": "{}",
    "description": "{}",
    "think_answer": "<think>a face</think><answer>{}</answer>",
    "answer_think_answer": "<answer>sad</answer><think>a face</think><answer>{}</answer>",
    "set_steps": "<step1>a</step1><step2>b</step2><step3>c</step3>\\boxed{{{}}}",
}


@pytest.mark.parametrize("text", REFUSALS, ids=lambda text: text[:40])
def test_a_refusal_names_no_emotion_in_any_style(text: str) -> None:
    assert refuses(text)
    assert set(TAGGED) == set(LABEL_EXTRACTORS)
    for style, form in TAGGED.items():
        assert extract_labels(form.format(text), style, WHEELS) == ((), "no_answer"), style


@pytest.mark.parametrize(("text", "labels"), ANSWERS.items(), ids=lambda value: str(value)[:40])
def test_an_answer_beside_a_refusal_or_a_negation_stays(text: str, labels: tuple[str, ...]) -> None:
    assert extract_labels(text, "description", WHEELS).labels == labels
    assert extract_labels(text, "affectgpt", WHEELS).labels == labels


@pytest.mark.parametrize(
    "answer", ["afraid, sorry", "Sorry, ashamed", "uncertain", "unsure, hesitant", "难以置信，害怕", "内疚，抱歉"]
)
def test_words_that_refusals_hold_too_are_words(answer: str) -> None:
    assert not refuses(answer)
    assert len(parse_response(f"<answer>{answer}</answer>").labels) == len(corrected_labels(answer)) > 0


def test_an_answer_block_that_refuses_is_no_answer_and_earns_no_format_reward() -> None:
    text = "<think>a face</think><answer>I'm sorry, I can't identify emotions, happy or sad.</answer>"
    response = parse_response(text)
    assert (response.labels, response.status, response.well_formed) == ((), "no_answer", False)
    assert RESPONSE_FORMATS["think_answer"].spans(text) == ()


def test_a_state_that_refuses_is_no_state() -> None:
    for state in ("unable to determine", "cannot be determined", "抱歉，我无法判断情绪"):
        text = f"The person's emotional state is {state}."
        assert extract_labels(text, "affectgpt", WHEELS) == ((), "no_answer")


def test_a_raw_label_that_refuses_has_no_words_under_the_corrected_protocol_alone() -> None:
    text = "I'm afraid I can't say, sorry"
    assert is_refusal(text)
    assert corrected_labels(text) == ()
    assert official_labels(text) == ("i", "m afraid i can", "t say", "sorry")
    assert not is_refusal("I can't determine the cause, but she looks sad.")


def test_refusals_are_counted_among_the_unanswered(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = ["refusal", "answer", "empty", "tagged", "cut"]
    gold = write(tmp_path / "gold.jsonl", *({"id": name, "labels": ["happy"]} for name in names))
    raw = [
        "I'm afraid I can't help.",
        "I can't be certain, but she looks happy.",
        "A room.",
        "As an AI, I cannot tell.",
        "",
    ]
    rows = [{"id": name, "raw": text} for name, text in zip(names, raw, strict=True)]
    rows[-1] |= {"raw": "I can't tell whether", "status": "truncated"}
    result = run(gold, write(tmp_path / "pred.jsonl", *rows), Settings(style="description"))
    assert (result["unanswered"], result["refusals"]) == (4, 2)
    assert "4 unfinished or empty answers, 2 of them refusals" in capsys.readouterr().out
    ours = [{**row, "labels": [], "status": row.get("status", "no_answer")} for row in rows]
    assert run(gold, write(tmp_path / "ours.jsonl", *ours))["refusals"] == 2
    labelled = [{"id": name, "labels": text} for name, text in zip(names, raw, strict=True)]
    assert run(gold, write(tmp_path / "labels.jsonl", *labelled))["refusals"] == 2


PIECES = st.sampled_from(
    [
        "i ",
        "i'm ",
        "can't ",
        "tell ",
        "sorry, ",
        "but ",
        "she is happy",
        ". ",
        "\n",
        '"',
        "'",
        "¶",
        "as an ai ",
        "，无法",
    ]
)


@given(st.lists(PIECES | st.text(max_size=4)).map("".join))
def test_any_text_is_read(text: str) -> None:
    assert isinstance(refuses(text), bool)
    assert is_refusal(text) <= refuses(text)
    assert set(without_refusals(text)) <= set(text.lower()) | set("¶. they\n")


HOSTILE = ["i ", "i can't ", "i am ", '"', "‘a ", "says ", "sorry ", "¶.", "it is hard to ", "impossible ", ", the ",
           " ", "\n", ".", "!x", "very ", "thank you ", "no image ", "as an ai ", "无法", "not a ",
           "sadly, ", "sorry! "]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("piece", HOSTILE)
def test_hostile_text_takes_time_in_proportion_to_its_length(piece: str) -> None:
    text = piece * (50_000 // len(piece))
    with processor_time(3):
        refuses(text)
        without_refusals(text)
