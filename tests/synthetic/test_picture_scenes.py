"""Scenes behind the pictures: labels evenly drawn, faces that fit many, and a text that says what is shown."""

from __future__ import annotations

from collections import Counter, defaultdict

import numpy as np
import pytest

from mer_r1.prompting.response import is_well_formed, parse_response
from mer_r1.prompting.steps import steps_of
from mer_r1.synthetic.picture_scenes import (
    AFFECT,
    BY_LIGHT,
    CELLS,
    EIGHT,
    FACES,
    LIGHTS,
    MEANINGS,
    SIX,
    PictureScene,
    draw_picture_scene,
    picture_target,
)

NUM = 4000


@pytest.fixture(scope="module", params=[EIGHT, SIX], ids=["eight", "six"])
def scenes(request: pytest.FixtureRequest) -> list[PictureScene]:
    return [draw_picture_scene(np.random.default_rng([5, index]), request.param) for index in range(NUM)]


def best_reader(keys: list[object], labels: list[str]) -> float:
    """The share of labels that one gets right who knows the key alone and names its commonest label."""
    seen: dict[object, Counter[str]] = defaultdict(Counter)
    for key, label in zip(keys, labels, strict=True):
        seen[key][label] += 1
    return sum(max(counts.values()) for counts in seen.values()) / len(labels)


def test_every_face_fits_four_of_the_eight_labels_and_every_label_two_faces() -> None:
    for face in FACES:
        assert len({cell.label for cell in CELLS if cell.face == face}) == 4
    for label in EIGHT:
        assert len({cell.face for cell in CELLS if cell.label == label}) == 2
        assert len({cell.thing for cell in CELLS if cell.label == label}) >= 3


def test_no_thing_has_one_label_alone() -> None:
    for thing in MEANINGS:
        assert len({cell.label for cell in CELLS if cell.thing == thing}) >= 3, thing


def test_every_change_by_light_changes_something() -> None:
    for (thing, face, light), label in BY_LIGHT.items():
        assert light in LIGHTS
        assert MEANINGS[thing][FACES.index(face)] not in ("", label)


@pytest.mark.slow
def test_labels_are_drawn_evenly(scenes: list[PictureScene]) -> None:
    counts = Counter(scene.label for scene in scenes)
    candidates = scenes[0].candidates
    assert set(counts) == set(candidates)
    even = NUM / len(candidates)
    assert all(abs(count - even) < 5 * even**0.5 for count in counts.values())


@pytest.mark.slow
def test_a_face_alone_is_right_in_a_quarter_a_thing_in_half_all_three_always() -> None:
    scenes = [draw_picture_scene(np.random.default_rng([5, index])) for index in range(NUM)]
    labels = [scene.label for scene in scenes]
    assert 0.24 < best_reader([scene.face for scene in scenes], labels) < 0.29
    assert 0.13 < best_reader([scene.light for scene in scenes], labels) < 0.25
    assert best_reader([scene.thing for scene in scenes], labels) < 0.6
    pairs = best_reader([(scene.thing, scene.face) for scene in scenes], labels)
    assert 0.85 < pairs < 0.99
    assert best_reader([(scene.thing, scene.face, scene.light) for scene in scenes], labels) == 1.0


def test_the_reasoning_is_a_whole_set_answer_that_ends_in_the_label(scenes: list[PictureScene]) -> None:
    for index, scene in enumerate(scenes[:600]):
        text = picture_target(scene, np.random.default_rng(index))
        assert is_well_formed(text, "set_steps")
        assert parse_response(text, "set_steps").labels == (scene.label,)
        seen, felt, judged = steps_of(text)
        assert seen is not None
        assert felt is not None
        assert judged is not None
        for shown in (scene.thing, scene.face, scene.light):
            assert shown in f"{seen[0].lower()}{seen[1:]}"
        assert judged.startswith("Negative") == (scene.valence < -0.33 * scene.force)


def test_no_step_speaks_the_label_out_and_the_second_tells_it() -> None:
    reported: dict[str, set[str]] = defaultdict(set)
    for candidates in (EIGHT, SIX):
        for index in range(800):
            scene = draw_picture_scene(np.random.default_rng([6, index]), candidates)
            steps = steps_of(picture_target(scene, np.random.default_rng(index)))
            assert not any(name in str(step).lower() for name in AFFECT for step in steps)
            reported[str(steps[1])].add(scene.label)
    assert len(reported) == 2 * len(AFFECT)
    assert all(len(labels) == 1 for labels in reported.values())


def test_valence_is_the_labels_at_the_force_of_the_expression(scenes: list[PictureScene]) -> None:
    for scene in scenes:
        assert 0.7 <= scene.force <= 1.0
        assert scene.valence == AFFECT[scene.label][0] * scene.force
