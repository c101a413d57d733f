"""A long clip answered window by window, in order of time and as the answers come.

Windows are decoded as `media.windows` cuts them, a few at a time, and answered together; the first one is answered
alone, so that something is there to see. Memory: the windows of one batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from mer_r1.data.sample import MODES, Clip, Mode, Prediction, Sample
from mer_r1.errors import InputError
from mer_r1.generation.generator import FastByPrompt, PromptedGenerator
from mer_r1.generation.make import DEFAULT_MODEL, Engine, EngineName, Service, make_generator
from mer_r1.media.subtitles import Subtitles, find_subtitles, words_in
from mer_r1.media.windows import ClipWindow, read_windows, require_timed, windows_of
from mer_r1.objectives import FastThinking

if TYPE_CHECKING:
    from mer_r1.models.backbone import Backbone

BATCH_SIZES = (1, 4, 16)
"""Windows that are decoded and answered together: at first, then, and from there on."""


@dataclass(frozen=True)
class PredictedWindow:
    """A window of a clip, seconds from its start, with the words said there and one prediction a mode."""

    start_s: float
    end_s: float
    subtitle: str | None
    predictions: tuple[Prediction, ...]

    def rows(self) -> Iterator[dict[str, Any]]:
        """One JSON object a mode: the keys of a predictions file, and those of the window."""
        window = {"start_s": round(self.start_s, 3), "end_s": round(self.end_s, 3), "subtitle": self.subtitle}
        for prediction in self.predictions:
            row = asdict(prediction)
            yield {"id": row.pop("id"), **window, **row}


def predict_windows(
    clip: str | Path,
    *,
    window_s: float = 5.0,
    hop_s: float = 2.5,
    model: str | Path | Backbone = DEFAULT_MODEL,
    mode: Literal["fast", "slow", "both"] = "both",
    subtitles: Subtitles | Literal["find"] | None = "find",
    candidates: Sequence[str] = (),
    max_new_tokens: int = 1024,
    url: str | Service | None = None,
    fast: FastThinking = "prefill",
    engine: EngineName | Engine = "local",
) -> Iterator[PredictedWindow]:
    """The emotions of a video or sound file over time, window by window as they are answered.

    Windows of `window_s` seconds begin every `hop_s` seconds. `subtitles` are cut at the windows; "find" looks for a
    file beside the clip or a track inside it, None is for no words. The rest is as for `predict`.

    What fails for one window is a prediction with status "error". The first step raises InputError for a file that is
    no video or sound, before a model is loaded; a later one for a clip of which a part cannot be read, after the
    windows before it.
    """
    path = Path(clip)
    windows_of(0.0, window_s, hop_s)
    if not path.is_file():
        raise InputError(f"{path}: no such file; give the path of a video or a sound")
    require_timed(path)
    service = Service(url) if isinstance(url, str) else url
    runner = engine if isinstance(engine, Engine) else Engine(engine)
    said = find_subtitles(path) if subtitles == "find" else subtitles
    generator = make_generator(
        str(model) if isinstance(model, Path) else model,
        service,
        max_new_tokens=max_new_tokens,
        fast=fast,
        engine=runner,
    )
    modes: tuple[Mode, ...] = MODES if mode == "both" else (mode,)
    yield from answer_windows(path, generator, window_s, hop_s, modes=modes, subtitles=said, candidates=candidates)


def answer_windows(
    path: Path,
    generator: PromptedGenerator,
    window_s: float,
    hop_s: float,
    *,
    modes: Sequence[Mode] = MODES,
    subtitles: Subtitles | None = None,
    candidates: Sequence[str] = (),
    identity: str | None = None,
) -> Iterator[PredictedWindow]:
    """The same by a generator that is there already. `identity` is the predictions' id, by default the path.

    Raises InputError for a server that is sent whole files, too.
    """
    clips: dict[str, Clip] = {}
    askers = {mode: generator.of(mode) if isinstance(generator, FastByPrompt) else generator for mode in modes}
    budget = askers[modes[0]].budget
    shown = {asker: asker.showing(lambda sample, _: (sample, clips[sample.id])) for asker in set(askers.values())}
    windows = read_windows(path, budget, window_s, hop_s)
    sizes = iter(BATCH_SIZES)
    size = 0
    ended: InputError | None = None
    while ended is None:
        size = next(sizes, size)
        batch: list[ClipWindow] = []
        try:
            batch.extend(islice(windows, size))  # keeps what came before an error
        except InputError as error:
            ended = error
        if not batch:
            break
        samples = [
            Sample(f"{number}", subtitle=words_in(subtitles, *item.window), candidates=tuple(candidates))
            for number, item in enumerate(batch)
        ]
        clips.update({sample.id: item.clip for sample, item in zip(samples, batch, strict=True)})
        made = {
            (prediction.id, mode): prediction
            for mode, asker in askers.items()
            for prediction in shown[asker].generate(samples, mode)
        }
        for sample, item in zip(samples, batch, strict=True):
            answers = tuple(_named(made[sample.id, mode], identity or str(path)) for mode in modes)
            yield PredictedWindow(*item.window, sample.subtitle, answers)
    if ended is not None:
        raise ended


def _named(prediction: Prediction, identity: str) -> Prediction:
    return replace(prediction, id=identity)
