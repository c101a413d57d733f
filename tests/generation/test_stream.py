"""Answers as they are written: the texts grow, and the prediction at the end is the one that `predict` gives."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

from mer_r1.data.sample import MODES, Mode, Sample
from mer_r1.errors import InputError
from mer_r1.generation.generator import FastByPrompt
from mer_r1.generation.predict import predict
from mer_r1.generation.stream import stream
from tests.generation.server import ANSWER, be_quick, generator
from tests.judge.endpoint import Reply, Script, says, serve

if TYPE_CHECKING:
    from mer_r1.models.qwen2_5_omni import OmniBackbone

SHORT = 12
WORDS = Sample("a", subtitle="Well done.")


class Written:
    """Every text so far, by mode."""

    def __init__(self) -> None:
        self.of: defaultdict[Mode, list[str]] = defaultdict(list)

    def __call__(self, mode: Mode, text: str) -> None:
        self.of[mode].append(text)


def events(*pieces: str, finish_reason: str | None = "stop", end: str = "data: [DONE]\n\n", **more: Any) -> Reply:
    """A streamed completion of these pieces."""
    rows: list[dict[str, Any]] = [{"choices": [{"delta": {"role": "assistant", "content": ""}}]}]
    rows += [{"choices": [{"delta": {"content": piece}, "finish_reason": None}]} for piece in pieces]
    rows += [{"choices": [{"delta": {}, "finish_reason": finish_reason, **more}]}, {"choices": [], "usage": {}}]
    text = ": a comment\n\n" + "".join(f"data: {json.dumps(row)}\n\n" for row in rows) + end
    return Reply(body=text.encode(), headers={"Content-Type": "text/event-stream; charset=utf-8"})


def streamed(script: Script, written: Written, **options: Any) -> dict[Mode, Any]:
    with serve(script) as endpoint:
        return {row.mode: row for row in stream(generator(endpoint.url, **options), WORDS, MODES, written)}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    be_quick(monkeypatch)


@pytest.mark.slow
def test_a_checkpoint_streams_what_predict_gives(tiny: OmniBackbone, samples: list[Sample]) -> None:
    from mer_r1.generation.local import LocalGenerator

    written = Written()
    rows = list(stream(LocalGenerator(tiny, SHORT), samples[0], MODES, written))
    assert rows == predict(samples[0], model=tiny, max_new_tokens=SHORT)
    for row in rows:
        texts = written.of[row.mode]
        assert texts[-1] == row.raw.rstrip("\N{REPLACEMENT CHARACTER}")
        assert 1 < len(texts) <= SHORT
        assert all(later.startswith(earlier) for earlier, later in pairwise(texts))
    assert written.of["fast"][0].startswith("<think></think><answer>")


def test_what_the_listener_raises_ends_the_answer(tiny: OmniBackbone) -> None:
    from mer_r1.generation.local import LocalGenerator

    heard = []

    def wrote(mode: Mode, text: str) -> None:
        heard.append(text)
        raise KeyError("enough")

    with pytest.raises(KeyError, match="enough"):
        list(stream(LocalGenerator(tiny, SHORT), WORDS, ["slow"], wrote))
    assert len(heard) == 1


def test_a_file_that_cannot_be_read_is_a_row_of_each_mode(tiny: OmniBackbone, tmp_path: Any) -> None:
    from mer_r1.generation.local import LocalGenerator

    lost = Sample("lost", audio=tmp_path / "lost.wav")
    rows = list(stream(LocalGenerator(tiny, SHORT), lost, MODES, Written()))
    assert [(row.mode, row.status) for row in rows] == [("fast", "error"), ("slow", "error")]


def test_a_server_streams_both_modes_and_their_predictions_are_those_of_whole_replies() -> None:
    written = Written()
    rows = streamed(
        lambda number, body: events("<think>She ", "smiles.</think>", "<answer>happy, calm</answer>"), written
    )
    with serve(lambda number, body: says(ANSWER)) as endpoint:
        whole = {mode: next(iter(generator(endpoint.url).generate([WORDS], mode))) for mode in MODES}
    assert rows["slow"] == whole["slow"]
    assert written.of["slow"] == ["<think>She ", "<think>She smiles.</think>", ANSWER]


def test_a_streamed_request_says_so_and_the_fast_one_continues_its_prefill() -> None:
    asked, written = [], Written()

    def script(number: int, body: dict[str, Any]) -> Reply:
        asked.append(body)
        return events("calm", "</answer>")

    row = streamed(script, written)["fast"]
    assert [body["stream"] for body in asked] == [True, True]
    assert written.of["fast"] == ["<think></think><answer>calm", "<think></think><answer>calm</answer>"]
    assert (row.labels, row.status) == (("calm",), "ok")


def test_ids_that_come_in_pieces_are_joined_for_the_reader_of_confidence() -> None:
    class Reader:
        def read(self, token_ids: Any, prefill: str, response_format: Any, ask: Any) -> dict[str, Any]:
            return {"confidence": {"calm": float(len(token_ids))}}

    def script(number: int, body: dict[str, Any]) -> Reply:
        assert body["return_token_ids"] is True
        return events("<answer>calm</answer>", token_ids=[5, 6, 7])

    assert streamed(script, Written(), confidence=Reader())["slow"].confidence == {"calm": 3.0}


def test_a_server_that_gives_the_answer_whole_is_understood() -> None:
    written = Written()
    assert streamed(lambda number, body: says(ANSWER), written)["slow"].labels == ("happy", "calm")
    assert not written.of


def test_a_stream_that_breaks_off_is_asked_for_anew() -> None:
    def script(number: int, body: dict[str, Any]) -> Reply:
        first = number < len(MODES)
        return events("<think>", finish_reason=None, end="") if first else events("<answer>calm</answer>")

    assert streamed(script, Written())["slow"].labels == ("calm",)


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (events("a", finish_reason=None, end=""), "the reply broke off .asked 2 times"),
        (Reply(body=b"data: {}\n\n", headers={"Content-Type": "text/event-stream"}), "no chat completion"),
        (Reply(body=b"data: <p>\n\n", headers={"Content-Type": "text/event-stream"}), "no chat completion .<p>."),
        (Reply(400, b"too long", {"Content-Type": "text/event-stream"}), "status 400 .too long"),
        (Reply(body=b"x" * (17 * 2**20), headers={"Content-Type": "text/event-stream"}), "longer than 16 MiB"),
    ],
)
def test_a_bad_stream_is_a_failed_row_of_one_line(reply: Reply, said: str) -> None:
    row = streamed(lambda number, body: reply, Written())["slow"]
    assert row.status == "error"
    assert re.search(said, str(row.error))
    assert "\n" not in str(row.error)


def test_a_wrong_key_ends_the_work() -> None:
    with pytest.raises(InputError, match="API key"):
        streamed(lambda number, body: Reply(401, b"no"), Written())


@pytest.mark.slow
def test_fast_by_a_prompt_streams_each_mode_from_its_own_generator(tiny: OmniBackbone) -> None:
    from mer_r1.generation.local import LocalGenerator

    slow = LocalGenerator(tiny, SHORT)
    both = FastByPrompt(slow, slow.with_template(slow.template.answer_only()))
    written = Written()
    rows = list(stream(both, WORDS, MODES, written))
    assert [row.mode for row in rows] == ["fast", "slow"]
    assert rows == [next(both.generate([WORDS], mode)) for mode in MODES]
    assert written.of["fast"]
