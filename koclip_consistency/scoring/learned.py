"""The labelled rows that a run learned from, read back from its folder and its table."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from consistency.data.hashtags import identities
from consistency.data.inputs import read_inputs
from consistency.errors import DataError, InputError
from consistency.options import Evaluation, Source
from consistency.runs.read import Run, read_options, read_run
from consistency.scale import Floats, Ints, Objects
from koclip_consistency.workflows.division import split_table


@dataclass(frozen=True, eq=False)
class Learned:
    """n labelled rows, without repeats.

    Attributes
    ----------
    images, hashtags : (n,) object str
        As in the table.
    digests : (n,) object bytes or None
        SHA-256 of each image's bytes; None where the image is not at hand.
    scores : (n,) int64
        Labels, 1 to 5.
    """

    images: Objects
    hashtags: Objects
    digests: Objects
    scores: Ints

    @cached_property
    def identities(self) -> npt.NDArray[np.object_]:
        """(n,) object, equal for spellings of one hashtag."""
        return identities(self.hashtags)

    @cached_property
    def text_only(self) -> Callable[[Objects], Floats]:
        """The control that reads the hashtag alone, trained on these rows; see `controls.fit_text_only`."""
        from consistency.evaluation.controls import fit_text_only  # scikit-learn is slow to load

        return fit_text_only(self.hashtags, self.scores - 1)


def read_learned(path: Path, *, data: Path | None = None, images: Path | None = None) -> Learned:
    """Read the train and validation rows of a run.

    Parameters
    ----------
    path : Path
        Run folder of `similarity`, `heads` or `finetune`.
    data, images : Path, optional
        The table and the images, if they are no longer where the run found them.

    Returns
    -------
    Learned

    Raises
    ------
    InputError
        If the folder is no finished run with a split, or its table cannot be read or has changed since.
    """
    run = read_run(path)
    source = _source(run)
    there = Path(str(run.info.get("directory", "")))
    data, images = data or there / source.data, images or there / source.images
    source = replace(source, data=data, images=images, on_error="allow")
    inputs = read_inputs(source, images_needed=False)
    table = inputs.table
    if table.digest != run.info.get("data_digest"):
        raise DataError(f"{data} has changed since {path} learned from it: name the table that it was with --data")
    split = split_table(inputs, source, Evaluation(split=path / "split.csv"))
    lost_rows, lost_images = {each.row for each in run.skipped}, {e.image for e in run.skipped if e.row is None}
    rows = np.array(
        [
            row
            for row in split.rows("train").tolist()
            if table.rows[row] not in lost_rows and table.images[row] not in lost_images
        ],
        dtype=np.int64,
    )
    digests = np.array([inputs.files[name].digest for name in table.images[rows]], dtype=object)
    return Learned(table.images[rows], table.hashtags[rows], digests, split.labels[rows] + 1)


def _source(run: Run) -> Source:
    try:
        source: Source = read_options(run.path / "run.json", run.config["source"], Source, complete=False)
    except KeyError as error:
        raise InputError(f"{run.path / 'run.json'} does not say which table the run learned from") from error
    return source
