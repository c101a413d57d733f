"""A checkpoint on this machine as a generator: media are read while the answers to earlier ones are generated.

Memory beside the model: the prompts of two batches, one in the model and one that waits (a batch is 4 prompts, or
64 of a model below 100 million parameters), and the decoded clips of READERS threads. The number of samples does not
matter. Answers are greedy.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from functools import cached_property, partial
from itertools import islice
from threading import Lock
from typing import Any

import torch

from mer_r1.data.sample import Mode, Prediction, Sample
from mer_r1.distributed import local_rank
from mer_r1.emotion.wheel import WheelSet
from mer_r1.generation.batch import predict_batch, settings_of_answers
from mer_r1.generation.generator import UNREADABLE, Show, failed
from mer_r1.media import MediaBudget, read_clip
from mer_r1.model_settings import model_folder
from mer_r1.models.backbone import Backbone
from mer_r1.models.category_confidence import CategoryTokens, category_tokens
from mer_r1.models.checkpoint import fingerprint
from mer_r1.models.decoding import NotFiniteError
from mer_r1.models.loading import load_backbone
from mer_r1.models.types import Prompt, Sampling
from mer_r1.prompting.templates import PromptTemplate
from mer_r1.recipe import Quantization

READERS = 4


def load_model(source: str, quantization: Quantization | None = None) -> Backbone:
    """The model of a run's folder, of a checkpoint's folder, or of a Hub id, on the GPU where there is one.

    `quantization` holds its language model's layers in 4 or 8 bits (models/quantization.py). Processes of one launch
    take the GPUs in turn. Raises InputError for what cannot be loaded.
    """
    num_gpus = torch.cuda.device_count()
    device = f"cuda:{local_rank() % num_gpus}" if num_gpus else "cpu"
    backbone = load_backbone(model_folder(source), quantization=quantization, device=device)
    backbone.model.to(device)
    return backbone


def kept(samples: Sequence[Sample], prompts: Sequence[Prompt]) -> Callable[[Sample], Prompt]:
    """Gives the prompts of `samples` that were made before, for LocalGenerator's `read`."""
    row_of = {sample.id: row for row, sample in enumerate(samples)}
    return lambda sample: prompts[row_of[sample.id]]


def batch_size(backbone: Backbone) -> int:
    """Prompts answered together: logits of 64 long answers do not fit beside 7B."""
    return 64 if backbone.model.num_parameters() < 10**8 else 4


class LocalGenerator:
    """Answers of a checkpoint; see `Generator`. Without `template` the prompt template is the model's."""

    def __init__(
        self,
        model: str | Backbone,
        max_new_tokens: int = 1024,
        template: PromptTemplate | None = None,
        read: Callable[[Sample], Prompt] | None = None,
        show: Show | None = None,
    ) -> None:
        """`model` is what `load_model` takes, or loaded already.

        `show` changes what is shown of a sample; `read` gives prompts that were made before.
        """
        backbone = load_model(model) if isinstance(model, str) else model
        self.backbone = replace(backbone, template_override=template) if template else backbone
        self.max_new_tokens = max_new_tokens
        self._show = show or (lambda sample, clip: (sample, clip))
        self._read_prompt = read or self._decode
        self._preparing = Lock()

    def with_template(self, template: PromptTemplate) -> LocalGenerator:
        """The same model with another prompt template."""
        return self._like(LocalGenerator(self.backbone, self.max_new_tokens, template, show=self._show))

    def showing(self, show: Show) -> LocalGenerator:
        """The same model, shown something else of every sample."""
        return self._like(LocalGenerator(self.backbone, self.max_new_tokens, show=show))

    def reading(self, read: Callable[[Sample], Prompt]) -> LocalGenerator:
        """The same model, whose prompts were made before."""
        return self._like(LocalGenerator(self.backbone, self.max_new_tokens, read=read))

    def _like(self, other: LocalGenerator) -> LocalGenerator:
        other._weights = self._weights
        return other

    @property
    def budget(self) -> MediaBudget:
        """How much of a clip the model is shown."""
        return self.backbone.budget

    @property
    def template(self) -> PromptTemplate:
        """The prompt template that it asks by."""
        return self.backbone.template

    @property
    def settings(self) -> Mapping[str, Any]:
        return settings_of_answers("local", self.backbone, self._weights, self.max_new_tokens)

    def generate(self, samples: Sequence[Sample], mode: Mode) -> Iterator[Prediction]:
        """Batch by batch in the order of `samples`; those of a batch that cannot be read come first."""
        size, rest = batch_size(self.backbone), iter(samples)
        waiting: deque[Future[Prompt | Prediction]] = deque()
        with ThreadPoolExecutor(READERS) as pool:
            try:
                while True:
                    waiting.extend(
                        pool.submit(self._read, sample, mode) for sample in islice(rest, 2 * size - len(waiting))
                    )
                    batch = [waiting.popleft().result() for _ in range(min(size, len(waiting)))]
                    if not batch:
                        return
                    yield from (made for made in batch if isinstance(made, Prediction))
                    yield from self._predicted([made for made in batch if isinstance(made, Prompt)], mode)
            finally:
                for future in waiting:
                    future.cancel()

    def stream(self, sample: Sample, modes: Sequence[Mode], wrote: Callable[[Mode, str], None]) -> Iterator[Prediction]:
        """The prediction of one sample in each mode, the same as `generate` gives; see `stream.Streaming`."""
        made: Prompt | Prediction | None = None
        for mode in modes:
            made = self._read(sample, mode) if made is None or isinstance(made, Prediction) else made
            if isinstance(made, Prediction):
                yield made
            else:
                yield from self._predicted([made], mode, partial(wrote, mode))

    def _read(self, sample: Sample, mode: Mode) -> Prompt | Prediction:
        try:
            return self._read_prompt(sample)
        except UNREADABLE as error:
            return failed(sample.id, mode, error)

    def _decode(self, sample: Sample) -> Prompt:
        shown, clip = self._show(sample, read_clip(sample, self.backbone.budget))
        with self._preparing:  # tokenizers are not for several threads at once
            return self.backbone.prepare(shown, clip)

    def _predicted(
        self, prompts: Sequence[Prompt], mode: Mode, wrote: Callable[[str], None] | None = None
    ) -> list[Prediction]:
        """The answers to a batch; a prompt whose scores are no numbers is a failed row, and the others are asked again.

        Where memory does not suffice they are answered prompt by prompt, and one that fails alone is a failed row.
        """
        if not prompts:
            return []
        sampling = Sampling(self.max_new_tokens, temperature=0.0)
        try:
            return predict_batch(self.backbone, prompts, mode, sampling, self._tokens, self._wheels, wrote)
        except NotFiniteError as error:
            rest = [prompt for row, prompt in enumerate(prompts) if row not in error.rows]
            return [failed(prompts[row].id, mode, error) for row in error.rows] + self._predicted(rest, mode)
        except torch.OutOfMemoryError as error:
            problem = RuntimeError(str(error))  # without the frames that hold the memory
        torch.cuda.empty_cache()
        if len(prompts) == 1:
            return [failed(prompts[0].id, mode, problem)]
        return [row for prompt in prompts for row in self._predicted([prompt], mode)]

    @cached_property
    def _wheels(self) -> WheelSet:
        """What is shown of an answer knows "neutral" too, whatever a later score makes of it."""
        return WheelSet.load(protocol="corrected")

    @cached_property
    def _tokens(self) -> CategoryTokens:
        return category_tokens(self.backbone, self._wheels)

    @cached_property
    def _weights(self) -> str:
        return fingerprint(sorted(self.backbone.model.state_dict().items()))
