"""`mer-r1 score`: files in, table and JSON out; every wrong row named by file and line."""

import json
from pathlib import Path
from typing import Any

import pytest

from mer_r1.commands import main
from mer_r1.errors import InputError
from mer_r1.evaluation.score import Settings
from tests.evaluation.scoring import run, run_compare, write

KEYS = {
    "signature",
    "protocol",
    "task",
    "n",
    "malformed",
    "missing",
    "unmapped_predictions",
    "unscorable_gold",
    "open_vocabulary",
    "intervals",
    "constant_baselines",
}


@pytest.fixture
def gold(tmp_path: Path) -> Path:
    return write(
        tmp_path / "meld.jsonl",
        {"id": "a", "labels": ["happy"], "video": "a.mp4", "cluster": "dialogue 1"},
        {"id": "b", "labels": "[angry, sad]", "cluster": "dialogue 1"},
        {"id": "c", "labels": ["sad"], "cluster": "dialogue 2"},
    )


def test_a_perfect_file_scores_one_and_the_json_file_holds_what_is_returned(
    gold: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pred = write(
        tmp_path / "pred.jsonl",
        {"id": "a", "labels": ["happy"], "mode": "slow", "status": "ok", "raw": "...", "my_own_note": 1},
        {"id": "b", "labels": "sad, angry", "mode": "slow"},
        {"id": "c", "labels": "['sad']", "mode": "slow"},
    )
    result = run(gold, pred, json_out=tmp_path / "out" / "score.json")
    assert result["open_vocabulary"]["f1"] == 1.0
    assert set(result) >= KEYS
    assert result["n"] == 3
    assert result["task"] == "open-vocabulary"
    assert result["intervals"]["num_clusters"] == 2
    assert result["signature"].startswith("set:meld|n:3|wheels:builtin@")
    assert "|mode:slow|" in result["signature"]
    assert json.loads((tmp_path / "out" / "score.json").read_text()) == result
    printed = capsys.readouterr().out
    assert result["signature"] in printed
    assert printed.index("[100.00, 100.00]") < printed.index("w1") < printed.index('always "')


def test_missing_and_unanswered_predictions_count_as_empty_ones(gold: Path, tmp_path: Path) -> None:
    pred = write(
        tmp_path / "pred.jsonl",
        {"id": "a", "labels": ["happy"]},
        {"id": "b", "labels": None, "status": "truncated"},
    )
    result = run(gold, pred)
    assert (result["missing"], result["unanswered"], result["malformed"]) == (1, 1, 0)
    assert result["open_vocabulary"]["wheels"]["w1"]["n"] == 3
    assert result["open_vocabulary"]["recall"] == pytest.approx(1 / 3)


def test_words_of_an_unfinished_answer_are_scored_and_the_answer_is_counted(gold: Path, tmp_path: Path) -> None:
    pred = write(tmp_path / "pred.jsonl", {"id": "a", "labels": ["happy"], "status": "truncated"})
    result = run(gold, pred)
    assert (result["missing"], result["unanswered"]) == (2, 1)
    assert result["open_vocabulary"]["recall"] == pytest.approx(1 / 3)


def test_an_answer_that_its_status_calls_none_is_counted_whatever_its_labels_hold(gold: Path, tmp_path: Path) -> None:
    pred = write(tmp_path / "pred.jsonl", {"id": "a", "labels": ["happy"], "status": "no_answer"})
    assert run(gold, pred)["unanswered"] == 1


def test_gold_words_that_reach_no_wheel_are_printed_as_what_they_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gold = write(tmp_path / "gold.jsonl", {"id": "a", "labels": ["happy", "zzz"]})
    for protocol, fate in (("official", "are dropped"), ("corrected", "are categories of their own")):
        run(gold, write(tmp_path / "pred.jsonl", {"id": "a", "labels": ["happy"]}), Settings(protocol=protocol))
        printed = capsys.readouterr().out
        assert "0 gold samples reach no wheel and are not scored\n" in printed
        assert f"1 gold words reach no wheel and {fate} (zzz 1)" in printed


def test_an_error_is_no_prediction_and_a_later_row_takes_its_place(gold: Path, tmp_path: Path) -> None:
    failed = {"id": "a", "labels": [], "status": "error"}
    pred = write(tmp_path / "pred.jsonl", failed, failed, {"id": "a", "labels": ["happy"]}, failed | {"id": "b"})
    result = run(gold, pred)
    assert (result["n"], result["failed"], result["missing"], result["unanswered"]) == (2, 1, 1, 0)
    assert result["open_vocabulary"]["recall"] == pytest.approx(1 / 2)


@pytest.fixture
def four(tmp_path: Path) -> Path:
    return write(tmp_path / "four.jsonl", *({"id": name, "labels": ["happy"]} for name in "abcd"))


TIME_OUT: dict[str, Any] = {"labels": [], "status": "error", "error": "timed out"}


def test_failed_answers_are_in_no_number_and_counted_beside_it(
    four: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    right = [{"id": name, "labels": ["happy"]} for name in "ab"]
    pred = write(tmp_path / "pred.jsonl", *right, *({"id": name, **TIME_OUT} for name in "cd"))
    out, line = tmp_path / "score.json", ["score", "--gold", str(four), "--pred", str(pred)]
    assert main([*line, "--json", str(out)]) == 1
    assert "2 answers failed and are in no number" in capsys.readouterr().out
    result = json.loads(out.read_text())
    assert (result["n"], result["failed"], result["missing"]) == (2, 2, 0)
    assert result["open_vocabulary"]["recall"] == 1.0
    assert "|n:2|" in result["signature"]
    assert main([*line, "--failed", "as-empty", "--json", str(out)]) == 1
    assert "2 answers failed and count as empty ones" in capsys.readouterr().out
    result = json.loads(out.read_text())
    assert (result["n"], result["failed"], result["missing"], result["open_vocabulary"]["recall"]) == (4, 2, 0, 0.5)
    write(pred, *right, *({"id": name, "labels": [], "status": "no_answer"} for name in "cd"))
    assert main([*line, "--json", str(out)]) == 0, "an answer that cannot be parsed is an answer"
    result = json.loads(out.read_text())
    assert (result["n"], result["failed"], result["unanswered"]) == (4, 0, 2)
    assert result["open_vocabulary"]["recall"] == 0.5


def test_a_clip_that_failed_in_one_mode_is_left_out_of_all(four: Path, tmp_path: Path) -> None:
    fast = [{"id": name, "mode": "fast", "labels": ["happy" if name == "a" else "sad"]} for name in "abcd"]
    slow = [{"id": "a", "mode": "slow", **TIME_OUT}, {"id": "b", "mode": "slow", "labels": ["happy"]}]
    pred = write(tmp_path / "pred.jsonl", *fast, *slow)  # c and d were not asked in slow
    modes = run(four, pred)["modes"]
    assert [(modes[mode]["n"], modes[mode]["failed"]) for mode in ("fast", "slow")] == [(1, 0), (1, 3)]
    assert [modes[mode]["open_vocabulary"]["recall"] for mode in ("fast", "slow")] == [0.0, 1.0]
    assert modes["fast"]["extra_predictions"] == 0
    alone = run(four, pred, Settings(mode="fast"))
    assert (alone["n"], alone["failed"], alone["open_vocabulary"]["recall"]) == (4, 0, 0.25)


def test_a_clip_that_failed_in_one_file_is_compared_in_neither(four: Path, tmp_path: Path) -> None:
    first = write(tmp_path / "first.jsonl", *({"id": name, "labels": ["happy"]} for name in "abcd"))
    second = write(tmp_path / "second.jsonl", {"id": "a", **TIME_OUT}, *({"id": n, "labels": ["sad"]} for n in "bc"))
    result = run_compare(four, first, second)
    assert [(result[side]["n"], result[side]["failed"]) for side in ("first", "second")] == [(3, 0), (3, 1)]
    assert result["second"]["missing"] == 1, "a file that does not hold the clip is charged for it"
    assert main(["score", "--gold", str(four), "--compare", str(first), str(second)]) == 1


def test_a_file_of_nothing_but_failures_has_no_score(four: Path, tmp_path: Path) -> None:
    pred = write(tmp_path / "pred.jsonl", *({"id": name, **TIME_OUT} for name in "abcd"))
    with pytest.raises(InputError, match=r"pred\.jsonl: no clip has an answer .* --failed as-empty"):
        run(four, pred)
    assert run(four, pred, Settings(failed="as-empty"))["open_vocabulary"]["recall"] == 0.0


def test_several_modes_are_scored_apart_and_compared(
    gold: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pred = write(
        tmp_path / "pred.jsonl",
        *({"id": name, "mode": "fast", "labels": ["happy", "angry", "sad"]} for name in "abc"),
        *({"id": name, "mode": "slow", "labels": ["sad"]} for name in "abc"),
    )
    result = run(gold, pred)
    assert list(result["modes"]) == ["fast", "slow"]
    assert result["modes"]["fast"]["open_vocabulary"]["recall"] == 1.0
    difference = result["differences"]["slow - fast"]["recall"]
    assert difference["delta"] == pytest.approx(result["modes"]["slow"]["open_vocabulary"]["recall"] - 1.0)
    assert set(difference) == {"delta", "low", "high", "p_value"}
    assert "Slow minus fast" in capsys.readouterr().out
    assert run(gold, pred, Settings(mode="fast")) == result["modes"]["fast"]
    with pytest.raises(InputError, match="no predictions of mode 'medium'; it has fast, slow"):
        run(gold, pred, Settings(mode="medium"))


WRONG = [
    ({"id": "a", "labels": ["sad"]}, 'id "a" stands on line 1 already; keep one row a clip and mode'),
    ({"labels": []}, "no id"),
    ({"id": 3, "labels": []}, "id must be a text"),
    ({"id": "b"}, "no labels"),
    ({"id": "b", "lables": ["sad"]}, 'unknown key "lables"; did you mean "labels"?'),
    ({"id": "b", "labels": [], "mode": 1}, "mode must be a text"),
    ({"id": "b", "labels": [], "mode": "unstated"}, "or left out"),
    ({"id": "b", "labels": [], "status": "fine"}, "status must be one of ok, truncated, no_answer, error"),
]


@pytest.mark.parametrize(("row", "message"), WRONG, ids=[message[:30] for _, message in WRONG])
def test_a_wrong_prediction_names_file_and_line(row: dict[str, Any], message: str, gold: Path, tmp_path: Path) -> None:
    pred = write(tmp_path / "pred.jsonl", {"id": "a", "labels": ["happy"]}, row)
    with pytest.raises(InputError) as caught:
        run(gold, pred)
    assert str(caught.value).startswith(f"{pred}:2: ")
    assert message in str(caught.value)


WRONG_GOLD = [
    ({"id": "a", "labels": ["sad"]}, 'id "a" stands on line 1 already'),
    ({"id": "b", "label": ["sad"]}, 'unknown key "label"; did you mean "labels"?'),
    ({"id": "b", "labels": ["sad"], "cluster": 3}, "cluster must be a text"),
    ({"id": "b"}, "neither labels nor a valence"),
]


@pytest.mark.parametrize(("row", "message"), WRONG_GOLD, ids=[message[:30] for _, message in WRONG_GOLD])
def test_a_wrong_gold_row_names_file_and_line(row: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = write(tmp_path / "gold.jsonl", {"id": "a", "labels": ["happy"]}, row)
    with pytest.raises(InputError) as caught:
        run(path, write(tmp_path / "pred.jsonl", {"id": "a", "labels": []}))
    assert str(caught.value).startswith(f"{path}:2: ")
    assert message in str(caught.value)


def test_empty_missing_and_broken_files_are_named(gold: Path, tmp_path: Path) -> None:
    empty = write(tmp_path / "empty.jsonl")
    with pytest.raises(InputError, match="no predictions"):
        run(gold, empty)
    with pytest.raises(InputError, match="no rows"):
        run(empty, empty)
    with pytest.raises(InputError, match="cannot be read"):
        run(gold, tmp_path / "none.jsonl")
    (tmp_path / "broken.jsonl").write_text('{"id": "a", "labels": []}\n{"id": "b", "lab')
    with pytest.raises(InputError, match=r"broken\.jsonl:2: not valid JSON"):
        run(gold, tmp_path / "broken.jsonl")


def test_words_of_a_model_cannot_style_or_steer_the_terminal(
    gold: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(gold, write(tmp_path / "pred.jsonl", {"id": "a", "labels": ["[red]x\x1b[2Jy"]}))
    printed = capsys.readouterr().out
    assert "[red]x" in printed
    assert "\x1b" not in printed


def test_what_the_official_code_stops_at_is_counted_and_strict_names_its_line(gold: Path, tmp_path: Path) -> None:
    rows = [{"id": "a", "labels": ["happy", None]}, {"id": "b", "labels": "["}, {"id": "c", "labels": ["sad"]}]
    pred = write(tmp_path / "pred.jsonl", *rows, {"id": "zzz", "labels": ["sad"]})
    result = run(gold, pred)
    assert (result["malformed"], result["missing"], result["extra_predictions"]) == (2, 0, 1)
    assert result["open_vocabulary"]["recall"] == pytest.approx(2 / 3)
    with pytest.raises(InputError, match=r"pred\.jsonl:1: labels\[1\] is .*; fix it, or leave out --strict"):
        run(gold, pred, Settings(strict=True))
    sound = {"id": "a", "labels": []}, {"id": "b", "labels": None}
    with pytest.raises(InputError, match=r'no prediction for "c" \(line 3 of .*meld\.jsonl\), 1 missing in all'):
        run(gold, write(tmp_path / "short.jsonl", *sound), Settings(strict=True))
    broken = *sound, {"id": "c", "status": "error", "labels": None}
    with pytest.raises(InputError, match=r'failed\.jsonl: the answer to "c" failed, 1 in all; ask again, or leave'):
        run(gold, write(tmp_path / "failed.jsonl", *broken), Settings(strict=True))
    whole = *sound, {"id": "c", "labels": "sad"}
    with pytest.raises(InputError, match=r'long\.jsonl:4: id "zzz" is not in'):
        run(gold, write(tmp_path / "long.jsonl", *whole, {"id": "zzz", "labels": []}), Settings(strict=True))
    assert run(gold, write(tmp_path / "whole.jsonl", *whole), Settings(strict=True))["unanswered"] == 1
    with pytest.raises(
        InputError,
        match=r'other\.jsonl: no prediction belongs to the gold; 1 id of other\.jsonl is not .* "zzz"; .* "a"',
    ):
        run(gold, write(tmp_path / "other.jsonl", {"id": "zzz", "labels": ["sad"]}))


def test_the_corrected_protocol_is_signed_and_counts_unknown_words(gold: Path, tmp_path: Path) -> None:
    pred = write(tmp_path / "pred.jsonl", *({"id": name, "labels": "Happy; angry and sad., qwerty"} for name in "abc"))
    official, corrected = (run(gold, pred, Settings(protocol=name)) for name in ("official", "corrected"))
    assert (official["protocol"], corrected["protocol"]) == ("official", "corrected")
    assert "|protocol:corrected|parser:corrected|" in corrected["signature"]
    assert (official["open_vocabulary"]["recall"], corrected["open_vocabulary"]["recall"]) == (0.0, 1.0)
    assert corrected["open_vocabulary"]["wheels"]["w1"]["precision"] == pytest.approx((1 / 4 + 2 / 4 + 1 / 4) / 3)


def test_basic_emotions_are_headed_by_hit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gold = write(tmp_path / "gold.jsonl", {"id": "a", "labels": "happy"}, {"id": "b", "labels": ["sad"]})
    pred = write(tmp_path / "pred.jsonl", {"id": "a", "labels": "[happy]"}, {"id": "b", "labels": []})
    assert run(gold, pred)["task"] == "basic"
    printed = capsys.readouterr().out
    assert printed.index("HIT") < printed.index("precision")
    assert run(gold, pred, Settings(task="open-vocabulary"))["task"] == "open-vocabulary"
    assert (printed := capsys.readouterr().out).index("F1") < printed.index("HIT")


def test_two_files_are_compared_by_the_paired_bootstrap(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = [f"c{number}" for number in range(60)]
    gold = write(tmp_path / "gold.jsonl", *({"id": name, "labels": ["happy", "sad"], "valence": 1} for name in names))
    half = [{"id": name, "labels": ["happy"], "sentiment": "negative"} for name in names]
    better = [{"id": name, "labels": ["happy", "sad"], "sentiment": "positive"} for name in names]
    first, second = write(tmp_path / "half.jsonl", *half), write(tmp_path / "better.jsonl", *better)
    result = run_compare(gold, first, second, json_out=tmp_path / "compare.json")
    assert json.loads((tmp_path / "compare.json").read_text()) == result
    assert result["difference"]["recall"]["delta"] == pytest.approx(0.5)
    assert result["difference"]["recall"]["p_value"] < 0.01
    assert result["difference"]["waf"]["delta"] == pytest.approx(1.0)
    alone = run(gold, second)
    assert result["second"] == {"file": "better.jsonl", **alone}
    assert "better minus half, paired bootstrap" in capsys.readouterr().out
    namesake = tmp_path / "other" / "half.jsonl"
    namesake.parent.mkdir()
    write(namesake, *better)
    assert run_compare(gold, first, namesake)["second"]["file"] == str(namesake), "two of one name go by their paths"
    swapped = run_compare(gold, second, first)["difference"]["f1"]
    assert swapped["delta"] == pytest.approx(-result["difference"]["f1"]["delta"])


def test_files_of_several_modes_are_compared_mode_by_mode(
    gold: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"id": name, "labels": ["sad"], "mode": mode} for name in "abc" for mode in ("fast", "slow")]
    both = write(tmp_path / "both.jsonl", *rows)
    slow = write(tmp_path / "slow.jsonl", *(row for row in rows if row["mode"] == "slow"))
    assert list(run_compare(gold, both, both)["modes"]) == ["fast", "slow"]
    capsys.readouterr()
    assert run_compare(gold, both, slow)["difference"]["f1"]["delta"] == 0.0
    assert "not compared: the modes fast, which not every file has" in capsys.readouterr().out
    unstated = write(tmp_path / "plain.jsonl", *({"id": name, "labels": ["sad"]} for name in "abc"))
    assert run_compare(gold, slow, unstated)["difference"]["f1"]["delta"] == 0.0
    with pytest.raises(
        InputError,
        match=r"both\.jsonl has fast, slow; .*plain\.jsonl has unstated\); name one that all have with --mode",
    ):
        run_compare(gold, both, unstated)


def test_one_clip_alone_is_scored_without_an_interval(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gold = write(tmp_path / "one.jsonl", {"id": "a", "labels": ["happy"]})
    pred = write(tmp_path / "p.jsonl", {"id": "a", "mode": "slow", "labels": ["happy"]})
    other = write(tmp_path / "q.jsonl", {"id": "a", "mode": "slow", "labels": ["sad"]})
    run(gold, pred, json_out=tmp_path / "score.json")
    run_compare(gold, pred, other)
    printed = capsys.readouterr().out
    assert "–" in printed
    assert "nan" not in printed
    assert "[n/a" not in printed
    assert json.loads((tmp_path / "score.json").read_text())["intervals"]["f1"] == [None, None]


def test_ids_that_do_not_match_are_shown_from_both_sides(
    gold: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"id": f"clips/{name}.mp4", "labels": ["happy"]} for name in "abc"]
    pred = write(tmp_path / "pred.jsonl", *rows)
    for task in ("auto", "classes"):
        assert main(["score", "--gold", str(gold), "--pred", str(pred), "--task", task]) == 2
        assert 'has "a": they differ by the folder "clips/" and the ending ".mp4"' in capsys.readouterr().err
    some = write(tmp_path / "some.jsonl", {"id": "a", "labels": ["happy"]}, *rows[1:])
    for more in (["--pred", str(some)], ["--compare", str(some), str(some)]):
        assert main(["score", "--gold", str(gold), *more]) == 0
        printed = " ".join(capsys.readouterr().out.split())
        assert '2 ids of some.jsonl are not in meld.jsonl, such as "clips/b.mp4"; meld.jsonl has "b"' in printed
