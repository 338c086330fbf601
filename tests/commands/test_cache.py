"""`cache`: what is in it, what is damaged, what is removed, what another program gets."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
from click.testing import CliRunner

import koclip_consistency as kc
from cli import app
from embedcache.catalog import write_fields
from embedcache.fingerprint import fingerprint
from embedcache.store import EmbeddingCache
from tests.builders.commands import Run, data_options, rows_of


def test_cache_commands(run: Run, small_demo: Path, tmp_path: Path) -> None:
    cache = ["--cache", tmp_path / "cache"]
    empty = run("cache", "verify", *cache)
    assert empty.code == 0
    assert "does not exist yet" in empty.stderr
    data = data_options(small_demo, tmp_path)
    assert run("extract", "--backbone", "tiny", *data).code == 0
    (info,) = run("cache", "info", *cache, "--json").json()
    assert info["images"] == 60
    assert run("cache", "export", tmp_path / "out.npz", *data).code == 0
    assert run("cache", "compact", *cache).code == 0
    assert run("cache", "verify", *cache).code == 0
    whole = run("cache", "export", tmp_path / "out.npz", *data, "--json").json()

    def damage() -> None:
        segment = next((tmp_path / "cache").glob("*/seg-*.h5"))
        content = bytearray(segment.read_bytes())
        content[-1000] ^= 1
        segment.write_bytes(content)

    damage()
    damaged = run("cache", "verify", *cache)
    assert damaged.code == 1
    assert "quarantine" in damaged.stderr
    assert run("extract", "--backbone", "tiny", *data).code == 0  # fills the hole
    assert run("cache", "verify", *cache).code == 0
    damage()
    partly = run("cache", "export", tmp_path / "out.npz", *data, "--json")
    assert partly.code == 3
    assert len(partly.json()["damaged"]) == 1
    assert "quarantine" in partly.stderr
    assert "run extract" in (tmp_path / "out.skipped.csv").read_text(encoding="utf-8")
    assert re.search(r"quarantined segments\n.*\t[12]\n", run("cache", "info", *cache).stdout)
    assert run("extract", "--backbone", "tiny", *data).code == 0
    again = run("cache", "export", tmp_path / "out.npz", *data, "--json")
    assert (again.code, again.json()) == (0, whole)
    assert not (tmp_path / "out.skipped.csv").exists()


def test_vectors_of_templates_are_exported_as_a_run_reads_them(run: Run, small_demo: Path, tmp_path: Path) -> None:
    data = data_options(small_demo, tmp_path)
    recipe = ["--text", "plain", "--template", "{}", "--template", "{} 사진"]
    assert run("extract", "--backbone", "tiny", *data, *recipe).code == 0
    out = tmp_path / "out.npz"
    assert run("cache", "export", out, *data, *recipe).code == 0
    pairs = kc.read_pairs(small_demo / "combined_data.csv", images=small_demo / "image")
    embedded = kc.embed(
        pairs, backbone="tiny", cache=tmp_path / "cache", text="plain", templates=["{}", "{} 사진"], device="cpu"
    )
    with np.load(out) as file:
        place = {hashtag: at for at, hashtag in enumerate(file["hashtags"].tolist())}
        found = file["hashtag_embeddings"][[place[hashtag] for hashtag in pairs.inputs.table.hashtags]]
    np.testing.assert_array_equal(found, embedded[:].hashtag_vectors())
    raw = run("cache", "export", tmp_path / "raw.npz", *data)  # of hashtags as they are written there are none
    assert raw.code == 3
    assert "the cache lacks its image or its hashtag" in (tmp_path / "raw.skipped.csv").read_text(encoding="utf-8-sig")


def test_one_set_of_embeddings_among_several(run: Run, small_demo: Path, tmp_path: Path) -> None:
    data = data_options(small_demo, tmp_path)
    cache = data[4:]
    for decode in ("ours", "published"):
        assert run("extract", "--backbone", "tiny", *data, "--decode", decode).code == 0
    both = run("cache", "info", *cache, "--json").json()
    kept, other = (entry["fingerprint"] for entry in both)
    shown = run("cache", "info", *cache, "--fingerprint", kept[:8], "--json")
    assert [entry["fingerprint"] for entry in shown.json()] == [kept]
    table = run("cache", "info", *cache, "--fingerprint", kept[:8]).stdout
    assert re.search(r"tiny (ours|published) fp32\t60\t\d+\t0\.\d MB\t(now|\d+ min)\n", table)
    assert f"{kept[:12]}: schema 1, model local, revision sha256:" in shown.stderr
    assert re.search(r", libraries pillow \d+, tokenizers [\d.]+, transformers \d+, precision fp32,", shown.stderr)
    export = ["cache", "export", tmp_path / "out.h5", *data]
    several = run(*export)
    assert several.code == 2
    assert "choose one with --fingerprint" in several.stderr
    assert run(*export, "--fingerprint", kept[:8], "--json").json()["fingerprint"] == kept
    assert run(*export, "--fingerprint", "xyz").code == 2
    assert run("cache", "gc", *cache, "--fingerprint", kept[:8], "--yes", "--json").json() == [other]
    assert [entry["fingerprint"] for entry in run("cache", "info", *cache, "--json").json()] == [kept]


def test_embeddings_that_another_program_described(run: Run, small_demo: Path, tmp_path: Path) -> None:
    """Their fields are none that we know: all the same they are shown, and pass for no backbone of ours."""
    EmbeddingCache.open(tmp_path, {"model of": "somebody"})
    shown = run("cache", "info", "--cache", tmp_path)
    assert shown.code == 0
    assert "?@? ? ?" in shown.stdout
    for backbone in ("tiny", "koclip"):
        assert run("cache", "info", "--cache", tmp_path, "--backbone", backbone, "--json").json() == []
    fields = {"store": "bf16"}  # vectors that this version cannot read
    foreign, other = tmp_path / fingerprint(fields), tmp_path / fingerprint({"model of": "somebody"})
    foreign.mkdir()
    write_fields(foreign, fields)
    gc = ["cache", "gc", "--cache", tmp_path, "--fingerprint", other.name, "--yes"]
    assert [entry["fingerprint"] for entry in run("cache", "info", *gc[2:4], "--json").json()] == [other.name]
    assert run(*gc, "--json").json() == []
    assert foreign.is_dir()


def test_gc_asks(small_demo: Path, tmp_path: Path) -> None:
    data = [str(part) for part in data_options(small_demo, tmp_path)]
    for decode in ("ours", "published"):
        assert CliRunner().invoke(app, ["extract", "--backbone", "tiny", *data, "--decode", decode]).exit_code == 0
    kept, other = sorted(path.parent.name for path in (tmp_path / "cache").glob("*/format.json"))
    gc = ["cache", "gc", *data[4:], "--fingerprint", kept]
    refused = CliRunner().invoke(app, [*gc, "--json"], input="n\n")
    assert (refused.exit_code, json.loads(refused.stdout)) == (0, [])
    assert f"Remove {other[:12]}? [y/N]" in refused.stderr
    nobody = CliRunner().invoke(app, gc, input="")
    assert nobody.exit_code == 2
    assert "nobody to ask" in nobody.stderr
    assert (tmp_path / "cache" / other).is_dir()
    assert CliRunner().invoke(app, gc, input="y\n").exit_code == 0
    assert [path.parent.name for path in (tmp_path / "cache").glob("*/format.json")] == [kept]
    assert not (tmp_path / "cache" / other).exists()


def test_a_file_for_the_cache(run: Run, small_demo: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").touch()
    data = data_options(small_demo, tmp_path)
    upkeep = [("info",), ("verify",), ("compact",), ("gc", "--fingerprint", "0", "--yes")]
    for command in [("extract", "--backbone", "tiny", *data), *(("cache", *one, *data[4:]) for one in upkeep)]:
        ran = run(*command)
        assert ran.code == 2
        assert "cache is a file, expected the folder of the embeddings" in ran.stderr
        assert ran.stderr.count("\n") == 1


def test_a_table_of_pairs(run: Run, trained: Path, small_demo: Path, tmp_path: Path) -> None:
    data = [*data_options(small_demo, tmp_path)[:4], "--cache", trained / "cache"]
    heads = ["--run", trained / "runs" / "heads"]
    ran = run("cache", "export", tmp_path / "pairs.parquet", *data, *heads, "--json")
    assert ran.code == 0, ran.stderr
    assert ran.json()["rows"] == len(rows_of(small_demo / "combined_data.csv"))
    assert {"image_vector", "predicted", "split", "p5"} <= set(ran.json()["columns"])
    assert (tmp_path / "pairs.parquet").stat().st_size > 10_000
    other = run("cache", "export", tmp_path / "pairs.npz", *data, *heads)
    assert other.code == 2
    assert "--run adds columns to a .parquet file alone" in other.stderr


def test_of_several_sets_of_a_backbone_the_one_of_the_run_is_taken(
    run: Run, trained: Path, small_demo: Path, tmp_path: Path
) -> None:
    shutil.copytree(trained / "cache", tmp_path / "cache")
    data = [*data_options(small_demo, tmp_path), "--backbone", "tiny"]
    assert run("extract", *data, "--decode", "published").code == 0
    words = ["cache", "export", tmp_path / "pairs.parquet", *data]
    assert "choose one with --fingerprint" in run(*words).stderr
    of_the_run = json.loads((trained / "runs" / "heads" / "run.json").read_text())["fingerprint"]
    assert run(*words, "--run", trained / "runs" / "heads", "--json").json()["fingerprint"] == of_the_run
