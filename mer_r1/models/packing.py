"""The packed group pass: prompts, their answers and the fast contexts of calibration in one sequence, once.

Shape letters: P prompts, B answers, R answer ids, S ids of the flat sequence, N of them read by the LM head,
A anchors, V vocabulary, D width.

    [ prompt_1 … prompt_P | slow_1 … slow_B | fast_1 … fast_F ]

Every branch attends to its prompt and to itself, and its positions continue from its prompt's largest, so it is read as
if it stood alone behind a copy of the prompt: same log-probabilities, same gradients, for one prompt instead of K. A
fast branch is the prefill and the answer ids up to the last anchor (Eq. 8), so calibration costs its few ids and no
pass.

Only ids that predict something go through the LM head, in chunks that are computed again for the gradient, so that
no (N, V) array is kept. The head is read inside the model's own forward: a model whose weights are spread over
processes (DDP, FSDP) is called as it wants to be. At anchors it computes in float32 whatever autocast says: rounded to
bfloat16, logits put 0.03 nat of noise into a confidence, of which 0.02 are left then (docs/objectives.md).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from mer_r1.models.backbone import Backbone, join_left, pad_right, stack_media
from mer_r1.models.category_confidence import AnchorConfidence, CategoryTokens
from mer_r1.models.group_attention import NO_MASK_SHAPE, GroupLayout, make_grid
from mer_r1.models.types import Encoded, PromptBatch

_CHUNK = 2**25  # logits made at a time


@dataclass(frozen=True)
class Branch:
    """Ids behind prompt number `prompt`, and the indices in them at which confidence is read, with the ids there.

    An index may be the branch's length: what its last id predicts.
    """

    prompt: int
    ids: tuple[int, ...]
    indices: tuple[int, ...] = ()
    targets: tuple[int, ...] = ()


@dataclass(frozen=True, eq=False)
class Packed:
    """One flat sequence. `source_N` are the indices that predict the answers' ids, row by row, `probe_A` those that
    predict the ids at anchors, branch by branch; `num_probes` says how many each branch with anchors has.
    """

    prompts: PromptBatch
    input_ids_S: Tensor
    positions_3S: Tensor
    layout: GroupLayout
    ids_BR: Tensor
    mask_BR: Tensor
    source_N: Tensor
    probe_A: Tensor
    probe_ids_A: Tensor
    num_probes: tuple[int, ...]

    def arguments(self, backbone: Backbone) -> dict[str, Any]:
        """Arguments of a forward over the sequence."""
        return {
            "input_ids": self.input_ids_S[None],
            "attention_mask": torch.ones(NO_MASK_SHAPE, dtype=torch.bool, device=backbone.device),
            "position_ids": backbone.position_argument(self.positions_3S[:, None]),
            "layout": self.layout,
        }


@dataclass(frozen=True)
class GroupPass:
    """What a pass gives: log p of every answer id and the entropy there, 0 on padding, where `mask_BR` is 0 too; and
    the confidences of every branch that has indices, slow branches first."""

    log_probs_BR: Tensor
    entropy_BR: Tensor
    mask_BR: Tensor
    confidences: list[AnchorConfidence]


def pack(prompts: PromptBatch, slow: Sequence[Branch], fast: Sequence[Branch] = ()) -> Packed:
    """Lay prompts and branches end to end. Log-probabilities are read on all ids of `slow`, in its order."""
    device = prompts.input_ids_PT.device
    real_PT = prompts.mask_PT.bool()
    lengths = real_PT.sum(1).tolist()
    firsts = (prompts.positions_3PT.amax(dim=(0, 2)) + 1).tolist()
    branches = [*slow, *fast]
    *starts, size = accumulate([*lengths, *(len(branch.ids) for branch in branches)], initial=0)

    def before(branch: Branch, begin: int, index: int) -> int:
        """The flat index whose output predicts the id at an index of a branch."""
        return begin + index - 1 if index else starts[branch.prompt] + lengths[branch.prompt] - 1

    placed = list(zip(branches, starts[len(lengths) :], strict=True))
    source = [before(branch, begin, index) for branch, begin in placed[: len(slow)] for index in range(len(branch.ids))]
    probes = [before(branch, begin, index) for branch, begin in placed for index in branch.indices]
    positions = [firsts[branch.prompt] + index for branch in branches for index in range(len(branch.ids))]
    # A branch without ids asks only what its prompt predicts, and stands nowhere in the sequence.
    parts = [[pair for pair in part if pair[0].ids] for part in (placed[: len(slow)], placed[len(slow) :])]
    grids = tuple(
        make_grid([begin for _, begin in part], [len(b.ids) for b, _ in part], [b.prompt for b, _ in part], device)
        for part in parts
        if part
    )
    ids_BR, mask_BR = pad_right([branch.ids for branch in slow], 0, device)

    def long(values: Sequence[int]) -> Tensor:
        return torch.tensor(values, dtype=torch.long).to(device)

    return Packed(
        prompts=prompts,
        input_ids_S=torch.cat([prompts.input_ids_PT[real_PT], long([i for b in branches for i in b.ids])]),
        positions_3S=torch.cat([prompts.positions_3PT[:, real_PT], long(positions).expand(3, -1)], dim=1),
        layout=GroupLayout(make_grid(starts[: len(lengths)], lengths, [], device), grids, size),
        ids_BR=ids_BR,
        mask_BR=mask_BR,
        source_N=long(source),
        probe_A=long(probes),
        probe_ids_A=long([target for branch in branches for target in branch.targets]),
        num_probes=tuple(len(branch.indices) for branch in branches if branch.indices),
    )


def group_pass(
    backbone: Backbone,
    model: Any,
    packed: Packed,
    encoded: Encoded | None = None,
    temperature: float = 1.0,
    tokens: CategoryTokens | None = None,
) -> GroupPass:
    """Run `model`, the backbone's own or a wrapper of it (DDP, PEFT), over the packed sequence.

    With `encoded` the media's embeddings are taken from there; without, the towers run, with gradient where they
    learn. Confidences need `tokens`; they are read at temperature 1 and carry no gradient.
    """
    head = _Head(backbone, packed, temperature, tokens)
    media = backbone.media_arguments(packed.prompts) if encoded is None else {}
    with media_placed(backbone, packed.input_ids_S, encoded), head.in_place():
        log_probs_N = model(**packed.arguments(backbone), use_cache=False, **media).logits
    real_BR = packed.mask_BR.bool()
    log_probs_BR = torch.zeros(real_BR.shape, device=log_probs_N.device).masked_scatter(real_BR, log_probs_N)
    entropy_BR = torch.zeros_like(log_probs_BR).masked_scatter(real_BR, torch.cat(head.entropy))
    return GroupPass(log_probs_BR, entropy_BR, packed.mask_BR, head.confidences())


def with_same_media(backbone: Backbone, encoded: Encoded, others: PromptBatch) -> Encoded:
    """P encoded prompts and behind them P other prompts over the same media, without running the towers again.

    The result has no cache. It is what the towers gave for the first prompts, laid where the others hold media.
    """
    first, others = encoded.prompts, others.to(encoded.prompts.input_ids_PT.device)
    ids_PT, mask_PT = join_left([first.input_ids_PT, others.input_ids_PT]), join_left([first.mask_PT, others.mask_PT])
    positions_3PT = torch.stack(
        [join_left([*pair]) for pair in zip(first.positions_3PT, others.positions_3PT, strict=True)]
    )
    prompts = PromptBatch(ids_PT, mask_PT, positions_3PT, stack_media([first.media, others.media]))
    placeholders = ids_PT.new_tensor(list(backbone.placeholder_ids()))
    was_PT, where_PT1 = torch.isin(first.input_ids_PT, placeholders), torch.isin(ids_PT, placeholders)[..., None]

    def twice(states_PTD: Tensor) -> Tensor:
        media_ND = states_PTD[was_PT]
        empty_PTD = media_ND.new_zeros((*ids_PT.shape, media_ND.shape[-1]))
        return empty_PTD.masked_scatter(where_PT1, torch.cat([media_ND, media_ND]))

    embeds_PTD = None if encoded.embeds_PTD is None else twice(encoded.embeds_PTD)
    return Encoded(prompts, embeds_PTD, (), (), encoded.logits_PV[:, :0], tuple(map(twice, encoded.deepstack)))


@contextmanager
def media_placed(backbone: Backbone, input_ids_S: Tensor, encoded: Encoded | None) -> Iterator[None]:
    """Within the block the embedding table's output for `input_ids_S` carries the media of `encoded`, in order.

    So do the first layers of a model with deepstack, where the prompts have pictures.
    """
    if encoded is None or encoded.embeds_PTD is None:
        yield
        return
    placeholders = input_ids_S.new_tensor(list(backbone.placeholder_ids()))
    media_ND = encoded.embeds_PTD[torch.isin(encoded.prompts.input_ids_PT, placeholders)]
    where_1S1 = torch.isin(input_ids_S, placeholders)[None, :, None]

    def put_in(_: Any, __: Any, words_1SD: Tensor) -> Tensor:
        return words_1SD.masked_scatter(where_1S1, media_ND.to(words_1SD.dtype))

    handles = [backbone.model.get_input_embeddings().register_forward_hook(put_in)]
    if encoded.deepstack:
        pictures = input_ids_S.new_tensor(list(backbone.picture_ids()))
        was_PT = torch.isin(encoded.prompts.input_ids_PT, pictures)
        given = {
            "visual_pos_masks": torch.isin(input_ids_S, pictures)[None],
            "deepstack_visual_embeds": [features_PTD[was_PT] for features_PTD in encoded.deepstack],
        }
        language_model = backbone.language_model
        handles.append(
            language_model.register_forward_pre_hook(lambda _, args, kept: (args, kept | given), with_kwargs=True)
        )
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def uncapped(model: Any) -> Iterator[float | None]:
    """Within the block the model does not cap its logits softly behind the head; gives its cap, None for a model that
    has none.
    """
    config = model.config.get_text_config()
    cap: float | None = getattr(config, "final_logit_softcapping", None)
    if cap is None:
        yield None
        return
    config.final_logit_softcapping = None
    try:
        yield cap
    finally:
        config.final_logit_softcapping = cap


class _Head:
    """Stands in for the LM head within one forward: hidden states in, log p of the answers' ids out, (N,)."""

    def __init__(self, backbone: Backbone, packed: Packed, temperature: float, tokens: CategoryTokens | None) -> None:
        self._head: Any = backbone.model.get_output_embeddings()
        self._model: Any = backbone.model
        self._is_wrapped = "forward" in vars(self._head)  # by what spreads a model over devices, for one
        self._suppressed_V = backbone.suppressed_V
        self._packed, self._temperature, self._tokens = packed, temperature, tokens
        self._read: list[AnchorConfidence] = []
        self.entropy: list[Tensor] = []

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Within the block the model's head is this one, which also caps the logits where the model would."""
        project: Callable[[Tensor], Tensor] = self._head.forward
        self._head.forward = lambda hidden_1SD: self._answers(hidden_1SD[0], project)
        try:
            with uncapped(self._model) as self._cap:
                yield
        finally:
            del self._head.forward
            if self._is_wrapped:
                self._head.forward = project

    def _answers(self, hidden_SD: Tensor, project: Callable[[Tensor], Tensor]) -> Tensor:
        packed = self._packed
        ids_N = packed.ids_BR[packed.mask_BR.bool()]

        def logits(hidden_ND: Tensor) -> Tensor:
            return self._capped(project(hidden_ND).float()) / self._temperature + self._suppressed_V

        def log_probs(hidden_ND: Tensor, some_ids_N: Tensor) -> tuple[Tensor, Tensor]:
            logits_NV = logits(hidden_ND)
            total_N = logits_NV.logsumexp(-1)
            with torch.no_grad():
                share_NV = (logits_NV - total_N[:, None]).exp()
                entropy_N = total_N - (share_NV * logits_NV.masked_fill(share_NV == 0, 0.0)).sum(-1)
            return logits_NV.gather(-1, some_ids_N[:, None])[:, 0] - total_N, entropy_N

        rows = max(1, _CHUNK // len(self._suppressed_V))
        pieces = list(zip(torch.split(packed.source_N, rows), torch.split(ids_N, rows), strict=True))
        parts = []
        for source, ids in pieces:
            hidden_ND = hidden_SD.index_select(0, source)
            if len(pieces) > 1 and torch.is_grad_enabled():
                part, entropy = checkpoint(log_probs, hidden_ND, ids, use_reentrant=False)
            else:
                part, entropy = log_probs(hidden_ND, ids)
            parts.append(part)
            self.entropy.append(entropy)
        self._read = self._confidences(hidden_SD.detach(), project)
        return torch.cat(parts)

    @torch.no_grad()
    def _confidences(self, hidden_SD: Tensor, project: Callable[[Tensor], Tensor]) -> list[AnchorConfidence]:
        if self._tokens is None:
            return []
        rows = max(1, _CHUNK // len(self._suppressed_V))
        packed = self._packed
        found = []
        for source, ids in zip(torch.split(packed.probe_A, rows), torch.split(packed.probe_ids_A, rows), strict=True):
            logits_AV = self._capped(self._float32_logits(hidden_SD.index_select(0, source), project))
            logits_AV = logits_AV + self._suppressed_V
            found.append(self._tokens.confidence(logits_AV.log_softmax(-1), ids))
        return found

    def _capped(self, logits_NV: Tensor) -> Tensor:
        return logits_NV if self._cap is None else self._cap * torch.tanh(logits_NV / self._cap)

    def _float32_logits(self, hidden_AD: Tensor, project: Callable[[Tensor], Tensor]) -> Tensor:
        """The head's logits (A, V) in float32, some rows of its weight at a time; as it gives them where it is no plain
        linear layer, or its weight is elsewhere until it is called.
        """
        if type(self._head) is not nn.Linear or self._is_wrapped:
            return project(hidden_AD).float()
        weight_VD, bias_V = self._head.weight, self._head.bias
        rows = max(1, _CHUNK // weight_VD.shape[1])
        with torch.autocast(hidden_AD.device.type, enabled=False):
            hidden_AD = hidden_AD.float()
            parts = [nn.functional.linear(hidden_AD, part_VD.float()) for part_VD in torch.split(weight_VD, rows)]
            logits_AV = torch.cat(parts, dim=1)
            return logits_AV if bias_V is None else logits_AV + bias_V.float()

    def confidences(self) -> list[AnchorConfidence]:
        """The confidences, one for every branch that has indices, on the CPU."""
        if not self._read:
            return []
        sizes = list(self._packed.num_probes)
        category, word = (torch.split(torch.cat(parts).cpu(), sizes) for parts in zip(*self._read, strict=True))
        return [AnchorConfidence(*pair) for pair in zip(category, word, strict=True)]
