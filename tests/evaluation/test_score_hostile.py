"""`mer-r1 score` on random and hostile rows: a score or a named error, never a traceback, never a wrong count."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mer_r1.commands import main
from mer_r1.emotion.wheel import WheelSet
from mer_r1.evaluation.score import Settings
from tests.evaluation.scoring import run

pytestmark = pytest.mark.slow

NUM_ROWS = 4_000
NUM_LINES = 250
WORDS = WheelSet.load().words
ODD = "\u0000\u0007\u001b[2J\u200b\u202e\u2028\ud800\udfff\U0001f600é\u3000،؛；，、'\"[]{}()*`#<>|\\/.,;:!?-_ \t\r\n"


def text(chance: random.Random) -> str:
    """Letters, marks, control characters and halves of surrogate pairs."""
    return "".join(chance.choice(ODD) if chance.random() < 0.7 else chance.choice("abcXYZ") for _ in range(9))


def words(chance: random.Random) -> list[str]:
    return chance.choices(WORDS, k=chance.randint(1, 4))


def nested(chance: random.Random) -> Any:
    value: Any = chance.choice(WORDS)
    for _ in range(chance.randint(1, 90)):
        value = [value]
    return value


SOUND: tuple[Callable[[random.Random], Any], ...] = (
    words,
    lambda chance: ", ".join(words(chance)),
    lambda chance: f"[{', '.join(words(chance))}]",
    lambda chance: "[" * chance.randint(2, 300) + chance.choice(WORDS) + "]" * 300,
    text,
    lambda chance: [text(chance), text(chance)],
    lambda _: "",
    lambda _: [],
)
MALFORMED: tuple[Callable[[random.Random], Any], ...] = (
    lambda _: "[",
    lambda chance: [chance.choice(WORDS), chance.choice((3, None, 0.5, False, {}, []))],
    lambda chance: [nested(chance)],
    lambda chance: chance.choice((0, 7, -1.5, True, 10**40, {"happy": 1}, {})),
)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, dict[str, int]]:
    """A gold file, a predictions file of the hostile kinds above, and what must be counted."""
    chance, folder = random.Random(0), tmp_path_factory.mktemp("hostile")
    counts = {"n": NUM_ROWS, "malformed": 0, "missing": 0, "unanswered": 0, "extra_predictions": 0}
    with (folder / "gold.jsonl").open("w") as gold, (folder / "pred.jsonl").open("w") as pred:
        for number in range(NUM_ROWS):
            gold.write(json.dumps({"id": f"c{number}", "labels": words(chance)}) + "\n")
            kind = chance.random()
            identity = f"c{number}"
            labels: Any = None
            if kind < 0.1:
                counts["missing"] += 1
                if kind < 0.02:
                    counts["extra_predictions"] += 1
                    identity, labels = f"c{number}\u0007 stranger", words(chance)
                else:
                    continue
            elif kind < 0.15:
                counts["unanswered"] += 1
            elif kind < 0.4:
                counts["malformed"] += 1
                labels = chance.choice(MALFORMED)(chance)
            elif number % 1_000 == 1:
                labels = chance.choice(("[", "and ", "a, ", "; ", "\u0000")) * 40_000  # up to 200 KB
            else:
                labels = chance.choice(SOUND)(chance)
            pred.write(json.dumps({"id": identity, "labels": labels}) + "\n")
    return folder / "gold.jsonl", folder / "pred.jsonl", counts


@pytest.mark.parametrize("protocol", ["official", "corrected"])
def test_hostile_rows_are_counted_right(
    protocol: str, files: tuple[Path, Path, dict[str, int]], tmp_path: Path
) -> None:
    gold, pred, counts = files
    result = run(gold, pred, Settings(protocol=protocol), tmp_path / "out.json")
    assert {name: result[name] for name in counts} == counts
    assert 0 < result["open_vocabulary"]["recall"] < 1
    assert result["open_vocabulary"]["wheels"]["w1"]["n"] <= NUM_ROWS
    assert json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))["malformed"] == counts["malformed"]


def raw_line(chance: random.Random) -> bytes:
    """One line that may or may not be a row: wrong keys, types and bytes."""
    values: tuple[Any, ...] = (
        *("a", "b", "", " ", "\ud800", "zz", 3, None, [], {}, True, 1e308, -0.0),
        *("happy", ["sad"], "ok", "error", "slow", "positive", 10**30),
    )
    keys = ("id", "labels", "mode", "status", "sentiment", "lables", "ID", "", "raw", "\u0000")
    row = {chance.choice(keys): chance.choice(values) for _ in range(chance.randint(0, 5))}
    row = {"id": chance.choice(("a", "b", "zz")), "labels": chance.choice(values)} | row
    line = json.dumps(row).encode()
    kind = chance.random()
    if kind < 0.1:
        index = chance.randrange(len(line))
        line = line[:index] + bytes(chance.choices(range(256), k=3)) + line[index + 1 :]
    elif kind < 0.2:
        line = chance.choice((b"[" * 5000, b"{}", b"[]", b"3", b'"', b"NaN", b"\xff\xfe", b"null", line[:-1], line * 2))
    elif kind < 0.25:
        line = b'{"id": "a", "labels": ' + chance.choice((b"9" * 5000, b"[" * 3000 + b"]" * 3000, b"1e999")) + b"}"
    return line.replace(b"\n", b" ")


@pytest.mark.parametrize("side", ["gold", "pred"])
def test_any_line_gives_a_score_or_one_line_of_error(
    side: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chance = random.Random(1)
    paths = {name: tmp_path / f"{name}.jsonl" for name in ("gold", "pred")}
    for path in paths.values():
        path.write_text('{"id": "a", "labels": ["happy"]}\n{"id": "b", "labels": "sad, happy"}\n', encoding="utf-8")
    seen = {0: 0, 1: 0, 2: 0}
    for _ in range(NUM_LINES):
        line = raw_line(chance)
        paths[side].write_bytes(b'{"id": "c", "labels": ["happy"]}\n' * (side == "gold") + line + b"\n")
        arguments = ["score", "--gold", str(paths["gold"]), "--pred", str(paths["pred"])]
        status = main(arguments + ["--strict"] * chance.randint(0, 1))
        seen[status] += 1
        error = capsys.readouterr().err
        assert error.count("\n") == (1 if status == 2 else 0), (line[:200], error)
        assert status != 2 or str(tmp_path) in error, (line[:200], error)
    assert min(seen[0], seen[2]) > 10, "both endings are met"
