"""A model behind an OpenAI-compatible address, vLLM's chat API first: media go out as content parts, answers come back.

Slow thinking sends a plain request. Fast thinking prefills the assistant's turn as the response format has it (MER-R1
Section 3.1) and has the server continue from there (`continue_final_message`). `stop` ends an answer where a local one
ends, and stays in the text; where a server leaves it out it is put back. Decoding is greedy at temperature 0, without
the repetition penalty that a checkpoint's settings may hold, as locally.

Media go out as files, and the server takes its frames from them; or, under a `budget`, as the very frames and sound
that a local model is given, with the ids that are never answered suppressed as they are locally. That is for a vLLM
server of a model trained here, started with `--trust-request-mm-kwargs`: it gives the answers of the model itself.

At most `num_workers` samples are worked on at a time. Memory of each: about six times its media files while its request
is made, four thirds while it is under way. An answer that was cut (finish_reason "length") is "truncated". A sample
that fails, with its file, in the server, or after all tries, is a row with status "error"; a wrong address, model or
key, and a server that `num_workers` requests in a row could not reach, end the work.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, as_completed, wait
from copy import copy
from dataclasses import asdict, replace
from functools import partial
from itertools import islice
from typing import Any, NamedTuple, Protocol, TypeAlias, get_args

from mer_r1.data.sample import MediaFacts, Mode, Prediction, Sample
from mer_r1.errors import InputError
from mer_r1.generation.generator import NOT_NUMBERS, UNREADABLE, Show, failed
from mer_r1.generation.media_parts import Delivery, SentMedia, media_parts, taken_parts
from mer_r1.judge.chat import ChatClient, ChatError, ChatReply
from mer_r1.media import MediaBudget, read_clip
from mer_r1.model_settings import SUPPRESSED_BIAS
from mer_r1.prompting.response import RESPONSE_FORMATS, ResponseFormat, parse_response
from mer_r1.prompting.templates import NO_CANDIDATES, PROMPT_TEMPLATES, PromptTemplate, without_servers_control

DEFAULT_TEMPLATE = PROMPT_TEMPLATES["full"]
_UNTRUSTED = "Per-request m"  # how vLLM's refusal of mm_processor_kwargs and media_io_kwargs begins
_REWRITES = "continue_final_message is set but"  # how transformers begins, by which a server runs its chat template
_WITHHELD = ("content_filter", "abort", "error")  # reasons of a server that has stopped the model

Ask: TypeAlias = Callable[[str, Mapping[str, Any]], Mapping[str, Any]]
"""The server's whole reply: (text that opens the assistant's turn, fields of the request)."""


class ConfidenceReader(Protocol):
    """Reads by further requests how sure a model was of the words of an answer (served_confidence.py)."""

    def read(
        self, token_ids: Sequence[int], prefill: str, response_format: ResponseFormat, ask: Ask
    ) -> Mapping[str, Any]:
        """Fields of the prediction, from the answer's ids behind the prefill."""


class _Outcome(NamedTuple):
    """A sample's prediction; whether a request was `sent`, and the failure where the server could not be reached."""

    prediction: Prediction
    sent: bool = True
    lost: ChatError | None = None


class EndpointGenerator:
    """An `Generator` of the model `model` that is served at `url` (the API's base, such as http://localhost:8000/v1)."""

    def __init__(
        self,
        url: str,
        model: str,
        *,
        key_env: str | None = None,
        template: PromptTemplate | None = None,
        max_new_tokens: int = 1024,
        num_workers: int = 8,
        timeout_s: float = 300.0,
        retries: int = 4,
        media: Delivery = "data",
        sound: bool = True,
        budget: MediaBudget | None = None,
        suppressed: Sequence[int] = (),
        confidence: ConfidenceReader | None = None,
    ) -> None:
        """`key_env` names the environment variable of the API key (None: none is sent). `template` None is "full".

        `num_workers` (1 to 64) samples are worked on at a time; `timeout_s` bounds each wait for the server, and
        `retries` is the number of tries after the first. `media` "path" sends `file://` addresses to a server that
        reads the same disk. `sound` False is for a model that takes none. With `budget` frames and sound go out as they
        are taken under it; `suppressed` are ids that the model may not answer, and `confidence`
        reads how sure it was of the words of its answers.

        Raises InputError for an address, name, number or key that cannot be used.
        """
        if max_new_tokens < 1:
            raise InputError("endpoint: give max_new_tokens from 1")
        if media not in get_args(Delivery):
            raise InputError(f"endpoint: media {media!r} is not known; use one of: {', '.join(get_args(Delivery))}")
        self._open = partial(
            ChatClient,
            url,
            model,
            who="endpoint",
            key_env=key_env,
            timeout_s=timeout_s,
            retries=retries,
            num_workers=num_workers,
        )
        self._open().close()  # what cannot be used is reported before the first request
        self._model, self._template = model, template or DEFAULT_TEMPLATE
        self._response_format = RESPONSE_FORMATS[self._template.response_format]
        self._max_new_tokens, self._num_workers = max_new_tokens, num_workers
        self._media, self._sound, self._budget = media, sound, budget
        self._confidence = confidence
        self._show: Show = lambda sample, clip: (sample, clip)
        self._bias = dict.fromkeys(map(str, suppressed), SUPPRESSED_BIAS)

    @property
    def template(self) -> PromptTemplate:
        """The prompt template that it asks by."""
        return self._template

    @property
    def settings(self) -> dict[str, Any]:
        """What decides an answer, as JSON values. Not the address: a model may move."""
        return {
            "backend": "endpoint",
            "model": self._model,
            "prompt": self._template.settings,
            "max_new_tokens": self._max_new_tokens,
            "temperature": 0.0,
            "sound": self._sound,
            "media": "file" if self._budget is None else "frames",
            **({} if self._budget is None else {"budget": asdict(self._budget)}),
            **({} if self._confidence is None else {"confidence": True}),
        }

    @property
    def budget(self) -> MediaBudget:
        """How much of a clip the model is shown. Raises InputError where files are sent as they are."""
        if self._budget is None:
            raise InputError(
                "a window of a clip can be sent only where frames are sent as they are taken; give --served-as NAME, "
                "or a budget such as --num-frames 8"
            )
        return self._budget

    def showing(self, show: Show) -> EndpointGenerator:
        """The same model, shown something else of every sample. Raises InputError where files are sent as they are."""
        other = copy(self)
        other._show, other._budget = show, self.budget
        return other

    def generate(self, samples: Sequence[Sample], mode: Mode) -> Iterator[Prediction]:
        """One prediction of each sample, in the order in which they come.

        Closing the iterator ends all requests under way. Raises InputError for what fails for all samples.
        """
        waiting = iter(samples)
        under_way: set[Future[_Outcome]] = set()
        lost: list[_Outcome] = []  # in a row, and held back until the server is reached
        with ThreadPoolExecutor(self._num_workers, thread_name_prefix="generating") as pool, self._open() as chat:
            while True:
                for sample in islice(waiting, self._num_workers - len(under_way)):
                    under_way.add(pool.submit(self._answer, chat, sample, mode))
                if not under_way:
                    break
                done, under_way = wait(under_way, return_when=FIRST_COMPLETED)
                for outcome in [future.result() for future in done]:
                    if outcome.lost is not None:
                        lost.append(outcome)
                        continue
                    if outcome.sent:
                        yield from (item.prediction for item in lost)
                        lost = []
                    yield outcome.prediction
                if len(lost) >= self._num_workers:
                    break
        for outcome in lost:  # the last request was not answered, so the server is gone
            assert outcome.lost is not None, "only these are held back"
            raise outcome.lost

    def stream(self, sample: Sample, modes: Sequence[Mode], wrote: Callable[[Mode, str], None]) -> Iterator[Prediction]:
        """The prediction of one sample in each mode, all modes at the same time; see `stream.Streaming`."""
        with ThreadPoolExecutor(len(modes), thread_name_prefix="generating") as pool, self._open() as chat:
            under_way = [pool.submit(self._answer, chat, sample, mode, partial(wrote, mode)) for mode in modes]
            for future in as_completed(under_way):
                outcome = future.result()
                if outcome.lost is not None:
                    raise outcome.lost
                yield outcome.prediction

    def _answer(
        self, chat: ChatClient, sample: Sample, mode: Mode, wrote: Callable[[str], None] | None = None
    ) -> _Outcome:
        try:
            if self._budget is None:
                media = media_parts(sample, self._media, sound=self._sound)
            else:
                sample, clip = self._show(sample, read_clip(sample, self._budget))
                media = taken_parts(clip, self._budget, sound=self._sound)
            question, facts = self._question(media, sample), media.facts
            fields = {**self._fields(mode), **media.fields}
            prefill = self._response_format.prefill(mode)
            body = self._body(chat, question, prefill, fields, stream=wrote is not None)
            if self._confidence is None:
                question.clear()  # the body holds it
            del media
        except UNREADABLE as error:
            return _Outcome(failed(sample.id, mode, error), sent=False)
        try:
            reply = chat.send(body, wrote=None if wrote is None else lambda text: wrote(whole_text(prefill, text)))
            prediction = self._prediction(sample.id, mode, reply, facts)
            if self._confidence is not None:
                prediction = replace(prediction, **self._confidences(chat, reply, question, fields, mode))
            return _Outcome(prediction)
        except ChatError as error:
            if error.of_all:
                raise
            if "mm_processor_kwargs" in fields and error.of_one and _UNTRUSTED in str(error):
                raise ChatError(
                    f"{chat.url}: the server does not let a request say how its media are taken; start it with "
                    "--trust-request-mm-kwargs, or send the files (no --served-as, no budget)",
                    of_all=True,
                ) from None
            if _REWRITES in str(error):
                raise ChatError(
                    f"{chat.url}: the server's chat template rewrites the block of thoughts that opens a fast answer; "
                    "start it with one that leaves an assistant's turn as it is (--chat-template, docs/endpoints.md), "
                    "or answer with --engine vllm",
                    of_all=True,
                ) from None
            return _Outcome(failed(sample.id, mode, error), lost=error if error.unreachable else None)

    def _confidences(
        self, chat: ChatClient, reply: ChatReply, question: list[dict[str, Any]], fields: dict[str, Any], mode: Mode
    ) -> Mapping[str, Any]:
        assert self._confidence is not None, "asked for"
        prefill = self._response_format.prefill(mode)

        def ask(begun: str, more: Mapping[str, Any]) -> Mapping[str, Any]:
            return chat.send(self._body(chat, question, begun, {**fields, **more})).body

        try:
            ids = reply.body["choices"][0]["token_ids"]
            return self._confidence.read(ids, prefill, self._response_format, ask)
        except (LookupError, TypeError):
            raise ChatError(
                f"{chat.url}: the server does not give the log-probabilities of chosen ids; --confidence needs vLLM, "
                "0.32 or later",
                of_all=True,
            ) from None

    def _question(self, media: SentMedia, sample: Sample) -> list[dict[str, Any]]:
        if self._template.needs_candidates and not sample.candidates:
            raise InputError(f"sample {sample.id!r}: {NO_CANDIDATES}")
        # A control token that a subtitle or a label spells would become one in the server's chat template.
        subtitle, *candidates = map(without_servers_control, (sample.subtitle or "", *sample.candidates))
        text = self._template.text(subtitle, candidates)
        system = {"role": "system", "content": self._template.system}
        user = {"role": "user", "content": [*media.parts, {"type": "text", "text": text}]}
        return [system, user] if self._template.system else [user]

    def _body(
        self,
        chat: ChatClient,
        question: list[dict[str, Any]],
        begun: str,
        fields: dict[str, Any],
        *,
        stream: bool = False,
    ) -> bytes:
        """The request for a turn of the assistant's that `begun` opens."""
        if not begun:
            return chat.body(question, fields, stream=stream)
        fields = fields | {"continue_final_message": True, "add_generation_prompt": False}
        return chat.body([*question, {"role": "assistant", "content": begun}], fields, stream=stream)

    def _fields(self, mode: Mode) -> dict[str, Any]:
        fields: dict[str, Any] = {
            "temperature": 0.0,
            "max_tokens": self._max_new_tokens,
            "repetition_penalty": 1.0,
        }
        if self._response_format.stops_at_first(mode):  # which is all that a server can do
            fields |= {"stop": [self._response_format.stop], "include_stop_str_in_output": True}
        if self._bias:
            fields["logit_bias"] = self._bias
        if self._confidence is not None:
            fields["return_token_ids"] = True
        return fields

    def _prediction(self, identity: str, mode: Mode, reply: ChatReply, facts: MediaFacts | None) -> Prediction:
        if reply.finish_reason in _WITHHELD:
            raise ChatError(f"the server withheld the answer (finish_reason {reply.finish_reason}); use another model")
        prefill = self._response_format.prefill(mode)
        text = _with_opened_thoughts(whole_text(prefill, reply.text))
        if prefill and text[len(prefill) :].lstrip().startswith(("<think>", "<step1>")):
            raise ChatError(
                "the server began a new turn instead of continuing the prefilled one; fast thinking needs one that "
                "knows continue_final_message, as vLLM does"
            )
        if NOT_NUMBERS.fullmatch(text, len(prefill)):
            raise ChatError(
                'the answer is "!" alone, as the served model\'s scores are no numbers; check its weights and precision'
            )
        if self._response_format.stops(mode) == 1 and reply.finish_reason == "stop" and not reply.ended_by_model:
            text += self._stop_left_out(text)
        response = parse_response(text, self._response_format.name)
        return Prediction(
            id=identity,
            mode=mode,
            raw=text,
            reasoning=response.reasoning,
            labels=response.labels,
            status="truncated" if reply.finish_reason == "length" else response.status,
            media=facts,
        )

    def _stop_left_out(self, text: str) -> str:
        """The stop text where the last block that it ends is open: not every server leaves it in the answer."""
        stop = self._response_format.stop
        return stop if text.rfind(stop.replace("/", "")) > text.rfind(stop) else ""


def _with_opened_thoughts(text: str) -> str:
    """A server's text, from the block of thoughts on that its chat template has opened (Qwen3's Thinking models)."""
    before, closing, _ = text.partition("</think>")
    return f"<think>{text}" if closing and "<think>" not in before else text


def whole_text(prefill: str, text: str) -> str:
    """A server's text with the prefill in front, which some servers repeat."""
    return text if text.startswith(prefill) else prefill + text
