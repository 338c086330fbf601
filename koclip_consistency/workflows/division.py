"""Who is tested on what: the split of a trial, and what run.json, the screen and the report say about it."""

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from consistency.backbone.resolve import ResolvedBackbone
from consistency.data.distinct import number_distinct
from consistency.data.inputs import Inputs
from consistency.data.leakage import Leakage, fold_leakage, leakage
from consistency.data.split_file import import_split
from consistency.data.splits import Split, Whole, hold_out_validation, make_split
from consistency.data.trained_on import SeenByBackbone
from consistency.options import Evaluation, Source

if TYPE_CHECKING:
    from consistency.data.near_duplicates import NearDuplicates

Rows = npt.NDArray[np.int64]

SHOWN_GROUPS = 3
FEW_CLUSTERS = 20  # the fewest images for which docs/evaluation.md says how often intervals hold


def split_table(inputs: Inputs, source: Source, evaluation: Evaluation, *, validation: bool = False) -> Split:
    """Divide the rows at random, or as a file says.

    Parameters
    ----------
    inputs : Inputs
        The pair table and its images.
    source : Source
        For `on_conflict`: what repeated pairs with different scores become.
    evaluation : Evaluation
        The protocol and the seed, or the file.
    validation : bool
        Whether to have validation rows: those of the file, or some of the training rows. If not, the file's validation
        rows are training rows.

    Returns
    -------
    Split

    Raises
    ------
    DataError
        If the table is too small to divide, its repeated pairs have different scores, or the file does not fit it.
    """
    seed, on_conflict, scenes = evaluation.seed, source.on_conflict, inputs.alike
    if evaluation.split is not None:
        split = import_split(
            evaluation.split, inputs.table, inputs.identity, seed=seed, on_conflict=on_conflict, scenes=scenes
        )
    else:
        split = make_split(
            inputs.table,
            inputs.identity,
            protocol=evaluation.protocol,
            seed=seed,
            test_fraction=evaluation.test_fraction,
            on_conflict=on_conflict,
            scenes=scenes,
        )
    if not validation:
        return replace(split, side=np.where(split.side == "val", "train", split.side))
    return split if len(split.rows("val")) else hold_out_validation(split, seed=seed)


def clusters(split: Split, inputs: Inputs) -> Rows:
    """What intervals draw as one: whatever the split keeps whole, images or hashtags; images where it divides both.

    Returns
    -------
    ndarray of int64, shape (n,)
        For every row of the table the first row, as the CSV counts, of its cluster.
    """
    together = inputs.alike if split.groups is None else split.groups
    firsts, index = number_distinct(together)
    return inputs.table.rows[firsts][index]


@dataclass(frozen=True)
class Division:
    """What `run.json` says of who was tested on what.

    Attributes
    ----------
    leakage : dict of str to Leakage
        By "test" and "cv" (out of fold): how many of the rows that were answered were there to learn from.
    trained_on : dict of str to SeenByBackbone
        By "test" and "cv": how many of these rows a fine-tuned backbone had seen before. Empty if it was not fine-tuned
        here.
    trained_on_known : bool
        False if it is unknown what the backbone was trained on.
    notes : tuple of str
        The same in words, whether few are tested, which images are near-duplicates, and which cells hold several
        hashtags.
    """

    leakage: dict[str, Leakage]
    notes: tuple[str, ...]
    trained_on: dict[str, SeenByBackbone] = field(default_factory=dict)
    trained_on_known: bool = True


def describe_division(
    split: Split,
    inputs: Inputs,
    usable: npt.NDArray[np.bool_] | None = None,
    backbone: ResolvedBackbone | None = None,
) -> Division:
    """Count what was seen before, and say it.

    Parameters
    ----------
    split : Split
        Of the n rows of the table.
    inputs : Inputs
        The pair table and its images.
    usable : ndarray of bool, shape (n,), optional
        The rows whose images could be used; all of them if None.
    backbone : ResolvedBackbone, optional
        The backbone of the systems that answered, if they had one.

    Returns
    -------
    Division
    """
    if usable is not None:
        split = replace(split, kept=split.kept & usable)
    columns = (split, inputs.identity, inputs.table.hashtags, inputs.scenes)
    shared = describe_shared(split.whole)
    tested = {"test": split.rows("test"), "cv": np.flatnonzero(split.kept & (split.fold >= 0))}
    tested = {side: rows for side, rows in tested.items() if len(rows)}
    found, notes = {}, [inputs.several] if inputs.several else []
    if "test" in tested:
        found["test"] = leakage(*columns)
        leaks = ": this split leaks" if split.protocol == "file" and found["test"].image and not shared else ""
        notes.append(f"protocol {split.protocol}{shared}: {found['test']}{leaks}")
    if "cv" in tested:
        found["cv"] = fold_leakage(*columns)
        notes.append(f"protocol {split.protocol}, {split.fold.max() + 1} folds{shared}: {found['cv']}")
    seen = {}
    if backbone is not None and backbone.trained_on:
        seen = {side: seen_by(backbone, inputs, rows) for side, rows in tested.items()}
        notes += [counts.describe(backbone.name, split=side) for side, counts in seen.items()]
    known = backbone is None or backbone.trained_on.complete
    if backbone is not None and not known:
        notes.append(describe_unknown(backbone))
    if "test" in tested and (drawn := len(set(clusters(split, inputs)[tested["test"]].tolist()))) < FEW_CLUSTERS:
        notes.append(describe_few(drawn, split.whole))
    if inputs.near is not None:
        notes.append(describe_near_duplicates(inputs.near))
    return Division(found, tuple(notes), seen, known)


def describe_shared(whole: Whole) -> str:
    """What else there is to know about a protocol that keeps these whole."""
    return " (images may be on both sides; intervals are over hashtags)" if whole == "hashtags" else ""


def seen_by(backbone: ResolvedBackbone, inputs: Inputs, rows: Rows) -> SeenByBackbone:
    """How many of these rows of the table trained or validated the backbone. rows: (m,) int64."""
    return backbone.trained_on.seen(inputs.identity[rows], inputs.table.hashtags[rows])


def describe_unknown(backbone: ResolvedBackbone) -> str:
    """That a local model came without a record of its training."""
    what = "what else the model it was tuned from" if backbone.trained_on else "what it"
    return (
        f"backbone {backbone.name}, a local model: {what} was trained on is unknown, "
        "and images that are tested here may be among it"
    )


def describe_few(count: int, whole: Whole) -> str:
    """That few images or hashtags are tested, and what this means for the intervals."""
    if count == 1:
        return f"only one of the {whole} is tested, so there are no confidence intervals"
    few = f"only {count} {whole} are tested: intervals are wide"
    return f"{few}, and how often they hold was measured down to {FEW_CLUSTERS} images"


def describe_near_duplicates(near: "NearDuplicates") -> str:
    """How many images are near-duplicates, with the first groups as examples."""
    joined = f"{near.joined} images in {len(near.groups)} groups"
    examples = "; ".join(" = ".join(names[:2]) for names in near.groups[:SHOWN_GROUPS])
    return f"near-duplicates, at most {near.limit} of 64 bits apart: {joined}{examples and ': '}{examples}"
