"""Slow-fast confidence: the token table, anchors in any tokenization, the two rewards, and where they do not apply."""

from __future__ import annotations

from math import isnan, log
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mer_r1.emotion.wheel import WheelSet
from mer_r1.media import MediaBudget
from mer_r1.models.backbone import Backbone
from mer_r1.models.omni import OmniBackbone
from mer_r1.rl.calibration import (
    CLIP,
    CategoryTokens,
    calibration_rewards,
    category_tokens,
    gather_anchors,
    locate_answer,
)
from tests.small_wheels import SMALL, WORDS

WHEELS = {"small": SMALL, "builtin": WheelSet.load("builtin")}
PREFILL = "<think></think><answer>"


class _Glued(OmniBackbone):
    """A backbone that is only a tokenizer: one that cuts `<answer>happy` as Qwen's may, `>happy` in one piece."""

    def __init__(self) -> None:
        from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
        from transformers import PreTrainedTokenizerFast

        inner = Tokenizer(models.BPE())
        words = Regex(r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s+")
        inner.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Split(words, "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
        )
        inner.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=600, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
        )
        texts = [f"<think>I see.</think><answer>{word}, {word}</answer>" for word in WORDS]
        inner.train_from_iterator(texts * 20, trainer)
        tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="<|end|>", pad_token="<|pad|>")
        super().__init__(None, SimpleNamespace(tokenizer=tokenizer), MediaBudget(), "brief")


@pytest.fixture(scope="module")
def glued() -> Backbone:
    return _Glued()


@pytest.mark.parametrize("name", WHEELS)
def test_the_token_table_holds_the_first_ids_of_every_word_of_every_category(tiny: OmniBackbone, name: str) -> None:
    """Against a walk over all words, wheels and both ways of writing a word."""
    wheels = WHEELS[name]
    tokens = category_tokens(tiny, wheels)
    expected: set[tuple[int, int, str]] = set()
    for word in wheels.words:
        for wheel, categories in enumerate(wheels.lookup(word) or ()):
            for category in categories:
                for text in (word, " " + word):
                    expected.add((tiny.text_ids(text)[0], wheel, wheels.categories_of[wheel][category]))
    found = {
        (ident, wheel, category)
        for wheel, names in enumerate(wheels.categories_of)
        for c, category in enumerate(names)
        for ident in tokens.member_VC[:, tokens.column(wheel, c)].nonzero()[:, 0].tolist()
    }
    assert found == expected
    assert tokens.member_VC.shape == (tiny.suppressed_V.shape[0], sum(map(len, wheels.categories_of)))
    assert set(tokens.member_VC.flatten().tolist()) == {0.0, 1.0}  # an id counts once, however many words open with it


def test_confidence_is_the_log_of_the_summed_probabilities(tiny: OmniBackbone) -> None:
    """Eq. 1, by hand."""
    tokens = category_tokens(tiny, SMALL)
    log_p = torch.randn(3, len(tiny.suppressed_V), generator=torch.Generator().manual_seed(0)).log_softmax(-1)
    made = tokens.log_confidence(log_p)
    for wheel, names in enumerate(SMALL.categories_of):
        for c, category in enumerate(names):
            ids = {tiny.text_ids(t)[0] for word in SMALL.words_of(wheel, category) for t in (word, f" {word}")}
            for anchor in range(3):
                by_hand = log(sum(float(log_p[anchor, ident].exp()) for ident in ids))
                assert float(made[anchor, tokens.column(wheel, c)]) == pytest.approx(by_hand, abs=1e-5)


def test_confidence_of_almost_nothing_is_a_number() -> None:
    tokens = CategoryTokens(torch.eye(2), (0,) * 5)
    assert tokens.log_confidence(torch.tensor([[float("-inf"), 0.0]])).isfinite().all()


def _check_anchors(backbone: Backbone, text: str, words: list[str], ids: list[int]) -> None:
    """Every anchor is the id that covers its word's first character; the fast context ends in the same ids."""
    found = locate_answer(backbone, ids)
    assert found
    assert list(found.words) == words
    at = text.rindex("<answer>") + len("<answer>")
    for word, anchor in zip(words, found.anchors, strict=True):
        begin = text.lower().index(word, at)
        at = begin + len(word)
        assert len(backbone.decode(ids[:anchor])) <= begin < len(backbone.decode(ids[: anchor + 1]))
    fast = [*found.prefill_ids, *ids[found.start :]]
    assert backbone.decode(fast) == PREFILL + text[text.rindex("<answer>") + len("<answer>") :]
    shift = len(found.prefill_ids) - found.start
    assert [fast[anchor + shift] for anchor in found.anchors] == [ids[anchor] for anchor in found.anchors]


ANSWER_WORDS = st.lists(st.sampled_from(["happy", "glad", "angry", "sad", "lost"]), min_size=1, max_size=4, unique=True)
SEPARATORS = st.sampled_from([", ", ",", "; ", "\n", ",\n- "])


@settings(max_examples=40)
@given(ANSWER_WORDS, SEPARATORS, st.sampled_from(["", " ", "\n", "1. "]), st.sampled_from(["", "I see.", "a, b\n"]))
def test_anchors_are_the_first_tokens_of_the_words(
    tiny: OmniBackbone, glued: Backbone, words: list[str], separator: str, head: str, thought: str
) -> None:
    text = f"<think>{thought}</think><answer>{head}{separator.join(words)}</answer>"
    for backbone in (tiny, glued):
        _check_anchors(backbone, text, words, backbone.text_ids(text))


def test_a_token_that_covers_the_tag_and_the_word_belongs_to_the_answer(glued: Backbone) -> None:
    text = "<think>I see.</think><answer>happy, sad</answer>"
    ids = glued.text_ids(text)
    found = locate_answer(glued, ids)
    assert found
    assert glued.decode([ids[found.anchors[0]]]) == ">happy"
    assert found.start == found.anchors[0]
    assert glued.decode(found.prefill_ids) == PREFILL[:-1]


@pytest.mark.parametrize(
    "thought", ["Ein Lächeln – 心 \U0001f600.", "\U0001f600" * 9, "write <answer>sad</answer> here", "a\r\n\tb"]
)
def test_what_was_thought_does_not_move_the_anchors(tiny: OmniBackbone, thought: str) -> None:
    text = f"<think>{thought}</think><answer>happy, glad</answer>"
    _check_anchors(tiny, text, ["happy", "glad"], tiny.text_ids(text))


def test_bytes_that_are_no_text_do_not_move_the_anchors(tiny: OmniBackbone) -> None:
    """A policy samples tokens, not text: pieces of a character decode to U+FFFD, three bytes for one."""
    piece = tiny.text_ids("心")[:1]
    assert tiny.decode(piece) == "\ufffd"
    for head in (piece, piece * 3, [*tiny.text_ids("\U0001f600")[:2], *piece]):
        ids = [*tiny.text_ids("<think>"), *head, *tiny.text_ids("</think><answer>happy, glad</answer>")]
        _check_anchors(tiny, tiny.decode(ids), ["happy", "glad"], ids)


def test_control_tokens_do_not_move_the_anchors(tiny: OmniBackbone) -> None:
    start, end = tiny.tokenizer.convert_tokens_to_ids(["<|im_start|>", "<|im_end|>"])
    text = "<think>a</think><answer>happy, glad</answer>"
    ids = tiny.text_ids(text)
    _check_anchors(tiny, text, ["happy", "glad"], [start, *ids[:2], end, *ids[2:], end])


@pytest.mark.parametrize(
    "text", ["", "happy", "<think>a</think>", "<answer></answer>", "<answer>, .</answer>", "<answer>happy"]
)
def test_a_response_without_a_closed_answer_has_no_anchors(tiny: OmniBackbone, text: str) -> None:
    assert locate_answer(tiny, tiny.text_ids(text)) is None


@pytest.mark.parametrize(
    "text", ["<think>x</think><answer>sad</answer><answer>happy</answer>", "<answer>happy</answer>"]
)
def test_the_last_answer_is_the_one_that_counts(tiny: OmniBackbone, text: str) -> None:
    _check_anchors(tiny, text, ["happy"], tiny.text_ids(text))


def _confidences(**by_category: float) -> tuple[CategoryTokens, Tensor]:
    """Columns of SMALL (joy, anger, sadness of four wheels, joy and anger of the fifth), alike in all wheels."""
    offsets = (0, 3, 6, 9, 12)
    row = [by_category.get(name, 0.0) for names in SMALL.categories_of for name in names]
    return CategoryTokens(torch.zeros(1, 14), offsets), torch.tensor(row)


def _rewards(words: list[str], gold: list[str], slow: dict[str, float], fast: dict[str, float]) -> tuple[float, float]:
    tokens, slow_C = _confidences(**slow)
    _, fast_C = _confidences(**fast)
    times = (len(words), 1)
    return calibration_rewards(words, slow_C.repeat(times), fast_C.repeat(times), SMALL.map_set(gold), tokens, SMALL)


def test_more_confidence_in_a_correct_word_than_fast_is_rewarded() -> None:
    plus, minus = _rewards(["happy"], ["glad"], {"joy": -0.5}, {"joy": -2.0})
    assert plus == pytest.approx(1.5)
    assert isnan(minus)
    assert _rewards(["happy"], ["glad"], {"joy": -2.0}, {"joy": -0.5})[0] == pytest.approx(-1.5)


def test_more_confidence_in_an_incorrect_word_than_fast_is_punished() -> None:
    plus, minus = _rewards(["angry"], ["glad"], {"anger": -0.5}, {"anger": -2.0})
    assert isnan(plus)
    assert minus == pytest.approx(-1.5)
    assert _rewards(["angry"], ["glad"], {"anger": -2.0}, {"anger": -0.5})[1] == pytest.approx(1.5)


def test_rewards_are_means_over_the_correct_and_over_the_incorrect_words() -> None:
    """Eq. 10 and 11."""
    slow, fast = {"joy": -1.0, "anger": -1.0, "sadness": -1.0}, {"joy": -2.0, "anger": -4.0, "sadness": -3.0}
    plus, minus = _rewards(["happy", "angry"], ["glad", "sad"], slow, fast)
    assert [plus, minus] == pytest.approx([1.0, -3.0])
    plus, _ = _rewards(["happy", "angry"], ["glad", "angry"], slow, fast)
    assert plus == pytest.approx(2.0)
    # "sad" is wrong in four wheels, in the fifth it has no home; there gold has one category only
    _, minus = _rewards(["angry", "sad"], ["glad"], slow, fast)
    assert minus == pytest.approx(-2.5)


def test_correctness_is_judged_in_each_wheel_that_has_gold() -> None:
    tokens, slow_C = _confidences()
    fast_C = slow_C.clone()
    slow_C[tokens.column(0, 0)], slow_C[tokens.column(1, 0)], slow_C[tokens.column(2, 0)] = 1.0, 2.0, 4.0
    gold = (frozenset({0}), frozenset({0, 1}), frozenset({1}), frozenset[int](), frozenset[int]())
    plus, minus = calibration_rewards(["happy"], slow_C[None], fast_C[None], gold, tokens, SMALL)
    assert [plus, minus] == pytest.approx([1.5, -4.0])


@pytest.mark.parametrize(("words", "gold"), [([], ["glad"]), (["lost", "unheard of"], ["glad"]), (["happy"], ["lost"])])
def test_words_without_a_place_say_nothing(words: list[str], gold: list[str]) -> None:
    assert all(isnan(reward) for reward in _rewards(words, gold, {"joy": -1.0}, {"joy": -2.0}))


def test_the_gap_of_one_word_is_bounded() -> None:
    assert _rewards(["happy"], ["glad"], {"joy": -0.1}, {"joy": -23.0})[0] == pytest.approx(CLIP)
    assert _rewards(["angry"], ["glad"], {"anger": -0.1}, {"anger": -23.0})[1] == pytest.approx(-CLIP)


def test_gathered_anchors_are_log_probabilities_without_gradient() -> None:
    logits = torch.randn(3, 4, 7, requires_grad=True)
    made = gather_anchors(logits, [(2, 1), (0, 3)])
    assert not made.requires_grad
    torch.testing.assert_close(made, logits.detach()[[2, 0], [1, 3]].log_softmax(-1))
    assert gather_anchors(logits, []).shape == (0, 7)
