"""Golden vectors made anew by running the benchmark's own scoring code on drawn and hand-written inputs: `make golden`.

Everything lies in $MER_R1_GOLDEN, or the user's cache folder, and nothing in the repository: wheels/, code/ and lib/ as
fetched, and golden/ with two files that `tests/golden.py` finds:

    word_table.json    every known form: its base word, its wheel word, its category in each wheel at both levels, or ""
    golden.json        cases (each scored alone), corpora for F1, hit rate and weighted F1; NaN is "NaN", and what the
                       official code raises is {"error": class}
"""

from __future__ import annotations

import argparse
import importlib
import json
import random
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mer_r1.data.files import write_text
from mer_r1.errors import InputError
from tests import golden_cases
from tests.golden import golden_folder
from tests.golden_cases import Case, Words
from tests.official_code import COMMIT, HOST, METRICS, Official, fetch

SEED = 20260224
COLUMNS = ("form", "case1", "case2", *(f"w{k}l{level}" for k in range(1, 6) for level in (1, 2)))


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the vectors; 2, and one line, where the code cannot be had."""
    parser = argparse.ArgumentParser(prog="make golden", description="Golden vectors of the official scoring code.")
    parser.add_argument("--folder", type=Path, default=golden_folder(), help="where all of it lies")
    parser.add_argument("--host", default=HOST, help="another server with the same paths")
    wanted = parser.parse_args(arguments)
    try:
        fetch(wanted.folder, wanted.host)
    except InputError as error:
        print(f"make golden: error: {error}", file=sys.stderr)
        return 2
    official, out = Official(wanted.folder), wanted.folder / "golden"
    for name, vectors in (("word_table", word_table(official)), ("golden", golden(official))):
        write_text(out / f"{name}.json", json.dumps(vectors, ensure_ascii=False))
    print(f"{out}: made; the tests find it there")
    return 0


def word_table(official: Official) -> dict[str, Any]:
    """Every known form with what each metric makes of it."""
    forms = sorted(official.bases)
    rows = [[form, *("".join(official.mapped([form], metric)) for metric in METRICS)] for form in forms]
    return {"meta": _meta() | {"columns": list(COLUMNS)}, "rows": rows}


def golden(official: Official) -> dict[str, Any]:
    """All cases and corpora with what the official code makes of them."""
    cases = [case_record(official, case) for case in golden_cases.cases(_words(official), SEED)]
    kinds: dict[str, tuple[Mapping[str, tuple[Any, Any]], Callable[..., dict[str, Any]]]] = {
        "realistic_f1_corpora": (golden_cases.large_corpora(SEED), f1_out),
        "hit_corpora": (golden_cases.hit_corpora(SEED), hit_out),
        "waf_corpora": (golden_cases.waf_corpora(SEED), lambda official, *corpus: _attempt(official.waf, *corpus)),
    }
    inline = {
        kind: [
            {"name": name, "gt": gold, "pred": said, "out": out(official, gold, said)}
            for name, (gold, said) in corpora.items()
        ]
        for kind, (corpora, out) in kinds.items()
    }
    meta = _meta() | {"metrics": list(METRICS)}
    return {"meta": meta, "cases": cases, "f1_corpora": _f1_corpora(official, cases), **inline}


def _meta() -> dict[str, Any]:
    versions = {name: importlib.import_module(name).__version__ for name in ("numpy", "pandas", "sklearn")}
    return {"source": "github zeroQiaoba/AffectGPT", "commit": COMMIT, "seed": SEED, "versions": versions}


def _words(official: Official) -> Words:
    forms = sorted(official.bases)
    level1 = [metric for metric in METRICS if metric.endswith("level1")]
    num_wheels = {form: sum(bool(official.mapped([form], metric)) for metric in level1) for form in forms}
    relatives: dict[str, list[str]] = {}
    for form in forms:
        for base in official.bases[form]:
            relatives.setdefault(base, []).append(form)
    ambiguous = [form for form in forms if len(official.bases[form]) > 1]
    partial = [form for form in forms if 0 < num_wheels[form] < len(level1)]
    nowhere = [form for form in forms if num_wheels[form] == 0]
    return Words(forms, ambiguous, partial, nowhere, relatives)


def _attempt(call: Callable[..., Any], *arguments: Any) -> Any:
    try:
        return _plain(call(*arguments))
    except Exception as error:  # whatever the official code raises is recorded
        return {"error": type(error).__name__}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return "NaN" if value != value else float(value)
    return value


def _failed(value: Any) -> bool:
    return isinstance(value, dict) and "error" in value


def case_record(official: Official, case: Case) -> dict[str, Any]:
    """One case: how its lists are read, and under each metric its sequences, sets, precision, recall and hit."""
    out = {
        "gt_list": _attempt(official.read, case.gt),
        "pred_list": _attempt(official.read, case.pred),
        "metrics": {metric: _case_metric(official, case, metric) for metric in METRICS},
        "hit_or_not": _attempt(official.hit_or_not, case.gt, case.pred),
    }
    return {**case._asdict(), "out": out}


def _case_metric(official: Official, case: Case, metric: str) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for side, labels in (("gt", case.gt), ("pred", case.pred)):
        if _failed(_attempt(official.read, labels)):
            continue
        out[f"{side}_seq"] = sequence = _attempt(official.mapped, labels, metric)
        if not _failed(sequence):
            out[side] = sorted(set(sequence))
    gold, said = {"x": case.gt}, {"x": case.pred}
    means = _attempt(official.overlap, gold, said, metric)
    out |= means if _failed(means) else {"skipped": not out["gt"], "p": means[0], "r": means[1]}
    if isinstance(case.gt, str):
        hit = _attempt(official.hit, gold, said, metric)
        out["hit"] = hit.get("hitrate", hit)
    return out


def f1_out(official: Official, gold: Any, said: Any, names: Sequence[str] | None = None) -> dict[str, Any]:
    """A corpus under each metric, and the official means over the wheels at both levels."""

    def scored(metric: str) -> dict[str, float]:
        p, r = official.overlap(gold, said, metric, names)
        num = sum(bool(official.mapped(gold[name], metric)) for name in (gold if names is None else names))
        return {"n": num, "p": p, "r": r, "f": 2 * p * r / (p + r)}  # numpy's numbers: 0/0 is NaN

    means = {f"level{level}": _attempt(official.f_mean, gold, said, level, names) for level in (1, 2)}
    return {"per_metric": {metric: _attempt(scored, metric) for metric in METRICS}, **means}


def hit_out(official: Official, gold: Any, said: Any) -> dict[str, Any]:
    """A corpus of one-word gold under each metric, and the official mean over the wheels."""
    per_metric = {
        metric: {"n": sum(bool(official.mapped(labels, metric)) for labels in gold.values())}
        | _attempt(official.hit, gold, said, metric)
        for metric in METRICS
    }
    return {"per_metric": per_metric, "average": _attempt(official.hit_mean, gold, said)}


def _f1_corpora(official: Official, records: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Corpora of the recorded cases: all that are sound, each tag, drawn ones, and the edges."""
    outs = {row["id"]: list(row["out"]["metrics"].values()) for row in records}
    sound = [name for name, metrics in outs.items() if not any(map(_failed, metrics))]
    broken = [name for name in outs if name not in sound]
    row_of = {row["id"]: row for row in records}
    draw = random.Random(SEED)
    sizes = (1, 1, 2, 2, 10, 25, 25, 60, 60, 60, 60, 60)
    chosen: dict[str, list[str]] = {
        "all_sound": sound,
        **{f"tag:{row['tag']}": [] for row in records if row["id"] in sound},
        **{f"drawn{number}": draw.sample(sound, size) for number, size in enumerate(sizes)},
        "subset": sound[:200],
        "all_skipped": [name for name in sound if all(out["skipped"] for out in outs[name])][:5],
        "zero_overlap": [name for name in sound if all(out["p"] == 0 for out in outs[name])][:6],
        "no_samples": [],
        "one_bad_row": [sound[0], broken[0]],
    }
    for name in sound:
        chosen[f"tag:{row_of[name]['tag']}"].append(name)
    corpora = []
    for name, ids in chosen.items():
        gold, said = ({key: row_of[key][side] for key in ids} for side in ("gt", "pred"))
        subset = draw.sample(ids, 20) if name == "subset" else None
        corpora.append({"name": name, "ids": ids, "process_names": subset, "out": f1_out(official, gold, said, subset)})
    return corpora


if __name__ == "__main__":
    raise SystemExit(main())
