"""`report --paper`: figures, a table and a methods paragraph about finished runs, as files for a manuscript."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from matplotlib.figure import Figure

from consistency.durable import make_folder, sweep_temp, write_file
from consistency.evaluation.agreement import PairAgreement
from consistency.evaluation.results import Result
from consistency.evaluation.systems import CONTROLS, competes
from consistency.report.hashtags import HashtagError, hashtag_errors
from consistency.report.page import distinct_results, result_groups, shown_result
from consistency.report.paper.data import agreements, funnel, learning_curves, similarities
from consistency.report.paper.methods import methods_md
from consistency.report.paper.results import confusions, forest, reliabilities
from consistency.report.paper.style import WIDTHS, Fonts, files_of, find_fonts, style
from consistency.report.paper.table import table_tex
from consistency.report.standing import Comparison, name_of, overall
from consistency.runs.fitted import read_learning_curve, read_thresholds
from consistency.runs.read import Run
from consistency.text import SPLITS, to_csv

FORESTS = ("qwk", "macro_f1")
FIGURES = (
    *(f"forest-{metric}" for metric in FORESTS),
    "confusion",
    "reliability",
    "similarity",
    "funnel",
    "learning-curve",
    "agreement",
)
TABLE, METHODS, HASHTAGS = "table.tex", "methods.md", "hashtags.csv"
HASHTAG_COLUMNS = ("number", "hashtag", "rows", "mean_error", "z")
Draw = Callable[[float], Figure]


@dataclass(frozen=True)
class Raters:
    """Several people's scores beside those of systems.

    Attributes
    ----------
    names : tuple of str
        The raters and the systems, in the order of the figure.
    pairs : tuple of PairAgreement
        Every two of them that were compared.
    """

    names: tuple[str, ...]
    pairs: tuple[PairAgreement, ...]


@dataclass(frozen=True)
class Plan:
    """What is to be written.

    Attributes
    ----------
    figures : dict of str to callable
        Draws each figure in a width.
    texts : dict of str to bytes
        The other files by name.
    fonts : Fonts
        The fonts of the figures.
    left_out : tuple of str
        One line for each thing that is left out.
    """

    figures: dict[str, Draw]
    texts: dict[str, bytes]
    fonts: Fonts
    left_out: tuple[str, ...]


@dataclass(frozen=True)
class Written:
    """What was written to the folder, and one line for each thing that was left out."""

    files: tuple[str, ...]
    left_out: tuple[str, ...]


def write_paper(runs: Sequence[Run], out: Path, *, raters: Raters | None = None) -> Written:
    """Write the figures as SVG and PDF in the widths of a column and of a page, `table.tex` and `methods.md`.

    Equal runs give equal bytes. What the runs do not contain is left out.

    Parameters
    ----------
    runs : sequence of Run
        The figures are about the most honest protocol and split that they have results for, as in the HTML report.
    out : Path
        The folder. Files of an earlier call that are not written again are removed from it; others stay.
    raters : Raters, optional
        For the figure of agreement.

    Raises
    ------
    InputError
        If no run has a result, or a file of a run is damaged or a link.
    """
    plan = plan_paper(runs, raters, find_fonts())
    make_folder(out)
    sweep_temp(out)  # what a killed command left
    files = dict(plan.texts)
    with style(plan.fonts):
        for name, draw in plan.figures.items():
            for size, width in WIDTHS.items():
                files |= {f"{name}-{size}.{ending}": data for ending, data in files_of(draw(width)).items()}
    for name, data in files.items():
        write_file(out / name, data)
    for name in _possible():
        if name not in files:
            (out / name).unlink(missing_ok=True)
    return Written(tuple(files), plan.left_out)


def plan_paper(runs: Sequence[Run], raters: Raters | None, fonts: Fonts) -> Plan:
    """Decide what can be drawn and said about the runs; raises InputError as `write_paper` does."""
    _, main = shown_result(runs)
    groups = result_groups(distinct_results(runs))
    comparison, owners = Comparison([result for _, result in groups[0]]), {result: run for run, result in groups[0]}
    names, errors = _names(owners), hashtag_errors(main.predictions)
    left_out = [
        f"protocol {p.protocol}, {SPLITS[p.split]}: not in the figures, which are about one protocol and split"
        for p in (group[0][1].predictions for group in groups[1:])
    ]
    drawn = _drawable([*names.values(), *(raters.names if raters else ())], fonts)
    figures: dict[str, Draw] = {}
    for name, draw in _figures(runs, comparison, names, main, errors, fonts, raters, drawn):
        if isinstance(draw, str):
            left_out.append(f"{name}: {draw}")
        else:
            figures[name] = draw
    why = "some glyphs are missing" if fonts.hangul else "no TrueType font with Hangul was found"
    if not all(map(fonts.has, (each.hashtag for each in errors if each.number))):
        left_out.append(f"funnel: {why}, so the number of a hashtag in {HASHTAGS} stands for it")
    if instead := [f"{drawn[name]!r} for {name!r}" for name in drawn if drawn[name] != name]:
        left_out.append(f"names: {why}, so the figures have {', '.join(instead)}")
    p = main.predictions
    about = (f"protocol {p.protocol}, {SPLITS[p.split]}; 95 % intervals in brackets", "needs \\usepackage{booktabs}")
    ranked = dict(sorted(names.items(), key=lambda item: -overall(item[0])))
    rows = ((each.number or "", each.hashtag, each.n, each.error, each.z) for each in errors)
    texts = {
        TABLE: table_tex(comparison, ranked, about).encode(),
        METHODS: methods_md(runs, comparison, main).encode(),
        HASHTAGS: to_csv(HASHTAG_COLUMNS, rows),
    }
    return Plan(figures, texts, fonts, tuple(left_out))


def _figures(
    runs: Sequence[Run],
    comparison: Comparison,
    names: Mapping[Result, str],
    main: Result,
    errors: Sequence[HashtagError],
    fonts: Fonts,
    raters: Raters | None,
    drawn: Mapping[str, str],
) -> Iterator[tuple[str, Draw | str]]:
    """Each figure's name, and how it is drawn or why it is left out; a figure has the name that `drawn` has for one."""
    names = {result: drawn[name] for result, name in names.items()}
    ranked = sorted(names, key=lambda result: -overall(result))
    learned = [result for result in ranked if competes(result.predictions.system)]
    controls = [result for result in ranked if result.predictions.system in CONTROLS]
    paired = {result: names[result] for result in [*learned, *controls] if comparison.paired(result, main)}
    for metric in FORESTS:
        if len(paired) < 2:
            yield f"forest-{metric}", f"no other system answered for the rows of {names[main]}"
            continue
        yield f"forest-{metric}", partial(forest, comparison, paired, main, metric)
    shown = [*learned[:2], *controls[:1], *learned[2:], *controls[1:]]
    yield "confusion", partial(confusions, {result: names[result] for result in shown})
    sure = [result for result in learned if result.predictions.probabilities is not None]
    none = "no learned system has probabilities"
    yield "reliability", partial(reliabilities, {result: names[result] for result in sure}) if sure else none
    yield "similarity", _similarity(runs, comparison) or "no run of similarity is among the runs (name one)"
    p = main.predictions
    yield "funnel", partial(funnel, p, errors, fonts)
    curve = next(filter(None, map(read_learning_curve, (run.path for run in runs))), None)
    none = "no run has a learning curve (heads --learning-curve)"
    yield "learning-curve", partial(learning_curves, curve) if curve else none
    none = "there is no table with several columns of scores (name them with --columns and --data)"
    yield "agreement", _agreement(raters, drawn) if raters else none


def _agreement(raters: Raters, drawn: Mapping[str, str]) -> Draw:
    pairs = [replace(pair, first=drawn[pair.first], second=drawn[pair.second]) for pair in raters.pairs]
    return partial(agreements, [drawn[name] for name in raters.names], pairs)


def _drawable(names: Iterable[str], fonts: Fonts) -> dict[str, str]:
    """By name, the name itself, or a numbered one where a glyph of it is missing."""
    distinct = list(dict.fromkeys(names))
    return {name: name if fonts.has(name) else f"name {number}" for number, name in enumerate(distinct, start=1)}


def _similarity(runs: Sequence[Run], comparison: Comparison) -> Draw | None:
    for run in runs:
        cuts = read_thresholds(run.path)
        own = [result for result in run.results if result.predictions.system in cuts and result in comparison.results]
        if own:
            p = own[0].predictions
            return partial(similarities, p, cuts)
    return None


def _names(owners: Mapping[Result, Run]) -> dict[Result, str]:
    """A name for each result; with that of its run where two would have the same."""
    plain = {result: name_of(result) for result in owners}
    several = {name for name in plain.values() if list(plain.values()).count(name) > 1}
    return {
        result: f"{name}, {owners[result].path.name}" if name in several else name for result, name in plain.items()
    }


def _possible() -> Iterator[str]:
    for name in FIGURES:
        for size in WIDTHS:
            yield from (f"{name}-{size}.svg", f"{name}-{size}.pdf")
