"""The sample browser's data: what it says is what was answered, packed and escaped, with media by relative path."""

from __future__ import annotations

import base64
import gzip
import json
import math
from pathlib import Path
from typing import Any

import pytest

from mer_r1.analysis.cases import CaseRule, Kind
from mer_r1.data.sample import Prediction, Sample
from mer_r1.emotion.protocol import CORRECTED
from mer_r1.evaluation.runs import EvaluatedSet, System
from mer_r1.report.payload import CHUNK_SIZE, Payload, cut, make_payload, script_json
from mer_r1.report.players import PageMedia
from mer_r1.report.sets import page_sets, shown_systems
from mer_r1.report.verdicts import Verdicts
from tests.report.runs import shown_of
from tests.small_wheels import CATEGORIES, small_wheels

VERDICTS = Verdicts(small_wheels(CORRECTED))
KINDS: dict[Kind, CaseRule] = {
    "retained": CaseRule("Retained", "Rule."),
    "failure": CaseRule("Failure", "Rule."),
}


def packed(samples: list[Sample], strengths: Any = None, folder: Path = Path(), **answers: Any) -> Payload:
    systems, sets = shown_of(samples, **answers)
    return make_payload(systems, sets, VERDICTS, KINDS, strengths or [{}], PageMedia(folder), [0])


def chunk(payload: Payload, place: int) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(gzip.decompress(base64.b64decode(payload.chunks[place])))
    return rows


def test_columns_say_what_was_answered() -> None:
    samples = [
        Sample("1", subtitle="Hello.", labels=("happy", "sad"), valence=0.5),
        Sample("2", audio=Path("gone.wav"), labels=("angry",)),
        Sample("3", subtitle="x"),
    ]
    answers = {"1": ("glad", "happy sad"), "2": (None, "happy qwerty"), "3": (None, "sad")}
    strengths = [{"1": {"failure": 2.0, "retained": 0.25}}]
    index = json.loads(packed(samples, strengths, one=answers).index)
    assert index["num"] == 3
    assert index["id"] == ["1", "2", "3"]
    assert index["medium"] == ["text", "audio", "text"]
    assert index["has"] == ["s", "a", "s"]
    assert index["path"] == [None, None, None]
    assert index["valence"] == [0.5, None, None]
    assert index["wheels"][4] == {"name": "w5", "categories": list(CATEGORIES[4])}
    assert index["category"] == [[0, 2], [1], []]
    assert index["case"] == [3, 0, 0]
    assert index["strength"] == [[0.25, 2.0], [], []]

    def said(column: str, key: str) -> list[Any]:
        found: list[Any] = index["answers"][key][column]
        return found

    words = index["words"]
    assert [[words[i] for i in row] for row in index["gold"]] == [["happy", "sad"], ["angry"], []]
    assert said("words", "0.fast")[1:] == [None, None]
    assert [[words[i] for i in row] for row in said("words", "0.slow")] == [
        ["happy", "sad"],
        ["happy", "qwerty"],
        ["sad"],
    ]
    assert said("verdict", "0.slow") == ["rr", "wu", "u"]
    assert said("state", "0.slow") == ["r", "w", "n"]
    assert said("status", "0.fast") == ["o", "-", "-"]


def test_chunks_hold_what_is_long_of_their_own_samples() -> None:
    rows = {
        (str(n), "slow"): Prediction(
            str(n), "slow", f"raw {n}", f"thought {n}", ("happy",), "ok" if n else "truncated",
            categories={"w1": {"joy": -3.0}} if n else {"w1": {"joy": -0.5}},
            categories_first={"w1": {"joy": -0.123456, "anger": -math.inf}, "w5": {"anger": -2.0}} if n else None,
        )
        for n in range(CHUNK_SIZE + 1)
    }  # fmt: skip
    samples = tuple(Sample(str(n), subtitle="x", labels=("sad",)) for n in range(CHUNK_SIZE + 1))
    system = System("one", "one", Path(), (EvaluatedSet("t", "t", Path(), samples, rows),))  # type: ignore[arg-type]
    systems = shown_systems([system])
    payload = make_payload(systems, page_sets(systems), VERDICTS, {}, [{}], PageMedia(Path()), [0])
    assert [len(chunk(payload, index)) for index in (0, 1)] == [CHUNK_SIZE, 1]
    first, last = chunk(payload, 0)[0], chunk(payload, 1)[0]
    assert first["r"] == {"0.slow": "thought 0"}
    assert first["raw"] == {"0.slow": "raw 0"}
    assert "raw" not in last
    assert last["r"] == {"0.slow": f"thought {CHUNK_SIZE}"}
    none = [None] * 3
    assert last["c"] == {"0.slow": [[-0.12, None, None], none, none, none, [None, -2.0]]}
    assert "mean" not in last
    assert first["c"] == {"0.slow": [[-0.5, None, None], none, none, none, none[:2]]}
    assert first["mean"] == ["0.slow"]
    assert last["g"] == [[2], [2], [2], [2], []]


def test_answers_of_two_sets_with_the_same_ids_stay_apart() -> None:
    def evaluated(name: str, word: str) -> EvaluatedSet:
        rows = {("1", "slow"): Prediction("1", "slow", "", "", (word,), "ok")}
        return EvaluatedSet(name, name, Path(), (Sample("1", subtitle="x", labels=("happy",)),), rows)  # type: ignore[arg-type]

    sets = (evaluated("a", "happy"), evaluated("b", "angry"))
    systems = shown_systems([System("one", "one", Path(), sets)])
    index = json.loads(make_payload(systems, page_sets(systems), VERDICTS, {}, [{}, {}], PageMedia(Path()), [0]).index)
    assert index["sets"] == ["a", "b"]
    assert index["set"] == [0, 1]
    assert index["answers"]["0.slow"]["state"] == ["r", "w"]


def test_sets_of_one_name_are_one_only_with_the_same_gold() -> None:
    def asked(name: str, gold: str) -> System:
        samples = (Sample("1", subtitle="x", labels=(gold,)),)
        rows = {("1", "slow"): Prediction("1", "slow", "", "", ("happy",), "ok")}
        return System(name, name, Path(), (EvaluatedSet("t", "t", Path(), samples, rows),))  # type: ignore[arg-type]

    sets = page_sets(shown_systems([asked("a", "happy"), asked("b", "sad"), asked("c", "happy")]))
    assert [(item.title, sorted(item.answers)) for item in sets] == [("t", [0, 2]), ("t (2)", [1])]


def test_the_same_samples_give_the_same_bytes() -> None:
    samples = [Sample(str(n), subtitle="x", labels=("happy",)) for n in range(3)]
    answers = {str(n): ("sad", "glad") for n in range(3)}
    assert packed(samples, one=answers) == packed(samples, one=answers)
    assert base64.b64decode(packed(samples, one=answers).chunks[0])[4:8] == bytes(4)  # gzip's time


def test_json_for_a_script_element_holds_nothing_that_could_end_it() -> None:
    value = {"a": "</script><!--<script>&\u2028\u2029\0\ud800é"}
    text = script_json(value)
    assert not set(text) & set("<>&\u2028\u2029\0\ud800")
    assert json.loads(text) == value
    with pytest.raises(ValueError, match="not JSON compliant"):
        script_json(math.nan)


def test_long_texts_are_cut_with_an_ellipsis() -> None:
    assert cut("  abc  ", 3) == "abc"
    assert cut("abcdef", 5) == "abc …"
