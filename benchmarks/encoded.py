"""Drawn data sets for the other benchmarks: split by image and encoded with the packaged backbone."""

from pathlib import Path

from consistency.data.inputs import Inputs, read_inputs
from consistency.data.splits import Split
from consistency.options import Encoding, Evaluation, Source
from consistency.progress import Progress, silent
from demo.dataset import IMAGES, write_demo
from koclip_consistency.workflows.division import split_table
from koclip_consistency.workflows.encode import Encoded, encode_pairs


def encoded_draw(
    folder: Path,
    seed: int,
    *,
    images: int = IMAGES,
    cache: Path | None = None,
    progress: Progress = silent,
    backbone: str = "tiny",
) -> tuple[Inputs, Split, Encoded]:
    """Draw a data set into `folder`, unless it is there already; then split and encode it on the CPU.

    Parameters
    ----------
    folder : Path
        Folder of the data set.
    seed : int
        Random seed of the draw and of the split.
    images : int
        Number of images.
    cache : Path, optional
        Folder of the embeddings, by default `folder / "cache"`.
    progress : Progress
        Shows the encoding.
    backbone : str
        As `--backbone`.
    """
    source = Source(data=folder / "combined_data.csv", images=folder / "image")
    if not source.data.is_file():
        write_demo(folder, seed=seed, images=images)
    inputs = read_inputs(source)
    encoding = Encoding(backbone=backbone, cache=cache or folder / "cache", device="cpu")
    split = split_table(inputs, source, Evaluation(seed=seed))
    return inputs, split, encode_pairs(inputs, encoding, source, progress=progress)
