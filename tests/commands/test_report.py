"""`report`: one page about several runs, which needs nothing beside itself."""

import re
from pathlib import Path

from tests.builders.commands import Run, data_options


def test_one_page_about_two_runs(run: Run, small_demo: Path, tmp_path: Path) -> None:
    common = ["--backbone", "tiny", *data_options(small_demo, tmp_path)]
    folders = [tmp_path / "simple", tmp_path / "exact"]
    for folder in folders:
        assert run("similarity", *common, "--method", folder.name, "--out", folder).code == 0
    page = tmp_path / "report.html"
    ran = run("report", *folders, "-o", page, "--json")
    assert ran.code == 0, ran.stderr
    assert ran.json()
    text = page.read_text(encoding="utf-8")
    assert "similarity-simple" in text
    assert "similarity-exact" in text
    assert "data:image/" in text
    assert re.findall(r"""(?:src|href)=["'](?!data:|#)[^"']*""", text) == []


def test_a_folder_without_a_run_is_one_line(run: Run, tmp_path: Path) -> None:
    ran = run("report", tmp_path, "-o", tmp_path / "report.html")
    assert (ran.code, ran.stderr.count("\n")) == (2, 1)
    assert str(tmp_path) in ran.stderr
    assert not (tmp_path / "report.html").exists()
