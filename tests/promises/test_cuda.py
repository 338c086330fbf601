"""What only a GPU can show: its precision, its memory running out, heads and fine-tuning on it. Skipped without one."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from consistency.backbone.device_resize import DeviceResize
from consistency.backbone.model import Backbone, load_backbone
from consistency.backbone.preprocess import PreprocessSpec
from consistency.backbone.resolve import resolve_backbone
from consistency.data.files import ImageFile, find_images
from consistency.data.pairs import PairTable
from embedcache.engines.on_device import DeviceStack
from embedcache.extract import ExtractReport, extract
from embedcache.keys import hashtag_keys, image_keys
from embedcache.store import EmbeddingCache
from finetune.train import finetune
from heads.config import HeadConfig
from heads.grid import default_grid, run_grid
from heads.train import Job, train_heads
from tests.builders.crash_workers import pair_table
from tests.builders.finetuning import make_case, quick
from tests.builders.head_data import make_pairs
from tests.builders.models import Tower, make_clip_folder

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
WIDE = Tower(128, 3, 4)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    return make_clip_folder(folder, dim=64, image_size=224, patch_size=32, vision=WIDE, text=WIDE)


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> tuple[PairTable, dict[str, ImageFile]]:
    """160 coarse images; three of the files are no images."""
    folder = tmp_path_factory.mktemp("pictures")
    for number in range(160):
        coarse = np.random.default_rng(number).integers(0, 256, (4, 5, 3), np.uint8)
        Image.fromarray(coarse).resize((300, 260), Image.Resampling.BICUBIC).save(folder / f"{number}.jpg")
    for number in (3, 70, 159):
        (folder / f"{number}.jpg").write_bytes(b"\xff\xd8\xff broken")
    names = [f"{number}.jpg" for number in range(160)]
    return pair_table(names, [f"#바다{number}" for number in range(160)]), find_images(names, folder)


@pytest.fixture
def little_memory() -> Iterator[Callable[[int], None]]:
    """Give this process so many bytes more of the card than it uses now."""

    def allow(bytes_more: int) -> None:
        torch.cuda.empty_cache()
        total = torch.cuda.get_device_properties(0).total_memory
        torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + bytes_more) / total)

    yield allow
    torch.cuda.set_per_process_memory_fraction(1.0)
    torch.cuda.empty_cache()


def vectors(
    root: Path, backbone: Backbone, table: tuple[PairTable, dict[str, ImageFile]], **options: Any
) -> tuple[ExtractReport, np.ndarray, np.ndarray]:
    pairs, files = table
    cache = EmbeddingCache.open(root, backbone.fields)
    report = extract(pairs, files, cache, lambda: backbone, workers=4, **options)
    good = [file for number, file in enumerate(files.values()) if number not in (3, 70, 159)]
    images, hashtags = cache.sound_index("image"), cache.sound_index("hashtag")
    return (
        report,
        images.take(images.find(image_keys(good))),
        hashtags.take(hashtags.find(hashtag_keys(pairs.hashtags))),
    )


def test_vectors_are_those_of_the_processor(
    tmp_path: Path, model: Path, table: tuple[PairTable, dict[str, ImageFile]]
) -> None:
    resolved = resolve_backbone(str(model))
    plain = vectors(tmp_path / "cpu", load_backbone(resolved, device="cpu", trainable=False), table)
    for precision, least in (("fp32", 0.99999), ("bf16", 0.998)):
        backbone = load_backbone(resolved, device="cuda", precision=precision, trainable=False)
        report, images, hashtags = vectors(tmp_path / precision, backbone, table)
        assert (images * plain[1]).sum(axis=1).min() > least
        assert (hashtags * plain[2]).sum(axis=1).min() > least
        assert [s.row for s in report.skipped] == [s.row for s in plain[0].skipped]
        assert [s.reason for s in report.skipped] == [s.reason for s in plain[0].skipped]
        assert report.images_encoded == 157
        if precision == "bf16":
            assert report.cosine_to_fp32 is not None
            assert 0.99 < report.cosine_to_fp32["images"] < 1 - 1e-6


def test_images_are_resized_there_as_pillow_does() -> None:
    spec = PreprocessSpec(("shortest", 224), 3, (224, 224), 1 / 255, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    resize, rng = DeviceResize.exact(spec, "cuda"), np.random.default_rng(0)
    assert resize is not None
    for height, width in ((1350, 1080), (1080, 1350), (300, 2000), (3000, 250), (100, 90)):
        pixels = rng.integers(0, 256, (height, width, 3), np.uint8)
        found = resize(torch.from_numpy(pixels).to("cuda"))
        np.testing.assert_array_equal(found.cpu().numpy(), spec.resize_crop(pixels))


def test_shared_memory_is_pinned() -> None:
    spec = PreprocessSpec(("shortest", 24), 3, (24, 24), 1 / 255, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    stack, shared = DeviceStack(DeviceResize(spec, "cuda"), "cuda"), np.zeros((4, 1 << 20), np.uint8)
    stack.begin(shared)
    assert torch.from_numpy(shared).is_pinned()
    stack.end()
    assert not torch.from_numpy(shared).is_pinned()


def test_a_batch_too_large_for_the_card_is_halved(
    tmp_path: Path,
    model: Path,
    table: tuple[PairTable, dict[str, ImageFile]],
    little_memory: Callable[[int], None],
) -> None:
    backbone = load_backbone(resolve_backbone(str(model)), device="cuda", precision="fp32", trainable=False)
    _, expected, _ = vectors(tmp_path / "much", backbone, table)
    little_memory(80 << 20)
    report, images, _ = vectors(tmp_path / "little", backbone, table, batch_size=157)
    assert report.batch_size is not None
    assert report.batch_size < 157
    assert (images * expected).sum(axis=1).min() > 0.99999


def test_heads_are_those_of_the_processor() -> None:
    embeddings, labels = make_pairs()
    division = np.arange(len(labels)) % 3
    parts = [(np.flatnonzero(division != fold), np.flatnonzero(division == fold)) for fold in range(3)]
    configs = [replace(config, epochs=min(config.epochs, 6)) for config in default_grid()[::5]]
    jobs = [Job(config, rows, seed, held) for seed, (rows, held) in enumerate(parts) for config in configs]
    there = train_heads(jobs, embeddings, labels, dtype=torch.float64, device="cuda")
    here = train_heads(jobs, embeddings, labels, dtype=torch.float64)
    for mine, other in zip(there, here, strict=True):
        for name, value in other.head.state_dict().items():
            assert (mine.head.state_dict()[name] - value).abs().max() < 1e-6
        for one, two in zip(mine.history, other.history, strict=True):
            assert one == pytest.approx(two, abs=1e-6)


def test_a_grid_chooses_on_it() -> None:
    embeddings, labels = make_pairs()
    groups = embeddings.image_index.astype(object)
    configs = [HeadConfig(hidden=(16,), lr=lr, epochs=8, loss=loss) for lr in (1e-3, 1e-2) for loss in ("emd", "corn")]
    there, here = (run_grid(configs, embeddings, labels, groups, device=device) for device in ("cuda", "cpu"))
    for one, two in zip(there.entries, here.entries, strict=True):
        assert one.mean == pytest.approx(two.mean, abs=0.02)
    assert next(there.trained.head.parameters()).device.type == "cpu"  # type: ignore[union-attr]


def test_fine_tuning_learns_and_survives_little_memory(tmp_path: Path, little_memory: Callable[[int], None]) -> None:
    case = make_case(tmp_path / "case", pictures=20, size=224)
    wide = make_clip_folder(tmp_path / "wide", dim=64, image_size=224, patch_size=16, vision=WIDE, text=WIDE)
    config = quick(epochs=2, batch_size=12, autocast="bf16")
    results = []
    for memory in (None, 160 << 20):
        backbone = load_backbone(resolve_backbone(str(wide)), device="cuda", precision="fp32")
        prepared = case.prepare(config, backbone=backbone)
        if memory:
            little_memory(memory)
        results.append(finetune(prepared, out=tmp_path / f"out{memory}"))
    much, little = results
    losses = [epoch["train_loss"] for epoch in much.history[1:]]
    assert losses[-1] < losses[0]
    # Smaller parts of the same batches: the same training but for rounding, in bf16.
    assert little.history[1]["train_loss"] == pytest.approx(losses[0], rel=0.05)


def test_commands_run_on_it(run: Any, small_demo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KOCLIP_CACHE", str(tmp_path / "cache"))
    common = ["--backbone", "tiny", "--device", "cuda"]
    common += ["--data", small_demo / "combined_data.csv", "--images", small_demo / "image"]
    grid = tmp_path / "grid.toml"
    grid.write_text('[[grid]]\nloss = ["cross-entropy", "corn"]\nhidden = [[16], []]\nepochs = 4\n')
    for command in (["heads", "--grid", "--grid-file", grid], ["finetune", "--max-steps", "4"], ["audit"]):
        ran = run(*command, *common, "--out", tmp_path / command[0], "--json")
        assert ran.code == 0, ran.stderr
        assert ran.json()
