"""What the report shows of training: figures of the run itself, and the spread over several trainings."""

import base64
import re
from pathlib import Path

import pytest

from consistency.errors import InputError
from consistency.evaluation.metrics import METRICS
from consistency.evaluation.seeds import Trainings
from consistency.report.curve import learning_curve_png
from consistency.report.page import write_report
from consistency.report.plots import training_png
from consistency.report.training import read_training
from consistency.runs.read import read_run
from tests.builders.curves import curve_of
from tests.builders.results import make_result, write_run

VALUES = (0.4, 0.5, 0.6)  # mean 0.5, deviation 0.1; the interval of the mean reaches 4.3027 * 0.1 / 3 ** 0.5 = 0.2484


def trainings(*values: float | None, overlap: float = 0.0) -> dict[str, object]:
    seeds = tuple(range(len(values)))
    found = Trainings("heads", seeds, tuple(dict.fromkeys(METRICS, value) for value in values), overlap)
    return {"trainings": found.as_dict()}


def text_of(run: Path, out: Path) -> str:
    write_report([read_run(run)], out)
    return " ".join(re.sub(r"<[^>]*>", " ", out.read_text(encoding="utf-8")).split())


def test_the_spread_over_trainings_is_in_the_report(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [make_result()], details=trainings(*VALUES))
    text = text_of(run, tmp_path / "report.html")
    assert "run: heads trained 3 times, on the same split" in text
    for title in ("accuracy", "macro-F1", "MAE ↓ , lower is better", "QWK"):
        assert f"{title} 0.500 0.252 – 0.748 0.100" in text


def test_redrawn_splits_widen_the_interval(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [make_result()], details=trainings(*VALUES, overlap=0.25))
    text = text_of(run, tmp_path / "report.html")
    assert "run: heads trained 3 times, each on its own split" in text
    assert "accuracy 0.500 0.171 – 0.829 0.100" in text  # 4.3027 * 0.1 * (1 / 3 + 0.25) ** 0.5 = 0.3286


def test_a_training_without_chance_is_called_so(tmp_path: Path) -> None:
    said = "All trainings have the same metrics: the seed changes nothing in this system."
    run = write_run(tmp_path / "run", [make_result()], details=trainings(0.5, 0.5))
    assert said in text_of(run, tmp_path / "report.html")
    run = write_run(tmp_path / "other", [make_result()], details=trainings(0.5, 0.5001))
    assert said not in text_of(run, tmp_path / "report.html")


def test_an_undefined_metric_is_a_dash(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [make_result()], details=trainings(0.4, None))
    assert "accuracy – –" in text_of(run, tmp_path / "report.html")


def test_the_learning_curve_is_shown_beside_the_curves_of_training(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [make_result()])
    assert read_training(read_run(run)) is None
    figures = {
        "training_results.png": training_png([{"epoch": 1, "train_loss": 0.5}]),
        "learning_curve.png": learning_curve_png(curve_of({18: [0.3, 0.5], 36: [0.4, 0.6], 72: [0.5, 0.7]})),
    }
    for name, figure in figures.items():
        (run / name).write_bytes(figure)
    found = read_training(read_run(run))
    assert found is not None
    assert found.repeated is None
    assert [source for _, source in found.figures] == [
        "data:image/png;base64," + base64.b64encode(figure).decode() for figure in figures.values()
    ]
    write_report([read_run(run)], tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert all(f'<img src="{source}" alt="{about}">' in page for about, source in found.figures)
    (run / "learning_curve.png").write_bytes(b"no image")
    with pytest.raises(InputError, match=r"learning_curve\.png is no PNG image"):
        read_training(read_run(run))


@pytest.mark.parametrize("damaged", [{}, [], "three\ntimes", {"system": "heads", "seeds": [1], "metrics": None}])
def test_a_damaged_record_is_refused_in_one_line(tmp_path: Path, damaged: object) -> None:
    run = write_run(tmp_path / "run", [make_result()], details={"trainings": damaged})
    with pytest.raises(InputError, match=r"run\.json is damaged: its trainings are") as told:
        read_training(read_run(run))
    assert "\n" not in str(told.value)
