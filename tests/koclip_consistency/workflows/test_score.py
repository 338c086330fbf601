"""Scores as records and in a table: every row and column of the caller's, with an answer or the reason for none."""

import csv
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from consistency.backbone.embeddings import PairEmbeddings
from consistency.data.inputs import Inputs
from consistency.data.memo import SETTLED
from consistency.data.pairs import Skipped
from consistency.errors import DataError, InputError
from consistency.options import Source
from heads.familiarity import Familiarity
from koclip_consistency.scoring import batches
from koclip_consistency.scoring.encoder import WarmEncoder
from koclip_consistency.scoring.loading import load_scorer
from koclip_consistency.scoring.scorer import EncodedTable, Judgement, Scorer
from koclip_consistency.workflows.score import score_table
from tests.builders.commands import rows_of
from tests.builders.opened import opened
from tests.builders.torn_posts import torn_posts

CHANCES = np.array([[0.1, 0.2, 0.3, 0.3, 0.1], [0, 0, 0, 0.25, 0.75]])
ANSWERED = {"바다": 0, "카페": 1}  # and nothing else
TABLE = """likes,Image Filename,Hashtag,Score
7,a.png,바다,4
8,b.png,나무,1
"9,5",c.png,카페,
,a.png,,3
1,a.png
"""
ADDED = ["row", "image", "hashtag", "score", "predicted", "value", "expected_score", "similarity"]
ADDED += ["p1", "p2", "p3", "p4", "p5", "familiar", "why_not"]


def scorer(probabilities: bool, familiarity: Familiarity | None = None) -> Scorer:
    """Answers for two hashtags, with fixed figures; another one is broken."""
    vectors = np.eye(2, 4, dtype=np.float32)

    def judge(pairs: PairEmbeddings) -> Judgement:
        which = pairs.hashtag_index
        return np.array([3, 5])[which], np.array([3.1, 4.75])[which], CHANCES[which] if probabilities else None

    def encode(inputs: Inputs, source: Source) -> EncodedTable:
        found = [ANSWERED.get(hashtag, -1) for hashtag in inputs.table.hashtags]
        rows = np.flatnonzero(np.array(found) >= 0)
        index = np.array(found)[rows]
        lost = zip(inputs.table.rows, inputs.table.images, inputs.table.hashtags, found, strict=True)
        broken = tuple(Skipped(int(row), image, tag, "broken") for row, image, tag, at in lost if at < 0)
        return rows, PairEmbeddings(vectors, vectors, 0 * index, index), (*inputs.skipped, *broken)

    return Scorer("s", judge, WarmEncoder(lambda: pytest.fail("loaded")), encode, familiarity)


@pytest.fixture
def source(tmp_path: Path) -> Source:
    for name in ("a.png", "b.png", "c.png"):
        (tmp_path / name).touch()
    (tmp_path / "pairs.csv").write_text(TABLE, encoding="utf-8")
    return Source(data=tmp_path / "pairs.csv", images=tmp_path)


def expected(probabilities: bool) -> list[dict[str, Any]]:
    """The lines of the answer, written out by hand."""
    nothing = dict.fromkeys(ADDED[4:-1], "")

    def said(which: int, predicted: str, value: str, cosine: str, familiar: str) -> dict[str, Any]:
        chances = CHANCES[which].tolist() if probabilities else [""] * 5
        answer = [predicted, value, value if probabilities else "", cosine, *map(str, chances), familiar, ""]
        return dict(zip(ADDED[4:], answer, strict=True))

    own = list(csv.DictReader(TABLE.splitlines()))
    pairs = [("1", "a.png", "바다", "4"), ("2", "b.png", "나무", "1"), ("3", "c.png", "카페", "")]
    pairs += [("4", "a.png", "", ""), ("5", "a.png", "", "")]
    answers = [
        said(0, "3", "3.1", "1.0", "true"),
        {**nothing, "why_not": "broken"},
        said(1, "5", "4.75", "0.0", "false"),
        {**nothing, "why_not": "the hashtag is empty"},
        {**nothing, "why_not": "2 cells, the header has 4"},
    ]
    return [
        {**{name: cell or "" for name, cell in mine.items()}, **dict(zip(ADDED, pair, strict=False)), **answer}
        for mine, pair, answer in zip(own, pairs, answers, strict=True)
    ]


@pytest.mark.parametrize("probabilities", [True, False])
def test_a_table_keeps_its_rows_and_columns(source: Source, tmp_path: Path, probabilities: bool) -> None:
    record = Familiarity(np.eye(1, 4, dtype=np.float32), 0.5)
    done = score_table(scorer(probabilities, record), source, tmp_path / "out.csv", keep=True)
    rows = rows_of(tmp_path / "out.csv")
    assert list(rows[0]) == ["likes", "Image Filename", "Hashtag", "Score", *ADDED]
    assert rows == expected(probabilities)
    assert done.answered == 2
    assert (done.lost, done.first_lost) == (3, Skipped(2, "b.png", "나무", "broken"))
    why = [("2", "broken"), ("4", "the hashtag is empty"), ("5", "2 cells, the header has 4")]
    assert [(row["row"], row["reason"]) for row in rows_of(tmp_path / "out.skipped.csv")] == why
    assert done.notes == ()
    assert [each["score"] for each in done.records] == [4, 1, None, None, None]
    assert [each["predicted"] for each in done.records] == [3, None, 5, None, None]
    assert [each["familiar"] for each in done.records] == [True, None, False, None, None]
    assert ["p1" in each for each in done.records] == [probabilities, False, probabilities, False, False]


def test_no_formula_in_a_table_for_spreadsheets(source: Source, tmp_path: Path) -> None:
    source.data.write_text("note,Image Filename,Hashtag\n=1+1,a.png,바다\n-3,b.png,@나무\n", encoding="utf-8")
    score_table(scorer(True), source, tmp_path / "exact.csv")
    assert [row["note"] for row in rows_of(tmp_path / "exact.csv")] == ["=1+1", "-3"]
    assert [row["hashtag"] for row in rows_of(tmp_path / "exact.skipped.csv")] == ["@나무"]
    score_table(scorer(True), source, tmp_path / "safe.csv", formulas=False)
    assert [row["note"] for row in rows_of(tmp_path / "safe.csv")] == ["'=1+1", "-3"]
    assert [row["hashtag"] for row in rows_of(tmp_path / "safe.csv")] == ["바다", "'@나무"]
    assert [row["hashtag"] for row in rows_of(tmp_path / "safe.skipped.csv")] == ["'@나무"]
    exact = (tmp_path / "exact.csv").read_text(encoding="utf-8")
    assert (tmp_path / "safe.csv").read_text(encoding="utf-8") == exact.replace("=1", "'=1").replace("@", "'@")


def test_a_parquet_table_equals_the_csv(source: Source, tmp_path: Path) -> None:
    record = Familiarity(np.eye(1, 4, dtype=np.float32), 0.5)
    for name in ("out.csv", "out.parquet"):
        score_table(scorer(True, record), source, tmp_path / name)
    text = pd.read_csv(tmp_path / "out.csv", keep_default_na=False, na_values=[""])
    binary = pd.read_parquet(tmp_path / "out.parquet")
    assert list(binary.columns) == list(text.columns)
    assert binary["predicted"].tolist()[:3:2] == [3, 5]
    assert binary["familiar"].tolist() == [True, None, False, None, None]
    assert binary["likes"].tolist() == ["7", "8", "9,5", "", "1"]
    for name in ("value", "expected_score", "similarity", "p1", "p5"):
        np.testing.assert_array_equal(binary[name], text[name])
    for name in ("image", "why_not"):
        assert binary[name].fillna("").tolist() == text[name].fillna("").tolist()


@pytest.mark.parametrize("name", ["out.csv", "out.parquet"])
def test_the_size_of_batches_changes_nothing(
    source: Source, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = score_table(scorer(True), source, tmp_path / name, keep=True)
    read = pd.read_csv if name == "out.csv" else pd.read_parquet
    written, lost = read(tmp_path / name), (tmp_path / "out.skipped.csv").read_bytes()
    for size in (1, 2, 3):
        monkeypatch.setattr(batches, "BATCH", size)
        assert score_table(scorer(True), source, tmp_path / name, keep=True).records == whole.records
        pd.testing.assert_frame_equal(read(tmp_path / name), written)
        assert (tmp_path / "out.skipped.csv").read_bytes() == lost


def test_rows_of_several_or_long_hashtags_are_noted(source: Source, tmp_path: Path) -> None:
    source.data.write_text(f"Image Filename,Hashtag\na.png,#a #b\na.png,바다\nb.png,{'바다' * 20}\n", encoding="utf-8")
    several, long = score_table(scorer(True), source, tmp_path / "out.csv").notes
    assert several.startswith("1 rows hold several hashtags in one cell")
    assert "(row 1: #a #b)" in several
    assert long.startswith("1 rows have a hashtag of more than 75 bytes")
    assert "(row 3: " in long


def test_without_a_record_the_familiar_column_is_empty(source: Source, tmp_path: Path) -> None:
    done = score_table(scorer(True), source, tmp_path / "out.csv")
    assert done.records == []
    assert [row["familiar"] for row in rows_of(tmp_path / "out.csv")] == [""] * 5


def test_columns_that_the_table_has_already(source: Source, tmp_path: Path) -> None:
    """Those about the pair stay the caller's; those of the answer need another name."""
    source.data.write_text("image,Image Filename,Hashtag,familiar\nmine,a.png,바다,x\n", encoding="utf-8")
    with pytest.raises(InputError, match="pairs.csv already has the column 'familiar': rename it, or .* --prefix new_"):
        score_table(scorer(True), source, tmp_path / "out.csv")
    assert not (tmp_path / "out.csv").exists()
    score_table(scorer(True), source, tmp_path / "out.csv", prefix="new_")
    (row,) = rows_of(tmp_path / "out.csv")
    assert (row["image"], row["familiar"], row["hashtag"], row["new_predicted"]) == ("mine", "x", "바다", "3")
    assert list(row)[4:] == ["row", "hashtag", "score", *(f"new_{name}" for name in ADDED[4:])]


def test_a_table_whose_images_are_all_missing_is_refused(source: Source, tmp_path: Path) -> None:
    nowhere = Source(data=source.data, images=tmp_path / "none")
    with pytest.raises(DataError, match=r"there is no folder .*none: name the folder of the images"):
        score_table(scorer(True), nowhere, tmp_path / "out.csv")
    nowhere.images.mkdir()
    with pytest.raises(DataError, match=r"none of the \d images named in .* is in "):
        score_table(scorer(True), nowhere, tmp_path / "out.csv")
    assert not (tmp_path / "out.csv").exists()


def test_the_table_itself_is_not_overwritten(source: Source) -> None:
    before = source.data.read_bytes()
    with pytest.raises(InputError, match=r"-o .* is the pair table itself: choose another file"):
        score_table(scorer(True), source, source.data)
    assert source.data.read_bytes() == before


def test_a_place_that_cannot_be_written_is_refused_first(source: Source, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere"):
        score_table(scorer(True), source, tmp_path / "nowhere" / "out.csv")


@pytest.mark.parametrize("large_rows", [0, 10**9])
def test_a_second_run_opens_no_image(small_demo: Path, tmp_path: Path, large_rows: int) -> None:
    """The digests are remembered beside the cache, whose vectors need no pixels."""
    torn = torn_posts(small_demo, tmp_path / "data")
    (torn.images / "page.png").unlink()  # an image that cannot be decoded is never in the cache
    for path in torn.images.iterdir():
        os.utime(path, (1e9, 1e9))
    time.sleep(SETTLED + 0.1)
    source = replace(torn, data=tmp_path / "new.csv")
    source.data.write_bytes(torn.data.read_bytes())
    out = [tmp_path / "first.csv", tmp_path / "second.csv"]
    counts = []
    for path in out:
        cosine = load_scorer(None, backbone="tiny", cache=tmp_path / "cache")
        with opened(source.images) as read:
            score_table(cosine, source, path, large_rows=large_rows)
        counts.append(len({name for name in read if name.suffix in (".png", ".jpg")}))
    assert counts == [3, 0]
    assert out[0].read_bytes() == out[1].read_bytes()
