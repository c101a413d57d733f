"""The judge's client against a local endpoint: answers, failures that are never answers, the cache, the key."""

import json
import socket
import sqlite3
import struct
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from mer_r1.errors import InputError
from mer_r1.judge.chat import ChatClient
from mer_r1.judge.client import JudgeClient, JudgeError, load_prompt
from tests.judge.endpoint import Reply, Script, says, serve

pytest.importorskip("httpx")

KEY = "sk-very-secret-0123456789"


def question(text: str = "happy?") -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def in_turn(*replies: Reply) -> Script:
    """The replies one after the other, the last one again and again."""
    return lambda number, body: replies[min(number, len(replies) - 1)]


def echo(number: int, body: dict[str, Any]) -> Reply:
    return says(f"about {body['messages'][-1]['content']}")


def client(url: str, cache: Path | None = None, **options: Any) -> JudgeClient:
    return JudgeClient(url, "judge-7b", cache, **{"timeout_s": 5.0, "retries": 2, "backoff_s": 0.001} | options)


def test_a_question_goes_out_as_a_chat_completion_and_the_answer_comes_back_as_written() -> None:
    with serve(in_turn(says(" positive\n"))) as endpoint, client(endpoint.url) as judge:
        assert judge.ask(question()) == " positive\n"
        (asked,) = endpoint.asked
    assert asked.path == "/v1/chat/completions"
    assert asked.body == {"model": "judge-7b", "messages": question(), "temperature": 0.0, "stream": False}
    assert asked.key is None


@pytest.mark.parametrize("ending", ["", "/", "/chat/completions", "/chat/completions/"])
def test_the_address_may_stand_with_or_without_its_path(ending: str) -> None:
    assert JudgeClient(f"https://api.example.org/v1{ending}", "m").url == "https://api.example.org/v1/chat/completions"


@pytest.mark.parametrize("status", [408, 429, 500, 503])
def test_a_busy_server_is_asked_again(status: int) -> None:
    with serve(in_turn(Reply(status), Reply(status), says("negative"))) as endpoint, client(endpoint.url) as judge:
        assert judge.ask(question()) == "negative"
        assert len(endpoint.asked) == 3


class NotedWaits(threading.Event):
    """Keeps for how long it was to be waited for, and does not wait."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[float | None] = []

    def wait(self, timeout: float | None = None) -> bool:
        self.waits.append(timeout)
        return self.is_set()


@pytest.mark.parametrize(("asked_for", "least", "most"), [("0", 0, 0), ("4", 4, 5), ("9999", 30, 30), (None, 8, 10)])
def test_retry_after_is_waited_for_within_a_limit(asked_for: str | None, least: float, most: float) -> None:
    busy, waits = Reply(429, headers={"Retry-After": asked_for} if asked_for else {}), NotedWaits()
    with (
        serve(in_turn(busy, says("neutral"))) as endpoint,
        ChatClient(endpoint.url, "m", who="judge", backoff_s=8.0) as chat,
    ):
        assert chat.ask(question(), {}, waits).text == "neutral"
    (wait_s,) = waits.waits
    assert wait_s is not None
    assert least <= wait_s <= most


def test_a_server_that_stays_broken_is_an_error_after_the_last_try(tmp_path: Path) -> None:
    with serve(in_turn(Reply(500, b"out of memory"))) as endpoint, client(endpoint.url, tmp_path / "c.db") as judge:
        with pytest.raises(JudgeError, match=r"status 500 \(out of memory\) \(asked 3 times\)") as caught:
            judge.ask(question())
        assert len(endpoint.asked) == 3
        assert "\n" not in str(caught.value)
        assert isinstance(caught.value, InputError)
    assert kept(tmp_path / "c.db") == []


def test_a_server_that_hangs_is_an_error_after_the_last_try() -> None:
    over = threading.Event()
    hangs = Reply(wait=over)
    with serve(in_turn(hangs)) as endpoint, client(endpoint.url, timeout_s=0.3, retries=1) as judge:
        with pytest.raises(JudgeError, match=r"no answer within 0\.3 s \(asked 2 times\)"):
            judge.ask(question())
        assert endpoint.num_replied == 0
        over.set()
        assert len(endpoint.asked) == 2


def test_a_client_that_goes_away_leaves_no_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    """Of the server of these tests: whether it closes or resets, before a request, within one and after it."""
    body = json.dumps({"model": "m", "messages": question()}).encode()
    head = b"POST /v1/chat/completions HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % len(body)
    with serve(in_turn(says("positive" * 100_000))) as endpoint:
        port = int(endpoint.url.partition("127.0.0.1:")[2].partition("/")[0])
        for sent in (b"", head[:9], head, head + body[:5], head + body):
            for linger in (0, 1):
                with socket.create_connection(("127.0.0.1", port)) as connection:
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", linger, 0))
                    connection.sendall(sent)
    assert capsys.readouterr().err == ""


def test_no_server_is_an_error() -> None:
    with serve(echo) as endpoint:
        gone = endpoint.url
    with client(gone) as judge, pytest.raises(JudgeError, match="no connection"):
        judge.ask(question())


WRONG = [
    (Reply(404, b"no such model"), r"status 404 \(no such model\)"),
    (Reply(401), "status 401 .* valid API key"),
    (Reply(301, headers={"Location": "http://127.0.0.1:1/"}), "status 301"),
    (Reply(body=b"<html>hello</html>"), "no chat completion"),
    (Reply(body=b'{"choices": []}'), "no chat completion"),
    (Reply(body=b'{"choices": [{"message": "positive"}]}'), "no chat completion"),
    (Reply(body=b"[1]"), "no chat completion"),
    (Reply(body=b'"' + b"\xff" * 9 + b'"'), "no chat completion"),
    (Reply(body=b"[" * 100_000), "no chat completion"),
    (says(None), "gave no finished text"),
    (says(["positive"]), "gave no finished text"),
    (says("positi", finish_reason="length"), "gave no finished text .finish_reason length"),
    (says("positive", finish_reason="content_filter"), "gave no finished text"),
]


@pytest.mark.parametrize(("reply", "message"), WRONG, ids=[message[:30] for _, message in WRONG])
def test_what_is_no_answer_is_an_error_at_once_and_not_kept(reply: Reply, message: str, tmp_path: Path) -> None:
    with serve(in_turn(reply)) as endpoint, client(endpoint.url, tmp_path / "c.db") as judge:
        with pytest.raises(JudgeError, match=message):
            judge.ask(question())
        assert len(endpoint.asked) == 1
    assert kept(tmp_path / "c.db") == []


def test_half_a_surrogate_pair_goes_out_and_comes_back_harmless(tmp_path: Path) -> None:
    with serve(in_turn(says("\ud800positive"))) as endpoint, client(endpoint.url, tmp_path / "c.db") as judge:
        assert judge.ask(question("\ud800")) == "?positive"


def kept(path: Path) -> Sequence[tuple[str, ...]]:
    connection = sqlite3.connect(path)
    try:
        return connection.execute("SELECT key, model, answer FROM answers").fetchall()
    finally:
        connection.close()


def test_a_kept_answer_makes_no_request(tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "judge.sqlite"
    with serve(echo) as endpoint:
        with client(endpoint.url, path) as judge:
            assert judge.ask(question("a")) == judge.ask(question("a")) == "about a"
        assert len(endpoint.asked) == 1
        with client(endpoint.url, path) as judge:
            assert judge.ask_all([question("a"), question("b")]) == ["about a", "about b"]
        assert [asked.body["messages"][0]["content"] for asked in endpoint.asked] == ["a", "b"]
    with client("http://127.0.0.1:1/v1", path, retries=0) as judge:
        assert judge.ask(question("b")) == "about b"
        with pytest.raises(JudgeError):
            judge.ask(question("c"))


def test_model_messages_and_temperature_each_change_the_key() -> None:
    url = "http://127.0.0.1:1/v1"
    ours = client(url)
    assert ours.key(question()) == client("http://127.0.0.1:2/v1").key([{"content": "happy?", "role": "user"}])
    others = [
        JudgeClient(url, "judge-8b").key(question()),
        client(url, temperature=0.5).key(question()),
        ours.key(question("sad?")),
        ours.key([{"role": "system", "content": "happy?"}]),
    ]
    assert len({ours.key(question()), *others}) == 5


def test_many_questions_run_beside_each_other_keep_their_order_and_are_asked_once_each(tmp_path: Path) -> None:
    beside = threading.Barrier(4, timeout=60)

    def script(number: int, body: dict[str, Any]) -> Reply:
        beside.wait()  # passes only when four requests are there at once
        return echo(number, body)

    texts = [str(number % 20) for number in range(40)]
    for cache in (None, tmp_path / "c.db"):
        with serve(script) as endpoint, client(endpoint.url, cache, num_workers=4) as judge:
            assert judge.ask_all([question(text) for text in texts]) == [f"about {text}" for text in texts]
            assert judge.ask_all([]) == []
            assert len(endpoint.asked) == 20
    assert len(kept(tmp_path / "c.db")) == 20


def test_one_failure_ends_all_and_the_answers_before_it_are_kept(tmp_path: Path) -> None:
    def script(number: int, body: dict[str, Any]) -> Reply:
        return Reply(400) if number == 3 else echo(number, body)

    with serve(script) as endpoint, client(endpoint.url, tmp_path / "c.db", num_workers=1) as judge:
        with pytest.raises(JudgeError, match="status 400"):
            judge.ask_all([question(str(number)) for number in range(200)])
        assert len(endpoint.asked) < 200
        num_kept = len(kept(tmp_path / "c.db"))
        assert num_kept >= 3
        judge.ask_all([question(str(number)) for number in range(3)])
        assert len(kept(tmp_path / "c.db")) == num_kept


def test_the_key_goes_into_the_header_and_nowhere_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_JUDGE_KEY", f"{KEY}\n")
    refuses = Reply(401, f"wrong key {KEY} given".encode())
    with (
        serve(in_turn(says("positive"), refuses)) as endpoint,
        client(endpoint.url, tmp_path / "c.db", key_env="MY_JUDGE_KEY") as judge,
    ):
        assert judge.ask(question()) == "positive"
        with pytest.raises(JudgeError, match="wrong key") as caught:
            judge.ask(question("more"))
        assert endpoint.asked[0].key == f"Bearer {KEY}"
        assert KEY not in str(endpoint.asked[0].body)
        assert KEY not in str(caught.value)
        assert KEY not in repr(judge)
    assert all(KEY.encode() not in path.read_bytes() for path in tmp_path.iterdir())


@pytest.mark.parametrize("value", [None, "", " ", "sk-secret\nInjected: header", "sk-secret-schlüssel"])
def test_a_key_that_cannot_be_sent_is_refused_without_being_shown(
    value: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if value is not None:
        monkeypatch.setenv("MY_JUDGE_KEY", value)
    with pytest.raises(JudgeError, match="export it") as caught:
        client("http://127.0.0.1:1/v1", key_env="MY_JUDGE_KEY")
    assert "secret" not in str(caught.value)


def test_a_key_given_in_place_of_a_variables_name_is_not_shown() -> None:
    with pytest.raises(JudgeError) as caught:
        client("http://127.0.0.1:1/v1", key_env=KEY)
    assert KEY not in str(caught.value)


BAD_URLS = [
    "localhost:8000",
    "ftp://host/v1",
    "",
    "http://",
    "http://u:secret@h/v1",
    "http://h/v1?key=secret",
    "http://[",
]


@pytest.mark.parametrize("url", BAD_URLS)
def test_an_address_that_cannot_be_used_is_refused_without_being_shown(url: str) -> None:
    with pytest.raises(JudgeError, match="judge's address") as caught:
        JudgeClient(url, "m")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("options", [{"timeout_s": 0}, {"retries": -1}, {"num_workers": 0}, {"num_workers": 65}])
def test_numbers_out_of_bounds_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(JudgeError, match="give timeout_s above 0"):
        client("http://127.0.0.1:1/v1", **options)
    with pytest.raises(JudgeError, match="no name"):
        JudgeClient("http://127.0.0.1:1/v1", " ")


def test_a_file_that_is_no_cache_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("these are my notes, not a cache " * 100)
    with pytest.raises(JudgeError, match=r"notes\.txt: no usable cache"):
        client("http://127.0.0.1:1/v1", path)
    assert path.read_text().startswith("these are my notes")


def test_the_prompt_asks_for_one_of_three_words() -> None:
    prompt = load_prompt("sentiment")
    assert prompt.count("{words}") == 1
    assert prompt.endswith("Sentiment:")
    assert all(word in prompt for word in ("positive", "negative", "neutral"))
