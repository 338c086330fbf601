"""Run folders and data that cannot be used: one line that says why, never a traceback."""

import json
import shutil
from pathlib import Path

import pytest

from consistency.options import Encoding, Output, SimilarityOptions, Source
from koclip_consistency.workflows.similarity import run_similarity
from koclip_consistency.workflows.suite import PLAN, open_suite
from tests.builders.commands import Run


@pytest.fixture(scope="module")
def finished(small_demo: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished")
    source = Source(data=small_demo / "combined_data.csv", images=small_demo / "image")
    encoding = Encoding(backbone="tiny", cache=folder / "cache")
    run_similarity(SimilarityOptions(source=source, encoding=encoding, output=Output(out=folder / "run")))
    return folder


@pytest.mark.parametrize("side", ["train", "test"])
@pytest.mark.parametrize("command", ["similarity", "heads"])
def test_a_side_without_images(
    run: Run, finished: Path, small_demo: Path, tmp_path: Path, command: str, side: str
) -> None:
    shutil.copytree(small_demo, tmp_path / "data")
    lines = (finished / "run" / "split.csv").read_text(encoding="utf-8").splitlines()[1:]
    for line in lines:
        _, image, *_, where, _ = line.split(",")
        if where == side:  # the content still tells the images apart
            (tmp_path / "data" / "image" / image).write_text(f"no image: {image}")
    data = ["--data", tmp_path / "data" / "combined_data.csv", "--images", tmp_path / "data" / "image"]
    ran = run(command, "--backbone", "tiny", *data, "--cache", finished / "cache", "--out", tmp_path / "run")
    assert ran.code == 2
    assert f"{side} rows has an image that can be used" in ran.stderr
    assert not (tmp_path / "run").exists()


def test_a_negative_seed(run: Run, finished: Path, small_demo: Path, tmp_path: Path) -> None:
    data = ["--data", small_demo / "combined_data.csv", "--images", small_demo / "image", "--out", tmp_path / "run"]
    ran = run("similarity", "--backbone", "tiny", *data, "--cache", finished / "cache", "--seed", "-1")
    assert ran.code == 2
    assert "Invalid value for '--seed'" in ran.stderr
    assert not (tmp_path / "run").exists()


def test_a_plan_that_is_no_text_is_another_plan(tmp_path: Path) -> None:
    plan = {"seed": 1}
    first = open_suite(Output(out=tmp_path / "suite"), command="demo", backbone="tiny", config=plan)
    (first.path / PLAN).write_bytes(b"\xff")
    open_suite(Output(out=tmp_path / "suite"), command="demo", backbone="tiny", config=plan)
    assert (tmp_path / "suite.1" / PLAN).read_bytes() == b"\xff"
    assert json.loads((tmp_path / "suite" / PLAN).read_bytes()) == plan


def test_abort_comes_before_the_training(run: Run, small_demo: Path, tmp_path: Path) -> None:
    shutil.copytree(small_demo, tmp_path / "data")
    sorted((tmp_path / "data" / "image").iterdir())[0].write_bytes(b"")
    data = ["--data", tmp_path / "data" / "combined_data.csv", "--images", tmp_path / "data" / "image"]
    words = ["finetune", "--backbone", "tiny", *data, "--on-error", "abort", "--out", tmp_path / "run"]
    ran = run(*words)
    assert ran.code == 2
    assert not (tmp_path / "run").exists()
