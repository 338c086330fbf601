"""Extraction with real models on real files: each thing once, the right vectors, broken inputs named, nothing lost."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from PIL import Image, ImageDraw
from sklearn.datasets import load_sample_images

from consistency.backbone.model import Backbone, load_backbone
from consistency.backbone.resolve import resolve_backbone
from consistency.backbone.text_recipe import TextRecipe
from consistency.data.files import ImageFile, find_images
from consistency.data.pairs import PairTable
from consistency.errors import CacheError, InputError, OutOfMemory
from consistency.options import ImageLimits
from consistency.progress import Advance
from embedcache.extract import ExtractReport, extract
from embedcache.keys import hashtag_keys, image_keys
from embedcache.maintenance import verify
from embedcache.segments import Vectors
from embedcache.store import EmbeddingCache
from tests.builders.at_once import AtOnce
from tests.builders.crash_workers import Toy, pair_table
from tests.builders.models import make_clip_folder, make_siglip_folder

HASHTAGS = [
    "#바다여행",
    "맛스타그램",
    "#夜景",
    "カフェ",
    "#ootd",
    "☕🌊❤️",
    "#여행 에세이 2024",
    "뷁",
    "#제주도한달살기브이로그" * 10,
]


FIELDS = {"model": "made/up", "revision": "1"}


def never() -> Any:
    raise AssertionError("a model was loaded")


class Counting:
    """A backbone that notes what it was asked to encode, and can be made to fail."""

    def __init__(self, inner: Any = None, fail: Callable[[int], None] = lambda batch: None) -> None:
        self.inner, self.fail = inner or Toy(), fail
        self.images: list[int] = []
        self.texts: list[list[str]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def encode_images(self, batch: Any) -> Vectors:
        self.fail(len(batch))
        self.images.append(len(batch))
        return self.inner.encode_images(batch)

    def encode_texts(self, texts: list[str]) -> Vectors:
        self.texts.append(texts)
        return self.inner.encode_texts(texts)


@pytest.fixture
def cache(tmp_path: Path) -> EmbeddingCache:
    return EmbeddingCache.open(tmp_path / "cache", FIELDS)


def made_up(folder: Path, n: int, hashtags: int = 10) -> tuple[PairTable, dict[str, ImageFile]]:
    """n different images of 4x4, each in two rows."""
    folder.mkdir(exist_ok=True)
    for index in range(n):
        pixels = np.random.default_rng(index).integers(0, 256, (4, 4, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{index}.png")
    names = [f"{index % n}.png" for index in range(2 * n)]
    return pair_table(names, [f"#태그{index % hashtags}" for index in range(2 * n)]), find_images(names, folder)


def run(
    table: PairTable, files: dict[str, ImageFile], cache: EmbeddingCache, backbone: Any, **options: Any
) -> ExtractReport:
    return extract(table, files, cache, lambda: backbone, workers=2, **options)


@pytest.fixture(scope="module", params=["clip", "siglip"])
def model_folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    make = {"clip": make_clip_folder, "siglip": make_siglip_folder}[request.param]
    return make(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two photographs and drawn images in several formats and sizes."""
    folder = tmp_path_factory.mktemp("images")
    for index, array in enumerate(load_sample_images().images):
        Image.fromarray(array).save(folder / f"photo{index}.png")
        Image.fromarray(array[:300, :200]).save(folder / f"photo{index}.jpg", quality=90)
    for index in range(5):
        image = Image.new("RGB", (40 + 30 * index, 120 - 15 * index), (250, 40 * index, 90))
        ImageDraw.Draw(image).ellipse((5, 10, 35, 50), fill=(20, 200, 30 * index))
        image.save(folder / f"사진{index}.png")
    return folder


def plain_transformers(folder: Path, paths: list[Path], texts: list[str]) -> tuple[Vectors, Vectors]:
    model = transformers.AutoModel.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    processor = transformers.AutoImageProcessor.from_pretrained(folder, backend="pil")
    with torch.inference_mode():
        output = model(
            **tokenizer(texts, padding="max_length", truncation=True, return_tensors="pt"),
            **processor(images=[Image.open(path).convert("RGB") for path in paths], return_tensors="pt"),
        )
    return output.image_embeds.numpy(), output.text_embeds.numpy()


@pytest.mark.parametrize(("store", "least"), [("fp32", 0.99999), ("fp16", 0.9999)])
def test_stored_vectors_are_those_of_transformers(
    tmp_path: Path, model_folder: Path, folder: Path, store: Any, least: float
) -> None:
    names = sorted(path.name for path in folder.iterdir())
    table = pair_table(names, HASHTAGS)
    assert len(names) == len(HASHTAGS)
    resolved = resolve_backbone(str(model_folder))
    backbone = load_backbone(resolved, device="cpu", trainable=False)
    cache = EmbeddingCache.open(tmp_path / "cache", {**backbone.fields, "store": store})
    files = find_images(names, folder)
    report = run(table, files, cache, backbone, store=store, batch_size=4)
    assert (report.images_encoded, report.hashtags_encoded, report.skipped) == (9, 9, ())
    assert report.truncated >= 1
    assert report.truncation is not None
    assert report.truncation.startswith(
        f"{report.truncated} hashtags are cut to the model's {backbone.text_length} tok"
    )
    assert HASHTAGS[-1][:30] in report.truncation

    reader = EmbeddingCache.open(tmp_path / "cache", cache.fields, create=False)
    images = reader.vectors("image", image_keys([files[name] for name in names]))
    hashtags = reader.vectors("hashtag", hashtag_keys(HASHTAGS))
    expected = plain_transformers(model_folder, [folder / name for name in names], HASHTAGS)
    for got, wanted in zip((images, hashtags), expected, strict=True):
        cosines = (got * wanted).sum(axis=1) / np.linalg.norm(got, axis=1) / np.linalg.norm(wanted, axis=1)
        assert cosines.min() > least
        assert abs(got - wanted).max() < (1e-5 if store == "fp32" else 1e-3)
        assert abs(np.linalg.norm(got, axis=1) - 1).max() < (1e-5 if store == "fp32" else 1e-3)


def test_what_a_lower_precision_costs_is_measured(tmp_path: Path, folder: Path) -> None:
    resolved = resolve_backbone(str(make_clip_folder(tmp_path / "model")))
    names = sorted(path.name for path in folder.iterdir())
    table, files = pair_table(names, HASHTAGS), find_images(names, folder)
    stored: dict[str, tuple[Vectors, Vectors]] = {}
    for precision in ("fp32", "bf16"):
        backbone = load_backbone(resolved, device="cpu", precision=precision, trainable=False)
        cache = EmbeddingCache.open(tmp_path / "cache", backbone.fields)
        report = run(table, files, cache, backbone, batch_size=4)
        images, hashtags = image_keys([files[name] for name in names]), hashtag_keys(HASHTAGS)
        stored[precision] = cache.vectors("image", images), cache.vectors("hashtag", hashtags)
        if precision == "fp32":
            assert report.cosine_to_fp32 is None
    cosines = [(ours * true).sum(axis=1) for ours, true in zip(stored["bf16"], stored["fp32"], strict=True)]
    assert report.cosine_to_fp32
    assert json.dumps(report.as_dict())
    # All hashtags are in the sample, and the images of the first batch.
    assert report.cosine_to_fp32["hashtags"] == pytest.approx(cosines[1].min(), abs=1e-3)
    assert cosines[0].min() - 1e-3 < report.cosine_to_fp32["images"] < 0.9999999
    again = extract(table, files, cache, never)
    assert again.cosine_to_fp32 is None


def test_one_broken_image_changes_no_other(tmp_path: Path, folder: Path) -> None:
    model = make_clip_folder(tmp_path / "model")
    backbone = load_backbone(resolve_backbone(str(model)), device="cpu")
    names = sorted(path.name for path in folder.iterdir())
    files = find_images(names, folder)
    (tmp_path / "cut.png").write_bytes((folder / "photo0.png").read_bytes()[:5000])
    with_broken = {**files, **find_images(["cut.png"], tmp_path)}
    clean = EmbeddingCache.open(tmp_path / "clean", backbone.fields)
    run(pair_table(names, HASHTAGS), files, clean, backbone)
    other = EmbeddingCache.open(tmp_path / "other", backbone.fields)
    table = pair_table([names[0], "cut.png", *names[1:]], [HASHTAGS[0], *HASHTAGS])
    report = run(table, with_broken, other, backbone)
    assert [(one.row, one.image) for one in report.skipped] == [(2, "cut.png")]
    keys = image_keys([files[name] for name in names])
    assert abs(clean.vectors("image", keys) - other.vectors("image", keys)).max() < 1e-5


def test_everything_once(tmp_path: Path, cache: EmbeddingCache) -> None:
    table, files = made_up(tmp_path / "images", 20)
    backbone = Counting()
    report = run(table, files, cache, backbone, batch_size=8)
    assert (report.images, report.images_cached, report.images_encoded) == (20, 0, 20)
    assert (report.hashtags, report.hashtags_cached, report.hashtags_encoded) == (10, 0, 10)
    assert (sum(backbone.images), sum(map(len, backbone.texts))) == (20, 10)
    assert report.batch_size == 8
    assert report.images_per_second
    assert report.encoder_busy
    assert 0 < report.encoder_busy <= 1
    assert json.dumps(report.as_dict())

    again = extract(table, files, EmbeddingCache.open(tmp_path / "cache", FIELDS), never)
    assert (again.images_cached, again.hashtags_cached, again.images_encoded, again.hashtags_encoded) == (20, 10, 0, 0)
    assert (again.images_per_second, again.encoder_busy, again.batch_size) == (None, None, None)
    embeddings, usable = cache.features(table, files)
    assert usable.all()
    assert (len(embeddings.images), len(embeddings.hashtags), len(embeddings)) == (20, 10, 40)


def test_one_image_under_many_names(tmp_path: Path, cache: EmbeddingCache) -> None:
    table, _ = made_up(tmp_path / "images", 2)
    for index in range(5):
        (tmp_path / "images" / f"copy{index}.png").write_bytes((tmp_path / "images" / "0.png").read_bytes())
    names = ["0.png", *(f"copy{index}.png" for index in range(5)), "1.png"]
    backbone = Counting()
    table = pair_table(names, ["#x"] * 7)
    report = run(table, find_images(names, tmp_path / "images"), cache, backbone)
    assert (report.images, sum(backbone.images)) == (2, 2)


def test_only_what_is_new(tmp_path: Path, cache: EmbeddingCache) -> None:
    table, files = made_up(tmp_path / "images", 6)
    run(table, files, cache, Toy())
    table, files = made_up(tmp_path / "images", 9, hashtags=12)
    backbone = Counting()
    report = run(table, files, cache, backbone)
    assert (report.images_cached, report.images_encoded, sum(backbone.images)) == (6, 3, 3)
    assert (report.hashtags_cached, report.hashtags_encoded) == (10, 2)


def test_hashtags_of_one_length_share_a_batch(cache: EmbeddingCache, tmp_path: Path) -> None:
    _, files = made_up(tmp_path / "images", 1)
    hashtags = [letter * length for letter in "abcdefgh" for length in (1, 9, 30)]
    backbone = Counting()
    run(pair_table(["0.png"] * 24, hashtags), files, cache, backbone, batch_size=2)
    assert [{len(text) for text in batch} for batch in backbone.texts] == [{30}, {9}, {1}]


def test_damage_is_filled_in_the_same_run(tmp_path: Path, cache: EmbeddingCache) -> None:
    table, files = made_up(tmp_path / "images", 6)
    run(table, files, cache, Toy())
    before, _ = cache.features(table, files)
    path = next(path for path in cache.path.glob("seg-*"))
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    fresh = EmbeddingCache.open(tmp_path / "cache", FIELDS)
    report = run(table, files, fresh, Toy())
    assert report.images_encoded + report.hashtags_encoded in (6, 10)
    assert path.name in report.quarantined[0]
    after, usable = fresh.features(table, files)
    assert usable.all()
    assert (before.images[before.image_index] == after.images[after.image_index]).all()


def test_unusable_images_are_reported_row_by_row(tmp_path: Path, cache: EmbeddingCache) -> None:
    _, files = made_up(tmp_path / "images", 3)
    (tmp_path / "images" / "text.jpg").write_text("no image")
    Image.new("RGB", (300, 200)).save(tmp_path / "images" / "large.png")
    names = ["0.png", "text.jpg", "1.png", "gone.png", "text.jpg", "2.png", "large.png"]
    table = pair_table(names, [f"#{index}" for index in range(7)])
    files = find_images(names, tmp_path / "images")
    limits = ImageLimits(max_pixels=50_000)
    report = run(table, files, cache, Toy(), limits=limits)
    assert [(one.row, one.image, one.hashtag) for one in report.skipped] == [
        (2, "text.jpg", "#1"),
        (4, "gone.png", "#3"),
        (5, "text.jpg", "#4"),
        (7, "large.png", "#6"),
    ]
    reasons = {one.image: one.reason for one in report.skipped}
    assert reasons["text.jpg"] == "looks like text, not an image"
    assert "megapixels" in reasons["large.png"]
    assert reasons["gone.png"]
    assert report.images_encoded == 3
    # Again: the same is told, and no model is loaded for it.
    assert extract(table, files, cache, never, limits=limits).skipped == report.skipped
    # With other limits one of them is an image.
    assert [one.image for one in run(table, files, cache, Toy()).skipped] == ["text.jpg", "gone.png", "text.jpg"]


def test_an_image_that_changes_under_way(tmp_path: Path, cache: EmbeddingCache) -> None:
    table, files = made_up(tmp_path / "images", 2)
    (tmp_path / "images" / "0.png").write_bytes((tmp_path / "images" / "1.png").read_bytes())
    report = run(table, files, cache, Toy())
    assert {(one.image, one.reason) for one in report.skipped} == {("0.png", "changed while it was read")}
    (tmp_path / "images" / "1.png").unlink()
    report = run(pair_table(["0.png"], ["#0"]), files, cache, Toy())
    assert len(report.skipped) == 1


def test_vectors_that_are_not_finite(tmp_path: Path, cache: EmbeddingCache) -> None:
    class Overflowing(Toy):
        def encode_images(self, batch: Any) -> Vectors:
            vectors = super().encode_images(batch)
            vectors[1] = np.nan
            return vectors

        def encode_texts(self, texts: list[str]) -> Vectors:
            vectors = super().encode_texts(texts)
            vectors[texts.index("#태그3")] = 0
            return vectors

    table, files = made_up(tmp_path / "images", 5)
    report = extract(table, files, cache, Overflowing, workers=8)  # type: ignore[arg-type]  # all in one batch
    assert (report.images_encoded, report.hashtags_encoded) == (4, 9)
    assert {(one.image, one.hashtag, one.reason) for one in report.skipped} == {
        ("1.png", "#태그1", "the model returns a vector that is not finite or is zero"),
        ("1.png", "#태그6", "the model returns a vector that is not finite or is zero"),
        ("3.png", "#태그3", "the model returns a vector that is not finite or is zero"),
    }


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"store": "fp16"}, CacheError, "the cache stores fp32, not fp16"),
        ({"batch_size": 0}, InputError, "the batch size is 0, expected auto or at least 1"),
    ],
)
def test_impossible_options(
    tmp_path: Path, cache: EmbeddingCache, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    table, files = made_up(tmp_path / "images", 1)
    with pytest.raises(error, match=message):
        extract(table, files, cache, never, **options)


def test_an_interrupt_commits_what_is_encoded(tmp_path: Path, cache: EmbeddingCache) -> None:
    table, files = made_up(tmp_path / "images", 20)
    backbone = Counting()

    def interrupt(batch: int) -> None:
        if len(backbone.images) == 3:
            raise KeyboardInterrupt

    backbone.fail = interrupt
    threads = set(threading.enumerate())
    with pytest.raises(KeyboardInterrupt):
        run(table, files, cache, backbone, batch_size=4)
    fresh = EmbeddingCache.open(tmp_path / "cache", FIELDS)
    report = run(table, files, fresh, Toy())
    assert (report.images_cached, report.images_encoded) == (12, 8)  # batches of 4, 4 and 4
    assert set(threading.enumerate()) <= threads


def test_an_error_of_the_model_is_told_and_what_is_encoded_stays(tmp_path: Path, cache: EmbeddingCache) -> None:
    table, files = made_up(tmp_path / "images", 8)
    backbone = Counting()

    def fail(batch: int) -> None:
        if backbone.images:
            raise ValueError("the model is odd")

    backbone.fail = fail
    with pytest.raises(ValueError, match="the model is odd"):
        run(table, files, cache, backbone, batch_size=4)
    assert len(EmbeddingCache.open(tmp_path / "cache", FIELDS).index("image")) == 4  # the first batch


@pytest.mark.parametrize(("device", "ahead"), [("cpu", False), ("mps", True)])
def test_images_are_decoded_meanwhile_for_a_model_elsewhere(
    tmp_path: Path, cache: EmbeddingCache, device: str, ahead: bool
) -> None:
    table, files = made_up(tmp_path / "images", 24)
    decoded = threading.Semaphore(0)

    class Elsewhere(Toy):
        def prepare(self, image: Any) -> Any:
            decoded.release()
            return super().prepare(image)

        def encode_images(self, batch: Any) -> Any:
            for _ in batch:
                assert decoded.acquire(timeout=10)
            encoded.append(decoded.acquire(timeout=5 if ahead and len(encoded) < 2 else 0.1))
            if encoded[-1]:
                decoded.release()
            return super().encode_images(batch)

    encoded: list[bool] = []
    backbone = Elsewhere()
    backbone.device = device
    report = run(table, files, cache, backbone, batch_size=8)  # 4 for each of the 2 threads
    assert report.images_encoded == 24
    assert encoded == [ahead, ahead, False]


def test_two_at_once(tmp_path: Path) -> None:
    table, files = made_up(tmp_path / "images", 30)
    reports: list[ExtractReport] = []

    def one() -> None:
        cache = EmbeddingCache.open(tmp_path / "cache", FIELDS)
        reports.append(run(table, files, cache, Toy(), batch_size=3))

    threads = [threading.Thread(target=one) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [report.images for report in reports] == [30, 30]
    fresh = EmbeddingCache.open(tmp_path / "cache", FIELDS)
    assert extract(table, files, fresh, never).images_cached == 30
    assert not verify(fresh).damaged


def test_memory_running_out_halves_the_batch(tmp_path: Path, cache: EmbeddingCache) -> None:
    def fail(batch: int) -> None:
        if batch > 3:
            raise torch.OutOfMemoryError("CUDA out of memory.")

    table, files = made_up(tmp_path / "images", 20)
    backbone = Counting(fail=fail)
    report = run(table, files, cache, backbone, batch_size=16)
    assert (report.images_encoded, report.batch_size) == (20, 2)
    assert max(backbone.images) == 2
    table, files = made_up(tmp_path / "images", 21)
    with pytest.raises(OutOfMemory, match="too little memory for a batch of 1"):
        run(table, files, cache, Counting(fail=lambda batch: fail(9)))


def test_templates_encode_texts_and_no_image_again(tmp_path: Path, cache: EmbeddingCache) -> None:
    table, files = made_up(tmp_path / "images", 6)
    run(table, files, cache, Counting())
    recipe = TextRecipe("plain", ("{}의 사진", "{}"))
    other, backbone = EmbeddingCache(cache.path, FIELDS, recipe), Counting()
    report = run(table, files, other, backbone)
    texts = {text for hashtag in table.hashtags for text in recipe.texts(hashtag)}
    assert (report.images_encoded, report.images_cached, backbone.images) == (0, 6, [])
    assert report.hashtags == report.hashtags_cached + report.hashtags_encoded == len(texts)
    again = run(table, files, other, Counting())
    assert (again.images_encoded, again.hashtags_encoded, again.hashtags_cached) == (0, 0, len(texts))
    hashtags = sorted(set(table.hashtags))
    assert cache.texts() == other.texts() == hashtags  # what `score --suggest` ranks: no text of a template
    assert len(cache.sample("hashtag", 1000)) == len(hashtags)
    pairs, usable = other.features(table, files)
    assert usable.all()
    for at, hashtag in enumerate(table.hashtags):
        vectors = Toy().encode_texts(list(recipe.texts(hashtag))).astype(float)
        mean = vectors.mean(axis=0) / np.linalg.norm(vectors.mean(axis=0))
        np.testing.assert_allclose(pairs.hashtags[pairs.hashtag_index[at]], mean, atol=1e-6)


def test_a_hashtag_lacks_a_vector_if_one_of_its_texts_does(tmp_path: Path, cache: EmbeddingCache) -> None:
    table, files = made_up(tmp_path / "images", 3)
    recipe = TextRecipe("raw", ("{}", "{}의 사진"))
    bad, other = table.hashtags[0], EmbeddingCache(cache.path, FIELDS, recipe)

    class Odd(Toy):
        def encode_texts(self, texts: list[str]) -> Vectors:
            vectors = super().encode_texts(texts)
            vectors[[text == f"{bad}의 사진" for text in texts]] = np.nan
            return vectors

    report = run(table, files, other, Odd())
    assert {entry.hashtag for entry in report.skipped} == {bad}
    assert len(report.skipped) == (table.hashtags == bad).sum()
    np.testing.assert_array_equal(other.features(table, files)[1], table.hashtags != bad)


def test_no_memory_for_a_second_model_loses_nothing(tmp_path: Path, cache: EmbeddingCache) -> None:
    class Half(Toy):
        precision = "bf16"

        def __init__(self, error: Exception) -> None:
            self.error = error

        def in_fp32(self) -> Any:
            raise self.error

    table, files = made_up(tmp_path / "images", 5)
    report = run(table, files, cache, Half(torch.OutOfMemoryError("CUDA out of memory.")))
    assert (report.images_encoded, report.hashtags_encoded, report.cosine_to_fp32) == (5, 10, None)
    table, files = made_up(tmp_path / "images", 6)
    with pytest.raises(RuntimeError, match="odd"):
        run(table, files, cache, Half(RuntimeError("the model is odd")))


def test_progress_is_told(tmp_path: Path, cache: EmbeddingCache) -> None:
    told: dict[str, Any] = {}

    @contextmanager
    def progress(description: str, total: int | None) -> Iterator[Advance]:
        told[description] = [total, 0, {}]

        def advance(steps: int = 1, /, **figures: object) -> None:
            told[description][1] += steps
            told[description][2].update(figures)

        yield advance

    _, files = made_up(tmp_path / "images", 9)
    (tmp_path / "images" / "bad.png").write_bytes(b"\0bad")
    names = ["bad.png", *files]
    run(
        pair_table(names, ["#x"] * 10),
        find_images(names, tmp_path / "images"),
        cache,
        Toy(),
        batch_size=4,
        progress=progress,
    )
    assert told["Encoding images"][:2] == [10, 10]
    figures = told["Encoding images"][2]
    assert figures["skipped"] == 1
    assert figures["busy"].endswith("%")
    assert told["Encoding hashtags"][:2] == [1, 1]


def test_large_images_are_not_decoded_all_at_once(
    tmp_path: Path, cache: EmbeddingCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("embedcache.engines.local.pixels_at_once", lambda workers: 20)  # of which an image has 16
    table, files = made_up(tmp_path / "images", 12)
    at_once = AtOnce()

    class Slow(Toy):
        def prepare(self, image: Image.Image) -> Any:
            with at_once.call():
                return super().prepare(image)

    report = extract(table, files, cache, Slow, workers=4)  # type: ignore[arg-type]
    assert (report.images_encoded, at_once.most) == (12, 1)


def test_real_backbone_is_not_needed_when_warm(tmp_path: Path, folder: Path) -> None:
    model = make_clip_folder(tmp_path / "model")
    resolved = resolve_backbone(str(model))
    loaded: list[Backbone] = []

    def load() -> Backbone:
        loaded.append(load_backbone(resolved, device="cpu"))
        return loaded[-1]

    names = sorted(path.name for path in folder.iterdir())
    files = find_images(names, folder)
    for _ in range(2):
        cache = EmbeddingCache.open(tmp_path / "cache", FIELDS)
        extract(pair_table(names, HASHTAGS), files, cache, load)
    assert len(loaded) == 1
