"""Ranks the backbones of a `paper` table: every system that ran on several, with paired intervals and speed."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass, fields

from consistency.errors import InputError
from consistency.evaluation.compare import Difference, compare
from consistency.evaluation.results import Result
from consistency.evaluation.systems import competes
from consistency.text import METRIC_TITLES, number, to_csv

RANKED_BY = "qwk"
METRICS = (RANKED_BY, "macro_f1")
FILE = "ranking.csv"


@dataclass(frozen=True)
class Ranked:
    """A backbone under one system and metric.

    Attributes
    ----------
    protocol, system, split : str
        What all backbones of a ranking have in common.
    metric : str
        Key of the metric.
    rank : int
        1 for the backbone with the best QWK, whatever the metric.
    backbone : str
        As it was named.
    value : float or None
        The metric; None where it is undefined.
    difference, low, high, p_holm : float or None
        Difference to the best backbone on the same rows with its 95 % interval and corrected p-value; None for the
        best backbone itself and where it is undefined.
    images_per_second : float or None
        How fast its images were encoded; None if all were in the cache.
    peak_megabytes : float or None
        Peak of memory while they were encoded; None if all were in the cache.
    seconds : float
        Duration of all its runs.
    """

    protocol: str
    system: str
    split: str
    metric: str
    rank: int
    backbone: str
    value: float | None
    difference: float | None
    low: float | None
    high: float | None
    p_holm: float | None
    images_per_second: float | None
    peak_megabytes: float | None
    seconds: float


def rank_backbones(
    results: Iterable[Result],
    speeds: Mapping[str, float],
    peaks: Mapping[str, float],
    seconds: Mapping[str, float],
) -> list[Ranked]:
    """Rank the backbones of every system that was tested on several of them.

    Parameters
    ----------
    results : iterable of Result
        Results of any systems; controls are left out.
    speeds : mapping of str to float
        Images per second by backbone, where some were encoded.
    peaks : mapping of str to float
        Peak of memory in MB while encoding, by backbone, where some were encoded.
    seconds : mapping of str to float
        Duration of its runs by backbone.

    Returns
    -------
    list of Ranked
        By system, then metric, then rank. A system whose backbones were tested on different rows is left out.
    """
    found: dict[tuple[str, str, str], dict[str, Result]] = {}
    for result in results:
        p = result.predictions
        if competes(p.system):
            found.setdefault((p.protocol, p.system, p.split), {})[p.backbone] = result
    ranked: list[Ranked] = []
    for key, by_backbone in found.items():
        names = sorted(by_backbone, key=lambda name: -_value(by_backbone[name]))
        if len(names) < 2:
            continue
        in_order = [by_backbone[name] for name in names]
        try:
            differences = compare(in_order, names=names, metrics=METRICS)
        except InputError:
            continue
        behind = {(each.metric, each.name): each for each in differences}
        for metric in METRICS:
            for rank, name in enumerate(names, start=1):
                value, gap = by_backbone[name].metrics[metric], behind.get((metric, name))
                cost = speeds.get(name), peaks.get(name), seconds.get(name, 0.0)
                ranked.append(Ranked(*key, metric, rank, name, value, *_gap(gap), *cost))
    return ranked


def ranking_csv(ranked: Sequence[Ranked]) -> bytes:
    """The rows of `ranking.csv`; what is None is empty."""
    rows = [["" if value is None else value for value in astuple(each)] for each in ranked]
    return to_csv([field.name for field in fields(Ranked)], rows)


def ranking_notes(ranked: Sequence[Ranked]) -> tuple[str, ...]:
    """One line for each system on held-out rows of the protocol `grouped`: the best backbone, and the others to it."""
    lines: dict[str, list[str]] = {}
    for each in ranked:
        if (each.protocol, each.split, each.metric) != ("grouped", "test", RANKED_BY):
            continue
        shown = f"{each.backbone} {number(each.value)}"
        if each.difference is not None:
            interval = "" if each.low is None else f", 95 % {number(each.low)} to {number(each.high)}"
            shown += f" ({number(each.difference)}{interval})"
        lines.setdefault(each.system, []).append(shown)
    title = METRIC_TITLES[RANKED_BY]
    return tuple(
        f"backbones by {title} of {system}, with the difference to the best: {', '.join(shown)}"
        for system, shown in lines.items()
    )


def _value(result: Result) -> float:
    value = result.metrics[RANKED_BY]
    return -float("inf") if value is None else value


def _gap(found: Difference | None) -> tuple[float | None, float | None, float | None, float | None]:
    return (None,) * 4 if found is None else (found.difference, found.low, found.high, found.p_holm)
