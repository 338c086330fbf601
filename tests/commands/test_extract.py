"""`extract`: what it encodes, what it records, and what stops it before any work."""

import itertools
import json
import operator
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from consistency.data.memo import SETTLED
from embedcache.fingerprint import fingerprint
from embedcache.segments import KINDS
from embedcache.store import list_caches
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


def test_a_second_extraction_loads_no_slow_library(trained: Path, small_demo: Path, tmp_path: Path) -> None:
    code = "import sys\nfrom cli import main\ntry:\n    main()\nfinally:\n    print(*sys.modules, file=sys.stderr)"
    words = [
        "extract",
        "--backbone",
        "tiny",
        "--device",
        "cpu",
        *data_options(small_demo, trained),
        "--out",
        tmp_path / "e",
    ]
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, words)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    loaded = set(done.stderr.splitlines()[-1].split())
    assert "h5py" in loaded
    assert not loaded & {"torch", "transformers", "sklearn", "scipy.stats", "pandas", "matplotlib"}


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


def test_sigterm_stores_what_was_encoded(run: Run, small_demo: Path, tmp_path: Path) -> None:
    images = small_demo / "image"
    n = len(list(images.iterdir()))

    def end(count: int) -> None:
        if count == n + 40:  # every image was read for its digest, and 40 of them to be encoded
            os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGTERM)  # as `scancel` may, twice

    options = ["--backbone", "tiny", *data_options(small_demo, tmp_path), "--json"]
    before = signal.getsignal(signal.SIGTERM)
    with opened(images, then=end):
        ended = run("extract", *options, "--batch-size", 4, "--workers", 1)
    assert ended.code == 143
    message = "terminated; what is finished is kept: run it again"
    assert ended.json() == {"error": message, "exit_code": 143}
    assert ended.stderr.strip() == f"Error: {message}"
    assert signal.getsignal(signal.SIGTERM) == before
    again = run("extract", *options).json()
    assert 0 < again["images_cached"] < n
    assert again["images_cached"] + again["images_encoded"] == n


def vectors(cache: Path) -> dict[tuple[str, bytes], bytes]:
    """Every row of the only cache in a folder."""
    (held,) = list_caches(cache)
    return {
        (kind, key.tobytes()): vector.tobytes()
        for kind in KINDS
        for keys in [held.sound_index(kind).keys]
        for key, vector in zip(keys, held.vectors(kind, keys), strict=True)
    }


def test_shards_at_once_equal_one_run(run: Run, small_demo: Path, tmp_path: Path) -> None:
    """Two processes that share nothing but the cache; one image is broken, one is missing, one row has no image."""
    data = tmp_path / "data"
    shutil.copytree(small_demo, data)
    broken, gone, image, *_ = sorted((data / "image").iterdir())
    broken.write_bytes(b"no image")
    gone.unlink()
    with (data / "combined_data.csv").open("a") as table:
        table.write(",#바다,3\n")
        table.writelines(f"{image.name},#{'가' * (number % 7)}{number},3\n" for number in range(1500))  # two blocks
    options = ["--backbone", "tiny", *data_options(data, tmp_path)]
    whole = run("extract", *options, "--out", tmp_path / "whole", "--json")
    expected = vectors(tmp_path / "cache")
    shared = ["--backbone", "tiny", *data_options(data, tmp_path)[:-1], tmp_path / "shared", "--json"]
    other = subprocess.Popen(
        [sys.executable, "cli.py", "extract", *map(str, shared), "--shard", "2/2", "--out", tmp_path / "part2"],
        cwd=ROOT, stdout=subprocess.PIPE, env={**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())},
    )  # fmt: skip
    first = run("extract", *shared, "--shard", "1/2", "--out", tmp_path / "part1")
    said = [first.json(), json.loads(other.communicate(timeout=120)[0])]
    assert vectors(tmp_path / "shared") == expected
    for count in ("images", "hashtags", "images_encoded", "hashtags_encoded"):
        assert sum(part[count] for part in said) == whole.json()[count]
    assert all(part["images_encoded"] > 10 for part in said)
    assert all(part["hashtags_encoded"] > 100 for part in said)
    # Each part speaks of its own rows, which are divided by the name of the image.
    paths = [tmp_path / f"part{i}" / "skipped.csv" for i in (1, 2)]
    left_out = [rows_of(path) if path.exists() else [] for path in paths]
    assert [first.code, other.returncode] == [3 if rows else 0 for rows in left_out]
    key = operator.itemgetter("row", "image", "hashtag", "reason")
    assert sorted(map(key, itertools.chain(*left_out))) == sorted(map(key, rows_of(tmp_path / "whole" / "skipped.csv")))
    assert len({row["image"] for row in itertools.chain(*left_out)}) == 3
    assert not {row["image"] for row in left_out[0]} & {row["image"] for row in left_out[1]}
    again = run("extract", *shared).json()
    assert (again["images_encoded"], again["hashtags_encoded"]) == (0, 0)


@pytest.mark.parametrize("shard", ["0/3", "4/3", "1", "1/0", "-1/3", "a/b", "1/3/5", "１/３"])
def test_what_is_no_shard(run: Run, small_demo: Path, tmp_path: Path, shard: str) -> None:
    ran = run("extract", "--backbone", "tiny", *data_options(small_demo, tmp_path), f"--shard={shard}")
    assert ran.code == 2
    assert ran.stderr == (
        f"Error: --shard {shard} is no part of a whole, expected I/N with I from 1 to N, such as 1/8\n"
    )
    assert not (tmp_path / "cache").exists()


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
