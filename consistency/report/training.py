"""What the report shows of a run's training: its figures, and the spread of the metrics over several trainings."""

from dataclasses import dataclass

from consistency.errors import InputError, os_errors_as
from consistency.report.gallery import data_uri
from consistency.runs.read import Run, read_bytes
from consistency.text import LOWER_IS_BETTER, METRIC_TITLES, interval_text, number

PNG = b"\x89PNG\r\n\x1a\n"
FIGURES = {
    "training_results.png": "Training curves of {}: loss, accuracy, F1 and final metrics",
    "learning_curve.png": "Learning curve of {}: QWK, macro-F1, accuracy and MAE by number of labelled images",
}


@dataclass(frozen=True)
class Line:
    """A metric over several trainings: its mean with the 95 % interval of the mean, and its standard deviation."""

    title: str
    lower: bool
    mean: str
    interval: str
    deviation: str


@dataclass(frozen=True)
class Repeated:
    """The trainings of a system with several seeds.

    Attributes
    ----------
    system : str
        Name of the system.
    n : int
        Number of trainings.
    redrawn : bool
        Whether each of them drew its own split.
    alike : bool
        Whether all have the same metrics, so that the seed changes nothing.
    lines : tuple of Line
        One for each of METRIC_TITLES.
    """

    system: str
    n: int
    redrawn: bool
    alike: bool
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class Training:
    """What there is to show of one run's training.

    Attributes
    ----------
    run : str
        Name of the run folder.
    figures : tuple of (str, str)
        Alternative text and data: URI of each figure.
    repeated : Repeated or None
        None if the run trained once.
    """

    run: str
    figures: tuple[tuple[str, str], ...]
    repeated: Repeated | None


def read_training(run: Run) -> Training | None:
    """Return what there is to show of a run's training; None if there is nothing.

    Raises
    ------
    InputError
        If a figure is a symbolic link or no PNG image, or the record of the trainings is damaged.
    """
    name = run.path.name
    figures = tuple((about.format(name), source) for file, about in FIGURES.items() if (source := _figure(run, file)))
    repeated = _repeated(run)
    return Training(name, figures, repeated) if figures or repeated else None


def _figure(run: Run, name: str) -> str | None:
    """A figure of the run as a data: URI; None if the run does not have it."""
    if not (run.path / name).is_file():
        return None
    with os_errors_as(InputError, f"{run.path / name} cannot be read"):
        data = read_bytes(run.path, name)
    if not data.startswith(PNG):
        raise InputError(f"{run.path / name} is no PNG image: remove it, or run the command of its run again")
    return data_uri("image/png", data)


def _repeated(run: Run) -> Repeated | None:
    told = run.detail("trainings")
    if told is None:
        return None
    try:
        lines, deviations = [], []
        for name, title in METRIC_TITLES.items():
            spread, lower = told["metrics"][name], name in LOWER_IS_BETTER
            if spread is None:
                lines.append(Line(title, lower, number(None), "", number(None)))
                continue
            mean, deviation, low, high = (float(spread[key]) for key in ("mean", "deviation", "low", "high"))
            deviations.append(deviation)
            lines.append(Line(title, lower, number(mean), interval_text((low, high)), number(deviation)))
        alike = bool(deviations) and max(deviations) < 1e-12  # the mean of equal figures is rounded
        return Repeated(str(told["system"]), len(told["seeds"]), told["redrawn_split"] is True, alike, tuple(lines))
    except (TypeError, KeyError, ValueError, OverflowError) as error:
        raise InputError(f"{run.path / 'run.json'} is damaged: its trainings are {told!r:.80}") from error
