"""Who draws the answers of prompts: a protocol, the policy's own loop, and the weights that another engine is given.

An answer draws by what follows from a key, its sample's id and its index in the group alone, whoever samples: not by
the batch it stands in, nor by what was drawn before.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from mer_r1.models.backbone import Backbone
from mer_r1.models.decoding import NotFiniteError
from mer_r1.models.lora import low_rank_product
from mer_r1.models.types import Encoded, Generated, Prompt, PromptBatch, Sampling


@dataclass(frozen=True)
class Stop:
    """Where an answer ends: at the `num`-th `text`; one before `after` does not count (decoding.StopText)."""

    text: str = "</answer>"
    num: int = 1
    after: str = ""


class Sampled(NamedTuple):
    """Prompts with the towers run, and their answers; those of a prompt are neighbours.

    `encoded` is what a later pass needs of the prompts; it has no cache.
    """

    encoded: Encoded
    generated: Generated


class Sampler(Protocol):
    """Draws answers of `backbone`'s prompts from the weights that it was given last."""

    @property
    def backbone(self) -> Backbone:
        """The policy."""

    def sample(
        self, batches: Sequence[Sequence[Prompt]], num_generations: int, sampling: Sampling, stop: Stop, key: str
    ) -> list[Sampled]:
        """`num_generations` answers of each prompt, batch by batch, drawn by `key`, the prompt's id and their index.

        Raises NotFiniteError where the model's scores for an answer are not numbers; its rows count through all
        batches.
        """

    def update(self, weights: Iterable[tuple[str, Tensor]]) -> None:
        """Take new weights, by the names of the official checkpoint; they are read once, in order."""

    def rest(self) -> None:
        """Give memory back, where the sampler can, until the next `update`."""


class LocalSampler:
    """The policy itself, in the mode and precision that the caller has put it in; its weights are always the newest."""

    def __init__(self, backbone: Backbone) -> None:
        self.backbone = backbone

    def sample(
        self, batches: Sequence[Sequence[Prompt]], num_generations: int, sampling: Sampling, stop: Stop, key: str
    ) -> list[Sampled]:
        """As the protocol says. A prompt is read once for all its answers, and a batch is written at a time."""
        made, num_rows = list[Sampled](), 0
        for prompts in batches:
            encoded = self.backbone.encode(collated(self.backbone, prompts))
            keys = [prompt_key(key, prompt.id) for prompt in prompts]
            try:
                generated = self.backbone.generate(
                    encoded,
                    num_generations,
                    sampling,
                    stop=stop.text,
                    num_stops=stop.num,
                    stop_after=stop.after,
                    uniform_BR=draws(keys, num_generations, sampling.max_new_tokens),
                )
            except NotFiniteError as error:
                raise NotFiniteError([num_rows + row for row in error.rows]) from None
            num_rows += len(prompts) * num_generations
            made.append(Sampled(encoded.without_cache(), generated))
        return made

    def update(self, weights: Iterable[tuple[str, Tensor]]) -> None:
        """Nothing is to be done."""

    def rest(self) -> None:
        """Nothing is to be done."""


def policy_weights(backbone: Backbone) -> Iterator[tuple[str, Tensor]]:
    """The weights of the policy by the names of the official checkpoint, adapters merged into copies of theirs.

    One that several processes hold parts of is gathered when its turn comes, so all of them read this together. A head
    that is tied to the embeddings comes too.
    """
    return backbone.official_weights(_merged_weights(backbone.wrapped_model))


def _merged_weights(model: Any) -> Iterator[tuple[str, Tensor]]:
    """The weights of a model by the names of its modules, those of adapters left out."""
    state = model.state_dict()
    adapted = {
        f"{_bare(path)}.{getattr(module, 'parameter_name', 'weight')}": (path, module.scaling)
        for path, module in model.named_modules()
        if hasattr(module, "lora_A")
    }
    for name, value in state.items():
        if ".lora_" in name:
            continue
        weight = _whole(value)
        path, scaling = adapted.get(_bare(name), ("", {}))
        for adapter, scale in scaling.items():
            up, down = (_whole(state[f"{path}.lora_{part}.{adapter}.weight"]).float() for part in "BA")
            weight = weight.float() + scale * low_rank_product(up, down, weight)
        yield _bare(name), weight


def _bare(name: str) -> str:
    """A name without what PEFT's wrappers add to it."""
    return name.removeprefix("base_model.model.").replace(".base_layer", "")


def _whole(value: Tensor) -> Tensor:
    """A weight, gathered where processes share it."""
    gather = getattr(value, "full_tensor", None)
    return value.detach() if gather is None else gather().detach()


def collated(backbone: Backbone, prompts: Sequence[Prompt]) -> PromptBatch:
    """The prompts under each other; float64 arrays among them are none of autocast's."""
    with torch.autocast(backbone.device.type, enabled=False):
        return backbone.collate(prompts)


def prompt_key(key: str, ident: str) -> str:
    """What the answers of a sample draw by."""
    return f"{key} {ident}"


def draws(keys: Sequence[str], num_generations: int, length: int) -> Tensor:
    """Draws (B, length) in [0, 1) of the answers of prompts with these keys, float64 on the CPU."""
    shape = (num_generations, length)
    return torch.cat([torch.rand(*shape, generator=seeded_generator(key), dtype=torch.float64) for key in keys])


def seeded_generator(key: str) -> torch.Generator:
    """A generator on the CPU whose draws follow from a text."""
    return torch.Generator().manual_seed(seed_of(key))


def seed_of(key: str) -> int:
    """A seed below 2^63 that follows from a text."""
    digest = hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") >> 1
