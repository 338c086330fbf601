"""Ray gives the vectors of a single process, whatever dies meanwhile; the cache decides what is missing."""

import functools
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("ray", reason="needs the extra ray")

from consistency.data.inputs import read_inputs
from consistency.options import Source
from embedcache import pipeline
from embedcache.engines.ray import Cluster, RayWork
from embedcache.extract import extract
from embedcache.segments import KINDS
from embedcache.store import EmbeddingCache
from tests.builders.commands import Run, data_options
from tests.builders.dying_actor import load_dying, load_tiny

ROOT = Path(__file__).parents[3]

pytestmark = pytest.mark.filterwarnings("ignore")  # Ray's own


def test_an_actor_is_killed_and_nothing_is_lost(
    small_demo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two actors, of which one kills itself with its first batch; one image is broken."""
    images = tmp_path / "image"
    shutil.copytree(small_demo / "image", images)
    broken, *_ = sorted(images.iterdir())
    broken.write_bytes(b"no image")
    inputs = read_inputs(Source(data=small_demo / "combined_data.csv", images=images), require_scores=False)
    tiny = load_tiny()
    local = EmbeddingCache.open(tmp_path / "local", tiny.fields)
    expected = extract(inputs.table, inputs.files, local, lambda: tiny)
    monkeypatch.setattr(pipeline, "COMMIT_BYTES", 10 * (32 + 4 * (local.dim or 0)))  # ten images in a call
    cache = EmbeddingCache.open(tmp_path / "ray", tiny.fields)
    load = functools.partial(load_dying, tmp_path / "marker")
    engine = functools.partial(RayWork, cluster=Cluster(workers=2), load=load)
    report = extract(inputs.table, inputs.files, cache, load, engine=engine)
    assert (tmp_path / "marker").exists()
    assert (report.images_encoded, report.hashtags_encoded) == (expected.images_encoded, expected.hashtags_encoded)
    assert report.skipped == expected.skipped
    assert {row.image for row in report.skipped} == {broken.name}
    reader = EmbeddingCache.open(tmp_path / "ray", tiny.fields)
    for kind in KINDS:
        keys = local.sound_index(kind).keys
        assert (reader.sound_index(kind).keys == keys).all()
        assert sum(len(segment) for segment in reader.index(kind).segments) == len(keys)  # none twice
        ours, theirs = reader.vectors(kind, keys), local.vectors(kind, keys)
        assert (ours == theirs).all() if kind == "image" else np.abs(ours - theirs).max() < 2e-7


@pytest.mark.parametrize("option", [["--num-workers", 2], ["--ray-address", "a:1"], ["--gpus-per-worker", 0]])
def test_options_of_ray_need_it(run: Run, small_demo: Path, tmp_path: Path, option: list[object]) -> None:
    ran = run("extract", "--backbone", "tiny", *data_options(small_demo, tmp_path), *option)
    assert (ran.code, ran.stderr) == (2, f"Error: {option[0]} needs --engine ray\n")


@pytest.mark.slow
def test_the_command_prints_one_json_value_and_leaves_no_folder(small_demo: Path, tmp_path: Path) -> None:
    """In a process of its own: Ray reads its token when it is imported."""
    options = ["extract", "--backbone", "tiny", *map(str, data_options(small_demo, tmp_path)), "--json"]
    before = set(Path("/tmp").glob("ray-*"))
    said = []
    for engine in ("ray", "local"):
        command = [sys.executable, "cli.py", *options, "--engine", engine]
        ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
        assert ran.returncode == 0, ran.stderr
        said.append(json.loads(ran.stdout))
    assert (said[0]["images_encoded"], said[1]["images_cached"]) == (60, 60)
    assert said[1]["hashtags_encoded"] == 0
    assert set(Path("/tmp").glob("ray-*")) == before
