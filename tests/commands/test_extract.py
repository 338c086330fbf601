"""`extract`: what it encodes, what it records, and what stops it before any work."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from consistency.data.memo import SETTLED
from embedcache.fingerprint import fingerprint
from tests.builders.commands import Run, data_options, rows_of
from tests.builders.opened import opened

ROOT = Path(__file__).parents[2]


def test_unreachable_weights_are_one_line_in_time(small_demo: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path / "hub")}
    environment.pop("HF_HUB_OFFLINE", None)
    arguments = [str(part) for part in data_options(small_demo, tmp_path)]
    done = subprocess.run(
        [sys.executable, "cli.py", "extract", "--backbone", "koclip", *arguments],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=90,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "Bingsu/clip-vit-large-patch14-ko" in done.stderr
    assert not (tmp_path / "cache").exists()


def test_extract_counts_and_second_time(run: Run, small_demo: Path, tmp_path: Path) -> None:
    options = ["--backbone", "tiny", *data_options(small_demo, tmp_path), "--json"]
    cold, warm = run("extract", *options), run("extract", *options)
    assert (cold.code, warm.code) == (0, 0)
    table = rows_of(small_demo / "combined_data.csv")
    assert cold.json()["images_encoded"] == len({row["Image Filename"] for row in table})
    assert cold.json()["hashtags_encoded"] == len({row["Hashtag"] for row in table})
    assert (warm.json()["images_encoded"], warm.json()["hashtags_encoded"]) == (0, 0)


def test_a_second_extraction_opens_no_image(run: Run, small_demo: Path, tmp_path: Path) -> None:
    images = small_demo / "image"
    youngest = max(path.stat().st_ctime for path in images.iterdir())
    time.sleep(max(0.0, youngest + SETTLED + 0.1 - time.time()))
    options = ["--backbone", "tiny", *data_options(small_demo, tmp_path), "--json"]
    counts = []
    for _ in range(2):
        with opened(images) as read:
            assert run("extract", *options).code == 0
        counts.append(len({path.name for path in read}))
    assert counts == [len(list(images.iterdir())), 0]
    with opened(images) as read:
        assert run("similarity", *options).code == 0
    assert read == []


def test_extract_keeps_an_account_in_its_run_folder(run: Run, small_demo: Path, tmp_path: Path) -> None:
    shutil.copytree(small_demo, tmp_path / "data")
    broken = next((tmp_path / "data" / "image").iterdir())
    broken.write_bytes(b"no picture")
    options = ["--backbone", "tiny", *data_options(tmp_path / "data", tmp_path)]
    ran = run("extract", *options, "--out", tmp_path / "run", "--json")
    assert ran.code == 3
    account = json.loads((tmp_path / "run" / "run.json").read_text())
    assert account["command"] == "extract"
    assert account["fingerprint"] == ran.json()["fingerprint"] == fingerprint(account["fingerprint_fields"])
    assert account["details"]["extraction"]["images_per_second"] == ran.json()["images_per_second"] > 0
    assert 0 < account["details"]["extraction"]["encoder_busy"] <= 1
    left_out = rows_of(tmp_path / "run" / "skipped.csv")
    assert {row["image"] for row in left_out} == {broken.name}
    assert str(tmp_path / "run" / "skipped.csv") in ran.stderr


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is such a device here")
def test_a_device_that_is_not_here(run: Run, small_demo: Path, tmp_path: Path) -> None:
    options = ["extract", "--backbone", "tiny", *data_options(small_demo, tmp_path)]
    for _ in range(2):  # with nothing in the cache, and with everything
        ran = run(*options, "--device", "cuda")
        assert ran.code == 2
        assert ran.stderr.startswith("Error: this machine has no device 'cuda'; expected auto or cpu")
        assert ran.stderr.count("\n") == 1
        assert run(*options).code == 0
