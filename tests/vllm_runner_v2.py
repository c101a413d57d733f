"""vLLM's model runner of GPUs on a CPU: `python -m tests.vllm_runner_v2 MODEL MANIFEST OUT` writes fast predictions.

Its kernels are Triton's, which Triton's interpreter runs without a GPU. vLLM asks whether Triton has a driver, so one
is named before it is imported; nothing is compiled with it.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

os.environ |= {"TRITON_INTERPRET": "1", "VLLM_USE_V2_MODEL_RUNNER": "1"}


def main(model: str, manifest: Path, out: Path) -> None:
    from mer_r1.data.manifest import read_manifest
    from mer_r1.generation import generate_to_store
    from mer_r1.generation.engine import EngineGenerator

    backends = import_module("triton.backends").backends
    backends.setdefault("cpu", SimpleNamespace(driver=SimpleNamespace(is_active=lambda: True)))
    generator = EngineGenerator(model, 48)
    generate_to_store(out, read_manifest(manifest), generator, ("fast",))
    assert generator.model.engine.llm_engine.vllm_config.use_v2_model_runner, "V1 would prove nothing"


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
