"""Runs -> one offline HTML page: everything inline, nothing fetched, all text of files escaped.

The page holds its pictures, figures and data itself; clips play by relative path. evaluation/runs.py reads the folders,
measured.py counts, payload.py packs the samples.

What stands on the page is decided here, how it looks in templates/. Nothing is asked of a model: every number is
counted from the predictions (measured.py), and the headline numbers are those of `mer-r1 score`. Marks on words, cases,
wheels and the sample browser are by the protocol "corrected", which knows neutral; the page names both. The one script
is the sample browser's; the page's policy names it by its hash, so that no other script can run whatever a text holds.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from mer_r1.data.files import write_text
from mer_r1.data.predictions import PREDICTIONS_FILE
from mer_r1.data.sample import MODES, Mode
from mer_r1.emotion.wheel import WheelSet
from mer_r1.errors import InputError
from mer_r1.evaluation.records import METRICS_FILE, Json, MetricsRecord, ScoreRecord
from mer_r1.evaluation.runs import System, read_runs, shared_sets
from mer_r1.generation.settings import answered_by
from mer_r1.metrics.constant_answer import ConstantAnswer
from mer_r1.metrics.corpus_score import score_signature
from mer_r1.metrics.signature import wheels_part
from mer_r1.report.highlights import cases_of, choose_highlights
from mer_r1.report.measured import REPORTED, ModeScore, Result, measure, reference_of
from mer_r1.report.payload import MAX_UP, make_payload
from mer_r1.report.pictures import NUM_BINS
from mer_r1.report.plots import log_plot
from mer_r1.report.rollout_group import shown_group
from mer_r1.report.score_plots import (
    NAMES,
    gap_plots,
    is_one_set,
    pair_plot,
    plane_plot,
    retained_plot,
    score_plot,
    without_plot,
)
from mer_r1.report.sets import PageSet, ShownSystem, judged_by_a_model, page_sets, shown_systems
from mer_r1.report.verdicts import Verdicts
from mer_r1.report.wheel_drawing import wheel_views
from mer_r1.text import percent, points, signed
from mer_r1.version import __version__

TEMPLATES = Path(__file__).parent / "templates"
LARGE_LOGS = (
    ("reward/recall", "Recall reward of the sampled answers", "recall reward"),
    ("reward/precision", "Precision reward of the sampled answers", "precision reward"),
)
SMALL_LOGS = (
    ("loss", "SFT loss", "loss"),
    ("answer_words", "Words an answer", "words"),
    ("entropy", "Entropy of the policy", "nats a token"),
    ("kl", "Distance from the SFT model", "KL"),
    ("frac_reward_zero_std", "Groups without signal (all advantages 0)", "share"),
    ("sampling/sampling_logp_difference/mean", "The sampler’s log p against the policy’s, mean |difference|", "nats"),
    ("sampling/pearson", "Correlation of the sampler’s probabilities and the policy’s", "Pearson"),
    ("sampling/kl", "Distance of the sampler from the policy", "KL"),
    ("sampling/frac_beyond", "Tokens whose two probabilities differ by more than a factor of 2", "share"),
    ("reward/format", "Format reward", "format reward"),
    ("reward/accuracy", "Accuracy reward: the one answer is a gold label", "accuracy reward"),
    ("reward/reflection", "Reflective reward: coherence and consistency of the steps", "reflective reward"),
)
PAIRS = (
    ("num_categories", "Categories an answer names, mean over wheels.", "categories"),
    ("confidence_gold_first", "Confidence on the right categories at an answer’s first word.", "log-confidence"),
    ("confidence_gold", "Confidence on the right categories, mean over an answer’s words.", "log-confidence"),
    ("margin_first", "Margin over the three hardest wrong categories at an answer’s first word.", "log-confidence"),
    ("margin", "Margin over the three hardest wrong categories, mean over an answer’s words.", "log-confidence"),
)
ENGINES = {"local": "our own loop", "vllm": "vLLM", "endpoint": "a server"}
JUDGED = ("rec", "rea", "cot")
LONE, WIDE, THIRD = 6.4, 4.6, 3.8  # inches: one, two or three figures beside each other


@dataclass(frozen=True)
class ScoreRow:
    """A line of a table of one set."""

    system: ShownSystem
    mode: Mode
    is_first: bool
    is_last: bool
    score: ModeScore


@dataclass(frozen=True)
class SetTable:
    """The scores of one set: `headline` is its measure, `counts` says what was not answered.

    `left_out` samples are in none of the scores.
    """

    page_set: PageSet
    headline: str
    rows: list[ScoreRow]
    constant: ConstantAnswer | None
    best: float | None
    signatures: list[str]
    left_out: int
    counts: list[str]


def write_page(
    *folders: Path, out: Path | None = None, wheels: str = "builtin", protocol: str = "official"
) -> tuple[Path, int]:
    """Write the page of all `folders` to `out`, by default report.html in the first; its path, and how many answers
    failed.

    `wheels` and `protocol` are those of the headline numbers. Raises InputError for a folder that is no run, a file in
    it that is wrong, an `out` that is a folder, and when jinja2 or matplotlib is missing.
    """
    systems = read_runs(folders)
    out = folders[0] / "report.html" if out is None else out
    if out.is_dir():
        raise InputError(f"{out}: is a folder; give the name of the page, such as {out / 'report.html'}")
    write_text(out, render(systems, folders, out.parent, wheels, protocol))
    return out, sum(sum(shared.failed.values()) for shared in shared_sets(systems))


def render(systems: Sequence[System], folders: Sequence[Path], out_folder: Path, wheels: str, protocol: str) -> str:
    """The page of these systems, read of `folders`, as it will stand in `out_folder`.

    Raises InputError when jinja2 or matplotlib is missing, or for wheels or a protocol that are not there.
    """
    try:
        from jinja2 import Environment, FileSystemLoader, StrictUndefined
        from markupsafe import Markup
    except ModuleNotFoundError:
        raise InputError("the report needs jinja2 and matplotlib; pip install 'mer-r1[report]'") from None
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": partial(percent, digits=1), "signed": signed, "clock": clock, "points": points}
    environment.globals["svg"] = lambda text: Markup(text)  # made here, from escaped text
    shown, browser = shown_systems(systems), environment.get_template("browser.html.j2").render()
    styles = [TEMPLATES / "style.css", *sorted(TEMPLATES.glob("browser*.css"))]
    values = context(shown, folders, out_folder, wheels, protocol)
    text = environment.get_template("page.html.j2").render(
        style=Markup("".join(path.read_text(encoding="utf-8") for path in styles)),
        browser=Markup(browser),
        script_hashes=Markup(" ".join(_script_hashes(browser))),
        **values,
    )
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}")


def context(
    systems: Sequence[ShownSystem], folders: Sequence[Path], out_folder: Path, source: str, protocol: str
) -> Json:
    """Everything that the template names but its own parts."""
    wheels = WheelSet.load(source, protocol=protocol)
    looking = WheelSet.load(source, protocol="corrected")
    verdicts, first = Verdicts(looking), MetricsRecord.read(folders[0] / METRICS_FILE)
    alone = len(folders) == 1
    facts = first if alone else MetricsRecord()  # one run's facts are not the other's
    sets = page_sets(systems)
    measured, cases = measure(systems, sets, wheels), cases_of(systems, sets, looking)
    highlights = choose_highlights(cases, sets, verdicts) if cases.pair else []
    scored = [page_set for page_set in sets if page_set.scored]
    samples = [sample for page_set in sets for sample in page_set.samples]
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
        "tables": [_table(page_set, [m for m in measured if m.page_set is page_set], wheels) for page_set in scored],
        "unscored": [  # no table, for no clip was answered by every system that was asked
            item.title for item in sets if item.samples and not item.scored and not judged & item.answers.keys()
        ],
        "matrix": _matrix(systems, scored, measured),
        "judged": [_judged(system) for system in systems if system.index in judged],
        "paradox": _paradox(systems, measured),
        "measured": measured,
        **_figures(systems, measured, first.without),
        "wheel_views": wheel_views(systems, sets, looking),
        "pair": cases.pair,
        "highlights": highlights,
        "wheels": f"{wheels_part(looking.source, looking.sha256)} {looking.protocol.name}",
        "num_bins": NUM_BINS,
        "group": shown_group(systems, verdicts),
        "payload": make_payload(
            systems, sets, verdicts, cases.rules, cases.strengths, out_folder, [item.index for item in cases.pair]
        )
        if samples
        else None,
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


def _script_hashes(fragment: str) -> Iterator[str]:
    """The policy's sources for the scripts of our own template."""
    for script in re.findall(r"<script>(.*?)</script>", fragment, re.DOTALL):
        digest = hashlib.sha256(script.encode("utf-8")).digest()
        yield f"'sha256-{base64.b64encode(digest).decode('ascii')}'"


def _table(page_set: PageSet, measured: Sequence[Result], wheels: WheelSet) -> SetTable:
    rows = []
    for item in measured:
        own = list(item.modes)
        rows += [ScoreRow(item.system, mode, mode == own[0], mode == own[-1], item.modes[mode]) for mode in own]
    headline = rows[0].score.headline if rows else "f1"
    constants = [c for c in rows[0].score.report.constant_baselines if c.measure == headline] if rows else []
    known = [value for row in rows if (value := row.score.value(headline)) is not None]
    modes = dict.fromkeys(row.mode for row in rows)
    signatures = [row.score.reported_signature for row in rows if row.score.reported is not None]
    if headline != "waf":
        signatures.append(score_signature(wheels, page_set.name, len(page_set.scored), "+".join(modes)))
    return SetTable(
        page_set=page_set,
        headline=headline,
        rows=rows,
        constant=max(constants, key=lambda answer: float(getattr(answer, headline)), default=None),
        best=max(known, default=None),
        signatures=list(dict.fromkeys(filter(None, signatures))),
        left_out=len(page_set.samples) - len(page_set.scored),
        counts=[line for row in rows if (line := _counted(row))]
        + [f"{item.system.title}: {item.problem}" for item in measured if item.problem],
    )


def _counted(row: ScoreRow) -> str:
    """What was not answered, in words."""
    score = row.score
    counts = (
        (score.missing, "without an answer"),
        (score.failed, "failed, to be asked again"),
        (score.report.unanswered, "unfinished or empty"),
        (score.report.refusals, "of these refusals"),
        (score.extra, "answers without a sample"),
    )
    line = ", ".join(f"{count} {what}" for count, what in counts if count)
    problem = f"{NAMES[score.headline]} left out: {score.reported_problem}" if score.reported_problem else ""
    line = ", ".join(part for part in (line, problem) if part)
    return f"{row.system.title}, {row.mode}: {line}" if line else ""


def _matrix(systems: Sequence[ShownSystem], sets: Sequence[PageSet], measured: Sequence[Result]) -> Json | None:
    """Several sets side by side: the headline measure of every system and mode, and the plain mean where all are."""
    if len(sets) < 2:
        return None
    found = {(m.system.index, mode, m.page_set.index): m.modes[mode] for m in measured for mode in m.modes}
    headlines = {m.page_set.index: s.headline for m in measured for s in m.modes.values()}
    rows = []
    for system in systems:
        modes = [mode for mode in MODES if any((system.index, mode, page_set.index) in found for page_set in sets)]
        for mode in modes:
            values: list[float | None] = []
            for page_set in sets:
                score = found.get((system.index, mode, page_set.index))
                values.append(None if score is None else score.value(headlines[page_set.index]))
            known = [value for value in values if value is not None]
            mean = sum(known) / len(known) if len(known) == len(sets) else None
            rows.append({"system": system, "mode": mode, "is_first": mode == modes[0], "values": values, "mean": mean})
    columns = zip(*(row["values"] for row in rows), strict=True)
    best = [max((value for value in column if value is not None), default=None) for column in columns]
    return {"sets": sets, "headlines": [headlines[p.index] for p in sets], "rows": rows, "best": best}


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
    """Of each system how often the paradox shows, and what was found on each set."""
    result = []
    for system in systems:
        own = [item for item in measured if item.system is system and item.diagnosis]
        if own:
            found = [item.diagnosis.paradox for item in own if item.diagnosis]
            counts = {verdict: sum(shows is verdict for shows in found) for verdict in (True, False, None)}
            result.append({"system": system, "measured": own, "counts": counts})
    return result


def _figures(
    systems: Sequence[ShownSystem], measured: Sequence[Result], without: Mapping[str, ScoreRecord] | None
) -> Json:
    """Every figure; `without` is what the first run says of media taken away, and its plot names whose it is."""
    rl = [item for item in systems if any(item.system.series(f"reward/{name}")[0] for name in ("recall", "accuracy"))]
    sft = [item for item in systems if item not in rl]
    pairs = [pair_plot(measured, key, caption, label) for key, caption, label in PAIRS]
    large = [log_plot(rl, key, caption, label) for key, caption, label in LARGE_LOGS]
    small = [
        log_plot(sft if key == "loss" else rl, key, caption, label, smooth=key != "loss", width=3.6, height=2.2)
        for key, caption, label in SMALL_LOGS
    ]
    width = LONE if not is_one_set(measured) else WIDE if without is None else THIRD
    constants = [c.f1 for m in measured for s in m.modes.values() for c in s.report.constant_baselines]
    own = [item for item in systems if item.system.folder.parent == systems[0].system.folder.parent]
    figures = {
        "result_figures": [
            score_plot(measured, max(constants, default=None), width),
            plane_plot(measured, width),
            without_plot(without or {}, own, width),
        ],
        "paradox_figures": [*gap_plots(measured), *pairs, retained_plot(measured)],
        "large_logs": large,
        "small_logs": small,
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
