"""A device that resizes gives the batches of processes that resize, in bounded memory. Here the device is a CPU."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from consistency.backbone.device_resize import DeviceResize
from consistency.backbone.model import load_backbone
from consistency.backbone.preprocess import PreprocessSpec
from consistency.backbone.resolve import resolve_backbone
from consistency.data.files import ImageFile, find_images
from consistency.data.reading import Budget, Decoding, pixels_at_once
from consistency.options import ImageLimits
from embedcache.engines.local import Batches, Problems, Stack, process_batches, thread_batches
from embedcache.engines.on_device import DeviceStack, device_batches
from embedcache.pipeline import Encoder

SPEC = PreprocessSpec(("shortest", 28), 3, (24, 24), 1 / 255, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
DECODING = Decoding("ours", ImageLimits(max_pixels=30_000))
RESIZED = 24 * 24 * 3
HOW = {"size": 16, "workers": 2}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[ImageFile]:
    """JPEGs and PNGs of many sizes, some of that to which images are resized; every seventh cannot be used."""
    folder, names = tmp_path_factory.mktemp("images"), []
    for number in range(50):
        size = (24, 24) if number % 9 == 0 else (30 + 31 * (number % 5), 30 + 17 * (number % 6))
        image = Image.fromarray(np.random.default_rng(number).integers(0, 256, (*size, 3), np.uint8))
        names.append(f"{number}.{'jpg' if number % 2 else 'png'}")
        (image.resize((200, 200)) if number % 7 == 3 else image).save(folder / names[-1])
        if number % 14 == 5:
            (folder / names[-1]).write_bytes((folder / names[-1]).read_bytes()[:200])
    return list(find_images(names, folder).values())


@pytest.fixture(scope="module")
def threaded(files: list[ImageFile]) -> tuple[list[str], np.ndarray, Problems]:
    problems: Problems = {}
    batches = thread_batches(DECODING, SPEC.resize_crop, files, problems, size=16, workers=2)
    return *taken(batches), problems


def taken(batches: Batches) -> tuple[list[str], np.ndarray]:
    got = list(batches)
    assert max(len(some) for some, _ in got) <= 16
    return [file.name for some, _ in got for file in some], np.concatenate([np.asarray(batch) for _, batch in got])


def test_batches_are_those_of_threads(files: list[ImageFile], threaded: tuple[list[str], np.ndarray, Problems]) -> None:
    names, expected, reasons = threaded
    assert len(names) == 39
    found: Problems = {}
    device = list(device_batches(DECODING, SPEC, files, found, **HOW, device="cpu"))
    assert all(isinstance(batch, torch.Tensor) and batch.dtype == torch.uint8 for _, batch in device)
    assert [file.name for some, _ in device for file in some] == names
    np.testing.assert_array_equal(np.concatenate([batch.numpy() for _, batch in device]), expected)
    assert found == reasons


def test_vectors_of_batches_that_a_device_made(files: list[ImageFile]) -> None:
    """As on a GPU: batches of the device, launched ahead. Against images one by one."""
    backbone = load_backbone(resolve_backbone("tiny"), device="cpu")
    assert backbone.spec is not None
    batches = device_batches(DECODING, backbone.spec, files, {}, **HOW, device="cpu")
    found = list(Encoder(16).ahead(backbone.launch_images, batches))
    names = [file.name for some, _ in found for file in some]
    assert len(names) == 39
    one_by_one = [
        backbone.encode_images(DECODING.prepared(file, backbone.prepare, Budget(pixels_at_once(1)))[None].copy())
        for file in files
        if file.name in names
    ]
    np.testing.assert_allclose(np.concatenate([vectors for _, vectors in found]), np.concatenate(one_by_one), atol=1e-6)


class Counting(DeviceStack):
    """Has room for two resized images and a little more per call; counts images that are handed on as decoded."""

    images_per_call, room = 3, 3 * RESIZED + 9000

    def __init__(self) -> None:
        super().__init__(DeviceResize(SPEC, "cpu"), "cpu")
        self.raw_images = self.others = self.largest = 0

    def begin(self, shared: np.ndarray) -> None:
        assert shared.shape == (2 * 2 + 2, self.room)

    def add(self, images):  # type: ignore[no-untyped-def]
        self.raw_images += sum(raw for _, raw in images)
        self.others += sum(not raw for _, raw in images)
        self.largest = max([self.largest, *(pixels.nbytes for pixels, raw in images if raw)])
        return super().add(images)


def test_images_without_room_are_resized_by_the_processes(
    files: list[ImageFile], threaded: tuple[list[str], np.ndarray, Problems]
) -> None:
    stack = Counting()
    names, pixels = taken(process_batches(DECODING, SPEC, files, {}, **HOW, stack=stack))
    assert names == threaded[0]
    np.testing.assert_array_equal(pixels, threaded[1])
    assert stack.raw_images + stack.others == len(names)
    assert min(stack.raw_images, stack.others) > 5
    assert RESIZED < stack.largest <= stack.room


def test_other_filters_are_left_to_the_processes(files: list[ImageFile]) -> None:
    box = replace(SPEC, resample=Image.Resampling.BOX)
    names, pixels = taken(device_batches(DECODING, box, files[:12], {}, **HOW, device="cpu"))
    assert (names, pixels.tolist()) == _listed(taken(process_batches(DECODING, box, files[:12], {}, **HOW)))


def _listed(batches: tuple[list[str], np.ndarray]) -> tuple[list[str], list[int]]:
    return batches[0], batches[1].tolist()


class Full(DeviceResize):
    """A device without memory for wide images."""

    def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
        if pixels.shape[1] > 100:
            raise MemoryError
        return super().__call__(pixels)


def test_a_device_without_memory_leaves_images_to_the_processor() -> None:
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (90, width, 3), np.uint8) for width in (60, 200, 24, 101)]
    stack = DeviceStack(Full(SPEC, "cpu"), "cpu")
    stack.add([(image, True) for image in images])()
    np.testing.assert_array_equal(stack.batch(), np.stack([SPEC.resize_crop(image) for image in images]))


@pytest.mark.parametrize("stack", [Stack(), DeviceStack(DeviceResize(SPEC, "cpu"), "cpu")])
def test_shared_memory_may_change_once_images_are_taken(stack: Stack) -> None:
    pixels = np.zeros((24, 24, 3), np.uint8)
    for value in (1, 2):
        pixels[:] = value
        stack.add([(pixels, False)])()
    assert np.asarray(stack.batch()).mean(axis=(1, 2, 3)).tolist() == [1, 2]
