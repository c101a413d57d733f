"""Sampling: it draws from the scored distribution, repeats itself under one seed, and stops where it should."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mer_r1.models import tiny as tiny_module
from mer_r1.models.backbone import Sampling, StopText, draw
from mer_r1.models.omni import OmniBackbone, load_omni
from mer_r1.synthetic.corpus import minimer_texts
from tests.media_samples import answer_logits, control_ids, prompts_of_all_kinds, saying

GREEDY = Sampling(12, temperature=0.0)
PREFILL = "<think></think><answer>"


@pytest.fixture(scope="module")
def untagged(tmp_path_factory: pytest.TempPathFactory, one_thread: None) -> OmniBackbone:
    """A tiny Thinker whose tokenizer cuts the tags into pieces, as Qwen's does."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiny_module, "_TAGS", ())
        folder = tiny_module.write_tiny(tmp_path_factory.mktemp("untagged"), minimer_texts(50))
    return load_omni(str(folder))


def _rows(made: Any) -> list[list[int]]:
    return [ids[: int(mask.sum())] for ids, mask in zip(made.ids_BR.tolist(), made.mask_BR, strict=True)]


@pytest.mark.parametrize("prefill", ["", PREFILL])
def test_greedy_answers_are_the_argmax_of_teacher_forcing(tiny: OmniBackbone, prefill: str) -> None:
    """So the cache, its expansion and the positions of generated ids agree with the plain pass."""
    prompts = prompts_of_all_kinds(tiny)
    made = tiny.generate(tiny.encode(tiny.collate(prompts)), 2, GREEDY, prefill)
    given_ids = tiny.text_ids(prefill)
    for row, ids in enumerate(_rows(made)):
        whole = torch.tensor([[*given_ids, *ids]])
        inputs = tiny.score_inputs(tiny.encode(tiny.collate([prompts[row // 2]])), whole, torch.ones_like(whole))
        with torch.no_grad():
            logits = tiny.response_logits(tiny.model, inputs, whole.shape[1])
        assert logits[0, len(given_ids) :].argmax(-1).tolist() == ids


def test_answers_of_one_seed_are_the_same_and_of_another_differ(tiny: OmniBackbone) -> None:
    encoded = tiny.encode(tiny.collate(prompts_of_all_kinds(tiny)))

    def drawn(seed: int) -> list[list[int]]:
        torch.manual_seed(seed)
        return _rows(tiny.generate(encoded, 3, Sampling(8)))

    assert drawn(1) == drawn(1)
    assert drawn(1) != drawn(2)


def test_answers_of_a_group_differ_and_lie_beside_each_other(tiny: OmniBackbone) -> None:
    prompts = prompts_of_all_kinds(tiny)[:2]
    encoded = tiny.encode(tiny.collate(prompts))
    torch.manual_seed(0)
    assert len({tuple(row) for row in _rows(tiny.generate(encoded, 4, Sampling(8)))}) == 8
    greedy = _rows(tiny.generate(encoded, 4, GREEDY))
    alone = [_rows(tiny.generate(encoded.take([row]), 1, GREEDY))[0] for row in range(2)]
    assert greedy == [alone[0]] * 4 + [alone[1]] * 4


def test_ids_are_drawn_as_often_as_the_scored_distribution_says(tiny: OmniBackbone) -> None:
    """First ids of 4000 draws against the log-probabilities of scoring, by total variation."""
    prompt = prompts_of_all_kinds(tiny)[2]
    torch.manual_seed(0)
    made = tiny.generate(tiny.encode(tiny.collate([prompt])), 4000, Sampling(1))
    shares = torch.bincount(made.ids_BR[:, 0], minlength=len(tiny.suppressed_V)) / 4000
    wanted = answer_logits(tiny, [prompt], ["x"])[0, 0].softmax(-1)
    again = torch.bincount(wanted.multinomial(4000, replacement=True), minlength=len(wanted)) / 4000
    assert float((shares - wanted).abs().sum()) < 1.25 * float((again - wanted).abs().sum())


def test_suppressed_ids_are_never_drawn(fresh_tiny: OmniBackbone) -> None:
    """Even where the model likes them and the temperature makes all others alike."""
    controls = sorted(control_ids(fresh_tiny.tokenizer) - {fresh_tiny.tokenizer.eos_token_id})

    def like(module: Any, args: Any, logits: Tensor) -> Tensor:
        logits[..., controls] += 100.0
        return logits

    fresh_tiny.model.lm_head.register_forward_hook(like)
    encoded = fresh_tiny.encode(fresh_tiny.collate(prompts_of_all_kinds(fresh_tiny)))
    for sampling in (Sampling(20, temperature=100.0), GREEDY):
        made = fresh_tiny.generate(encoded, 20, sampling)
        assert not torch.isin(made.ids_BR[made.mask_BR.bool()], torch.tensor(controls)).any()


def test_nucleus_sampling_draws_from_the_smallest_set_that_holds_top_p() -> None:
    torch.manual_seed(0)
    logits = torch.tensor([0.1, 0.5, 0.15, 0.25]).log().expand(2000, -1)
    assert set(draw(logits, Sampling(1, top_p=0.74)).tolist()) == {1, 3}
    assert set(draw(logits, Sampling(1, top_p=0.5)).tolist()) == {1}
    shares = torch.bincount(draw(logits, Sampling(1, top_p=0.74))) / 2000
    assert float(shares[1]) == pytest.approx(2 / 3, abs=0.04)


def test_a_row_ends_with_the_stop_text_and_is_padding_after_it(tiny: OmniBackbone) -> None:
    encoded = tiny.encode(tiny.collate(prompts_of_all_kinds(tiny)[:3]))
    texts = ["<answer>happy</answer>", "<answer>a longer answer, sad</answer>", "no answer at all and no end of it"]
    rows = [tiny.text_ids(text) for text in texts]
    rows[0] = [*rows[0], *tiny.text_ids(" and more")]
    with saying(tiny, rows):
        made = tiny.generate(encoded, 1, Sampling(18))
    said = [tiny.decode(row) for row in _rows(made)]
    assert said[:2] == texts[:2]
    assert len(_rows(made)[2]) == made.ids_BR.shape[1] == 18
    assert (made.ids_BR[made.mask_BR == 0] == tiny.tokenizer.pad_token_id).all()


def test_the_end_token_ends_a_row_and_counts_as_its_own(tiny: OmniBackbone) -> None:
    end = tiny.tokenizer.eos_token_id
    with saying(tiny, [[*tiny.text_ids("so"), end, 5, 6, 7]]):
        made = tiny.generate(tiny.encode(tiny.collate(prompts_of_all_kinds(tiny)[:1])), 1, Sampling(8))
    assert _rows(made) == [[*tiny.text_ids("so"), end]]


def test_a_stop_text_cut_over_several_tokens_is_found(untagged: OmniBackbone) -> None:
    assert len(untagged.text_ids("</answer>")) >= 3
    text = "<think>level brows.</think><answer>happy</answer>"
    ids = untagged.text_ids(text)
    encoded = untagged.encode(untagged.collate(prompts_of_all_kinds(untagged)[:2]))
    with saying(untagged, [[*ids, *untagged.text_ids("<answer>sad</answer>")], untagged.text_ids("hm")]):
        made = untagged.generate(encoded, 1, Sampling(len(ids) + 9))
    assert untagged.decode(_rows(made)[0]) == text
    assert made.mask_BR[1].all()


@settings(max_examples=60)
@given(
    words=st.lists(
        st.sampled_from(["brows", ".", "brows.", "b", "</", "answer>", "<answer>", "</answer>", " ", "心", "é"]),
        max_size=12,
    ),
    stop=st.sampled_from(["</answer>", "brows.", "."]),
)
def test_a_row_is_finished_exactly_when_its_text_holds_the_stop(
    untagged: OmniBackbone, words: list[str], stop: str
) -> None:
    ids = untagged.text_ids("".join(words))
    finished = StopText(untagged, stop, 1)
    for place, ident in enumerate(ids):
        holds = stop in untagged.decode(ids[: place + 1])
        assert bool(finished(torch.tensor([ident]))[0]) == holds
        if holds:
            break
