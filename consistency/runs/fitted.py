"""Read what a run holds besides its predictions: thresholds, a learning curve, how large each side is."""

from collections.abc import Mapping
from pathlib import Path

from consistency.errors import InputError
from consistency.evaluation.learning_curve import CurveTraining, LearningCurve
from consistency.evaluation.metrics import METRICS
from consistency.runs.folder import SPLIT_COLUMNS
from consistency.runs.read import finite, read_json, read_lines, refusing_damage

CURVE_COLUMNS = ("system", "images", "draw", "rows", "seed", *METRICS)
THRESHOLDS = 4
UNDEFINED = ("", "None")  # a metric that a training does not have


def read_thresholds(path: Path) -> dict[str, tuple[float, ...]]:
    """The four ascending thresholds of each system in `thresholds.json` of the run folder `path`; empty without it.

    Raises
    ------
    InputError
        If the file is damaged or a link.
    """
    if not (path / "thresholds.json").is_file():
        return {}
    with refusing_damage(path / "thresholds.json"):
        found = {
            str(system): tuple(finite(value) for value in model["thresholds"])
            for system, model in read_json(path, "thresholds.json").items()
        }
        if any(len(cuts) != THRESHOLDS or list(cuts) != sorted(cuts) for cuts in found.values()):
            raise ValueError(f"it has not {THRESHOLDS} ascending thresholds for every system")
        return found


def read_learning_curve(path: Path) -> LearningCurve | None:
    """The trainings in `learning_curve.csv` of the run folder `path`; None without it.

    Raises
    ------
    InputError
        If the file is damaged or a link.
    """
    if not (path / "learning_curve.csv").is_file():
        return None
    with refusing_damage(path / "learning_curve.csv"):
        lines = list(read_lines(path, "learning_curve.csv", CURVE_COLUMNS))
        trainings = tuple(
            CurveTraining(
                images=int(line["images"]),
                rows=int(line["rows"]),
                draw=int(line["draw"]),
                seed=int(line["seed"]),
                metrics={name: None if line[name] in UNDEFINED else finite(line[name]) for name in METRICS},
            )
            for line in lines
        )
        if any(training.images < 1 for training in trainings):
            raise ValueError("a training has no image")
    if len({training.images for training in trainings}) < 2:
        raise InputError(f"{path / 'learning_curve.csv'} is damaged: it has fewer than two sizes")
    return LearningCurve(lines[0]["system"], trainings)


def side_sizes(path: Path) -> Mapping[str, tuple[int, int]]:
    """Rows and distinct images of each side in `split.csv` of the run folder `path`; empty without it.

    Raises
    ------
    InputError
        If the file is damaged or a link.
    """
    if not (path / "split.csv").is_file():
        return {}
    images: dict[str, list[str]] = {}
    with refusing_damage(path / "split.csv"):
        for line in read_lines(path, "split.csv", SPLIT_COLUMNS):
            images.setdefault(line["split"], []).append(line["image"])
    return {side: (len(names), len(set(names))) for side, names in images.items()}
