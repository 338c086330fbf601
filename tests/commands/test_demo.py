"""`demo`: everything once, on drawn images."""

import json
from pathlib import Path

import pytest

from tests.builders.commands import Run, rows_of


@pytest.mark.slow
def test_every_system_is_tested_on_the_drawn_rows(run: Run, tmp_path: Path) -> None:
    ran = run("demo", "--quick", "--cache", tmp_path / "cache", "--out", tmp_path / "demo", "--json")
    assert ran.code == 0, ran.stderr
    systems = {entry["system"] for entry in ran.json()}
    ours = {"similarity-simple", "similarity-search", "similarity-exact", "heads-paper", "heads-grid", "finetune"}
    ours |= {"heads-post", "finetune-post", "text-and-post-head"}
    assert ours | {"majority", "median", "text-only", "name-and-text", "text-embedding"} <= systems
    assert ran.json() == json.loads((tmp_path / "demo" / "metrics.json").read_text())
    tested = {row["row"] for row in rows_of(tmp_path / "demo" / "predictions.csv")}
    assert {entry["n"] for entry in ran.json()} == {len(tested)}
    assert "heads-grid" in (tmp_path / "demo" / "report.html").read_text(encoding="utf-8")


def test_a_folder_of_something_else_is_left_alone(run: Run, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").touch()
    ran = run("demo", "--quick", "--out", tmp_path)
    assert (ran.code, ran.stderr.count("\n")) == (2, 1)
    assert "is not empty and holds no run" in ran.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
