"""`import mer_r1`: the short names work, and nothing heavy is loaded for them."""

from __future__ import annotations

import ast
import importlib
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


NAMES = [name for name in mer_r1.__all__ if name != "__version__"]
NEEDS_TORCH = "load_model"


def test_the_public_names_are_these() -> None:
    asked = (
        "Sample, Clip, MediaBudget, InputError, read_clip, read_manifest, write_manifest, WheelSet, parse_response, "
        "extract_labels, score, compare, compare_files, load_model, predict, predict_windows, rewards"
    )
    assert set(NAMES) == {*asked.split(", "), "Prediction", "Response", "predict_clips"}


def test_every_public_name_is_the_object_that_type_checkers_see() -> None:
    """The imports under TYPE_CHECKING and the lazy ones are two lists; they must name the same objects."""
    tree = ast.parse(Path(mer_r1.__file__).read_text(encoding="utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    typed: dict[str, str | None] = {}
    for node in block.body:
        assert isinstance(node, ast.ImportFrom)
        typed |= {alias.name: node.module for alias in node.names}
    assert sorted(typed) == sorted(NAMES)
    for name, module in typed.items():
        assert module
        assert getattr(mer_r1, name) is getattr(importlib.import_module(module), name), name


def test_public_names_are_listed_for_completion() -> None:
    assert {*mer_r1.__all__} <= {*dir(mer_r1)}


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    assert not hasattr(mer_r1, "nonsense")
    with pytest.raises(AttributeError, match="nonsense"):
        getattr(mer_r1, "nonsense")  # noqa: B009  type checkers know that it is not there


@pytest.mark.slow
def test_importing_the_package_loads_nothing_of_others() -> None:
    others = {"numpy", "av", "PIL", "torch", "transformers", "pydantic", "rich", "yaml", "matplotlib", "jinja2"}
    assert not loaded_by("import mer_r1") & others


@pytest.mark.slow
def test_scoring_and_reading_load_no_torch() -> None:
    names = ", ".join(name for name in NAMES if name != NEEDS_TORCH)
    code = (
        f"from mer_r1 import {names}\n"
        "score({'a': ['happy']}, {'a': ['glad']}); rewards.f1(['happy'], labels=[['happy']]); extract_labels('happy')"
    )
    assert not loaded_by(code) & {"torch", "transformers", "matplotlib", "jinja2"}


def test_predict_clips_is_still_there_and_says_what_to_call() -> None:
    with pytest.warns(DeprecationWarning, match=r"use mer_r1\.predict"), pytest.raises(mer_r1.InputError):
        mer_r1.predict_clips([], "Hello.", ["fast"], "no such folder")


def test_the_writer_of_tiny_models_is_where_0_1_0_had_it() -> None:
    from mer_r1.models.tiny import omni, write_tiny

    assert write_tiny is omni.write_tiny


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
