"""Batches of a table: every row and every cell in order, and which of the rows can be scored."""

from pathlib import Path

from consistency.options import Source
from koclip_consistency.scoring.batches import open_batches


def test_rows_cells_and_pairs(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"a")
    (tmp_path / "t.csv").write_text(
        "Hashtag,Image Filename,Score,더\n바다,a.png,4,1\n\n#,a.png,,2\n카페,lost.png,9,3\n여행,a.png,2\n",
        encoding="utf-8",
    )
    batches = open_batches(Source(data=tmp_path / "t.csv", images=tmp_path))
    assert batches.columns == ("Hashtag", "Image Filename", "Score", "더")
    for _ in range(2):  # every iteration begins with the first row
        (batch,) = batches
        assert batch.rows == [1, 2, 3, 4]
        assert batch.cells[3] == ["1", "2", "3", None]
        assert batch.images == ["a.png", "a.png", "lost.png", "a.png"]
        assert batch.hashtags == ["바다", "#", "카페", "여행"]
        assert batch.scores[:2] == [4, None]
        assert batch.inputs.table.hashtags.tolist() == ["바다"]
        assert batch.at.tolist() == [0]
        assert [each.row for each in batch.inputs.skipped] == [2, 3, 4]
