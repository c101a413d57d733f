"""Judges, who answer the questions of scores.py: the policy as it stands, or a model at a chat endpoint.

Shape letters: P prompts, B questions, T prompt tokens, S ids of a flat sequence, D width, J key-value heads.

The policy reads a picture again without its tower: the towers' output of the rollouts' own prompts is put in by the
embedding table's hook. And it reads it once for a group: the questions about it stand behind one copy in one packed
sequence (models/packing.py),

    [ frame + media_1 | … | frame + media_P | question_1 … question_B ]

whose keys and values then become each question's own prompt. Answers are drawn at temperature 0.6 and top_p 0.95, the
authors' settings, by draws that follow from seed, step, sample, index in the group and question.

An endpoint is asked at temperature 0 and shown the frames that the policy saw, as PNG; sound is not sent. Its answers
are kept in the run's folder, so a resumed run gets the same.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mer_r1.data.sample import Clip, MediaFacts, Sample
from mer_r1.judge.client import JudgeClient
from mer_r1.media import read_clip
from mer_r1.models.backbone import Backbone
from mer_r1.models.decoding import head_reads, kept_cache
from mer_r1.models.packing import Branch, Packed, media_placed, pack
from mer_r1.models.types import Encoded, Prompt, PromptBatch, Sampling
from mer_r1.prompting.templates import media_chat, without_control, without_servers_control
from mer_r1.recipe import ReflectionSection
from mer_r1.rl.reflection.scores import QUESTIONS, Half, Judge, StepQuestion
from mer_r1.rl.rollouts import RolloutBatch, uniform_draws

SAMPLING = Sampling(max_new_tokens=8, temperature=0.6, top_p=0.95)
_KINDS = ("image", "video", "audio")


def make_judge(backbone: Backbone, section: ReflectionSection, seed: int, folder: Path) -> Judge:
    """The judge that a recipe names. Raises InputError for an endpoint that cannot be asked."""
    if section.judge == "policy":
        return PolicyJudge(backbone, seed)
    return EndpointJudge(backbone, section, folder / "reflection.sqlite")


class PolicyJudge:
    """The policy, in the mode and precision that the caller has put it in."""

    def __init__(self, backbone: Backbone, seed: int) -> None:
        self._backbone, self._seed = backbone, seed
        self._reader = replace(backbone, template_override=QUESTIONS["coherence"])

    def readable(self, text: str) -> str:
        """Text without control tokens."""
        return without_control(self._backbone.tokenizer, self._backbone.control_ids, text) or ""

    def shows(self, batch: RolloutBatch, samples: Sequence[Sample]) -> list[bool]:
        """Whether each prompt holds a medium."""
        shown: list[bool] = self._is_placeholder(batch.encoded.prompts.input_ids_PT).any(1).tolist()
        return shown

    def answer(
        self, half: Half, questions: Sequence[StepQuestion], batch: RolloutBatch, samples: Sequence[Sample], step: int
    ) -> list[str]:
        """The policy's answers."""
        if half == "coherence":
            encoded = self._backbone.encode(self._backbone.collate(self._texts(questions, batch, samples)))
        else:
            encoded = self._shown(questions, batch)
        length = SAMPLING.max_new_tokens
        draws_BR = uniform_draws(self._seed, step, batch.ids, batch.num_generations, length, half)
        rows = [question.row for question in questions]
        made = self._backbone.generate(encoded, 1, SAMPLING, uniform_BR=draws_BR[rows])
        return [self._backbone.decode(ids) for ids in made.rows()]

    def _texts(self, questions: Sequence[StepQuestion], batch: RolloutBatch, samples: Sequence[Sample]) -> list[Prompt]:
        """Prompts of text alone; of the sample its candidates go in, and nothing else."""
        prompts = []
        for row, text in questions:
            candidates = samples[batch.prompt_of(row)].candidates
            bare = Sample(batch.ids[batch.prompt_of(row)], subtitle=text, candidates=candidates)
            prompts.append(self._reader.prepare(bare, Clip(None, None, MediaFacts())))
        return prompts

    def _shown(self, questions: Sequence[StepQuestion], batch: RolloutBatch) -> Encoded:
        """The questions behind their prompts' media, read."""
        asked = list(dict.fromkeys(batch.prompt_of(question.row) for question in questions))
        index_of = {prompt: index for index, prompt in enumerate(asked)}
        media = [self._media(batch.encoded.prompts, prompt) for prompt in asked]
        tails = []
        for row, text in questions:
            index = index_of[batch.prompt_of(row)]
            ids = self._ids_around(media[index], text)[1]
            tails.append(Branch(index, tuple(ids), indices=(len(ids),), targets=(0,)))
        prompts = self._backbone.collate([self._behind_opening(prompt) for prompt in media]).to(self._backbone.device)
        return read_behind(self._backbone, pack(prompts, tails), tails, _only(batch.encoded, asked))

    def _media(self, prompts: PromptBatch, row: int) -> Prompt:
        """The stretch of a prompt from its first medium to its last, and nothing else of it."""
        ids_T = prompts.input_ids_PT[row]
        cut = self._backbone.media_span(ids_T, self._backbone.placeholder_ids())
        return Prompt("", ids_T[cut].cpu(), prompts.positions_3PT[:, row, cut].cpu(), {}, MediaFacts())

    def _behind_opening(self, media: Prompt) -> Prompt:
        """The media behind the chat's opening. Their positions count from their first one's."""
        opening = torch.tensor(self._ids_around(media, "")[0])
        positions_3T = media.positions_3T - media.positions_3T[:, :1] + len(opening)
        counted = torch.arange(len(opening)).expand(3, -1)
        return replace(
            media,
            input_ids_T=torch.cat([opening, media.input_ids_T]),
            positions_3T=torch.cat([counted, positions_3T], dim=1),
        )

    def _ids_around(self, media: Prompt, text: str) -> tuple[list[int], list[int]]:
        """The chat's ids before the media and after them, where the question stands."""
        backbone = self._backbone
        kind_of = {getattr(backbone.model.config, f"{kind}_token_id", None): kind for kind in _KINDS}
        kinds = [kind_of[ident] for ident in dict.fromkeys(media.input_ids_T.tolist()) if ident in kind_of]
        chat = media_chat(QUESTIONS["consistency"], kinds, text)
        ids = backbone.text_ids(backbone.chat_text(chat))
        media_at = [index for index, ident in enumerate(ids) if ident in kind_of]
        return ids[: media_at[0]], ids[media_at[-1] + 1 :]

    def _is_placeholder(self, ids: Tensor) -> Tensor:
        return torch.isin(ids, ids.new_tensor(list(self._backbone.placeholder_ids())))


def _only(encoded: Encoded, rows: Sequence[int]) -> Encoded:
    """Some prompts of an encoded batch, by their ids and embeddings."""
    prompts = encoded.prompts
    at = torch.tensor(rows, device=prompts.input_ids_PT.device)
    some = PromptBatch(prompts.input_ids_PT[at], prompts.mask_PT[at], prompts.positions_3PT[:, at], {})
    embeds_PTD = None if encoded.embeds_PTD is None else encoded.embeds_PTD[at]
    return replace(
        encoded, prompts=some, embeds_PTD=embeds_PTD, deepstack=tuple(part[at] for part in encoded.deepstack)
    )


@torch.no_grad()
def read_behind(backbone: Backbone, packed: Packed, branches: Sequence[Branch], media: Encoded) -> Encoded:
    """The branches of a packed sequence, each read behind its prompt, as prompts of their own.

    Each branch's one index is its length. `media` holds the embeddings of the sequence's media, in order.
    """
    with media_placed(backbone, packed.input_ids_S, media), head_reads(backbone.model, packed.probe_A):
        state = backbone.wrapped_model(**packed.arguments(backbone), use_cache=True)
    index_BT, mask_BT = (
        part.to(backbone.device) for part in _indices(packed.prompts.mask_PT.sum(1).tolist(), branches)
    )
    prompts = PromptBatch(packed.input_ids_S[index_BT], mask_BT, packed.positions_3S[:, index_BT] * mask_BT, {})
    keys, values = kept_cache(state.past_key_values.layers)

    def of_branches(states_1JSD: Tensor) -> Tensor:
        return states_1JSD[0][:, index_BT].transpose(0, 1)

    return Encoded(
        prompts, None, tuple(map(of_branches, keys)), tuple(map(of_branches, values)), state.logits[0].float()
    )


def _indices(prompt_lengths: Sequence[int], branches: Sequence[Branch]) -> tuple[Tensor, Tensor]:
    """Of every branch the flat indices of its prompt and its own (B, T), padded on the left, and 1 on real ones."""
    ends = list(accumulate([*prompt_lengths, *(len(branch.ids) for branch in branches)]))
    starts = [0, *ends[:-1]]
    rows = []
    for number, branch in enumerate(branches, start=len(prompt_lengths)):
        rows.append([*range(starts[branch.prompt], ends[branch.prompt]), *range(starts[number], ends[number])])
    length = max(map(len, rows))
    index_BT = torch.tensor([[0] * (length - len(row)) + row for row in rows])
    mask_BT = torch.tensor([[0] * (length - len(row)) + [1] * len(row) for row in rows])
    return index_BT, mask_BT


class EndpointJudge:
    """A model at an OpenAI-compatible chat endpoint (judge/client.py)."""

    def __init__(self, backbone: Backbone, section: ReflectionSection, cache: Path) -> None:
        """Raises JudgeError, an InputError, for an address or key that cannot be used."""
        self._backbone, self._section, self._cache = backbone, section, cache
        self._client(None).close()

    def _client(self, cache: Path | None) -> JudgeClient:
        section = self._section
        assert section.url, "the recipe's validation"
        assert section.model, "the recipe's validation"
        return JudgeClient(section.url, section.model, cache, key_env=section.key_env)

    def readable(self, text: str) -> str:
        """Text without what a server's chat template would take for its frame."""
        return without_servers_control(text)

    def shows(self, batch: RolloutBatch, samples: Sequence[Sample]) -> list[bool]:
        """Whether each sample has pictures."""
        return [sample.image is not None or sample.video is not None for sample in samples]

    def answer(
        self, half: Half, questions: Sequence[StepQuestion], batch: RolloutBatch, samples: Sequence[Sample], step: int
    ) -> list[str]:
        """The endpoint's answers."""
        conversations = []
        pictures: dict[int, list[dict[str, Any]]] = {}
        for row, text in questions:
            prompt = batch.prompt_of(row)
            if half == "consistency" and prompt not in pictures:
                pictures[prompt] = self._pictures(samples[prompt])
            candidates = [without_servers_control(label) for label in samples[prompt].candidates]
            asked = QUESTIONS[half].text(text, candidates)
            content = [*pictures[prompt], {"type": "text", "text": asked}] if half == "consistency" else asked
            conversations.append([{"role": "user", "content": content}])
        with self._client(self._cache) as client:
            return client.ask_all(conversations)

    def _pictures(self, sample: Sample) -> list[dict[str, Any]]:
        """The frames of a sample as content parts. Raises InputError where it cannot be read."""
        from PIL import Image

        frames_THWC = read_clip(sample, self._backbone.budget).frames_THWC
        parts = []
        for frame_HWC in () if frames_THWC is None else frames_THWC:
            file = io.BytesIO()
            Image.fromarray(frame_HWC).save(file, "PNG")
            url = f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
            parts.append({"type": "image_url", "image_url": {"url": url}})
        return parts
