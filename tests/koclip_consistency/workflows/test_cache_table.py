"""`cache export OUT.parquet`: vectors, labels and what runs said, read back with pandas and DuckDB."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from consistency.errors import DataError, InputError
from consistency.options import CacheChoice, CacheExportOptions, Source
from consistency.runs.read import read_audit
from koclip_consistency.workflows.cache_table import PROVENANCE, export_table
from tests.builders.commands import rows_of
from tests.builders.models import change_json

Export = Callable[..., pd.DataFrame]


@pytest.fixture(scope="module")
def audited(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The audit, as one of the same table."""
    audit = tmp_path_factory.mktemp("audited") / "audit"
    shutil.copytree(trained / "runs" / "audit", audit)
    digest = json.loads((trained / "runs" / "heads" / "run.json").read_bytes())["data_digest"]
    change_json(audit / "run.json", data_digest=digest)
    return audit


@pytest.fixture
def export(trained: Path, small_demo: Path, tmp_path: Path) -> Export:
    def exported(*runs: Path, data: Path | None = None, posts: str | None = None, **more: Any) -> pd.DataFrame:
        data, images = data or small_demo / "combined_data.csv", small_demo / "image"
        source = Source(data=data, images=images, on_error="allow", post_column=posts)
        choice = CacheChoice(cache=trained / "cache")
        export_table(CacheExportOptions(tmp_path / "out.parquet", runs, source=source, choice=choice, **more))
        return pd.read_parquet(tmp_path / "out.parquet")

    return exported


def test_every_pair_has_its_vectors_and_labels(export: Export, trained: Path, small_demo: Path, tmp_path: Path) -> None:
    frame = export()
    rows = rows_of(small_demo / "combined_data.csv")
    assert frame["image"].tolist() == [row["Image Filename"] for row in rows]
    assert frame["hashtag"].tolist() == [row["Hashtag"] for row in rows]
    assert frame["score"].tolist() == [int(row["Score"]) for row in rows]
    assert frame["row"].tolist() == list(range(1, len(rows) + 1))
    assert frame["post"].tolist() == frame["image"].tolist()
    images, hashtags = np.stack(frame["image_vector"]), np.stack(frame["hashtag_vector"])
    assert images.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(images, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose((images * hashtags).sum(axis=1), frame["similarity"], atol=1e-5)
    schema = pq.read_schema(tmp_path / "out.parquet")
    assert str(schema.field("image_vector").type) == f"fixed_size_list<element: float>[{images.shape[1]}]"
    provenance = json.loads(schema.metadata[PROVENANCE.encode()])
    info = json.loads((trained / "runs" / "heads" / "run.json").read_bytes())
    assert provenance["data_digest"] == info["data_digest"]
    assert (provenance["fingerprint"], provenance["runs"]) == (info["fingerprint"], [])


def test_what_runs_said_stands_beside(export: Export, trained: Path, audited: Path, tmp_path: Path) -> None:
    heads = trained / "runs" / "heads"
    frame = export(heads, audited).set_index("row")
    said = [
        line for line in rows_of(heads / "predictions.csv") if line["system"] == "heads" and line["split"] == "test"
    ]
    assert frame["predicted"].notna().sum() == len(said)
    for line in said[:20]:
        row = frame.loc[int(line["row"])]
        assert (row["system"], row["answered"], row["predicted"]) == ("heads", "test", int(line["predicted"]))
        assert row["value"] == pytest.approx(float(line["value"]))
        assert [row[f"p{score}"] for score in range(1, 6)] == [float(line[f"p{score}"]) for score in range(1, 6)]
    assert frame["split"].tolist() == [line["split"] for line in rows_of(heads / "split.csv")]
    lines = read_audit(audited) or []
    assert frame["doubt"].notna().sum() == len(lines)
    assert frame.loc[lines[0].row, "doubt"] == lines[0].doubt
    provenance = json.loads(pq.read_schema(tmp_path / "out.parquet").metadata[PROVENANCE.encode()])
    assert [run["command"] for run in provenance["runs"]] == ["heads", "audit"]


def test_duckdb_reads_it(export: Export, trained: Path, audited: Path, tmp_path: Path) -> None:
    """The query of docs/viewers.md."""
    frame = export(trained / "runs" / "heads", audited)
    query = (Path(__file__).parents[3] / "docs" / "viewers.md").read_text(encoding="utf-8").split("```sql\n")[1]
    found = duckdb.sql(query.split("```")[0].replace("pairs.parquet", str(tmp_path / "out.parquet"))).df()
    expected = frame.dropna(subset="doubt").nlargest(10, "doubt")
    assert found["doubt"].tolist() == expected["doubt"].tolist()
    np.testing.assert_allclose(np.sort(found["cosine"]), np.sort(expected["similarity"]), atol=1e-5)


def test_what_is_refused(export: Export, trained: Path, small_demo: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is a run on another table"):
        export(trained / "runs" / "audit")
    with pytest.raises(InputError, match="no --run has predictions of finetune"):
        export(trained / "runs" / "heads", system="finetune")
    table = tmp_path / "new.csv"
    image = rows_of(small_demo / "combined_data.csv")[0]["Image Filename"]
    table.write_text(f"Image Filename,Hashtag\n{image},처음보는말\n", encoding="utf-8")
    with pytest.raises(InputError, match="has no vector of any pair"):
        export(data=table)


def test_rows_without_vectors_are_left_out_and_posts_kept(export: Export, small_demo: Path, tmp_path: Path) -> None:
    known = rows_of(small_demo / "combined_data.csv")[0]
    table, image = tmp_path / "new.csv", known["Image Filename"]
    lines = [f"{image},{known['Hashtag']},p1", f"{image},처음보는말,p1", f"none.png,{known['Hashtag']},"]
    table.write_text("Image Filename,Hashtag,post\n" + "\n".join(lines) + "\n", encoding="utf-8")
    frame = export(data=table, posts="post")
    assert frame[["row", "post", "hashtag"]].values.tolist() == [[1, "p1", known["Hashtag"]]]
    assert frame["score"].isna().all()
    reasons = {line["row"]: line["reason"] for line in rows_of(tmp_path / "out.skipped.csv")}
    assert set(reasons) == {"2", "3"}
    assert "run extract" in reasons["2"]
