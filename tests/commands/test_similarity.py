"""`similarity`: thresholds on the cosine, from the cache or with encoding."""

import json
from pathlib import Path

from tests.builders.commands import Run, data_options, rows_of


def test_similarity_cold_and_warm(run: Run, small_demo: Path, tmp_path: Path) -> None:
    options = ["--backbone", "tiny", *data_options(small_demo, tmp_path)]
    first = run("similarity", *options, "--out", tmp_path / "a", "--json")
    assert first.code == 0, first.stderr
    systems = [entry["system"] for entry in first.json()]
    assert systems == [
        "majority", "median", "text-only", "name-and-text", "text-and-post", "text-embedding", "text-head",
        "similarity-simple", "similarity-search", "similarity-exact",
    ]  # fmt: skip
    assert first.json() == json.loads((tmp_path / "a" / "metrics.json").read_text())

    # Everything is there: the second run works without the weights, and says the same.
    second = run("similarity", *options, "--no-extract", "--out", tmp_path / "b", "--json")
    assert second.code == 0, second.stderr
    assert second.json() == first.json()
    for name in ("predictions.csv", "split.csv", "thresholds.json", "metrics.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name
    written = {path.name for path in (tmp_path / "a").iterdir()}
    assert {"run.json", "confusion_matrix.png"} <= written
    assert len(rows_of(tmp_path / "a" / "split.csv")) == len(rows_of(small_demo / "combined_data.csv"))


def test_no_extract_refuses(run: Run, small_demo: Path, tmp_path: Path) -> None:
    ran = run("similarity", "--backbone", "tiny", *data_options(small_demo, tmp_path), "--no-extract")
    assert ran.code == 1
    assert ran.stderr == f"Error: there are no embeddings in {tmp_path / 'cache'}; run extract\n"
    assert not (tmp_path / "cache").exists()

    options = ["--backbone", "tiny", *data_options(small_demo, tmp_path)]
    assert run("extract", *options, "--decode", "published").code == 0
    other = run("similarity", *options, "--no-extract")  # another way of decoding: both are named, and what differs
    assert other.code == 1
    assert (
        "has no embeddings of local; the closest are of local and differ in decoding (found 'converted" in other.stderr
    )
    assert "expected 'EXIF orientation applied" in other.stderr

    assert run("extract", *options).code == 0
    (tmp_path / "image").mkdir()
    for path in (small_demo / "image").iterdir():
        (tmp_path / "image" / path.name).write_bytes(path.read_bytes() + b"more")
    changed = run("similarity", *options, "--images", tmp_path / "image", "--no-extract")
    assert changed.code == 1
    assert "lacks embeddings of tiny for this data, and --no-extract was given" in changed.stderr
