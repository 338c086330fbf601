"""`report`: one page about several runs, which needs nothing beside itself."""

import re
import shutil
from pathlib import Path

import pytest

from tests.builders.commands import Run, data_options
from tests.builders.results import edit_info


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


def test_a_received_run_shows_images_of_the_folder_that_its_reader_names_alone(
    run: Run, trained: Path, small_demo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    private = tmp_path / "private"
    shutil.copytree(small_demo / "image", private)
    received, page = tmp_path / "received", tmp_path / "report.html"

    def report(*options: object) -> tuple[str, str, object]:
        ran = run("report", received, "-o", page, *options)
        assert ran.code == 0, ran.stderr
        said = run("report", received, "-o", page, *options, "--json").json()
        return page.read_text(encoding="utf-8"), ran.stderr, said["without_images"]

    shutil.copytree(trained / "runs" / "heads", received)  # as this user made it
    shown, said, without = report()
    assert ("data:image/jpeg" in shown, "--images" in said, without) == (True, False, [])
    edit_info(received, lambda info: info["config"]["source"].update(images=str(private)))
    shown, said, without = report()
    assert ("data:image/jpeg" in shown, without) == (False, [str(received)])
    assert (
        f"{received} cannot be told to be yours, so the images that it names are not shown: "
        "name their folder with --images\n"
    ) in said
    shown, said, without = report("--images", small_demo / "image")
    assert ("data:image/jpeg" in shown, "cannot be told" in said, without) == (True, False, [])
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "another user"))  # a run that nobody edited
    shutil.rmtree(received)
    shutil.copytree(trained / "runs" / "heads", received)
    assert "data:image/jpeg" not in report()[0]
