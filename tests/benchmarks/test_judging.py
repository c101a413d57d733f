"""`mer-r1 judge mme-emotion` against a real server on this machine: good, bad, slow, busy, broken, cut; stops."""

import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from mer_r1.data.files import locked
from mer_r1.errors import InputError
from mer_r1.judge.client import JudgeError
from tests.benchmarks.mme_files import ROWS, responses_of, write_clips, write_questions
from tests.benchmarks.mme_judging import Body, Files, content_of, in_form, is_steps, pictures_of, replies, text_of
from tests.judge.endpoint import Reply, Script, says, serve

pytest.importorskip("httpx")

ROOT = Path(__file__).parents[2]
AT_ONCE = {"Retry-After": "0"}


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def test_responses_become_the_tables_numbers(files: Files, capsys: pytest.CaptureFixture[str]) -> None:
    with serve(replies()) as server:
        assert files.judge(server.url) == 0
        assert len(server.asked) == 18
        assert {asked.body["temperature"] for asked in server.asked} == {0.0}
    made = files.metrics()
    assert made["means"]["given"]["micro"]["rec"] == made["means"]["given"]["macro"]["cot"] == 1.0
    assert list(made["sets"]) == ["ER-Lab", "ER-Wild", "FG-ER", "FG-SA", "ML-ER", "Noise-ER", "IR", "SA"]
    assert made["sets"]["ER-Wild"]["given"]["judged"] == 2
    assert made["signature"].startswith("set:mme-emotion|n:9|mode:given|judge:judge-1@")
    assert "|frames:0|clues:0|" in made["signature"]
    said = capsys.readouterr().out
    assert made["signature"] in said
    assert "9 of 9 judged" in said
    assert {tuple(row["scores"]) for row in files.rows()} == {(1, 1), (1, 2)}


@pytest.mark.slow
def test_pictures_and_sound_go_with_stage_two_alone_and_the_label_not_with_stage_one(files: Files) -> None:
    write_clips(files.questions)
    clues = files.questions / "ER-Lab/audio_clue/clues.json"
    with serve(replies()) as server:
        assert files.judge(server.url, videos=files.questions, clues=clues) == 0
        first = [asked.body for asked in server.asked if is_steps(asked.body)]
        second = [asked.body for asked in server.asked if not is_steps(asked.body)]
    assert len(first) == len(second) == 9
    assert {len(pictures_of(body)) for body in first} == {0}
    assert {len(pictures_of(body)) for body in second} == {2}
    assert sum("a loud voice" in text_of(body) for body in second) == 1
    assert not any("a loud voice" in text_of(body) or "label" in text_of(body).lower() for body in first)
    assert "|frames:10|clues:1|" in files.metrics()["signature"]


@pytest.mark.slow
def test_the_manifest_of_prepare_serves_as_questions_and_brings_its_clips(files: Files, tmp_path: Path) -> None:
    from mer_r1.benchmarks.mme_emotion.questions import prepare
    from mer_r1.data.manifest import write_manifest

    write_manifest(tmp_path / "m.jsonl", prepare(write_clips(files.questions)).samples)
    files.questions = tmp_path / "m.jsonl"
    with serve(replies()) as server:
        assert files.judge(server.url) == 0
    assert {row["num_frames"] for row in files.rows()} == {2}


def test_another_model_makes_the_steps_where_one_is_named(files: Files) -> None:
    with serve(replies()) as server:
        files.judge(server.url, steps_model="cheap-1")
        used = Counter((asked.body["model"], is_steps(asked.body)) for asked in server.asked)
    assert used == {("cheap-1", True): 9, ("judge-1", False): 9}
    assert "|steps:cheap-1|" in files.metrics()["signature"]


def busy_then(*failures: Reply) -> Script:
    """Every request fails in these ways first; a repeated one is known by its text."""
    seen: Counter[str] = Counter()
    lock = threading.Lock()

    def script(number: int, body: Body) -> Reply:
        with lock:
            turn = seen[content_of(body)]
            seen[content_of(body)] += 1
        return failures[turn] if turn < len(failures) else says(in_form(number, body))

    return script


@pytest.mark.slow
@pytest.mark.parametrize(
    "failure",
    [
        Reply(429, headers=AT_ONCE),
        Reply(500, b"oops", headers=AT_ONCE),
        Reply(body=b'{"choices": [{"mess', headers={"Content-Length": "999"}),
    ],
    ids=["busy", "broken", "cut"],
)
def test_a_server_that_fails_in_passing_changes_no_number(failure: Reply, files: Files) -> None:
    with serve(busy_then(failure)) as server:
        assert files.judge(server.url, workers=9) == 0
        assert len(server.asked) == 36
    assert files.metrics()["means"]["given"]["micro"]["cot"] == 1.0
    assert len(files.rows()) == 9


def test_slow_replies_are_waited_for_side_by_side(files: Files) -> None:
    beside = threading.Barrier(4, timeout=60)

    def script(number: int, body: Body) -> Reply:
        if number < 4:
            beside.wait()  # passes only when four are asked at once
        return says(in_form(number, body))

    with serve(script) as server:
        assert files.judge(server.url, workers=4) == 0


@pytest.mark.slow
@pytest.mark.parametrize("status", [500, 404, 401])
def test_a_server_that_stays_broken_is_an_error_and_the_same_command_goes_on(status: int, files: Files) -> None:
    def script(number: int, body: Body) -> Reply:
        return says(in_form(number, body)) if number < 7 else Reply(status, b"no", headers=AT_ONCE)

    with serve(script) as server:
        with pytest.raises(JudgeError, match=f"status {status}"):
            files.judge(server.url, workers=1)
        answered = {content_of(asked.body) for asked in server.asked[:7]}
    assert not (files.out / "metrics.json").exists()
    assert len(files.rows()) == 3
    with serve(replies()) as server:
        assert files.judge(server.url) == 0
        assert not answered & {content_of(asked.body) for asked in server.asked}
        assert len(server.asked) == 11
    assert files.metrics()["means"]["given"]["micro"]["cot"] == 1.0
    assert len(files.rows()) == 9


def spoiled(body: Body, *, steps: bool = False) -> bool:
    """Whether a request is the first of its stage about the smile that ends in "sad"."""
    return is_steps(body) == steps and "sad" in text_of(body).rpartition("Right label")[2]


@pytest.mark.slow
@pytest.mark.parametrize("spoil", ["no tags: 1/1, 1/1", "", None])
def test_a_reply_out_of_form_is_asked_again_once_then_unjudged(spoil: str | None, files: Files) -> None:
    """None is a reply without a text, as a filter gives: it stops one sample and not the others."""

    def script(number: int, body: Body) -> Reply:
        return says(spoil) if spoiled(body) else says(in_form(number, body))

    with serve(script) as server:
        assert files.judge(server.url, workers=1) == 0
        about = [asked.body["messages"] for asked in server.asked if spoiled(asked.body)]
        assert [len(messages) for messages in about] == [1, 3]
        num_generated = len(server.asked)
        assert files.judge(server.url) == 0
        assert len(server.asked) == num_generated, "what is judged, or unjudged, is not asked about again"
    made = files.metrics()["sets"]["ER-Lab"]["given"]
    assert (made["judged"], made["unjudged"], made["cot"]) == (0, 1, None)
    assert made["bounds"]["cot"] == [0.0, 1.0]
    whole = files.metrics()["means"]["given"]
    assert (whole["judged"], whole["unjudged"], whole["micro"]["cot"]) == (8, 1, 1.0)
    assert whole["micro"]["bounds"]["cot"] == pytest.approx([8 / 9, 1.0])
    assert files.metrics()["complete"]


def test_a_reply_that_is_in_form_at_the_second_time_counts(files: Files) -> None:
    def script(number: int, body: Body) -> Reply:
        return says("hm") if len(body["messages"]) == 1 else says(in_form(number, body))

    with serve(script) as server:
        assert files.judge(server.url) == 0
        assert len(server.asked) == 36
    assert files.metrics()["means"]["given"]["micro"]["cot"] == 1.0


KILLED = """
import sys
from pathlib import Path
from tests.benchmarks.mme_judging import judge_file
url, questions, responses, out, workers = sys.argv[1:]
judge_file(Path(questions), Path(responses), Path(out), url, workers=workers)
"""


@pytest.mark.slow
@pytest.mark.parametrize(("workers", "after"), [(1, 8), (4, 9)])
def test_killed_and_repeated_it_ends_with_the_same_numbers_and_asks_nothing_twice(
    workers: int, after: int, files: Files, tmp_path: Path
) -> None:
    pids: list[int] = []
    started = threading.Event()

    def kills(number: int, body: Body) -> Reply:
        if number == after:
            started.wait(60)
            os.kill(pids[0], signal.SIGKILL)
        return says(in_form(number, body))

    with serve(kills) as server:
        command = [sys.executable, "-c", KILLED, server.url, *map(str, (files.questions, files.responses, files.out))]
        child = subprocess.Popen([*command, str(workers)], cwd=ROOT, stdout=subprocess.DEVNULL)
        pids.append(child.pid)
        started.set()
        assert child.wait(60) == -signal.SIGKILL
        asked = {content_of(asked.body) for asked in server.asked}
    with serve(replies()) as server:
        assert files.judge(server.url) == 0
        asked_again = asked & {content_of(asked.body) for asked in server.asked}
    assert len(asked_again) <= workers, "only what was under way when it was killed"
    again = files.metrics()
    files.out = tmp_path / "in one go"
    with serve(replies()) as server:
        assert files.judge(server.url) == 0
    assert files.metrics() == again


@pytest.mark.slow
def test_a_row_that_a_stop_cut_off_is_made_again_without_a_question(files: Files) -> None:
    with serve(replies()) as server:
        files.judge(server.url)
        path = files.out / "judged.jsonl"
        whole = path.read_bytes()
        for size in (len(whole) - 1, len(whole) - 40, 30, 0):
            path.write_bytes(whole[:size])
            assert files.judge(server.url) == 0
            assert len(files.rows()) == 9
        assert len(server.asked) == 18


@pytest.mark.slow
def test_a_changed_response_is_judged_anew_and_the_others_are_kept(files: Files) -> None:
    with serve(replies()) as server:
        files.judge(server.url)
        rows = responses_of()
        rows[0]["model_response"] = "<think>a smile</think>happy"
        files.respond(rows)
        assert files.judge(server.url) == 0
        assert len(server.asked) == 20
    assert files.metrics()["sets"]["ER-Lab"]["given"]["rec"] == 0.0
    assert len(files.rows()) == 10


@pytest.mark.slow
def test_another_judge_does_not_mix_into_the_same_folder(files: Files) -> None:
    with serve(replies()) as server:
        files.judge(server.url)
        with pytest.raises(InputError, match="made with judge judge-1, now it is judge-2"):
            files.judge(server.url, judge_model="judge-2")
        with pytest.raises(InputError, match="made with steps judge-1, now it is x"):
            files.judge(server.url, steps_model="x")
        write_clips(files.questions)
        with pytest.raises(InputError, match="made with frames 0, now it is 10"):
            files.judge(server.url, videos=files.questions)
        assert len(server.asked) == 18


def test_a_second_process_on_the_folder_is_refused(files: Files) -> None:
    with serve(replies()) as server, locked(files.out), pytest.raises(InputError, match="another process is at work"):
        files.judge(server.url)


def test_questions_without_a_response_are_named_left_out_and_make_it_incomplete(
    files: Files, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = responses_of()
    rows[0]["model_response"] = None
    files.respond(rows[:-1])
    with serve(replies()) as server:
        assert files.judge(server.url) == 1
        assert len(server.asked) == 14
    made = files.metrics()
    assert (made["complete"], made["means"]["given"]["missing"], made["means"]["given"]["micro"]["cot"]) == (
        False,
        2,
        1,
    )
    assert made["sets"]["SA"]["given"]["missing"] == 1
    said = capsys.readouterr().out
    assert "2 questions of MME-Emotion have no response: ER-Lab/IEMOCAP/video/a.mp4, SA/MELD" in said


WRONG = [
    ([{"video_id": "x.mp4", "model_response": "a"}], "1 responses belong to no question, the first x.mp4"),
    ([{"video_id": "MELD/video/c.mp4", "model_response": "a"}], 'stands in ER-Wild, SA; give "task"'),
    ([{"video_id": "IEMOCAP/video/a.mp4", "model_response": "a"}] * 2, "row 2: a second response to IEMOCAP"),
    ([{"video_id": "IEMOCAP/video/a.mp4", "model_response": ["a"]}], '"model_response" must be a text'),
    ([{"model_response": "a"}], '"video_id" must be a text'),
    ([{"video_id": "IEMOCAP/video/a.mp4", "task": "SA", "model_response": "a"}], "belong to no question"),
    ({"video_id": "a"}, "give a file that holds one list"),
]


@pytest.mark.parametrize(("rows", "message"), WRONG, ids=[message for _, message in WRONG])
def test_responses_that_do_not_fit_are_one_line(rows: Any, message: str, files: Files) -> None:
    files.respond(rows)
    with pytest.raises(InputError, match=message) as caught:
        files.judge("http://127.0.0.1:1/v1")
    assert "\n" not in str(caught.value)
    assert not files.out.exists()


@pytest.mark.slow
def test_a_folder_without_any_of_the_clips_is_refused_and_one_missing_clip_is_counted(files: Files) -> None:
    with pytest.raises(InputError, match="holds none of the clips"):
        files.judge("http://127.0.0.1:1/v1", videos=files.questions)
    write_clips(files.questions)
    clip = files.questions / "IEMOCAP/video/a.mp4"
    whole = clip.read_bytes()
    with serve(replies()) as server:
        for spoil in (clip.unlink, lambda: clip.write_bytes(b"x" * len(whole))):
            spoil()
            assert files.judge(server.url, videos=files.questions) == 1
            assert len(server.asked) == 16
            assert files.metrics()["sets"]["ER-Lab"]["given"]["no_clip"] == 1
        clip.write_bytes(whole)
        assert files.judge(server.url, videos=files.questions) == 0
        assert len(server.asked) == 18


def test_a_dry_run_says_what_it_takes_and_asks_and_writes_nothing(
    files: Files, capsys: pytest.CaptureFixture[str]
) -> None:
    with serve(replies()) as server:
        assert files.judge(server.url, dry_run=True) == 0
        assert not files.out.exists()
        said = capsys.readouterr().out
        assert "9 responses, 0 judged already" in said
        assert "18 calls" in said
        assert "give --price-in and --price-out" in said
        assert files.judge(server.url, dry_run=True, price_in=1e6, price_out=0.0) == 0
        priced = capsys.readouterr().out
        tokens = next(line for line in priced.splitlines() if line.startswith("about")).split()[1]
        assert f"cost: about {tokens}.00 at 1e+06 in" in priced
        assert not server.asked
        files.judge(server.url)
        capsys.readouterr()
        files.judge(server.url, dry_run=True)
        assert "9 responses, 9 judged already" in capsys.readouterr().out
        assert len(server.asked) == 18


def test_markup_and_escapes_in_names_reach_the_terminal_as_text(
    files: Files, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = {"ER-Lab": [dict(ROWS["ER-Lab"][0], video_id="IEMOCAP/[red]a[/red].mp4"), ROWS["ER-Lab"][0]]}
    files.questions = write_questions(files.out.parent / "other", rows)
    files.respond([{"video_id": "IEMOCAP/video/a.mp4", "model_response": "[bold]sad"}])
    with serve(replies()) as server:
        assert files.judge(server.url) == 1
    assert "ER-Lab/IEMOCAP/[red]a[/red].mp4" in capsys.readouterr().out


def test_a_key_is_sent_and_stands_nowhere(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", "sk-secret-1")
    with serve(replies()) as server:
        assert files.judge(server.url, judge_key_env="MY_KEY") == 0
        assert {asked.key for asked in server.asked} == {"Bearer sk-secret-1"}
    assert all(b"sk-secret-1" not in path.read_bytes() for path in files.out.iterdir())
