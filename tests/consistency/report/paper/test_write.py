"""Every figure has the same bytes on a second run; what the runs do not contain is left out in words."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from consistency.errors import InputError
from consistency.evaluation.agreement import all_pairs
from consistency.evaluation.metrics import METRICS
from consistency.report.paper.style import LATIN, WIDTHS, Fonts, files_of, find_fonts, style
from consistency.report.paper.write import FIGURES, Raters, plan_paper, write_paper
from consistency.runs.fitted import CURVE_COLUMNS
from consistency.runs.read import Run, read_run
from consistency.text import to_csv
from tests.builders.results import make_result, write_run

ENDINGS = [f"{size}.{kind}" for size in WIDTHS for kind in ("svg", "pdf")]


def curve_csv() -> bytes:
    rng = np.random.default_rng(0)
    return to_csv(
        CURVE_COLUMNS,
        (
            ["heads", size, draw, 5 * size, 42, *(size / 100 + rng.uniform(0, 0.1, len(METRICS))).tolist()]
            for size in (6, 12, 24, 48)
            for draw in (1, 2, 3)
        ),
    )


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A run with thresholds, and one with a learning curve; both answered for the same rows."""
    root = tmp_path_factory.mktemp("runs")
    similarity = write_run(root / "similarity", [make_result("similarity-exact", probabilities=False)])
    (similarity / "thresholds.json").write_text(json.dumps({"similarity-exact": {"thresholds": [1, 2, 3, 4]}}))
    heads = write_run(root / "heads", [make_result("majority", probabilities=False), make_result(seed=3)])
    (heads / "learning_curve.csv").write_bytes(curve_csv())
    return [similarity, heads]


@pytest.fixture(scope="module")
def raters() -> Raters:
    scores = np.random.default_rng(1).integers(1, 6, (40, 2))
    images = np.array([f"i{row // 4}" for row in range(40)], dtype=object)
    return Raters(("Score", "사람"), tuple(all_pairs(("Score", "사람"), scores, images)))


@pytest.fixture(scope="module")
def runs(folders: list[Path]) -> list[Run]:
    return [read_run(folder) for folder in folders]


@pytest.fixture(scope="module")
def written(runs: list[Run], raters: Raters, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("paper")
    left_out = write_paper(runs, out, raters=raters).left_out
    assert [line for line in left_out if not line.startswith(("funnel", "names"))] == []
    return out


def test_every_figure_in_both_widths(written: Path) -> None:
    expected = {f"{figure}-{ending}" for figure in FIGURES for ending in ENDINGS}
    assert {path.name for path in written.iterdir()} == {*expected, "table.tex", "methods.md", "hashtags.csv"}
    for name, inches in WIDTHS.items():
        for figure in FIGURES:
            svg = (written / f"{figure}-{name}.svg").read_text()
            assert re.search(rf'<svg [^>]*width="{72 * inches:g}pt"', svg)
            pdf = (written / f"{figure}-{name}.pdf").read_bytes()
            assert float(re.search(rb"/MediaBox \[ 0 0 ([\d.]+)", pdf)[1]) == pytest.approx(72 * inches)  # type: ignore[index]


def test_fonts_are_embedded_as_type_42_and_nothing_is_dated(written: Path) -> None:
    for path in written.glob("*.pdf"):
        assert b"/CIDFontType2" in path.read_bytes()
        assert b"/Type3" not in path.read_bytes()
        assert b"CreationDate" not in path.read_bytes()
    for path in written.glob("*.svg"):
        assert not re.search("<dc:date>|<text", path.read_text())


def test_the_same_bytes_on_a_second_run(runs: list[Run], raters: Raters, written: Path, tmp_path: Path) -> None:
    write_paper(runs, tmp_path, raters=raters)
    different = [path.name for path in written.iterdir() if path.read_bytes() != (tmp_path / path.name).read_bytes()]
    assert different == []


def test_an_earlier_figure_that_is_not_drawn_now_is_removed(runs: list[Run], tmp_path: Path) -> None:
    (tmp_path / "agreement-page.svg").write_text("old")
    (tmp_path / "notes.txt").write_text("mine")
    controls = Run(runs[1].path, runs[1].info, runs[1].results[:1])
    written = write_paper([controls], tmp_path)
    told = {line.partition(":")[0] for line in written.left_out}
    assert told == {"forest-qwk", "forest-macro_f1", "reliability", "similarity", "agreement"}
    assert {path.name for path in tmp_path.iterdir()} == {*written.files, "notes.txt"}


def test_another_protocol_is_named_as_left_out(runs: list[Run], tmp_path: Path) -> None:
    other = read_run(write_run(tmp_path / "other", [make_result(protocol="paper")]))
    left_out = plan_paper([*runs, other], None, find_fonts()).left_out
    assert left_out[0] == "protocol paper, test: not in the figures, which are about one protocol and split"


def test_systems_of_one_name_are_told_apart_by_their_runs(runs: list[Run], tmp_path: Path) -> None:
    again = read_run(write_run(tmp_path / "again", [make_result(seed=9)]))
    table = plan_paper([*runs, again], None, find_fonts()).texts["table.tex"].decode()
    assert "heads (tiny), heads &" in table
    assert "heads (tiny), again &" in table


def test_runs_without_results_are_refused(runs: list[Run], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no result to report"):
        write_paper([Run(runs[0].path, runs[0].info, ())], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_machine_without_hangul_says_so(tmp_path: Path) -> None:
    result = make_result()
    p = result.predictions
    p.hashtags[:5], p.scores[:5], p.predicted[:5] = "#가나다", 1, 5
    run = read_run(write_run(tmp_path / "run", [result]))
    plan = plan_paper([run], None, Fonts((LATIN,), hangul=False))
    assert "1,#가나다,5,4.0," in plan.texts["hashtags.csv"].decode()
    instead = "so the number of a hashtag in hashtags.csv stands for it"
    assert plan.left_out[-1] == f"funnel: no TrueType font with Hangul was found, {instead}"
    (axis,) = plan.figures["funnel"](3.3).axes
    assert "(1)" in [text.get_text() for text in axis.texts]


def test_names_that_no_font_has_are_numbered(raters: Raters, tmp_path: Path) -> None:
    """Every figure is drawn, without a warning about a glyph."""
    folders = [write_run(tmp_path / name, [make_result(seed=seed)]) for seed, name in enumerate(("실험", "둘째"))]
    latin = Fonts((LATIN,), hangul=False)
    plan = plan_paper([read_run(folder) for folder in folders], raters, latin)
    assert plan.left_out[-1] == (
        "names: no TrueType font with Hangul was found, so the figures have 'name 1' for 'heads (tiny), 실험', "
        "'name 2' for 'heads (tiny), 둘째', 'name 4' for '사람'"
    )
    assert "heads (tiny), 실험" in plan.texts["table.tex"].decode()
    with style(latin):
        for draw in plan.figures.values():
            files_of(draw(7.0))
    (axis,) = plan.figures["agreement"](7.0).axes
    assert [label.get_text() for label in axis.get_yticklabels()] == ["Score", "name 4"]
    assert [text.get_text()[-4:] for text in axis.texts[:2]] == ["n=40", "n=40"]
