"""A table with everything that a reader may stumble over, for comparing the two ways of reading it."""

import shutil
from pathlib import Path

import numpy as np

from tests.builders.commands import rows_of


def stumbling_table(small_demo: Path, folder: Path, images: int = 30) -> Path:
    """Write pairs.csv and image/ into `folder`: rows in random order with copies of images, repeats, and faults.

    Of the images one is broken, one is lost, and one has another's content; of the rows some have no score, no hashtag
    or too many cells; and a hashtag has two spellings.
    """
    rows = rows_of(small_demo / "combined_data.csv")
    names = sorted({row["Image Filename"] for row in rows})[:images]
    (folder / "image").mkdir(parents=True)
    for name in names:
        shutil.copy(small_demo / "image" / name, folder / "image" / name)
    shutil.copy(small_demo / "image" / names[0], folder / "image" / "copy.png")
    (folder / "image" / "broken.png").write_bytes((small_demo / "image" / names[1]).read_bytes()[:200])
    pairs = [(row["Image Filename"], row["Hashtag"], row["Score"]) for row in rows if row["Image Filename"] in names]
    pairs += [("copy.png", tag, score) for image, tag, score in pairs if image == names[0]][:3]
    pairs += [("copy.png", "새해시태그", "4"), ("copy.png", "＃새해시태그", "4"), pairs[5]]
    pairs += [("broken.png", "바다", "3"), ("lost.png", "바다", "2"), ("lost.png", "카페", "2"), (names[2], " ", "1")]
    pairs += [(names[3], "바다", "six"), (names[4], "바다,5", "5")]
    lines = [f"{','.join(pairs[at])}\n" for at in np.random.default_rng(0).permutation(len(pairs))]
    (folder / "pairs.csv").write_text("Image Filename,Hashtag,Score\n" + "".join(lines), encoding="utf-8")
    return folder / "pairs.csv"
