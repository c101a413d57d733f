"""The generator around vLLM, with a stand-in for its engine: what fails is a row, and confidence is Eq. 1 exactly."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from mer_r1.data.sample import Prediction, Sample
from mer_r1.errors import InputError
from mer_r1.generation.make import Engine, make_generator

if TYPE_CHECKING:
    from mer_r1.generation.engine import EngineModel
    from mer_r1.models.qwen2_5_omni import OmniBackbone


class Core:
    """An engine that writes the same ids for every prompt, one request a step, the latest first."""

    def __init__(self, written: list[int], vocab_size: int) -> None:
        self.written, self.vocab_size = written, vocab_size
        self.requests: dict[str, tuple[dict[str, Any], Any]] = {}
        self.most, self.longest_prompt, self.steps_left = 0, 10**6, 10**6
        self.finish_reason = "stop"
        self.error: Exception = RuntimeError("CUDA error: an illegal memory access")
        self.renderer = SimpleNamespace(render_cmpl=self._rendered)
        self.vllm_config = SimpleNamespace(use_v2_model_runner=False)
        self.engine_core = SimpleNamespace(shutdown=lambda: None)
        self.expands = True
        self._expanded: Any = None

    def _rendered(self, requests: list[dict[str, Any]]) -> list[dict[str, Any]]:
        (request,) = requests
        return [{"prompt_token_ids": self._expanded(request) if self.expands else [1, 2]}]

    def add_request(self, name: str, prompt: dict[str, Any], parameters: Any) -> str:
        if len(prompt["prompt_token_ids"]) > self.longest_prompt:
            raise ValueError("the prompt is longer than the maximum model length")
        self.requests[name] = prompt, parameters
        self.most = max(self.most, len(self.requests))
        return name

    def abort_request(self, names: list[str]) -> None:
        for name in names:
            self.requests.pop(name, None)

    def step(self) -> list[Any]:
        self.steps_left -= 1
        if self.steps_left < 0:
            raise self.error
        name, (_, parameters) = self.requests.popitem()
        logprobs = SimpleNamespace(
            token_ids=[*range(self.vocab_size)], logprobs=[-float(i) for i in range(self.vocab_size)]
        )
        ids = self.written if parameters.max_tokens > 1 else [0]
        made = SimpleNamespace(token_ids=ids, logprobs=logprobs, finish_reason=self.finish_reason)
        return [SimpleNamespace(request_id=name, finished=True, outputs=[made])]


@pytest.fixture
def model(tiny: OmniBackbone, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> EngineModel:
    """The tiny Thinker, whose engine writes one answer."""
    from mer_r1.generation import engine as module

    stand_in = ModuleType("vllm")
    stand_in.SamplingParams = SimpleNamespace  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "vllm", stand_in)
    monkeypatch.setattr(module, "require_vllm", lambda: None)
    made = module.EngineModel(str(tiny_folder), max_new_tokens=8)
    core = Core(tiny.text_ids("happy, sad</answer>"), len(tiny.suppressed_V))
    core._expanded = lambda request: _expanded(tiny, request)
    monkeypatch.setattr(module, "open_engine", lambda folder, options: SimpleNamespace(llm_engine=core))
    monkeypatch.setattr(module, "folder_kind", lambda *_: "qwen2_5_omni")
    return made


def _expanded(tiny: OmniBackbone, request: dict[str, Any]) -> list[int]:
    from mer_r1.models.frames import expanded

    media, config = request.get("multi_modal_data", {}), tiny.model.config
    counts = {config.video_token_id: 8, config.image_token_id: 4}
    if "audio" in media:
        counts[config.audio_token_id] = len(media["audio"][0]) // 640
    return expanded(request["prompt_token_ids"], counts)


def _core(model: EngineModel) -> Core:
    core: Core = model.engine.llm_engine
    return core


def test_every_sample_has_a_row_whatever_fails(model: EngineModel, samples: list[Sample], tmp_path: Path) -> None:
    from mer_r1.generation.engine import EngineGenerator

    long = Sample("long", subtitle="a long subtitle " * 200)
    asked = [samples[0], Sample("lost", audio=tmp_path / "lost.wav"), long, samples[1]]
    _core(model).longest_prompt = 300
    rows = {row.id: row for row in EngineGenerator(model, 8).generate(asked, "fast")}
    assert [rows[sample.id].status for sample in asked] == ["ok", "error", "error", "ok"]
    assert "no such file" in str(rows["lost"].error)
    assert "longer than the maximum model length" in str(rows["long"].error)
    assert rows[samples[0].id].labels == ("happy", "sad")
    assert rows[samples[0].id].confidence


def test_an_answer_that_the_engine_cut_for_want_of_room_is_no_answer(model: EngineModel, samples: list[Sample]) -> None:
    from mer_r1.generation.engine import EngineGenerator

    _core(model).finish_reason = "length"
    num = len(_core(model).written)
    (cut,) = EngineGenerator(model, num + 1).generate(samples[:1], "fast")
    assert cut.status == "error"
    assert f"leaves room for {num} of an answer's {num + 1}; shorten its text" in str(cut.error)
    (longest,) = EngineGenerator(model, num).generate(samples[:1], "fast")
    assert longest.status == "ok"


def test_a_prompt_that_the_engine_makes_otherwise_is_no_answer(model: EngineModel, samples: list[Sample]) -> None:
    from mer_r1.generation.engine import EngineGenerator

    _core(model).expands = False
    (row,) = EngineGenerator(model, 8).generate(samples[:1], "fast")
    assert row.status == "error"
    assert str(row.error).startswith("vLLM makes other ids of this prompt (2) than the model was trained on (")


@pytest.mark.parametrize(
    "error", [RuntimeError("CUDA error: illegal"), ValueError("Too many logit bias tokens: 1100.")]
)
def test_an_engine_that_stops_ends_the_work_by_one_line_and_keeps_what_was_answered(
    model: EngineModel, samples: list[Sample], error: Exception
) -> None:
    from mer_r1.generation.engine import EngineGenerator

    _core(model).steps_left = 3 * 2  # an answer takes a request, and one a word
    _core(model).error = error
    rows: list[Prediction] = []
    with pytest.raises(InputError, match=rf"^vLLM's engine stopped \({error}.*the same command resumes$"):
        rows.extend(EngineGenerator(model, 8).generate(samples, "slow"))
    assert 1 <= len(rows) < len(samples)
    assert not _core(model).requests


def test_a_tokenizer_in_whose_ids_no_answer_is_found_ends_the_work_before_an_engine_is_opened(
    model: EngineModel, samples: list[Sample], monkeypatch: pytest.MonkeyPatch
) -> None:
    from mer_r1.generation.engine import EngineGenerator
    from tests.word_pieces import sentence_pieces

    monkeypatch.setattr(model.backbone.processor, "tokenizer", sentence_pieces())
    with pytest.raises(InputError, match="byte-level"):
        list(EngineGenerator(model, 8).generate(samples, "fast"))
    assert model._engine is None


def test_closing_the_iterator_takes_back_what_is_under_way(model: EngineModel, samples: list[Sample]) -> None:
    from mer_r1.generation.engine import EngineGenerator

    answers: Iterator[Any] = EngineGenerator(model, 8).generate(samples, "fast")
    next(answers)
    answers.close()  # type: ignore[attr-defined]
    assert not _core(model).requests


def test_no_more_samples_than_the_limit_are_under_way(
    model: EngineModel, samples: list[Sample], monkeypatch: pytest.MonkeyPatch
) -> None:
    from mer_r1.generation import engine as module

    monkeypatch.setattr(module, "IN_FLIGHT", 2)
    assert len(list(module.EngineGenerator(model, 8).generate(samples, "fast"))) == len(samples)
    assert _core(model).most <= 2 * 2  # two words each


def test_both_ways_to_read_confidence_are_that_of_the_suppressed_softmax(tiny: OmniBackbone) -> None:
    import torch

    from mer_r1.emotion.wheel import WheelSet
    from mer_r1.generation.engine_confidence import NextToken, PromptRows
    from mer_r1.models.category_confidence import category_tokens

    tokens = category_tokens(tiny, WheelSet.load(protocol="corrected"))
    logits_AV = torch.randn(7, len(tiny.suppressed_V), generator=torch.Generator().manual_seed(0)) * 4
    logits_AV[:, list(tiny.suppressed_ids)] += 3  # much of the mass that is taken out
    anchors = (4, 6, 10)
    expected_AC = tokens.log_confidence((logits_AV + tiny.suppressed_V).log_softmax(-1))[[0, 2, 6]]

    rows = PromptRows(tiny, tokens)
    scored = logits_AV.log_softmax(-1)[:, rows.ids_N]
    read_AC = rows.read([SimpleNamespace(prompt_token_id_logprobs=scored.numpy())], anchors)
    assert torch.allclose(read_AC, expected_AC, atol=1e-4)

    def output(row_V: torch.Tensor) -> Any:
        order = row_V.argsort(descending=True)
        logprobs = SimpleNamespace(token_ids=order.tolist(), logprobs=row_V.log_softmax(-1)[order].tolist())
        return SimpleNamespace(outputs=[SimpleNamespace(logprobs=logprobs)])

    read_AC = NextToken(tiny, tokens).read([output(logits_AV[i]) for i in (0, 2, 6)], anchors)
    assert torch.allclose(read_AC, expected_AC, atol=1e-4)


def test_what_is_asked_for_by_prompt_rows_ends_at_the_last_anchor(tiny: OmniBackbone, model: EngineModel) -> None:
    from mer_r1.emotion.wheel import WheelSet
    from mer_r1.generation.engine_confidence import PromptRows
    from mer_r1.models.category_confidence import category_tokens

    rows = PromptRows(tiny, category_tokens(tiny, WheelSet.load(protocol="corrected")))
    ((ids, parameters),) = rows.requests(100, [*range(20)], (4, 6, 10))
    assert ids == [*range(11)]
    assert parameters.prompt_logprob_start == 100 + 4 - 1
    assert len(parameters.prompt_logprob_token_ids) == 100 + len(ids) - 1 - parameters.prompt_logprob_start


def test_settings_say_which_engine_answers(model: EngineModel, tiny: OmniBackbone) -> None:
    from mer_r1.generation.engine import EngineGenerator
    from mer_r1.generation.local import LocalGenerator

    by_engine, here = EngineGenerator(model, 8).settings, LocalGenerator(tiny, 8).settings
    assert (by_engine["engine"], here["engine"]) == ("vllm", "local")
    assert {name for name in by_engine if by_engine[name] != here[name]} <= {"engine", "model"}


def test_an_engine_goes_without_an_address_and_its_number_of_gpus_with_it() -> None:
    from mer_r1.generation.make import Service

    with pytest.raises(InputError, match="--engine and --quantization go without --url"):
        make_generator("name", Service("http://localhost:1/v1"), engine=Engine("vllm"))
    with pytest.raises(InputError, match="--tensor-parallel 2: give 1 or more, with --engine vllm"):
        Engine("local", 2)
    with pytest.raises(InputError, match="use one of: local, vllm"):
        Engine("other")  # type: ignore[arg-type]
