"""`mer-r1 sweep`: one recipe with one key varied, several seeds each, trained, asked, scored and laid side by side.

Every run starts from what the recipe names, so runs of one seed differ in the varied key alone. Greedy: slow and fast
answers on held-out clips, precision and recall averaged over the data, F1 from these. Sampled: mean rewards of the last
third of the steps. Both are shown as mean and range over the seeds. The plot is the paper's Figure 7: the rewards over
the steps. A stopped sweep goes on with the same command.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from mer_r1.errors import InputError
from mer_r1.files import atomic_path, disk_full_named, locked, write_json, write_text
from mer_r1.manifest import read_manifest
from mer_r1.recipe import Recipe, read_recipe
from mer_r1.report.plots import running_mean
from mer_r1.sample import Sample

GREEDY = ("recall", "precision", "f1")
SAMPLED = ("reward/recall", "reward/precision", "reward/format")
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")  # Okabe and Ito (2008)


@dataclass(frozen=True)
class Cell:
    """One run of the sweep."""

    value: str
    seed: int
    recipe: Recipe
    out: Path


def run(
    source: str,
    vary: str,
    seeds: Sequence[int],
    test: Path,
    out: Path,
    overrides: Sequence[str] = (),
    max_new_tokens: int = 64,
    console: Console | None = None,
) -> dict[str, Any]:
    """Do what is missing of the sweep in `out`; returns what it writes to out/sweep.json.

    `vary` is written key=value,value,… Raises InputError for one that is not, for what a recipe refuses, and under a
    launcher of several processes, which would all ask and score.
    """
    if os.environ.get("WORLD_SIZE", "1") not in ("", "0", "1"):
        raise InputError(
            f"WORLD_SIZE={os.environ['WORLD_SIZE']}: a sweep runs in one process; start it without a launcher, or "
            "launch `mer-r1 train` for each value and seed"
        )
    console = console or Console()
    key, values = _varied(vary)
    cells = [
        Cell(value, seed, read_recipe(source, [*overrides, f"{key}={value}", f"seed={seed}"]), out / value / str(seed))
        for value in values
        for seed in seeds
    ]
    held_out = read_manifest(test)
    rows = []
    with locked(out):
        for number, cell in enumerate(cells, 1):
            console.print(f"{number}/{len(cells)}  {key}={cell.value}  seed {cell.seed}", highlight=False)
            rows.append(_run_cell(cell, test, held_out, max_new_tokens))
        result = {"key": key, "test": test.name, "n": len(held_out), "runs": rows, "summary": summary(rows)}
        write_json(out / "sweep.json", result)
        write_text(out / "sweep.md", markdown(result))
        if any(row["dynamics"]["reward/recall"] for row in rows):
            for ending in ("svg", "png"):
                plot(rows, out / f"dynamics.{ending}")
    _show(result, console)
    return result


def _varied(vary: str) -> tuple[str, list[str]]:
    key, equals, listed = vary.partition("=")
    values = [value.strip() for value in listed.split(",")]
    if not equals or not key or not all(values) or len(set(values)) < len(values):
        raise InputError(f"--vary {vary!r}: is written section.key=value,value with different values")
    if any("/" in value or value in (".", "..") for value in values):
        raise InputError(f"--vary {vary!r}: a value names a folder of the sweep, so it holds no slash")
    return key, values


def _run_cell(cell: Cell, test: Path, held_out: Sequence[Sample], max_new_tokens: int) -> dict[str, Any]:
    """Train, ask and score one run."""
    from mer_r1.asking import ask_into
    from mer_r1.asking.local import LocalAsker, kept, load_model
    from mer_r1.models.features import read_prompts
    from mer_r1.verbs import train
    from mer_r1.verbs.score import score_files

    train.run_shown(cell.recipe, cell.out)
    predictions = cell.out / "predictions.jsonl"
    backbone = load_model(str(cell.out))
    features = test.parent / "features" if cell.recipe.data.keep_features else None
    with disk_full_named(test.parent):
        prompts = read_prompts(backbone, held_out, features, cell.recipe.data.workers)
    asker = LocalAsker(backbone, max_new_tokens, read=kept(held_out, prompts))
    report = ask_into(predictions, held_out, asker)
    if report.errors:
        raise InputError(report.summary(predictions))
    scored = {mode: report.to_json() for mode, report in score_files(test, predictions).items()}
    dynamics = _dynamics(cell.out / "metrics.jsonl")
    return {
        "value": cell.value,
        "seed": cell.seed,
        "greedy": {mode: {key: scored[mode]["open_vocabulary"][key] for key in GREEDY} for mode in ("slow", "fast")},
        "sampled": {name.removeprefix("reward/"): _last_third(values) for name, values in dynamics.items()},
        "dynamics": dynamics,
        "signature": scored["slow"]["signature"].replace("mode:slow", "mode:fast+slow"),
    }


def _dynamics(metrics: Path) -> dict[str, list[tuple[int, float]]]:
    """(step, value) of every logged reward."""
    rows = [json.loads(line) for line in metrics.read_text(encoding="utf-8").splitlines()]
    return {name: [(row["step"], row[name]) for row in rows if row.get(name) is not None] for name in SAMPLED}


def _last_third(values: Sequence[tuple[int, float]]) -> float | None:
    last = [value for _, value in values[-(-2 * len(values) // 3) :]]
    return sum(last) / len(last) if last else None


def summary(rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, dict[str, float]]]:
    """Per value and number its mean, lowest and highest over the seeds. Numbers: mode/metric, and sampled/reward."""
    found: dict[str, dict[str, list[float]]] = {}
    for row in rows:
        numbers = {f"{mode}/{key}": row["greedy"][mode][key] for mode in ("slow", "fast") for key in GREEDY}
        numbers |= {f"sampled/{name}": value for name, value in row["sampled"].items()}
        for name, value in numbers.items():
            if value is not None:
                found.setdefault(row["value"], {}).setdefault(name, []).append(value)
    return {
        value: {
            name: {"mean": sum(column) / len(column), "low": min(column), "high": max(column)}
            for name, column in numbers.items()
        }
        for value, numbers in found.items()
    }


_COLUMNS = (
    *(f"{mode}/{key}" for mode in ("slow", "fast") for key in GREEDY),
    "sampled/recall",
    "sampled/precision",
)


def _cells(numbers: Mapping[str, Mapping[str, float]], with_range: bool = True) -> list[str]:
    texts = []
    for name in _COLUMNS:
        number = numbers.get(name)
        percent = {part: 100 * value for part, value in (number or {}).items()}
        spread = f" ({percent['low']:.1f}–{percent['high']:.1f})" if percent and with_range else ""
        texts.append(f"{percent['mean']:.1f}{spread}" if percent else "–")
    return texts


def _headers() -> Iterable[str]:
    return (name.replace("/", " ").replace("f1", "F1") for name in _COLUMNS)


def markdown(result: Mapping[str, Any]) -> str:
    """The table for a document: percent, mean (lowest–highest) over the seeds."""
    seeds = sorted({row["seed"] for row in result["runs"]})
    lines = [
        f"| {result['key']} | {' | '.join(_headers())} |",
        f"|---|{'---|' * len(_COLUMNS)}",
        *(f"| {value} | {' | '.join(_cells(numbers))} |" for value, numbers in result["summary"].items()),
        "",
        f"Percent, mean (lowest–highest) over seeds {', '.join(map(str, seeds))}; {result['n']} clips of "
        f"{result['test']}; `{result['runs'][0]['signature']}`.",
    ]
    return "\n".join(lines) + "\n"


def _show(result: Mapping[str, Any], console: Console) -> None:
    is_wide = console.width >= 150  # else the ranges stand in the file alone
    shown = "mean (lowest–highest)" if is_wide else "mean"
    table = Table(title=f"{result['key']}: percent, {shown} over seeds", title_justify="left")
    table.add_column(str(result["key"]).replace(".", ".\n"))
    for header in _headers():
        table.add_column(header.replace(" ", "\n"), justify="right")
    for value, numbers in result["summary"].items():
        table.add_row(value, *_cells(numbers, is_wide))
    console.print(table)
    console.print(f"[dim]{result['runs'][0]['signature']}[/dim]")


def _common(lines: Sequence[Sequence[tuple[int, float]]]) -> tuple[list[int], list[tuple[float, ...]]]:
    """The steps that all seeds logged, and at each the seeds' running means in percent."""
    smooth = [
        dict(zip([step for step, _ in line], running_mean([100 * number for _, number in line]), strict=True))
        for line in lines
    ]
    steps = sorted(set[int]().union(*smooth).intersection(*smooth))
    return steps, [tuple(line[step] for line in smooth) for step in steps]


def _legend(figure: Any, columns: int) -> None:
    """One entry for every value that some panel shows."""
    shown: dict[Any, Any] = {}
    for axes in figure.axes:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            shown.setdefault(label, handle)
    if shown:
        figure.legend(list(shown.values()), list(shown), loc="outside upper center", ncols=columns, frameon=False)


def plot(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Recall and precision rewards over the steps (paper's Figure 7): mean over seeds, range as a band.

    Seeds are drawn over the steps that all of them logged; a value without a logged reward is left out.
    """
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError:
        raise InputError("the plot needs matplotlib; pip install 'mer-r1[report]'") from None
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    values = list(dict.fromkeys(row["value"] for row in rows))
    for axes, name in zip(figure.subplots(1, 2), ("reward/recall", "reward/precision"), strict=True):
        for colour, value in zip(COLOURS * len(values), values, strict=False):
            lines = [row["dynamics"][name] for row in rows if row["value"] == value and row["dynamics"][name]]
            steps, columns = _common(lines)
            if not steps:
                continue
            axes.plot(steps, [sum(column) / len(column) for column in columns], color=colour, label=value, linewidth=2)
            axes.fill_between(steps, list(map(min, columns)), list(map(max, columns)), color=colour, alpha=0.15, lw=0)
        axes.set_xlabel("step")
        axes.set_ylabel(f"{name.removeprefix('reward/')} of sampled answers, %")
        axes.grid(color="#dddddd")
        axes.spines[["top", "right"]].set_visible(False)
    _legend(figure, len(values))
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format=path.suffix.removeprefix("."), dpi=150)
