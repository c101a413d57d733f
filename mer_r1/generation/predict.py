"""`predict`: the emotions of files or samples, in memory.

Files become samples, and the generator that also answers a manifest answers them: a checkpoint on this machine or a
model behind an address. What fails for one sample is a prediction with status "error".
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from mer_r1.data.media_names import media_kind
from mer_r1.data.sample import MODES, Mode, Prediction, Sample
from mer_r1.errors import InputError
from mer_r1.generation.clips import clip_files, words_of
from mer_r1.generation.make import DEFAULT_MODEL, Engine, EngineName, Service, make_generator
from mer_r1.media import holds_sound_alone
from mer_r1.model_settings import folder_settings, model_folder
from mer_r1.objectives import FastThinking

if TYPE_CHECKING:
    from mer_r1.models.backbone import Backbone


def predict(
    clips: str | Path | Sample | Sequence[str | Path | Sample],
    *,
    model: str | Path | Backbone = DEFAULT_MODEL,
    mode: Literal["fast", "slow", "both"] = "both",
    subtitle: str | None = None,
    candidates: Sequence[str] = (),
    max_new_tokens: int = 1024,
    url: str | Service | None = None,
    fast: FastThinking = "prefill",
    engine: EngineName | Engine = "local",
    subtitles: Literal["find"] | None = "find",
) -> list[Prediction]:
    """Predictions of every clip: clip by clip in the given order, fast before slow where `mode` is "both".

    `clips` are video, sound or picture files, folders of such (searched to the bottom, sorted), or samples. `subtitle`
    and `candidates` (labels to choose from) go with every file; samples have their own. Without `subtitle` the words of
    a file are looked for in a subtitle file beside it or a track inside it, unless `subtitles` is None.

    `model` is a run's or checkpoint's folder, a Hub id, or loaded already (`load_model`); with `url` it is the model's
    name at that OpenAI-compatible address, or with a `Service` that has `served_as` the folder that is served there.
    `fast` is how fast thinking is asked for: by the response format's prefill, or by a prompt for the answer alone.
    `engine` "vllm" has vLLM answer instead of our own loop, where many clips are asked about on a GPU. What fails for
    one clip, such as a file that cannot be read, is a prediction with status "error" whose `error` says why.

    Raises InputError for paths where there is no file, before anything is loaded; for a model that cannot be loaded
    or reached, a number of tokens below 1, and two samples that share an id.
    """
    given = [clips] if isinstance(clips, (str, Path, Sample)) else clips
    clip_files(item for item in given if not isinstance(item, Sample))  # every lost one is named at once
    samples: list[Sample] = []
    for item in given:
        if isinstance(item, Sample):
            samples.append(item)
            continue
        for path in clip_files([item]):
            words = words_of(path, shown_s(model))[0] if subtitle is None and subtitles == "find" else subtitle
            samples.append(clip_sample(path, words, candidates))
    service = Service(url) if isinstance(url, str) else url
    source = str(model) if isinstance(model, Path) else model
    runner = engine if isinstance(engine, Engine) else Engine(engine)
    generator = make_generator(source, service, max_new_tokens=max_new_tokens, fast=fast, engine=runner)
    modes: tuple[Mode, ...] = MODES if mode == "both" else (mode,)
    by_id: dict[str, Sample] = {}
    for sample in samples:
        if by_id.setdefault(sample.id, sample) != sample:
            raise InputError(f"two different samples have the id {sample.id!r}; give each its own")
    unique = list(by_id.values())  # a clip that is given twice is answered once
    rows = {(row.id, mode): row for mode in modes for row in generator.generate(unique, mode)}
    return [rows[sample.id, mode] for sample in samples for mode in modes]


def predict_clips(
    paths: Sequence[Path],
    subtitle: str | None,
    modes: Sequence[Mode],
    source: str,
    max_new_tokens: int = 1024,
    candidates: Sequence[str] = (),
) -> list[Prediction]:
    """The call of 0.1.0. Deprecated: use `predict`. Raises InputError for the first clip that failed."""
    warnings.warn("predict_clips is deprecated; use mer_r1.predict", DeprecationWarning, stacklevel=2)
    from mer_r1.generation.local import load_model

    model = load_model(source)
    clips: list[Path | Sample] = [*paths] or [Sample("subtitle", subtitle=subtitle, candidates=tuple(candidates))]
    made = {
        mode: predict(
            clips,
            model=model,
            mode=mode,
            subtitle=subtitle,
            candidates=candidates,
            max_new_tokens=max_new_tokens,
            subtitles=None,
        )
        for mode in modes
    }
    predictions = [made[mode][index] for index in range(len(clips)) for mode in modes]
    if error := next((row.error for row in predictions if row.status == "error"), None):
        raise InputError(error)
    return predictions


def shown_s(model: str | Path | Backbone) -> float:
    """The seconds of a clip that a model is shown, from its start; those of a published model where it is elsewhere."""
    if isinstance(model, str | Path):
        return folder_settings(Path(model_folder(str(model))))[0].max_video_s
    return model.budget.max_video_s


def clip_sample(path: Path, subtitle: str | None = None, candidates: Sequence[str] = ()) -> Sample:
    """A sample of one file, its path as id.

    The name's ending says whether it is sound, a picture or a video; a video file without pictures is sound.
    """
    sample, kind = Sample(str(path), subtitle=subtitle, candidates=tuple(candidates)), media_kind(path.name)
    if kind == "image":
        return replace(sample, image=path)
    if kind == "audio" or holds_sound_alone(path):
        return replace(sample, audio=path)
    return replace(sample, video=path)
