"""The packed pass is the repeated one: the same numbers and the same gradients, each prompt and its media read once.

The repeated pass is the reference: every branch alone in a row behind its own copy of the prompt, towers run again.
Models are in float64, so that the two differ by the rounding of the head's float32 alone.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor

from mer_r1.emotion.wheel import WheelSet
from mer_r1.models import packing
from mer_r1.models.backbone import Backbone, chosen_log_probs, pad_right
from mer_r1.models.category_confidence import CategoryTokens, category_tokens
from mer_r1.models.group_attention import GroupLayout
from mer_r1.models.packing import Branch, group_pass, pack
from mer_r1.models.qwen2_5_omni import OmniBackbone
from mer_r1.models.qwen2_5_vl import load_vision
from mer_r1.models.qwen3_omni import load_omni3
from mer_r1.models.qwen3_vl import Qwen3VLBackbone
from mer_r1.models.tiny.omni3 import write_tiny_omni3
from mer_r1.models.tiny.text import tiny_text
from mer_r1.models.tiny.vision import write_tiny_vision
from mer_r1.models.transformers_compat import enable_checkpointing
from mer_r1.synthetic.corpus import minimer_texts
from tests.media_samples import clip_of, official_logits, prompt_of, prompts_of_all_kinds
from tests.repeated_pass import (
    HEAD_TOLERANCE,
    Calls,
    Case,
    copy_of,
    gradients_of,
    make_case,
    packed_pass,
    prompts_of,
    repeated,
    repeated_confidences,
    repeated_logits,
    same_confidences,
    same_gradients,
)

WHEELS = WheelSet.load("builtin")
HAS_GEMMA4 = tuple(map(int, transformers.__version__.split(".")[:2])) >= (5, 23)
KINDS = ("omni", "omni3", "vision", "qwen3_vl", *(("gemma4",) if HAS_GEMMA4 else ()), "words")


@pytest.fixture(scope="module")
def exact(tiny: OmniBackbone) -> OmniBackbone:
    """The tiny Thinker in float64; tests leave it as it is."""
    backbone: OmniBackbone = copy_of(tiny)
    return backbone


@pytest.fixture(scope="module")
def backbones(
    exact: OmniBackbone,
    qwen3_vl: Qwen3VLBackbone,
    tmp_path_factory: pytest.TempPathFactory,
    request: pytest.FixtureRequest,
) -> dict[str, Backbone]:
    """One of every kind; tests leave them as they are, and learn on a copy."""
    texts = [*minimer_texts(300)]
    folder = tmp_path_factory.mktemp("kinds")
    return {
        "omni": exact,
        "omni3": copy_of(load_omni3(str(write_tiny_omni3(folder / "omni3", texts)))),
        "vision": copy_of(load_vision(str(write_tiny_vision(folder / "vision", texts)))),
        "qwen3_vl": copy_of(qwen3_vl),
        **({"gemma4": copy_of(request.getfixturevalue("gemma4"))} if HAS_GEMMA4 else {}),
        "words": copy_of(tiny_text(texts)),
    }


@pytest.fixture(scope="module")
def tokens(backbones: dict[str, Backbone]) -> dict[str, CategoryTokens]:
    return {kind: category_tokens(backbone, WHEELS) for kind, backbone in backbones.items()}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("num", "group", "learning"),
    [(1, 8, False), (3, 1, False), (1, 1, True), pytest.param(3, 8, True, marks=pytest.mark.slow)],
    ids=["1x8", "3x1", "1x1 towers learning", "3x8 towers learning"],
)
@pytest.mark.parametrize("kind", KINDS)
def test_the_packed_pass_is_the_repeated_one(
    backbones: dict[str, Backbone], tokens: dict[str, CategoryTokens], kind: str, num: int, group: int, learning: bool
) -> None:
    """Log-probabilities, gradients and confidences; with and without fast branches between which nothing passes."""
    backbone = copy_of(backbones[kind])
    backbone.set_towers_trainable(learning)
    case = make_case(prompts_of(backbone, num), group)
    encoded = None if learning else backbone.encode(backbone.collate(case.prompts)).without_cache()
    result = packed_pass(backbone, case, encoded, tokens=tokens[kind])
    expected = repeated(backbone, case)
    torch.testing.assert_close(result.log_probs_BR, expected, atol=HEAD_TOLERANCE, rtol=0)
    same_confidences(result.confidences, repeated_confidences(backbone, case, tokens[kind]))
    alone = packed_pass(backbone, case._replace(fast=[]), encoded)
    torch.testing.assert_close(alone.log_probs_BR, expected, atol=HEAD_TOLERANCE, rtol=0)
    gradients = gradients_of(backbone, expected)
    same_gradients(gradients_of(backbone, result.log_probs_BR), gradients)
    same_gradients(gradients_of(backbone, alone.log_probs_BR), gradients)
    towers = {name for name in gradients if "visual." in name or "_tower." in name}
    assert bool(towers) == (learning and kind != "words")


@pytest.mark.slow
def test_media_of_every_kind_stand_where_the_official_thinker_puts_them(exact: OmniBackbone) -> None:
    """Video, picture and sound mixed over eight prompts, from the encoded embeddings and from the towers again."""
    prompts = prompts_of_all_kinds(exact)
    texts = ["<think>So.</think><answer>happy, calm</answer>", "<answer>sad</answer>"] * 4
    rows = [exact.text_ids(text) for text in texts]
    case = Case(prompts, [Branch(row, tuple(ids)) for row, ids in enumerate(rows)], [])
    logits = official_logits(exact, prompts, texts).float() + exact.suppressed_V
    ids, mask = pad_right(rows, 0, exact.device)
    expected = torch.where(mask.bool(), chosen_log_probs(logits, ids), 0.0)
    with torch.no_grad():
        for encoded in (exact.encode(exact.collate(prompts)), None):
            made = packed_pass(exact, case, encoded).log_probs_BR
            torch.testing.assert_close(made, expected, atol=HEAD_TOLERANCE, rtol=0)


def test_prompts_are_read_once_whatever_the_group_and_nothing_is_padded(exact: OmniBackbone) -> None:
    prompts = prompts_of(exact, 3)
    encoded = exact.encode(exact.collate(prompts))
    for group in (1, 8):
        case = make_case(prompts, group)
        size = sum(len(prompt.input_ids_T) for prompt in prompts)
        size += sum(len(branch.ids) for branch in (*case.slow, *case.fast))
        with torch.no_grad(), Calls(exact) as calls:
            packed_pass(exact, case, encoded)
            assert calls.towers == []
            packed_pass(exact, case, None)
        assert len(calls.towers) == len(exact.towers())
        assert set(calls.layers) == set(calls.read) == {size}


def test_only_places_that_predict_pass_the_head(
    exact: OmniBackbone, tokens: dict[str, CategoryTokens], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every answer id once and every anchor once, by as many as a chunk holds."""
    project = exact.model.lm_head.forward
    given: list[int] = []

    def counted(hidden: Tensor) -> Tensor:
        given.append(hidden.shape[:-1].numel())
        made: Tensor = project(hidden)
        return made

    case = make_case(prompts_of(exact, 3), 4)
    ids, anchors = sum(map(len, case.rows)), sum(len(branch.indices) for branch in (*case.slow, *case.fast))
    monkeypatch.setattr(packing, "_CHUNK", 5 * len(exact.suppressed_V))
    monkeypatch.setattr(exact.model.lm_head, "forward", counted)
    with torch.no_grad():
        packed_pass(exact, case, tokens=tokens["omni"])
    assert sum(given) == ids + anchors
    assert max(given) == 5


@pytest.mark.slow
@pytest.mark.parametrize("learning", [False, True], ids=["towers frozen", "towers learning"])
@pytest.mark.parametrize("kind", KINDS)
def test_gradient_checkpointing_changes_nothing_but_the_work(
    backbones: dict[str, Backbone],
    tokens: dict[str, CategoryTokens],
    kind: str,
    learning: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Layers are computed again with the same layout."""
    attended: list[int] = []
    attend = GroupLayout.attend

    def counted(self: GroupLayout, *args: Any) -> Tensor:
        attended.append(self.size)
        return attend(self, *args)

    monkeypatch.setattr(GroupLayout, "attend", counted)
    plain, saving = copy_of(backbones[kind]), copy_of(backbones[kind])
    case = make_case(prompts_of(plain, 3), 3)
    encoded = None if learning else plain.encode(plain.collate(case.prompts))
    saving.model.train()
    enable_checkpointing(saving.model)
    results, gradients, times = [], [], []
    for backbone in (plain, saving):
        backbone.set_towers_trainable(learning)
        results.append(packed_pass(backbone, case, encoded, tokens=tokens[kind]))
        gradients.append(gradients_of(backbone, results[-1].log_probs_BR))
        times.append(len(attended))
        attended.clear()
    num_layers = len(plain.language_model.layers)
    assert times == [num_layers, 2 * num_layers]
    torch.testing.assert_close(results[1].log_probs_BR, results[0].log_probs_BR, atol=HEAD_TOLERANCE, rtol=0)
    same_confidences(results[1].confidences, results[0].confidences)
    same_gradients(gradients[1], gradients[0])


@pytest.mark.slow
@pytest.mark.parametrize("saving", [False, True], ids=["layers kept", "layers computed again"])
@pytest.mark.parametrize("kind", ["omni", "vision", "words"])
def test_a_head_in_chunks_gives_the_same_and_keeps_no_logits(
    backbones: dict[str, Backbone],
    tokens: dict[str, CategoryTokens],
    kind: str,
    saving: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    backbone = copy_of(backbones[kind])
    vocabulary, weight = len(backbone.suppressed_V), backbone.model.get_output_embeddings().weight
    case = make_case(prompts_of(backbone, 3), 3)
    if saving:
        backbone.model.train()
        enable_checkpointing(backbone.model)
    results, gradients, largest = [], [], []
    for chunk in (2**25, 7 * vocabulary):
        monkeypatch.setattr(packing, "_CHUNK", chunk)
        kept: list[int] = []

        def keep(value: Tensor, kept: list[int] = kept) -> Tensor:
            is_logits = value.shape[1:] == (vocabulary,) and value.data_ptr() != weight.data_ptr()
            kept.append(value.shape[0] if is_logits else 0)
            return value

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda value: value):
            results.append(packed_pass(backbone, case, tokens=tokens[kind]))
        largest.append(max(kept))
        gradients.append(gradients_of(backbone, results[-1].log_probs_BR))
    ids = sum(map(len, case.rows))
    assert ids > 7
    assert largest == [ids, 0]
    for name in ("log_probs_BR", "entropy_BR"):
        ours, theirs = (getattr(result, name) for result in reversed(results))
        torch.testing.assert_close(ours, theirs, atol=HEAD_TOLERANCE, rtol=0)
    same_confidences(results[1].confidences, results[0].confidences)
    same_gradients(gradients[1], gradients[0])


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["omni", "vision", "words"])  # a router's choice turns by any rounding
def test_in_bfloat16_it_is_as_exact_as_the_repeated_pass(
    backbones: dict[str, Backbone], tokens: dict[str, CategoryTokens], kind: str
) -> None:
    """Both stand as far from float32, and no further from each other than that."""
    case = make_case(prompts_of(backbones[kind], 3), 4)
    backbone = copy_of(backbones[kind])
    with torch.no_grad():
        exact = repeated(backbone, case)
    backbone.model.to(torch.bfloat16)
    backbone.set_towers_trainable(False)
    encoded = backbone.encode(backbone.collate(case.prompts))
    result = packed_pass(backbone, case, encoded, tokens=tokens[kind])
    alone = repeated(backbone, case)
    assert result.log_probs_BR.dtype == torch.float32
    made, rounding = result.log_probs_BR.detach(), (alone.detach() - exact).abs()
    assert 0.005 < float(rounding.max()) < 0.1
    assert float((made - alone.detach()).abs().max()) < float(rounding.max())
    assert float((made - alone.detach()).abs().mean()) < 0.5 * float(rounding.mean())
    assert float((made - exact).abs().mean()) < 1.2 * float(rounding.mean())
    ours, theirs = (gradients_of(backbone, log_probs) for log_probs in (result.log_probs_BR, alone))
    same_gradients(ours, theirs, 0.05)


@pytest.mark.slow
def test_under_autocast_it_runs_in_bfloat16_from_float32_weights(
    tiny: OmniBackbone, tokens: dict[str, CategoryTokens]
) -> None:
    backbone = copy_of(tiny, torch.float32)
    case = make_case(prompts_of(backbone, 3), 3)
    with torch.no_grad():
        exact = repeated(backbone, case)
    for learning in (False, True):
        backbone.set_towers_trainable(learning)
        batch = backbone.collate(case.prompts)
        with torch.autocast("cpu", torch.bfloat16):
            encoded = None if learning else backbone.encode(batch)
            packed = pack(batch, case.slow, case.fast)
            made = group_pass(backbone, backbone.model, packed, encoded, tokens=tokens["omni"]).log_probs_BR
        assert made.dtype == torch.float32
        assert 0.001 < float((made.detach() - exact).abs().max()) < 0.1
        gradients = gradients_of(backbone, made)
        assert all(value.isfinite().all() for value in gradients.values())


def test_under_autocast_the_head_reads_confidences_in_float32(
    tiny: OmniBackbone, tokens: dict[str, CategoryTokens], monkeypatch: pytest.MonkeyPatch
) -> None:
    backbone = copy_of(tiny, torch.float32)
    head = backbone.model.get_output_embeddings()
    head.weight = torch.nn.Parameter(10 * head.weight.detach())  # logits as large as a trained model's
    case = make_case(prompts_of(backbone, 3), 4)
    batch = backbone.collate(case.prompts)

    @torch.no_grad()
    def confidences(autocast: bool) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            packed = pack(batch, case.slow, case.fast)
            made = group_pass(backbone, backbone.model, packed, backbone.encode(batch), tokens=tokens["omni"])
        return torch.cat([item.category_AC for item in made.confidences])

    seen: list[tuple[Tensor, Tensor, Tensor]] = []
    plain = packing._Head._float32_logits

    def watched(head: Any, hidden_AD: Tensor, project: Any) -> Tensor:
        made = plain(head, hidden_AD, project)
        seen.append((made, hidden_AD.float(), project(hidden_AD).float()))
        return made

    monkeypatch.setattr(packing._Head, "_float32_logits", watched)
    exact, ours = confidences(False), confidences(True)
    made, hidden_AD, rounded_AV = seen[-1]
    right_AV = hidden_AD @ head.weight.detach().T
    assert float((made - right_AV).abs().max()) < 1e-4
    assert float((rounded_AV - right_AV).abs().max()) > 0.01
    monkeypatch.setattr(packing._Head, "_float32_logits", lambda _, hidden_AD, project: project(hidden_AD).float())
    assert torch.equal(confidences(False), exact)
    rounded = confidences(True)
    known = ~exact.isnan()
    error, error_rounded = ((made - exact)[known].square().mean().sqrt() for made in (ours, rounded))
    assert 0 < error < error_rounded


@pytest.mark.slow
@pytest.mark.parametrize("temperature", [0.6, 1.7])
def test_temperature_divides_the_logits_of_answers_and_leaves_confidence(
    exact: OmniBackbone, tokens: dict[str, CategoryTokens], temperature: float
) -> None:
    case = make_case(prompts_of(exact, 3), 3)
    with torch.no_grad():
        cool = packed_pass(exact, case, temperature=temperature, tokens=tokens["omni"])
        expected = repeated(exact, case, temperature)
        assert float((expected - repeated(exact, case)).abs().max()) > 0.1
    torch.testing.assert_close(cool.log_probs_BR, expected, atol=HEAD_TOLERANCE, rtol=0)
    same_confidences(cool.confidences, repeated_confidences(exact, case, tokens["omni"]))


@pytest.mark.parametrize("temperature", [1.0, 1.7])
def test_entropy_is_that_of_the_distribution_that_ids_are_drawn_from(exact: OmniBackbone, temperature: float) -> None:
    case = make_case(prompts_of(exact, 3), 3)
    mask = pad_right(case.rows, 0, exact.device)[1]
    with torch.no_grad():
        made = packed_pass(exact, case, temperature=temperature).entropy_BR
        share = (repeated_logits(exact, case.prompts, case.slow)[:, :-1] / temperature).double().softmax(-1)
    expected = torch.special.entr(share).sum(-1).float() * mask
    assert float(expected.max()) > 1
    torch.testing.assert_close(made, expected, atol=HEAD_TOLERANCE, rtol=0)


def test_padding_is_exactly_zero_and_carries_no_gradient(exact: OmniBackbone) -> None:
    backbone = copy_of(exact)
    case = make_case(prompts_of(backbone, 3), 3)
    result = packed_pass(backbone, case)
    padding = pad_right(case.rows, 0, backbone.device)[1] == 0
    assert padding.sum() > 10
    assert (result.log_probs_BR[padding] == 0).all()
    assert (result.entropy_BR[padding] == 0).all()
    assert (result.log_probs_BR[~padding] < 0).all()
    result.log_probs_BR[padding].sum().backward()  # type: ignore[no-untyped-call]
    assert all(p.grad is None or not p.grad.any() for p in backbone.model.parameters())


def test_confidence_and_entropy_carry_no_gradient(exact: OmniBackbone, tokens: dict[str, CategoryTokens]) -> None:
    result = packed_pass(exact, make_case(prompts_of(exact, 1), 3), tokens=tokens["omni"])
    assert result.log_probs_BR.requires_grad
    assert not result.entropy_BR.requires_grad
    assert not any(value.requires_grad for pair in result.confidences for value in pair)


def test_a_branch_does_not_see_its_neighbours_nor_another_prompt(exact: OmniBackbone) -> None:
    """Whatever the others say, slow or fast, and whatever stands in the other prompts."""
    prompts = prompts_of(exact, 3)
    case, other = make_case(prompts, 3), make_case(prompts, 3, seed=1)
    same = 4
    mixed = [
        b if i == same else replace(o, prompt=b.prompt)
        for i, (b, o) in enumerate(zip(case.slow, other.slow, strict=True))
    ]
    changed = prompt_of(exact, clip_of("picture and sound", seed=5), "Other words, and more of them.")
    swapped = [prompts[1] if index == case.slow[same].prompt else changed for index in range(3)]
    assert case.slow[same].prompt == 1
    with torch.no_grad():
        row = packed_pass(exact, case).log_probs_BR[same]
        for variant in (case._replace(slow=mixed, fast=other.fast), case._replace(prompts=swapped)):
            made = packed_pass(exact, variant).log_probs_BR[same]
            num = len(case.slow[same].ids)
            torch.testing.assert_close(made[:num], row[:num], atol=HEAD_TOLERANCE, rtol=0)
        moved = case._replace(prompts=[changed] * 3)
        assert float((packed_pass(exact, moved).log_probs_BR[same] - row).abs().max()) > 1e-2


def test_a_later_id_moves_no_earlier_one(exact: OmniBackbone) -> None:
    case = make_case(prompts_of(exact, 1), 2)
    ids = case.slow[0].ids
    other = case._replace(slow=[replace(case.slow[0], ids=(*ids[:9], *reversed(ids[9:]))), *case.slow[1:]])
    with torch.no_grad():
        one, two = (packed_pass(exact, some).log_probs_BR[0] for some in (case, other))
    assert torch.equal(one[:9], two[:9])
    assert not torch.equal(one[9:], two[9:])


@pytest.mark.slow
def test_a_branch_without_ids_reads_what_its_prompt_predicts(
    exact: OmniBackbone, tokens: dict[str, CategoryTokens]
) -> None:
    """So is the fast context of one word where a token covers all of the prefill and the word."""
    case = make_case(prompts_of(exact, 3), 2)
    empty = Branch(2, (), (0,), (11,))
    for fast in ([empty], [*case.fast, empty]):
        asked = case._replace(fast=fast)
        with torch.no_grad():
            result = packed_pass(exact, asked, tokens=tokens["omni"])
        same_confidences(result.confidences, repeated_confidences(exact, asked, tokens["omni"]))


def test_answers_without_anchors_have_no_confidence(exact: OmniBackbone, tokens: dict[str, CategoryTokens]) -> None:
    case = Case(prompts_of(exact, 1), [Branch(0, (5, 6, 7))], [])
    with torch.no_grad():
        assert packed_pass(exact, case, tokens=tokens["omni"]).confidences == []
        assert packed_pass(exact, make_case(prompts_of(exact, 1), 3)).confidences == []


def test_positions_of_every_branch_continue_from_the_largest_of_its_prompt(exact: OmniBackbone) -> None:
    case = make_case(prompts_of(exact, 3), 2)
    packed = pack(exact.collate(case.prompts), case.slow, case.fast)
    at = sum(len(prompt.input_ids_T) for prompt in case.prompts)
    assert torch.equal(packed.positions_3S[:, :at], torch.cat([prompt.positions_3T for prompt in case.prompts], dim=1))
    for branch in (*case.slow, *case.fast):
        first, num = int(case.prompts[branch.prompt].positions_3T.max()) + 1, len(branch.ids)
        assert packed.positions_3S[:, at : at + num].tolist() == [list(range(first, first + num))] * 3
        assert packed.input_ids_S[at : at + num].tolist() == list(branch.ids)
        at += num
    assert at == packed.layout.size == len(packed.input_ids_S)


def test_the_model_is_left_as_it_was_and_an_error_within_leaves_it_so(exact: OmniBackbone) -> None:
    """Its head, its embedding table and its hooks."""
    case = make_case(prompts_of(exact, 1), 2)
    encoded = exact.encode(exact.collate(case.prompts))
    bad = case._replace(slow=[replace(case.slow[0], ids=(10**6,)), *case.slow[1:]])
    with torch.no_grad():
        packed_pass(exact, case, encoded)
        with pytest.raises(IndexError):
            packed_pass(exact, bad, encoded)
    assert "forward" not in vars(exact.model.lm_head)
    assert not exact.model.lm_head._forward_pre_hooks
    assert not exact.model.get_input_embeddings()._forward_hooks


def test_a_wrapped_head_stays_wrapped(exact: OmniBackbone, monkeypatch: pytest.MonkeyPatch) -> None:
    project, case = exact.model.lm_head.forward, make_case(prompts_of(exact, 1), 2)
    monkeypatch.setattr(exact.model.lm_head, "forward", wrapped := lambda hidden: project(hidden) * 2)
    with torch.no_grad():
        doubled = packed_pass(exact, case).log_probs_BR
        torch.testing.assert_close(doubled, repeated(exact, case), atol=HEAD_TOLERANCE, rtol=0)
    assert exact.model.lm_head.forward is wrapped
