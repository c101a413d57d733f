"""`mer-r1 predict`: the emotions of any clip, fast and slow, with the reasoning and the confidence."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mer_r1.emotion.wheel import WheelSet
from mer_r1.errors import InputError
from mer_r1.files import append_json_line, atomic_path, read_json_lines, write_json
from mer_r1.manifest import read_manifest, shown
from mer_r1.sample import Mode, Prediction, Sample

if TYPE_CHECKING:
    from mer_r1.models.backbone import Backbone, Prompt

_SOUNDS = ("wav", "mp3", "flac", "m4a", "aac", "ogg", "opus")
_PICTURES = ("jpg", "jpeg", "png", "webp", "bmp")
DEFAULT_MODEL = Path("runs/quickstart/mer_r1")


def load_run(source: str) -> Backbone:
    """The model of a run's folder, of a checkpoint's folder, or of a Hub id."""
    folder = Path(source)
    if source == str(DEFAULT_MODEL) and not folder.exists():
        raise InputError(f"{source}: there is no run here yet; run `mer-r1 quickstart`, or give --model RUN")
    from mer_r1.models.loading import load_backbone

    backbone = load_backbone(str(folder / "model") if (folder / "model").is_dir() else source)
    import torch

    backbone.model.to("cuda" if torch.cuda.is_available() else "cpu")
    return backbone


def clip_sample(path: Path, subtitle: str | None = None) -> Sample:
    """A sample of one file; what kind of medium it is follows from its name's ending."""
    ending = path.suffix.lower().lstrip(".")
    if ending in _SOUNDS:
        return Sample(str(path), audio=path, subtitle=subtitle)
    if ending in _PICTURES:
        return Sample(str(path), image=path, subtitle=subtitle)
    return Sample(str(path), video=path, subtitle=subtitle)


def run(
    clips: Sequence[Path],
    *,
    subtitle: str | None = None,
    manifest: Path | None = None,
    out: Path | None = None,
    modes: Sequence[Mode] = ("fast", "slow"),
    source: str = str(DEFAULT_MODEL),
    max_new_tokens: int = 1024,
    json_lines: bool = False,
) -> int:
    """Predict files (or a subtitle alone) and print, or predict a manifest into `out`; 0 when done."""
    if max_new_tokens < 1:
        raise InputError(f"--max-new-tokens {max_new_tokens}: give 1 or more")
    if manifest is not None:
        if subtitle is not None or json_lines:
            raise InputError("--manifest: goes without --subtitle and --json; its rows are written to --out")
        if clips or out is None:
            raise InputError("--manifest: goes with --out PREDICTIONS and without CLIP")
        return _run_manifest(manifest, out, modes, source, max_new_tokens)
    if out is not None:
        raise InputError("--out: goes with --manifest; the predictions of CLIP are printed (--json for JSON lines)")
    if not clips and not (subtitle and subtitle.strip()):
        raise InputError("nothing to predict: give CLIP files, --subtitle TEXT, or --manifest FILE")
    predictions = predict_clips(clips, subtitle, modes, source, max_new_tokens)
    if json_lines:
        print(as_json(predictions))
    else:
        show(predictions)
    return 0


def _run_manifest(manifest: Path, out: Path, modes: Sequence[Mode], source: str, max_new_tokens: int) -> int:
    samples = read_manifest(manifest)
    backbone = load_run(source)
    from rich.progress import Progress

    from mer_r1.models.features import read_prompts

    with Progress() as bars:
        task = bars.add_task("Asking", total=len(samples) * len(modes))
        prompts = read_prompts(backbone, samples)
        predict_manifest(
            backbone, samples, prompts, out, modes, max_new_tokens, lambda done, _: bars.update(task, completed=done)
        )
    print(out)
    return 0


def predict_clips(
    paths: Sequence[Path], subtitle: str | None, modes: Sequence[Mode], source: str, max_new_tokens: int = 1024
) -> list[Prediction]:
    """Predictions of every file in every mode, files in order. Raises InputError that names an unreadable file."""
    samples = [clip_sample(path, subtitle) for path in paths] or [Sample("subtitle", subtitle=subtitle)]
    from mer_r1.media import read_clip

    backbone = load_run(source)

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
    made = {mode: list(_ask(backbone, prompts, mode, max_new_tokens)) for mode in modes}
    return [made[mode][index] for index in range(len(prompts)) for mode in modes]


def _ask(backbone: Backbone, prompts: Sequence[Prompt], mode: Mode, max_new_tokens: int) -> Iterator[Prediction]:
    from mer_r1.inference import answer
    from mer_r1.models.backbone import Sampling

    size = 64 if backbone.model.num_parameters() < 10**8 else 4  # logits of 64 long answers do not fit beside 7B
    return answer(backbone, prompts, mode, Sampling(max_new_tokens, temperature=0.0), _wheels(), size)


def predict_manifest(
    backbone: Backbone,
    samples: Sequence[Sample],
    prompts: Sequence[Prompt],
    out: Path,
    modes: Sequence[Mode] = ("fast", "slow"),
    max_new_tokens: int = 1024,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Append to `out` what it does not yet hold of `samples` x `modes`; a line cut off by a stop is dropped first.

    Beside `out` stands whose answers it holds. Raises InputError where they are another model's.
    """
    done = _whole_lines(out)
    _same_model(out, backbone, bool(done))
    total = len(samples) * len(modes)
    out.parent.mkdir(parents=True, exist_ok=True)
    with out.open("a", encoding="utf-8") as handle:
        count = len(done)
        for mode in modes:
            missing = [index for index, sample in enumerate(samples) if (sample.id, mode) not in done]
            asked = [prompts[index] for index in missing]
            made = _ask(backbone, asked, mode, max_new_tokens)
            while rows := list(islice(made, 64)):
                for prediction in rows:
                    append_json_line(handle, asdict(prediction))
                handle.flush()
                count += len(rows)
                if progress:
                    progress(count, total)


def _same_model(out: Path, backbone: Backbone, has_rows: bool) -> None:
    """Keep a fingerprint of the model and of how it is asked in OUT.model.json, and compare it when going on."""
    record = out.with_name(f"{out.name}.model.json")
    digest = sha256()
    for name, tensor in sorted(backbone.model.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)} {float(tensor.double().sum())!r}".encode())
    facts = {
        "weights": digest.hexdigest()[:16],
        "prompt_style": backbone.prompt_style,
        "budget": asdict(backbone.budget),
    }
    if has_rows and record.exists() and json.loads(record.read_text(encoding="utf-8")) != facts:
        raise InputError(f"{out}: holds the answers of another model; give another --out, or remove the file")
    write_json(record, facts)


def _whole_lines(path: Path) -> set[tuple[str, str]]:
    if not path.exists():
        return set()
    data = path.read_bytes()
    end = data.rfind(b"\n") + 1
    kept = data if end == len(data) else data + b"\n"
    done = set[tuple[str, str]]()
    try:
        for _, row in read_json_lines(path):
            done.add((str(row.get("id")), str(row.get("mode"))))
    except InputError as error:
        last = data.count(b"\n") + 1
        if not (str(error).startswith(f"{path}:{last}: ") and data[end:].startswith(b"{")):
            raise
        kept = data[:end]
    if kept != data:
        with atomic_path(path) as temporary:
            temporary.write_bytes(kept)
    return done


def show(predictions: Sequence[Prediction]) -> None:
    """Print predictions for a person: words with confidence bars, categories, the reasoning."""
    from rich.console import Console
    from rich.markup import escape

    console, wheels = Console(emoji=False, highlight=False), _wheels()
    for prediction in predictions:
        console.print(f"[bold]{escape(shown(prediction.id, 200))}[/bold]  [dim]{prediction.mode} thinking[/dim]")
        for word in prediction.labels:
            share = (prediction.confidence or {}).get(word)
            ways = wheels.explain(word)
            category = ways[0].category if ways else None
            bar = "" if share is None else f"{'█' * round(20 * share):<20} {share:4.0%}"
            console.print(f"  {escape(shown(word)):<16} {bar:<26} [dim]{category or 'in no wheel'}[/dim]")
        if not prediction.labels:
            console.print(f"  no emotion word ({prediction.status}): {escape(shown(prediction.raw, 200))}")
        if prediction.reasoning.strip():
            console.print(f"  [italic]{escape(shown(prediction.reasoning.strip(), 4000))}[/italic]")
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
