"""What is drawn can be seen: expressions, lights and things differ, and the scene is needed to read the face."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageOps

from mer_r1.synthetic.picture_drawing import SIZE, THINGS, Style, draw_picture
from mer_r1.synthetic.picture_scenes import CELLS, EIGHT, FACES, LIGHTS, MEANINGS, SIX, draw_picture_scene

SCENE = draw_picture_scene(np.random.default_rng(0))
STYLES: tuple[Style, ...] = ("painted", "sketched")


def array(image: Image.Image) -> NDArray[np.float64]:
    return np.asarray(image, dtype=np.float64)


def test_every_thing_that_has_a_meaning_can_be_drawn() -> None:
    assert set(THINGS) == set(MEANINGS)


@pytest.mark.parametrize("style", STYLES)
def test_every_cell_is_a_picture_of_the_size_with_the_face_inside(style: Style) -> None:
    for index, cell in enumerate(CELLS):
        scene = replace(SCENE, thing=cell.thing, face=cell.face, light=cell.light)
        image, (left, top, right, bottom) = draw_picture(scene, np.random.default_rng(index), style)
        assert image.size == (SIZE, SIZE)
        assert image.mode == "RGB"
        assert -3 <= left < right <= SIZE + 3
        assert 0 <= top < bottom <= SIZE


@pytest.mark.parametrize("style", STYLES)
def test_expressions_change_the_face_and_nothing_else(style: Style) -> None:
    """The mouth does not reach out of the box, and the same stream draws the same person at the same position."""
    drawn = [draw_picture(replace(SCENE, face=face), np.random.default_rng(3), style) for face in FACES]
    left, top, right, bottom = drawn[0].face_box
    for first in range(4):
        for second in range(first):
            change = np.abs(array(drawn[first].image) - array(drawn[second].image)).sum(-1)
            assert change.sum() > 4000
            change[top:bottom, max(left, 0) : right] = 0
            assert change.sum() == 0


@pytest.mark.parametrize("style", STYLES)
def test_things_and_lights_change_the_picture_outside_the_face(style: Style) -> None:
    things, lights = (
        [replace(SCENE, thing=thing) for thing in THINGS],
        [replace(SCENE, light=light) for light in LIGHTS],
    )
    for scenes in (things, lights):
        pictures = [array(draw_picture(scene, np.random.default_rng(3), style).image) for scene in scenes]
        for index, picture in enumerate(pictures):
            assert all(np.abs(picture - other).sum() > 40_000 for other in pictures[:index]), scenes[index]


def test_night_is_dark_and_day_is_bright() -> None:
    means = []
    for light in LIGHTS:
        drawn = [draw_picture(replace(SCENE, light=light), np.random.default_rng(seed)).image for seed in range(8)]
        means.append(np.mean([array(image)[: SIZE // 4].mean() for image in drawn]))
    assert means[0] > means[1] + 20 > means[2] + 60


def test_a_sketch_is_paler_than_a_painting_and_the_same_seed_draws_the_same() -> None:
    scene = replace(SCENE, thing="a present", light="by day")
    for seed in range(5):
        painted, again, sketched = (
            array(draw_picture(scene, np.random.default_rng(seed), style).image)
            for style in ("painted", "painted", "sketched")
        )
        assert np.array_equal(painted, again)
        assert np.ptp(sketched, axis=-1).max() < 0.8 * np.ptp(painted, axis=-1).max()


def seen(first: int, num: int) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """Faces cut out, whole pictures turned so that the face is on the left, and label numbers."""
    faces, pictures, labels = [], [], []
    for index in range(first, first + num):
        rng = np.random.default_rng([8, index])
        scene = draw_picture_scene(rng)
        image, box = draw_picture(scene, rng)
        faces.append(array(image.crop(box).resize((14, 14))).ravel() / 255)
        turned = ImageOps.mirror(image) if box[0] > SIZE // 4 else image
        pictures.append(array(turned.resize((21, 21))).ravel() / 255)
        labels.append(EIGHT.index(scene.label))
    return np.array(faces), np.array(pictures), np.array(labels)


def ridge_accuracy(
    train: NDArray[np.float64], labels: NDArray[np.int64], test: NDArray[np.float64], gold: NDArray[np.int64]
) -> float:
    """Accuracy of ridge regression from pixels to the eight labels."""
    mean = train.mean(axis=0)
    targets = np.eye(len(EIGHT))[labels] - 1 / len(EIGHT)
    kernel = (train - mean) @ (train - mean).T
    weights = (train - mean).T @ np.linalg.solve(kernel + 10 * np.eye(len(train)), targets)
    return float((((test - mean) @ weights).argmax(axis=1) == gold).mean())


@pytest.mark.slow
def test_the_face_alone_is_near_its_ceiling_of_a_quarter_and_the_whole_picture_far_above() -> None:
    faces, pictures, labels = seen(0, 600)
    test_faces, test_pictures, gold = seen(10_000, 200)
    face = ridge_accuracy(faces, labels, test_faces, gold)
    whole = ridge_accuracy(pictures, labels, test_pictures, gold)
    assert 0.18 < face < 0.36
    assert whole > 0.42
    assert whole > face + 0.12


def test_the_labels_of_the_other_style_are_emotion6s() -> None:
    scene = draw_picture_scene(np.random.default_rng(2), SIX)
    assert scene.candidates == SIX
    assert scene.label in SIX
