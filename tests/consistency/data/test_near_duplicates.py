"""Copies of drawn images fall under the limit, other images do not; joining equals brute force."""

import io
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance

from consistency.data.files import find_images, image_identity
from consistency.data.near_duplicates import find_near_duplicates, join_similar, perceptual_hash
from consistency.options import NEAR_DUPLICATES
from demo.dataset import photograph
from demo.scenes import draw
from demo.vocabulary import sample_content


def encoded(image: Image.Image, form: str, quality: int) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, form, quality=quality)
    return Image.open(buffer).convert("RGB")


def resized(image: Image.Image, factor: float) -> Image.Image:
    return image.resize((round(image.width * factor), round(image.height * factor)))


def cropped(image: Image.Image, share: float) -> Image.Image:
    width, height = round(image.width * share / 2), round(image.height * share / 2)
    return image.crop((width, height, image.width - width, image.height - height))


COPIES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "JPEG of quality 30": lambda image: encoded(image, "JPEG", 30),
    "half the size": lambda image: resized(image, 1 / 2),
    "a third of the size": lambda image: resized(image, 1 / 3),
    "brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.2),
    "darker": lambda image: ImageEnhance.Brightness(image).enhance(0.8),
    "more contrast": lambda image: ImageEnhance.Contrast(image).enhance(1.2),
    "grey": lambda image: image.convert("L"),
    "cropped by 2 %": lambda image: cropped(image, 0.02),
}


@pytest.fixture(scope="module")
def images() -> list[Image.Image]:
    return draw_images(30)


def draw_images(count: int) -> list[Image.Image]:
    """As `data demo --seed 42` draws them."""
    drawn = []
    for number in range(count):
        strokes = random.Random(f"demo/42/image/{number}")
        drawn.append(photograph(draw(sample_content(strokes), strokes, 288), strokes))
    return drawn


def distances(one: list[int], other: list[int]) -> list[int]:
    return [(a ^ b).bit_count() for a, b in zip(one, other, strict=True)]


def check_limit(images: list[Image.Image], beyond: int = 0) -> None:
    """`beyond` images may be farther than the limit from their cropped copies."""
    hashes = list(map(perceptual_hash, images))
    for name, copy in COPIES.items():
        far = sum(
            bits > NEAR_DUPLICATES for bits in distances(hashes, [perceptual_hash(copy(image)) for image in images])
        )
        assert far <= beyond * name.startswith("cropped"), name
    apart = [(a ^ b).bit_count() for i, a in enumerate(hashes) for b in hashes[:i]]
    assert min(apart) > NEAR_DUPLICATES


def test_copies_are_under_the_limit_and_other_images_are_not(images: list[Image.Image]) -> None:
    check_limit(images)


@pytest.mark.slow
def test_the_limit_holds_for_the_whole_demo() -> None:
    check_limit(draw_images(180), beyond=1)


def brute_force(hashes: list[int], limit: int) -> list[set[int]]:
    """Grow each group until nothing is near it."""
    left, groups = set(range(len(hashes))), []
    while left:
        group = {left.pop()}
        while near := {i for i in left if any((hashes[i] ^ hashes[j]).bit_count() <= limit for j in group)}:
            group |= near
            left -= near
        groups.append(group)
    return groups


@settings(deadline=None, max_examples=60)
@given(
    seeds=st.lists(st.tuples(st.integers(0, 3), st.sets(st.integers(0, 63), max_size=6)), max_size=25),
    limit=st.integers(0, 8),
)
def test_joining_is_brute_force(seeds: list[tuple[int, set[int]]], limit: int) -> None:
    bases = [0, 2**64 - 1, 0x0F0F0F0F0F0F0F0F, 0x123456789ABCDEF0]
    hashes = [bases[base] ^ sum(1 << bit for bit in bits) for base, bits in seeds]
    labels = join_similar(np.array(hashes, dtype=np.uint64), limit)
    found: dict[int, set[int]] = {}
    for place, label in enumerate(labels.tolist()):
        found.setdefault(label, set()).add(place)
    assert sorted(map(sorted, found.values())) == sorted(map(sorted, brute_force(hashes, limit)))


def test_joining_in_many_parts_is_joining_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 2**12, 400, dtype=np.uint64) << rng.integers(0, 50, 400, dtype=np.uint64)
    whole = join_similar(hashes, 3)
    monkeypatch.setattr("consistency.data.near_duplicates.COMPARED_AT_ONCE", 1000)
    monkeypatch.setattr("consistency.data.near_duplicates.KEPT_AT_ONCE", 50)
    assert np.array_equal(join_similar(hashes, 3), whole)
    assert 1 < len(set(whole.tolist())) < 400


def test_a_flat_image_has_no_bits_of_noise() -> None:
    assert {perceptual_hash(Image.new("RGB", (50, 40), colour)) for colour in ("white", "navy", "#123456")} == {0}


def test_files_are_joined_and_broken_ones_stay_alone(tmp_path: Path, images: list[Image.Image]) -> None:
    images[0].save(tmp_path / "a.png")
    images[0].save(tmp_path / "b.jpg", quality=60)
    (tmp_path / "c.png").write_bytes((tmp_path / "a.png").read_bytes())
    images[1].save(tmp_path / "d.png")
    (tmp_path / "e.png").write_bytes((tmp_path / "d.png").read_bytes()[:900])
    names = np.array(["d.png", "a.png", "b.jpg", "c.png", "e.png", "missing.png", "b.jpg"], dtype=object)
    files = find_images(names, tmp_path)
    near = find_near_duplicates(names, image_identity(names, files), files)
    assert near.groups == (("a.png", "b.jpg"),)
    assert near.joined == 2
    place = {scene: number for number, scene in enumerate(dict.fromkeys(near.scenes))}
    assert [place[scene] for scene in near.scenes] == [0, 1, 1, 1, 2, 3, 1]
