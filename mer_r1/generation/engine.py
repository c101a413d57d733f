"""A checkpoint answered by vLLM in this process: many requests at a time, media read and processed ahead of them.

Prompts, stops, parsing and confidence are those of local.py, and with the same precision so are the answers: the chat's
ids are made by the model's own backbone, without its weights; the engine's processor expands them, and what it expands
them to is compared with what the model was trained on. Answers are greedy.

The engine is asked for IN_FLIGHT samples at a time, so it never waits for the slowest of a batch. A sample takes two
turns: its answer is written, then the confidence at its words is read (engine_confidence.py). Memory beside the engine:
the processed media of IN_FLIGHT samples, and of two for each of the threads that read.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Generator, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import count, islice
from threading import Lock
from typing import Any, NamedTuple, TypeAlias

import torch

from mer_r1.data.sample import MODES, Mode, Prediction, Sample
from mer_r1.distributed import local_rank, rank_and_world_size
from mer_r1.emotion.wheel import WheelSet
from mer_r1.errors import InputError, first_line
from mer_r1.generation.batch import prediction_of, settings_of_answers
from mer_r1.generation.engine_confidence import AnchorReader, anchor_reader
from mer_r1.generation.generator import NOT_NUMBERS, UNREADABLE, Show, failed
from mer_r1.media import MediaBudget, most_tokens, read_clip
from mer_r1.media.budget import AUDIO_HZ
from mer_r1.model_settings import SUPPRESSED_BIAS, model_folder
from mer_r1.models.category_confidence import CategoryTokens, category_tokens
from mer_r1.models.checkpoint import RUN_FIX, downloaded, fingerprint, folder_kind, saved_weights
from mer_r1.models.decoding import NotFiniteError, StopText, stopped
from mer_r1.models.frames import frame_metadata
from mer_r1.models.loading import load_backbone
from mer_r1.models.token_offsets import locate_answer
from mer_r1.models.types import ChatPrompt
from mer_r1.models.vllm_engine import EngineOptions, engine_errors, open_engine, require_vllm, vllm_errors
from mer_r1.prompting.templates import PromptTemplate

IN_FLIGHT = 80
NUM_SEQS = 64
TEXT_TOKENS = 4096
"""Room for a prompt's text beside its media."""


class EngineModel:
    """A checkpoint that vLLM has the weights of; the engine is opened when it is first asked.

    `backbone` makes its prompts and reads its answers.
    """

    def __init__(self, source: str, max_new_tokens: int = 1024, tensor_parallel: int = 1) -> None:
        """`source` is a run, a checkpoint's folder or a Hub id. `tensor_parallel` GPUs share each layer.

        Raises InputError where vLLM is not installed, and for what cannot be loaded.
        """
        require_vllm()
        self.folder = downloaded(model_folder(source))
        self.backbone = load_backbone(str(self.folder), weights=False)
        if not self.backbone.has_engine:
            raise InputError(f"{self.folder}: a model of this kind is not answered by vLLM here; take --engine local")
        self._max_new_tokens, self._tensor_parallel = max_new_tokens, tensor_parallel
        self._engine: Any = None
        self.preparing = Lock()  # tokenizers and processors are not for several threads at once

    @cached_property
    def weights(self) -> str:
        """A fingerprint of the weights' files, which the layout's prefix does not change."""
        return fingerprint((name.removeprefix("thinker."), tensor) for name, tensor in saved_weights(self.folder))

    @property
    def engine(self) -> Any:
        """The `vllm.LLM`; one that is open for another model is closed.

        Raises InputError as `open_engine` does, and for a layout that vLLM does not load.
        """
        if _open and _open[0] is not self:
            close_engine()
        if self._engine is None:
            self._engine = self._opened()
            _open.append(self)
        return self._engine

    def _opened(self) -> Any:
        if folder_kind(self.folder, RUN_FIX).endswith("_thinker"):
            raise InputError(
                f"{self.folder}: an earlier layout, which vLLM does not load; write it anew with `mer-r1 export "
                f"{self.folder} --out DIR`, and give that folder"
            )
        _take_gpus(self._tensor_parallel)
        backbone = self.backbone
        length = most_tokens(backbone.budget) + TEXT_TOKENS + self._max_new_tokens
        dtype = str(backbone.model.config.dtype).removeprefix("torch.")  # None where only the weights say it
        return open_engine(
            self.folder,
            EngineOptions(
                max_model_len=min(length, backbone.model.config.get_text_config().max_position_embeddings),
                dtype="float32" if dtype == "float32" else "bfloat16" if dtype == "bfloat16" else "auto",
                max_num_seqs=NUM_SEQS,
                tensor_parallel=self._tensor_parallel,
                budget=backbone.budget,
                media_cache_gib=0.0,  # a request's media are kept here, as long as they are needed
            ),
        )

    def close(self) -> None:
        """Give back the engine's memory. It is opened anew when it is asked for again."""
        if self._engine is not None:
            self._engine.llm_engine.engine_core.shutdown()
            self._engine = None
            _open.remove(self)


_open: list[EngineModel] = []
"""The model whose engine is open: a process has one at a time."""


def close_engine() -> None:
    """Give back the memory of the engine that is open, if one is."""
    for model in [*_open]:
        model.close()


def _take_gpus(num: int) -> None:
    """Let go of what this process holds of a GPU; and of a launch's processes each takes `num` GPUs of its own."""
    gc.collect()
    torch.cuda.empty_cache()
    if rank_and_world_size()[1] > 1 and (known := torch.cuda.device_count()):
        devices = os.environ.get("CUDA_VISIBLE_DEVICES", ",".join(map(str, range(known)))).split(",")
        first = local_rank() * num % len(devices)
        os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(devices[first : first + num])


class _Ready(NamedTuple):
    """A sample whose prompt the engine's processor has made: `rendered` is what the engine takes."""

    prompt: ChatPrompt
    rendered: dict[str, Any]


Requests: TypeAlias = "list[tuple[list[int], Any]]"
"""Ids behind a sample's prompt, and sampling parameters, of requests that are answered together."""
Steps: TypeAlias = "Generator[Requests, list[Any], Prediction]"
"""The way to a sample's prediction: gives requests, is sent what came of them, and returns the prediction."""


class EngineGenerator:
    """Answers of a checkpoint by vLLM; see `Generator`. Without `template` the prompt template is the model's."""

    def __init__(
        self,
        model: str | EngineModel,
        max_new_tokens: int = 1024,
        template: PromptTemplate | None = None,
        show: Show | None = None,
    ) -> None:
        """`model` is what `EngineModel` takes, or such a one. `show` changes what is shown of a sample."""
        self.model = EngineModel(model, max_new_tokens) if isinstance(model, str) else model
        backbone = self.model.backbone
        self.backbone = replace(backbone, template_override=template) if template else backbone
        self.max_new_tokens = max_new_tokens
        self._show = show or (lambda sample, clip: (sample, clip))

    def with_template(self, template: PromptTemplate) -> EngineGenerator:
        """The same engine with another prompt template."""
        return EngineGenerator(self.model, self.max_new_tokens, template, self._show)

    def showing(self, show: Show) -> EngineGenerator:
        """The same engine, shown something else of every sample."""
        return EngineGenerator(self.model, self.max_new_tokens, self.backbone.template_override, show)

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
        return settings_of_answers("vllm", self.backbone, self.model.weights, self.max_new_tokens)

    def generate(self, samples: Sequence[Sample], mode: Mode) -> Iterator[Prediction]:
        """One prediction of each sample, as they come.

        Raises InputError for a tokenizer that is not byte-level, where the engine cannot be opened, and where it stops.
        """
        tokens = self._tokens  # before the engine takes its time
        asked = _Asked(self.model.engine.llm_engine)
        threads = min(16, max(4, os.cpu_count() or 1))
        rest, reading = iter(samples), set[Future[_Ready | Prediction]]()
        with ThreadPoolExecutor(threads, thread_name_prefix="reading") as pool:
            try:
                while True:
                    room = min(2 * threads, IN_FLIGHT - len(asked)) - len(reading)
                    reading |= {pool.submit(self._read, sample, mode) for sample in islice(rest, max(0, room))}
                    if not reading and not len(asked):
                        return
                    read, reading = wait(reading, 0 if len(asked) else None, FIRST_COMPLETED)
                    for made in (future.result() for future in read):
                        if isinstance(made, Prediction):
                            yield made
                        else:
                            yield from asked.begin(made, mode, self._steps(made.prompt, mode, tokens))
                    yield from asked.proceed()
            finally:
                for future in reading:
                    future.cancel()
                asked.give_up()

    def _read(self, sample: Sample, mode: Mode) -> _Ready | Prediction:
        try:
            shown, clip = self._show(sample, read_clip(sample, self.backbone.budget))
            with self.model.preparing:
                prompt = self.backbone.chat_prompt(shown, clip)
                return _Ready(prompt, self._rendered(prompt))
        except UNREADABLE + vllm_errors() as error:
            return failed(sample.id, mode, error)

    def _rendered(self, prompt: ChatPrompt) -> dict[str, Any]:
        """What the engine takes. Raises InputError where its processor makes other ids of the prompt than ours."""
        media: dict[str, Any] = {}
        frames_THWC = prompt.frames_THWC
        request: dict[str, Any] = {"prompt_token_ids": prompt.chat_ids}
        if frames_THWC is not None and len(frames_THWC) == 1:
            from PIL import Image

            media["image"] = Image.fromarray(frames_THWC[0])
        elif frames_THWC is not None:
            rate = prompt.frames_per_s
            media["video"] = frames_THWC, frame_metadata(prompt.facts, rate)
            request["mm_processor_kwargs"] = {"fps": rate, "do_sample_frames": False}
        if prompt.waveform_N is not None:
            media["audio"] = (prompt.waveform_N, AUDIO_HZ)
        if media:
            request["multi_modal_data"] = media
        rendered: dict[str, Any]
        (rendered,) = self.model.engine.llm_engine.renderer.render_cmpl([request])
        if rendered["prompt_token_ids"] != prompt.input_ids:
            raise InputError(
                f"vLLM makes other ids of this prompt ({len(rendered['prompt_token_ids'])}) than the model was trained "
                f"on ({len(prompt.input_ids)}); answer it with --engine local"
            )
        return rendered

    def _steps(self, prompt: ChatPrompt, mode: Mode, tokens: CategoryTokens) -> Steps:
        """A sample's answer, then the confidence at its words.

        Raises RuntimeError where the engine gave the answer up, NotFiniteError where its scores are no numbers.
        """
        backbone, form, sampling = self.backbone, self.backbone.response_format, self._sampling[mode]
        prefill = form.prefill(mode)
        row = backbone.text_ids(prefill)
        (output,) = yield [(row, sampling)]
        (written,) = output.outputs
        if written.finish_reason not in ("stop", "length"):
            raise RuntimeError(f"vLLM gave this answer up ({written.finish_reason})")
        if written.finish_reason == "length" and len(written.token_ids) < self.max_new_tokens:
            raise RuntimeError(
                f"its prompt of {len(prompt.input_ids)} ids leaves room for {len(written.token_ids)} of an answer's "
                f"{self.max_new_tokens}; shorten its text, or answer it with --engine local"
            )
        after = "" if form.stop_after in prefill else form.stop_after
        finished = StopText(backbone.tokenizer, form.stop, 1, torch.device("cpu"), form.stops(mode), after)
        ids = stopped(finished, written.token_ids)
        if NOT_NUMBERS.fullmatch(backbone.decode(ids)):
            raise NotFiniteError([0])
        row = [*row, *ids]
        answer = locate_answer(backbone, row, form)
        if answer is None:
            return prediction_of(backbone, prompt, mode, row, None, tokens, self._wheels)
        outputs = yield self._reader.requests(len(prompt.input_ids), row, answer.anchors)
        conf_AC = self._reader.read(outputs, answer.anchors)
        if conf_AC.isnan().any():
            raise NotFiniteError([0])
        return prediction_of(backbone, prompt, mode, row, (answer, conf_AC), tokens, self._wheels)

    @cached_property
    def _sampling(self) -> dict[Mode, Any]:
        """How an answer is written in each mode; where its first stop is not its end, it is cut afterwards."""
        import vllm

        form = self.backbone.response_format
        return {
            mode: vllm.SamplingParams(
                temperature=0.0,
                max_tokens=self.max_new_tokens,
                stop=[form.stop] if form.stops_at_first(mode) else None,
                include_stop_str_in_output=True,
                logit_bias=dict.fromkeys(self.backbone.suppressed_ids, SUPPRESSED_BIAS),
            )
            for mode in MODES
        }

    @cached_property
    def _wheels(self) -> WheelSet:
        return WheelSet.load(protocol="corrected")  # as LocalGenerator's

    @cached_property
    def _tokens(self) -> CategoryTokens:
        return category_tokens(self.backbone, self._wheels)

    @cached_property
    def _reader(self) -> AnchorReader:
        return anchor_reader(self.model.engine, self.backbone, self._tokens)


@dataclass
class _Sample:
    """A sample under way: its steps, and of the requests that they wait for the names, in order, and what came."""

    ready: _Ready
    mode: Mode
    steps: Steps
    waits_for: list[str] = field(default_factory=list)
    came: dict[str, Any] = field(default_factory=dict)


class _Asked:
    """The samples that an engine is asked about."""

    _numbers = count()

    def __init__(self, core: Any) -> None:
        self._core = core
        self._of_request: dict[str, _Sample] = {}
        self._samples: list[_Sample] = []

    def __len__(self) -> int:
        return len(self._samples)

    def begin(self, ready: _Ready, mode: Mode, steps: Steps) -> Iterator[Prediction]:
        """Take a sample's first step; its failed row where the engine refuses it."""
        sample = _Sample(ready, mode, steps)
        self._samples.append(sample)
        yield from self._advance(sample, None)

    def proceed(self) -> Iterator[Prediction]:
        """Let the engine compute once; the predictions that are ready. Raises InputError where it has stopped."""
        if not self._samples:
            return
        try:
            outputs = self._core.step()
        except engine_errors() as error:  # as of requests that no runner takes
            raise InputError(
                f"vLLM's engine stopped ({first_line(error)}); what was answered is kept, and the same command resumes"
            ) from error
        for output in outputs:
            sample = self._of_request.pop(output.request_id, None) if output.finished else None
            if sample is None:
                continue
            sample.came[output.request_id] = output
            if len(sample.came) == len(sample.waits_for):
                yield from self._advance(sample, [sample.came[name] for name in sample.waits_for])

    def give_up(self) -> None:
        """Take back what is under way."""
        self._core.abort_request([*self._of_request])
        self._of_request.clear()
        self._samples.clear()

    def _advance(self, sample: _Sample, outputs: list[Any] | None) -> Iterator[Prediction]:
        """Send a sample's steps what came of their requests, and add the next ones."""
        sample.waits_for, sample.came = [], {}
        prompt, rendered = sample.ready
        try:
            requests = next(sample.steps) if outputs is None else sample.steps.send(outputs)
            for ids, sampling in requests:
                name = str(next(self._numbers))
                self._core.add_request(name, {**rendered, "prompt_token_ids": [*prompt.input_ids, *ids]}, sampling)
                sample.waits_for.append(name)
                self._of_request[name] = sample
        except StopIteration as end:
            self._samples.remove(sample)
            yield end.value
        except UNREADABLE + vllm_errors() as error:
            self._core.abort_request([name for name in sample.waits_for if self._of_request.pop(name, None)])
            self._samples.remove(sample)
            yield failed(prompt.id, sample.mode, error)
