import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from consistency.backbone.model import load_backbone
from consistency.backbone.resolve import resolve_backbone
from consistency.data.files import find_images
from consistency.data.pairs import read_pairs
from consistency.errors import ImageError
from finetune.config import FinetuneConfig
from finetune.dataset import (
    HASHTAGS_PER_IMAGE,
    PairData,
    PreparedImages,
    Step,
    epoch_steps,
    read_pair_data,
    with_images,
)
from tests.builders.at_once import AtOnce
from tests.builders.finetuning import Case, make_case
from tests.builders.models import change_json, make_clip_folder


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return make_case(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def data(case: Case) -> PairData:
    return read_pair_data(case.backbone(), case.table, case.files, FinetuneConfig.default())


def test_each_picture_and_hashtag_once(case: Case, data: PairData) -> None:
    assert len(np.unique(data.image_index)) == 12
    assert len(data.tokens) == len(np.unique(data.hashtag_index)) == 5
    backbone = case.backbone()
    for row in (0, 17, 59):
        assert data.tokens[data.hashtag_index[row]] == backbone.token_ids([case.table.hashtags[row]])[0]


def test_memory_bound_changes_nothing_but_memory(case: Case, data: PairData) -> None:
    one = data.images.batch(np.array([0])).nbytes
    config = replace(FinetuneConfig.default(), picture_memory=3 * one)
    frugal = read_pair_data(case.backbone(), case.table, case.files, config)
    assert len(frugal.images._kept) == 3
    numbers = np.array([0, 11, 4, 2])
    np.testing.assert_array_equal(frugal.images.batch(numbers), data.images.batch(numbers))


def test_same_content_under_two_names_is_one_picture(tmp_path: Path, case: Case) -> None:
    (tmp_path / "image").mkdir()
    picture = (case.folder / "image" / "0.png").read_bytes()
    for name in ("a.png", "b.png"):
        (tmp_path / "image" / name).write_bytes(picture)
    (tmp_path / "broken.png").write_bytes(b"")
    (tmp_path / "image" / "half.png").write_bytes(picture[: len(picture) // 2])
    (tmp_path / "pairs.csv").write_text(
        "Image Filename,Hashtag,Score\na.png,#x,1\nhalf.png,#y,2\nb.png,#x,3\ngone.png,#z,4\n", encoding="utf-8"
    )
    table = read_pairs(tmp_path / "pairs.csv")
    files = find_images(table.images, tmp_path / "image")
    read = read_pair_data(case.backbone(), table, files, FinetuneConfig.default())
    assert read.image_index.tolist() == [0, -1, 0, -1]
    assert read.usable(np.arange(4)).tolist() == [0, 2]
    assert [(line.row, line.image, line.hashtag) for line in read.skipped] == [
        (2, "half.png", "#y"),
        (4, "gone.png", "#z"),
    ]
    assert "broken or truncated" in read.skipped[0].reason


def test_a_picture_that_changed_since_it_was_listed(tmp_path: Path, case: Case) -> None:
    shutil.copytree(case.folder / "image", tmp_path / "image")
    files = find_images(case.table.images, tmp_path / "image")
    shutil.copy(tmp_path / "image" / "1.png", tmp_path / "image" / "0.png")
    config = replace(FinetuneConfig.default(), picture_memory=1)
    read = read_pair_data(case.backbone(), case.table, files, config)
    assert {(line.image, line.reason) for line in read.skipped} == {("0.png", "changed while it was read")}
    shutil.copy(tmp_path / "image" / "2.png", tmp_path / "image" / "1.png")  # which is decoded again when it is used
    number = read.image_index[list(case.table.images).index("1.png")]
    with pytest.raises(ImageError, match=r"^1.png could be used before, and cannot now \(changed while it was read\)"):
        read.images.batch(np.array([number]))


def test_large_pictures_are_not_decoded_all_at_once(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("finetune.dataset.pixels_at_once", lambda workers: 2000)  # of which an image has 1600 or more
    at_once = AtOnce()
    backbone = case.backbone()
    prepare = backbone.prepare

    def slow(image: Image.Image) -> Any:
        with at_once.call():
            return prepare(image)

    monkeypatch.setattr(backbone, "prepare", slow)
    read_pair_data(backbone, case.table, case.files, FinetuneConfig.default(), workers=4)
    assert at_once.most == 1


def test_fast_decodes_as_extraction_does(tmp_path: Path) -> None:
    """At four times the size that the shorter side is brought to, not of the crop's."""
    folder = make_clip_folder(tmp_path / "model", image_size=32)
    change_json(folder / "preprocessor_config.json", size={"shortest_edge": 48})
    noise = np.random.default_rng(0).integers(0, 256, (75, 75, 3), np.uint8)
    Image.fromarray(noise).resize((400, 400)).save(tmp_path / "large.jpg", quality=95)
    (tmp_path / "pairs.csv").write_text("Image Filename,Hashtag,Score\nlarge.jpg,#x,1\n", encoding="utf-8")
    table = read_pairs(tmp_path / "pairs.csv")
    files = find_images(table.images, tmp_path)
    backbone = load_backbone(resolve_backbone(str(folder)), device="cpu", decode="fast")
    read = read_pair_data(backbone, table, files, replace(FinetuneConfig.default(), decode="fast"))
    half = Image.open(tmp_path / "large.jpg")
    half.draft(None, (200, 200))  # type: ignore[no-untyped-call]
    assert half.size == (200, 200)  # a quarter would be 100, less than four times 48
    np.testing.assert_array_equal(read.images.batch(np.array([0]))[0], backbone.prepare(half))


@pytest.mark.parametrize("by", ["row", "image"])
def test_an_epoch_has_every_row_once(case: Case, data: PairData, by: Literal["row", "image"]) -> None:
    config = replace(FinetuneConfig.default(), batch_by=by, batch_size=5, accumulation=2)
    weights = np.linspace(0.5, 2, len(case.table))
    steps = epoch_steps(config, data, case.train, weights, seed=1, epoch=4)
    assert sorted(np.concatenate([step.rows for step in steps])) == sorted(case.train)
    for step in steps:
        assert step.weights.sum() == pytest.approx(1)
    again = epoch_steps(config, data, case.train, weights, seed=1, epoch=4)
    other = epoch_steps(config, data, case.train, weights, seed=1, epoch=5)
    assert all(np.array_equal(a.rows, b.rows) for a, b in zip(steps, again, strict=True))
    assert not all(np.array_equal(a.rows, b.rows) for a, b in zip(steps, other, strict=True))


def test_batches_by_image_hold_whole_pictures(case: Case, data: PairData) -> None:
    config = replace(FinetuneConfig.default(), batch_size=5)
    steps = epoch_steps(config, data, case.train, np.ones(len(case.table)), seed=1, epoch=1)
    pictures = [set(data.image_index[step.rows]) for step in steps]
    assert [len(p) for p in pictures] == [4, 4, 4]  # even, no small rest
    assert set().union(*pictures) == set(range(12))


def test_published_loop_drops_an_odd_batch(case: Case, data: PairData) -> None:
    steps = epoch_steps(FinetuneConfig.paper(), data, case.train, np.ones(len(case.table)), seed=1, epoch=1)
    assert [len(step.rows) for step in steps] == [16, 16]  # of 36 rows


@given(st.lists(st.integers(0, 6), min_size=1, max_size=80), st.integers(1, 4))
def test_parts_add_up_to_their_step(pictures: list[int], most: int) -> None:
    index = np.array(pictures)
    data = PairData(PreparedImages([], lambda file: np.empty(0), memory=0), [], index, index, ())
    step = Step(np.arange(len(index)), np.linspace(0, 1, len(index)))
    parts = step.parts(data, most)
    assert np.concatenate([part.rows for part in parts]).tolist() == step.rows.tolist()
    assert np.concatenate([part.weights for part in parts]).tolist() == step.weights.tolist()
    for part in parts:
        assert 1 <= len(np.unique(index[part.rows])) <= most
        assert len(part.rows) <= HASHTAGS_PER_IMAGE * most


def test_pictures_come_with_their_step(case: Case, data: PairData) -> None:
    config = replace(FinetuneConfig.default(), batch_size=5)
    steps = epoch_steps(config, data, case.train, np.ones(len(case.table)), seed=1, epoch=1)
    loaded = list(with_images(data, steps))
    assert [step for step, _, _ in loaded] == steps
    for step, numbers, pictures in loaded:
        assert numbers.tolist() == sorted(set(data.image_index[step.rows]))
        np.testing.assert_array_equal(pictures, data.images.batch(numbers))
    assert list(with_images(data, [])) == []
