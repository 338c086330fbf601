"""Evaluation for notebooks: the metrics and intervals of the command line, as tables."""

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from consistency.backbone.resolve import ResolvedBackbone
from consistency.data.splits import Split
from consistency.errors import InputError
from consistency.evaluation.results import Result
from consistency.runs.folder import CHANCES
from consistency.scale import SCORES
from koclip_consistency.python.embeddings import Embeddings
from koclip_consistency.python.pairs import Pairs
from koclip_consistency.workflows.answers import Answers, control_answers, evaluate_answers
from koclip_consistency.workflows.division import describe_unknown


@dataclass(frozen=True, eq=False, repr=False)
class Evaluated:
    """Metrics of one system on the test rows, with 95 % intervals from a bootstrap over images.

    Intervals of splits that keep hashtags whole are over hashtags.

    Attributes
    ----------
    result : Result
        The record that run folders hold.
    notes : tuple of str
        How many of these images and pairs trained the backbone, if it was fine-tuned here, or that this is unknown.

    Examples
    --------
    >>> import numpy as np
    >>> import koclip_consistency as kc
    >>> pairs = kc.read_pairs("pairs.csv", images="image")
    >>> split = kc.make_split(pairs)
    >>> always_four = kc.evaluate(np.full(len(split.test), 4), None, pairs, split)
    >>> always_four.to_frame().columns.tolist()
    ['value', 'low', 'high']
    >>> always_four.metrics["qwk"]
    0.0
    """

    result: Result
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        p = self.result.predictions
        return "\n".join([f"<{p.system} on {len(p)} {p.split} rows>", *self.notes, str(self.to_frame().round(3))])

    @property
    def metrics(self) -> dict[str, float | None]:
        """Every metric by its key, None where it is undefined."""
        return self.result.metrics

    @property
    def ci95(self) -> dict[str, tuple[float, float] | None]:
        """The 95 % interval of every metric by its key, None where there is none."""
        return self.result.ci95

    def to_frame(self) -> pd.DataFrame:
        """One line for each metric: value, and low and high of its 95 % interval; NaN where undefined."""
        bounds = {name: self.ci95.get(name) or (None, None) for name in self.metrics}
        lines = {name: (value, *bounds[name]) for name, value in self.metrics.items()}
        frame = pd.DataFrame.from_dict(lines, orient="index", columns=["value", "low", "high"], dtype=float)
        return frame.rename_axis("metric")

    def predictions(self) -> pd.DataFrame:
        """One line for each test row: row, image, hashtag, score, predicted, value and, where there are any, p1..p5."""
        p = self.result.predictions
        columns: dict[str, Any] = {"row": p.rows, "image": p.images, "hashtag": p.hashtags, "score": p.scores}
        columns |= {"predicted": p.predicted, "value": p.values}
        if p.probabilities is not None:
            columns |= dict(zip(CHANCES, p.probabilities.T, strict=True))
        return pd.DataFrame(columns)


def evaluate(model: Any, emb: Embeddings | None, pairs: Pairs, split: Split, *, system: str = "head") -> Evaluated:
    """Evaluate a trained head, or predictions, on the test rows.

    With embeddings of a fine-tuned backbone, `notes` of the result says how many of the test images it has seen.

    Parameters
    ----------
    model : Head, or array of shape (m,) or (m, 5)
        A fitted head, or any classifier with `predict` and `predict_proba` on pairs of embeddings; or the predicted
        scores 1 to 5, or probabilities of the five scores, of the m test rows.
    emb : Embeddings or None
        Embeddings of the pairs; test rows without an embedding are left out. None is for predictions of all test rows.
    pairs : Pairs
        The pair table.
    split : Split
        Its division.
    system : str
        Name of what is evaluated.

    Returns
    -------
    Evaluated

    Raises
    ------
    InputError
        If the predictions are not those of the test rows.

    Warns
    -----
    UserWarning
        If images or pairs of the test rows trained the backbone of `emb`.

    Examples
    --------
    >>> import koclip_consistency as kc
    >>> pairs = kc.read_pairs("pairs.csv", images="image")
    >>> split = kc.make_split(pairs)
    >>> emb = kc.embed(pairs, backbone="tiny")
    >>> head = kc.Head(epochs=2).fit(emb[split.train], pairs.scores[split.train])
    >>> kc.evaluate(head, emb, pairs, split).metrics["qwk"] > 0
    True
    """
    rows = split.test if emb is None else emb.usable(split.test)
    if not len(rows):
        raise InputError("there is no test row to evaluate on: none has an image that can be used")
    if hasattr(model, "predict_proba"):
        if emb is None:
            raise InputError("a head is evaluated on embeddings: give those of kc.embed in place of None")
        tested = emb[rows]
        answers = Answers(model.predict(tested), probabilities=model.predict_proba(tested))
        return _evaluated(system, emb.encoded.resolved, pairs, split, rows, answers)
    said, backbone = np.asarray(model), None if emb is None else emb.encoded.resolved
    if said.shape == (len(rows), len(SCORES)) and np.allclose(said.sum(axis=1), 1, atol=1e-4) and said.min() >= 0:
        return _evaluated(system, backbone, pairs, split, rows, Answers(probabilities=said.astype(np.float64)))
    if said.shape == (len(rows),) and np.isin(said, SCORES).all():
        answers = Answers(said.astype(np.int64), said.astype(np.float64))
        return _evaluated(system, backbone, pairs, split, rows, answers)
    raise InputError(
        f"the predictions are {said.shape} {said.dtype}, expected scores 1 to 5 of shape ({len(rows)},) or "
        f"probabilities of shape ({len(rows)}, {len(SCORES)}): one line for each test row that can be used"
    )


def controls(pairs: Pairs, split: Split) -> dict[str, Evaluated]:
    """Evaluate what can be predicted without looking at an image; a model that is worth its name is better.

    Parameters
    ----------
    pairs : Pairs
        The pair table.
    split : Split
        Its division; the controls learn from its training rows.

    Returns
    -------
    dict of str to Evaluated
        By the control's name: "majority", "median", "text-only", "name-and-text", "text-and-post".

    Examples
    --------
    >>> import koclip_consistency as kc
    >>> pairs = kc.read_pairs("pairs.csv", images="image")
    >>> found = kc.controls(pairs, kc.make_split(pairs))
    >>> found["majority"].metrics["qwk"]
    0.0
    """
    said = control_answers(pairs.inputs, split, split.train, split.test)
    return {name: _evaluated(name, None, pairs, split, split.test, answers) for name, answers in said.items()}


def _evaluated(
    system: str,
    backbone: ResolvedBackbone | None,
    pairs: Pairs,
    split: Split,
    rows: npt.NDArray[np.int64],
    answers: Answers,
) -> Evaluated:
    result, notes = evaluate_answers(system, backbone, pairs.inputs, split, rows, answers), []
    if backbone is not None and result.trained_on is not None:
        notes.append(result.trained_on.describe(backbone.name))
        if result.trained_on:
            warnings.warn(f"{notes[0]}: these figures say little about new images", stacklevel=3)
    if backbone is not None and not backbone.trained_on.complete:
        notes.append(describe_unknown(backbone))
    return Evaluated(result, tuple(notes))
