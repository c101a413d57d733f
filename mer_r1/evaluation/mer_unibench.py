"""`mer-r1 benchmark mer-unibench`: nine data sets asked, scored and laid beside the published rows.

A run's folder holds run.json, metrics.json, and per set manifest.jsonl (the gold that was asked), predictions.jsonl and
score.json. The same command goes on with a stopped run and asks failed rows again. A clip that could not be asked is
never scored as wrong: numbers are over the clips answered in every mode asked for, and a table with errors says so.

Source: MER-R1 Section 5, Tables 1 and 3. MER-UniBench turns words into a sentiment by Qwen2.5-7B; the default here is
the built-in lexicon, and whose word counted stands in the signature.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from rich.console import Console
from rich.markup import escape
from rich.measure import Measurement
from rich.segment import Segments
from rich.table import Table

from mer_r1.benchmarks.clips import count_note
from mer_r1.benchmarks.mer_unibench.layouts import SETS, present_sets, read_set
from mer_r1.benchmarks.mer_unibench.table import OFFICIAL, Grid, means_of, official_grid, published_grid, unified_grid
from mer_r1.benchmarks.prepared import PreparedSet
from mer_r1.benchmarks.published import BENCHMARKS, published
from mer_r1.data.files import locked, write_json
from mer_r1.data.manifest import read_manifest, write_manifest
from mer_r1.data.sample import Mode
from mer_r1.distributed import rank_and_world_size
from mer_r1.emotion.wheel import WheelSet
from mer_r1.errors import InputError
from mer_r1.evaluation.records import RUN_FILE, RunRecord, versions
from mer_r1.evaluation.score_files import Gold, ModePredictions, read_gold, read_modes
from mer_r1.evaluation.sentiment import LEXICON, SentimentChoice, sentiment_reports
from mer_r1.generation import Generator, generate_to_store
from mer_r1.generation.make import Service, make_generator, validate_generator
from mer_r1.metrics.corpus_score import Task, load_wheels, score
from mer_r1.metrics.signature import signature, wheels_part
from mer_r1.pipelines.predict import generation_bar
from mer_r1.text import printable

NAME = "mer-unibench"
WIDEST = 400  # letters of a table
ALONE = "; --mode fast or slow scores a mode that was answered alone"
Json = dict[str, Any]


@dataclass(frozen=True)
class Scoring:
    """By which wheels, protocol and sentiment the answers are scored."""

    wheels: str = "builtin"
    protocol: str = "official"
    sentiment: SentimentChoice = field(default_factory=SentimentChoice)

    def ready(self) -> tuple[WheelSet, SentimentChoice]:
        """The wheels, and who says a sentiment: the lexicon where nobody is named. Raises InputError for neither."""
        self.sentiment.check()
        choice = self.sentiment if self.sentiment.name else replace(self.sentiment, backend=LEXICON)
        if choice.out is not None:
            raise InputError("--sentiment-out keeps the answers of one file; score a set's predictions with it")
        return load_wheels(self.wheels, self.protocol), choice


def run_unibench(
    model: str,
    data: Path,
    out: Path | None = None,
    *,
    modes: Sequence[Mode] = ("fast", "slow"),
    sets: Sequence[str] = (),
    limit: int | None = None,
    max_new_tokens: int = 1024,
    service: Service | None = None,
    scoring: Scoring | None = None,
    console: Console | None = None,
) -> int:
    """Ask `model` about the sets of `data`, score them into `out` and print the tables; 1 where a clip failed, else 0.

    `sets` names some of the nine, `limit` takes that many clips of each. Raises InputError for a set that is not there
    when it is named, for a folder without any, and as asking and scoring do.
    """
    console, scoring = console or Console(), scoring or Scoring()
    validate_generator(model, service, max_new_tokens=max_new_tokens)
    wheels, choice = scoring.ready()
    found, absent = find_sets(data, sets, limit)
    name = model_name(model)
    out = out or Path("runs") / f"{NAME}-{name.replace('/', '-')}"
    settings = {"modes": list(modes), "sets": list(found), "limit": limit, "max_new_tokens": max_new_tokens}
    is_first = rank_and_world_size()[0] == 0
    with ExitStack() as stack:
        if is_first:
            _show_found(found, absent, console)
            stack.enter_context(locked(out))
            validate_benchmark_folder(out, NAME)
        generator = make_generator(model, service, max_new_tokens=max_new_tokens)
        record = run_record(NAME, name, settings | {"asked": dict(generator.settings)})
        if is_first:
            record.write(out / RUN_FILE)
        messages = _ask_sets(out, found, generator, modes)
        if not is_first:
            return 0
        del generator  # a judge of sentiments may need its memory
        metrics = _metrics(out, found, modes, wheels, choice)
        if not metrics["sets"]:
            raise InputError(messages[0] + (ALONE if len(modes) > 1 else ""))
        metrics |= {"limit": limit, "absent": list(absent), "complete": not messages}
        write_json(out / "metrics.json", metrics)
        record.replace(status="finished").write(out / RUN_FILE)
    _show(name, metrics, modes, choice, console)
    for message in messages:
        console.print(f"incomplete: {message}", style="bold red", markup=False, highlight=False, soft_wrap=True)
    console.print(f"Numbers: {out / 'metrics.json'}", markup=False, highlight=False, soft_wrap=True)
    return 1 if messages else 0


def find_sets(
    data: Path, names: Sequence[str] = (), limit: int | None = None
) -> tuple[dict[str, PreparedSet], dict[str, str]]:
    """The sets that `data` holds as manifests (NAME.jsonl) or in the owners' folders, and how to get the others.

    Raises InputError for an unknown name, a named set that is not there, none at all, and a set without gold.
    """
    if limit is not None and limit < 1:
        raise InputError(f"--limit {limit}: give 1 or more")
    if unknown := [name for name in names if name not in SETS]:
        raise InputError(f"--sets: {printable(unknown[0])!r} is none of {', '.join(SETS)}")
    if not data.is_dir():
        raise InputError(f"{data}: no such folder; give one that holds NAME.jsonl of `mer-r1 prepare` or the sets' own")
    found: dict[str, PreparedSet] = {}
    absent: dict[str, str] = {}
    folders = set(present_sets(data))
    for name in [known for known in SETS if known in (names or SETS)]:
        manifest = data / f"{name}.jsonl"
        if manifest.is_file():
            found[name] = PreparedSet(name, SETS[name].title, tuple(read_manifest(manifest)))
        elif name in folders:
            found[name] = read_set(name, data)
        else:
            absent[name] = f"neither {name}.jsonl nor {SETS[name].folder} is in {data}; {SETS[name].where}"
    if absent and (names or not found):
        name, why = next(iter(absent.items()))
        raise InputError(f"{SETS[name].title}: {why}")
    found = {
        name: replace(item, notes=tuple(_notes(item)), samples=item.samples[:limit]) for name, item in found.items()
    }
    for name, prepared in found.items():
        _validate_gold(name, prepared)
    return found, absent


def _notes(prepared: PreparedSet) -> Iterator[str]:
    """The set's notes, with the number of clips that are there in the place of that in the owners' tables."""
    num, published_num = len(prepared.samples), SETS[prepared.name].num
    of_tables = set(count_note(num + len(prepared.missing), published_num))
    yield from (note for note in prepared.notes if note not in of_tables)
    if num != published_num:
        yield f"{num:,} clips are scored, {published_num:,} published"


def _validate_gold(name: str, prepared: PreparedSet) -> None:
    sentiment = SETS[name].task == "sentiment"
    if not any(sample.valence is not None if sentiment else sample.labels for sample in prepared.samples):
        missing = f", such as {prepared.missing[0].path}" if prepared.missing else ""
        raise InputError(
            f"{prepared.title}: no clip with {'a valence' if sentiment else 'labels'}{missing}; prepare it again, or "
            "leave it out with --sets"
        )


def model_name(model: str) -> str:
    """What a model is called: of a folder its name, not its place."""
    return Path(model).resolve().name if Path(model).exists() else model


def validate_benchmark_folder(out: Path, benchmark: str) -> None:
    """Raises InputError where `out` holds a run of something else."""
    try:
        record = RunRecord.read(out / RUN_FILE)
        same = not (out / RUN_FILE).exists() or (record.kind, record.benchmark) == ("benchmark", benchmark)
    except InputError:
        same = False
    if not same:
        raise InputError(f"{out}: holds a run of another kind; give another --out")


def run_record(benchmark: str, model: str, settings: Json) -> RunRecord:
    """What run.json of a benchmark says while it runs."""
    return RunRecord(
        kind="benchmark",
        benchmark=benchmark,
        model=model,
        settings=settings,
        versions=versions(("av", "torch", "transformers")),
        status="running",
    )


def _ask_sets(out: Path, found: Mapping[str, PreparedSet], generator: Generator, modes: Sequence[Mode]) -> list[str]:
    """Ask about every set; what failed, a line a set."""
    messages = []
    for name, prepared in found.items():
        if rank_and_world_size()[0] == 0:
            path = out / name / "manifest.jsonl"  # what a wider run asked stays beside its answers
            asked = {sample.id: sample for sample in read_manifest(path)} if path.exists() else {}
            write_manifest(path, (asked | {sample.id: sample for sample in prepared.samples}).values())
        predictions = out / name / "predictions.jsonl"
        with generation_bar(prepared.title) as progress:
            report = generate_to_store(predictions, prepared.samples, generator, modes, progress)
        if report.errors:
            messages.append(report.summary(predictions))
    return messages


def _metrics(
    out: Path, found: Mapping[str, PreparedSet], modes: Sequence[Mode], wheels: WheelSet, choice: SentimentChoice
) -> Json:
    """What metrics.json says; writes score.json of every set."""
    sets: dict[str, dict[str, Json]] = {}
    judges: set[str] = set()
    for name, prepared in found.items():
        reports = _score_set(prepared, out / name, modes, wheels, choice)
        if not reports:
            continue
        write_json(out / name / "score.json", {"modes": reports})
        sets[name] = {mode: _numbers(name, report) for mode, report in reports.items()}
        judges |= {part for report in reports.values() for part in report["signature"].split("|") if "judge:" in part}
    whole = signature(
        set=NAME if len(sets) == len(SETS) else f"{NAME}/{'+'.join(sets)}",
        n=sum(max(numbers["n"] for numbers in by_mode.values()) for by_mode in sets.values()),
        wheels=wheels_part(wheels.source, wheels.sha256),
        protocol=wheels.protocol.name,
        parser=wheels.protocol.parser,
        mode="+".join(modes),
        judge="+".join(sorted(judge.removeprefix("judge:") for judge in judges)) or None,
    )
    means = {mode: means_of({name: by_mode[mode] for name, by_mode in sets.items()}) for mode in modes}
    missing = {name: len(prepared.missing) for name, prepared in found.items() if prepared.missing}
    return {
        "title": "MER-UniBench",
        "benchmark": NAME,
        "sets": sets,
        "means": means,
        "clips_not_there": missing,
        "notes": [f"{prepared.title}: {note}" for prepared in found.values() for note in prepared.notes],
        "signature": whole,
    }


def _score_set(
    prepared: PreparedSet, folder: Path, modes: Sequence[Mode], wheels: WheelSet, choice: SentimentChoice
) -> dict[str, Json]:
    """The report of each mode over the clips that all modes answered, with the count of those that it did not.

    Empty where no clip was answered.
    """
    name, pred = prepared.name, folder / "predictions.jsonl"
    gold = _only(read_gold(folder / "manifest.jsonl"), {sample.id for sample in prepared.samples})
    read = read_modes(pred)
    found: dict[str, ModePredictions] = {mode: read[mode] for mode in modes}
    errors = {mode: sum(i not in answers.labels for i in gold.labels) for mode, answers in found.items()}
    truth = _only(gold, {i for i in gold.labels if all(i in answers.labels for answers in found.values())})
    if not (truth.valence if SETS[name].task == "sentiment" else truth.labels):
        return {}
    if SETS[name].task == "sentiment":
        reported = sentiment_reports(
            truth, found, choice, "sentiment", gold=folder, pred=pred, protocol=wheels.protocol
        )
        return {
            mode: {
                **reported[mode].to_json(),
                "unanswered": len(answers.unanswered & truth.valence.keys()),
                "errors": errors[mode],
            }
            for mode, answers in found.items()
        }
    task: Task = "basic" if SETS[name].task == "basic" else "open-vocabulary"
    return {
        mode: {
            **score(
                truth.labels,
                {identity: labels for identity, labels in answers.labels.items() if identity in truth.labels},
                wheels,
                task=task,
                name=name,
                mode=mode,
                clusters=truth.clusters,
                unanswered=answers.unanswered,
            ).to_json(),
            "errors": errors[mode],
        }
        for mode, answers in found.items()
    }


def _only(gold: Gold, kept: set[str]) -> Gold:
    """The gold of some clips."""
    return Gold(*({i: value for i, value in part.items() if i in kept} for part in vars(gold).values()))


def _numbers(name: str, report: Json) -> Json:
    """What metrics.json keeps of a report."""
    measures = report.get("open_vocabulary", report)
    return {
        "task": SETS[name].task,
        "measure": OFFICIAL[SETS[name].task],
        **{key: report[key] for key in ("n", "errors", "signature", "intervals")},
        **{key: measures[key] for key in ("precision", "recall", "f1", "hit", "waf", "accuracy") if key in measures},
        **{key: report[key] for key in ("unanswered", "invalid") if key in report},
    }


def show_published(name: str | None = None, console: Console | None = None) -> int:
    """Print the paper's tables of both benchmarks, or of one; 0."""
    console = console or Console()
    for table in [published()[item] for item in BENCHMARKS if name in (None, item)]:
        print_grid(published_grid(table), console)
        console.print(table.note, style="dim", markup=False, highlight=False)
    return 0


def print_grid(grid: Grid, console: Console) -> None:
    """A table whose heads break at spaces; where the terminal is narrower its lines run over, and no number is cut."""
    table = Table(title=escape(grid.title), title_justify="left")
    for index, head in enumerate(grid.columns):
        side: Literal["left", "right"] = "left" if index < grid.num_names else "right"
        table.add_column(escape(head.replace(" ", "\n")), justify=side, no_wrap=True)
    for row in grid.rows:
        table.add_row(*map(escape, row))
    needed = Measurement.get(console, console.options.update(max_width=WIDEST), table).maximum
    lines = console.render(table, console.options.update(width=max(needed, console.width)))
    console.print(Segments(lines), crop=False, soft_wrap=True, end="")


def _show_found(found: Mapping[str, PreparedSet], absent: Mapping[str, str], console: Console) -> None:
    for prepared in found.values():
        lines = list(prepared.notes)
        if prepared.missing:
            first = prepared.missing[0]
            lines.append(f"{len(prepared.missing)} clips are not there, such as {first.path} ({first.why})")
        for line in lines:
            console.print(f"{prepared.title}: {line}", markup=False, highlight=False, soft_wrap=True)
    for name, why in absent.items():
        line = f"{SETS[name].title} is left out: {why}"
        console.print(line, style="yellow", markup=False, highlight=False, soft_wrap=True)


def _show(model: str, metrics: Json, modes: Sequence[Mode], choice: SentimentChoice, console: Console) -> None:
    for grid in (official_grid(model, metrics["sets"], modes), unified_grid(model, metrics["sets"], modes)):
        print_grid(grid, console)
    console.print(
        f"Published rows: {published()[NAME].source}, and {published()['unified'].source}. {published()[NAME].note}",
        style="dim",
        markup=False,
        highlight=False,
    )
    for note in metrics["notes"]:
        console.print(note, style="yellow", markup=False, highlight=False, soft_wrap=True)
    if not all(f"|{part}" in metrics["signature"] for part in ("wheels:official@", "protocol:official|")):
        console.print("Not the official wheels or protocol: these F1 and HIT are not MER-UniBench's.", style="yellow")
    if choice.name == LEXICON and any(SETS[name].task == "sentiment" for name in metrics["sets"]):
        console.print("Sentiment by the built-in lexicon: these WAF are not MER-UniBench's.", style="yellow")
    if metrics["limit"]:
        console.print(f"The first {metrics['limit']} clips of each set, not the whole sets.", style="yellow")
    unanswered, errors = (
        sum(numbers[count] for by_mode in metrics["sets"].values() for numbers in by_mode.values())
        for count in ("unanswered", "errors")
    )
    if unanswered:
        said = f"unanswered: {unanswered} answers are cut off or empty, and scored by the words they hold, if any"
        console.print(said, style="yellow", highlight=False, soft_wrap=True)
    if errors:
        console.print(f"errors: {errors} answers failed and are in no number", style="bold red", highlight=False)
    console.print(metrics["signature"], markup=False, highlight=False, soft_wrap=True)
