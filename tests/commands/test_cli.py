"""The command line from outside: help, exit codes, one-line errors, what lies in a run folder afterwards."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import torch

from cli import app
from tests.builders.commands import Run, data_options, rows_of

ROOT = Path(__file__).parents[2]


def commands(group: click.Group = app, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name)


@pytest.mark.parametrize("path", list(commands()), ids=" ".join)
def test_every_command_has_help(run: Run, path: tuple[str, ...]) -> None:
    ran = run(*path, "--help")
    assert ran.code == 0
    assert ran.stdout.startswith("Usage: ")
    assert f" {' '.join(path)} [OPTIONS]" in ran.stdout
    assert ran.stderr == ""


def test_help_loads_nothing_heavy() -> None:
    heavy = {"torch", "transformers", "numpy", "pandas", "sklearn", "h5py", "PIL", "rich", "matplotlib"}
    code = f"import sys, cli; sys.exit(sorted({heavy!r} & set(sys.modules)) or 0)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_system_without_file_locks_is_one_line(small_demo: Path, tmp_path: Path) -> None:
    """As on Windows, which has no module fcntl."""
    arguments = ["data", "split", *map(str, data_options(small_demo, tmp_path)[:4]), "-o", str(tmp_path / "split.csv")]
    code = f"import sys; sys.modules['fcntl'] = None; sys.argv = {['cli.py', *arguments]}; import cli; cli.main()"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("Error: this program needs Linux or macOS (it locks files with flock), found ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["extrct"], "No such command 'extrct'"),
        (["extract", "--bakbone", "tiny"], "No such option"),
        (["similarity", "--method", "guess"], "'guess' is not one of"),
        (["extract", "--batch-size", "0"], "neither auto nor a whole number"),
        (["heads", "--grid", "--preset", "paper"], "give one"),
        (["heads", "--grid-file", "grid.toml"], "--grid-file needs --grid"),
        (["score", "--model", "x", "--image", "a.png"], "--image needs --hashtag or --suggest"),
        (["cache", "gc"], "name the model to keep"),
    ],
)
def test_wrong_usage_exits_2(run: Run, arguments: list[str], said: str) -> None:
    ran = run(*arguments)
    assert ran.code == 2
    assert said in ran.stderr
    assert ran.stdout == ""


@pytest.mark.parametrize(
    "error",
    [MemoryError(), torch.OutOfMemoryError("CUDA out of memory.\nTried"), RuntimeError("can't allocate memory")],
)
def test_a_lack_of_memory_is_one_line(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def full(choice: object) -> None:
        raise error

    monkeypatch.setattr("koclip_consistency.workflows.cache.cache_info", full)
    ran = run("cache", "info", "--cache", tmp_path)
    assert (ran.code, ran.stderr) == (1, "Error: out of memory: use a smaller --batch-size, or fewer rows\n")


def test_missing_data_is_one_line(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    ran = run("similarity", "--backbone", "tiny")
    assert ran.code == 2
    assert ran.stderr.count("\n") == 1
    assert "data/combined_data.csv" in ran.stderr
    assert list(tmp_path.iterdir()) == []


def test_missing_pictures_abort(run: Run, small_demo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    ran = run("similarity", "--backbone", "tiny", "--data", small_demo / "combined_data.csv", "--images", tmp_path)
    assert ran.code == 2
    assert "--images" in ran.stderr
    assert list(tmp_path.iterdir()) == []


def test_bad_pictures_and_rows_are_skipped_and_told(run: Run, small_demo: Path, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    shutil.copytree(small_demo, folder)
    names = sorted({row["Image Filename"] for row in rows_of(folder / "combined_data.csv")})
    (folder / "image" / names[0]).write_bytes(b"<!DOCTYPE html><html></html>")
    (folder / "image" / names[1]).unlink()
    with (folder / "combined_data.csv").open("a", encoding="utf-8") as file:
        file.write(f"{names[2]},바다,9\n")
    options = ["--backbone", "tiny", *data_options(folder, tmp_path)]
    ran = run("similarity", *options, "--out", tmp_path / "run")
    assert ran.code == 3
    assert "Left out" in ran.stderr
    skipped = rows_of(tmp_path / "run" / "skipped.csv")
    assert {names[0], names[1], names[2]} == {row["image"] for row in skipped}
    assert all(row["reason"] and row["row"] for row in skipped)
    assert run("similarity", *options, "--on-error", "allow", "--out", tmp_path / "allowed").code == 0
    scoring = ["score", "--model", tmp_path / "run", "--system", "similarity-exact", "-o", tmp_path / "scored.csv"]
    scored = run(*scoring, *options[2:])
    assert scored.code == 3
    assert f"; all in {tmp_path / 'scored.skipped.csv'}" in scored.stderr
    assert rows_of(tmp_path / "scored.skipped.csv") == sorted(skipped, key=lambda row: int(row["row"]))
    assert run(*scoring, *data_options(small_demo, tmp_path)).code == 0
    assert not (tmp_path / "scored.skipped.csv").exists()
    for plain, told in (
        (["data", "split", *options[2:6], "-o"], {names[2]}),  # which needs no images: one row cannot be read
        (["cache", "export", *options[2:]], set(names[:3])),
    ):
        written = run(*plain, tmp_path / "plain.npz")
        assert written.code == 3
        assert f"; all in {tmp_path / 'plain.skipped.csv'}" in written.stderr
        assert {row["image"] for row in rows_of(tmp_path / "plain.skipped.csv")} == told
    stopped = run("similarity", *options, "--on-error", "abort", "--out", tmp_path / "stopped")
    assert stopped.code == 2
    assert not (tmp_path / "stopped").exists()


def test_no_output_into_a_folder_that_is_not_there(run: Run, small_demo: Path, tmp_path: Path) -> None:
    data = data_options(small_demo, tmp_path)
    trained = tmp_path / "run"
    assert run("similarity", "--backbone", "tiny", *data, "--method", "simple", "--out", trained).code == 0
    missing = tmp_path / "nowhere"
    for command in (
        ["cache", "export", missing / "out.npz", *data],
        ["data", "split", *data[:4], "-o", missing / "split.csv"],
        ["report", trained, "-o", missing / "report.html"],
        ["score", "--model", trained, *data, "-o", missing / "scores.csv"],
    ):
        ran = run(*command)
        assert ran.code == 2, ran.stderr
        assert f"the folder {missing} does not exist" in ran.stderr
        assert ran.stderr.count("\n") == 1
    assert not missing.exists()


COMMANDS = ["extract", "similarity", "heads", "finetune", "audit", "paper"]


def test_a_place_for_no_run_is_refused_before_any_work(run: Run, small_demo: Path, tmp_path: Path) -> None:
    data = data_options(small_demo, tmp_path)
    (tmp_path / "file").touch()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").touch()
    places = {
        "file": "is a file, expected a folder",
        "other": "is not empty and holds no run",
        "file/run": "is a file, expected a folder",
    }
    for command in COMMANDS:
        options = data[:4] if command == "finetune" else data
        for name, said in places.items():
            ran = run(command, "--backbone", "tiny", *options, "--out", tmp_path / name)
            assert ran.code == 2, ran.stderr
            assert said in ran.stderr
            assert ran.stderr.count("\n") == 1
    for command in ("heads", "finetune"):
        ran = run(command, "--backbone", "tiny", *data[:4], "--resume", tmp_path / "other")
        assert (ran.code, ran.stderr.count("\n")) == (2, 1)
        assert "holds no unfinished run" in ran.stderr
    assert not (tmp_path / "cache").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_only_be_read(run: Run, small_demo: Path, tmp_path: Path) -> None:
    data = data_options(small_demo, tmp_path)
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o555)
    for command in (["extract", "--backbone", "tiny", *data, "--out", closed / "run"],
                    ["data", "split", *data[:4], "-o", closed / "split.csv"],
                    ["data", "demo", closed / "data"]):  # fmt: skip
        ran = run(*command)
        assert (ran.code, ran.stderr.count("\n")) == (2, 1)
        assert f"{closed} cannot be written to" in ran.stderr


def test_an_interruption_while_the_program_loads_is_one_line() -> None:
    code = """
import os, signal, sys

class Interrupter:
    def find_spec(self, name, path=None, target=None):
        if name == "click":
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Interrupter())
import cli
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 130
    assert done.stderr == "Error: interrupted before anything began\n"
