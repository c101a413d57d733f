"""`mer-r1 predict`: the emotions of any clip, fast and slow, with the reasoning and the confidence."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mer_r1.data.manifest import read_manifest
from mer_r1.data.sample import Mode, Prediction, Sample
from mer_r1.distributed import rank_and_world_size
from mer_r1.emotion.wheel import WheelSet
from mer_r1.errors import InputError
from mer_r1.generation import Generator, generate_to_store
from mer_r1.generation.make import DEFAULT_MODEL, Service, make_generator
from mer_r1.text import printable

if TYPE_CHECKING:
    from mer_r1.models.types import Prompt

_SOUNDS = ("wav", "mp3", "flac", "m4a", "aac", "ogg", "opus")
_PICTURES = ("jpg", "jpeg", "png", "webp", "bmp")


def clip_sample(path: Path, subtitle: str | None = None, candidates: Sequence[str] = ()) -> Sample:
    """A sample of one file; what kind of medium it is follows from its name's ending."""
    labels = tuple(candidates)
    ending = path.suffix.lower().lstrip(".")
    if ending in _SOUNDS:
        return Sample(str(path), audio=path, subtitle=subtitle, candidates=labels)
    if ending in _PICTURES:
        return Sample(str(path), image=path, subtitle=subtitle, candidates=labels)
    return Sample(str(path), video=path, subtitle=subtitle, candidates=labels)


def run(
    clips: Sequence[Path],
    *,
    subtitle: str | None = None,
    candidates: Sequence[str] = (),
    manifest: Path | None = None,
    out: Path | None = None,
    modes: Sequence[Mode] = ("fast", "slow"),
    source: str = DEFAULT_MODEL,
    max_new_tokens: int = 1024,
    json_lines: bool = False,
    service: Service | None = None,
) -> int:
    """Predict files (or a subtitle alone) and print, or predict a manifest into `out`.

    `candidates` are the labels to choose from, for a model that is shown such; rows of a manifest have their own.

    With `service` the rows of a manifest are asked of the model `source` there. Returns 0 when done, and 1 where
    an answer failed, which the next call asks again.
    """
    if max_new_tokens < 1:
        raise InputError(f"--max-new-tokens {max_new_tokens}: give 1 or more")
    if manifest is not None:
        if subtitle is not None or candidates or json_lines:
            raise InputError("--manifest: goes without --subtitle, --candidates and --json; its rows have their own")
        if clips or out is None:
            raise InputError("--manifest: goes with --out PREDICTIONS and without CLIP")
        samples = read_manifest(manifest)
        generator = make_generator(source, service, max_new_tokens=max_new_tokens)
        return _run_manifest(samples, out, modes, generator)
    if service is not None:
        raise InputError("--url goes with --manifest; CLIP is asked of a model on this machine")
    if out is not None:
        raise InputError("--out: goes with --manifest; the predictions of CLIP are printed (--json for JSON lines)")
    if not clips and not (subtitle and subtitle.strip()):
        raise InputError("nothing to predict: give CLIP files, --subtitle TEXT, or --manifest FILE")
    predictions = predict_clips(clips, subtitle, modes, source, max_new_tokens, candidates)
    if json_lines:
        print(as_json(predictions))
    else:
        show(predictions)
    return 0


def _run_manifest(samples: Sequence[Sample], out: Path, modes: Sequence[Mode], generator: Generator) -> int:
    with generation_bar("Asking") as progress:
        report = generate_to_store(out, samples, generator, modes, progress)
    if rank_and_world_size()[0]:
        return 0  # the first process answers for all; a launcher ends them all when one of them fails
    print(report.summary(out) or out)
    return 1 if report.errors else 0


@contextmanager
def generation_bar(title: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar of answers; of several processes the first one shows its own."""
    from rich.progress import Progress

    with Progress(disable=rank_and_world_size()[0] > 0) as bars:
        task = bars.add_task(title, total=None)
        yield lambda done, total: bars.update(task, completed=done, total=total)


def predict_clips(
    paths: Sequence[Path],
    subtitle: str | None,
    modes: Sequence[Mode],
    source: str,
    max_new_tokens: int = 1024,
    candidates: Sequence[str] = (),
) -> list[Prediction]:
    """Predictions of every file in every mode, files in order. Raises InputError that names an unreadable file."""
    samples = [clip_sample(path, subtitle, candidates) for path in paths]
    samples = samples or [Sample("subtitle", subtitle=subtitle, candidates=tuple(candidates))]
    from mer_r1.generation.answering import answer
    from mer_r1.generation.local import batch_size, load_model
    from mer_r1.media import read_clip
    from mer_r1.models.types import Sampling

    backbone = load_model(source)

    def read(sample: Sample) -> Prompt:
        try:
            return backbone.prepare(sample, read_clip(sample, backbone.budget))
        except InputError as error:
            if sample.video is None:
                raise
            try:  # the name says film, the content may be sound alone
                heard = replace(sample, video=None, audio=sample.video)
                return backbone.prepare(heard, read_clip(heard, backbone.budget))
            except InputError:
                raise error from None

    prompts = [read(sample) for sample in samples]
    sampling, size = Sampling(max_new_tokens, temperature=0.0), batch_size(backbone)
    made = {mode: list(answer(backbone, prompts, mode, sampling, _wheels(), size)) for mode in modes}
    return [made[mode][index] for index in range(len(prompts)) for mode in modes]


def show(predictions: Sequence[Prediction]) -> None:
    """Print predictions for a person: words with confidence bars, categories, the reasoning."""
    from rich.console import Console
    from rich.markup import escape

    console, wheels = Console(emoji=False, highlight=False), _wheels()
    for prediction in predictions:
        console.print(f"[bold]{escape(printable(prediction.id, 200))}[/bold]  [dim]{prediction.mode} thinking[/dim]")
        for word in prediction.labels:
            share = (prediction.confidence or {}).get(word)
            ways = wheels.explain(word)
            category = ways[0].category if ways else None
            bar = "" if share is None else f"{'█' * round(20 * share):<20} {share:4.0%}"
            console.print(f"  {escape(printable(word)):<16} {bar:<26} [dim]{category or 'in no wheel'}[/dim]")
        if not prediction.labels:
            console.print(f"  no emotion word ({prediction.status}): {escape(printable(prediction.raw, 200))}")
        if prediction.reasoning.strip():
            console.print(f"  [italic]{escape(printable(prediction.reasoning.strip(), 4000))}[/italic]")
        console.print()
    if any(prediction.labels for prediction in predictions):
        console.print("[dim]Bars: probability of the word's category, mean over wheels. Categories: wheel w1.[/dim]")


def as_json(predictions: Sequence[Prediction]) -> str:
    """Predictions as JSON lines, the rows of a predictions file."""
    rows: list[dict[str, Any]] = [asdict(prediction) for prediction in predictions]
    return "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)


def _wheels() -> WheelSet:
    """What is shown of an answer knows "neutral" too, whatever a later score makes of it."""
    return WheelSet.load(protocol="corrected")
