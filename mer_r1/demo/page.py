"""The page: Gradio's components for what comes in, our HTML for what goes out, and one named call over HTTP."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from functools import partial
from html import escape
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

from mer_r1.data.sample import MODES, Mode
from mer_r1.demo.examples import Example
from mer_r1.demo.model import Answers, DemoModel, Question
from mer_r1.demo.uploads import KEPT_S, MAX_CLIP_S, MAX_UPLOAD_MB, MAX_WORDS, Uploads
from mer_r1.demo.view import answers_html, head_html, problem_html, question_html, timeline_html, wheel_html
from mer_r1.errors import InputError, first_line
from mer_r1.generation.timeline import PredictedWindow
from mer_r1.model_settings import TOY_NOTE
from mer_r1.report.players import EMBEDDED
from mer_r1.text import printable

Source = Literal["file", "webcam", "microphone"]
MAX_WAITING = 16
"""Questions that wait; whoever comes then is told so."""
UPLOAD_FIRST = (
    "clip: not a file that was uploaded; upload it first, by handle_file(PATH) in gradio_client or /gradio_api/upload "
    "with curl"
)
_TURNS = "model"
_SETTLE = (
    "() => document.querySelectorAll('.mer [aria-busy=true]').forEach((e) => e.setAttribute('aria-busy', 'false'))"
)
"""What has been written when it was stopped stays, and no longer looks as if more came."""


def make_page(model: DemoModel, uploads: Uploads, examples: Sequence[Example] = ()) -> Any:
    """Gradio's Blocks. `model` answers, `uploads` holds the files; each of `examples` is a button."""
    import gradio as gr

    with gr.Blocks(title="mer-r1 demo", analytics_enabled=False) as page:
        gr.HTML(_head(model), padding=False)
        with gr.Row(equal_height=False):
            with gr.Column(scale=4, min_width=300, elem_classes="mer-ask"):
                source = gr.State("file")
                with gr.Tabs(elem_classes="mer-tabs"):
                    with gr.Tab("File") as file_tab:
                        file = _local(gr.File(label="A video, a sound or a picture", height=150))
                        player = gr.HTML(visible=False, padding=False)
                    with gr.Tab("Webcam") as webcam_tab:
                        options = gr.WebcamOptions(
                            mirror=False,  # a mirror would be made by a program of FFmpeg's
                            constraints={"video": {"width": {"ideal": 640}, "height": {"ideal": 480}}},
                        )
                        webcam = _local(
                            gr.Video(
                                label="Webcam",
                                sources=["webcam"],
                                include_audio=True,
                                webcam_options=options,
                                height=300,
                            )
                        )
                    with gr.Tab("Microphone") as microphone_tab:
                        microphone = _local(gr.Audio(label="Microphone", sources=["microphone"], type="filepath"))
                words = gr.Textbox(
                    label="The words that are spoken", placeholder="optional", max_length=MAX_WORDS, lines=2
                )
                candidates = gr.Textbox(
                    label="Labels to choose from", placeholder="happy, sad, angry", max_length=MAX_WORDS,
                    visible=model.template.needs_candidates,
                )  # fmt: skip
                with gr.Row():
                    ask = gr.Button("Read the emotions", variant="primary", scale=3, min_width=160)
                    stop = gr.Button("Stop", variant="secondary", scale=1, min_width=80)
                chosen = _example_buttons(examples)
                gr.HTML(_limits(), padding=False)
            with gr.Column(scale=7, min_width=320):
                answers = gr.HTML(_welcome(), padding=False, elem_id="mer-answers")
                timeline = gr.HTML(padding=False, elem_id="mer-timeline")
                seen = gr.HTML(padding=False, elem_id="mer-seen")
                wheel = gr.HTML(padding=False, elem_id="mer-wheel")

        for tab, name in ((file_tab, "file"), (webcam_tab, "webcam"), (microphone_tab, "microphone")):
            tab.select(
                lambda name=name: name, None, source, queue=False, show_progress="hidden", api_visibility="private"
            )

        def answer(source: Source, file: Any, webcam: Any, microphone: Any, words: str, labels: str) -> Iterator[Any]:
            given = {"file": file, "webcam": webcam, "microphone": microphone}.get(source)
            yield from _answer(model, uploads, given, words, labels)

        inputs = [source, file, webcam, microphone, words, candidates]
        shown: dict[str, Any] = {
            "outputs": [answers, timeline, seen, wheel], "concurrency_id": _TURNS,
            "concurrency_limit": model.num_parallel, "show_progress": "hidden", "scroll_to_output": True,
            "api_visibility": "private",
        }  # fmt: skip
        events = [ask.click(answer, inputs, **shown)]
        file.change(_player, file, player, queue=False, show_progress="hidden", api_visibility="private")
        for button, example in chosen:
            take = partial(tuple, ("file", str(example.path), example.subtitle))
            quiet: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
            taken = button.click(take, None, [source, file, words], **quiet)
            events.append(taken.then(answer, inputs, **shown))
        stop.click(None, None, None, cancels=events, js=_SETTLE, queue=False, api_visibility="private")
        _add_call(model)
    page.queue(max_size=MAX_WAITING, api_open=False)
    return _refusing_in_one_line(page)


def _answer(
    model: DemoModel, uploads: Uploads, given: str | None, words: str, labels: str
) -> Iterator[tuple[Any, Any, Any, Any]]:
    """What stands on the page while a clip is answered: (answers, clip over time, what the model sees, wheel)."""
    import gradio as gr

    path, same = None if given is None else Path(given), gr.skip()
    try:
        question = model.question(path, words or "", _labels(labels))
    except InputError as error:
        yield problem_html(str(error)), "", "", ""
        return
    last = Answers()
    yield answers_html(last, model.formats, is_whole=False), "", question_html(question), ""
    for last in model.answers(question):
        if path is not None:
            uploads.touch(path)
        yield answers_html(last, model.formats, is_whole=False), same, same, same
    yield answers_html(last, model.formats, is_whole=True), same, same, wheel_html(last)
    if question.is_long and not last.problem:
        for html in _timeline(model, question):
            if path is not None:
                uploads.touch(path)
            yield same, html, same, same


def _timeline(model: DemoModel, question: Question) -> Iterator[str]:
    windows: list[PredictedWindow] = []
    problem = ""
    try:
        for windows in model.windows(question):
            yield timeline_html(windows, question.seconds, is_growing=True)
    except InputError as error:
        problem = str(error)
    yield timeline_html(windows, question.seconds, is_growing=False, problem=problem)


def _add_call(model: DemoModel) -> None:
    """The call over HTTP, by components that nobody sees: Gradio checks there that a file is one that was uploaded."""
    import gradio as gr

    clip = _local(gr.File(label="clip", visible=False))
    subtitle = gr.Textbox(label="subtitle", value="", visible=False, max_length=MAX_WORDS)
    mode = gr.Radio(("both", *MODES), value="both", label="mode", visible=False)
    labels = gr.Textbox(label="candidates", value="", visible=False, max_length=MAX_WORDS)
    rows = gr.JSON(label="predictions", visible=False)

    def predict(
        clip: str | None, subtitle: str | None = "", mode: str | None = "both", candidates: str | None = ""
    ) -> list[dict[str, Any]]:
        """The predictions of a clip (a video, sound or picture file; none: of the words alone), fast before slow.

        `subtitle` are the words that are spoken, `mode` is both, fast or slow, `candidates` are labels to choose from
        with commas between, for a model that is shown such. Returns rows as `mer-r1 predict --json` prints them.
        """
        path = None if clip is None else Path(clip)
        modes: tuple[Mode, ...] = tuple(each for each in MODES if each == mode) or MODES
        try:
            question = model.question(path, subtitle or "", _labels(candidates))
            return [asdict(row) for row in model.predictions(question, modes)]
        except InputError as error:
            raise gr.Error(str(error), print_exception=False) from None

    button = gr.Button(visible=False)
    button.click(
        predict, [clip, subtitle, mode, labels], rows, api_name="predict", concurrency_id=_TURNS,
        concurrency_limit=model.num_parallel, show_progress="hidden",
    )  # fmt: skip


def _local(component: Any) -> Any:
    """The component, which takes uploaded files alone: Gradio would fetch a file from any address that it is given."""
    import gradio as gr

    move = component.async_move_resource_to_block_cache

    async def uploaded(path: str | Path | None) -> str | None:
        if path is not None and "://" in str(path):
            raise gr.Error("give the file itself, not an address", print_exception=False)
        moved: str | None = await move(path)
        return moved

    component.async_move_resource_to_block_cache = uploaded
    return component


def _refusing_in_one_line(page: Any) -> Any:
    """The page, which says what is wrong with the inputs of a call: Gradio would print it here, and tell nobody."""
    import gradio as gr
    from gradio.exceptions import InvalidPathError
    from pydantic import ValidationError

    preprocess = page.preprocess_data

    async def checked(*arguments: Any, **options: Any) -> Any:
        try:
            return await preprocess(*arguments, **options)
        except (InvalidPathError, ValidationError):  # a path that was not uploaded, a text in place of a file
            raise gr.Error(UPLOAD_FIRST, print_exception=False) from None
        except gr.Error as error:
            error.print_exception = False
            raise
        except ValueError as error:
            raise gr.Error(first_line(error), print_exception=False) from None

    page.preprocess_data = checked
    return page


def _example_buttons(examples: Sequence[Example]) -> list[tuple[Any, Example]]:
    import gradio as gr

    if not examples:
        return []
    gr.HTML('<p class="mer mer-label">Examples, drawn by the computer</p>', padding=False)
    with gr.Row(elem_classes="mer-examples"):
        return [
            (gr.Button(f"“{example.subtitle}”", icon=str(example.thumbnail), size="sm", min_width=110), example)
            for example in examples
        ]


def _player(path: str | None) -> Any:
    """The chosen file as the browser plays it; nothing where it cannot."""
    import gradio as gr

    kind = "" if path is None else EMBEDDED.get(Path(path).suffix.lower(), "").partition("/")[0]
    if path is None or not kind:
        return gr.update(value="", visible=False)
    address, name = f"gradio_api/file={quote(path)}", escape(printable(Path(path).name, 80))
    how = f'alt="{name}"' if kind == "image" else f'controls preload="metadata" aria-label="{name}"'
    tag, close = ("img", "") if kind == "image" else (kind, f"</{kind}>")
    return gr.update(value=f'<div class="mer player"><{tag} src="{escape(address)}" {how}>{close}</div>', visible=True)


def _labels(text: str | None) -> tuple[str, ...]:
    return tuple(label.strip() for label in (text or "").split(",") if label.strip())


def _head(model: DemoModel) -> str:
    facts = model.facts
    learned = f"learned from {facts.learned_from}" if facts.data else ""
    said = ", ".join(fact for fact in (facts.architecture, facts.size, learned) if fact)
    return head_html(
        printable(Path(facts.name).name or facts.name), said, model.place, TOY_NOTE if facts.is_toy else ""
    )


def _welcome() -> str:
    return (
        '<div class="mer"><section class="panel empty"><p>Both answers appear here: what the model says at once, and '
        "what it says after it has reasoned, with its confidence.</p></section></div>"
    )


def _limits() -> str:
    return (
        f'<p class="mer mer-limits">Up to {MAX_UPLOAD_MB} MB and {MAX_CLIP_S / 60:.0f} minutes. Clips stay on the '
        f"machine that serves this page, and are removed {KEPT_S / 60:.0f} minutes after their last use.</p>"
    )
