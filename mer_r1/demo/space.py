"""A folder that runs as a Hugging Face Space: the page, this package and the model beside it.

The package travels along, so that the folder needs no index that has it; what it depends on is installed there.
"""

from __future__ import annotations

import re
import shutil
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

import mer_r1
from mer_r1.data.files import atomic_folder
from mer_r1.errors import InputError
from mer_r1.model_settings import ModelFacts, model_facts, model_folder
from mer_r1.text import printable

APP = '''"""The page of `mer-r1 demo`, as a Space runs it."""

import os
import sys
from pathlib import Path

from mer_r1.commands import main

MODEL = {model}
PORT = os.environ.get("GRADIO_SERVER_PORT", "7860")
HOST = os.environ.get("GRADIO_SERVER_NAME", "0.0.0.0")  # a Space is reached from outside

if __name__ == "__main__":
    sys.exit(main(["demo", "--model", MODEL, "--host", HOST, "--port", PORT]))
'''
README = """---
title: Emotions of a clip, fast and slow
emoji: 🎭
colorFrom: indigo
colorTo: yellow
sdk: gradio
sdk_version: {gradio}
python_version: "3.12"
app_file: app.py
pinned: false
---

# Emotions of a clip, fast and slow

Drop a clip or record one: the model answers at once, and after it has reasoned.

Model: {model}

Made by `mer-r1 demo --space`. `python app.py` serves the same page anywhere `requirements.txt` is installed.
"""
LARGE_FILES = "*.safetensors filter=lfs diff=lfs merge=lfs -text\n*.pt filter=lfs diff=lfs merge=lfs -text\n"
_OF_EXTRA = re.compile(r"extra\s*==\s*['\"](\w+)['\"]")


def write_space(folder: Path, model: str) -> Path:
    """Write the folder; a model that is a folder is copied into it, a Hub id is loaded by the Space itself.

    Raises InputError for a folder that is there and not empty, and where Gradio is not installed.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder}: is there already; give the name of a new folder")
    source = Path(model_folder(model))
    facts = model_facts(model)
    with atomic_folder(folder) as new:
        ignored = shutil.ignore_patterns("__pycache__", "*.pyc")
        shutil.copytree(Path(mer_r1.__file__).parent, new / "mer_r1", ignore=ignored)
        if source.is_dir():
            shutil.copytree(source, new / "model", ignore=shutil.ignore_patterns(".*"))
        place = 'str(Path(__file__).parent / "model")' if source.is_dir() else repr(model)
        texts = {
            "app.py": APP.format(model=place),
            "requirements.txt": "".join(f"{line}\n" for line in _requirements()),
            "README.md": README.format(gradio=version("gradio"), model=_said(facts)),
            ".gitattributes": LARGE_FILES,
        }
        for name, text in texts.items():
            (new / name).write_text(text, encoding="utf-8")
    return folder


def _said(facts: ModelFacts) -> str:
    """Which model it is, without the folder that it came from."""
    return facts.line.replace(printable(facts.name, 200), printable(Path(facts.name).name), 1)


def _requirements() -> list[str]:
    """What the package and its extra `demo` depend on."""
    try:
        listed = requires("mer-r1") or []
    except PackageNotFoundError:
        raise InputError("--space needs the list of mer-r1's dependencies; install it: pip install '.[demo]'") from None
    found = []
    for line in listed:
        name, _, marker = line.partition(";")
        extra = _OF_EXTRA.search(marker)
        if extra is None or extra[1] == "demo":
            found.append(name.strip())
    return sorted(set(found))
