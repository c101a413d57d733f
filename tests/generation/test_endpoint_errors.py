"""A model behind an address that is bad, slow, gone or killed: what becomes of the rows, requests and threads."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from mer_r1.data.sample import Prediction, Sample
from mer_r1.errors import InputError
from mer_r1.generation import generate_to_store
from mer_r1.generation.endpoint import EndpointGenerator, _Outcome
from mer_r1.generation.generator import failed
from mer_r1.judge import chat
from tests.generation.server import ANSWER, BAD, answer, be_quick, generator, hanging, identity, texts
from tests.judge.endpoint import Reply, says, serve

pytest.importorskip("httpx")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    be_quick(monkeypatch)


@pytest.mark.parametrize(("reply", "message"), [bad[1:] for bad in BAD], ids=[bad[0] for bad in BAD])
def test_one_bad_reply_is_one_error_row_and_the_others_are_answered(reply: Reply, message: str) -> None:
    with serve(lambda number, body: reply if identity(body) == "clip 1" else says(ANSWER)) as endpoint:
        rows = {row.id: row for row in generator(endpoint.url, num_workers=2).generate(texts(4), "slow")}
    assert [rows[f"clip {number}"].status for number in range(4)] == ["ok", "error", "ok", "ok"]
    failed = rows["clip 1"]
    assert re.search(message, str(failed.error)), failed.error
    assert "\n" not in str(failed.error)
    assert (failed.labels, failed.raw, failed.confidence) == ((), "", None)


def test_a_server_that_is_too_slow_for_one_sample_answers_the_others() -> None:
    over = threading.Event()

    def script(number: int, body: dict[str, Any]) -> Reply:
        return replace(says(ANSWER), wait=over if identity(body) == "clip 0" else None)

    with serve(script) as endpoint:
        rows = {row.id: row for row in generator(endpoint.url, timeout_s=1.0, retries=0).generate(texts(3), "slow")}
        over.set()
    assert [rows[f"clip {number}"].status for number in range(3)] == ["error", "ok", "ok"]
    assert "no answer within 1 s" in str(rows["clip 0"].error)


@pytest.mark.slow
def test_a_server_that_lets_a_reply_drip_is_not_waited_for_without_end() -> None:
    def drip(connection: Any) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 400\r\n\r\n")
        with connection, suppress(OSError):
            for _ in range(400):
                connection.sendall(b" ")
                time.sleep(0.05)

    server = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=lambda: drip(server.accept()[0]))
    thread.start()
    url = f"http://127.0.0.1:{server.getsockname()[1]}/v1"
    (row,) = generator(url, timeout_s=0.4, retries=0).generate(texts(1), "slow")
    thread.join()
    server.close()
    assert "no whole answer within 0.4 s" in str(row.error)


@pytest.mark.parametrize(("status", "message"), [(401, "valid API key"), (404, "address and model"), (301, "address")])
def test_what_fails_for_all_ends_the_work(status: int, message: str) -> None:
    with serve(lambda number, body: Reply(status)) as endpoint:
        with pytest.raises(InputError, match=message):
            list(generator(endpoint.url, num_workers=2).generate(texts(200), "slow"))
        assert len(endpoint.asked) < 10


@pytest.mark.parametrize("num", [1, 100])
def test_a_server_that_is_not_there_ends_the_work_without_a_row(num: int) -> None:
    with serve(answer) as endpoint:
        gone = endpoint.url
    rows: list[Prediction] = []
    with pytest.raises(InputError, match=r"no connection .*asked 2 times"):
        rows.extend(generator(gone, num_workers=3).generate(texts(num), "slow"))
    assert rows == []


def scripted(ours: EndpointGenerator, lost: set[str], unsent: set[str]) -> EndpointGenerator:
    """`ours` with outcomes of its own: for these samples no connection, for those no request, else an answer."""

    def outcome(_: chat.ChatClient, sample: Sample, mode: Any) -> _Outcome:
        error = chat.ChatError("no connection", unreachable=True)
        if sample.id in lost:
            return _Outcome(failed(sample.id, mode, error), lost=error)
        return _Outcome(failed(sample.id, mode, InputError("no file")), sent=sample.id not in unsent)

    vars(ours)["_answer"] = outcome
    return ours


def test_connections_lost_between_answers_are_error_rows() -> None:
    ours = scripted(generator("http://127.0.0.1:1/v1", num_workers=3), {"clip 0", "clip 7", "clip 8"}, set())
    rows = {row.id: row.error for row in ours.generate(texts(30), "slow")}
    assert len(rows) == 30
    assert {name for name in rows if rows[name] == "no connection"} == {"clip 0", "clip 7", "clip 8"}


def test_samples_that_make_no_request_do_not_say_that_a_server_is_there() -> None:
    names = {f"clip {number}" for number in range(1, 30)}
    ours = scripted(generator("http://127.0.0.1:1/v1", num_workers=2), {"clip 0", "clip 30"}, names)
    rows: list[Prediction] = []
    with pytest.raises(InputError, match="no connection"):
        rows.extend(ours.generate(texts(31), "slow"))
    assert {row.error for row in rows} == {"no file"}


def test_a_server_that_dies_ends_the_work_after_the_rows_it_answered(tmp_path: Path) -> None:
    rows: list[Prediction] = []
    broken = [Sample(f"no file {number}", video=tmp_path / "none.mp4") for number in range(20)]
    mixed = [sample for pair in zip(broken, texts(20), strict=True) for sample in pair]
    with serve(answer) as endpoint:
        answers = generator(endpoint.url, num_workers=2).generate(mixed, "slow")
        while sum(row.status == "ok" for row in rows) < 3:
            rows.append(next(answers))
    with pytest.raises(InputError, match="no connection"):
        rows.extend(answers)
    assert 3 <= sum(row.status == "ok" for row in rows) <= 5
    assert all("none.mp4" in str(row.error) for row in rows if row.status == "error")
    assert sum(row.status == "error" for row in rows) < 15


def test_a_file_that_cannot_be_sent_is_an_error_row_and_no_request(tmp_path: Path) -> None:
    broken = Sample("none", video=tmp_path / "none.mp4")
    with serve(answer) as endpoint:
        rows = {row.id: row for row in generator(endpoint.url).generate([broken, *texts(1)], "slow")}
        assert len(endpoint.asked) == 1
    assert (rows["none"].status, rows["clip 0"].status) == ("error", "ok")
    assert re.fullmatch(r".*none\.mp4: no such file; .*", str(rows["none"].error))


def workers() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("generating")]


def test_closing_ends_requests_under_way_and_leaves_no_thread() -> None:
    with serve(lambda number, body: says(ANSWER) if number == 0 else Reply(wait=over)) as endpoint:
        over = threading.Event()
        answers = cast(Any, generator(endpoint.url, num_workers=4, timeout_s=60.0).generate(texts(50), "slow"))
        next(answers)
        answers.close()
        assert endpoint.num_replied == 1
        over.set()
    assert workers() == []


def test_an_interrupt_ends_requests_that_wait_for_a_dumb_server(monkeypatch: pytest.MonkeyPatch) -> None:
    came = threading.Semaphore(0)
    requests: list[None] = []

    def accepted() -> None:
        requests.append(None)
        came.release()

    def interrupt(*_: Any, **__: Any) -> Any:
        came.acquire(timeout=60)  # a request is under way
        raise KeyboardInterrupt

    monkeypatch.setattr("mer_r1.generation.endpoint.wait", interrupt)
    with hanging(accepted) as url:
        answers = generator(url, num_workers=2, timeout_s=20.0, retries=3).generate(texts(9), "slow")
        with pytest.raises(KeyboardInterrupt):
            next(answers)
        assert len(requests) <= 2  # none is asked again
    assert workers() == []


def test_failed_rows_are_asked_again_and_answered_ones_are_not(tmp_path: Path) -> None:
    out = tmp_path / "predictions.jsonl"
    ill = {"clip 2", "clip 5"}
    with serve(lambda number, body: Reply(500) if identity(body) in ill else says(ANSWER)) as endpoint:
        ours = generator(endpoint.url, retries=0)
        assert set(generate_to_store(out, texts(8), ours, ["slow"]).errors) == {(name, "slow") for name in ill}
        ill.clear()
        asked = len(endpoint.asked)
        assert generate_to_store(out, texts(8), ours, ["slow"]).errors == {}
        assert sorted(identity(request.body) for request in endpoint.asked[asked:]) == ["clip 2", "clip 5"]


ASK = """
import sys
from pathlib import Path
from mer_r1.generation import generate_to_store
from mer_r1.generation.endpoint import EndpointGenerator, _Outcome
from mer_r1.generation.generator import failed
from mer_r1.data.sample import Sample
samples = [Sample(f"clip {number}", subtitle=f"clip {number}") for number in range(40)]
generator = EndpointGenerator(sys.argv[1], "omni-7b", num_workers=2)
generate_to_store(Path(sys.argv[2]), samples, generator, ["slow", "fast"])
"""


@pytest.mark.slow
def test_killed_in_the_middle_it_goes_on_where_it_was(tmp_path: Path) -> None:
    out, killed = tmp_path / "predictions.jsonl", threading.Event()

    def script(number: int, body: dict[str, Any]) -> Reply:
        if number >= 30:
            killed.wait(60)
        return says("calm</answer>" if body["messages"][-1]["role"] == "assistant" else ANSWER)

    with serve(script) as endpoint:
        command = [sys.executable, "-c", ASK, endpoint.url, str(out)]
        first = subprocess.Popen(command)
        while first.poll() is None and (not out.exists() or out.read_bytes().count(b"\n") < 28):
            time.sleep(0.005)
        first.kill()
        assert first.wait() == -signal.SIGKILL
        killed.set()
        num_kept = out.read_bytes().count(b"\n")
        assert 28 <= num_kept <= 30
        subprocess.run(command, check=True, timeout=60)
        num_generated = len(endpoint.asked)
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert sorted((row["id"], row["mode"]) for row in rows) == sorted(
        (f"clip {number}", mode) for number in range(40) for mode in ("fast", "slow")
    )
    assert {tuple(row["labels"]) for row in rows} == {("happy", "calm"), ("calm",)}
    assert num_generated <= 80 + 4, "what was answered and kept is not asked again"
