"""Tables of results: places on a column's scale, stars, and sentences for columns without one."""

from dataclasses import replace
from pathlib import Path

import pytest

from consistency.evaluation.results import Result, evaluate_predictions
from consistency.report.standing import Comparison
from consistency.report.tables import Table, honesty, make_table, names
from consistency.runs.read import read_run
from consistency.text import FURTHER_TITLES, METRIC_TITLES
from tests.builders.results import make_result, write_run


def table_of(tmp_path: Path, results: list[Result], *, several: bool = False) -> Table:
    run = read_run(write_run(tmp_path / "run", results))
    return make_table([(run, result) for result in run.results], Comparison(run.results), several=several)


def test_a_line_holds_every_figure_on_one_scale(tmp_path: Path) -> None:
    results = [make_result("majority", backbone="none", seed=5), make_result("heads"), make_result("finetune", seed=1)]
    table = table_of(tmp_path, results)
    assert (table.protocol, table.split) == ("grouped", "test")
    assert [(line.system, line.backbone, line.control, line.n) for line in table.lines] == [
        ("majority", "", True, 60),
        ("heads", "tiny", False, 60),
        ("finetune", "tiny", False, 60),
    ]
    for column, metric in enumerate(METRIC_TITLES):
        cells = [line.cells[column] for line in table.lines]
        places = [cell.at or 0.0 for cell in cells]
        figures = [result.metrics[metric] or 0.0 for result in results]
        slope = (places[1] - places[0]) / (figures[1] - figures[0])
        assert places[2] - places[0] == pytest.approx(slope * (figures[2] - figures[0]))
        for cell, figure in zip(cells, figures, strict=True):
            assert cell.text == f"{figure:.3f}"
            assert 0 < (cell.low or 0) <= (cell.at or 0) <= (cell.high or 0) < 1
        assert table.baseline[column] == places[0]
    for line, result in zip(table.lines, results, strict=True):
        assert line.further == tuple(f"{result.metrics[name]:.3f}" for name in FURTHER_TITLES)


def test_runs_are_named_where_there_are_several(tmp_path: Path) -> None:
    table = table_of(tmp_path, [make_result("majority", backbone="none"), make_result("heads")], several=True)
    assert [line.run for line in table.lines] == ["", "run"]


def test_undefined_figures_have_no_place(tmp_path: Path) -> None:
    result = make_result("heads", probabilities=False)
    bare = replace(result, metrics=dict.fromkeys(result.metrics), ci95=dict.fromkeys(result.ci95))
    table = table_of(tmp_path, [bare])
    assert [(cell.text, cell.interval, cell.at, cell.best) for cell in table.lines[0].cells] == [
        ("–", "", None, False)
    ] * 4
    assert table.baseline == (None,) * 4


def test_every_column_has_a_star_or_a_reason(tmp_path: Path) -> None:
    weak = make_result("heads", seed=1)
    p = weak.predictions
    perfect = evaluate_predictions(replace(p, system="finetune", predicted=p.scores.copy()))
    clear = table_of(tmp_path, [weak, perfect])
    assert [[cell.best for cell in line.cells] for line in clear.lines] == [[False] * 4, [True] * 4]
    assert clear.undecided == ()
    level = table_of(tmp_path, [weak, evaluate_predictions(replace(p, system="finetune"))])
    assert not any(cell.best for line in level.lines for cell in line.cells)
    assert level.undecided == tuple(
        f"{title}: heads (tiny) cannot be told apart from finetune (tiny)."
        for title in ("Accuracy", "Macro-F1", "MAE", "QWK")
    )


def test_long_lists_of_systems_are_shortened() -> None:
    results = [make_result(f"heads-{n}") for n in range(5)]
    assert names(results[:1]) == "heads-0 (tiny)"
    assert names(results[:2]) == "heads-0 (tiny) and heads-1 (tiny)"
    assert names(results) == "heads-0 (tiny), heads-1 (tiny), heads-2 (tiny) and 2 more"


def test_protocols_that_leak_least_come_first() -> None:
    results = [make_result(protocol=protocol) for protocol in ("paper", "file", "other", "hashtag", "grouped")]
    results.append(make_result(split="cv"))
    order = [f"{r.predictions.protocol} {r.predictions.split}" for r in sorted(results, key=honesty)]
    assert order == ["grouped test", "grouped cv", "hashtag test", "file test", "paper test", "other test"]
