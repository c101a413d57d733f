"""`mer-r1 benchmark emotion-pictures`: sets of pictures with candidate labels, asked and scored by accuracy.

    mer-r1 benchmark emotion-pictures --model RUN --data DIR --in-domain emoset

DIR holds NAME.jsonl of each set, as `prepare` or `synth --pictures` writes them. The run's folder holds what that of
other benchmarks does: run.json, metrics.json, and per set manifest.jsonl, predictions.jsonl and score.json. The same
command goes on with a stopped run and asks failed rows again. Convention: what could not be asked is in no number, what
was answered without a label is wrong. The parser and the match are those of the accuracy reward.

Source: EMO-R3 (arXiv 2602.23802) Section 4; in-domain and out-of-domain means as in its main table.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from mer_r1.benchmarks.emotion_pictures.table import (
    accuracy_grid,
    confusion_grid,
    domains,
    published_grid,
    published_pictures,
    title_of,
)
from mer_r1.data.files import locked, write_json
from mer_r1.data.manifest import read_manifest, write_manifest
from mer_r1.data.predictions import read_predictions
from mer_r1.data.sample import Mode, Sample
from mer_r1.distributed import rank_and_world_size
from mer_r1.errors import InputError
from mer_r1.evaluation.mer_unibench import Json, model_name, print_grid, run_record, validate_benchmark_folder
from mer_r1.evaluation.records import RUN_FILE
from mer_r1.generation import Generator, generate_to_store
from mer_r1.generation.make import Service, make_generator, validate_generator
from mer_r1.metrics.accuracy import PARSER, AccuracyReport, gold_error, mean_accuracy, score_accuracy
from mer_r1.metrics.signature import signature
from mer_r1.metrics.statistics import or_none
from mer_r1.pipelines.predict import generation_bar
from mer_r1.prompting.templates import PROMPT_TEMPLATES, PromptTemplate
from mer_r1.text import printable

NAME = "emotion-pictures"
TITLE = "Emotion pictures"
_NAME = re.compile(r"\w[\w.-]*")

Reports = dict[str, dict[Mode, AccuracyReport]]
"""Set -> mode -> its report."""


@dataclass(frozen=True)
class PicturesRun:
    """What is asked of whom; `style` names a prompt template, None is the model's own; `sets` are some of those in
    `data`.

    `in_domain` names the set whose training part the model was trained on.
    """

    model: str
    data: Path
    out: Path | None = None
    in_domain: str | None = None
    modes: tuple[Mode, ...] = ("fast", "slow")
    sets: tuple[str, ...] = ()
    style: str | None = None
    limit: int | None = None
    max_new_tokens: int = 1024
    service: Service | None = None


def run(wanted: PicturesRun, console: Console | None = None) -> int:
    """Ask, score and print; 0, or 1 where answers failed.

    Raises InputError for sets, model or settings that cannot be used, and where no answer came at all.
    """
    console = console or Console(highlight=False, emoji=False)
    found = find_sets(wanted)
    style = _style(wanted.style)
    validate_generator(wanted.model, wanted.service, max_new_tokens=wanted.max_new_tokens)
    name = model_name(wanted.model)
    out = wanted.out or Path("runs") / f"{NAME}-{name.replace('/', '-')}"
    is_first = rank_and_world_size()[0] == 0
    with ExitStack() as stack:
        if is_first:
            stack.enter_context(locked(out))
            validate_benchmark_folder(out, NAME)
        generator = _generator(wanted, style)
        settings = {"modes": list(wanted.modes), "sets": list(found), "limit": wanted.limit}
        record = run_record(NAME, name, settings | {"in_domain": wanted.in_domain, "asked": dict(generator.settings)})
        if is_first:
            record.write(out / RUN_FILE)
        messages = _ask(out, found, generator, wanted.modes)
        if not is_first:
            return 0
        reports, errors = _score(out, found, wanted.modes)
        if not reports:
            raise InputError(messages[0])
        metrics = _metrics(wanted, reports, errors) | {"complete": not messages}
        write_json(out / "metrics.json", metrics)
        record.replace(status="finished").write(out / RUN_FILE)
    _show(name, wanted, metrics, console)
    for message in messages:
        console.print(f"incomplete: {message}", style="bold red", markup=False, highlight=False, soft_wrap=True)
    console.print(f"Numbers: {out / 'metrics.json'}", markup=False, highlight=False, soft_wrap=True)
    return 1 if messages else 0


def find_sets(wanted: PicturesRun) -> dict[str, list[Sample]]:
    """The sets of the folder by name, each row with gold among its candidates. Raises InputError."""
    if wanted.limit is not None and wanted.limit < 1:
        raise InputError(f"--limit {wanted.limit}: give 1 or more")
    there = {path.stem: path for path in sorted(wanted.data.glob("*.jsonl")) if _NAME.fullmatch(path.stem)}
    if not there:
        raise InputError(f"{wanted.data}: no NAME.jsonl in it; `mer-r1 prepare emoset` or `synth --pictures` write one")
    if unknown := [name for name in wanted.sets if name not in there]:
        raise InputError(f"--sets: {printable(unknown[0])!r} is none of {', '.join(there)} in {wanted.data}")
    names = [name for name in there if name in (wanted.sets or there)]
    if wanted.in_domain is not None and wanted.in_domain not in names:
        raise InputError(f"--in-domain: {printable(wanted.in_domain)!r} is none of {', '.join(names)}")
    names.sort(key=lambda name: name != wanted.in_domain)
    found = {name: read_manifest(there[name])[: wanted.limit] for name in names}
    for name, samples in found.items():
        validate_gold(there[name], samples)
    return found


def validate_gold(path: Path, samples: Sequence[Sample]) -> None:
    """Raises InputError for a row of which no answer can be right."""
    for sample in samples:
        if error := gold_error(sample):
            raise InputError(
                f"{path}: {printable(sample.id)} {error}; "
                "give every row its gold label and the candidates it is one of, "
                "or leave the set out"
            )


def _style(name: str | None) -> PromptTemplate | None:
    """The style of that name; None for the model's own. Raises InputError for one that is not known."""
    if name is None:
        return None
    if name not in PROMPT_TEMPLATES:
        raise InputError(f"--prompt-style {printable(name)}: not known; use one of {', '.join(PROMPT_TEMPLATES)}")
    return PROMPT_TEMPLATES[name]


def _generator(wanted: PicturesRun, style: PromptTemplate | None) -> Generator:
    """The model, by its own question or another. Raises InputError for a question that shows no candidates."""
    generator = make_generator(wanted.model, wanted.service, max_new_tokens=wanted.max_new_tokens, style=style)
    if "{candidates}" not in str(generator.settings["prompt"]):
        raise InputError(
            f"{wanted.model}: its question shows no candidates to choose from; give --prompt-style choice, or set"
        )
    return generator


def _ask(out: Path, found: Mapping[str, Sequence[Sample]], generator: Generator, modes: Sequence[Mode]) -> list[str]:
    """Ask about every set; what failed, a line a set."""
    messages = []
    for name, samples in found.items():
        if rank_and_world_size()[0] == 0:
            write_manifest(out / name / "manifest.jsonl", samples)
        predictions = out / name / "predictions.jsonl"
        with generation_bar(title_of(name)) as progress:
            report = generate_to_store(predictions, samples, generator, modes, progress)
        if report.errors:
            messages.append(report.summary(predictions))
    return messages


def _score(
    out: Path, found: Mapping[str, Sequence[Sample]], modes: Sequence[Mode]
) -> tuple[Reports, dict[str, dict[Mode, int]]]:
    """The reports over the samples that all modes answered, sets without one left out; and how many failed."""
    reports: Reports = {}
    errors: dict[str, dict[Mode, int]] = {}
    for name, samples in found.items():
        rows = [row for row in read_predictions(out / name / "predictions.jsonl") if row.status != "error"]
        answers = {mode: {row.id: row.labels for row in rows if row.mode == mode} for mode in modes}
        errors[name] = {mode: sum(sample.id not in answers[mode] for sample in samples) for mode in modes}
        scored = [sample for sample in samples if all(sample.id in said for said in answers.values())]
        if scored:
            reports[name] = {mode: score_accuracy(scored, answers[mode], name=name, mode=mode) for mode in modes}
            reported = {
                mode: report.as_json() | {"errors": errors[name][mode]} for mode, report in reports[name].items()
            }
            write_json(out / name / "score.json", {"modes": reported})
    return reports, errors


def _metrics(wanted: PicturesRun, reports: Reports, errors: Mapping[str, Mapping[Mode, int]]) -> Json:
    """What metrics.json says."""
    sets: Json = {
        name: {
            "title": title_of(name),
            **{mode: r.as_json() | {"measure": "accuracy", "errors": errors[name][mode]} for mode, r in modes.items()},
        }
        for name, modes in reports.items()
    }
    return {
        "title": TITLE,
        "benchmark": NAME,
        "in_domain": wanted.in_domain,
        "limit": wanted.limit,
        "sets": sets,
        "means": {
            mode: _means({name: by[mode] for name, by in reports.items()}, wanted.in_domain) for mode in wanted.modes
        },
        "signature": signature(
            set=f"{NAME}/{'+'.join(reports)}",
            n=sum(next(iter(modes.values())).n for modes in reports.values()),
            parser=PARSER,
            mode="+".join(wanted.modes),
        ),
    }


def _means(reports: Mapping[str, AccuracyReport], in_domain: str | None) -> Json:
    """A^I, A^O and A of one mode, each with its interval."""
    means: Json = {}
    for key, names in domains(reports, in_domain).items():
        if names:
            value, interval = mean_accuracy([reports[name] for name in names])
            bounds = [or_none(interval.low), or_none(interval.high)]
            means[key] = {"accuracy": value, "interval": bounds, "num_sets": len(names)}
    return means


def _show(name: str, wanted: PicturesRun, metrics: Json, console: Console) -> None:
    sets: Json = metrics["sets"]
    accuracies: dict[str, dict[str, float | None]] = {
        key: {mode: numbers[mode]["accuracy"] for mode in wanted.modes} for key, numbers in sets.items()
    }
    grid = accuracy_grid(name, accuracies, wanted.modes, wanted.in_domain)
    print_grid(grid, console)
    for mode in wanted.modes:
        for key, numbers in sets.items():
            console.print(f"{title_of(key)}, {mode}: {_line(numbers[mode])}", markup=False, soft_wrap=True)
        for key, mean in metrics["means"][mode].items():
            of = f"{mean['num_sets']} set{'s' * (mean['num_sets'] > 1)}"
            console.print(f"{key}, {mode}: {_with_interval(mean)} over {of}", markup=False, soft_wrap=True)
    shown_mode = wanted.modes[-1]  # slow, where both were asked; score.json has both
    for key, numbers in sets.items():
        print_grid(confusion_grid(key, shown_mode, numbers[shown_mode]), console)
    if len(grid.rows) > len(wanted.modes):
        note = f"{published_pictures().source}. {published_pictures().note}"
        console.print(note, style="dim", markup=False, highlight=False, soft_wrap=True)
    console.print(metrics["signature"], markup=False, highlight=False, soft_wrap=True)
    if wanted.limit:
        console.print(f"The first {wanted.limit} pictures of each set, not the whole sets.", style="yellow")


def _line(numbers: Json) -> str:
    """The accuracy with its interval, what constant answering scores, and what was no single candidate."""
    constant = numbers["constant"]
    parts = [
        f"{_with_interval(numbers)} of {numbers['n']:,}",
        f"always {printable(constant['label'])} {100 * constant['accuracy']:.2f}",
        f"{numbers['unparsed']} without a label, {numbers['other']} no single candidate",
        *([f"{numbers['errors']} failed and in no number"] if numbers["errors"] else []),
    ]
    return "; ".join(parts)


def _with_interval(numbers: Json) -> str:
    low, high = numbers.get("interval") or numbers["intervals"]["accuracy"]
    bounds = "" if low is None or high is None else f" [{100 * low:.2f}, {100 * high:.2f}]"
    return f"{100 * numbers['accuracy']:.2f}{bounds}"


def show_published(console: Console | None = None) -> int:
    """Print the paper's table; 0."""
    console = console or Console()
    print_grid(published_grid(), console)
    console.print(published_pictures().note, style="dim", markup=False, highlight=False)
    return 0
