"""`app` from the command line: it finds the table of the newest run, and ends cleanly on Ctrl-C."""

import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from tests.builders.commands import Ran, Run
from tests.builders.serving import Client


def visited(run: Run, log: Path, *words: object) -> tuple[Ran, dict[str, Any]]:
    """Start the app, ask what it shows, and press Ctrl-C."""
    found: list[dict[str, Any]] = []

    def visit() -> None:
        try:
            while "Ctrl-C" not in (log.read_text(encoding="utf-8") if log.exists() else ""):
                time.sleep(0.05)
            port = int(log.read_text(encoding="utf-8").rsplit(":", 1)[1].partition("/")[0])
            found.append(Client(port).send("/api/about").json())
        finally:
            os.kill(os.getpid(), signal.SIGINT)

    visitor = threading.Thread(target=visit)
    visitor.start()
    ran = run("app", "--port", 0, "--no-browser", "--log-file", log, *words)
    visitor.join()
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
