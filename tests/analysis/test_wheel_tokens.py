"""`mer-r1 wheels tokens`: counts worked out by hand, a table and a file that agree, and tokenizers that are refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mer_r1.analysis.wheel_tokens import SharedId, TokenCount, load_tokenizer, token_report
from mer_r1.commands import main
from mer_r1.emotion.wheel import WheelSet
from mer_r1.errors import InputError
from mer_r1.models.category_confidence import category_tokens
from mer_r1.models.tiny.omni import tiny_tokenizer
from mer_r1.synthetic.corpus import minimer_texts
from tests.small_wheels import SMALL
from tests.word_pieces import Pieces, Words, sentence_pieces, whole_words


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A byte-level tokenizer, saved as a model's folder has it."""
    made = tmp_path_factory.mktemp("tokens") / "model"
    tiny_tokenizer(minimer_texts(100)).save_pretrained(made)
    return made


def test_the_counts_are_those_worked_out_by_hand() -> None:
    """One id a byte: words open with their first letter, or with the space; "at ease" and "angry" with the same."""
    report = token_report(Pieces(), SMALL)
    assert [item.total.name for item in report] == list(SMALL.names)
    assert report[0].categories == (
        TokenCount("joy", num_words=3, num_ids=4, num_shared_ids=2, num_alone=1, num_spaced=3, num_lost=1),
        TokenCount("anger", num_words=1, num_ids=2, num_shared_ids=2, num_alone=1, num_spaced=1, num_lost=1),
        TokenCount("sadness", num_words=1, num_ids=2, num_shared_ids=1, num_alone=0, num_spaced=1, num_lost=0),
    )
    assert report[0].total == TokenCount("w1", 5, 5, 2, num_alone=2, num_spaced=5, num_lost=2)
    assert report[0].shared == (
        SharedId(ord(" "), " ", {"joy": ("at ease", "glad", "happy"), "anger": ("angry",), "sadness": ("sad",)}),
        SharedId(ord("a"), "a", {"joy": ("at ease",), "anger": ("angry",)}),
    )
    assert report[4].total == TokenCount("w5", 3, 4, 1, num_alone=0, num_spaced=3, num_lost=0)


@pytest.mark.slow
@pytest.mark.parametrize("protocol", ["official", "corrected"])
def test_the_counts_are_those_of_the_tables_that_calibration_uses(folder: Path, protocol: str) -> None:
    wheels = WheelSet.load(protocol=protocol)
    tokenizer = load_tokenizer(str(folder))
    counted, dropped = (category_tokens(Words(tokenizer), wheels, shared) for shared in ("count", "drop"))
    for wheel, item in enumerate(token_report(tokenizer, wheels)):
        for category, count in enumerate(item.categories):
            column = counted.column(wheel, category)
            assert count.num_words == len(wheels.words_of(wheel, count.name))
            assert count.num_ids == int(counted.member_NC[:, column].sum())
            assert count.num_ids - count.num_shared_ids == int(dropped.member_NC[:, column].sum())
            assert 0 < count.num_lost <= min(count.num_alone, count.num_spaced) < count.num_words
        assert len(item.shared) == item.total.num_shared_ids
        assert all(len(opener.words) > 1 for opener in item.shared)
        num_words = [sum(map(len, opener.words.values())) for opener in item.shared]
        assert num_words == sorted(num_words, reverse=True)


@pytest.mark.slow
def test_the_file_holds_what_the_table_shows(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    out = tmp_path / "tokens.json"
    assert main(["wheels", "tokens", "--model", str(folder), "--protocol", "corrected", "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    written = json.loads(out.read_text(encoding="utf-8"))
    wheels = WheelSet.load(protocol="corrected")
    head = {"model": str(folder), "wheels": "builtin", "wheels_sha256": wheels.sha256, "protocol": "corrected"}
    assert head.items() <= written.items()
    assert written["num_ids"] == len(load_tokenizer(str(folder)))
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in printed.splitlines() if line.startswith("│")]
    counts = [
        count for item in written["by_wheel"] for count in (*item["categories"], {**item["total"], "name": "all"})
    ]
    assert len(rows) == len(counts)
    for row, count in zip(rows, counts, strict=True):
        numbers = [f"{count[key]:,}" for key in ("num_words", "num_ids", "num_shared_ids")]
        shares = [f"{count[key] / count['num_words']:.1%}" for key in ("num_alone", "num_spaced", "num_lost")]
        assert row[1:] == [count["name"], *numbers, *shares]
    busiest = written["by_wheel"][0]["shared"][0]
    assert f"w1: {busiest['text']!r} (id {busiest['id']}) opens words of " in printed
    assert f"{wheels.sha256[:8]}" in printed


def test_tiny_is_the_tokenizer_that_training_builds(monkeypatch: pytest.MonkeyPatch) -> None:
    from mer_r1.synthetic import corpus

    texts = [*minimer_texts(100)]
    monkeypatch.setattr(corpus, "minimer_texts", lambda: iter(texts))
    made = load_tokenizer("tiny")
    assert made.get_vocab() == tiny_tokenizer(texts).get_vocab()


def test_of_a_run_the_model_in_it_is_taken(folder: Path, tmp_path: Path) -> None:
    model = Path(shutil.copytree(folder, tmp_path / "run" / "model"))
    (model / "config.json").write_text(json.dumps({"model_type": "qwen2_5_omni_thinker"}))
    assert load_tokenizer(str(model.parent)).get_vocab() == load_tokenizer(str(folder)).get_vocab()


def _refused(source: Path | str, *parts: str) -> None:
    with pytest.raises(InputError) as caught:
        load_tokenizer(str(source))
    message = str(caught.value)
    assert message.startswith(f"{source}: ")
    assert "\n" not in message
    for part in parts:
        assert part in message


def test_what_is_no_folder_with_a_tokenizer_is_refused(tmp_path: Path) -> None:
    _refused(tmp_path, "no tokenizer can be loaded", "give a folder")
    _refused(tmp_path / "none", "no such folder")
    for source in ("runs/none/model", "no-such-model", "no such model"):
        _refused(source, "no such folder", "Hub id")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "qwen2"}))
    _refused(tmp_path, "the tokenizer is missing")
    _refused(tmp_path / "config.json", "a file, not a folder")


def test_a_hub_id_that_cannot_be_had_is_refused() -> None:
    _refused("nobody/no-such-model", "no tokenizer can be loaded", "Hub id", "while online")


def _cut(text: str) -> str:
    return text[: len(text) // 2]


def _other_kind(text: str) -> str:
    return json.dumps({**json.loads(text), "model": {"type": "none such"}})


@pytest.mark.parametrize("damage", [_cut, _other_kind, lambda _: "", lambda _: "[]", lambda _: "{}"])
def test_a_damaged_tokenizer_is_refused(folder: Path, tmp_path: Path, damage: Callable[[str], str]) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "damaged"))
    file = copy / "tokenizer.json"
    file.write_text(damage(file.read_text(encoding="utf-8")), encoding="utf-8")
    _refused(copy, "no tokenizer can be loaded")


def test_code_that_comes_with_a_tokenizer_is_not_run(folder: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "custom"))
    (copy / "mine.py").write_text("raise SystemExit('this code was run')")
    settings = {"tokenizer_class": "Mine", "auto_map": {"AutoTokenizer": ["mine.Mine", None]}}
    (copy / "tokenizer_config.json").write_text(json.dumps(settings))
    _refused(copy, "no tokenizer can be loaded")


@pytest.mark.parametrize("make", [sentence_pieces, whole_words])
def test_a_tokenizer_that_is_not_byte_level_is_refused(make: Callable[[], Any], tmp_path: Path) -> None:
    made = make()
    made.save_pretrained(tmp_path)
    _refused(tmp_path, "not byte-level")


def test_unknown_wheels_are_an_error_before_anything_is_written(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "tokens.json"
    assert main(["wheels", "tokens", "--model", str(folder), "--wheels", "no-such", "--out", str(out)]) == 2
    assert not out.exists()
