"""`mer-r1 predict`: the emotions of clips, printed, or of every row of a manifest, into a predictions file."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

from mer_r1.commands.options import (
    Commands,
    add_command,
    add_length_option,
    add_mode_option,
    add_service_options,
    engine_of,
    modes_of,
    service_of,
)
from mer_r1.errors import InputError

if TYPE_CHECKING:
    from mer_r1.data.sample import Prediction, Sample
    from mer_r1.generation.generator import PromptedGenerator
    from mer_r1.generation.make import Service
    from mer_r1.generation.timeline import PredictedWindow
    from mer_r1.media.subtitles import Subtitles


def add(commands: Commands) -> None:
    """Add `mer-r1 predict`."""
    text = "Emotions of any clip, fast and slow, with reasoning and confidence."
    parser = add_command(commands, "predict", text, _run, resumable=True)
    parser.add_argument(
        "clips", nargs="*", type=Path, metavar="CLIP", help="video, sound or picture files, and folders of such"
    )
    parser.add_argument(
        "--subtitle",
        metavar="TEXT",
        help="the words spoken in the clips (default: those found, see below); without CLIP they are all that is "
        "predicted",
    )
    parser.add_argument(
        "--candidates",
        metavar="A,B,…",
        help="labels to choose from, for a model that is shown such (default none; rows name theirs)",
    )
    parser.add_argument(
        "--manifest", type=Path, metavar="FILE", help="predict every row of it into --out (default: CLIP is predicted)"
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help="write a predictions file, JSON lines, appended to (default: answers of CLIP are printed)",
    )
    add_mode_option(parser)
    parser.add_argument(
        "--model",
        default="runs/quickstart/mer_r1",
        metavar="MODEL",
        help="a run, a checkpoint's folder or a Hub id (owner/name); with --url the model's name there "
        "(default %(default)s, the toy that `mer-r1 quickstart` makes)",
    )
    add_length_option(parser)
    _add_clip_options(parser)
    add_service_options(parser)
    parser.add_argument(
        "--wheel",
        default=None,
        metavar="NAME",
        help="the wheel whose categories are shown: Ekman, Shaver, Willcox, Plutchik, Geneva, or all (default Ekman)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON lines, the rows of a predictions file")


def _add_clip_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("emotions over time")
    group.add_argument(
        "--window", type=float, metavar="S", help="answer each clip window by window, of S seconds each (default: once)"
    )
    group.add_argument("--hop", type=float, metavar="S", help="seconds from window to window (default half a window)")
    group.add_argument(
        "--plot", type=Path, metavar="FILE", help="draw the categories over time, as .png or .svg (default: not)"
    )
    group = parser.add_argument_group("words of a clip (default: a subtitle file beside it or a track inside it)")
    group.add_argument("--no-subtitles", action="store_true", help="look for no subtitles (default: look)")
    group.add_argument(
        "--transcribe",
        nargs="?",
        const="",
        metavar="MODEL",
        help="write the words down by faster-whisper: a model's folder, or a name such as small or turbo whose model "
        "was downloaded before (default: not; without MODEL small)",
    )


def _run(options: argparse.Namespace) -> int:
    service = service_of(options)
    _validate(options)
    if options.manifest is not None:
        return _run_manifest(options, service)
    from mer_r1.emotion.wheel import WheelSet
    from mer_r1.generation.clips import clip_files

    shown = WheelSet.load(protocol="corrected").chosen(options.wheel or "Ekman")
    files = clip_files(options.clips)
    for folder in (path for path in options.clips if path.is_dir()):
        _note(f"{folder}: {len(clip_files([folder]))} clips")
    if options.transcribe is not None:  # which takes long
        _validate_model(options, service)
    if options.window is not None:
        return _run_windows(options, service, files, shown)
    words, origins = _words(options, files)
    samples = _samples(options, files, words)
    if options.out is not None:
        return _store(options, service, samples)
    from mer_r1.display.predictions import print_predictions
    from mer_r1.generation.predict import predict

    predictions = predict(
        samples,
        model=options.model,
        mode=options.mode,
        max_new_tokens=options.max_new_tokens,
        url=service,
        fast=options.fast,
        engine=engine_of(options),
    )
    _name_model(options)
    if options.json:
        _note_words(files, origins)
        print("\n".join(json.dumps(asdict(prediction), ensure_ascii=False) for prediction in predictions))
    else:
        ids = [sample.id for sample in samples]
        titles = dict(zip(ids, map(str, files), strict=False))
        print_predictions(predictions, titles, dict(zip(ids, origins, strict=False)), shown)
    _hint_at_windows(options, predictions)
    return 1 if any(prediction.status == "error" for prediction in predictions) else 0


def _validate(options: argparse.Namespace) -> None:
    """Raises InputError for options that do not go together, and for files that cannot be written."""
    from mer_r1.data.files import require_place

    for name, path in (("--out", options.out), ("--plot", options.plot)):
        if path is not None:
            require_place(name, path)
    if options.transcribe and Path(options.transcribe).is_file():
        raise InputError(f"--transcribe {options.transcribe}: is a file; write CLIP before it, or --transcribe=MODEL")
    if options.manifest is not None:
        if options.subtitle is not None or options.candidates or options.json:
            raise InputError("--manifest: goes without --subtitle, --candidates and --json; its rows have their own")
        if options.clips or options.out is None:
            raise InputError("--manifest: goes with --out PREDICTIONS and without CLIP")
    elif not options.clips and not (options.subtitle and options.subtitle.strip()):
        raise InputError("nothing to predict: give CLIP files, --subtitle TEXT, or --manifest FILE")
    of_clips = {
        "--window": options.window,
        "--no-subtitles": options.no_subtitles or None,
        "--transcribe": options.transcribe,
    }
    for name, value in of_clips.items():
        if value is not None and not options.clips:
            raise InputError(f"{name}: goes with CLIP; give the files, or leave it out")
    for name, value in (("--hop", options.hop), ("--plot", options.plot)):
        if value is not None and options.window is None:
            raise InputError(f"{name}: goes with --window SECONDS")
    if options.out is not None:
        for name, value in (("--window", options.window), ("--json", options.json or None), ("--wheel", options.wheel)):
            if value is not None:
                raise InputError(f"{name}: says what is printed, and --out writes a file; give one of the two")
    if options.subtitle is not None and (options.window is not None or options.transcribe is not None):
        raise InputError(
            "--subtitle: is said in whole clips; with --window a subtitle file beside the clip is cut, and with "
            "--transcribe the words are written down"
        )
    if options.transcribe is not None and options.no_subtitles:
        raise InputError("--no-subtitles: goes without --transcribe; give one of the two")


def _candidates(options: argparse.Namespace) -> tuple[str, ...]:
    return tuple(label.strip() for label in (options.candidates or "").split(",") if label.strip())


def _samples(options: argparse.Namespace, files: Sequence[Path], words: Sequence[str | None]) -> list[Sample]:
    """The samples of the files, whose ids are those that a manifest has for them; or of the subtitle alone."""
    from mer_r1.data.sample import Sample
    from mer_r1.generation.clips import clip_ids
    from mer_r1.generation.predict import clip_sample

    candidates = _candidates(options)
    if not files:
        return [Sample("subtitle", subtitle=options.subtitle, candidates=candidates)]
    return [
        replace(clip_sample(path, text, candidates), id=identity)
        for path, text, identity in zip(files, words, clip_ids(files), strict=True)
    ]


def _words(options: argparse.Namespace, files: Sequence[Path]) -> tuple[list[str | None], list[str]]:
    """The words of every file, and where they came from where they were looked for."""
    from mer_r1.generation.clips import words_of
    from mer_r1.generation.predict import shown_s
    from mer_r1.media.subtitles import words_in

    if options.subtitle is not None or options.no_subtitles:
        return [options.subtitle] * len(files), [""] * len(files)
    seconds = shown_s(options.model)
    if options.transcribe is None:
        found = [words_of(path, seconds) for path in files]
    else:
        transcripts = list(_transcripts(options, files))
        found = [(words_in(said, 0.0, seconds), said.source if said is not None else "") for said in transcripts]
    return [words for words, _ in found], [origin if words else "" for words, origin in found]


def _transcripts(options: argparse.Namespace, files: Sequence[Path]) -> Iterator[Subtitles | None]:
    """What is said in each file by speech recognition; None for one that cannot be read, as its answers will say."""
    from mer_r1.data.media_names import media_kind
    from mer_r1.media.transcript import DEFAULT_MODEL, Transcriber

    transcriber = Transcriber(options.transcribe or DEFAULT_MODEL)  # what is wrong with it is said before any answer

    def said(path: Path) -> Subtitles | None:
        try:
            return None if media_kind(path.name) == "image" else transcriber.subtitles(path)
        except InputError:
            return None

    return map(said, files)


def _validate_model(options: argparse.Namespace, service: Service | None) -> None:
    """Raises InputError for a model of which it can be seen without loading it that it cannot answer."""
    from mer_r1.generation.make import validate_generator

    validate_generator(
        options.model, service, max_new_tokens=options.max_new_tokens, fast=options.fast, engine=engine_of(options)
    )


def _make_generator(options: argparse.Namespace, service: Service | None) -> PromptedGenerator:
    from mer_r1.generation.make import make_generator

    return make_generator(
        options.model,
        service,
        max_new_tokens=options.max_new_tokens,
        fast=options.fast,
        engine=engine_of(options),
    )


def _store(options: argparse.Namespace, service: Service | None, samples: Sequence[Sample]) -> int:
    """Append what is missing of the samples' answers to --out."""
    from mer_r1.display.progress import progress_bar
    from mer_r1.distributed import is_first_process
    from mer_r1.generation import generate_to_store

    generator = _make_generator(options, service)
    with progress_bar("Predicting") as progress:
        report = generate_to_store(options.out, samples, generator, modes_of(options), progress)
    if not is_first_process():
        return 0  # the first process reports for all; a launcher ends them all when one of them fails
    print(report.summary(options.out) or options.out)
    return 1 if report.errors else 0


def _run_windows(
    options: argparse.Namespace, service: Service | None, files: Sequence[Path], shown: Sequence[int]
) -> int:
    """The answers of every window of every clip, printed as they come."""
    from mer_r1.display.timeline import print_windows, validate_plot
    from mer_r1.generation.clips import clip_ids
    from mer_r1.generation.timeline import answer_windows
    from mer_r1.media.windows import windows_of

    hop_s = options.window / 2 if options.hop is None else options.hop
    windows_of(0.0, options.window, hop_s)
    if options.plot is not None:
        validate_plot(options.plot)
        if len(files) > 1 or len(shown) > 1:
            raise InputError(f"--plot {options.plot}: draws one clip and one wheel; give one of each")
    _require_any_timed(files)
    words = _all_words(options, files)
    generator = _make_generator(options, service)
    _name_model(options)
    failed = False
    for path, identity, said in zip(files, clip_ids(files), words, strict=True):
        windows = answer_windows(
            path,
            generator,
            options.window,
            hop_s,
            modes=modes_of(options),
            subtitles=said,
            candidates=_candidates(options),
            identity=identity,
        )
        origin = "" if said is None else said.source
        if options.json:
            _note_words([path], [origin])
            failed |= _print_rows(windows)
        else:
            failed |= print_windows(windows, str(path), origin, shown[0], options.plot)
    return 1 if failed else 0


def _require_any_timed(files: Sequence[Path]) -> None:
    """Raises InputError where no file is a video or sound; with others among them such a file is a failed clip."""
    from mer_r1.media.windows import require_timed

    problems = []
    for path in files:
        try:
            require_timed(path)
        except InputError as problem:
            problems.append(problem)
        else:
            return
    raise problems[0]


def _all_words(options: argparse.Namespace, files: Sequence[Path]) -> Iterator[Subtitles | None]:
    """Everything that is said in each file, with its times."""
    from mer_r1.media.subtitles import find_subtitles

    if options.transcribe is not None:
        return _transcripts(options, files)
    return (None if options.no_subtitles else find_subtitles(path) for path in files)


def _print_rows(windows: Iterator[PredictedWindow]) -> bool:
    """Print the rows of each window as it comes; whether something failed, which is said on standard error."""
    failed = False
    try:
        for window in windows:
            for row in window.rows():
                print(json.dumps(row, ensure_ascii=False), flush=True)
                failed |= row["status"] == "error"
    except InputError as error:
        _note(f"failed: {error}")
        return True
    return failed


def _note(text: str) -> None:
    """Say something about the answers on standard error, so that standard output has them alone."""
    from mer_r1.text import printable

    print(printable(text, 1000), file=sys.stderr)


def _note_words(files: Sequence[Path], origins: Sequence[str]) -> None:
    for path, origin in zip(files, origins, strict=True):
        if origin:
            _note(f"{path}: words from {origin}")


def _hint_at_windows(options: argparse.Namespace, predictions: Sequence[Prediction]) -> None:
    """Say which clips are longer than what a model is shown of one."""
    from mer_r1.generation.predict import shown_s

    seconds = shown_s(options.model)
    lengths = {row.id: max(row.media.video_s or 0.0, row.media.audio_s or 0.0) for row in predictions if row.media}
    for identity, length_s in lengths.items():
        if length_s > seconds:
            _note(
                f"{identity}: {length_s:.0f} s long, of which the model is shown the first {seconds:g} s; --window 5 "
                "answers all of it, window by window"
            )


def _name_model(options: argparse.Namespace) -> None:
    """Say which model answers, and what a toy is worth."""
    from mer_r1.model_settings import model_facts

    at = f" at {options.url}" if options.url is not None else ""
    _note(f"Model: {model_facts(options.model).line}{at}")


def _run_manifest(options: argparse.Namespace, service: Service | None) -> int:
    from mer_r1.data.manifest import read_manifest

    return _store(options, service, read_manifest(options.manifest))
