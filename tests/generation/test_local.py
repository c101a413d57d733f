"""A checkpoint is asked batch by batch: bounded memory, a faulty clip is a row, another question another setting."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from mer_r1.data.sample import Sample
from mer_r1.errors import InputError
from mer_r1.generation import generate_to_store
from mer_r1.generation.make import Service, make_generator, validate_generator
from mer_r1.prompting.templates import PROMPT_TEMPLATES

if TYPE_CHECKING:
    from mer_r1.models.qwen2_5_omni import OmniBackbone
    from mer_r1.models.types import Prompt

SHORT = 4


def test_a_clip_that_cannot_be_read_is_a_row_and_the_others_are_answered(
    tiny: OmniBackbone, samples: list[Sample], tmp_path: Path
) -> None:
    from mer_r1.generation.local import LocalGenerator

    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no film")
    asked = [samples[0], Sample("broken", video=broken), Sample("lost", audio=tmp_path / "lost.wav"), samples[1]]
    rows = {row.id: row for row in LocalGenerator(tiny, SHORT).generate(asked, "fast")}
    assert [rows[sample.id].status == "error" for sample in asked] == [False, True, True, False]
    assert str(rows["broken"].error).startswith(f"{broken}: ")
    assert "no such file" in str(rows["lost"].error)
    assert rows[samples[0].id].raw.startswith("<think></think><answer>")


@pytest.mark.slow
def test_answers_do_not_depend_on_the_batch(
    tiny: OmniBackbone, samples: list[Sample], monkeypatch: pytest.MonkeyPatch
) -> None:
    from mer_r1.generation import local

    together = list(local.LocalGenerator(tiny, SHORT).generate(samples, "slow"))
    monkeypatch.setattr(local, "batch_size", lambda _: 3)
    apart = list(local.LocalGenerator(tiny, SHORT).generate(samples, "slow"))
    assert [row.id for row in apart] == [sample.id for sample in samples]
    assert [(row.id, row.raw) for row in apart] == [(row.id, row.raw) for row in together]


@pytest.mark.slow
def test_no_more_than_two_batches_of_prompts_are_held(
    tiny: OmniBackbone, prompts: Sequence[Prompt], monkeypatch: pytest.MonkeyPatch
) -> None:
    from mer_r1.generation import local

    monkeypatch.setattr(local, "batch_size", lambda _: 4)
    lock, held, most = threading.Lock(), 0, 0

    def read(sample: Sample) -> Prompt:
        nonlocal held, most
        with lock:
            held += 1
            most = max(most, held)
        return replace(prompts[0], id=sample.id)

    generator = local.LocalGenerator(tiny, 1, read=read)
    for _ in generator.generate([Sample(str(index), subtitle="x") for index in range(40)], "fast"):
        with lock:
            held -= 1
    assert held == 0
    assert 4 < most <= 8


@pytest.mark.slow
def test_a_batch_too_large_for_the_memory_is_asked_one_by_one_and_only_what_fails_alone_is_a_row(
    tiny: OmniBackbone, samples: list[Sample], monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    from mer_r1.generation import local
    from mer_r1.generation.batch import predict_batch

    large = samples[2].id

    def small_machine(backbone: Any, prompts: Sequence[Prompt], *rest: Any) -> Any:
        if len(prompts) > 1 or prompts[0].id == large:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB")
        return predict_batch(backbone, prompts, *rest)

    monkeypatch.setattr(local, "predict_batch", small_machine)
    rows = list(local.LocalGenerator(tiny, SHORT).generate(samples, "fast"))
    assert [row.id for row in rows if row.status == "error"] == [large]
    assert [row.error for row in rows if row.error] == ["CUDA out of memory. Tried to allocate 9 GiB"]
    assert len(rows) == len(samples)


@pytest.mark.slow
def test_a_stopped_reader_leaves_no_thread(tiny: OmniBackbone, samples: list[Sample]) -> None:
    from mer_r1.generation.local import LocalGenerator

    before = threading.active_count()
    rows = LocalGenerator(tiny, SHORT).generate(samples, "fast")
    next(rows)
    del rows
    assert threading.active_count() == before


def test_settings_name_all_that_decides_an_answer(tiny: OmniBackbone, fresh_tiny: OmniBackbone) -> None:
    import torch

    from mer_r1.generation.local import LocalGenerator

    first = LocalGenerator(tiny, SHORT).settings
    assert first == LocalGenerator(fresh_tiny, SHORT).settings
    with torch.no_grad():
        next(iter(fresh_tiny.model.parameters())).view(-1)[7] += 1e-3
    changed = LocalGenerator(fresh_tiny, SHORT).settings
    assert {key for key in first if first[key] != changed[key]} == {"model"}
    assert LocalGenerator(tiny, SHORT + 1).settings["max_new_tokens"] == SHORT + 1


@pytest.mark.slow
def test_another_question_changes_the_prompt_the_answer_form_and_the_settings(
    tiny: OmniBackbone, samples: list[Sample], tmp_path: Path
) -> None:
    from mer_r1.generation.local import LocalGenerator

    generator = LocalGenerator(tiny, SHORT)
    other = generator.with_template(PROMPT_TEMPLATES["brief_first"])
    assert other.backbone.model is generator.backbone.model
    assert generator.backbone.template_override is None
    assert generator.settings["model"] == other.settings["model"]
    raw = {which: next(which.generate(samples[:1], "fast")).raw for which in (generator, other)}
    assert raw[generator].startswith("<think></think><answer>")
    assert not raw[other].startswith("<think>")
    generate_to_store(tmp_path / "out.jsonl", samples[:1], generator, ("fast",))
    with pytest.raises(InputError, match=r"made with prompt\.question Emotions\?, not Emotions first\?"):
        generate_to_store(tmp_path / "out.jsonl", samples[:1], other, ("fast",))


def test_make_asker_takes_a_checkpoint_or_an_address(tiny_folder: Path) -> None:
    from mer_r1.generation.endpoint import EndpointGenerator
    from mer_r1.generation.local import LocalGenerator

    assert isinstance(make_generator(str(tiny_folder), max_new_tokens=3), LocalGenerator)
    served = make_generator("name", Service("http://localhost:1/v1", sound=False))
    assert isinstance(served, EndpointGenerator)
    assert served.settings["sound"] is False
    with pytest.raises(InputError, match="num_workers from 1 to 64"):
        make_generator("name", Service("http://localhost:1/v1", num_workers=65))
    with pytest.raises(InputError, match="--max-new-tokens 0"):
        make_generator(str(tiny_folder), max_new_tokens=0)


def test_what_cannot_be_asked_is_said_without_loading_a_model() -> None:
    wrong = (
        ("name", Service("localhost")),
        ("name", Service("http://localhost:1/v1", "NOT_SET_AT_ALL")),
        ("./no", None),
    )
    for model, service in wrong:
        with pytest.raises(InputError, match=r"web address|API key is not set|\./no: no such folder"):
            validate_generator(model, service)
    validate_generator("owner/name")


@pytest.mark.slow
def test_fast_thinking_by_a_prompt_asks_for_the_answer_alone(tiny: OmniBackbone, samples: list[Sample]) -> None:
    from mer_r1.generation.local import LocalGenerator

    plain, generator = (
        make_generator(tiny, max_new_tokens=SHORT),
        make_generator(tiny, None, max_new_tokens=SHORT, fast="prompt"),
    )
    assert "fast" not in plain.settings
    assert generator.settings["fast"]["question"] == "Emotions at once?"
    assert {**generator.settings, "fast": 0} == {**plain.settings, "fast": 0}
    asked = samples[:2]
    assert list(generator.generate(asked, "slow")) == list(plain.generate(asked, "slow"))
    fast = list(generator.generate(asked, "fast"))
    assert all(row.raw.startswith("<answer>") for row in fast)
    by_hand = replace(tiny, template_override=tiny.template.answer_only())
    assert fast == list(LocalGenerator(by_hand, SHORT).generate(asked, "fast"))
    with pytest.raises(InputError, match="cannot ask for an answer alone; full, choice, brief, brief_choice can"):
        make_generator(tiny, max_new_tokens=SHORT, template=PROMPT_TEMPLATES["set"], fast="prompt")


@pytest.mark.slow
def test_answers_from_weights_in_few_bits_are_settings_of_their_own(
    tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from mer_r1.commands import main
    from mer_r1.data.manifest import write_manifest

    write_manifest(tmp_path / "m.jsonl", [Sample("x", subtitle="I am so glad.", labels=("happy",))])
    command = ["predict", "--manifest", str(tmp_path / "m.jsonl"), "--out", str(tmp_path / "out.jsonl")]
    command += ["--model", str(tiny_folder), "--max-new-tokens", "4"]
    assert main([*command, "--mode", "fast", "--quantization", "int8"]) == 0
    settings = json.loads((tmp_path / "out.jsonl.settings.json").read_text())["settings"]
    assert settings["model"]["quantization"] == "int8"
    assert main([*command, "--mode", "slow"]) == 2
    assert "its answers were made with model.quantization int8, not None; give another --out" in capsys.readouterr().err
    assert main([*command, "--mode", "slow", "--quantization", "int8"]) == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--engine", "vllm"], "--quantization: goes without --engine vllm, which loads a checkpoint as it is stored"),
        (["--url", "http://127.0.0.1:1/v1"], "--engine and --quantization go without --url"),
    ],
)
def test_weights_in_few_bits_are_our_own_loop_s(
    arguments: list[str], said: str, tiny_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from mer_r1.commands import main

    command = ["predict", "--subtitle", "Oh!", "--model", str(tiny_folder), "--quantization", "nf4"]
    assert main([*command, *arguments]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
