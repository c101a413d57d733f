"""`mer-r1 benchmark mme-emotion`: asked by each task's prompt, answered, judged, and gone on with."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mer_r1.benchmarks.mme_emotion.benchmark import MmeEmotion
from mer_r1.benchmarks.mme_emotion.judging import JudgeChoice
from mer_r1.benchmarks.mme_emotion.questions import TASKS
from mer_r1.commands import benchmark
from mer_r1.display.mme_emotion import print_run
from mer_r1.errors import InputError
from mer_r1.evaluation.runs import read_runs
from mer_r1.evaluation.suite import Request
from mer_r1.generation.make import Service
from tests.benchmarks.mme_files import ROWS, write_clips, write_questions
from tests.benchmarks.mme_judging import Body, in_form, is_steps, judge_file
from tests.judge.endpoint import Reply, Script, says, serve

pytest.importorskip("httpx")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clips(write_questions(tmp_path_factory.mktemp("mme")), seconds=1)


def asked_text(body: Body) -> str:
    return json.dumps(body["messages"])


def labels_of(body: Body) -> list[str]:
    """The label set that a question offers."""
    found = re.search(r"(?:labels(?: fit)?|intents): (.*?)\. Describe", asked_text(body))
    assert found, asked_text(body)[:400]
    return found[1].split(", ")


def answering(answer: Callable[[Body], Reply]) -> Script:
    """A server that is both: the model "m" that answers, and the judge."""
    return lambda number, body: answer(body) if body["model"] == "m" else says(in_form(number, body))


def first_label(body: Body) -> Reply:
    """An answer whose reason holds a smile, and whose label is the first that is offered."""
    labels = labels_of(body)
    prefilled = body["messages"][-1]["role"] == "assistant"
    return says(f"{'' if prefilled else f'<think>a smile, of {labels}</think><answer>'}{labels[0]}</answer>")


def wanted(data: Path, out: Path, url: str | None, **changes: Any) -> Request:
    return replace(Request("m", data, out, ("slow",), service=Service(url) if url else None), **changes)


def run(request: Request, choice: JudgeChoice | None, with_frames: bool = True) -> int:
    return benchmark.run(MmeEmotion(choice, with_frames=with_frames), request, print_run)


def metrics(out: Path) -> Any:
    return json.loads((out / "metrics.json").read_text())


def test_every_question_is_asked_with_its_own_label_set_and_judged(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    with serve(answering(first_label)) as server:
        assert run(wanted(data, out, server.url), JudgeChoice(server.url, "judge-1")) == 0
        questions = [asked.body for asked in server.asked if asked.body["model"] == "m"]
        num_generated = len(server.asked)
        assert run(wanted(data, out, server.url), JudgeChoice(server.url, "judge-1")) == 0
        assert len(server.asked) == num_generated, "the same command asks nothing twice"
    sets = [row["label_set"] for rows in ROWS.values() for row in rows]
    assert sorted(map(labels_of, questions)) == sorted(sets)
    assert sum("separated by commas" in asked_text(body) for body in questions) == 2
    made = metrics(out)
    right = sum(row["label_set"][0] in row["label"] for rows in ROWS.values() for row in rows)
    assert made["means"]["slow"]["judged"] == 9
    assert made["means"]["slow"]["micro"]["rea"] == 1.0
    assert made["means"]["slow"]["micro"]["rec"] == pytest.approx((right - 1) / 9), "two labels of which one is named"
    assert "|mode:slow|" in made["signature"]
    assert "|frames:10|" in made["signature"]
    assert json.loads((out / "run.json").read_text())["status"] == "finished"
    (system,) = read_runs([out])
    assert {item.name for item in system.sets} == set(TASKS)


def test_the_responses_file_gives_the_judge_verb_the_same_numbers(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    with serve(answering(first_label)) as server:
        run(wanted(data, out, server.url), JudgeChoice(server.url, "judge-1"), with_frames=False)
        assert judge_file(data, out / "responses.slow.json", tmp_path / "judged", server.url) == 0
    again = metrics(tmp_path / "judged")["means"]["given"]
    assert again == metrics(out)["means"]["slow"]


def test_without_a_judge_the_answers_are_written_and_a_judge_may_come_later(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    with serve(answering(first_label)) as server:
        assert run(wanted(data, out, server.url, modes=("fast", "slow")), None) == 0
        assert "--judge-url" in capsys.readouterr().out
        assert not (out / "metrics.json").exists()
        num_generated = len(server.asked)
        assert num_generated == 18
        assert len(json.loads((out / "responses.fast.json").read_text())) == 9
        run(wanted(data, out, server.url, modes=("fast", "slow")), JudgeChoice(server.url, "judge-1"))
        assert not any(asked.body["model"] == "m" for asked in server.asked[num_generated:])
    assert set(metrics(out)["means"]) == set(metrics(out)["sets"]["SA"]) == {"fast", "slow"}


def test_tasks_and_a_limit_narrow_it_and_grow_later(data: Path, tmp_path: Path) -> None:
    with serve(answering(first_label)) as server:
        run(wanted(data, tmp_path, server.url, sets=("ER-Wild",), limit=1), None)
        assert len(server.asked) == 1
        run(wanted(data, tmp_path, server.url, sets=("ER-Wild", "SA")), None)
        assert len(server.asked) == 3
        run(wanted(data, tmp_path, server.url, sets=("ER-Wild",), limit=1), None)
        assert len(server.asked) == 3
    (system,) = read_runs([tmp_path])
    for item in system.sets:  # what was asked before stays beside its answers
        assert {sample.id for sample in item.samples} == {identity for identity, _ in item.predictions}
    assert sorted(len(item.samples) for item in system.sets) == [1, 2]
    for changes, message in (({"sets": ("ER",)}, "--sets: 'ER' is none of ER-Lab"), ({"limit": 0}, "give 1 or more")):
        with pytest.raises(InputError, match=message):
            run(wanted(data, tmp_path, "http://127.0.0.1:1/v1", **changes), None)


def test_an_answer_that_failed_is_missing_and_asked_again(data: Path, tmp_path: Path) -> None:
    broken = [True]

    def answer(body: Body) -> Reply:
        return Reply(400, b"too long") if broken[0] and "questioning" in asked_text(body) else first_label(body)

    with serve(answering(answer)) as server:
        assert run(wanted(data, tmp_path, server.url), JudgeChoice(server.url, "judge-1")) == 1
        made = metrics(tmp_path)
        assert (made["complete"], made["sets"]["IR"]["slow"]["missing"], made["sets"]["IR"]["slow"]["cot"]) == (
            False,
            1,
            None,
        )
        broken[0] = False
        assert run(wanted(data, tmp_path, server.url), JudgeChoice(server.url, "judge-1")) == 0
    assert metrics(tmp_path)["means"]["slow"]["judged"] == 9


def test_a_clip_that_is_not_there_is_missing_and_not_asked_about(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = write_clips(write_questions(tmp_path / "mme"), seconds=1)
    (root / "IEMOCAP/video/a.mp4").unlink()
    with serve(answering(first_label)) as server:
        assert run(wanted(root, tmp_path / "run", server.url), JudgeChoice(server.url, "judge-1")) == 1
        assert sum(asked.body["model"] == "m" for asked in server.asked) == 8
    assert metrics(tmp_path / "run")["sets"]["ER-Lab"]["slow"]["missing"] == 1
    assert "have no response: ER-Lab/IEMOCAP/video/a.mp4" in capsys.readouterr().out


def test_another_label_set_does_not_mix_into_the_same_folder(tmp_path: Path) -> None:
    root = write_clips(write_questions(tmp_path / "mme"), seconds=1)
    with serve(answering(first_label)) as server:
        run(wanted(root, tmp_path / "run", server.url), None)
        write_questions(root, ROWS | {"SA": [ROWS["SA"][0] | {"label_set": ["positive", "negative"]}]})
        with pytest.raises(InputError, match=r"SA/MELD/video/c\.mp4 has another label or label set now"):
            run(wanted(root, tmp_path / "run", server.url), None)


def test_a_folder_without_clips_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no question of these tasks has its clip here"):
        run(wanted(write_questions(tmp_path), tmp_path / "run", "http://127.0.0.1:1/v1"), None)


def test_a_local_model_answers_all_tasks_loaded_once(
    data: Path, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mer_r1.generation import local

    loaded: list[str] = []
    load = local.load_model

    def counted(source: str, *how: Any) -> Any:
        loaded.append(source)
        return load(source, *how)

    monkeypatch.setattr(local, "load_model", counted)
    local_run = wanted(data, tmp_path, None, model=str(tiny_folder), sets=("ER-Wild", "SA"), max_new_tokens=4)
    with serve(lambda number, body: says(in_form(number, body) if is_steps(body) else "?")) as server:
        assert run(local_run, JudgeChoice(server.url, "judge-1")) == 0
    assert loaded == [str(tiny_folder)]
    whole = metrics(tmp_path)["means"]["slow"]
    assert whole["n"] == 3
    assert whole["unjudged"] + whole["blank"] == 3
    settings = json.loads((tmp_path / "run.json").read_text())["settings"]
    assert settings["asked"]["prompt"].startswith("mme-emotion ")


def test_a_mode_that_was_judged_before_keeps_its_numbers(data: Path, tmp_path: Path) -> None:
    with serve(answering(first_label)) as server:
        choice = JudgeChoice(server.url, "judge-1")
        run(wanted(data, tmp_path, server.url, modes=("fast",)), choice)
        fast = metrics(tmp_path)
        run(wanted(data, tmp_path, server.url, modes=("slow",), sets=("SA", "ER-Lab")), choice)
    both = metrics(tmp_path)
    assert both["means"]["fast"] == fast["means"]["fast"]
    assert (both["means"]["slow"]["n"], list(both["sets"])) == (2, list(fast["sets"]))
    assert set(both["sets"]["SA"]) == {"fast", "slow"}
    assert {name: numbers["fast"] for name, numbers in both["sets"].items()} == {
        name: numbers["fast"] for name, numbers in fast["sets"].items()
    }
    assert set(both["signatures"]) == {"fast", "slow"}
    assert json.loads((tmp_path / "SA" / "score.json").read_text()) == both["sets"]["SA"]
