"""What every backbone offers, whatever its library: batch sizes, fields, the same image from many threads."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from PIL import Image

from consistency.backbone.resolve import fingerprint_fields, resolve_backbone
from tests.builders.backbones import load


def test_images_can_be_prepared_by_many_threads(model: Path, photos: list[Image.Image]) -> None:
    backbone = load(model)
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(backbone.prepare, photos * 20))
    alone = [backbone.prepare(photo) for photo in photos]
    assert all((ours == alone[index % len(alone)]).all() for index, ours in enumerate(together))


def test_batches_are_small_on_a_cpu(folders: Callable[[str], Path]) -> None:
    threads = torch.get_num_threads()
    backbone = load(folders("clip"))
    assert backbone.batch_sizes == (64, 128)
    vision = backbone.model.config.vision_config
    vision.image_size, vision.patch_size, vision.intermediate_size = 224, 32, 3072  # a ViT-B/32
    assert backbone.batch_sizes == (min(64, max(2, int(13.66 * threads))), 128)
    vision.patch_size, vision.intermediate_size = 14, 4096  # a ViT-L/14
    assert backbone.batch_sizes == (max(2, int(1.995 * threads)), 128)


def test_the_fields_are_those_of_the_files(model: Path) -> None:
    backbone = load(model, precision="bf16", decode="fast")
    assert backbone.fields == fingerprint_fields(resolve_backbone(str(model)), decode="fast", precision="bf16")
