"""Answers drawn by a vLLM engine that holds the policy's weights; see `Sampler`.

The engine is asked with what the policy reads: the prompt's ids and the processor's arrays, so its own processor does
nothing, and its towers run once a prompt. The engine is given the seconds between two of a video's times with which it
rounds to the policy's positions.

Every answer is a request with a seed of its own. The engine ends one at its end token or at a stop text; where more is
wanted, a second stop or one id behind the last, the same answer is asked on.

Weights come by the names of the official checkpoint. After an update the bits of all weights are summed on both sides,
block by block: a sum is the same however weights are fused. On a CPU kernels compute with packed copies of a weight,
which are read by multiplying the identity.
"""

from __future__ import annotations

import hashlib
import itertools
import math
import random
import re
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mer_r1.errors import InputError, first_line
from mer_r1.model_settings import SUPPRESSED_BIAS
from mer_r1.models.backbone import Backbone, pad_right
from mer_r1.models.decoding import NotFiniteError
from mer_r1.models.sampler import Sampled, Stop, collated, prompt_key, seed_of
from mer_r1.models.types import Generated, Prompt, Sampling
from mer_r1.models.vllm_engine import EngineOptions, engine_errors, open_engine
from mer_r1.text import printable

_INTEGERS = {2: torch.int16, 4: torch.int32}
_BLOCK = re.compile(r"(?:layers|blocks)\.\d+")
_HEAD = "lm_head"


@dataclass
class _Answer:
    """An answer of the prompt number `prompt` while it is written; what it draws follows from `key`."""

    prompt: int
    key: str
    ids: list[int] = field(default_factory=list)
    log_probs: list[float] = field(default_factory=list)
    has_stopped: bool = False
    is_behind_stop: bool = False
    wants_one_more: bool = False


class VllmSampler:
    """An engine in this process, opened on the policy's configuration and processor. It has no weights before the
    first `update`.
    """

    def __init__(self, backbone: Backbone, options: EngineOptions) -> None:
        """Raises InputError where vLLM is missing, cannot load a model of this kind, or has not enough memory."""
        if not backbone.has_engine:
            raise InputError("rl.sampler: a model of this kind is not sampled by vLLM here; set rl.sampler=local")
        self.backbone, self._options = backbone, options
        self._sleeps = options.sleep and torch.cuda.is_available()
        self._dtype = torch.bfloat16 if options.dtype == "bfloat16" else torch.float32
        self._numbers = itertools.count()
        with tempfile.TemporaryDirectory() as folder, apart_from_training():
            backbone.save_config(Path(folder))
            backbone.save(Path(folder))
            self.llm = open_engine(Path(folder), replace(options, reads_weights=False))
        self.rest()

    def update(self, weights: Iterable[tuple[str, Tensor]]) -> None:
        """Take new weights; what the engine kept of the old ones is forgotten.

        Raises InputError where the engine's weights are others than those that were given.
        """
        llm, given = self.llm, Counter[str]()
        if self._sleeps:
            llm.wake_up(tags=["weights"])
        with apart_from_training():
            llm.apply_model(forget_packed_experts)
            (takes_head,) = llm.apply_model(owns_head)
            sent = counted(weights, self._dtype, given)
            iterator = (item for item in sent if takes_head or _HEAD not in item[0])
            llm.collective_rpc("reload_weights", kwargs={"weights_iterator": iterator, "is_checkpoint_format": True})
            (held,) = llm.apply_model(partial(held_bits, has_head=_HEAD in given))
        if self._sleeps:
            llm.wake_up(tags=["kv_cache"])
        llm.reset_prefix_cache()
        llm.reset_mm_cache()
        llm.llm_engine.reset_encoder_cache()
        if differ := sorted(name for name in given.keys() | held.keys() if given[name] != held[name]):
            raise InputError(
                f"rl.sampler: the engine's weights are not the policy's after an update ({', '.join(differ[:3])}); "
                "set rl.sampler=local, and report the versions of vLLM and transformers"
            )

    def rest(self) -> None:
        """Give the memory back until the next `update`, where the engine may sleep."""
        if self._sleeps:
            self.llm.sleep(level=2)

    def close(self) -> None:
        """Give all memory back, for good; in a launched group that ends with the process.

        vLLM ends torch's process groups with it, which there are training's too.
        """
        if not self._options.is_launched:
            self.llm.llm_engine.engine_core.shutdown()

    def sample(
        self, batches: Sequence[Sequence[Prompt]], num_generations: int, sampling: Sampling, stop: Stop, key: str
    ) -> list[Sampled]:
        """As the protocol says; all batches are written together. The policy's towers run for the passes that follow.

        Raises InputError for a prompt that leaves no room for its answer.
        """
        prompts = [prompt for batch in batches for prompt in batch]
        for prompt in prompts:
            if (room := self._options.max_model_len - len(prompt.input_ids_T)) < sampling.max_new_tokens:
                raise InputError(
                    f"sample {printable(prompt.id)!r}: its prompt of {len(prompt.input_ids_T)} ids leaves room for "
                    f"{room} of an answer's {sampling.max_new_tokens}; raise rl.vllm_max_model_length"
                )
        places = [(number, index) for number in range(len(prompts)) for index in range(num_generations)]
        answers = [_Answer(number, f"{prompt_key(key, prompts[number].id)} {index}") for number, index in places]
        with apart_from_training():
            inputs = [engine_input(self.backbone, prompt) for prompt in prompts]
            self._write(answers, inputs, sampling, stop)
        if odd := [row for row, one in enumerate(answers) if not all(map(math.isfinite, one.log_probs))]:
            raise NotFiniteError(odd)
        made, rest = list[Sampled](), iter(answers)
        for batch in batches:
            encoded = self.backbone.encode_media(collated(self.backbone, batch))
            of_batch = list(itertools.islice(rest, len(batch) * num_generations))
            made.append(Sampled(encoded, self._generated(of_batch, sampling)))
        return made

    def _generated(self, answers: Sequence[_Answer], sampling: Sampling) -> Generated:
        device = self.backbone.device
        padded = pad_right([one.ids for one in answers], self.backbone.tokenizer.pad_token_id, device)
        log_probs_BR = torch.zeros(padded[0].shape, device=device)
        for row, one in enumerate(answers):
            log_probs_BR[row, : len(one.ids)] = torch.tensor(one.log_probs)
        behind_B = torch.tensor([one.is_behind_stop for one in answers], device=device)
        stopped_B = torch.tensor([one.has_stopped for one in answers], device=device)
        return Generated(*padded, stopped_B, behind_B if sampling.end_token else None, log_probs_BR)

    def _write(self, answers: list[_Answer], inputs: list[dict[str, Any]], sampling: Sampling, stop: Stop) -> None:
        """Have every answer written to its end. Those that are asked on join the others that are still written.

        Raises InputError where the engine refuses a request, as one of more suppressed ids than it takes, or stops.
        """
        engine, asked = self.llm.llm_engine, dict[str, _Answer]()

        def ask(answer: _Answer) -> None:
            number = str(next(self._numbers))
            asked[number] = answer
            source = inputs[answer.prompt]
            source = {**source, "prompt_token_ids": [*source["prompt_token_ids"], *answer.ids]}
            engine.add_request(number, source, self._parameters(answer, sampling, stop))

        try:
            for answer in answers:
                ask(answer)
            while engine.has_unfinished_requests():
                for output in engine.step():
                    if output.finished:
                        answer = asked.pop(output.request_id)
                        if self._takes_more(answer, output.outputs[0], sampling, stop):
                            ask(answer)
        except engine_errors() as error:
            raise InputError(
                f"rl.sampler: vLLM refuses a request or stops ({first_line(error)}); set rl.sampler=local"
            ) from error

    def _parameters(self, answer: _Answer, sampling: Sampling, stop: Stop) -> Any:
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        return SamplingParams(
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            top_k=sampling.top_k,
            min_p=sampling.min_p,
            max_tokens=1 if answer.wants_one_more else sampling.max_new_tokens - len(answer.ids),
            seed=seed_of(f"{answer.key} {len(answer.ids)}"),
            stop=[] if answer.wants_one_more else [stop.text],
            include_stop_str_in_output=True,
            ignore_eos=True,  # vLLM knows end tokens of other settings too
            stop_token_ids=[self.backbone.tokenizer.eos_token_id],
            logit_bias=self._logit_bias,
            logprobs=0,
            output_kind=RequestOutputKind.FINAL_ONLY,
        )

    def _takes_more(self, answer: _Answer, made: Any, sampling: Sampling, stop: Stop) -> bool:
        """Add what was made to an answer; whether it goes on."""
        ids = [int(ident) for ident in made.token_ids]
        answer.ids += ids
        answer.log_probs += [at[ident].logprob for at, ident in zip(made.logprobs, ids, strict=True)]
        if answer.wants_one_more:
            answer.is_behind_stop = answer.has_stopped = True
            return False
        if answer.ids[-1] == self.backbone.tokenizer.eos_token_id:
            answer.has_stopped = True
            return False
        text = self.backbone.decode(answer.ids)
        behind = text.partition(stop.after)[2] if stop.after else text
        is_whole = behind.count(stop.text) >= stop.num
        answer.has_stopped, answer.wants_one_more = is_whole and not sampling.end_token, is_whole
        is_open = not is_whole or sampling.end_token
        return is_open and len(answer.ids) < sampling.max_new_tokens and math.isfinite(sum(answer.log_probs))

    @cached_property
    def _logit_bias(self) -> dict[int, float]:
        suppressed = self.backbone.suppressed_V.isinf().nonzero()[:, 0].tolist()  # what scoring leaves out
        return dict.fromkeys(suppressed, SUPPRESSED_BIAS)


@contextmanager
def apart_from_training() -> Iterator[None]:
    """Within the block the engine seeds and draws without a trace in training's draws, and no autocast reaches it."""
    states = random.getstate(), np.random.get_state()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    gpus = [torch.cuda.current_device()] if device == "cuda" else []
    try:
        with torch.random.fork_rng(devices=gpus), torch.autocast(device, enabled=False):
            yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])


def engine_input(backbone: Backbone, prompt: Prompt) -> dict[str, Any]:
    """A prompt as vLLM's engine takes it: ids, and per medium its arrays and the stretch of ids that stands for it."""
    from vllm.inputs.engine import mm_input, tokens_input
    from vllm.multimodal.inputs import MultiModalKwargsItems, PlaceholderRange

    ids = prompt.input_ids_T.tolist()
    if not prompt.media:
        return dict(tokens_input(ids))
    config = backbone.model.config
    items, hashes, places = {}, {}, {}
    for medium, fields in _fields(backbone, prompt).items():
        ident = getattr(config, f"{medium}_token_id")
        span = backbone.media_span(prompt.input_ids_T, [ident])
        is_medium = prompt.input_ids_T[span] == ident
        items[medium] = [fields]
        hashes[medium] = [_digest(fields)]
        places[medium] = [PlaceholderRange(span.start, len(is_medium), is_embed=None if is_medium.all() else is_medium)]
    return dict(mm_input(ids, MultiModalKwargsItems(items), hashes, places))


def _fields(backbone: Backbone, prompt: Prompt) -> dict[str, Any]:
    """By medium the arrays of a prompt under vLLM's names."""
    from vllm.multimodal.inputs import MultiModalFieldConfig, MultiModalKwargsItem

    media, dtype = prompt.media, backbone.model.dtype

    def item(medium: str, flat: Mapping[str, tuple[Tensor, int]], single: Mapping[str, Tensor]) -> Any:
        """`flat` arrays are laid end to end on an axis with those of other prompts, `single` ones are stacked."""
        fields = {}
        for name, (value, axis) in flat.items():
            size = torch.tensor([value.shape[axis]])
            config = MultiModalFieldConfig.flat_from_sizes(medium, size, dim=axis)
            (fields[name],) = config.build_elems(name, value.to(dtype))
        for name, value in single.items():
            (fields[name],) = MultiModalFieldConfig.batched(medium, keep_on_cpu=True).build_elems(name, value)
        return MultiModalKwargsItem(fields)

    made = {}
    if "pixel_values" in media:
        pixels, grid = media["pixel_values"], media["image_grid_thw"]
        made["image"] = item("image", {"pixel_values": (pixels, 0)}, {"image_grid_thw": grid})
    if "pixel_values_videos" in media:
        pixels, grid = media["pixel_values_videos"], media["video_grid_thw"]
        seconds = torch.tensor([seconds_per_grid(backbone, prompt)], dtype=torch.float64)
        single = {"video_grid_thw": grid, "second_per_grid_ts": seconds}
        made["video"] = item("video", {"pixel_values_videos": (pixels, 0)}, single)
    if "input_features" in media:
        mask = media["feature_attention_mask"]
        sound = media["input_features"][0][:, mask[0].bool()]
        single = {"feature_attention_mask": mask, "audio_feature_lengths": mask.sum(-1)}
        made["audio"] = item("audio", {"input_audio_features": (sound, 1)}, single)
    return made


def seconds_per_grid(backbone: Backbone, prompt: Prompt) -> float:
    """The seconds between two of a video's times with which float64 rounds to the prompt's own positions.

    Those of a prompt that an earlier version made may not lie evenly; then one of them is counted otherwise. A model
    that reads a video's times as text (Qwen3-VL) asks for none.
    """
    config = backbone.model.config
    at = prompt.input_ids_T == config.video_token_id
    times = prompt.positions_3T[0, at].view(int(prompt.media["video_grid_thw"][0, 0]), -1)[:, 0]
    index = torch.arange(1, len(times), dtype=torch.float64)
    if not len(index):
        return 1.0
    offsets = (times[1:] - times[0]).double()
    rate: float = getattr(config, "position_id_per_seconds", 0) or getattr(config.vision_config, "tokens_per_second", 1)
    least, behind = float((offsets / index).max()), float(((offsets + 1) / index).min())
    return (least + behind) / 2 / rate


def _digest(fields: Mapping[str, Any]) -> str:
    """A name for what a tower makes of these arrays."""
    digest = hashlib.sha256()
    for name, element in sorted(fields.items()):
        digest.update(f"{name} {tuple(element.data.shape)}".encode())
        digest.update(element.data.contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def counted(
    weights: Iterable[tuple[str, Tensor]], dtype: torch.dtype, counter: Counter[str]
) -> Iterator[tuple[str, Tensor]]:
    """The weights in the engine's precision, their bits added to the counter."""
    for name, value in weights:
        rounded = value.detach().to(dtype)
        counter[_block(name)] += _bits(rounded)
        yield name, rounded


def owns_head(model: Any) -> bool:
    """Whether vLLM's model has a head, and does not compute with the table of embeddings in its place."""
    return any(_HEAD in path for path, _ in model.named_modules())


def forget_packed_experts(model: Any) -> None:
    """Let the next weights of experts be taken as the first. Those of an update vLLM 0.32 leaves unpacked on a CPU."""
    for module in model.modules():
        method: Any = getattr(module, "quant_method", None)
        if getattr(method, "moe_kernel", None) is not None and next(module.parameters()).device.type == "cpu":
            method.moe_kernel = None


def held_bits(model: Any, has_head: bool) -> Counter[str]:
    """By block the bits of all weights of vLLM's model, those of packed copies where its kernels compute with them.

    Where the policy's model has a head (`has_head`) and vLLM's has none, the table of embeddings is its head too.
    """
    counter, table = Counter[str](), None
    for path, module in model.named_modules():
        for name, value in module.named_parameters(recurse=False):
            if "embed_tokens" in path:
                table = module
            elif name == "weight":
                value = _unpacked(module, value)
            counter[_block(path)] += _bits(value.detach())
    if has_head and _HEAD not in counter and table is not None:
        counter[_HEAD] = _bits(_unpacked(table, table.weight).detach())
    return counter


def _unpacked(module: Any, weight: Tensor) -> Tensor:
    """The weight that a layer computes with: its own, or (transposed) the packed copy of a CPU's kernel."""
    if not hasattr(module, "cpu_linear"):
        return weight
    names = ("input_size_per_partition", "input_size", "embedding_dim")
    size = next(size for name in names if (size := getattr(module, name, None)))
    identity = torch.eye(size, dtype=weight.dtype)
    unpacked: Tensor = module.cpu_linear(identity, weight, None)
    return unpacked


def _block(name: str) -> str:
    """The part of a model that a weight belongs to, whoever names it."""
    part = next((known for known in ("audio_tower", "visual", _HEAD) if known in name), "language_model")
    block = _BLOCK.search(name)
    return f"{part}.{block.group()}" if block else part


def _bits(values: Tensor) -> int:
    """The sum of the bits of all values, as integers."""
    values = (values + 0.0).contiguous()  # -0 as 0: a product with the identity gives no other
    return int(values.view(_INTEGERS[values.element_size()]).sum(dtype=torch.int64))
