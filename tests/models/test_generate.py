"""Sampling: prompts are read once, draws follow the scored distribution alone, rows stop where they should."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mer_r1.models import backbone as backbone_module
from mer_r1.models.backbone import Backbone
from mer_r1.models.decoding import StopText, draw
from mer_r1.models.group_attention import DecodeLayout
from mer_r1.models.qwen2_5_omni import OmniBackbone, load_omni
from mer_r1.models.tiny import omni as tiny_module
from mer_r1.models.types import Generated, Sampling
from mer_r1.prompting.response import RESPONSE_FORMATS
from mer_r1.rl.rollouts import uniform_draws
from mer_r1.synthetic.corpus import minimer_texts
from tests.media_samples import answer_logits, control_ids, prompts_of_all_kinds, saying
from tests.tolerance import logit_tolerance

GREEDY = Sampling(12, temperature=0.0)
PREFILL = "<think></think><answer>"


@pytest.fixture(scope="module")
def untagged(tmp_path_factory: pytest.TempPathFactory, one_thread: None) -> OmniBackbone:
    """A tiny Thinker whose tokenizer cuts the tags into pieces, as Qwen's does."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiny_module, "_TAGS", ())
        folder = tiny_module.write_tiny(tmp_path_factory.mktemp("untagged"), minimer_texts(50))
    return load_omni(str(folder))


def _rows(made: Generated) -> list[list[int]]:
    return [ids[: int(mask.sum())] for ids, mask in zip(made.ids_BR.tolist(), made.mask_BR, strict=True)]


def test_the_cache_is_kept_in_the_precision_in_which_it_is_multiplied(tiny: OmniBackbone) -> None:
    """float32 keys and values under autocast would take twice the memory and be converted at every id."""
    batch = tiny.collate(prompts_of_all_kinds(tiny)[:1])
    with torch.autocast("cpu", torch.bfloat16):
        narrow = tiny.encode(batch)
    for encoded, dtype in ((narrow, torch.bfloat16), (tiny.encode(batch), torch.float32)):
        assert {states.dtype for states in (*encoded.keys, *encoded.values)} == {dtype}


@pytest.mark.slow
@pytest.mark.parametrize("prefill", ["", PREFILL])
def test_greedy_answers_are_the_argmax_of_teacher_forcing(tiny: OmniBackbone, prefill: str) -> None:
    """So the prompts' cache, shared by their answers, and the positions of generated ids agree with the plain pass."""
    prompts = prompts_of_all_kinds(tiny)
    made = tiny.generate(tiny.encode(tiny.collate(prompts)), 2, GREEDY, prefill)
    given_ids = tiny.text_ids(prefill)
    for row, ids in enumerate(_rows(made)):
        whole = torch.tensor([[*given_ids, *ids]])
        inputs = tiny.full_inputs(tiny.collate([prompts[row // 2]]), whole, torch.ones_like(whole))
        with torch.no_grad():
            logits = tiny.response_logits(tiny.model, inputs, whole.shape[1])
        assert logits[0, len(given_ids) :].argmax(-1).tolist() == ids


@pytest.mark.slow
@pytest.mark.parametrize("prefill", ["", PREFILL])
def test_the_logits_that_are_drawn_from_are_those_of_scoring(
    tiny: OmniBackbone, prefill: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every id of every answer, whose neighbours say other things and end elsewhere; each by a draw of its own."""
    seen: list[Tensor] = []

    def keep(logits_BV: Tensor, *args: Any) -> Tensor:
        seen.append(logits_BV)
        return draw(logits_BV, *args)

    monkeypatch.setattr(backbone_module, "draw", keep)
    prompts = prompts_of_all_kinds(tiny)
    uniform = torch.rand(3 * len(prompts), 10, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    made = tiny.generate(tiny.encode(tiny.collate(prompts)), 3, Sampling(10), prefill, uniform_BR=uniform)
    given_ids = tiny.text_ids(prefill)
    whole = torch.cat([torch.tensor(given_ids, dtype=torch.long).expand(len(made.ids_BR), -1), made.ids_BR], dim=1)
    inputs = tiny.full_inputs(
        tiny.collate([prompt for prompt in prompts for _ in range(3)]), whole, torch.ones_like(whole)
    )
    with torch.no_grad():
        scored = tiny.response_logits(tiny.model, inputs, whole.shape[1])[:, len(given_ids) :]
    real = made.mask_BR.bool()
    tolerance = logit_tolerance(tiny.model, scored[real])
    torch.testing.assert_close(torch.stack(seen, dim=1)[real], scored[real], atol=tolerance, rtol=0)
    assert torch.equal(made.ids_BR[real], draw(scored[real], Sampling(10), uniform[:, : real.shape[1]][real]))


class _Watch:
    """What passes the parts of a model: runs of towers, shapes of ids, tokens of layers, keys that are attended to."""

    def __init__(self, backbone: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
        self.towers, self.ids, self.layers = 0, list[tuple[int, ...]](), list[int]()
        self.prompt_keys: set[tuple[int, tuple[int, ...]]] = set()
        attend, watch = DecodeLayout.attend, self

        def seen(self: DecodeLayout, layer: int, *args: Any) -> Tensor:
            watch.prompt_keys.add((self.keys[layer].data_ptr(), tuple(self.keys[layer].shape)))
            return attend(self, layer, *args)

        monkeypatch.setattr(DecodeLayout, "attend", seen)
        for tower in backbone.towers():
            tower.register_forward_hook(self._tower)
        backbone.model.register_forward_pre_hook(self._forward, with_kwargs=True)
        for layer in backbone.language_model.layers:
            layer.register_forward_hook(self._layer)

    def _tower(self, *_: Any) -> None:
        self.towers += 1

    def _forward(self, _: Any, __: Any, given: dict[str, Any]) -> None:
        self.ids.append(tuple(given["input_ids"].shape))

    def _layer(self, _: Any, args: Any, __: Any) -> None:
        self.layers.append(args[0].shape[:-1].numel())


@pytest.mark.parametrize("group", [1, 8])
def test_towers_and_prompts_run_once_whatever_the_group(
    fresh_tiny: OmniBackbone, group: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After that a step reads one id of every answer, and all answers attend to the one cache of their prompt."""
    batch = fresh_tiny.collate(prompts_of_all_kinds(fresh_tiny)[:3])
    watch = _Watch(fresh_tiny, monkeypatch)
    encoded = fresh_tiny.encode(batch)
    assert watch.towers == len(fresh_tiny.towers())
    fresh_tiny.generate(encoded, group, Sampling(6, temperature=1.0), stop="no such stop")
    assert watch.towers == len(fresh_tiny.towers())
    steps = len(watch.ids) - 1
    assert 3 <= steps <= 5  # the last id is drawn and not read
    assert watch.ids == [tuple(batch.input_ids_PT.shape)] + [(3 * group, 1)] * steps
    num_layers = len(fresh_tiny.language_model.layers)
    tokens = [batch.input_ids_PT.numel()] + [3 * group] * steps
    assert watch.layers == [num for num in tokens for _ in range(num_layers)]
    assert watch.prompt_keys == {(keys.data_ptr(), tuple(keys.shape)) for keys in encoded.keys}
    assert {len(keys) for keys in encoded.keys} == {3}


def test_a_prefill_is_read_in_one_step(fresh_tiny: OmniBackbone, monkeypatch: pytest.MonkeyPatch) -> None:
    batch = fresh_tiny.collate(prompts_of_all_kinds(fresh_tiny)[:2])
    watch = _Watch(fresh_tiny, monkeypatch)
    fresh_tiny.generate(fresh_tiny.encode(batch), 3, Sampling(1), PREFILL)
    assert watch.ids[1:] == [(6, len(fresh_tiny.text_ids(PREFILL)))]


@pytest.mark.slow
def test_prompts_read_once_serve_any_number_of_answers(tiny: OmniBackbone) -> None:
    """Sampling leaves the cache as it was."""
    encoded = tiny.encode(tiny.collate(prompts_of_all_kinds(tiny)))
    before = [keys.clone() for keys in (*encoded.keys, *encoded.values)]
    first = _rows(tiny.generate(encoded, 1, GREEDY))
    tiny.generate(encoded, 4, Sampling(5))
    assert all(map(torch.equal, (*encoded.keys, *encoded.values), before))
    assert _rows(tiny.generate(encoded, 1, GREEDY)) == first


@pytest.mark.slow
def test_answers_of_one_seed_are_the_same_and_of_another_differ(tiny: OmniBackbone) -> None:
    encoded = tiny.encode(tiny.collate(prompts_of_all_kinds(tiny)))

    def drawn(seed: int) -> list[list[int]]:
        torch.manual_seed(seed)
        return _rows(tiny.generate(encoded, 3, Sampling(8)))

    assert drawn(1) == drawn(1)
    assert drawn(1) != drawn(2)


@pytest.mark.slow
def test_answers_of_a_group_differ_and_lie_beside_each_other(tiny: OmniBackbone) -> None:
    prompts = prompts_of_all_kinds(tiny)[:2]
    encoded = tiny.encode(tiny.collate(prompts))
    torch.manual_seed(0)
    assert len({tuple(row) for row in _rows(tiny.generate(encoded, 4, Sampling(8)))}) == 8
    greedy = _rows(tiny.generate(encoded, 4, GREEDY))
    alone = [_rows(tiny.generate(tiny.encode(tiny.collate([prompt])), 1, GREEDY))[0] for prompt in prompts]
    assert greedy == [alone[0]] * 4 + [alone[1]] * 4


@pytest.mark.slow
def test_an_answer_follows_from_its_prompt_and_its_draws_alone(tiny: OmniBackbone) -> None:
    """Not from the batch it stands in, its order, or torch's generator."""
    prompts = prompts_of_all_kinds(tiny)
    ids, group = [str(number) for number in range(len(prompts))], 3

    def drawn(order: Sequence[int], step: int = 1, seed: int = 0) -> dict[int, list[list[int]]]:
        uniform = uniform_draws(seed, step, [ids[index] for index in order], group, 8)
        encoded = tiny.encode(tiny.collate([prompts[index] for index in order]))
        rows = _rows(tiny.generate(encoded, group, Sampling(8), uniform_BR=uniform))
        torch.rand(3)
        return {index: rows[group * position : group * (position + 1)] for position, index in enumerate(order)}

    every = range(len(prompts))
    together = drawn(every)
    assert drawn([*every][::-1]) == together
    for index in every:
        assert drawn([index]) == {index: together[index]}
    assert all(rows != together[index] for index, rows in drawn(every, step=2).items())
    assert all(rows != together[index] for index, rows in drawn(every, seed=1).items())


def test_uniform_draws_differ_by_seed_step_id_and_row_and_are_uniform() -> None:
    draws = uniform_draws(3, 7, ["a", "b"], 4, 500)
    assert draws.shape == (8, 500)
    assert draws.dtype == torch.float64
    assert len({tuple(row) for row in draws.tolist()}) == 8
    assert torch.equal(draws[4:], uniform_draws(3, 7, ["b"], 4, 500))
    others = [(3, 8, "a"), (4, 7, "a"), (3, 7, "a "), (37, 7, "a"), (3, 77, "a")]
    every = torch.cat([draws, *(uniform_draws(seed, step, [ident], 4, 500) for seed, step, ident in others)])
    assert len(set(every.flatten().tolist())) == every.numel()
    assert 0 <= float(draws.min()) < float(draws.max()) < 1
    shares = torch.histc(draws, 10, 0, 1) / draws.numel()
    torch.testing.assert_close(shares, torch.full((10,), 0.1).double(), atol=0.02, rtol=0)


@pytest.mark.slow
def test_ids_are_drawn_as_often_as_the_scored_distribution_says(tiny: OmniBackbone) -> None:
    """First ids of 4000 draws against the log-probabilities of scoring, by total variation."""
    prompt = prompts_of_all_kinds(tiny)[2]
    torch.manual_seed(0)
    made = tiny.generate(tiny.encode(tiny.collate([prompt])), 4000, Sampling(1))
    shares = torch.bincount(made.ids_BR[:, 0], minlength=len(tiny.suppressed_V)) / 4000
    wanted = answer_logits(tiny, [prompt], ["x"])[0, 0].softmax(-1)
    again = torch.bincount(wanted.multinomial(4000, replacement=True), minlength=len(wanted)) / 4000
    assert float((shares - wanted).abs().sum()) < 1.25 * float((again - wanted).abs().sum())


@pytest.mark.slow
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


def _drawn(probabilities: Sequence[float], sampling: Sampling, num: int = 2000) -> Tensor:
    """Ids drawn at evenly spread places of [0, 1): no chance in it."""
    places = (torch.arange(num, dtype=torch.float64) + 0.5) / num
    return draw(torch.tensor(probabilities).log().expand(num, -1), sampling, places)


def test_a_draw_is_the_inverse_of_the_cumulative_distribution() -> None:
    shares = [0.1, 0.5, 0.0, 0.4]
    made = _drawn(shares, Sampling(1))
    assert (torch.bincount(made, minlength=4) / 2000).tolist() == pytest.approx(shares, abs=1e-3)
    assert made.tolist() == sorted(made.tolist())
    edges = torch.tensor([0.0, 1 - 2**-53], dtype=torch.float64)
    assert draw(torch.tensor([0.0, 0.5, 0.5, 0.0]).log().expand(2, -1), Sampling(1), edges).tolist() == [1, 2]


def test_temperature_sharpens_and_flattens_what_is_drawn_from() -> None:
    logits = torch.tensor([0.1, 0.2, 0.7]).log()
    for temperature in (0.5, 2.0):
        made = torch.bincount(_drawn([0.1, 0.2, 0.7], Sampling(1, temperature))) / 2000
        torch.testing.assert_close(made, (logits / temperature).softmax(-1), atol=1e-3, rtol=0)
    assert set(_drawn([0.3, 0.2, 0.5], Sampling(1, 0.0)).tolist()) == {2}


def test_nucleus_sampling_draws_from_the_smallest_set_that_holds_top_p() -> None:
    shares = [0.1, 0.5, 0.15, 0.25]
    assert set(_drawn(shares, Sampling(1, top_p=0.74)).tolist()) == {1, 3}
    assert set(_drawn(shares, Sampling(1, top_p=0.49)).tolist()) == {1}
    made = torch.bincount(_drawn(shares, Sampling(1, top_p=0.74))) / 2000
    assert float(made[1]) == pytest.approx(2 / 3, abs=1e-3)


def test_a_row_ends_with_the_stop_text_and_is_padding_after_it(tiny: OmniBackbone) -> None:
    encoded = tiny.encode(tiny.collate(prompts_of_all_kinds(tiny)[:3]))
    texts = ["<answer>happy</answer>", "<answer>a longer answer, sad</answer>", "no answer at all and no end of it"]
    rows = [tiny.text_ids(text) for text in texts]
    rows[0] = [*rows[0], *tiny.text_ids(" and more")]
    with saying(rows):
        made = tiny.generate(encoded, 1, Sampling(18))
    said = [tiny.decode(row) for row in _rows(made)]
    assert said[:2] == texts[:2]
    assert len(_rows(made)[2]) == made.ids_BR.shape[1] == 18
    assert made.stopped_B.tolist() == [True, True, False]
    assert (made.ids_BR[made.mask_BR == 0] == tiny.tokenizer.pad_token_id).all()


def test_the_end_token_ends_a_row_and_counts_as_its_own(tiny: OmniBackbone) -> None:
    end = tiny.tokenizer.eos_token_id
    with saying([[*tiny.text_ids("so"), end, 5, 6, 7]]):
        made = tiny.generate(tiny.encode(tiny.collate(prompts_of_all_kinds(tiny)[:1])), 1, Sampling(8))
    assert _rows(made) == [[*tiny.text_ids("so"), end]]
    assert made.stopped_B.tolist() == [True]


def test_an_answer_that_stops_with_its_last_id_is_not_cut(tiny: OmniBackbone) -> None:
    rows = [tiny.text_ids(text) for text in ("<answer>happy</answer>", "<answer>happy happy")]
    assert len(rows[0]) == len(rows[1])
    with saying(rows):
        made = tiny.generate(tiny.encode(tiny.collate(prompts_of_all_kinds(tiny)[:2])), 1, Sampling(len(rows[0])))
    assert made.mask_BR.all()
    assert made.stopped_B.tolist() == [True, False]


@pytest.mark.slow
def test_a_profile_with_two_answers_ends_with_the_second_stop(tiny: OmniBackbone, untagged: OmniBackbone) -> None:
    """Row by row, whether the tokenizer has a token for the tag or cuts it."""
    texts = ["<answer>sad</answer><think>hm</think><answer>calm</answer>", "<answer>happy</answer>"]
    for backbone in (tiny, untagged):
        rows = [[*backbone.text_ids(text), *backbone.text_ids(" and more")] for text in texts]
        encoded = backbone.encode(backbone.collate(prompts_of_all_kinds(backbone)[:2]))
        for num_stops, wanted in ((2, [texts[0]]), (1, ["<answer>sad</answer>", texts[1]])):
            with saying(rows):
                made = backbone.generate(encoded, 1, Sampling(len(rows[0])), num_stops=num_stops)
            said = [backbone.decode(row) for row in _rows(made)]
            assert said[: len(wanted)] == wanted
            assert num_stops == 1 or len(_rows(made)[1]) == made.ids_BR.shape[1]


@pytest.mark.slow
@pytest.mark.parametrize("is_tagged", [True, False])
@pytest.mark.parametrize("num_stops", [1, 2])
def test_asked_for_the_end_a_row_goes_on_for_one_id(
    tiny: OmniBackbone, untagged: OmniBackbone, is_tagged: bool, num_stops: int
) -> None:
    """Whatever that id is; rows that end by themselves, or have no room, have none."""
    backbone = tiny if is_tagged else untagged
    end, text = backbone.tokenizer.eos_token_id, "<answer>sad</answer><answer>calm</answer>"
    whole = backbone.text_ids("<answer>sad</answer>" if num_stops == 1 else text)
    more = backbone.text_ids(" and so on")
    rows = [[*whole, end, *more], [*whole, *more], [*whole, *whole], [*whole[:-1], end, *more]]
    encoded = backbone.encode(backbone.collate(prompts_of_all_kinds(backbone)[:2]))
    for room, wanted in ((len(whole) + 3, len(whole) + 1), (len(whole), len(whole))):
        with saying(rows):
            made = backbone.generate(encoded, 2, Sampling(room, end_token=True), num_stops=num_stops)
        assert _rows(made) == [row[: len(whole) if number == 3 else wanted] for number, row in enumerate(rows)]
        assert made.behind_stop_B is not None
        assert made.behind_stop_B.tolist() == [wanted > len(whole)] * 3 + [False]
    with saying(rows):
        plain = backbone.generate(encoded, 2, Sampling(len(whole) + 3), num_stops=num_stops)
    assert _rows(plain) == [row[: len(whole)] for row in rows]
    assert plain.behind_stop_B is None


@pytest.mark.slow
def test_sampling_ends_as_soon_as_all_rows_have(tiny: OmniBackbone) -> None:
    rows = [tiny.text_ids(text) for text in ("<answer>happy</answer>", "<answer>a longer answer, sad</answer>")]
    with saying(rows):
        made = tiny.generate(tiny.encode(tiny.collate(prompts_of_all_kinds(tiny)[:2])), 1, Sampling(64))
    assert made.ids_BR.shape == (2, len(rows[1]))


@pytest.mark.slow
def test_a_stop_text_cut_over_several_tokens_is_found(untagged: OmniBackbone) -> None:
    assert len(untagged.text_ids("</answer>")) >= 3
    text = "<think>level brows.</think><answer>happy</answer>"
    ids = untagged.text_ids(text)
    encoded = untagged.encode(untagged.collate(prompts_of_all_kinds(untagged)[:2]))
    with saying([[*ids, *untagged.text_ids("<answer>sad</answer>")], untagged.text_ids("hm")]):
        made = untagged.generate(encoded, 1, Sampling(len(ids) + 9))
    assert untagged.decode(_rows(made)[0]) == text
    assert made.mask_BR[1].all()


BOXED = "<step1>a {b} c.</step1>\\boxed{sad}"


@pytest.mark.slow
@pytest.mark.parametrize("is_tagged", [True, False])
def test_a_brace_in_a_step_ends_nothing_and_that_of_the_box_does(
    tiny: OmniBackbone, untagged: OmniBackbone, is_tagged: bool
) -> None:
    backbone, response_format = tiny if is_tagged else untagged, RESPONSE_FORMATS["set_steps"]
    encoded = backbone.encode(backbone.collate(prompts_of_all_kinds(backbone)[:2]))
    rows = [backbone.text_ids(text) for text in (BOXED + " and {more}", "no } box")]
    for prefill, said in (("", BOXED), (response_format.fast_prefill, "<step1>a {b}")):
        with saying(rows):
            made = backbone.generate(
                encoded, 1, Sampling(len(rows[0])), prefill, response_format.stop, stop_after=response_format.stop_after
            )
        assert backbone.decode(_rows(made)[0]) == said
        assert backbone.decode(_rows(made)[1]).startswith("no }" if prefill else "no } box")


@pytest.mark.slow
@settings(max_examples=60)
@given(
    words=st.lists(st.sampled_from(["}", "{}", "\\", "boxed", "{", "\\boxed{", "\\boxed{}", "a", "心"]), max_size=12)
)
def test_a_row_is_finished_when_a_stop_follows_what_it_waits_for(untagged: OmniBackbone, words: list[str]) -> None:
    finished = StopText(untagged.tokenizer, "}", 1, untagged.device, after="\\boxed{")
    ids = untagged.text_ids("".join(words))
    for index, ident in enumerate(ids):
        holds = "}" in untagged.decode(ids[: index + 1]).partition("\\boxed{")[2]
        assert bool(finished(torch.tensor([ident]))[0]) == holds
        if holds:
            break


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
    finished = StopText(untagged.tokenizer, stop, 1, untagged.device)
    for index, ident in enumerate(ids):
        holds = stop in untagged.decode(ids[: index + 1])
        assert bool(finished(torch.tensor([ident]))[0]) == holds
        if holds:
            break
