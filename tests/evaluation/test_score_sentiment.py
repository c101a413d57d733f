"""`mer-r1 score` with sentiment: who answers, what is asked, what the JSON and the table hold."""

import json
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from mer_r1 import __version__
from mer_r1.commands import main
from mer_r1.errors import InputError
from mer_r1.evaluation.score import Settings
from mer_r1.evaluation.sentiment import SentimentChoice, read_answer
from mer_r1.judge.client import JudgeError, load_prompt
from tests.evaluation.scoring import run, run_compare, write
from tests.judge.endpoint import Reply, says, serve

LEXICON = Settings(sentiment=SentimentChoice(backend="lexicon"))
PROTOCOLS = ("official", "corrected")


def by(choice: SentimentChoice, **settings: Any) -> Settings:
    return Settings(sentiment=choice, **settings)


def lexicon(**settings: Any) -> Settings:
    return by(SentimentChoice(backend="lexicon"), **settings)


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
    result = run(gold, pred, LEXICON, json_out=tmp_path / "score.json")
    sentiment = result["sentiment"]
    assert (sentiment["n"], sentiment["zero_gold"], sentiment["invalid"], sentiment["missing"]) == (3, 1, 0, 0)
    assert sentiment["accuracy"] == pytest.approx(2 / 3)  # e has no word, so it is neutral, so it counts as negative
    assert sentiment["waf"] == pytest.approx(2 / 3)
    assert sentiment["backend"] == "lexicon"
    assert sentiment["signature"].startswith("set:mosi|n:3/4|protocol:official|parser:official|judge:lexicon@")
    assert json.loads((tmp_path / "score.json").read_text()) == result
    plain = run(gold, pred)
    whole = plain | {"intervals": plain["intervals"] | sentiment["intervals"], "sentiment": sentiment}
    assert result == whole
    assert {"f1", "waf", "num_clusters"} <= set(result["intervals"])
    printed = capsys.readouterr().out
    assert printed.count("sentiment WAF") == 1
    assert "66.67" in printed
    assert printed.count(sentiment["signature"]) == 1
    assert printed.count(result["signature"]) == 2


@pytest.mark.parametrize("task", ["sentiment", "auto"])
def test_a_sentiment_is_enough_where_no_words_are_scored(task: Any, gold: Path, tmp_path: Path) -> None:
    """The numbers are those of the same rows with labels beside."""
    if task == "auto":  # where the gold has no words either
        gold = write(tmp_path / "v.jsonl", {"id": "a", "valence": 1.5}, {"id": "b", "valence": -2})
    words = {"a": "positive", "b": "positive", "e": "negative"}
    bare = [{"id": name, "sentiment": word} for name, word in words.items() if task == "sentiment" or name != "e"]
    beside = write(tmp_path / "beside.jsonl", *({"labels": []} | row for row in bare))
    pred = write(tmp_path / "bare.jsonl", *bare)
    assert run(gold, pred, Settings(task=task)) == run(gold, beside, Settings(task=task))
    assert run(gold, pred, Settings(task=task))["sentiment"]["accuracy"] == pytest.approx(
        1 / 3 if len(bare) > 2 else 0.5
    )
    compared = run_compare(gold, pred, beside, Settings(task=task))
    assert compared["difference"]["waf"]["delta"] == 0


def test_the_record_of_sentiments_alone_makes_up_no_labels(gold: Path, tmp_path: Path) -> None:
    """So that a score of words still refuses it. c has the valence 0, which this protocol leaves out."""
    bare = [{"id": name, "sentiment": word} for name, word in (("a", "positive"), ("c", "neutral"))]
    pred, out = write(tmp_path / "bare.jsonl", *bare), tmp_path / "out.jsonl"
    first = run(gold, pred, by(SentimentChoice(out=out), task="sentiment"))
    assert [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()] == bare
    assert run(gold, out, Settings(task="sentiment")) == first


def test_without_words_to_score_a_row_needs_a_sentiment_and_with_them_labels(gold: Path, tmp_path: Path) -> None:
    bare = write(tmp_path / "bare.jsonl", {"id": "a", "sentiment": "positive"}, {"id": "b", "sentiment": "negative"})
    for settings in (Settings(), Settings(task="open-vocabulary"), lexicon(task="sentiment")):
        with pytest.raises(InputError, match=r"bare\.jsonl:1: no labels; .*--task sentiment"):
            run(gold, bare, settings)
    torn = write(tmp_path / "torn.jsonl", {"id": "a", "sentiment": "positive"}, {"id": "b"})
    with pytest.raises(InputError, match=r"torn\.jsonl:2: no sentiment and no labels"):
        run(gold, torn, Settings(task="sentiment"))
    mixed = write(tmp_path / "mixed.jsonl", {"id": "a", "sentiment": "positive"}, {"id": "b", "labels": ["sad"]})
    with pytest.raises(InputError, match=r"mixed\.jsonl:2: no sentiment, which other rows have"):
        run(gold, mixed, Settings(task="sentiment"))


def test_the_predictions_own_words_are_taken_as_they_stand(gold: Path, tmp_path: Path) -> None:
    words = ("positive", "Positive", "mixed", "positive", "positive")
    carried = [row | {"sentiment": word} for row, word in zip(rows([None] * 5), words, strict=True)]
    result = run(gold, write(tmp_path / "pred.jsonl", *carried))["sentiment"]
    assert (result["n"], result["waf"], result["accuracy"], result["invalid"]) == (3, 1.0, 1.0, 1)
    assert result["backend"] == "predictions"
    assert result["signature"] == f"set:mosi|n:3/4|protocol:official|judge:predictions|version:{__version__}"
    chosen = run(gold, tmp_path / "pred.jsonl", LEXICON)["sentiment"]
    assert (chosen["backend"], chosen["accuracy"]) == ("lexicon", pytest.approx(1 / 3))


def test_a_clip_without_a_row_is_missing_a_failed_one_left_out_and_a_row_without_the_word_an_error(
    gold: Path, tmp_path: Path
) -> None:
    first = {"id": "a", "labels": [], "sentiment": "positive"}
    failed = {"id": "b", "labels": [], "status": "error"}
    result = run(gold, write(tmp_path / "pred.jsonl", first, failed))["sentiment"]
    assert (result["n"], result["missing"], result["accuracy"]) == (2, 1, 1 / 2)
    as_empty = run(gold, tmp_path / "pred.jsonl", Settings(failed="as-empty"))["sentiment"]
    assert (as_empty["n"], as_empty["missing"], as_empty["accuracy"]) == (3, 1, pytest.approx(2 / 3))
    wordless = write(tmp_path / "pred.jsonl", first, {"id": "c", "labels": []}, {"id": "b", "labels": []})
    with pytest.raises(InputError, match=r"pred\.jsonl:3: no sentiment, which other rows have"):
        run(gold, wordless)


def test_gold_without_labels_is_scored_for_sentiment_alone(
    tmp_path: Path, pred: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bare = write(tmp_path / "sims.jsonl", *({"id": name, "valence": -0.4} for name in "abcde"))
    result = run(bare, pred, LEXICON)
    assert set(result) == {"signature", "protocol", "task", "n", "missing", "failed", "intervals", "sentiment"}
    assert result["intervals"]["waf"] == result["sentiment"]["intervals"]["waf"]
    assert (result["task"], result["n"], result["signature"]) == ("sentiment", 5, result["sentiment"]["signature"])
    assert result["sentiment"]["accuracy"] == 4 / 5
    printed = capsys.readouterr().out
    assert "5 clips, sentiment by lexicon, in %" in printed
    assert "precision" not in printed


def test_the_clusters_of_the_gold_are_what_the_interval_resamples(tmp_path: Path, pred: Path) -> None:
    valences = {"a": 1.0, "b": -1.0, "c": 1.0, "d": -1.0, "e": 1.0}
    lines = [{"id": name, "valence": valence, "cluster": "one"} for name, valence in valences.items()]
    clustered = run(write(tmp_path / "gold.jsonl", *lines), pred, LEXICON)["sentiment"]
    assert clustered["intervals"]["waf"] == [None, None]  # one cluster: every draw is the sample
    alone = write(tmp_path / "gold.jsonl", *(line | {"cluster": None} for line in lines))
    low, high = run(alone, pred, LEXICON)["sentiment"]["intervals"]["waf"]
    assert low < clustered["waf"] < high


def test_the_task_decides_what_is_computed(gold: Path, pred: Path) -> None:
    assert "open_vocabulary" not in run(gold, pred, lexicon(task="sentiment"))
    assert "sentiment" not in run(gold, pred, Settings(task="open-vocabulary"))
    assert "sentiment" not in run(gold, pred)


def test_modes_are_scored_apart(gold: Path, tmp_path: Path) -> None:
    both = rows([["happy"], ["sad"], [], [], ["happy"]], mode="slow") + rows([["sad"]] * 5, mode="fast")
    path = write(tmp_path / "pred.jsonl", *both)
    result = run(gold, path, LEXICON)
    assert result["modes"]["slow"]["sentiment"]["waf"] == 1.0
    assert result["modes"]["fast"]["sentiment"]["accuracy"] == pytest.approx(1 / 3)
    assert "|mode:fast|" in result["modes"]["fast"]["sentiment"]["signature"]
    assert set(result["differences"]) == {"slow - fast"}
    alone = run(gold, path, lexicon(task="sentiment"))
    assert set(alone["modes"]) == {"fast", "slow"}
    assert run(gold, path, lexicon(mode="slow")) == result["modes"]["slow"]


def judge(number: int, body: dict[str, Any]) -> Reply:
    """Sees the words after the last "Words:" and answers as models do."""
    words = body["messages"][0]["content"].rpartition("Words: ")[2].partition("\n")[0]
    return says({"happy, calm": "positive", "worried": "Negative."}.get(words, f"cannot say: {words}"))


def test_a_model_is_asked_once_about_the_words_of_each_scored_clip(gold: Path, tmp_path: Path) -> None:
    pytest.importorskip("httpx")
    path = write(tmp_path / "pred.jsonl", *rows([["happy", "calm"], "[worried]", ["angry"], ["sad"], "[ ]"]))
    with serve(judge) as endpoint:
        choice = SentimentChoice(url=endpoint.url, model="qwen/7b")
        result = run(gold, path, by(choice))["sentiment"]
        assert len(endpoint.asked) == 2  # c has valence 0, d none, e no word
        assert (result["n"], result["accuracy"], result["invalid"]) == (3, pytest.approx(2 / 3), 0)
        assert result["backend"] == "qwen/7b"
        assert "|judge:qwen/7b@" in result["signature"]
        assert run(gold, path, by(choice))["sentiment"] == result
        assert len(endpoint.asked) == 2  # the second time from the cache
        assert (tmp_path / "pred.jsonl.judge.sqlite").is_file()
        other = write(tmp_path / "other.jsonl", *rows([["odd"], [], [], [], []]))
        odd = run(gold, other, by(SentimentChoice(url=endpoint.url, model="m", cache=tmp_path / "c.db")))
        assert odd["sentiment"]["invalid"] == 1
        assert (tmp_path / "c.db").is_file()
        assert not (tmp_path / "other.jsonl.judge.sqlite").exists()


def test_the_question_of_mer_unibench_is_sampled_and_another_one_is_said_not_to_be_its(
    gold: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("httpx")
    path = write(tmp_path / "pred.jsonl", *rows([["happy", "calm"], "[worried]", ["angry"], ["sad"], "[ ]"]))

    def bracketed(number: int, body: dict[str, Any]) -> Reply:
        words = body["messages"][0]["content"].rpartition("Words: ")[2].partition("\n")[0]
        return says({"[happy, calm]": "positive", "[worried]": "Negative."}[words])

    with serve(bracketed) as endpoint:
        for model, line in (("Qwen/Qwen2.5-7B-Instruct", ""), ("other", "Sentiment by other: MER-UniBench asks Qwen")):
            choice = SentimentChoice(url=endpoint.url, model=model, prompt="mer-unibench")
            result = run(gold, path, by(choice))["sentiment"]
            assert (result["prompt"], result["accuracy"]) == ("mer-unibench", pytest.approx(2 / 3))
            body = endpoint.asked[-1].body
            assert (body["temperature"], body["top_p"]) == (0.7, 0.8)
            assert "[positive, negative, neutral]" in body["messages"][0]["content"]
            printed = capsys.readouterr().out
            assert line in printed
            assert "are not MER-UniBench's" not in printed
            assert f"judge:{model}@{sha256(load_prompt('sentiment_unibench').encode()).hexdigest()[:8]}|" in printed
    with serve(judge) as endpoint:
        result = run(gold, path, by(SentimentChoice(url=endpoint.url, model="Qwen2.5-7B-Instruct")))["sentiment"]
        assert result["prompt"] == "default"
        assert endpoint.asked[-1].body["temperature"] == 0
        assert "top_p" not in endpoint.asked[-1].body
    assert "--sentiment-prompt mer-unibench asks as it does" in capsys.readouterr().out
    run(gold, path, LEXICON)
    assert "built-in lexicon: these WAF are not MER-UniBench's" in capsys.readouterr().out


@pytest.mark.slow
def test_a_local_model_samples_the_same_answers_again(taught_text: Path) -> None:
    from mer_r1.models.text_model import TextModel

    model = TextModel.load(str(taught_text))
    prompts = [load_prompt("sentiment_unibench").replace("{words}", word) for word in ("happy", "worried", "calm")]
    sampled = model.answer(prompts, temperature=5.0, top_p=1.0)
    assert sampled == model.answer(prompts, temperature=5.0, top_p=1.0)
    assert sampled != model.answer(prompts)


def test_a_model_that_fails_is_an_error_and_writes_no_score(gold: Path, pred: Path, tmp_path: Path) -> None:
    pytest.importorskip("httpx")
    with serve(lambda number, body: Reply(400, b"no such model")) as endpoint:
        choice = SentimentChoice(url=endpoint.url, model="m")
        with pytest.raises(JudgeError, match="no such model"):
            run(gold, pred, by(choice), json_out=tmp_path / "score.json")
    assert not (tmp_path / "score.json").exists()


URL = "http://127.0.0.1:1/v1"
OUT = Path("out.jsonl")
WRONG = [
    (by(SentimentChoice(backend="lexicon", url=URL, model="m")), "--sentiment excludes"),
    (by(SentimentChoice(backend="lexicon", model="m")), "--sentiment excludes --sentiment-url and"),
    (by(SentimentChoice(backend="lexicon", url=URL)), "--sentiment excludes --sentiment-url and --sentiment-model"),
    (by(SentimentChoice(backend="oracle")), "'oracle' is not known"),
    (by(SentimentChoice(url=URL)), "--sentiment-url needs --sentiment-model"),
    (by(SentimentChoice(url=URL, model=" ")), "--sentiment-model is empty"),
    (by(SentimentChoice(backend="lexicon", prompt="mer-unibench")), "--sentiment-prompt is a question to a model"),
    (by(SentimentChoice(backend="lexicon", key_env="KEY")), "need --sentiment-url"),
    (by(SentimentChoice(model="m", cache=Path("c.db"))), "need --sentiment-url"),
    (lexicon(task="open-vocabulary"), "computes no sentiment"),
    (lexicon(task="basic"), "computes no sentiment"),
    (by(SentimentChoice(out=OUT), task="basic"), "computes no sentiment"),
    (Settings(task="sentiment"), 'no row has a "sentiment"'),
    (by(SentimentChoice(out=OUT)), 'no row has a "sentiment"'),
    (by(SentimentChoice(model="./no/such/folder")), "./no/such/folder: no such folder"),
]


@pytest.mark.parametrize(("settings", "message"), WRONG, ids=[message for _, message in WRONG])
def test_options_that_do_not_fit_are_refused(settings: Settings, message: str, gold: Path, pred: Path) -> None:
    with pytest.raises(InputError, match=message):
        run(gold, pred, settings)


def test_the_record_never_overwrites_what_is_scored(gold: Path, pred: Path, tmp_path: Path) -> None:
    (tmp_path / "link.jsonl").symlink_to(pred)
    for path in (gold, pred, tmp_path / "link.jsonl"):
        before = path.read_bytes()
        with pytest.raises(InputError, match="would overwrite what is scored"):
            run(gold, pred, by(SentimentChoice(backend="lexicon", out=path)))
        assert path.read_bytes() == before
    with pytest.raises(InputError, match="would overwrite what is scored"):
        run(gold, tmp_path / "link.jsonl", by(SentimentChoice(backend="lexicon", out=pred)))


def test_gold_without_valence_is_named_where_sentiment_is_asked_for(tmp_path: Path, pred: Path) -> None:
    bare = write(tmp_path / "meld.jsonl", *({"id": name, "labels": ["sad"]} for name in "abcde"))
    with pytest.raises(InputError, match=r"meld\.jsonl: no row has a valence"):
        run(bare, pred, LEXICON)
    with pytest.raises(InputError, match="no row has a valence"):
        run(bare, pred, Settings(task="sentiment"))
    with pytest.raises(InputError, match="no row has a valence"):
        run(bare, pred, by(SentimentChoice(out=tmp_path / "kept.jsonl")))


@pytest.mark.parametrize("settings", [LEXICON, Settings(task="sentiment")])
def test_a_valence_whose_every_answer_failed_is_not_said_to_be_missing(
    settings: Settings, gold: Path, tmp_path: Path
) -> None:
    answers = rows([["happy"]] * 5)
    failed = write(
        tmp_path / "pred.jsonl", *(row if row["id"] == "d" else row | {"status": "error"} for row in answers)
    )
    with pytest.raises(InputError, match="no clip with a valence has an answer that did not fail"):
        run(gold, failed, settings)


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


def test_the_command_takes_the_options(
    gold: Path, pred: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["score", "--gold", str(gold), "--pred", str(pred)]
    kept = tmp_path / "kept.jsonl"
    assert main([*line, "--task", "sentiment", "--sentiment", "lexicon", "--sentiment-out", str(kept)]) == 0
    assert "sentiment WAF" in capsys.readouterr().out
    assert kept.is_file()
    assert main([*line, "--sentiment-url", URL]) == 2
    assert "needs --sentiment-model" in capsys.readouterr().err
    asked = [*line, "--sentiment-url", URL, "--sentiment-model", "m", "--sentiment-key-env", "NOT_SET_ANYWHERE"]
    assert main(asked) == 2
    assert "API key is not set" in capsys.readouterr().err
    pair = ["score", "--gold", str(gold), "--compare", str(pred), str(pred), "--sentiment", "lexicon"]
    assert main([*pair, "--sentiment-out", str(tmp_path / "both.jsonl")]) == 2
    assert "--sentiment-out keeps the answers to one file" in capsys.readouterr().err
    assert not (tmp_path / "both.jsonl").exists()


def test_the_protocol_decides_whether_valence_zero_counts(
    gold: Path, pred: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    official = run(gold, pred, lexicon(task="sentiment"))
    printed = capsys.readouterr().out
    assert "3 clips are scored for sentiment, 1 of valence 0 are left out" in printed
    assert "count as negative, as neutral does" in printed
    assert set(official["sentiment"]["constants"]) == {"positive", "negative"}
    corrected = run(gold, pred, lexicon(task="sentiment", protocol="corrected"))
    printed = capsys.readouterr().out
    assert "4 clips are scored for sentiment, 1 of valence 0 are gold neutral" in printed
    assert "0 invalid and 0 missing answers count as wrong" in printed
    assert 'always "neutral"' in printed
    assert corrected["protocol"] == corrected["sentiment"]["protocol"] == "corrected"
    assert corrected["sentiment"]["accuracy"] == 2 / 4  # c is sad and e has no word: neither is what gold says
    assert set(corrected["sentiment"]["constants"]) == {"positive", "negative", "neutral"}
    assert "|protocol:corrected|parser:corrected|judge:lexicon@" in corrected["signature"]


def test_words_are_read_by_the_parser_of_the_protocol(tmp_path: Path) -> None:
    gold = write(tmp_path / "gold.jsonl", {"id": "a", "valence": 1.0}, {"id": "b", "valence": 1.0})
    pred = write(
        tmp_path / "pred.jsonl",
        {"id": "a", "labels": "happy; glad."},
        {"id": "b", "labels": ["sad", 3, "joy", "joyful"]},
    )
    assert run(gold, pred, LEXICON)["sentiment"]["accuracy"] == 1 / 2  # "happy; glad." is one unknown word
    assert run(gold, pred, lexicon(protocol="corrected"))["sentiment"]["accuracy"] == 1.0


def test_a_prediction_of_valence_zero_needs_its_own_word_under_corrected_only(gold: Path, tmp_path: Path) -> None:
    words = {"a": "positive", "b": "negative", "e": "positive"}
    said = [{"id": name, "labels": [], "sentiment": word} for name, word in words.items()]
    pred = write(tmp_path / "pred.jsonl", *said, {"id": "c", "labels": []})
    assert run(gold, pred)["sentiment"]["waf"] == 1.0
    with pytest.raises(InputError, match=r"pred\.jsonl:4: no sentiment, which other rows have"):
        run(gold, pred, Settings(protocol="corrected"))
    whole = write(tmp_path / "whole.jsonl", *said, {"id": "c", "labels": [], "sentiment": "neutral"})
    assert run(gold, whole, Settings(protocol="corrected"))["sentiment"]["waf"] == 1.0


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_record_scores_again_to_the_same_number_without_a_model(protocol: str, gold: Path, tmp_path: Path) -> None:
    odd = "\ud800 odd\u2028"
    both = rows([["happy", "calm"], "[worried]", ["sad"], ["sad"], []], mode="slow")
    both += rows([["sad"], [odd], None, ["sad"], ["glad"]], mode="fast")
    both[-1]["status"] = "error"
    pred, kept = write(tmp_path / "pred.jsonl", *both), tmp_path / "deep" / "kept.jsonl"
    choice = SentimentChoice(backend="lexicon", out=kept)
    made = run(gold, pred, by(choice, protocol=protocol, task="sentiment"))
    again = run(gold, kept, Settings(protocol=protocol, task="sentiment"))
    for mode in ("fast", "slow"):
        first, second = made["modes"][mode]["sentiment"], again["modes"][mode]["sentiment"]
        assert made["modes"][mode]["failed"] == again["modes"][mode]["failed"] == (mode == "fast")
        same = ("n", "waf", "accuracy", "invalid", "missing", "zero_gold", "intervals", "constants")
        assert {name: first[name] for name in same} == {name: second[name] for name in same}
        assert second["backend"] == "predictions"
    asked = ["a", "b"] if protocol == "official" else ["a", "b", "c"]
    said = {mode: [row for row in lines(kept) if row["mode"] == mode] for mode in ("slow", "fast")}
    assert [row["id"] for row in said["slow"]] == ["a", "b", "c", "d", "e"], "every prediction is kept"
    assert [row["id"] for row in said["slow"] if "sentiment" in row] == asked, "e failed in one mode"
    assert [row["id"] for row in said["fast"] if "sentiment" in row] == asked
    assert lines(kept)[0] == {"id": "a", "mode": "fast", "labels": ["sad"], "sentiment": "negative"}


def test_the_predictions_own_words_are_recorded_as_they_stand(gold: Path, tmp_path: Path) -> None:
    carried = [row | {"sentiment": "Mixed!"} for row in rows(["[Sad, Calm]"] * 5)]
    pred, kept = write(tmp_path / "pred.jsonl", *carried), tmp_path / "kept.jsonl"
    made = run(gold, pred, by(SentimentChoice(out=kept)))["sentiment"]
    assert lines(kept)[0] == {"id": "a", "labels": ["sad", "calm"], "sentiment": "Mixed!"}
    assert run(gold, kept)["sentiment"] == made
    assert made["invalid"] == 3


def test_a_model_that_fails_leaves_an_older_record_as_it_was(gold: Path, pred: Path, tmp_path: Path) -> None:
    pytest.importorskip("httpx")
    kept = tmp_path / "kept.jsonl"
    kept.write_text("older")
    with serve(lambda number, body: Reply(400, b"no such model")) as endpoint:
        choice = SentimentChoice(url=endpoint.url, model="m", out=kept)
        with pytest.raises(JudgeError):
            run(gold, pred, by(choice))
    assert kept.read_text() == "older"


def test_two_systems_are_compared_by_sentiment(gold: Path, pred: Path, tmp_path: Path) -> None:
    other = write(tmp_path / "other.jsonl", *rows([["happy"], ["sad"], ["sad"], ["sad"], ["happy"]]))
    result = run_compare(gold, pred, other, lexicon(task="sentiment"))
    assert result["difference"]["accuracy"]["delta"] == pytest.approx(1 / 3)
    assert result["difference"]["waf"]["delta"] == pytest.approx(1 / 3)


@pytest.fixture(scope="module")
def taught_text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A local model that was taught to answer about two answers' words, and nothing else."""
    pytest.importorskip("torch")
    from tests.text_models import write_text_model

    prompt = load_prompt("sentiment")
    answers = {"happy, calm": "Positive.", "worried": "negative"}
    reported = {prompt.replace("{words}", words): answer for words, answer in answers.items()}
    return write_text_model(
        tmp_path_factory.mktemp("taught") / "qwen", template=True, answers=reported, texts=[*reported]
    )


def test_a_local_model_is_asked_about_the_words(
    taught_text: Path, gold: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mer_r1.models.text_model import TextModel

    asked: list[str] = []

    def answer(self: TextModel, prompts: Sequence[str], **how: Any) -> list[str]:
        assert how == {"temperature": 0.0, "top_p": None}
        asked.extend(prompts)
        return plain(self, prompts, **how)

    plain = TextModel.answer
    monkeypatch.setattr(TextModel, "answer", answer)
    pred = write(tmp_path / "pred.jsonl", *rows([["happy", "calm"], "[worried]", ["angry"], ["sad"], "[ ]"]))
    kept = tmp_path / "kept.jsonl"
    result = run(gold, pred, by(SentimentChoice(model=str(taught_text), out=kept)))["sentiment"]
    assert [text.rpartition("Words: ")[2] for text in asked] == ["happy, calm\nSentiment:", "worried\nSentiment:"]
    assert (result["n"], result["accuracy"], result["invalid"]) == (3, pytest.approx(2 / 3), 0)
    assert result["backend"] == "qwen"
    assert f"|judge:qwen@{sha256(load_prompt('sentiment').encode()).hexdigest()[:8]}|" in result["signature"]
    assert str(taught_text.parent) not in json.dumps(result)
    assert [row["sentiment"] for row in lines(kept) if "sentiment" in row] == ["positive", "negative", "neutral"]
    assert run(gold, kept)["sentiment"]["waf"] == result["waf"]
    monkeypatch.setattr(TextModel, "load", lambda source: pytest.fail("loaded again"))
    assert run(gold, pred, by(SentimentChoice(model=str(taught_text))))["sentiment"]["waf"] == result["waf"]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_gibberish_of_a_local_model_is_kept_and_counted_as_invalid(
    protocol: str, taught_text: Path, tmp_path: Path
) -> None:
    from tests.text_models import write_text_model

    gold = write(tmp_path / "gold.jsonl", {"id": "a", "valence": -1}, {"id": "b", "valence": -1})
    pred = write(tmp_path / "pred.jsonl", {"id": "a", "labels": "sad"}, {"id": "b", "labels": "grim"})
    folder, kept = write_text_model(tmp_path / "random", template=False), tmp_path / "kept.jsonl"
    result = run(gold, pred, by(SentimentChoice(model=str(folder), out=kept), protocol=protocol))["sentiment"]
    assert (result["invalid"], result["missing"]) == (2, 0)
    assert result["waf"] == (1.0 if protocol == "official" else 0.0)
    assert not {row["sentiment"] for row in lines(kept)} & {"positive", "negative", "neutral"}
    assert run(gold, kept, Settings(protocol=protocol))["sentiment"]["waf"] == result["waf"]


def test_a_folder_that_holds_no_model_is_one_line(
    gold: Path, pred: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("torch")
    line = ["score", "--gold", str(gold), "--pred", str(pred), "--sentiment-model"]
    for source, message in ((str(tmp_path), "config.json is missing"), ("nobody/no-such-model", "cannot be loaded")):
        assert main([*line, source]) == 2
        error = capsys.readouterr().err
        assert error.startswith(f"mer-r1: error: {source}: ")
        assert message in error
        assert error.count("\n") == 1
