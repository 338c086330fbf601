"""A folder of Parquet parts is scored part by part; a second run changes nothing, and nothing is mixed."""

import functools
import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from consistency.errors import InputError
from consistency.options import Source
from koclip_consistency.scoring.loading import load_scorer
from koclip_consistency.workflows import score_parts as score_parts_module
from koclip_consistency.workflows.score_parts import score_parts
from tests.builders.commands import Run

pq = pytest.importorskip("pyarrow.parquet", reason="needs the extra parquet")
ROOT = Path(__file__).parents[3]
PARTS = ("a.parquet", "b.parquet", "c.parquet")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run of `similarity`, image/ with 12 images, of which one is broken, and three parts."""
    from cli import main
    from demo.dataset import write_demo

    folder = tmp_path_factory.mktemp("parts")
    write_demo(folder, seed=5, images=12)
    words = ["similarity", "--method", "exact", "--backbone", "tiny", "--quiet", "--out", folder / "run"]
    words += ["--data", folder / "combined_data.csv", "--images", folder / "image", "--cache", folder / "cache"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["cli.py", *map(str, words)])
        main()
    rows = pd.read_csv(folder / "combined_data.csv")
    broken = rows["image"].iloc[0] if "image" in rows else rows.iloc[0, 0]
    (folder / "image" / broken).write_bytes(b"no image")
    (folder / "parts").mkdir()
    for at, name in enumerate(PARTS):
        rows.iloc[at::3].to_parquet(folder / "parts" / name)
    return folder


@pytest.fixture
def words(made: Path, tmp_path: Path) -> list[object]:
    """The command with parts and an output folder of its own."""
    shutil.copytree(made / "parts", tmp_path / "parts")
    words = ["score", "--model", made / "run", "--data", tmp_path / "parts", "--images", made / "image"]
    return [*words, "--cache", made / "cache", "-o", tmp_path / "out"]


def state(folder: Path) -> dict[str, tuple[str, int]]:
    """Digest and time of each file."""
    return {
        path.name: (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns) for path in folder.iterdir()
    }


def test_each_part_is_scored_as_a_table_of_its_own(run: Run, words: list[object], made: Path, tmp_path: Path) -> None:
    ran = run(*words, "--json")
    assert ran.code == 3  # one image is broken
    out, manifest = tmp_path / "out", ran.json()
    assert json.loads((out / "manifest.json").read_text()) == manifest
    assert [part["name"] for part in manifest["parts"]] == [*PARTS]
    left_out = 0
    for part in manifest["parts"]:
        name = part["name"]
        alone = tmp_path / f"alone-{name}"
        run(*words, "--data", tmp_path / "parts" / name, "-o", alone)
        scored = pq.read_table(out / name)
        assert scored.equals(pq.read_table(alone))
        assert (out / name).with_suffix(".skipped.csv").exists() == alone.with_suffix(".skipped.csv").exists()
        reasons = scored.column("why_not").to_pylist()
        assert (part["rows"], part["answered"]) == (len(reasons), reasons.count(None))
        assert part["output_sha256"] == hashlib.sha256((out / name).read_bytes()).hexdigest()
        assert part["sha256"] == hashlib.sha256((tmp_path / "parts" / name).read_bytes()).hexdigest()
        left_out += len(reasons) - reasons.count(None)
    assert left_out > 0

    before = state(out)
    assert run(*words).code == 3
    assert state(out) == before
    (out / "a.parquet").unlink()
    damaged = bytearray((out / "b.parquet").read_bytes())
    damaged[len(damaged) // 2] ^= 1
    (out / "b.parquet").write_bytes(damaged)
    assert run(*words).code == 3
    assert {name: digest for name, (digest, _) in state(out).items()} == {n: d for n, (d, _) in before.items()}
    assert state(out)["c.parquet"] == before["c.parquet"]


def test_other_outputs_are_refused(run: Run, words: list[object], tmp_path: Path) -> None:
    assert run(*words).code == 3
    out, parts = tmp_path / "out", tmp_path / "parts"
    before = state(out)

    def refused(*more: object) -> str:
        ran = run(*words, *more)
        assert (ran.code, state(out)) == (2, before)
        return ran.stderr

    advice = "name another folder with -o, or delete it to score the part again"
    assert refused("--prefix", "new_") == (
        f"Error: {out}/a.parquet was written by another run or with other options: {advice}\n"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(score_parts_module, "FORMAT", 2)
        assert refused() == f"Error: {out}/a.parquet was written by another version of this program: {advice}\n"
    rows = pd.read_parquet(parts / "b.parquet")
    rows.iloc[1:].to_parquet(parts / "b.parquet")
    assert refused() == f"Error: {out}/b.parquet was written when its part had other rows: {advice}\n"
    (parts / "b.parquet").unlink()
    assert refused() == (f"Error: {out} holds b.parquet, and {parts} has no such part: name another folder with -o\n")
    rows.to_parquet(parts / "b.parquet")
    shutil.copy(parts / "c.parquet", out / "c.parquet")
    for path in (parts / "b.parquet", out / "b.parquet", out / "manifest.json"):
        path.unlink()
    before = state(out)
    assert refused() == f"Error: {out}/c.parquet was not written by this command: {advice}\n"


def test_what_is_no_folder_of_parts_is_refused(run: Run, words: list[object], made: Path, tmp_path: Path) -> None:
    assert (
        "--engine ray scores a folder of Parquet parts"
        in run(*words, "--data", made / "combined_data.csv", "--engine", "ray").stderr
    )
    assert "holds the parts themselves" in run(*words, "-o", tmp_path / "parts").stderr
    (tmp_path / "empty").mkdir()
    assert "holds no .parquet file" in run(*words, "--data", tmp_path / "empty").stderr
    assert not (tmp_path / "out").exists()


def test_a_system_that_reads_posts_is_refused(made: Path, tmp_path: Path) -> None:
    load = functools.partial(load_scorer, None, backbone="tiny", cache=made / "cache")
    source = Source(data=made / "parts", images=made / "image")
    with pytest.raises(InputError, match="cosine reads all hashtags of a post, whose rows may lie in several parts"):
        score_parts(load, made / "run", source, tmp_path / "out")


@pytest.mark.slow
def test_ray_writes_the_same_bytes(run: Run, words: list[Any], tmp_path: Path) -> None:
    if importlib.util.find_spec("ray") is None:
        pytest.skip("needs the extra ray")
    assert run(*words).code == 3
    command = [sys.executable, "-W", "error", "cli.py", *map(str, words), "-o", str(tmp_path / "ray"), "--json"]
    command += ["--engine", "ray", "--num-workers", "2"]
    ran = subprocess.run(command, cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True)
    assert ran.returncode == 3, ran.stderr
    assert json.loads(ran.stdout) == json.loads((tmp_path / "out" / "manifest.json").read_text())
    for name, (digest, _) in state(tmp_path / "out").items():
        assert hashlib.sha256((tmp_path / "ray" / name).read_bytes()).hexdigest() == digest, name
