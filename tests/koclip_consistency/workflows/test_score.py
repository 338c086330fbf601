"""Scores as records and as a CSV: one line for each row that has an answer, the others listed beside."""

from pathlib import Path

import numpy as np
import pytest

from consistency.backbone.embeddings import PairEmbeddings
from consistency.data.inputs import Inputs
from consistency.data.pairs import Skipped
from consistency.errors import InputError
from consistency.options import Source
from heads.familiarity import Familiarity
from koclip_consistency.scoring.encoder import WarmEncoder
from koclip_consistency.scoring.scorer import EncodedTable, Judgement, Scorer
from koclip_consistency.workflows.score import COLUMNS, score_table
from tests.builders.commands import rows_of

CHANCES = np.array([[0.1, 0.2, 0.3, 0.3, 0.1], [0, 0, 0, 0.25, 0.75]])


def scorer(probabilities: bool, familiarity: Familiarity | None = None) -> Scorer:
    """Answers for the rows 0 and 2 of any table, with fixed figures."""
    vectors = np.eye(2, 4, dtype=np.float32)

    def judge(pairs: PairEmbeddings) -> Judgement:
        return np.array([3, 5]), np.array([3.1, 4.75]), CHANCES if probabilities else None

    def encode(inputs: Inputs, source: Source) -> EncodedTable:
        pairs = PairEmbeddings(vectors, vectors, np.array([0, 0]), np.array([0, 1]))
        return np.array([0, 2]), pairs, (*inputs.skipped, Skipped(2, "b.png", "나무", "broken"))

    return Scorer("s", judge, WarmEncoder(lambda: pytest.fail("loaded")), encode, familiarity)


@pytest.fixture
def source(tmp_path: Path) -> Source:
    for name in ("a.png", "b.png", "c.png"):
        (tmp_path / name).touch()
    table = tmp_path / "pairs.csv"
    table.write_text(
        "Image Filename,Hashtag,Score\na.png,바다,4\nb.png,나무,1\nc.png,카페,\na.png,,3\n", encoding="utf-8"
    )
    return Source(data=table, images=tmp_path)


@pytest.mark.parametrize("probabilities", [True, False])
def test_a_table_and_what_it_leaves_out(source: Source, tmp_path: Path, probabilities: bool) -> None:
    record = Familiarity(np.eye(1, 4, dtype=np.float32), 0.5)
    records, skipped = score_table(scorer(probabilities, record), source, tmp_path / "out.csv")
    assert [(s.row, s.reason) for s in skipped] == [(4, "the hashtag is empty"), (2, "broken")]
    assert [row["row"] for row in rows_of(tmp_path / "out.skipped.csv")] == ["4", "2"]
    rows = rows_of(tmp_path / "out.csv")
    assert list(rows[0]) == list(COLUMNS)
    chances = [[str(p) for p in row] for row in CHANCES.tolist()] if probabilities else [[""] * 5] * 2
    assert [list(row.values()) for row in rows] == [
        ["1", "a.png", "바다", "4", "3", "3.1", *chances[0], "true"],
        ["3", "c.png", "카페", "", "5", "4.75", *chances[1], "false"],
    ]
    assert [record["score"] for record in records] == [4, None]
    assert ("p1" in records[0]) == probabilities
    assert [record["familiar"] for record in records] == [True, False]


def test_without_a_record_the_familiar_column_is_empty(source: Source, tmp_path: Path) -> None:
    records, _ = score_table(scorer(True), source, tmp_path / "out.csv")
    assert [record["familiar"] for record in records] == [None, None]
    assert [row["familiar"] for row in rows_of(tmp_path / "out.csv")] == ["", ""]


def test_a_place_that_cannot_be_written_is_refused_first(source: Source, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere"):
        score_table(scorer(True), source, tmp_path / "nowhere" / "out.csv")
