"""Chooses as which texts hashtags are put to the model: by folds inside the training rows, before anything else."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from consistency.backbone.text_recipe import TextRecipe
from consistency.data.folds import make_divisions
from consistency.evaluation.compare import Difference, compare
from consistency.evaluation.results import Result
from consistency.options import Encoding
from consistency.scale import confusion, merit
from consistency.text import METRIC_TITLES, number
from heads.config import HeadConfig
from heads.train import train_head
from koclip_consistency.workflows.encode import Encoded, encode_pairs
from koclip_consistency.workflows.trial import Trial

RAW = "raw"
RECIPES = {
    RAW: TextRecipe(),
    "plain": TextRecipe("plain"),
    "korean": TextRecipe("plain", ("{}", "{}의 사진", "{} 사진")),
    "english": TextRecipe("plain", ("{}", "a photo of {}")),
}
FOLDS = 5
METRICS = ("qwk", "macro_f1")


@dataclass(frozen=True)
class ChosenRecipe:
    """The recipe that was chosen, and by what.

    Attributes
    ----------
    name : str
        Key of RECIPES.
    scores : dict of str to tuple of float
        By recipe: (QWK + macro-F1) / 2 of the default head on the rows held out by each fold of train.
    gain : tuple of Difference
        On the test rows, against hashtags as they are written; empty if these were chosen.
    """

    name: str
    scores: Mapping[str, tuple[float, ...]]
    gain: tuple[Difference, ...] = ()

    def applied(self, encoding: Encoding) -> Encoding:
        """The options of encoding with this recipe."""
        recipe = RECIPES[self.name]
        return replace(encoding, text=recipe.text, templates=recipe.templates)

    def against(self, written: Result, chosen: Result) -> "ChosenRecipe":
        """With the gain on the test rows of `chosen` over `written`, whose hashtags were as they are written."""
        return replace(self, gain=tuple(compare([written, chosen], names=[RAW, self.name], metrics=METRICS)))

    @property
    def note(self) -> str:
        """One line: what was chosen, and what it gained on the test rows."""
        means = ", ".join(f"{name} {number(float(np.mean(scores)))}" for name, scores in self.scores.items())
        gained = "".join(
            f"; on test it gains {number(each.difference)} {METRIC_TITLES[each.metric]}"
            + ("" if each.low is None else f" (95 % {number(each.low)} to {number(each.high)})")
            for each in self.gain
        )
        return f"text recipe {self.name}, chosen by {FOLDS} folds of train (score {means}){gained}"

    def as_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        gain = {each.metric: [each.difference, each.low, each.high] for each in self.gain}
        return {"name": self.name, "scores": {name: list(scores) for name, scores in self.scores.items()}, "gain": gain}


def choose_recipe(trial: Trial) -> ChosenRecipe:
    """Choose a recipe by the default head on folds of the training rows; no test row is read.

    Hashtags stay as they are written unless another recipe is ahead by more than one standard error of the paired
    difference over the folds.
    """
    options = trial.options
    scores: dict[str, tuple[float, ...]] = {}
    for name in RECIPES:
        encoding = ChosenRecipe(name, {}).applied(options.encoding)
        encoded = encode_pairs(trial.inputs, encoding, options.source, progress=trial.reporter.progress)
        scores[name] = _scores(encoded, trial)
    best = max(scores, key=lambda name: float(np.mean(scores[name])))
    ahead = np.subtract(scores[best], scores[RAW])
    sure = ahead.mean() > ahead.std(ddof=1) / np.sqrt(len(ahead))
    trial.clock.lap("choose text")
    return ChosenRecipe(best if sure else RAW, scores)


def _scores(encoded: Encoded, trial: Trial) -> tuple[float, ...]:
    rows, seed = encoded.side(trial.split, "train"), trial.options.evaluation.seed
    pairs, labels = encoded.at(rows), trial.split.labels[rows]
    (division,) = make_divisions(labels, trial.split.groups_of(rows), folds=FOLDS, repeats=1, seed=seed)
    found = []
    for fold in range(FOLDS):
        inside = division != fold
        head, _ = train_head(HeadConfig(), pairs.take(inside), labels[inside], seed=seed)
        predicted = head.predict(pairs.take(~inside)).predicted
        found.append(float(merit(confusion(labels[~inside], predicted))))
    return tuple(found)


def written(trial: Trial) -> Encoded:
    """The embeddings of hashtags as they are written; all of them are in the cache after `choose_recipe`."""
    encoding = ChosenRecipe(RAW, {}).applied(trial.options.encoding)
    return encode_pairs(trial.inputs, encoding, trial.options.source)
