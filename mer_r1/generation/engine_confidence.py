"""Confidence at an answer's anchors, read from vLLM by a second look at prompt and answer.

The distribution at an anchor is asked for in one of two ways, by what the engine's model runner knows:

    PromptRows   runner V2, of GPUs: one request of prompt and answer. The engine gives the log-probabilities of the ids
                 that open the words of categories at the rows before the anchors. Suppressed ids are not suppressed
                 in such rows, so their log-probabilities are asked for too, and their mass is taken out.
    NextToken    runner V1, of CPUs: a request an anchor, of prompt and answer up to there. The engine writes one id
                 more and gives the log-probabilities of the whole vocabulary; the prompt is in its cache.

Shape letters: A anchors, C categories, N ids that are asked for, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from mer_r1.models.backbone import Backbone
from mer_r1.models.category_confidence import CategoryTokens


class AnchorReader(Protocol):
    """Asks an engine about the anchors of one answer, and reads what it says."""

    def requests(self, num_prompt: int, row: Sequence[int], anchors: Sequence[int]) -> list[tuple[list[int], Any]]:
        """The ids behind a prompt of `num_prompt` ids, and the sampling parameters, of every request.

        `row` are the ids of the whole response, `anchors` indices in it, ascending.
        """

    def read(self, outputs: Sequence[Any], anchors: Sequence[int]) -> Tensor:
        """conf(c) at the anchors, (A, C), from the finished requests in their order."""


def anchor_reader(engine: Any, backbone: Backbone, tokens: CategoryTokens) -> AnchorReader:
    """The reader for an engine (`vllm.LLM`)."""
    if engine.llm_engine.vllm_config.use_v2_model_runner:
        return PromptRows(backbone, tokens)
    return NextToken(backbone, tokens)


class NextToken:
    """A request an anchor; see the module."""

    def __init__(self, backbone: Backbone, tokens: CategoryTokens) -> None:
        self._tokens, self._suppressed_V = tokens, backbone.suppressed_V

    def requests(self, num_prompt: int, row: Sequence[int], anchors: Sequence[int]) -> list[tuple[list[int], Any]]:
        """A request an anchor, in the order of `anchors`."""
        import vllm

        parameters = vllm.SamplingParams(
            temperature=0.0, max_tokens=1, logprobs=-1, flat_logprobs=True, detokenize=False
        )
        return [([*row[:anchor]], parameters) for anchor in anchors]

    def read(self, outputs: Sequence[Any], anchors: Sequence[int]) -> Tensor:
        """conf(c) at the anchors, (A, C); `outputs` are one an anchor."""
        return torch.cat([self._tokens.log_confidence(self._log_probs_1V(output)) for output in outputs])

    def _log_probs_1V(self, output: Any) -> Tensor:
        found = output.outputs[0].logprobs
        log_probs_V = torch.full_like(self._suppressed_V, -torch.inf)
        log_probs_V[torch.tensor(found.token_ids)] = torch.tensor(found.logprobs)
        return (log_probs_V + self._suppressed_V).log_softmax(-1)[None]


class PromptRows:
    """One request for all anchors; see the module."""

    def __init__(self, backbone: Backbone, tokens: CategoryTokens) -> None:
        self._tokens, self._suppressed_V = tokens, backbone.suppressed_V
        self.ids_N = torch.tensor(sorted({*tokens.ids_N.tolist(), *backbone.suppressed_ids}))

    def requests(self, num_prompt: int, row: Sequence[int], anchors: Sequence[int]) -> list[tuple[list[int], Any]]:
        """One request, which ends with the id at the last anchor: the last row of a prompt is not scored."""
        import vllm

        num_rows = anchors[-1] - anchors[0] + 1
        parameters = vllm.SamplingParams(
            temperature=0.0,
            max_tokens=1,
            detokenize=False,
            prompt_logprob_token_ids=self.ids_N.expand(num_rows, -1).numpy(),
            prompt_logprob_start=num_prompt + anchors[0] - 1,
        )
        return [([*row[: anchors[-1] + 1]], parameters)]

    def read(self, outputs: Sequence[Any], anchors: Sequence[int]) -> Tensor:
        """conf(c) at the anchors, (A, C). Raises RuntimeError where the engine gives none: it was short of memory."""
        scores = outputs[0].prompt_token_id_logprobs
        if scores is None:
            raise RuntimeError("vLLM gave no log-probabilities for this answer; ask again")
        found_AN = torch.as_tensor(scores)[[anchor - anchors[0] for anchor in anchors]].float()
        return confidence_of(found_AN, self.ids_N, self._tokens, self._suppressed_V)


def confidence_of(found_AN: Tensor, ids_N: Tensor, tokens: CategoryTokens, suppressed_V: Tensor) -> Tensor:
    """conf(c) at the anchors, (A, C), of the log-probabilities of the ids that `tokens` counts and the suppressed ones.

    The mass of those that are suppressed (-inf in `suppressed_V`) is taken out.
    """
    log_probs_AV = found_AN.new_full((len(found_AN), len(suppressed_V)), -torch.inf)
    log_probs_AV[:, ids_N] = found_AN
    is_suppressed_V = suppressed_V.isinf()
    lost_A1 = log_probs_AV[:, is_suppressed_V].exp().sum(-1, keepdim=True)
    return tokens.log_confidence(log_probs_AV.masked_fill(is_suppressed_V, -torch.inf) - (-lost_A1).log1p())
