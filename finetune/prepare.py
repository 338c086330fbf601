"""Prepares a fine-tuning: decodes the images, and validates everything before anything is trained or written."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from consistency.backbone.loading import load_model
from consistency.backbone.model import Backbone
from consistency.backbone.preprocess import squash
from consistency.data.files import ImageFile, image_identity
from consistency.data.pairs import PairTable
from consistency.data.trained_on import Digests, TrainedOn
from consistency.errors import BackboneError, InputError
from consistency.options import ImageLimits
from consistency.progress import Progress, silent
from consistency.scale import CLASSES, Objects
from finetune.classifier import check_choice
from finetune.config import ONLY_MEMORY, FinetuneConfig
from finetune.dataset import Floats, Ints, PairData, read_pair_data
from finetune.state import LabelledRows
from heads.losses import balanced_weights

SOURCE = ("backbone", "data", "images")  # what a training shares with others on the same data


@dataclass(frozen=True, eq=False)
class Sides:
    """The labels and the split of a table, images that cannot be used included.

    Attributes
    ----------
    labels : ndarray of int64, shape (n,)
        Classes from 0 to 4 of all rows.
    train, test : ndarray of int64, shape (k,)
        Rows of each side.
    val : ndarray of int64, shape (k,), or None
        Validation rows. If None, the last weights are kept and the history is measured on the test rows.
    class_weights_from : ndarray of int64 or None
        Labels that balanced class weights are computed from; None for those of the training rows.
    """

    labels: Ints
    train: Ints
    val: Ints | None
    test: Ints
    class_weights_from: Ints | None = None


@dataclass(frozen=True, eq=False)
class Prepared:
    """Validated inputs of a training, prepared before anything is trained or written.

    Attributes
    ----------
    backbone : Backbone
        Encoders, tuned in place.
    data : PairData
        Images and hashtags; `data.skipped` lists the rows without a usable image.
    rows : LabelledRows
        The usable rows.
    refit : LabelledRows or None
        The same with the validation rows among the training rows; None without a refit.
    config : FinetuneConfig
        How to train.
    seed : int
        Random seed.
    identity : mapping
        Values that a checkpoint must share with the training that resumes from it.
    images, hashtags : ndarray of object, shape (n,)
        Digest of the image and original hashtag of every row of the table.
    """

    backbone: Backbone
    data: PairData
    rows: LabelledRows
    refit: LabelledRows | None
    config: FinetuneConfig
    seed: int
    identity: Mapping[str, Any]
    images: Objects
    hashtags: Objects

    def trained_on(self, rows: LabelledRows) -> TrainedOn:
        """Record what the backbone has seen after training on `rows`, including earlier trainings.

        In a refit the validation rows count as well: they determined its number of epochs.
        """
        val = np.empty(0, dtype=np.int64) if self.rows.val is None else self.rows.val
        train, val_digests = (Digests.of(self.images[part], self.hashtags[part]) for part in (rows.train, val))
        return self.backbone.resolved.trained_on | TrainedOn(train, val_digests)

    def again(self, sides: Sides, *, seed: int) -> "Prepared":
        """The same images, hashtags and configuration for another training, with its own rows and seed.

        The backbone returns to its weights from before training, so save a model that was tuned with it first.

        Parameters
        ----------
        sides, seed
            See `prepare`.

        Returns
        -------
        Prepared
            Input of `finetune`.

        Raises
        ------
        InputError
            If a side has no usable image.
        """
        load_again(self.backbone)
        source = {name: self.identity[name] for name in SOURCE}
        rows, refit, identity = _divide(self.data, sides, self.config, source, seed=seed)
        return replace(self, rows=rows, refit=refit, seed=seed, identity=identity)


def prepare(
    backbone: Backbone,
    table: PairTable,
    files: Mapping[str, ImageFile],
    sides: Sides,
    config: FinetuneConfig,
    *,
    seed: int,
    limits: ImageLimits | None = None,
    workers: int | None = None,
    progress: Progress = silent,
) -> Prepared:
    """Decode all images and validate the inputs of a training.

    With `config.squash`, the preprocessing of `backbone` is changed in place to squash images.

    Parameters
    ----------
    backbone : Backbone
        Encoders with fp32 weights.
    table : PairTable
        The n pairs.
    files : mapping of str to ImageFile
        Image files by name.
    sides : Sides
        Their labels and split.
    config : FinetuneConfig
        How to train.
    seed : int
        Random seed.
    limits, workers
        See `read_pair_data`.
    progress : Progress
        Shows the decoding.

    Returns
    -------
    Prepared
        Input of `finetune`.

    Raises
    ------
    InputError
        If a side has no usable image, or the model does not support the configuration.
    BackboneError
        If the weights are not fp32, or the preprocessing cannot be changed to squash images.
    """
    if backbone.precision != "fp32":
        raise BackboneError(f"fine-tuning needs weights in fp32, not {backbone.precision}: load the backbone so")
    if config.squash:
        if backbone.spec is None:
            raise BackboneError(
                f"{backbone.resolved.name} prepares images in a way that cannot be told to squash them: "
                "use the default preset"
            )
        backbone.spec = squash(backbone.spec)
    check_choice(backbone.model, config)
    data = read_pair_data(backbone, table, files, config, limits=limits, workers=workers, progress=progress)
    images = image_identity(table.images, files)
    named = (backbone.resolved.revision, table.digest, hashlib.sha256("\n".join(images).encode()).hexdigest())
    source = dict(zip(SOURCE, named, strict=True))
    rows, refit, identity = _divide(data, sides, config, source, seed=seed)
    return Prepared(backbone, data, rows, refit, config, seed, identity, images, table.hashtags)


def class_weights(config: FinetuneConfig, labels: Ints) -> Floats:
    """Class weights for the loss.

    Parameters
    ----------
    config : FinetuneConfig
        Its head asks for balanced or equal weights.
    labels : ndarray of int64, shape (m,)
        Labels that balanced weights are computed from.

    Returns
    -------
    ndarray of float64, shape (5,)
        One weight per class.
    """
    return balanced_weights(labels) if config.head.class_weights == "balanced" else np.ones(CLASSES)


def _divide(
    data: PairData, sides: Sides, config: FinetuneConfig, source: Mapping[str, str], *, seed: int
) -> tuple[LabelledRows, LabelledRows | None, dict[str, Any]]:
    """Return the usable rows, those of a refit, and the identity of the training."""
    named = {"train": sides.train, "test": sides.test} | ({} if sides.val is None else {"val": sides.val})
    usable = {side: data.usable(rows) for side, rows in named.items()}
    for side, there in usable.items():
        if not len(there):
            raise InputError(f"none of the {len(named[side])} {side} rows has an image that can be used")

    def rows_of(train: Ints, val: Ints | None) -> LabelledRows:
        counted = sides.labels[train] if sides.class_weights_from is None else sides.class_weights_from
        return LabelledRows(sides.labels, train, val, usable["test"], class_weights(config, counted))

    rows, refit = rows_of(usable["train"], usable.get("val")), None
    if config.refit and rows.val is not None:
        refit = rows_of(np.sort(np.concatenate([rows.train, rows.val])), None)
    split = hashlib.sha256(sides.labels.tobytes())
    for side, there in sorted(usable.items()):
        split.update(side.encode() + there.tobytes())
    identity = {
        **source,
        "split": split.hexdigest(),
        "class weights": rows.class_weights.tolist(),
        "seed": seed,
        **{f"config.{name}": value for name, value in config.as_dict().items() if name not in ONLY_MEMORY},
    }
    return rows, refit, identity


def load_again(backbone: Backbone) -> None:
    """Restore the weights from before training."""
    backbone.model.load_state_dict(load_model(backbone.resolved, torch.float32).state_dict())
