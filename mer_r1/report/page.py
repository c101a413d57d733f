"""Runs -> one offline HTML page: everything inline, nothing fetched, all text of files escaped.

The page holds its pictures, figures and data itself; clips play by relative path. evaluation/runs.py reads the folders,
measured.py counts, payload.py packs the samples.

What stands on the page is decided here, how it looks in templates/. Nothing is asked of a model: every number is
counted from the predictions (measured.py), and the headline numbers are those of `mer-r1 score`. A page has one
protocol, for scores, marks on words, cases, wheels and the sample browser alike; what is by another (a training's
rewards, numbers that are read of metrics.json) names it where it stands. The one script is the sample browser's; the
page's policy names it by its hash, so that no other script can run whatever a text holds.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

from mer_r1.analysis.paradox import HALVES, VERDICTS, lead
from mer_r1.data.files import validate_outputs, write_text
from mer_r1.data.predictions import PREDICTIONS_FILE
from mer_r1.data.sample import MODES
from mer_r1.emotion.wheel import WheelSet
from mer_r1.errors import InputError
from mer_r1.evaluation.records import METRICS_FILE, Json, MetricsRecord, ScoreRecord
from mer_r1.evaluation.runs import System, read_runs, shared_sets
from mer_r1.generation.settings import answered_by
from mer_r1.metrics.signature import counted_by, wheels_part
from mer_r1.report.cards import headline_cards
from mer_r1.report.highlights import cases_of, choose_highlights
from mer_r1.report.measured import REPORTED, Result, measure, reference_of
from mer_r1.report.payload import make_payload
from mer_r1.report.pictures import NUM_BINS
from mer_r1.report.players import MAX_UP, PageMedia
from mer_r1.report.plots import Figure
from mer_r1.report.rollout_group import shown_group
from mer_r1.report.score_plots import (
    NAMES,
    gap_plots,
    is_one_set,
    pair_plots,
    plane_plot,
    retained_plot,
    score_plot,
    without_plot,
)
from mer_r1.report.sets import ShownSystem, judged_by_a_model, page_sets, shown_systems
from mer_r1.report.tables import set_table, sets_matrix
from mer_r1.report.training_plots import large_logs, small_logs
from mer_r1.report.verdicts import Verdicts
from mer_r1.report.wheel_drawing import wheel_views
from mer_r1.text import interval, percent, points, signed
from mer_r1.version import __version__

if TYPE_CHECKING:
    from jinja2 import Environment

TEMPLATES = Path(__file__).parent / "templates"
ENGINES = {"local": "our own loop", "vllm": "vLLM", "endpoint": "a server"}
JUDGED = ("rec", "rea", "cot")
LONE, WIDE, THIRD = 6.4, 4.6, 3.8  # inches: one, two or three figures beside each other


@dataclass(frozen=True)
class PageChoice:
    """The choices of a page: wheels and protocol of every number and mark, and how many MB of media it holds.

    `refresh_s`: it follows runs that go on, and is loaded again so often (watch.py); None: it stands.
    """

    wheels: str = "builtin"
    protocol: str = "official"
    embed_mb: float = 0.0
    refresh_s: float | None = None


def write_page(
    *folders: Path,
    out: Path | None = None,
    wheels: str = "builtin",
    protocol: str = "official",
    embed_mb: float = 0.0,
) -> tuple[Path, int]:
    """Write the page of all `folders` to `out`, by default report.html in the first; its path, and how many answers
    failed.

    `wheels` and `protocol` are those of every number and mark; media of up to `embed_mb` MB are copied into the page.
    Raises InputError for a folder that is no run, a file in it that is wrong, an `out` that is a folder or holds
    something else than a page, and when jinja2 or matplotlib is missing.
    """
    choice = PageChoice(wheels, protocol, embed_mb)
    out = page_path(folders, out, choice)
    return out, write_choice(folders, out, choice)


def page_path(folders: Sequence[Path], out: Path | None, choice: PageChoice) -> Path:
    """Where the page goes. Raises InputError for what is wrong whatever the runs hold, before they are read."""
    if not folders:
        raise InputError("no folder given; give the folder of a run")
    try:
        import jinja2  # noqa: F401
        import matplotlib  # noqa: F401
    except ModuleNotFoundError:
        raise InputError("the report needs jinja2 and matplotlib; pip install 'mer-r1[report]'") from None
    WheelSet.load(choice.wheels, protocol=choice.protocol)
    out = folders[0] / "report.html" if out is None else out
    if out.is_dir():
        raise InputError(f"{out}: is a folder; give the name of the page, such as {out / 'report.html'}")
    validate_outputs({"-o": (out, "an HTML page")})
    return out


def write_choice(folders: Sequence[Path], out: Path, choice: PageChoice) -> int:
    """Write the page of this choice to `out`; how many answers failed. Raises InputError as `write_page` does."""
    systems = read_runs(folders)
    write_text(out, render(systems, folders, out.parent, choice))
    return sum(sum(shared.failed.values()) for shared in shared_sets(systems))


@cache
def _environment() -> Environment:
    """The templates, compiled once: a watched page is rendered again and again."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    loader = FileSystemLoader(TEMPLATES)
    made = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    made.filters |= {
        "percent": partial(percent, digits=1),
        "signed": signed,
        "clock": clock,
        "points": points,
        "interval": in_brackets,
    }
    made.globals["svg"] = lambda text: Markup(text)  # made here, from escaped text
    return made


def render(systems: Sequence[System], folders: Sequence[Path], out_folder: Path, choice: PageChoice) -> str:
    """The page of these systems, read of `folders`, as it will stand in `out_folder`."""
    from markupsafe import Markup

    environment = _environment()
    shown, browser = shown_systems(systems), environment.get_template("browser.html.j2").render()
    live = environment.get_template("live.html.j2").render(seconds=choice.refresh_s) if choice.refresh_s else ""
    styles = [TEMPLATES / "style.css", *sorted(TEMPLATES.glob("browser*.css"))]
    values = context(shown, folders, out_folder, choice)
    text = environment.get_template("page.html.j2").render(
        style=Markup("".join(path.read_text(encoding="utf-8") for path in styles)),
        browser=Markup(browser),
        live=Markup(live),
        script_hashes=Markup(" ".join(_script_hashes(browser + live))),
        **values,
    )
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}")


def context(systems: Sequence[ShownSystem], folders: Sequence[Path], out_folder: Path, choice: PageChoice) -> Json:
    """Everything that the template names but its own parts."""
    wheels = WheelSet.load(choice.wheels, protocol=choice.protocol)
    media = PageMedia(out_folder, round(1e6 * choice.embed_mb))
    counted = counted_by(wheels_part(wheels.source, wheels.sha256), wheels.protocol.name)
    verdicts, first = Verdicts(wheels), MetricsRecord.read(folders[0] / METRICS_FILE)
    alone = len(folders) == 1
    facts = first if alone else MetricsRecord()  # one run's facts are not the other's
    sets = page_sets(systems)
    measured, cases = measure(systems, sets, wheels), cases_of(systems, sets, wheels)
    highlights = choose_highlights(cases, sets, verdicts, media) if cases.pair else []
    group = shown_group(systems, verdicts, media)
    scored = [page_set for page_set in sets if page_set.scored]
    samples = [sample for page_set in sets for sample in page_set.samples]
    tables = [set_table(page_set, [m for m in measured if m.page_set is page_set], wheels) for page_set in scored]
    matrix = sets_matrix(systems, scored, measured)
    judged = {system.index for system in systems if judged_by_a_model(system)}
    return {
        "title": facts.title or " and ".join(folder.resolve().name for folder in folders),
        "systems": systems,
        "names": {item.system.name for item in systems if alone},
        "modes": MODES,
        "measure_names": NAMES,
        "reported_measures": REPORTED,
        "num_train": facts.corpus.train,
        "num_samples": len(samples),
        "sets": sets,
        "seed": facts.corpus.seed,
        "is_minimer": bool(samples) and all(sample.id.startswith("minimer-") for sample in samples),
        "reference": reference_of(systems, scored),
        "tables": tables,
        "matrix": matrix,
        "cards": headline_cards(tables, matrix),
        "unscored": [  # no table, for no clip was answered by every system that was asked
            item.title for item in sets if item.samples and not item.scored and not judged & item.answers.keys()
        ],
        "judged": [_judged(system) for system in systems if system.index in judged],
        "paradox": _paradox(systems, measured),
        "verdicts": VERDICTS,
        "measured": measured,
        **_figures(systems, measured, first.without, counted),
        "wheel_views": wheel_views(systems, sets, wheels),
        "pair": cases.pair,
        "highlights": highlights,
        "wheels": counted,
        "protocol": choice.protocol,
        "rewarded_by": [
            by for by in dict.fromkeys(item.system.run.wheels for item in systems) if by not in ("", counted)
        ],
        "num_bins": NUM_BINS,
        "group": group,
        "payload": make_payload(
            systems, sets, verdicts, cases.rules, cases.strengths, media, [item.index for item in cases.pair]
        )
        if samples
        else None,
        "media": media,
        "refresh_s": choice.refresh_s,
        "max_up": MAX_UP,
        "stages": _stages(facts.seconds),
        "versions": _versions(systems),
        "engines": _engines(systems),
        "recipes": [(item, _without_folder(item.system)) for item in systems if item.system.recipe],
        "version": __version__,
    }


def clock(seconds: float) -> str:
    """Seconds in the unit that a person reads best."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def in_brackets(bounds: tuple[float, float]) -> str:
    """An interval of fractions in percent, or of differences in points."""
    return interval(*bounds, digits=1)


def _script_hashes(fragment: str) -> Iterator[str]:
    """The policy's sources for the scripts of our own template."""
    for script in re.findall(r"<script>(.*?)</script>", fragment, re.DOTALL):
        digest = hashlib.sha256(script.encode("utf-8")).digest()
        yield f"'sha256-{base64.b64encode(digest).decode('ascii')}'"


def _judged(system: ShownSystem) -> Json:
    """The scores that a judge gave a system, as metrics.json has them: a row a task and mode, then the means."""
    metrics = system.system.metrics
    rows = [(task, mode, scores.of_mode(mode)) for task, scores in metrics.sets.items() for mode in MODES]
    rows += [(f"{name} mean", mode, metrics.mean(mode, name)) for mode in MODES for name in ("micro", "macro")]
    shown = [
        {"task": task, "mode": mode, "n": scores.n, "unjudged": scores.unjudged,
         "cells": [(scores.value(key), scores.bounds(key)) for key in JUDGED]}
        for task, mode, scores in rows
        if scores is not None
    ]  # fmt: skip
    return {"system": system, "rows": shown, "signature": metrics.signature}


def _paradox(systems: Sequence[ShownSystem], measured: Sequence[Result]) -> list[Json]:
    """Of each system what was found on its sets: on how many each half of the paradox shows, and what F1 says."""
    result = []
    for system in systems:
        found = [(item, item.diagnosis) for item in measured if item.system is system and item.diagnosis]
        counts = {
            measure: Counter(half.shows for _, of in found for half in of.halves if half.measure == measure)
            for measure, _ in HALVES
        }
        sets = [{"set": item.page_set, "diagnosis": of, "f1": lead("f1", of.delta["f1"])} for item, of in found]
        if sets:
            result.append({"system": system, "sets": sets, "counts": counts})
    return result


def _figures(
    systems: Sequence[ShownSystem],
    measured: Sequence[Result],
    without: Mapping[str, ScoreRecord] | None,
    counted: str,
) -> Json:
    """Every figure; `without` is what the first run says of media taken away, and its plot names whose it is."""
    width = LONE if not is_one_set(measured) else WIDE if without is None else THIRD
    constants = [c.f1 for m in measured for s in m.modes.values() for c in s.report.constant_baselines]
    own = [item for item in systems if item.system.folder.parent == systems[0].system.folder.parent]
    figures: dict[str, list[Figure | None]] = {
        "result_figures": [
            score_plot(measured, max(constants, default=None), width),
            plane_plot(measured, width),
            without_plot(without or {}, own, counted, width),
        ],
        "paradox_figures": [
            *gap_plots(measured),
            *pair_plots(measured),
            retained_plot(measured),
        ],
        "large_logs": [*large_logs(systems)],
        "small_logs": [*small_logs(systems)],
    }
    return {name: [figure for figure in found if figure is not None] for name, found in figures.items()}


def _stages(seconds: Mapping[str, float | None]) -> list[tuple[str, float, float]]:
    """(stage, seconds, share of the longest)."""
    known = [(stage, value) for stage, value in seconds.items() if value is not None]
    longest = max((value for _, value in known), default=0.0) or 1.0
    return [(stage, value, value / longest) for stage, value in known]


def _versions(systems: Sequence[ShownSystem]) -> dict[str, str]:
    """Versions that the runs wrote down; where runs differ, all of them."""
    found: dict[str, dict[str, None]] = {}
    for system in systems:
        for key, value in system.system.run.versions.items():
            found.setdefault(key, {})[value] = None
    return {key: ", ".join(values) for key, values in found.items()}


def _engines(systems: Sequence[ShownSystem]) -> dict[str, list[str]]:
    """The titles of the systems that each engine answered for."""
    found: dict[str, list[str]] = {}
    for system in systems:
        files = (item.folder / PREDICTIONS_FILE for item in system.system.sets)
        for engine in dict.fromkeys(answered_by(path) for path in files):
            if engine in ENGINES:
                found.setdefault(ENGINES[engine], []).append(system.title)
    return found


def _without_folder(system: System) -> str:
    """A recipe with the folder of the run and the one above it written as `.` and `..`: the page goes to others."""
    folder = system.folder.resolve()
    text = system.recipe
    for name, path in ((".", folder), ("..", folder.parent)):
        text = text.replace(f"{path}/", f"{name}/")
    return text
