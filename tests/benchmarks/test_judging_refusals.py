"""`mer-r1 judge mme-emotion` where the server refuses a request, and what the folder's settings keep."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from mer_r1.judge.client import JudgeError
from tests.benchmarks.mme_files import responses_of, write_clips
from tests.benchmarks.mme_judging import Body, Files, in_form, pictures_of, replies, text_of
from tests.judge.endpoint import Reply, Script, says, serve

pytest.importorskip("httpx")

REFUSED = Reply(400, b'{"error": {"code": "content_filter"}}')


@pytest.fixture
def files(tmp_path: Path) -> Files:
    made = Files(tmp_path)
    write_clips(made.questions, seconds=1)
    return made


def refusing(is_refused: Callable[[Body], bool]) -> Script:
    return lambda number, body: REFUSED if is_refused(body) else says(in_form(number, body))


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 8])
@pytest.mark.parametrize("task", ["ER-Lab", "ML-ER", "SA"])  # the first case, one in the middle, the last
def test_one_request_that_is_refused_leaves_one_answer_unjudged(task: str, workers: int, files: Files) -> None:
    with serve(refusing(lambda body: f"a smile in {task}" in text_of(body))) as server:
        assert files.judge(server.url, workers=workers) == 0
        num_generated = len(server.asked)
        assert files.judge(server.url, workers=workers) == 0
        assert len(server.asked) == num_generated
    means = files.metrics()["means"]["given"]
    assert (means["judged"], means["unjudged"]) == (8, 1)


@pytest.mark.parametrize("workers", [1, 4])
def test_a_server_that_refuses_every_request_is_an_error_after_a_few(workers: int, files: Files) -> None:
    with serve(refusing(lambda body: True)) as server:
        with pytest.raises(JudgeError, match="status 400"):
            files.judge(server.url, workers=workers)
        assert len(server.asked) <= 3 * workers
    assert not (files.out / "metrics.json").exists()


def test_a_server_that_takes_no_pictures_is_an_error_and_nothing_is_unjudged(files: Files) -> None:
    script = refusing(lambda body: bool(pictures_of(body)))
    with serve(script) as server, pytest.raises(JudgeError, match="status 400"):
        files.judge(server.url, videos=files.questions)
    assert (files.out / "judged.jsonl").read_text() == ""


@pytest.mark.slow
def test_settings_are_what_was_chosen_and_not_what_answers_were_there(files: Files) -> None:
    clues = files.questions / "ER-Lab/audio_clue/clues.json"
    with serve(replies()) as server:
        files.respond(responses_of()[1:])  # none of these has a description
        assert files.judge(server.url, videos=files.questions, clues=clues) == 1
        files.respond(responses_of())
        assert files.judge(server.url, videos=files.questions, clues=clues) == 0
        files.out = files.out.with_name("none answered")
        files.respond([])
        assert files.judge(server.url, videos=files.questions) == 1
        files.respond(responses_of())
        assert files.judge(server.url, videos=files.questions) == 0
    assert json.loads((files.out / "settings.json").read_text())["frames"] == 10


def test_a_response_may_name_its_task_as_the_owners_files_do(files: Files) -> None:
    files.respond([row | {"task": row["task"].replace("-", "_")} for row in responses_of()])
    with serve(replies()) as server:
        assert files.judge(server.url) == 0
    assert files.metrics()["means"]["given"]["judged"] == 9
