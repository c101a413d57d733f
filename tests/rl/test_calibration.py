"""Slow-fast confidence: the token table, anchors in any tokenization, the two rewards, and where they do not apply."""

from __future__ import annotations

from collections import Counter
from math import exp, isnan, log, nan
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mer_r1.emotion.compiled import CompiledWheels, pack
from mer_r1.emotion.wheel import WheelSet
from mer_r1.errors import InputError
from mer_r1.models.backbone import Backbone
from mer_r1.models.category_confidence import AnchorConfidence, CategoryTokens, category_tokens
from mer_r1.models.tiny.omni import tiny_tokenizer
from mer_r1.models.token_offsets import require_byte_level, text_and_starts
from mer_r1.objectives import ConfidenceLevel, SharedTokens
from mer_r1.rl.calibration import CLIP, calibration_pair, without_noise
from mer_r1.synthetic.corpus import minimer_texts
from tests.small_wheels import CATEGORIES, IDS, SMALL
from tests.word_pieces import Pieces, Words, glued_tokenizer, sentence_pieces, whole_words

WHEELS = {"small": SMALL, "builtin": WheelSet.load("builtin"), "corrected": WheelSet.load(protocol="corrected")}


@pytest.fixture(scope="module")
def glued() -> Backbone:
    return Words(glued_tokenizer())


@pytest.fixture(scope="module")
def tiny() -> Backbone:
    """The tiny model's tokenizer, without the model."""
    return Words(tiny_tokenizer(minimer_texts(300)))


@pytest.fixture(scope="module")
def letters() -> Backbone:
    """One id a byte: a word opens with its first letter, and after a space with the space."""
    return Words(Pieces())


def _ids_of(backbone: Backbone, wheels: WheelSet, shared_tokens: SharedTokens) -> list[list[set[int]]]:
    """By wheel and category the ids that count, from a walk over all words and both ways of writing one."""
    ids_of: list[list[set[int]]] = [[set() for _ in names] for names in wheels.categories_of]
    for word in wheels.words:
        opening = {backbone.text_ids(text)[0] for text in (word, " " + word)}
        for wheel, categories in enumerate(wheels.lookup(word) or ()):
            for category in categories:
                ids_of[wheel][category] |= opening
    if shared_tokens == "drop":
        for of_wheel in ids_of:
            times = Counter(ident for ids in of_wheel for ident in ids)
            for ids in of_wheel:
                ids -= {ident for ident, num in times.items() if num > 1}
    return ids_of


@pytest.mark.parametrize("shared_tokens", ["count", "drop"])
@pytest.mark.parametrize("name", WHEELS)
def test_the_token_table_holds_the_first_ids_of_every_word_of_every_category(
    tiny: Backbone, name: str, shared_tokens: SharedTokens
) -> None:
    wheels = WHEELS[name]
    tokens = category_tokens(tiny, wheels, shared_tokens)
    expected = _ids_of(tiny, wheels, shared_tokens)
    for wheel, names in enumerate(wheels.categories_of):
        for category in range(len(names)):
            marks = tokens.member_NC[:, tokens.column(wheel, category)]
            assert set(tokens.ids_N[marks > 0].tolist()) == expected[wheel][category]
    assert tokens.member_NC.shape == (len(set(tokens.ids_N.tolist())), sum(map(len, wheels.categories_of)))
    assert set(tokens.member_NC.flatten().tolist()) == {0.0, 1.0}  # an id counts once, however many words open with it


TABLES: dict[tuple[str, SharedTokens], tuple[CategoryTokens, list[set[int]], int]] = {}


@settings(max_examples=60)
@given(
    st.sampled_from(["small", "builtin"]),
    st.sampled_from(["count", "drop"]),
    st.integers(0, 2**31),
    st.sampled_from([0.1, 1.0, 5.0, 30.0]),
)
def test_confidence_is_the_log_of_the_summed_probabilities(
    tiny: Backbone, name: str, shared_tokens: SharedTokens, seed: int, spread: float
) -> None:
    """Eq. 1, by hand, for flat and for sharp distributions."""
    key = (name, shared_tokens)
    if key not in TABLES:
        by_wheel = _ids_of(tiny, WHEELS[name], shared_tokens)
        TABLES[key] = (
            category_tokens(tiny, WHEELS[name], shared_tokens),
            [ids for of_wheel in by_wheel for ids in of_wheel],
            len(tiny.tokenizer) + 7,  # rows that pad the embedding table
        )
    tokens, ids_of, size = TABLES[key]
    logits = spread * torch.randn(3, size, generator=torch.Generator().manual_seed(seed))
    log_p = logits.double().log_softmax(-1)
    made = tokens.log_confidence(log_p).tolist()
    for row_V, made_C in zip(log_p.tolist(), made, strict=True):
        for ids, confidence in zip(ids_of, made_C, strict=True):
            if ids:
                by_hand = log(max(sum(exp(row_V[ident]) for ident in ids), 1e-10))
                assert confidence == pytest.approx(by_hand, abs=1e-6)
            else:
                assert isnan(confidence)


def test_a_shared_id_counts_for_all_its_categories_or_for_none(letters: Backbone) -> None:
    """In four wheels joy has happy, glad and at ease, anger angry, sadness sad; in the fifth "at ease" has no home."""
    h, g, a, s = (ord(letter) for letter in "hgas")
    log_p = torch.full((1, 256), 1e-9).index_put((torch.tensor([0]), torch.tensor([h])), torch.tensor(0.5))
    log_p[0, g], log_p[0, a], log_p[0, s], log_p[0, ord(" ")] = 0.2, 0.1, 0.05, 0.15
    expected = {
        "count": [0.5 + 0.2 + 0.1 + 0.15, 0.1 + 0.15, 0.05 + 0.15] * 4 + [0.5 + 0.2 + 0.15, 0.1 + 0.15],
        "drop": [0.5 + 0.2, nan, 0.05] * 4 + [0.5 + 0.2, 0.1],
    }
    for shared_tokens in ("count", "drop"):
        made = category_tokens(letters, SMALL, shared_tokens).log_confidence(log_p.log())
        assert made.exp()[0].tolist() == pytest.approx(expected[shared_tokens], rel=1e-6, nan_ok=True)


def test_a_category_without_ids_left_gives_its_words_no_gap(letters: Backbone) -> None:
    """Dropped, "angry" has its only id in the fifth wheel, and what the others say does not matter."""
    tokens = category_tokens(letters, SMALL, "drop")
    slow, fast = (torch.full((2, 256), p).log() for p in (0.2, 0.1))
    slow[:, ord("a")] = log(0.3)
    ids_A = torch.tensor([ord("a"), ord("s")])
    before, after = (tokens.confidence(log_p, ids_A) for log_p in (slow, fast))
    plus, minus = calibration_pair(["angry", "sad"], before, after, SMALL.map_set(["happy"]), tokens, SMALL)
    assert isnan(plus)
    assert minus == pytest.approx((-log(3) - log(2)) / 2)  # "sad" has no home in the fifth
    gold = (*SMALL.map_set(["happy"])[:4], frozenset[int]())
    plus, minus = calibration_pair(["angry"], _first(before), _first(after), gold, tokens, SMALL)
    assert isnan(plus)
    assert isnan(minus)
    plus, minus = calibration_pair(["angry"], _first(before), _first(after), SMALL.map_set(["angry"]), tokens, SMALL)
    assert plus == pytest.approx(log(3))
    assert isnan(minus)


def _first(side: AnchorConfidence) -> AnchorConfidence:
    return AnchorConfidence(side.category_AC[:1], side.word_A[:1])


@pytest.mark.parametrize("shared_tokens", ["count", "drop"])
def test_a_category_that_has_no_words_has_no_probability(letters: Backbone, shared_tokens: SharedTokens) -> None:
    """That is a number, unlike a category whose ids were dropped."""
    names = (("joy", "anger", "sadness", "awe"),) * 4 + CATEGORIES[4:]
    packed = {word: pack(ids, names) for word, ids in IDS.items()}
    wheels = WheelSet(CompiledWheels("wide", SMALL.names, SMALL.titles, names, packed))
    tokens = category_tokens(letters, wheels, shared_tokens)
    made = tokens.log_confidence(torch.full((1, 256), -1.0))
    assert float(made[0, tokens.column(0, 3)]) == pytest.approx(log(1e-10))


def test_both_levels_of_confidence_are_read_at_once_and_without_gradient(tiny: Backbone) -> None:
    tokens = category_tokens(tiny, SMALL)
    logits = torch.randn(3, len(tiny.tokenizer), requires_grad=True)
    log_p = logits.log_softmax(-1)
    made = tokens.confidence(log_p, torch.tensor([5, 0, 7]))
    torch.testing.assert_close(made.category_AC, tokens.log_confidence(log_p))
    assert made.word_A.tolist() == pytest.approx(log_p.detach()[[0, 1, 2], [5, 0, 7]].tolist())
    assert not made.category_AC.requires_grad
    assert not made.word_A.requires_grad


def test_confidence_of_almost_nothing_is_a_number(letters: Backbone) -> None:
    log_p = torch.full((1, 256), float("-inf"))
    made = category_tokens(letters, SMALL).confidence(log_p, torch.tensor([ord("h")]))
    assert made.category_AC.tolist() == [pytest.approx([log(1e-10)] * 14)]
    assert made.word_A.tolist() == [pytest.approx(log(1e-10))]


@pytest.mark.parametrize("make", [sentence_pieces, whole_words])
def test_a_tokenizer_that_is_not_byte_level_is_refused(make: Any) -> None:
    backbone = Words(make())
    with pytest.raises(InputError, match="byte-level") as caught:
        category_tokens(backbone, SMALL)
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match=r"a folder: .*byte-level"):
        require_byte_level(backbone.tokenizer, "a folder")


def test_ids_of_a_tokenizer_that_is_not_byte_level_are_refused_by_its_name() -> None:
    backbone = Words(sentence_pieces())
    with pytest.raises(InputError, match=r"spiece: .*byte-level"):
        text_and_starts(backbone, backbone.text_ids("so happy"))


def test_byte_level_tokenizers_are_taken(tiny: Backbone, glued: Backbone, letters: Backbone) -> None:
    for backbone in (tiny, glued, letters):
        require_byte_level(backbone.tokenizer)


def _confidences(**by_category: float) -> tuple[CategoryTokens, Tensor]:
    """Columns of SMALL (joy, anger, sadness of four wheels, joy and anger of the fifth), alike in all wheels."""
    offsets = (0, 3, 6, 9, 12)
    row = [by_category.get(name, 0.0) for names in SMALL.categories_of for name in names]
    nothing = torch.zeros(0, dtype=torch.long), torch.zeros(0, 14, dtype=torch.float64)
    return CategoryTokens(*nothing, offsets, torch.zeros(14, dtype=torch.bool)), torch.tensor(row)


def _rewards(words: list[str], gold: list[str], slow: dict[str, float], fast: dict[str, float]) -> tuple[float, float]:
    tokens, slow_C = _confidences(**slow)
    _, fast_C = _confidences(**fast)
    slow_side, fast_side = (_side(conf_C, len(words)) for conf_C in (slow_C, fast_C))
    return calibration_pair(words, slow_side, fast_side, SMALL.map_set(gold), tokens, SMALL)


def _side(conf_C: Tensor, num_anchors: int) -> AnchorConfidence:
    """The same confidence of categories at every anchor, and none of words."""
    return AnchorConfidence(conf_C.repeat(num_anchors, 1), torch.full((num_anchors,), nan))


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
    plus, minus = calibration_pair(["happy"], _side(slow_C, 1), _side(fast_C, 1), gold, tokens, SMALL)
    assert [plus, minus] == pytest.approx([1.5, -4.0])


@pytest.mark.parametrize(("words", "gold"), [([], ["glad"]), (["lost", "unheard of"], ["glad"]), (["happy"], ["lost"])])
def test_words_without_a_place_say_nothing(words: list[str], gold: list[str]) -> None:
    assert all(isnan(reward) for reward in _rewards(words, gold, {"joy": -1.0}, {"joy": -2.0}))


def test_the_gap_of_one_word_is_bounded() -> None:
    assert _rewards(["happy"], ["glad"], {"joy": -0.1}, {"joy": -23.0})[0] == pytest.approx(CLIP)
    assert _rewards(["angry"], ["glad"], {"anger": -0.1}, {"anger": -23.0})[1] == pytest.approx(-CLIP)


@pytest.mark.parametrize("level", ["category", "word"])
def test_word_level_takes_the_gap_of_the_word_itself_and_correctness_of_the_wheels(level: ConfidenceLevel) -> None:
    """Ablation A1; categories say 1 and -3 here, words 0.5 and 2."""
    tokens, slow_C = _confidences(joy=-1.0, anger=-4.0)
    _, fast_C = _confidences(joy=-2.0, anger=-1.0)
    slow = AnchorConfidence(slow_C.repeat(2, 1), torch.tensor([-1.0, -1.0]))
    fast = AnchorConfidence(fast_C.repeat(2, 1), torch.tensor([-1.5, -3.0]))
    made = calibration_pair(["happy", "angry"], slow, fast, SMALL.map_set(["glad"]), tokens, SMALL, level)
    assert made == pytest.approx((1.0, 3.0) if level == "category" else (0.5, -2.0))


def test_a_gap_of_words_is_bounded_and_words_without_a_place_say_nothing() -> None:
    tokens, row_C = _confidences()
    slow, fast = (AnchorConfidence(row_C.repeat(2, 1), torch.tensor([word, word])) for word in (-0.1, -23.0))
    made = calibration_pair(["happy", "lost"], slow, fast, SMALL.map_set(["glad"]), tokens, SMALL, "word")
    assert made == pytest.approx((CLIP, nan), nan_ok=True)


def test_a_group_that_spreads_less_than_the_floor_has_no_spread_and_keeps_its_mean() -> None:
    near, far, absent = [0.30, 0.31, 0.32, 0.31], [0.1, 0.4, 0.2, 0.3], [nan, 0.5, 0.51, nan]
    pairs_PG2 = torch.stack([torch.tensor([near, far, absent]), torch.tensor([far, near, [nan] * 4])], dim=-1)
    made = without_noise(pairs_PG2, 0.02)
    assert made[0, :, 0].tolist() == pytest.approx([0.31] * 4)
    assert torch.equal(made[0, :, 1], pairs_PG2[0, :, 1])
    assert torch.equal(made[1, :, 0], pairs_PG2[1, :, 0])
    assert made[2, :, 0].nan_to_num(-1).tolist() == pytest.approx([-1, 0.505, 0.505, -1])
    assert made[2, :, 1].isnan().all()
    assert torch.equal(without_noise(pairs_PG2, 0.0).nan_to_num(-1), pairs_PG2.nan_to_num(-1))
    std = pairs_PG2[0, :, 0].std()
    assert made[0, :, 0].std() < 1e-6 < std < 0.02
    assert torch.equal(without_noise(pairs_PG2, float(std) * 0.99)[0, :, 0], pairs_PG2[0, :, 0])
