"""Embeddings of a pair table, against other ways: `python -m benchmarks.extract [--quick]`.

Ours is `embedcache.extract` into a fresh cache on disk, as the command `extract` runs it. The others, all in this
process, on the same threads, the model loaded beforehand:

- the published loop: for each pair, open the image, run the processor on it and on the hashtag padded to 77 tokens,
  and run the model on each; timed on a few pairs and extrapolated to all of them;
- sentence-transformers (the same model folder), open_clip and clip-retrieval (the same architecture) on the distinct
  images and hashtags. `pip install -e .[bench]` installs the first two, and `pip install --no-deps clip-retrieval` the
  third; a library that is not installed is left out.

Models are ViT-B/32 and ViT-L/14 with random weights. Images are photographs cut, enlarged to 1080x1350 and made
noisy, as PNG and as JPEG. The table is the published one (2,022 pairs, 172 images, 1,375 hashtags) scaled down:
43 images for B/32, 8 for L/14. Every figure is the least time of all rounds. At the end the JPEGs are extracted with
each precision and each way of decoding.

On a GPU thousands of JPEGs go through the command `extract` itself, in a process of its own: of 448 px, against the
measured bf16 matrix rate, and of 1080x1350, against what decoding alone delivers; and the published loop on 100 pairs.
"""

import argparse
import io
import json
import logging
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_sample_images
from transformers import CLIPModel, CLIPTokenizer
from transformers.utils import logging as transformers_logging

from benchmarks.libraries import encoders
from benchmarks.timing import alternate, machine
from consistency.backbone.loading import load_image_processor
from consistency.backbone.model import Backbone, load_backbone
from consistency.backbone.resolve import resolve_backbone
from consistency.data.files import ImageFile, find_images
from consistency.data.pairs import PairTable
from embedcache.extract import ExtractReport, extract
from embedcache.store import EmbeddingCache
from tests.builders.crash_workers import pair_table
from tests.builders.models import Tower, make_clip_folder

PAIRS, IMAGES, HASHTAGS = 2022, 172, 1375  # of the published table
SIZE = 1080, 1350
# How many times as fast as each we want to be.
TARGETS = {
    ("one pass", "published loop"): 10.0,
    ("hashtags", "sentence-transformers"): 1.2,
    ("hashtags", "open_clip"): 6.0,
    ("images", "sentence-transformers"): 1.1,
    ("images", "open_clip"): 1.1,
}
BUSY = 0.90
OF_MATRIX_RATE, OF_DECODING = 0.45, 0.90
DISTINCT = 32  # photographs; further files are these with their number appended, which no decoder reads
ROOT = Path(__file__).parents[1]
WORDS = (
    "바다 여행 카페 맛집 감성사진 고양이 가을 겨울바다 야경 일상 데일리룩 주말 산책 커피 꽃 하늘 노을 선물 운동 사진"
)
ENDS = "스타그램 그램 추천 투어 일기 기록 맞팔 좋아요 소통 브이로그"


@dataclass(frozen=True)
class Shape:
    """An architecture: our folder's sizes, open_clip's name; images of the table and pairs of the loop."""

    open_clip: str
    options: dict[str, Any]
    gflop: float  # of one image
    images: int
    loop_pairs: int


SHAPES = {
    "B/32": Shape(
        "ViT-B-32",
        {"dim": 512, "patch_size": 32, "vision": Tower(768, 12, 12), "text": Tower(512, 12, 8)},
        gflop=8.8,
        images=43,
        loop_pairs=30,
    ),
    "L/14": Shape(
        "ViT-L-14",
        {"dim": 768, "patch_size": 14, "vision": Tower(1024, 24, 16), "text": Tower(768, 12, 12)},
        gflop=162,
        images=8,
        loop_pairs=6,
    ),
}


@dataclass(frozen=True)
class Data:
    """The scaled-down table with its images of one format."""

    table: PairTable
    files: dict[str, ImageFile]
    names: list[str]
    hashtags: list[str]
    folder: Path

    @property
    def paths(self) -> list[Path]:
        return [self.folder / name for name in self.names]


def make_data(folder: Path, kind: str, count: int, size: tuple[int, int] = SIZE) -> Data:
    """`count` different photographs as `kind` (png or jpg), with pairs and hashtags in the published proportions."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    photographs = [Image.fromarray(array) for array in load_sample_images().images]
    names = [f"{number}.{kind}" for number in range(count)]
    contents = []
    for number in range(min(count, DISTINCT)):
        left, top = int(rng.integers(0, 280)), int(rng.integers(0, 70))
        cut = photographs[number % 2].crop((left, top, left + 280, top + 350)).resize(size, Image.Resampling.LANCZOS)
        noisy = np.asarray(cut) + rng.normal(0, 3, (size[1], size[0], 1))
        image, file = Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8)), io.BytesIO()
        image.save(file, {"jpg": "JPEG", "png": "PNG"}[kind], quality=90)
        contents.append(file.getvalue())
    for number, name in enumerate(names):
        (folder / name).write_bytes(contents[number % DISTINCT] + (number // DISTINCT).to_bytes(2, "big"))
    hashtags = hashtags_of(round(count * HASHTAGS / IMAGES))
    rows = range(round(count * PAIRS / IMAGES))
    table = pair_table([names[row % count] for row in rows], [hashtags[row % len(hashtags)] for row in rows])
    return Data(table, find_images(names, folder), names, hashtags, folder)


def hashtags_of(count: int) -> list[str]:
    """`count` different hashtags of words that people use."""
    words, ends = WORDS.split(), ["", *ENDS.split()]
    return [f"#{word}{end}{number or ''}" for number in range(7) for end in ends for word in words][:count]


def make_model(folder: Path, shape: Shape) -> Path:
    """A model folder; with CLIP's own vocabulary where open_clip, which holds it, is installed."""
    make_clip_folder(folder, image_size=224, vocab_size=49408, legacy_eos=True, **shape.options)
    if find_spec("open_clip"):
        from open_clip.tokenizer import SimpleTokenizer

        theirs = SimpleTokenizer()
        names = {"<start_of_text>": "<|startoftext|>", "<end_of_text>": "<|endoftext|>"}
        vocabulary = {names.get(token, token): number for token, number in theirs.encoder.items()}
        CLIPTokenizer(vocabulary, list(theirs.bpe_ranks), model_max_length=77).save_pretrained(folder)
    return folder


class Ours:
    """`extract` on a loaded model; every call fills a cache of its own."""

    def __init__(self, backbone: Backbone, folder: Path) -> None:
        self.backbone, self.folder = backbone, folder
        self.reports: dict[str, ExtractReport] = {}
        self._number = 0

    def fill(self, name: str, data: Data, table: PairTable, start: Path | None = None) -> Path:
        """Extract into a fresh cache, or into a copy of `start`; the quickest report is kept under `name`."""
        self._number += 1
        root = self.folder / str(self._number)
        if start:
            shutil.copytree(start, root)
        cache = EmbeddingCache.open(root, self.backbone.fields)
        report = extract(table, data.files, cache, lambda: self.backbone, workers=torch.get_num_threads())
        if name not in self.reports or report.seconds < self.reports[name].seconds:
            self.reports[name] = report
        return root


def published_loop(model: Any, backbone: Backbone, data: Data, pairs: int) -> None:
    """What the published scripts do, for the first `pairs` rows."""
    processor = load_image_processor(backbone.resolved)
    for image, hashtag in zip(data.table.images[:pairs], data.table.hashtags[:pairs], strict=True):
        pixels = processor(images=Image.open(data.folder / image).convert("RGB"), return_tensors="pt")
        text = backbone.tokenizer(
            [hashtag], padding="max_length", truncation=True, max_length=backbone.text_length, return_tensors="pt"
        )
        with torch.no_grad():
            model.get_image_features(**pixels.to(backbone.device))
            model.get_text_features(**text.to(backbone.device))


def compare(task: str, seconds: Mapping[str, float], n: int, unit: str) -> None:
    """A line per variant of `task`: its time, its rate, and how many times as fast ours is."""
    for name, taken in seconds.items():
        line = f"  {task:<15} {name:<22} {taken:9.3f} s {n / taken:9.1f} {unit}/s"
        target = TARGETS.get((task.split(",")[0], name))
        print(line + (f"   ours {taken / seconds['ours']:6.2f}x (target {target:g}x)" if target else ""), flush=True)


def run_shape(name: str, shape: Shape, given: argparse.Namespace, root: Path) -> None:
    folder = make_model(root / "model", shape)
    backbone = load_backbone(resolve_backbone(str(folder)), device="cpu", trainable=False)
    ours = Ours(backbone, root / "caches")
    plain = CLIPModel.from_pretrained(folder).eval()
    others = encoders(folder, shape.open_clip)
    print(
        f"{name}: {shape.images} images, {round(shape.images * HASHTAGS / IMAGES)} hashtags, "
        f"{round(shape.images * PAIRS / IMAGES)} pairs; the loop on {shape.loop_pairs} of them; "
        f"{backbone.precision}, batches of {backbone.batch_sizes}"
    )
    for kind in ("png", "jpg"):
        data = make_data(root / kind, kind, shape.images)
        alone = pair_table(data.names, ["#"] * shape.images)
        if kind == "png":  # hashtags are the same whatever the images are
            seen = ours.fill("warm", data, alone)
            variants = {"ours": partial(ours.fill, "hashtags", data, data.table, seen)}
            variants |= {peer: partial(texts, data.hashtags) for peer, (_, texts) in others.items()}
            compare("hashtags", alternate(variants, rounds=given.rounds), len(data.hashtags), "hashtags")

        variants = {"ours": partial(ours.fill, "images", data, alone)}
        variants |= {peer: partial(images, data.paths) for peer, (images, _) in others.items()}
        compare(f"images, {kind}", alternate(variants, rounds=given.rounds), shape.images, "images")

        task = f"one pass, {kind}"
        variants = {
            "ours": partial(ours.fill, task, data, data.table),
            "published loop": partial(published_loop, plain, backbone, data, shape.loop_pairs),
        }
        seconds = alternate(variants, rounds=given.rounds)
        seconds["published loop"] *= len(data.table) / shape.loop_pairs
        compare(task, seconds, len(data.table), "pairs")
        report = ours.reports[task]
        print(f"  encoder busy {report.encoder_busy:.1%}, {report.images_per_second:.1f} images/s")
    settings(folder, data, root, given.rounds)


def settings(folder: Path, data: Data, root: Path, rounds: int) -> None:
    """What `--precision` and `--decode` do to the JPEGs of `data`, without the sample that is compared with fp32."""
    alone = pair_table(data.names, ["#"] * len(data.names))
    ways = {}
    for precision, decode in product(("fp32", "bf16"), ("ours", "fast")):
        backbone = load_backbone(
            resolve_backbone(str(folder)), device="cpu", precision=precision, decode=decode, trainable=False
        )
        ways[f"{precision}, {decode}"] = Ours(backbone, root / f"{precision}-{decode}")
    alternate({name: partial(ours.fill, "images", data, alone) for name, ours in ways.items()}, rounds=rounds)
    rates = {name: ours.reports["images"].images_per_second or 0.0 for name, ours in ways.items()}
    for name, rate in rates.items():
        print(f"  images, {name:<11} {rate:7.1f} images/s, {rate / rates['fp32, ours']:.2f}x fp32, ours", flush=True)


def run_on_gpu(name: str, shape: Shape, given: argparse.Namespace, root: Path) -> None:
    folder = make_model(root / "model", shape)
    backbone = load_backbone(resolve_backbone(str(folder)), device="cuda", trainable=False)
    rate = matrix_rate(backbone)
    print(f"{name}: {torch.cuda.get_device_name()}, {backbone.precision}, {os.cpu_count()} cores")
    for size, count in ((448, 448), 12_288), ((1080, 1350), 2048):
        data = make_data(root / str(size[0]), "jpg", 64 if given.quick else count, size)
        reports = [extracted(folder, data, root) for _ in range(given.rounds)]
        best = max(reports, key=lambda report: report["images_per_second"])
        command = [sys.executable, "-m", "benchmarks.decoding", data.folder]
        ceiling = float(subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout)
        reached = best["images_per_second"] * shape.gflop / 1e3
        print(
            f"  {len(data.names):,} JPEGs of {size[0]}x{size[1]}: {best['images_per_second']:.0f} images/s, "
            f"{reached:.0f} of {rate:.0f} TFLOP/s = {reached / rate:.1%} (target {OF_MATRIX_RATE:.0%} for L/14 from "
            f"448 px); decoding alone {ceiling:.0f}/s, of which {best['images_per_second'] / ceiling:.1%} (target "
            f"{OF_DECODING:.0%} from 1080x1350); encoder busy {best['encoder_busy']:.1%} (target {BUSY:.0%}); least "
            f"cosine to fp32 {best['cosine_to_fp32']['images']:.5f}",
            flush=True,
        )
    plain = CLIPModel.from_pretrained(folder).cuda().eval()
    loop = alternate({"loop": partial(published_loop, plain, backbone, data, 100)}, rounds=2)["loop"] / 100
    print(f"  the published loop, fp32: {1 / loop:.1f} pairs/s, of 1080x1350")


def extracted(model: Path, data: Data, root: Path) -> dict[str, Any]:
    """What `cli.py extract` records in its run folder about an extraction into a fresh cache."""
    table, place = root / "table.csv", Path(tempfile.mkdtemp(dir=root))
    lines = [f"{name},#바다,{number % 5 + 1}\n" for number, name in enumerate(data.names)]
    table.write_text("Image Filename,Hashtag,Score\n" + "".join(lines), encoding="utf-8")
    command = [sys.executable, "cli.py", "extract", "--backbone", model, "--data", table, "--images", data.folder]
    places = ["--cache", place / "cache", "--out", place / "run", "--quiet"]
    subprocess.run([*map(str, [*command, *places])], cwd=ROOT, check=True)
    return json.loads((place / "run" / "run.json").read_text())["details"]["extraction"]


def matrix_rate(backbone: Backbone, side: int = 8192, repeats: int = 50) -> float:
    """TFLOP/s of square matrix products in the model's precision on a GPU."""
    matrix = torch.randn(side, side, device=backbone.device, dtype=next(backbone.model.parameters()).dtype)
    matrix @ matrix
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    for _ in range(repeats):
        matrix @ matrix
    end.record()
    torch.cuda.synchronize()
    return 2 * side**3 * repeats / start.elapsed_time(end) / 1e9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=list(SHAPES))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, help="of torch and for decoding; default: torch's choice")
    parser.add_argument("--quick", action="store_true", help="a few images of B/32, one round: does it run at all")
    given = parser.parse_args()
    if given.threads:
        torch.set_num_threads(given.threads)
    if given.quick:
        given.shapes, given.rounds = ["B/32"], 1
    transformers_logging.disable_progress_bar()
    logging.disable(logging.WARNING)  # open_clip's, that weights are random
    print(machine("transformers", "pillow", "sentence-transformers", "open_clip_torch", "torchvision"))
    print(f"{torch.get_num_threads()} threads, {given.rounds} rounds, least time of each")
    for name in given.shapes:
        shape = SHAPES[name]
        if given.quick:
            shape = replace(shape, images=6, loop_pairs=3)
        with tempfile.TemporaryDirectory() as root:
            if torch.cuda.is_available():
                run_on_gpu(name, shape, given, Path(root))
            else:
                run_shape(name, shape, given, Path(root))


if __name__ == "__main__":
    main()
