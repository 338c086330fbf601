"""`app` from the command line: it finds the table of the newest run, and ends cleanly on Ctrl-C."""

from pathlib import Path
from typing import Any

import pytest

from tests.builders.commands import Ran, Run
from tests.builders.serving import until_ctrl_c


def visited(run: Run, log: Path, *words: object) -> tuple[Ran, dict[str, Any]]:
    """Start the app, ask what it shows, and press Ctrl-C."""
    found: list[dict[str, Any]] = []
    ran = until_ctrl_c(
        run, log, lambda client: found.append(client.send("/api/about").json()), "app", "--no-browser", *words
    )
    return ran, found[0]


def test_it_shows_the_table_of_the_newest_run(run: Run, trained: Path, small_demo: Path, tmp_path: Path) -> None:
    ran, about = visited(run, tmp_path / "log", "--runs", trained / "runs", "--cache", trained / "cache")
    assert ran.code == 0, ran.stderr
    assert f"Table: {small_demo / 'combined_data.csv'}, images: {small_demo / 'image'}" in ran.stderr
    assert "The app is at http://127.0.0.1:" in ran.stderr
    assert ran.stderr.endswith("Stopped.\n")
    assert about["data"] == str(small_demo / "combined_data.csv")
    assert {each["name"] for each in about["runs"]} == {"heads", "similarity"}


def test_a_table_without_images_and_runs(run: Run, tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    table.write_text("picture,tag\na.png,바다\n", encoding="utf-8")
    names = ["--image-column", "picture", "--hashtag-column", "tag"]
    words = ["--runs", tmp_path / "none", "--data", table, "--images", tmp_path / "none", *names]
    ran, about = visited(run, tmp_path / "log", *words)
    assert ran.code == 0, ran.stderr
    assert (about["rows"], about["images"], about["runs"], about["status"]) == (1, 1, [], "ready")


def test_nothing_to_show_at_all(run: Run, tmp_path: Path) -> None:
    ran, about = visited(run, tmp_path / "log", "--runs", tmp_path / "none")
    assert ran.code == 0, ran.stderr
    assert about["data"] is None


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--data", "nowhere.csv"], "nowhere.csv"),
        (["--host", "0.0.0.0"], "lets other machines connect: give --token-file"),
    ],
)
def test_what_cannot_be_shown_is_one_line(run: Run, tmp_path: Path, words: list[str], said: str) -> None:
    ran = run("app", "--no-browser", "--port", 0, "--runs", tmp_path, *words)
    assert (ran.code, ran.stderr.count("\n")) == (2, 1)
    assert said in ran.stderr
