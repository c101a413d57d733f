"""OUT.settings.json: how the answers in OUT were generated, and a hash of what each sample showed."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

from mer_r1.data.files import write_json
from mer_r1.data.sample import Sample
from mer_r1.errors import InputError
from mer_r1.generation.generator import Generator
from mer_r1.media import MediaBudget
from mer_r1.text import printable


def merged_settings(
    out: Path, samples: Sequence[Sample], generator: Generator, answered: Collection[tuple[str, str]]
) -> dict[str, Any]:
    """What OUT.settings.json is to hold. Raises InputError where the answers there were made with other settings."""
    path = _path(out)
    ids = {identity for identity, _ in answered}
    given: dict[str, Any] = json.loads(json.dumps(dict(generator.settings)))
    showing = {sample.id: _digest(sample) for sample in samples}
    kept = _kept_settings(path)
    if kept is None and ids & showing.keys():
        raise InputError(f"{out}: {path.name}, which says how its answers were made, is missing; give another --out")
    if kept is None or not ids:
        return {"settings": given, "samples": showing}
    old, new = _flat(kept["settings"]), _flat(given)
    if "engine" in new:
        old["engine"] = _engine(old)
    for name in dict.fromkeys((*new, *old)):
        if old.get(name) != new.get(name):
            raise InputError(
                f"{out}: its answers were made with {name} {printable(old.get(name))}, "
                f"not {printable(new.get(name))}; give "
                "another --out, or remove the file"
            )
    for identity in ids & showing.keys():
        if kept["samples"].get(identity, showing[identity]) != showing[identity]:
            raise InputError(
                f'{out}: "{printable(identity)}" was answered with another text or file; give another --out, or remove '
                "the file"
            )
    return {"settings": given, "samples": kept["samples"] | showing}


def answered_by(out: Path) -> str:
    """What gave the answers in OUT: "local" (our own loop), "vllm", "endpoint", or "" where nothing says so."""
    with suppress(InputError):
        if (kept := _kept_settings(_path(out))) is not None:
            return _engine(kept["settings"])
    return ""


def _engine(settings: Mapping[str, Any]) -> str:
    """Settings of a time when there was no other engine than our own loop do not name it."""
    return str(settings.get("engine", settings.get("backend", "local")))


def _path(out: Path) -> Path:
    return out.with_name(f"{out.name}.settings.json")


def _kept_settings(path: Path) -> dict[str, Any] | None:
    if not path.exists():
        return None
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(kept["settings"], dict) and isinstance(kept["samples"], dict):
            return {**kept, "settings": _with_todays_names(kept["settings"])}
    except (ValueError, TypeError, KeyError):
        pass
    raise InputError(f"{path}: cannot be read; remove it and the predictions beside it")


def _with_todays_names(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings of 0.1.0 have `profile` for the response format, and WordsOnlyBackbone for CausalLMBackbone.

    Endpoints were sent files alone, which is not written there, and every model heard 25 tokens a second.
    """
    settings, prompt, model = dict(settings), settings.get("prompt"), settings.get("model")
    if isinstance(budget := settings.get("budget"), dict):
        settings["budget"] = {"audio_tokens_per_s": MediaBudget().audio_tokens_per_s, **budget}
    if isinstance(prompt, dict) and "profile" in prompt:
        settings["prompt"] = {"response_format" if key == "profile" else key: value for key, value in prompt.items()}
    if isinstance(model, dict) and model.get("kind") == "WordsOnlyBackbone":
        settings["model"] = {**model, "kind": "CausalLMBackbone"}
    return {"media": "file", **settings} if settings.get("backend") == "endpoint" else settings


def write_settings(out: Path, settings: dict[str, Any]) -> None:
    """Write OUT.settings.json."""
    write_json(_path(out), settings)


def _flat(value: Any, name: str = "") -> dict[str, Any]:
    """The leaves of nested settings under dotted names."""
    if not isinstance(value, dict):
        return {name: value}
    return {key: leaf for k, v in value.items() for key, leaf in _flat(v, f"{name}.{k}" if name else str(k)).items()}


def _digest(sample: Sample) -> str:
    """A hash of what a prompt may show: texts, and name and size of the files, whose folder may change."""

    def stamp(path: Path | None) -> list[object] | None:
        try:
            return None if path is None else [path.name, path.stat().st_size]
        except (OSError, ValueError):
            return [path.name, None] if path else None

    texts = [sample.subtitle, sample.source, *sample.candidates]
    showing = [texts, stamp(sample.video), stamp(sample.audio), stamp(sample.image)]
    return sha256(json.dumps(showing).encode()).hexdigest()[:12]
