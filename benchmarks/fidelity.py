"""What a lower precision and quicker decoding change: `python -m benchmarks.fidelity [--draws 3]`.

Against `--precision fp32 --decode ours`, with the packaged backbone `tiny`, which is trained: embeddings of random
weights lie so close together that every cosine looks good. It measures

- the cosine of each vector to the exact one, the least and the mean; and the least *centred* cosine, of vectors less
  their mean, which is the strict figure;
- the share of test pairs whose score changes when a head that was trained on exact embeddings reads the others.

Images are photographs of scikit-learn and scikit-image (`pip install scikit-image`; without it, scikit-learn's two),
cut at random, as JPEGs of 1080x1350 and of 3024x4032; and drawn data sets, their images enlarged to JPEGs of 1080x1350.
"""

import argparse
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from PIL import Image

import koclip_consistency as kc
from benchmarks.timing import machine
from demo.dataset import write_demo

EXACT = {"precision": "fp32", "decode": "ours"}
VARIANTS = {
    "fp32, fast": EXACT | {"decode": "fast"},
    "bf16, ours": EXACT | {"precision": "bf16"},
    "bf16, fast": {"precision": "bf16", "decode": "fast"},
    "fp16, ours": EXACT | {"precision": "fp16"},
    "fp32, ours, stored in fp16": EXACT | {"store": "fp16"},
}
SIZES = {"1080x1350": 60, "3024x4032": 20}
SEED = 1501  # of the first draw; these draws were used for nothing else
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Gap:
    """How far vectors are from the exact ones."""

    least: float
    mean: float
    centred: float

    @classmethod
    def between(cls, found: Floats, exact: Floats) -> "Gap":
        """Compare two (n, d) arrays row by row."""
        cosines = _cosines(found, exact)
        return cls(
            float(cosines.min()),
            float(cosines.mean()),
            float(_cosines(found - exact.mean(axis=0), exact - exact.mean(axis=0)).min()),
        )


def _cosines(one: Floats, other: Floats) -> Floats:
    return (one * other).sum(axis=1) / np.linalg.norm(one, axis=1) / np.linalg.norm(other, axis=1)


def photographs() -> Iterator[Image.Image]:
    """The colour photographs that scikit-learn and, if it is installed, scikit-image bring along."""
    from sklearn.datasets import load_sample_images

    yield from map(Image.fromarray, load_sample_images().images)
    try:
        from skimage import data
    except ModuleNotFoundError:
        return
    for name in ("astronaut", "chelsea", "coffee", "rocket", "retina", "hubble_deep_field", "immunohistochemistry"):
        yield Image.fromarray(getattr(data, name)())


def cut(folder: Path, size: str, count: int) -> Path:
    """Write a table of `count` random cuts of the photographs, and their images, into `folder`."""
    rng, known = np.random.default_rng(0), list(photographs())
    width, height = map(int, size.split("x"))
    (folder / "image").mkdir(parents=True)
    for number in range(count):
        whole = known[number % len(known)]
        long = int(min(whole.height, whole.width * 5 / 4) * rng.uniform(0.6, 1))
        wide = long * 4 // 5
        left, top = rng.integers(0, whole.width - wide + 1), rng.integers(0, whole.height - long + 1)
        part = whole.crop((left, top, left + wide, top + long))
        _save(part, (width, height), rng, folder / "image" / f"{number}.jpg")
    names = [f"{number}.jpg" for number in range(count)]
    scores = np.arange(count) % 5 + 1  # read by nobody
    table = pd.DataFrame({"Image Filename": names, "Hashtag": "#사진", "Score": scores})
    table.to_csv(folder / "pairs.csv", index=False)
    return folder


def enlarged(folder: Path, seed: int) -> Path:
    """Draw a data set into `folder`, its images as JPEGs of 1080x1350."""
    write_demo(folder / "drawn", seed=seed)
    table, rng = pd.read_csv(folder / "drawn" / "combined_data.csv"), np.random.default_rng(seed)
    (folder / "image").mkdir(parents=True)
    for name in table["Image Filename"].unique():
        with Image.open(folder / "drawn" / "image" / name) as image:
            _save(image.convert("RGB"), (1080, 1350), rng, folder / "image" / f"{Path(name).stem}.jpg")
    table["Image Filename"] = [f"{Path(name).stem}.jpg" for name in table["Image Filename"]]
    table.to_csv(folder / "pairs.csv", index=False)
    return folder


def _save(image: Image.Image, size: tuple[int, int], rng: np.random.Generator, path: Path) -> None:
    """Save with the noise of a camera, so that a reduced decoding has something to lose."""
    pixels = np.asarray(image.resize(size, Image.Resampling.BICUBIC))
    noisy = pixels + rng.normal(0, 3, (size[1], size[0], 1)).astype(np.float32)
    Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8)).save(path, "JPEG", quality=90)


def embedded(folder: Path, pairs: Any, how: dict[str, str]) -> Any:
    return kc.embed(pairs, backbone="tiny", cache=folder / "cache", device="cpu", **how)


def of_photographs(folder: Path, size: str, count: int) -> dict[str, Gap]:
    cut(folder, size, count)
    pairs = kc.read_pairs(folder / "pairs.csv", images=folder / "image")
    exact = embedded(folder, pairs, EXACT)[np.arange(count)].images.astype(np.float64)
    return {
        name: Gap.between(embedded(folder, pairs, how)[np.arange(count)].images.astype(np.float64), exact)
        for name, how in VARIANTS.items()
    }


def of_answers(folder: Path, seed: int) -> dict[str, tuple[float, float, float]]:
    """By variant: least centred cosine of the images, share of changed scores, mean change of the expected score."""
    enlarged(folder, seed)
    pairs = kc.read_pairs(folder / "pairs.csv", images=folder / "image")
    split = kc.make_split(pairs, seed=seed)
    exact = embedded(folder, pairs, EXACT)
    head = kc.Head(seed=seed).fit(exact[split.train], split.scores[split.train])
    test, told = exact[split.test], {}
    scores, expected = head.predict(test), head.expected_score(test)
    for name, how in VARIANTS.items():
        other = embedded(folder, pairs, how)[split.test]
        gap = Gap.between(other.images.astype(np.float64), test.images.astype(np.float64))
        moved = np.abs(head.expected_score(other) - expected).mean()
        told[name] = gap.centred, float((head.predict(other) != scores).mean()), float(moved)
    return told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=3, help="drawn data sets")
    draws = parser.parse_args().draws
    print(machine("transformers", "pillow", "simplejpeg", "scikit-image"))
    with tempfile.TemporaryDirectory() as temporary:
        for size, count in SIZES.items():
            print(f"\n{count} photographs of {size}\n")
            print("| variant | least cosine | mean | least centred |\n|---|---|---|---|")
            for name, gap in of_photographs(Path(temporary) / size, size, count).items():
                print(f"| {name} | {gap.least:.7f} | {gap.mean:.7f} | {gap.centred:.6f} |")
        seeds = range(SEED, SEED + draws)
        found = [of_answers(Path(temporary) / str(seed), seed) for seed in seeds]
        print(f"\ntest pairs of draws {seeds[0]} to {seeds[-1]}, mean over draws\n")
        print("| variant | least centred cosine | scores that change | mean change of the value |\n|---|---|---|---|")
        for name in VARIANTS:
            centred, changed, moved = zip(*(each[name] for each in found), strict=True)
            print(f"| {name} | {min(centred):.6f} | {np.mean(changed):.2%} | {np.mean(moved):.5f} |")


if __name__ == "__main__":
    main()
