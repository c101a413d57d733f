"""Subtitles and reasoning texts say what their scene shows, and no more."""

from __future__ import annotations

import numpy as np
import pytest

from mer_r1.prompting.response import is_well_formed, parse_response
from mer_r1.prompting.steps import steps_of
from mer_r1.synthetic import subtitles
from mer_r1.synthetic.set_text import appraisal, level
from mer_r1.synthetic.state import Scene, draw_scene
from mer_r1.synthetic.subtitles import reasoning, set_target, slow_target, subtitle

ABSENT = {"face": "No face is seen.", "voice": "No voice is heard.", "words": "No words are given."}


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return [draw_scene(np.random.default_rng([6, index])) for index in range(1500)]


@pytest.mark.slow
def test_the_slow_target_is_well_formed_and_ends_in_the_leaders_words_which_are_gold(scenes: list[Scene]) -> None:
    for scene in scenes:
        text = slow_target(scene)
        assert is_well_formed(text)
        response = parse_response(text)
        assert response.status == "ok"
        assert response.labels == scene.readings[scene.leader]
        assert set(response.labels) <= set(scene.gold)
        assert response.reasoning == reasoning(scene)


@pytest.mark.slow
def test_the_set_target_says_the_same_in_steps_and_boxes_the_same_words(scenes: list[Scene]) -> None:
    for scene in scenes:
        text = set_target(scene)
        assert is_well_formed(text, "set_steps")
        assert parse_response(text, "set_steps").labels == parse_response(slow_target(scene)).labels
        perceived, felt, _ = (step or "" for step in steps_of(text))
        followed = felt.partition(" One feels ")[0]
        assert f"{perceived} {followed}" == reasoning(scene)


def test_the_third_step_is_the_words_valence_and_arousal_not_the_faces(scenes: list[Scene]) -> None:
    for words, judged in (
        (("furious",), "Negative, high arousal."),
        (("calm", "peaceful"), "Positive, low arousal."),
        (("surprised",), "Mixed, high arousal."),
    ):
        fitting = [scene for scene in scenes if set(scene.readings[scene.leader]) == set(words)]
        assert fitting
        assert {steps_of(set_target(scene))[2] for scene in fitting} == {judged}


def test_reasoning_commits_to_less_than_gold_now_and_then(scenes: list[Scene]) -> None:
    partial = sum(set(scene.readings[scene.leader]) < set(scene.gold) for scene in scenes)
    assert 0.3 < partial / len(scenes) < 0.95


def test_the_reasoning_says_which_channel_is_missing_and_never_follows_it(scenes: list[Scene]) -> None:
    for scene in scenes:
        absent = {channel for channel, text in ABSENT.items() if text in reasoning(scene)}
        assert absent == ({scene.missing} if scene.missing else set())
        assert reasoning(scene).endswith(f"The {scene.leader} {'decide' if scene.leader == 'words' else 'decides'}.")


def test_the_reasoning_names_the_mouth_and_the_brows_of_the_face_not_of_the_state(scenes: list[Scene]) -> None:
    shown = [scene for scene in scenes if scene.contradicting]
    assert shown
    for scene in shown:
        assert ("smile" in reasoning(scene)) == (scene.face.valence > 0.25)
        assert ("bad news" in reasoning(scene)) == (scene.state.valence < 0)


def test_a_subtitle_tells_control_always_and_valence_only_where_the_scene_speaks_of_it(scenes: list[Scene]) -> None:
    rng = np.random.default_rng(0)
    for scene in scenes:
        text = subtitle(scene, rng)
        if scene.missing == "words":
            assert text is None
            continue
        assert text is not None
        control, verdict = subtitles._CONTROL[level(scene.state.dominance)], subtitles._VERDICT[scene.wording]
        assert text in {f"{first} {second}".strip() for first in control for second in verdict}


def test_no_clause_stands_for_two_meanings() -> None:
    for table in (subtitles._CONTROL, subtitles._VERDICT):
        clauses = [clause for row in table.values() for clause in row]
        assert len(set(clauses)) == len(clauses)


def test_level_cuts_at_its_edges() -> None:
    assert [level(value) for value in (-1.0, -0.33, 0.0, 0.33, 0.34)] == [-1, 0, 0, 0, 1]


def test_an_appraisal_names_valence_and_arousal() -> None:
    assert appraisal(0.5, -0.5) == "Positive, low arousal."
    assert appraisal(0.0, 0.0) == "Mixed, middle arousal."
