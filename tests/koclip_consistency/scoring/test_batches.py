"""Batches of a table: every row and every cell in order, and which of the rows can be scored."""

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from consistency.errors import DataError
from consistency.options import Source
from koclip_consistency.scoring import batches as module
from koclip_consistency.scoring.batches import open_batches

ROWS = [
    ["바다", "a.png", "4", "1"],
    ["#", "a.png", "", "2"],
    ["카페", "lost.png", "3", "3"],
    ["#여행 #산책", "a.png", "2", "4"],
    ["바다", "b.png", "", "5"],
]


@pytest.fixture
def source(tmp_path: Path) -> Source:
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(name.encode())
    frame = pd.DataFrame(ROWS, columns=["Hashtag", "Image Filename", "Score", "더"])
    frame.to_csv(tmp_path / "t.csv", index=False)
    frame.to_parquet(tmp_path / "t.parquet")
    return Source(data=tmp_path / "t.csv", images=tmp_path)


@pytest.mark.parametrize("name", ["t.csv", "t.parquet"])
@pytest.mark.parametrize("size", [1, 2, 100])
def test_rows_cells_and_pairs(source: Source, size: int, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BATCH", size)
    monkeypatch.setattr(module, "FILES", 1)
    batches = open_batches(replace(source, data=source.images / name))
    assert batches.columns == ("Hashtag", "Image Filename", "Score", "더")
    for _ in range(2):  # every iteration begins with the first row
        found = list(batches)
        assert [len(batch.rows) for batch in found] == [min(size, 5 - start) for start in range(0, 5, size)]
        cells = [list(row) for batch in found for row in zip(*batch.cells, strict=True)]
        assert cells == ROWS
        assert [row for batch in found for row in batch.rows] == [1, 2, 3, 4, 5]
        assert [tag for batch in found for tag in batch.hashtags] == [row[0] for row in ROWS]
        assert [image for batch in found for image in batch.images] == [row[1] for row in ROWS]
        assert [score for batch in found for score in batch.scores][::3] == [4, 2]
        asked = [(batch.rows[at], batch.hashtags[at]) for batch in found for at in batch.at.tolist()]
        assert asked == [(1, "바다"), (4, "#여행 #산책"), (5, "바다")]
        assert [int(row) for batch in found for row in batch.inputs.table.rows] == [1, 4, 5]
        skipped = {each.row: each.reason for batch in found for each in batch.inputs.skipped}
        assert skipped[2] == "the hashtag is empty"
        assert skipped[3].startswith("not found")
        for batch in found:
            assert set(batch.inputs.files) == set(batch.inputs.table.images)


@pytest.mark.parametrize("size", [1, 100])
def test_a_cell_of_several_hashtags_makes_several_rows(
    source: Source, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BATCH", size)
    found = list(open_batches(replace(source, split_hashtags=True)))
    assert [row for batch in found for row in batch.rows] == [1, 2, 3, 4, 5, 6]
    cells = [list(row) for batch in found for row in zip(*batch.cells, strict=True)]
    assert cells == [ROWS[at] for at in (0, 1, 2, 3, 3, 4)]
    tags = [(batch.rows[at], batch.hashtags[at]) for batch in found for at in batch.at.tolist()]
    assert tags == [(1, "바다"), (4, "#여행"), (5, "#산책"), (6, "바다")]


def test_a_row_with_too_few_cells(source: Source) -> None:
    source.data.write_text("Hashtag,Image Filename,더\n바다,a.png,1\n카페,b.png\n바다,a.png,1,2\n", encoding="utf-8")
    (batch,) = open_batches(source)
    assert batch.cells == [["바다", "카페", "바다"], ["a.png", "b.png", "a.png"], ["1", None, "1"]]
    assert [each.reason for each in batch.inputs.skipped] == ["2 cells, the header has 3", "4 cells, the header has 3"]
    assert batch.hashtags == ["바다", "카페", "바다"]


def test_tables_without_anything_to_score(source: Source) -> None:
    nowhere = replace(source, images=source.images / "none")
    with pytest.raises(DataError, match="there is no folder .*none: name the folder"):
        list(open_batches(nowhere))
    nowhere.images.mkdir()
    with pytest.raises(DataError, match=r"none of the \d images named in .*t.csv is in .*none \(not found .* put them"):
        list(open_batches(nowhere))
    with pytest.raises(DataError, match="row 2: the hashtag is empty"):
        list(open_batches(replace(source, on_error="abort")))
    source.data.write_text("Hashtag,Image Filename\n#,a.png\n", encoding="utf-8")
    with pytest.raises(DataError, match="t.csv has no usable row"):
        list(open_batches(source))
