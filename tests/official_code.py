"""The benchmark's own scoring code: fetched, checked by its SHA-256, and imported as it is.

Source: github zeroQiaoba/AffectGPT at one fixed commit. Modules that it imports and that scoring never calls (torch,
cv2, vllm, ...) are empty here, and the table of a wheel is read once instead of for every sample. The authors pin
numpy 1.23.5, pandas 2.2.3 and scikit-learn 1.5.2; it runs with this project's numpy and pandas, and with a
scikit-learn of its own beside the files: in the project's environment, every import of transformers would load it.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from mer_r1.data.files import atomic_path
from mer_r1.emotion.download import BASE_URLS, download, fetch_pinned, pinned_bytes
from mer_r1.errors import InputError

HOST = "https://raw.githubusercontent.com"
COMMIT = "fffca794c6792023234565370e3f69f0488aede9"
CODE = {
    "config.py": "526653bfc0525ad949ed40da28e3356b05c40a8284f974f6dcd7f0598ee8f60c",
    "evaluation.py": "9e91bb83029d864f816f4cdeb2cdfc9302ee3edf62c602bcaba90a604c0ad967",
    "my_affectgpt/evaluation/ew_metric.py": "fd799f3e303fd81589691d0ac289096d2301843e3071b9f929a40b135011d9ab",
    "my_affectgpt/evaluation/wheel.py": "2072ae0f6b18721cac9b51e154fac30c013cb73800366797a474f616f2631f54",
    "toolkit/globals.py": "502961b3c12e5affac19c8a81b25c71f192f3e7b8b989975186b2af735474a98",
    "toolkit/utils/chatgpt.py": "4add1e03919652b06527d938787d79fd1325e54cc264736baf4dd0557ace568a",
    "toolkit/utils/functions.py": "7d422f9069c1f134729838e0ee08aa9bba0a310ed0b7c7d0f2d1d97ca4f7e23d",
    "toolkit/utils/qwen.py": "f0dafb395df79dab38d48934da4c4ac7d7fb57817c7932723635425bfad389b1",
    "toolkit/utils/read_files.py": "5c59f4887971fb58a6ead16fca4cdb1463645538d896e3d280e5449cad20adce",
}
SCIKIT_LEARN = "scikit-learn==1.9.1"
METRICS = ("case1", "case2", *(f"case3_wheel{k}_level{level}" for k in range(1, 6) for level in (1, 2)))
_EMPTY_MODULES = (
    "cv2", "matplotlib", "matplotlib.pyplot", "openai", "torch", "torchaudio", "transformers", "vllm",
    "my_affectgpt.datasets", "my_affectgpt.datasets.builders", "my_affectgpt.datasets.builders.image_text_pair_builder",
)  # fmt: skip


def fetch(folder: Path, host: str = HOST) -> None:
    """Put code, tables and scikit-learn into `folder`. Raises InputError for what cannot be had or is another file."""
    once = "`make golden` needs the network once"
    for name, pinned in CODE.items():
        path = folder / "code" / name
        if pinned_bytes(path, pinned) is None:
            url = f"{host}/zeroQiaoba/AffectGPT/{COMMIT}/AffectGPT/{name}"
            data = fetch_pinned(url, pinned, f"{once}, or put the file to {path} by hand")
            with atomic_path(path) as temporary:
                temporary.write_bytes(data)
    base_urls = {name: url.replace(HOST, host) for name, url in BASE_URLS.items()}
    list(download(["official", "mer2026"], folder / "wheels", base_urls))
    if not (folder / "lib" / "sklearn").is_dir():
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--constraint", "constraints.txt", "--target"]
        command = [*pip, str(folder / "lib"), SCIKIT_LEARN]
        done = subprocess.run(command, cwd=Path(__file__).parents[1], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise InputError(f"{SCIKIT_LEARN}: not installed into {folder / 'lib'} ({reason}); {once}")


class _Anything(type):
    """A class that has every attribute and can be called with anything, for what runs at import."""

    def __getattr__(cls, name: str) -> _Anything:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Anything(name, (), {})

    def __call__(cls, *_: object, **__: object) -> _Anything:
        return cls


class _Empty(ModuleType):
    """A module that is imported and never used."""

    __all__: Sequence[str] = ()

    def __getattr__(self, name: str) -> _Anything:
        anything = _Anything(self.__name__, (), {})
        return anything.__getattr__(name)


class Official:
    """The official scorer on label lists, each as "[happy, sad]", one word, or a list."""

    def __init__(self, folder: Path) -> None:
        """Import what `fetch` put into `folder`. Some modules of this process are empty from now on."""
        sys.modules.update({name: _Empty(name) for name in _EMPTY_MODULES})
        sys.path[:] = [str(folder / "code"), *sys.path, str(folder / "lib")]
        warnings.simplefilter("ignore")  # means of nothing are part of what is recorded
        with contextlib.redirect_stdout(io.StringIO()):
            config: Any = importlib.import_module("config")
            config.EMOTION_WHEEL_ROOT = str(folder / "wheels" / "official")
            self._evaluation: Any = importlib.import_module("evaluation")
            self._ew_metric: Any = importlib.import_module("my_affectgpt.evaluation.ew_metric")
            wheel: Any = importlib.import_module("my_affectgpt.evaluation.wheel")
        self._wheel = wheel
        wheel.func_get_wheel_cluster = cache(wheel.func_get_wheel_cluster)
        self.bases: Mapping[str, Sequence[str]] = self._wheel.format_mapping
        self._maps = {"format_mapping": self.bases, "raw_mapping": self._wheel.raw_mapping, "inter_print": False}

    def read(self, labels: Any) -> Any:
        """The words of a label list."""
        return self._wheel.string_to_list(labels)

    def mapped(self, labels: Any, metric: str) -> list[str]:
        """What the metric compares, in the order of the labels, before it becomes a set."""
        words = [word.lower().strip() for word in self.read(labels)]
        cluster = self._wheel.func_get_wheel_cluster(*metric.split("_")[1:]) if metric.startswith("case3") else None
        found: list[str] = self._wheel.func_map_label_to_synonym(
            words, self.bases, self._maps["raw_mapping"], cluster, metric
        )
        return found

    def overlap(self, gold: Any, said: Any, metric: str, names: Sequence[str] | None = None) -> tuple[float, float]:
        """Mean precision and recall of a corpus."""
        p, r = self._wheel.calculate_openset_overlap_rate(
            name2gt=gold, name2pred=said, process_names=names, metric=metric, **self._maps
        )
        return p, r

    def f_mean(self, gold: Any, said: Any, level: int, names: Sequence[str] | None = None) -> dict[str, float]:
        """F score, precision and recall of a corpus, each a mean over the five wheels."""
        means = self._ew_metric.wheel_metric_calculation(
            name2gt=gold, name2pred=said, process_names=names, inter_print=False, level=f"level{level}"
        )
        return dict(zip(("fscore", "precision", "recall"), means, strict=True))

    def hit(self, gold: Any, said: Any, metric: str) -> dict[str, float]:
        """Mean hit rate and mscore of a corpus with one word of gold a sample."""
        means = self._wheel.calculate_openset_onehot_hitrate(name2gt=gold, name2pred=said, metric=metric, **self._maps)
        return dict(zip(("hitrate", "mscore"), means, strict=True))

    def hit_mean(self, gold: Any, said: Any) -> dict[str, float]:
        """The same, each a mean over the five wheels."""
        means = self._ew_metric.hitrate_metric_calculation(name2gt=gold, name2pred=said, inter_print=False)
        return dict(zip(("hitrate", "mscore"), means, strict=True))

    def hit_or_not(self, gold: Any, said: Any) -> bool:
        """Whether any wheel has a category of both."""
        return bool(self._ew_metric.hit_or_not(gold, said))

    def waf(self, gold: Mapping[str, float], said: Mapping[str, str]) -> dict[str, float]:
        """Weighted F1 and accuracy of predicted sentiments, which the official code reads from files."""
        with tempfile.TemporaryDirectory() as folder:
            answers = Path(folder) / "x.npz"
            np.savez(answers.with_name("x-openset.npz"))
            np.savez(answers.with_name("x-openset-sentiment.npz"), filenames=list(said), fileitems=list(said.values()))
            means = self._evaluation.calculate_dimension_zeroshot(
                os.fspath(answers), gold, None, None, None, inter_print=False
            )
        return dict(zip(("waf", "acc"), means, strict=True))
