"""Drawn images follow their seed, and every place, season and object can be told apart."""

import random

import numpy as np
import pytest
from PIL import Image

from demo.dataset import photograph
from demo.scenes import draw
from demo.vocabulary import OBJECTS, SCENES, SEASONS, Content


def test_every_object_can_be_seen_in_every_scene_and_the_camera_changes_it() -> None:
    def drawn(scene: str, *objects: str) -> Image.Image:
        return draw(Content(scene, "summer", objects), random.Random(1), 36)

    for scene in SCENES:
        seen = {drawn(scene, *objects).tobytes() for objects in ((), *((name,) for name in OBJECTS))}
        assert len(seen) == 1 + len(OBJECTS)
    assert len({draw(Content("cafe", season, ()), random.Random(1), 36).tobytes() for season in SEASONS}) == 6
    sea = drawn("sea")
    assert photograph(sea, random.Random(1)).tobytes() != sea.tobytes()


@pytest.mark.parametrize("scene", SCENES)
def test_the_same_seed_draws_the_same_image_and_another_seed_another_one(scene: str) -> None:
    content = Content(scene, "autumn", ("cat", "book"))
    first, again, other = (draw(content, random.Random(seed), 48) for seed in (1, 1, 2))
    assert (first.mode, first.size) == ("RGB", (48, 48))
    assert first.tobytes() == again.tobytes()
    assert first.tobytes() != other.tobytes()


def test_nights_are_darker_than_days() -> None:
    def brightness(season: str) -> float:
        drawings = (draw(Content(scene, season, ()), random.Random(3), 48) for scene in SCENES if scene != "cafe")
        return float(np.mean([np.asarray(drawing).mean() for drawing in drawings]))

    assert brightness("night") < 0.6 * brightness("sunset")
    assert brightness("sunset") < brightness("winter")


def test_an_image_without_its_main_object_is_the_same_elsewhere() -> None:
    content = Content("sea", "summer", ("cat", "book"))
    whole, alone, empty = (
        np.asarray(draw(content, random.Random(5), 144, hidden=hidden)) for hidden in ((), ("cat",), ("cat", "book"))
    )
    nothing = np.asarray(draw(Content("sea", "summer", ()), random.Random(5), 144))
    np.testing.assert_array_equal(empty, nothing)
    main, second = (whole != alone).any(axis=2), (alone != empty).any(axis=2)
    assert main.mean() > 2 * second.mean() > 0.01
    middle = np.argwhere(main).mean(axis=0)
    assert np.abs(middle / 144 - (0.65, 0.5)).max() < 0.15  # drawn large in the middle
