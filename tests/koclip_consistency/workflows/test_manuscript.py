"""`report --paper` with raters: the run's own system stands beside them."""

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from consistency.errors import InputError
from consistency.options import ReportOptions, Source, as_config
from consistency.text import to_csv
from koclip_consistency.workflows.manuscript import write_manuscript
from tests.builders.results import make_result, write_run


@pytest.fixture
def rated(tmp_path: Path) -> tuple[Path, Path]:
    """A run, and its table with the scores of two people."""
    result = make_result()
    p, rng = result.predictions, np.random.default_rng(0)
    scores = np.clip(p.scores[:, None] + rng.integers(-1, 2, (len(p), 2)), 1, 5).tolist()
    rows: list[tuple[object, ...]] = [("other.png", f"#{row}", 1, "") for row in range(1, int(p.rows.max()) + 1)]
    for row, image, hashtag, own in zip(p.rows, p.images, p.hashtags, scores, strict=True):
        rows[int(row) - 1] = (image, hashtag, *own)
    table = tmp_path / "rated.csv"
    table.write_bytes(to_csv(("Image Filename", "Hashtag", "one", "two"), rows))
    config = {"source": as_config(Source(data=Path("rated.csv")))}
    run = write_run(tmp_path / "run", [result], config=config, details={})
    return run, table


def test_raters_are_drawn_from_the_table_that_is_named(rated: tuple[Path, Path], tmp_path: Path) -> None:
    run, table = rated
    out = tmp_path / "paper"
    options = ReportOptions(run_dirs=(run,), paper=out, columns="one,two", data=table)
    written = write_manuscript(options)
    assert "agreement-page.pdf" in written.files
    assert not any("agreement" in line for line in written.left_out)
    assert asdict(written)["files"]


def test_a_table_that_is_gone_is_one_line(rated: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"there is no table .*missing\.csv.*name the table with --data"):
        write_manuscript(
            ReportOptions(
                run_dirs=rated[:1], paper=tmp_path / "paper", columns="one,two", data=tmp_path / "missing.csv"
            )
        )
    assert not (tmp_path / "paper").exists()
