"""Confidence read over HTTP: of a server that gives the log-probabilities of chosen ids beside those that it writes."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from mer_r1.data.sample import Sample
from mer_r1.emotion.wheel import WheelSet
from mer_r1.errors import InputError
from mer_r1.generation.batch import confidence_fields
from mer_r1.generation.make import Service, make_generator
from mer_r1.generation.served_confidence import MOST_IDS, ServedConfidence
from mer_r1.models.category_confidence import category_tokens
from mer_r1.models.qwen2_5_omni import OmniBackbone
from mer_r1.models.token_offsets import locate_answer
from mer_r1.prompting.response import RESPONSE_FORMATS
from tests.generation.server import ANSWER
from tests.judge.endpoint import Reply, says, serve

FORM = RESPONSE_FORMATS["think_answer"]
FAST = FORM.prefill("fast")


@pytest.fixture(scope="module")
def reader(tiny_folder: Path) -> ServedConfidence:
    return ServedConfidence(tiny_folder)


class Server:
    """Writes the rest of a response behind any beginning of it; its log-probabilities at a place are made up.

    At the places of `odd` it writes another id, once.
    """

    def __init__(self, tiny: OmniBackbone, text: str, odd: set[int] | None = None) -> None:
        self._tiny, self.row, self.odd = tiny, tiny.text_ids(text), odd or set()
        generator = torch.Generator().manual_seed(0)
        self.log_probs_RV = torch.randn(len(self.row), len(tiny.suppressed_V), generator=generator).log_softmax(-1)
        self.asked: list[tuple[int, Mapping[str, Any]]] = []

    def ask(self, begun: str, fields: Mapping[str, Any]) -> Mapping[str, Any]:
        at = len(self._tiny.text_ids(begun)) if begun else 0
        assert self.row[:at] == (self._tiny.text_ids(begun) if begun else [])
        self.asked.append((at, fields))
        places = range(at, min(at + fields["max_tokens"], len(self.row)))
        ids = [0 if place in self.odd else self.row[place] for place in places]
        self.odd -= {*places}
        asked = fields["logprob_token_ids"]
        assert len(asked) <= MOST_IDS
        content = [
            {"top_logprobs": [{"token": f"token_id:{i}", "logprob": float(self.log_probs_RV[p, i])} for i in asked]}
            for p in places
        ]
        return {"choices": [{"token_ids": ids, "logprobs": {"content": content}}]}

    def expected(self) -> Mapping[str, Any]:
        """Of the same log-probabilities, all of them at hand."""
        wheels = WheelSet.load(protocol="corrected")
        tokens, answer = category_tokens(self._tiny, wheels), locate_answer(self._tiny, self.row)
        assert answer is not None
        log_probs_AV = (self.log_probs_RV[list(answer.anchors)] + self._tiny.suppressed_V).log_softmax(-1)
        return confidence_fields(answer, tokens.log_confidence(log_probs_AV), tokens, wheels)


def close(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    def flat(value: Any) -> Any:
        return [leaf for item in value.values() for leaf in flat(item)] if isinstance(value, Mapping) else [value]

    assert one.keys() == other.keys()
    return bool(flat(one) == pytest.approx(flat(other), abs=2e-5))


@pytest.mark.parametrize("mode", ["slow", "fast"])
def test_confidence_is_that_of_the_whole_distribution_without_the_suppressed_ids(
    mode: str, reader: ServedConfidence, tiny: OmniBackbone
) -> None:
    prefill = FAST if mode == "fast" else ""
    server = Server(tiny, f"{FAST}happy, calm, tired</answer>" if prefill else ANSWER)
    behind = server.row[len(tiny.text_ids(prefill)) :] if prefill else server.row
    found = reader.read(behind, prefill, FORM, server.ask)
    assert close(found, server.expected())
    assert list(found["confidence"]) == (["happy", "calm", "tired"] if prefill else ["happy", "calm"])
    answer = locate_answer(tiny, server.row)
    assert answer is not None
    assert {at for at, _ in server.asked} == {answer.start}, "nothing but the answer is written again"
    assert {fields["max_tokens"] for _, fields in server.asked} == {max(answer.anchors) - answer.start + 1}
    asked = [ident for _, fields in server.asked for ident in fields["logprob_token_ids"]]
    assert len(asked) == len(set(asked))
    assert set(tiny.suppressed_ids) < set(asked)


def test_where_the_server_writes_another_id_it_is_asked_again_from_behind_it(
    reader: ServedConfidence, tiny: OmniBackbone
) -> None:
    answer = locate_answer(tiny, tiny.text_ids(ANSWER))
    assert answer is not None
    for odd in ({answer.start}, {answer.start + 1}, {max(answer.anchors)}):
        server = Server(tiny, ANSWER, odd)
        assert close(reader.read(server.row, "", FORM, server.ask), server.expected())


def test_an_answer_without_a_word_is_asked_nothing(reader: ServedConfidence, tiny: OmniBackbone) -> None:
    server = Server(tiny, "<think>She smiles.</think>")
    assert reader.read(server.row, "", FORM, server.ask) == {}
    assert not server.asked


def test_ids_that_no_text_gives_back_are_written_again_from_the_start(
    reader: ServedConfidence, tiny: OmniBackbone
) -> None:
    row = tiny.text_ids(ANSWER)
    split = [*tiny.text_ids("<think>"), *tiny.text_ids("S"), *tiny.text_ids("h"), *tiny.text_ids("e")]
    odd_row = [*split, *row[row.index(tiny.text_ids("</think>")[0]) :]]
    assert tiny.text_ids(tiny.decode(odd_row)) != odd_row
    server = Server(tiny, ANSWER)
    server.row = odd_row
    server.log_probs_RV = server.log_probs_RV[:1].expand(len(odd_row), -1)
    assert close(reader.read(odd_row, "", FORM, server.ask), server.expected())
    assert {at for at, _ in server.asked} == {0}


def reply_of(ids: list[int], text: str) -> Reply:
    choice = {"message": {"content": text}, "finish_reason": "stop", "token_ids": ids}
    return Reply(body=json.dumps({"choices": [choice]}).encode())


@pytest.mark.slow
def test_answers_of_a_served_folder_carry_confidence_where_it_is_asked_for(
    tiny: OmniBackbone, tiny_folder: Path
) -> None:
    pytest.importorskip("httpx")
    server = Server(tiny, ANSWER)

    def script(number: int, body: dict[str, Any]) -> Reply:
        if not number:
            return reply_of(server.row, ANSWER)
        last = body["messages"][-1]
        (choice,) = server.ask(last["content"] if last["role"] == "assistant" else "", body)["choices"]
        return Reply(body=json.dumps({"choices": [choice | {"message": {"content": "x"}}]}).encode())

    with serve(script) as endpoint:
        service = Service(endpoint.url, served_as="m", confidence=True)
        generator = make_generator(str(tiny_folder), service)
        (row,) = generator.generate([Sample("a", subtitle="hm")], "slow")
    assert close({name: getattr(row, name) for name in server.expected()}, server.expected())
    assert (row.raw, row.labels, row.status) == (ANSWER, ("happy", "calm"), "ok")
    bodies = [asked.body for asked in endpoint.asked]
    assert all(body["messages"][:1] == bodies[0]["messages"][:1] for body in bodies)
    assert all(body["logit_bias"] == bodies[0]["logit_bias"] and body["temperature"] == 0.0 for body in bodies)
    assert all(body["continue_final_message"] for body in bodies[1:])
    assert generator.settings["confidence"] is True


@pytest.mark.parametrize(
    "script",
    [
        lambda number, ids: says(ANSWER),
        lambda number, ids: reply_of(ids, ANSWER),
    ],
    ids=["no ids", "no log-probabilities"],
)
def test_a_server_that_cannot_is_one_line(
    script: Callable[[int, list[int]], Reply], tiny: OmniBackbone, tiny_folder: Path
) -> None:
    pytest.importorskip("httpx")
    with serve(lambda number, body: script(number, tiny.text_ids(ANSWER))) as endpoint:
        generator = make_generator(str(tiny_folder), Service(endpoint.url, served_as="m", confidence=True))
        with pytest.raises(InputError, match="does not give the log-probabilities of chosen ids"):
            list(generator.generate([Sample("a", subtitle="hm")], "slow"))


def test_confidence_needs_the_folder() -> None:
    pytest.importorskip("httpx")
    with pytest.raises(InputError, match="--confidence goes with --served-as"):
        make_generator("m", Service("http://localhost:1/v1", confidence=True))
