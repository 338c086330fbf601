"""A table whose posts are torn apart, to be read in batches of any size."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from consistency.data.inputs import Inputs
from consistency.options import Source
from koclip_consistency.scoring.batches import TableBatch, open_batches
from tests.builders.commands import rows_of


def torn_posts(small_demo: Path, folder: Path) -> Source:
    """40 rows of 3 images in an order that tears every post apart, some of which cannot be answered."""
    rows = rows_of(small_demo / "combined_data.csv")
    images = sorted({row["Image Filename"] for row in rows})[:3]
    chosen = [(row["Image Filename"], row["Hashtag"]) for row in rows if row["Image Filename"] in images]
    folder.mkdir(exist_ok=True)
    (folder / "page.png").write_text("<html></html>")
    for image in images:
        (folder / image).write_bytes((small_demo / "image" / image).read_bytes())
    chosen = [*chosen, ("page.png", "바다"), ("lost.png", "바다"), (images[0], " "), chosen[0], chosen[5]]
    order = np.random.default_rng(0).permutation(len(chosen))
    lines = [f"{chosen[at][0]},{chosen[at][1]}\n" for at in order]
    (folder / "new.csv").write_text("Image Filename,Hashtag\n" + "".join(lines), encoding="utf-8")
    return Source(data=folder / "new.csv", images=folder)


def in_parts(source: Source, size: int) -> Iterator[TableBatch]:
    """The table in batches of `size` rows."""
    for batch in open_batches(source):
        for start in range(0, len(batch.rows), size):
            part = slice(start, start + size)
            inside = (batch.at >= start) & (batch.at < start + size)
            inputs = Inputs(batch.inputs.table.take(inside), batch.inputs.files, ())
            yield TableBatch(
                [column[part] for column in batch.cells],
                batch.rows[part],
                batch.images[part],
                batch.hashtags[part],
                batch.scores[part],
                inputs,
                batch.at[inside] - start,
            )
