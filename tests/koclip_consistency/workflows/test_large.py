"""Extraction of a large table, part by part, does what it does for a table in memory."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from consistency.errors import DataError
from consistency.options import Encoding, ExtractOptions, Output, Source
from embedcache.store import EmbeddingCache
from koclip_consistency.workflows import large
from koclip_consistency.workflows.extract import Extraction, run_extract
from tests.builders.large import stumbling_table


def extracted(source: Source, folder: Path, large_rows: int) -> Extraction:
    encoding = Encoding(backbone="tiny", cache=folder / "cache")
    output = Output(out=folder / "run")
    return run_extract(ExtractOptions(source, encoding, large_rows=large_rows, output=output))


@pytest.mark.parametrize("size", [16_384, 7])
def test_extraction_in_parts_equals_extraction_at_once(
    small_demo: Path, tmp_path: Path, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(large, "PART", size)
    path = stumbling_table(small_demo, tmp_path / "data")
    source = Source(data=path, images=path.parent / "image")
    known = extracted(source, tmp_path / "memory", 10**9)
    found = extracted(source, tmp_path / "spool", 0)
    ours, theirs = found.extracted.report, known.extracted.report
    for name in ("images", "images_cached", "images_encoded", "hashtags", "hashtags_cached", "hashtags_encoded"):
        assert getattr(ours, name) == getattr(theirs, name), name
    assert found.skipped == known.skipped == len(known.extracted.skipped) > 4
    assert found.extracted.skipped[0] == known.extracted.skipped[0]
    listed = [each.folder.path / "skipped.csv" for each in (found, known)]
    assert listed[0].read_bytes() == listed[1].read_bytes()
    runs = [json.loads((each.folder.path / "run.json").read_text()) for each in (found, known)]
    for name in ("data_digest", "pictures_digest", "fingerprint"):
        assert runs[0][name] == runs[1][name]
    caches = [EmbeddingCache(each.extracted.cache.path, each.extracted.cache.fields) for each in (found, known)]
    texts = caches[0].texts()
    assert texts == caches[1].texts()
    np.testing.assert_allclose(caches[0].hashtags(texts)[0], caches[1].hashtags(texts)[0], atol=1e-6)

    again = extracted(source, tmp_path / "spool", 0).extracted.report
    assert (again.images_encoded, again.hashtags_encoded) == (0, 0)
    assert (again.images_cached, again.hashtags_cached) == (ours.images_encoded, ours.hashtags)


def test_the_first_row_that_is_lost_aborts(small_demo: Path, tmp_path: Path) -> None:
    path = stumbling_table(small_demo, tmp_path / "data")
    lines = path.read_text().splitlines(keepends=True)
    sound = [line for line in lines if "six" not in line and "바다,5" not in line and ", ," not in line]
    path.write_text("".join(sound))
    source = Source(data=path, images=path.parent / "image", on_error="abort")
    with pytest.raises(DataError) as known:
        extracted(source, tmp_path / "memory", 10**9)
    assert ": not found in" in str(known.value) or "broken" in str(known.value)
    with pytest.raises(DataError, match=r"^row \d+: .*\(3 in all; to continue without, use --on-error skip\)"):
        extracted(source, tmp_path / "spool", 0)


def test_no_image_is_an_error(small_demo: Path, tmp_path: Path) -> None:
    path = stumbling_table(small_demo, tmp_path / "data")
    source = Source(data=path, images=tmp_path / "nowhere")
    errors = []
    for limit in (10**9, 0):
        with pytest.raises(DataError) as error:
            extracted(replace(source), tmp_path / f"{limit}", limit)
        errors.append(str(error.value))
    assert errors[0] == errors[1]
