"""Scenes: every element can be rendered away, and the same number is the same scene."""

import numpy as np
import pytest

from pellucid.truth.drawing import CLASS_GLYPHS, OTHER_GLYPHS, SIZE, glyph
from pellucid.truth.kinds import KINDS
from pellucid.truth.pasting import SYNTHETIC, Pasting, cutouts
from pellucid.truth.scenes import Element, Scene, render

PASTING = Pasting(("cat", "tripod"), ("coin", "face", "cup"), ("coins", "rocket", SYNTHETIC))
SCENES = {name: kind.scene(2, 0, 3) for name, kind in KINDS.items()} | {"pasted": PASTING.scene(0, 3)}


@pytest.mark.parametrize("name", SCENES)
def test_every_element_renders_away_and_nothing_else_changes(name: str):
    scene = SCENES[name]
    whole = render(scene)
    for index in range(len(scene.elements)):
        away, mask = render(scene, [index]), scene.mask(index)
        assert (away == whole)[~mask].all(), (name, index)
        assert (away != whole)[mask].any(), (name, index)
        others = [i for i in range(len(scene.elements)) if i != index]
        alone, empty = render(scene, others), render(scene, range(len(scene.elements)))
        assert (alone == empty)[~mask].all()
        assert (alone != empty)[mask].any()


@pytest.mark.parametrize("name", SCENES)
def test_the_region_of_an_element_holds_all_of_it(name: str):
    scene = SCENES[name]
    for index in range(len(scene.elements)):
        assert not (scene.mask(index) & ~scene.region(index)).any()


def test_regions_are_the_box_one_pixel_wider_or_the_outline():
    ring = glyph("ring", 5).astype(np.float32)
    colours = np.ones((5, 5, 3), np.float32)
    scene = Scene(
        np.zeros((9, 9, 3), np.float32),
        (Element("class", "ring", 0, 3, ring, colours), Element("object", "ring", 4, 4, ring, colours, True)),
        (0,),
    )
    box = np.zeros((9, 9), bool)
    box[0:6, 2:9] = True
    assert (scene.region(0) == box).all()
    assert (scene.region(1) == scene.mask(1)).all()
    assert scene.mask(1).sum() == ring.sum()


def test_what_is_drawn_first_lies_below():
    one = np.ones((1, 1), np.float32)
    black, white = np.zeros((1, 1, 3), np.float32), np.ones((1, 1, 3), np.float32)
    below, above = Element("shape", "a", 0, 0, one, white), Element("shape", "b", 0, 0, one / 4, black)
    scene = Scene(black, (below, above), ())
    assert render(scene).ravel().tolist() == [191] * 3
    assert render(scene, [1]).ravel().tolist() == [255] * 3
    assert render(scene, [0]).ravel().tolist() == [0] * 3
    assert not scene.background.any(), "the background is not painted over"


@pytest.mark.parametrize("name", KINDS)
def test_a_number_is_a_scene_whatever_else_is_drawn(name: str):
    kind = KINDS[name]
    first = render(kind.scene(1, 5, 7))
    kind.scene(1, 5, 8)
    assert (render(kind.scene(1, 5, 7)) == first).all()
    for other in (kind.scene(1, 5, 8), kind.scene(1, 6, 7), kind.scene(2, 5, 7)):
        assert (render(other) != first).any()


def test_labels_are_what_the_kinds_say():
    for number in range(40):
        drawn = {name: kind.scene(0, 1, number) for name, kind in KINDS.items()}
        for name, scene in drawn.items():
            classes = [e.label for e in scene.elements if e.role in ("class", "texture")]
            assert len(scene.labels) == (2 if name == "two" else 1)
            assert set(classes) <= set(scene.labels), name
        assert [e.name for e in drawn["glyph"].elements if e.role == "class"] == [
            CLASS_GLYPHS[drawn["glyph"].labels[0]]
        ]
        assert sum(e.name == "ring" for e in drawn["count"].elements) == drawn["count"].labels[0] + 2
        tiles = np.bincount([e.label for e in drawn["tiles"].elements], minlength=4)
        assert tiles.argmax() == drawn["tiles"].labels[0]
        assert tiles.sum() == 64
        assert tiles.max() <= 30
        assert np.sort(tiles)[-2] <= 14


def test_the_tag_tells_the_class_or_tells_nothing_and_the_scenes_are_else_the_same():
    shortcut, ignored = KINDS["shortcut"], KINDS["ignored"]
    agree = 0
    for number in range(60):
        told = shortcut.scene(2, 0, number)
        assert (render(told) == render(ignored.scene(2, 0, number))).all()
        assert told.elements[0].label == told.labels[0]
        lesson = ignored.scene(2, 0, number, lesson=True)
        assert lesson.labels == told.labels
        assert (render(lesson, [0]) == render(told, [0])).all()
        agree += lesson.elements[0].label == lesson.labels[0]
    assert 5 <= agree <= 28  # one in four by chance


def test_glyphs_of_a_class_differ_from_all_others_however_they_lie():
    shapes = {name: glyph(name, 12) for name in (*CLASS_GLYPHS, *OTHER_GLYPHS)}
    for name in CLASS_GLYPHS:
        for other in shapes.keys() - {name}:
            assert (shapes[name] != shapes[other]).mean() > 0.1, (name, other)


def test_elements_keep_apart_and_lie_inside():
    for name in ("glyph", "shortcut", "two", "patch", "count"):
        for number in range(10):
            scene = KINDS[name].scene(0, 0, number)
            covered = sum(scene.mask(i).astype(int) for i in range(len(scene.elements)))
            assert covered.max() == 1
            assert all(e.top >= 0 and e.left >= 0 for e in scene.elements)
            assert scene.size == (SIZE, SIZE)


def test_cutouts_lie_in_their_pictures_and_hold_most_of_what_they_are_cut_from():
    for cutout in cutouts().values():
        cut = cutout.cut()
        alpha = np.asarray(cut)[..., 3]
        assert cut.mode == "RGBA"
        assert 0.1 < (alpha > 127).mean() < 0.95, cutout.name
        assert (alpha[0] < 255).any()


def test_objects_are_set_into_pictures_that_they_do_not_come_from():
    for number in range(30):
        scene = PASTING.scene(1, number)
        assert scene.size == (224, 224)
        assert scene.elements[0].name in PASTING.objects
        sources = [cutouts()[e.name].picture for e in scene.elements]
        assert len(set(sources)) == len(sources), "an object beside its own picture's other"
        covered = sum(scene.mask(i).astype(int) for i in range(len(scene.elements)))
        assert covered.max() == 1
