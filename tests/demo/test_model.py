"""The page's model: the answers of `predict`, told while they are written; a bad file is one line without a path."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from mer_r1.data.sample import MODES, Sample
from mer_r1.demo import uploads
from mer_r1.demo.model import FAILED, Answers, DemoModel, open_model
from mer_r1.errors import InputError
from mer_r1.generation.make import Service
from mer_r1.generation.predict import predict
from mer_r1.media import read_clip
from mer_r1.model_settings import ModelFacts
from tests.demo.scripted import FAST, SLOW, WRONG, Scripted, demo_model
from tests.generation.server import ANSWER
from tests.judge.endpoint import says, serve
from tests.media.make_media import gray_frames, tone, write_media

if TYPE_CHECKING:
    from mer_r1.models.qwen2_5_omni import OmniBackbone

SHORT = 12


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("media") / "film.mp4"
    return write_media(path, frames=gray_frames(4), sound=tone(0.5, 16_000))


@pytest.mark.slow
def test_the_answers_are_those_of_predict_to_the_last_number(tiny: OmniBackbone, film: Path) -> None:
    from mer_r1.generation.local import LocalGenerator

    model = DemoModel(LocalGenerator(tiny, SHORT), ModelFacts("tiny"), "on this machine")
    question = model.question(film, " Well done. ")
    *parts, last = model.answers(question)
    sample = Sample("film", video=film, subtitle="Well done.")
    assert [last.predictions[mode] for mode in MODES] == predict(sample, model=tiny, max_new_tokens=SHORT)
    assert model.predictions(question) == predict(sample, model=tiny, max_new_tokens=SHORT)
    facts = last.predictions["slow"].media
    assert facts == question.clip.facts == read_clip(sample, tiny.budget).facts
    assert question.is_exact
    assert parts


def test_texts_are_told_as_they_are_written_and_the_last_answers_are_whole() -> None:
    generator = Scripted()
    seen = list[Answers]()
    for answers in demo_model(generator).answers(demo_model().question(None, "Well.")):
        seen.append(answers)
        generator.go.set()
    assert FAST.startswith(seen[0].texts["fast"])
    assert not seen[0].predictions
    assert seen[-1].texts == {"fast": FAST, "slow": SLOW}
    assert seen[-1].predictions["slow"].labels == ("happy", "calm")


def test_who_leaves_ends_the_generation() -> None:
    generator = Scripted()
    answers = demo_model(generator).answers(demo_model().question(None, "Well."))
    next(answers)
    answers.close()
    generator.go.set()
    assert generator.ended.wait(60)
    assert generator.num_written < len(FAST + SLOW) // 4


def test_questions_of_one_model_wait_for_their_turn() -> None:
    generator = Scripted()
    model = demo_model(generator)
    first = model.answers(model.question(None, "one"))
    second = model.answers(model.question(None, "two"))
    next(first)
    waiting = threading.Thread(target=lambda: [*second])
    waiting.start()
    waiting.join(0.3)
    assert [sample.subtitle for sample in generator.asked] == ["one"]
    generator.go.set()
    assert [*first][-1].predictions
    waiting.join(5)
    assert [sample.subtitle for sample in generator.asked] == ["one", "two"]


def test_what_fails_for_all_is_the_problem_and_what_is_no_fault_of_the_visitor_says_so(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for error, said in ((WRONG, str(WRONG)), (KeyError("secret"), FAILED)):
        model = demo_model(Scripted(error=error))
        question = model.question(None, "Well.")
        assert [*model.answers(question)][-1] == Answers(problem=said)
        with pytest.raises(InputError, match=said):
            model.predictions(question)
    assert "secret" in capsys.readouterr().err


def test_a_bad_file_is_one_line_with_its_name_and_without_its_folder(tmp_path: Path) -> None:
    broken = tmp_path / "a broken film.mp4"
    broken.write_bytes(b"no film")
    for path in (broken, tmp_path / "lost.mp4"):
        with pytest.raises(InputError) as error:
            demo_model().question(path)
        assert str(error.value).startswith(path.name)
        assert str(tmp_path) not in str(error.value)
        assert "\n" not in str(error.value)


def test_nothing_at_all_is_refused() -> None:
    with pytest.raises(InputError, match="drop a file, record one, or type the words"):
        demo_model().question(None, "  ")


def test_a_clip_that_lasts_too_long_is_refused_before_it_is_decoded(
    film: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "MAX_CLIP_S", 0.1)
    with pytest.raises(InputError, match=r"film.mp4: lasts .* give a clip of at most"):
        demo_model().question(film)


def test_a_server_that_takes_the_file_itself_leaves_open_which_frames_it_took(film: Path) -> None:
    with serve(lambda number, body: says(ANSWER)) as endpoint:
        model = open_model("m", Service(endpoint.url, num_workers=3))
        question = model.question(film)
        rows = model.predictions(question)
    assert not question.is_exact
    assert question.clip.frames_THWC is not None
    assert [row.labels for row in rows][1] == ("happy", "calm")
    assert (model.num_parallel, model.place) == (3, "behind an address")


@pytest.mark.slow
def test_a_long_clip_is_answered_over_time_with_the_words_that_are_found_in_it(
    tiny: OmniBackbone, tmp_path: Path
) -> None:
    from mer_r1.generation.local import LocalGenerator

    film = write_media(tmp_path / "film.mp4", frames=gray_frames(4) * 6, fps=2, sound=tone(12.0, 16_000))
    cues = ("00:00:00,000 --> 00:00:02,000\nAt first.\n", "00:00:09,000 --> 00:00:11,000\nAt last.\n")
    (tmp_path / "film.srt").write_text("\n".join(f"{number}\n{cue}" for number, cue in enumerate(cues, 1)))
    model = DemoModel(LocalGenerator(tiny, SHORT), ModelFacts("tiny"), "on this machine")
    question = model.question(film)
    assert question.is_long
    assert question.sample.subtitle == "At first. At last."
    assert question.words_from == "film.srt"
    *parts, windows = [[*windows] for windows in model.windows(question)]
    assert [window.start_s for window in windows][:3] == [0.0, 2.5, 5.0]
    assert windows[0].subtitle == "At first."
    assert {row.mode for window in windows for row in window.predictions} == {"fast"}
    assert {row.id for window in windows for row in window.predictions} == {"film"}
    assert [len(part) for part in parts] == [*range(1, len(windows))]
    assert not model.question(film, "My words.").subtitles
