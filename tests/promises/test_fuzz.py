"""Mutated files of every kind that is read: a documented error or an answer, in time, and nothing changed elsewhere.

Each target has real originals, a way to mutate them, and what reads them. `make test` draws a few cases of each, the
same every time; `-m slow` draws about 93,000, other ones each time. What they found is pinned in PINNED.
"""

import functools
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from consistency.data.images import count_pixels, decode_image, decode_pixels, has_several_frames
from consistency.data.pairs import read_pairs
from consistency.errors import ConsistencyError, ImageError
from consistency.options import ImageLimits
from consistency.runs.read import read_audit, read_run, read_sides
from consistency.runs.registry import list_runs
from embedcache.catalog import list_fields
from embedcache.fingerprint import fingerprint
from embedcache.segments import ForeignSegment, Segment, build, name_of
from embedcache.store import EmbeddingCache
from embedcache.texts import read_texts
from heads.familiarity import load_familiarity
from heads.grid import read_grid
from heads.load import load_head
from koclip_consistency.scoring.loading import load_scorer
from tests.builders.caches import FIELDS, keys_of, vectors_of
from tests.builders.fuzzing import Target, fuzz, lawful
from tests.builders.mutations import byte_changes, change_bytes, change_png, change_words, change_zip, word_changes

ALL = 100_000  # cases of the slow count
QUICK = 1_300  # cases of `make test`
LIMITS = ImageLimits(max_pixels=1_000_000)
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")


def noise() -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (12, 18, 3), np.uint8)
    return Image.fromarray(pixels).resize((36, 24))


def image_of(kind: str, image: Image.Image | None = None, **options: Any) -> bytes:
    (image or noise()).save(buffer := io.BytesIO(), kind, **options)
    return buffer.getvalue()


def images() -> dict[str, list[bytes]]:
    from pillow_heif import register_heif_opener

    register_heif_opener(thumbnails=False)
    exif = Image.Exif()
    exif[0x0112] = 6
    seen = noise()
    seen.putalpha(Image.linear_gradient("L").resize(seen.size))
    deep = Image.fromarray(np.asarray(noise().convert("L"), np.uint16) * 257)
    return {
        "PNG": [
            image_of("PNG", exif=exif),
            image_of("PNG", seen),
            image_of("PNG", seen.quantize(16)),
            image_of("PNG", deep),
            image_of("PNG", noise().convert("1"), transparency=0),
        ],
        "JPEG": [
            image_of("JPEG", exif=exif),
            image_of("JPEG", progressive=True),
            image_of("JPEG", noise().convert("CMYK")),
            image_of("MPO", save_all=True, append_images=[noise()]),
        ],
        "GIF": [image_of("GIF", save_all=True, append_images=[noise().rotate(180)]), image_of("GIF", seen.quantize(8))],
        "WebP": [image_of("WEBP", seen), image_of("WEBP", lossless=True, exif=exif)],
        "BMP": [image_of("BMP"), image_of("BMP", noise().quantize(16)), image_of("BMP", noise().convert("1"))],
        "TIFF": [
            image_of("TIFF", compression="tiff_lzw", exif=exif),
            image_of("TIFF", compression="jpeg"),
            image_of("TIFF", deep),
            image_of("TIFF", noise().convert("1"), compression="group4"),
            image_of("TIFF", noise().convert("F"), compression="tiff_deflate"),
        ],
        "AVIF": [image_of("AVIF", seen, speed=10)],
        "HEIC": [image_of("HEIF")],
    }


def read_image(_: Path, data: bytes) -> None:
    pixels = count_pixels(io.BytesIO(data), decode="fast", target=16)
    assert pixels >= len(data) // 4
    refused = []
    for how in ("ours", "fast", "published"):
        try:
            image = decode_image(data, decode=how, limits=LIMITS, target=16)
        except ImageError as error:
            refused.append(error)
        else:
            assert image.mode == "RGB"
            assert np.asarray(image).shape == (image.height, image.width, 3)
            assert image.width * image.height <= LIMITS.max_pixels
    assert all(len(str(error)) < 300 for error in refused)
    assert decode_pixels(data, limits=LIMITS, target=16).shape[2] == 3
    if not refused:
        has_several_frames(data)
    for error in refused:
        raise error


TABLE = pd.DataFrame(
    {
        "Image Filename": ["가을.png", "b.jpg", "sub/c.jpg", "d.jpg"],
        "Hashtag": ["#가을", ' 바"다; ', "#x\ny #z", "2024"],
        "Score": [5, 1, 3, 4],
        "split": ["train", "test", "train", "test"],
    }
)


def tables() -> dict[str, bytes]:
    TABLE.to_excel(book := io.BytesIO(), index=False, engine="openpyxl")
    lists = TABLE.assign(Hashtag=[["#a", "b"], [], ["c"], ["d"]])
    return {
        "CSV": TABLE.to_csv(index=False).encode(),
        "TSV": TABLE.to_csv(index=False, sep="\t").encode(),
        "JSON Lines": TABLE.to_json(orient="records", lines=True, force_ascii=False).encode(),
        "Parquet": TABLE.to_parquet(),
        "Parquet of lists": lists.to_parquet(compression=None),
        "XLSX": book.getvalue(),
    }


def read_table(folder: Path, data: bytes) -> None:
    (folder / "table").write_bytes(data)
    for split in (False, True):
        table = read_pairs(folder / "table", split=split, require_scores=not split)
        assert len(table) == len(table.images) == len(table.hashtags)
        assert set(table.scores.tolist()) <= set(range(0 if split else 1, 6))
        assert all(table.hashtags.tolist())


KEYS, VECTORS = keys_of(*range(6)), vectors_of(6)
ORDER = np.lexsort(KEYS.T[::-1])
FOLDER = fingerprint(FIELDS)
FORM = json.dumps({"format": "embedding cache", "schema": 1, "fields": FIELDS}).encode()


def read_segment(folder: Path, data: bytes) -> None:
    (folder / FOLDER).mkdir()
    (folder / FOLDER / "format.json").write_bytes(FORM)
    (folder / FOLDER / name_of(data)).write_bytes(data)
    cache = EmbeddingCache.open(folder, FIELDS, create=False)
    vectors, rows = cache.present("image", KEYS)
    assert vectors.tolist() == VECTORS[rows >= 0].tolist()
    cache.vectors("image", KEYS)


def read_format(folder: Path, data: bytes) -> None:
    place = folder / FOLDER
    place.mkdir(exist_ok=True)
    (place / "format.json").write_bytes(data)
    assert [fields for _, fields in list_fields(folder)] in ([], [FIELDS])
    EmbeddingCache.open(folder, FIELDS, create=False)


def read_text_file(folder: Path, data: bytes) -> None:
    (folder / name_of(data).replace("seg-", "texts-").replace(".h5", ".json")).write_bytes(data)
    assert all(isinstance(text, str) for text in read_texts(folder))


def read_grid_file(folder: Path, data: bytes) -> None:
    (folder / "grid.toml").write_bytes(data)
    assert read_grid(folder / "grid.toml")


GRID = b"""
[[grid]]
hidden = [[], [64], [128, 64]]
loss = ["cross-entropy", "emd"]
lr = [0.001, 3e-3]
epochs = [2]

[[grid]]
optimizer = "ridge"
features = "full+post"
class_weights = "balanced"
weight_decay = [0.01, 1.0]
"""


def run_reader(run: Path, name: str) -> Callable[[Path, bytes], None]:
    """Reads a copy of a run, of which the file `name` is another one."""

    def read(folder: Path, data: bytes) -> None:
        shutil.copytree(run, copy := folder / "run")
        (copy / name).write_bytes(data)
        list_runs(folder)
        for reader in (read_run, read_audit, read_sides, load_head, load_familiarity):
            if reader is not load_head or (run / "head.json").exists():
                reader(copy)
        load_scorer(copy, cache=folder / "cache", device="cpu")

    return read


@functools.cache
def files() -> dict[str, Target]:
    """What needs no run."""
    found = {}
    for kind, originals in images().items():
        change = change_png if kind == "PNG" else change_bytes
        found[kind] = Target(originals, byte_changes, change, read_image, 4)
    for kind, data in tables().items():
        if kind in ("CSV", "TSV", "JSON Lines"):
            found[kind] = Target([data], word_changes, change_words, read_table, 6)
        else:
            found[kind] = Target([data], byte_changes, change_bytes, read_table, 2)
    found["members of XLSX"] = Target([tables()["XLSX"]], word_changes, change_zip, read_table, 1)
    segment = build("image", FOLDER, KEYS[ORDER], VECTORS[ORDER])
    found["segment"] = Target([segment], byte_changes, change_bytes, read_segment, 5)
    found["format.json"] = Target([FORM], word_changes, change_words, read_format, 7)
    texts = json.dumps(["#바다", "산", "x"], ensure_ascii=False).encode()
    found["texts.json"] = Target([texts], word_changes, change_words, read_text_file, 7)
    found["grid"] = Target([GRID], word_changes, change_words, read_grid_file, 10)
    return found


def of_run(name: str, runs: Path) -> Target:
    run = runs / RUNS[name]
    return Target([(run / name).read_bytes()], word_changes, change_words, run_reader(run, name), 1)


FILES = [
    *("PNG", "JPEG", "GIF", "WebP", "BMP", "TIFF", "AVIF", "HEIC"),
    *("CSV", "TSV", "JSON Lines", "Parquet", "Parquet of lists", "XLSX", "members of XLSX"),
    *("segment", "format.json", "texts.json", "grid"),
]
RUNS = {
    **dict.fromkeys(("run.json", "metrics.json", "head.json", "predictions.csv", "split.csv"), "heads"),
    "thresholds.json": "similarity",
    "audit.csv": "audit",
}


def test_every_target_is_fuzzed() -> None:
    assert list(files()) == FILES


@pytest.mark.parametrize("name", FILES)
def test_a_few_files(tmp_path: Path, name: str) -> None:
    fuzz(files()[name], tmp_path / "case", max(10, int(QUICK * files()[name].share / 100)), same=True)


@pytest.mark.parametrize("name", RUNS)
def test_a_few_runs(trained: Path, tmp_path: Path, name: str) -> None:
    fuzz(of_run(name, trained / "runs"), tmp_path / "case", 10, same=True)


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_many_files(tmp_path: Path, name: str) -> None:
    fuzz(files()[name], tmp_path / "case", int(ALL * files()[name].share / 100), same=False)


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_many_runs(trained: Path, tmp_path: Path, name: str) -> None:
    fuzz(of_run(name, trained / "runs"), tmp_path / "case", 1_000, same=False)


DEEP = 100_000
PINNED: list[tuple[str, bytes]] = [
    ("JSON Lines", b'{"a":' * DEEP),
    ("texts.json", b"[1"),
    ("texts.json", b'[1, "a"]'),
    ("texts.json", b"[" * DEEP),
    ("format.json", b'{"schema": 1, "fields": {"model": "\\ud800"}}'),
    ("grid", b"grid = " + b"[" * DEEP),
    ("grid", b"grid = " + b"9" * 5000),
    ("grid", b"[[grid]]\nlr = [%s]\nweight_decay = [%s]" % (b"1, " * 2000, b"1, " * 2000)),
    ("grid", b"[[grid]]\nlr = " + b"9" * 400),
]


@pytest.mark.parametrize(("name", "data"), PINNED, ids=[f"{name} {data[:12]!r}" for name, data in PINNED])
def test_found_in_files(tmp_path: Path, name: str, data: bytes) -> None:
    """Each of these raised another error, took all memory, or was accepted."""
    said = []
    with lawful(tmp_path / "case"):
        try:
            files()[name].read(tmp_path / "case", data)
        except ConsistencyError as error:
            said.append(error)
    assert said or name == "texts.json"  # which is a convenience, so that damage to it is passed over


HUGE = b"1" + b"0" * 400
METRICS = b'[{"system": "heads", "split": "test", "protocol": "x", "metrics": {"qwk": %s, "macro_f1": 1}, "ci95": {}}]'
PINNED_RUNS: list[tuple[str, bytes]] = [
    ("metrics.json", b"[" * DEEP),
    ("metrics.json", METRICS.replace(b"{}", b'{"qwk": null, "macro_f1": null}') % HUGE),
    ("thresholds.json", b"[" * DEEP),
    *(
        ("thresholds.json", b'{"similarity-exact": {"method": "exact", "thresholds": %s}}' % thresholds)
        for thresholds in (b'["a", 1]', b"[1, 2]", b"[4, 3, 2, 1]")
    ),
    ("head.json", b'{"format": 1, "members": [], "power": 1.0}'),
]


@pytest.mark.parametrize(("name", "data"), PINNED_RUNS, ids=[f"{name} {data[:60]!r}" for name, data in PINNED_RUNS])
def test_found_in_runs(trained: Path, tmp_path: Path, name: str, data: bytes) -> None:
    run = trained / "runs" / RUNS[name]
    shutil.copytree(run, copy := tmp_path / "run")
    (copy / name).write_bytes(data)
    list_runs(tmp_path)
    with pytest.raises(ConsistencyError) as error:
        load_scorer(copy, cache=tmp_path / "cache", device="cpu")
    assert len(str(error.value).splitlines()) == 1


def test_a_head_larger_than_its_weights_is_refused(trained: Path, tmp_path: Path) -> None:
    shutil.copytree(trained / "runs" / "heads", copy := tmp_path / "run")
    described = json.loads((copy / "head.json").read_bytes())
    (copy / "head.json").write_text(json.dumps(described | {"embed_dim": 10**12}))
    with pytest.raises(ConsistencyError, match="larger than its weights"):
        load_head(copy)


def test_a_segment_that_claims_more_keys_than_it_has_bytes(tmp_path: Path) -> None:
    with h5py.File(buffer := io.BytesIO(), "w", libver=("v110", "v110")) as file:
        file.attrs.update({"kind": np.bytes_("image"), "fingerprint": np.bytes_(FOLDER), "schema": 1})
        for name, shape, kind in (("keys", (10**10, 32), np.uint8), ("vectors", (10**10, 4), np.float32)):
            rows = file.create_dataset(name, shape, kind, chunks=(1000, shape[1]))
            rows.attrs["sha256"] = np.bytes_("0" * 64)
    data = buffer.getvalue()
    path = tmp_path / name_of(data)
    path.write_bytes(data)
    with pytest.raises(ForeignSegment, match="more than its bytes"):
        Segment.open(path, FOLDER)
