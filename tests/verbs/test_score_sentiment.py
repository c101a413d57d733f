"""`mer-r1 score` with sentiment: who answers, what is asked, what the JSON and the table hold."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from mer_r1 import __version__
from mer_r1.cli import main
from mer_r1.errors import InputError
from mer_r1.judge.client import JudgeError
from mer_r1.verbs.score import run
from mer_r1.verbs.sentiment import SentimentChoice, read_answer
from tests.judge.endpoint import Reply, says, serve
from tests.verbs.test_score import write

LEXICON = SentimentChoice(backend="lexicon")


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def gold(tmp_path: Path) -> Path:
    return write(
        tmp_path / "mosi.jsonl",
        {"id": "a", "labels": ["happy"], "valence": 1.5, "cluster": "x"},
        {"id": "b", "labels": ["sad"], "valence": -2},
        {"id": "c", "labels": ["sad"], "valence": 0},
        {"id": "d", "labels": ["sad"]},
        {"id": "e", "labels": ["happy"], "valence": 0.2},
    )


def rows(words: Sequence[Sequence[str] | str | None], **more: Any) -> list[dict[str, Any]]:
    return [{"id": name, "labels": labels, **more} for name, labels in zip("abcde", words, strict=True)]


@pytest.fixture
def pred(tmp_path: Path) -> Path:
    return write(tmp_path / "pred.jsonl", *rows([["happy", "calm"], "[worried]", ["sad"], ["sad"], []]))


def test_the_lexicon_scores_words_and_stands_in_table_json_and_signature(
    gold: Path, pred: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = run(gold, pred, json_out=tmp_path / "score.json", sentiment=LEXICON)
    sentiment = result["sentiment"]
    assert (sentiment["n"], sentiment["zero_gold"], sentiment["invalid"], sentiment["missing"]) == (3, 1, 0, 0)
    assert sentiment["accuracy"] == pytest.approx(2 / 3)  # e has no word, so it is neutral, so it counts as negative
    assert sentiment["waf"] == pytest.approx(2 / 3)
    assert sentiment["backend"] == "lexicon"
    assert sentiment["signature"].startswith("set:mosi|n:3|protocol:waf|parser:official|judge:lexicon@")
    assert json.loads((tmp_path / "score.json").read_text()) == result
    plain = run(gold, pred)
    assert {key: value for key, value in result.items() if key != "sentiment"} == plain
    printed = capsys.readouterr().out
    assert printed.count("sentiment WAF") == 1
    assert "66.67" in printed
    assert printed.count(sentiment["signature"]) == 1
    assert printed.count(result["signature"]) == 2


def test_the_predictions_own_words_are_taken_as_they_stand(gold: Path, tmp_path: Path) -> None:
    words = ("positive", "Positive", "mixed", "positive", "positive")
    carried = [row | {"sentiment": word} for row, word in zip(rows([None] * 5), words, strict=True)]
    result = run(gold, write(tmp_path / "pred.jsonl", *carried))["sentiment"]
    assert (result["n"], result["waf"], result["accuracy"], result["invalid"]) == (3, 1.0, 1.0, 1)
    assert result["backend"] == "predictions"
    assert result["signature"] == f"set:mosi|n:3|protocol:waf|judge:predictions|version:{__version__}"
    chosen = run(gold, tmp_path / "pred.jsonl", sentiment=LEXICON)["sentiment"]
    assert (chosen["backend"], chosen["accuracy"]) == ("lexicon", pytest.approx(1 / 3))


def test_a_clip_without_a_row_is_missing_and_a_row_without_the_word_is_an_error(gold: Path, tmp_path: Path) -> None:
    first = {"id": "a", "labels": [], "sentiment": "positive"}
    failed = {"id": "b", "labels": [], "status": "error"}
    result = run(gold, write(tmp_path / "pred.jsonl", first, failed))["sentiment"]
    assert (result["missing"], result["accuracy"]) == (2, pytest.approx(2 / 3))
    wordless = write(tmp_path / "pred.jsonl", first, {"id": "c", "labels": []}, {"id": "b", "labels": []})
    with pytest.raises(InputError, match=r"pred\.jsonl:3: no sentiment, which other rows have"):
        run(gold, wordless)


def test_gold_without_labels_is_scored_for_sentiment_alone(
    tmp_path: Path, pred: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bare = write(tmp_path / "sims.jsonl", *({"id": name, "valence": -0.4} for name in "abcde"))
    result = run(bare, pred, sentiment=LEXICON)
    assert set(result) == {"signature", "task", "n", "sentiment"}
    assert (result["task"], result["n"], result["signature"]) == ("sentiment", 5, result["sentiment"]["signature"])
    assert result["sentiment"]["accuracy"] == 4 / 5
    printed = capsys.readouterr().out
    assert "Sentiment by lexicon" in printed
    assert "precision" not in printed


def test_the_clusters_of_the_gold_are_what_the_interval_resamples(tmp_path: Path, pred: Path) -> None:
    valences = {"a": 1.0, "b": -1.0, "c": 1.0, "d": -1.0, "e": 1.0}
    lines = [{"id": name, "valence": valence, "cluster": "one"} for name, valence in valences.items()]
    clustered = run(write(tmp_path / "gold.jsonl", *lines), pred, sentiment=LEXICON)["sentiment"]
    assert clustered["intervals"]["waf"] == [clustered["waf"], clustered["waf"]]  # one cluster: nothing varies
    alone = write(tmp_path / "gold.jsonl", *(line | {"cluster": None} for line in lines))
    low, high = run(alone, pred, sentiment=LEXICON)["sentiment"]["intervals"]["waf"]
    assert low < clustered["waf"] < high


def test_the_task_decides_what_is_computed(gold: Path, pred: Path) -> None:
    assert "open_vocabulary" not in run(gold, pred, task="sentiment", sentiment=LEXICON)
    assert "sentiment" not in run(gold, pred, task="open-vocabulary")
    assert "sentiment" not in run(gold, pred)


def test_modes_are_scored_apart(gold: Path, tmp_path: Path) -> None:
    both = rows([["happy"], ["sad"], [], [], ["happy"]], mode="slow") + rows([["sad"]] * 5, mode="fast")
    path = write(tmp_path / "pred.jsonl", *both)
    result = run(gold, path, sentiment=LEXICON)
    assert result["modes"]["slow"]["sentiment"]["waf"] == 1.0
    assert result["modes"]["fast"]["sentiment"]["accuracy"] == pytest.approx(1 / 3)
    assert "|mode:fast|" in result["modes"]["fast"]["sentiment"]["signature"]
    assert set(result["differences"]) == {"slow - fast"}
    alone = run(gold, path, task="sentiment", sentiment=LEXICON)
    assert set(alone["modes"]) == {"fast", "slow"}
    assert run(gold, path, mode="slow", sentiment=LEXICON) == result["modes"]["slow"]


def judge(number: int, body: dict[str, Any]) -> Reply:
    """Sees the words after the last "Words:" and answers as models do."""
    words = body["messages"][0]["content"].rpartition("Words: ")[2].partition("\n")[0]
    return says({"happy, calm": "positive", "worried": "Negative."}.get(words, f"cannot say: {words}"))


def test_a_model_is_asked_once_about_the_words_of_each_scored_clip(gold: Path, tmp_path: Path) -> None:
    pytest.importorskip("httpx")
    path = write(tmp_path / "pred.jsonl", *rows([["happy", "calm"], "[worried]", ["angry"], ["sad"], "[ ]"]))
    with serve(judge) as endpoint:
        choice = SentimentChoice(url=endpoint.url, model="qwen/7b")
        result = run(gold, path, sentiment=choice)["sentiment"]
        assert len(endpoint.asked) == 2  # c has valence 0, d none, e no word
        assert (result["n"], result["accuracy"], result["invalid"]) == (3, pytest.approx(2 / 3), 0)
        assert result["backend"] == "qwen/7b"
        assert "|judge:qwen/7b@" in result["signature"]
        assert run(gold, path, sentiment=choice)["sentiment"] == result
        assert len(endpoint.asked) == 2  # the second time from the cache
        assert (tmp_path / "pred.jsonl.judge.sqlite").is_file()
        other = write(tmp_path / "other.jsonl", *rows([["odd"], [], [], [], []]))
        odd = run(gold, other, sentiment=SentimentChoice(url=endpoint.url, model="m", cache=tmp_path / "c.db"))
        assert odd["sentiment"]["invalid"] == 1
        assert (tmp_path / "c.db").is_file()
        assert not (tmp_path / "other.jsonl.judge.sqlite").exists()


def test_a_model_that_fails_is_an_error_and_writes_no_score(gold: Path, pred: Path, tmp_path: Path) -> None:
    pytest.importorskip("httpx")
    with serve(lambda number, body: Reply(400, b"no such model")) as endpoint:
        choice = SentimentChoice(url=endpoint.url, model="m")
        with pytest.raises(JudgeError, match="no such model"):
            run(gold, pred, json_out=tmp_path / "score.json", sentiment=choice)
    assert not (tmp_path / "score.json").exists()


URL = "http://127.0.0.1:1/v1"
WRONG = [
    ({"sentiment": SentimentChoice(backend="lexicon", url=URL, model="m")}, "exclude each other"),
    ({"sentiment": SentimentChoice(backend="oracle")}, "'oracle' is not known"),
    ({"sentiment": SentimentChoice(url=URL)}, "belong together"),
    ({"sentiment": SentimentChoice(model="m")}, "belong together"),
    ({"sentiment": SentimentChoice(backend="lexicon", key_env="KEY")}, "need --sentiment-url"),
    ({"sentiment": LEXICON, "task": "open-vocabulary"}, "computes no sentiment"),
    ({"task": "sentiment"}, 'no row has a "sentiment"'),
    ({"sentiment": LEXICON, "parser": "wild", "task": "sentiment"}, "parser 'wild' is not known"),
]


@pytest.mark.parametrize(("options", "message"), WRONG, ids=[message for _, message in WRONG])
def test_options_that_do_not_fit_are_refused(options: dict[str, Any], message: str, gold: Path, pred: Path) -> None:
    with pytest.raises(InputError, match=message):
        run(gold, pred, **options)


def test_gold_without_valence_is_named_where_sentiment_is_asked_for(tmp_path: Path, pred: Path) -> None:
    bare = write(tmp_path / "meld.jsonl", *({"id": name, "labels": ["sad"]} for name in "abcde"))
    with pytest.raises(InputError, match=r"meld\.jsonl: no row has a valence"):
        run(bare, pred, sentiment=LEXICON)
    with pytest.raises(InputError, match="no row has a valence"):
        run(bare, pred, task="sentiment")


@pytest.mark.parametrize("valence", ["1", True, 10**400, float("nan"), float("inf"), [1]])
def test_a_wrong_valence_names_file_and_line(valence: Any, tmp_path: Path, pred: Path) -> None:
    wrong = write(tmp_path / "gold.jsonl", {"id": "a", "labels": []}, {"id": "b", "valence": valence})
    with pytest.raises(InputError, match=r"gold\.jsonl:2: valence must be a number"):
        run(wrong, pred)


@pytest.mark.parametrize(
    ("row", "message"),
    [({"sentiment": 1}, "sentiment must be a text"), ({"sentment": "positive"}, 'did you mean "sentiment"?')],
)
def test_a_wrong_sentiment_names_file_and_line(row: dict[str, Any], message: str, gold: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        run(gold, write(tmp_path / "p.jsonl", {"id": "a", "labels": [], **row}))
    assert str(caught.value).startswith(f"{tmp_path / 'p.jsonl'}:1: ")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("said", "word"),
    [
        (" Positive.\n", "positive"),
        ('"neutral"', "neutral"),
        ("mixed", "mixed"),
        ("positive and sad", "positive and sad"),
    ],
)
def test_a_judges_word_is_read_without_its_wrapping(said: str, word: str) -> None:
    assert read_answer(said) == word


def test_the_command_takes_the_options(gold: Path, pred: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = ["score", "--gold", str(gold), "--pred", str(pred)]
    assert main([*line, "--task", "sentiment", "--sentiment", "lexicon"]) == 0
    assert "sentiment WAF" in capsys.readouterr().out
    assert main([*line, "--sentiment-url", URL]) == 2
    assert "belong together" in capsys.readouterr().err
    asked = [*line, "--sentiment-url", URL, "--sentiment-model", "m", "--sentiment-key-env", "NOT_SET_ANYWHERE"]
    assert main(asked) == 2
    assert "API key is not set" in capsys.readouterr().err
