"""`import mer_r1`: the short names work, and nothing heavy is loaded for them."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
import yaml

import mer_r1

ROOT = Path(__file__).parents[1]


def loaded_by(code: str) -> set[str]:
    """Top-level modules in memory after `code` in a fresh process."""
    script = f"{code}\nimport json, sys\nprint(json.dumps(sorted({{name.partition('.')[0] for name in sys.modules}})))"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize("name", mer_r1.__all__)
def test_every_short_name_is_there(name: str) -> None:
    assert getattr(mer_r1, name) is not None


def test_the_short_names_are_the_things_themselves() -> None:
    from mer_r1 import WheelSet, predict, read_clip, read_manifest, score
    from mer_r1.emotion import wheel
    from mer_r1.generation import predict as generation_predict
    from mer_r1.metrics import corpus_score

    assert WheelSet is wheel.WheelSet
    assert score is corpus_score.score
    assert predict is generation_predict.predict
    assert callable(read_clip)
    assert callable(read_manifest)
    assert score({"a": ["happy"]}, {"a": ["happy"]}).open_vocabulary.f1 == 1.0


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    assert not hasattr(mer_r1, "nonsense")
    with pytest.raises(AttributeError, match="nonsense"):
        mer_r1.nonsense  # noqa: B018


def test_importing_the_package_loads_nothing_of_others() -> None:
    assert not loaded_by("import mer_r1") & {"numpy", "av", "PIL", "torch", "pydantic", "rich", "yaml"}


@pytest.mark.parametrize("name", [name for name in mer_r1.__all__ if name not in ("__version__", "load_model")])
def test_no_short_name_loads_torch(name: str) -> None:
    assert not loaded_by(f"from mer_r1 import {name}") & {"torch", "transformers", "matplotlib"}


def test_the_version_is_that_of_pyproject() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert mer_r1.__version__ == project["version"]
    assert project["scripts"] == {"mer-r1": "mer_r1.commands:main"}
    try:
        assert metadata.version("mer-r1") == project["version"]
    except metadata.PackageNotFoundError:
        pytest.skip("the package is run from its folder, not installed")


def test_the_citation_names_this_version_and_licence() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert (citation["version"], citation["license"]) == (project["version"], project["license"])


def test_the_package_says_that_it_is_typed() -> None:
    assert (Path(mer_r1.__file__).parent / "py.typed").is_file()
