"""A table with every fault becomes a clean one, and the report names each change."""

import csv
import io
import shutil
import unicodedata
from dataclasses import replace
from pathlib import Path

import datasets
import openpyxl
import pytest
from PIL import Image
from pillow_heif import register_heif_opener

from consistency.errors import DataError, InputError
from consistency.options import DataCheckOptions, DataPrepareOptions, OnConflict, Source
from koclip_consistency.workflows.data import check_data, is_complete
from koclip_consistency.workflows.prepare import prepare

NFD = unicodedata.normalize("NFD", "가을.png")


@pytest.fixture
def options(tmp_path: Path) -> DataPrepareOptions:
    """An Excel table of posts, and its images."""
    images = tmp_path / "photos"
    (images / "sub").mkdir(parents=True)
    register_heif_opener()
    for name, colour in ((NFD, "navy"), ("sub/b.png", "olive"), ("c.heic", "red"), ("c.jpg", "blue")):
        Image.new("RGB", (32, 32), colour).save(images / name)
    shutil.copy(images / NFD, images / "copy.png")
    (images / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    book = openpyxl.Workbook()
    for row in [
        ["파일", "태그", "평가", "메모"],
        ["가을.png", "#바다 " + unicodedata.normalize("NFD", "#여행"), "상", "첫째"],
        [str(images / "sub" / "b.png"), "산", "하", None],
        ["sub\\b.png", "＃산", "하", None],
        ["c.heic", "꽃", "중", None],
        ["c.jpg", "꽃", "?", None],
        ["c.jpg", "꽃", "상", None],
        ["gone.png", "꽃", "상", None],
        ["broken.png", "꽃", "상", None],
        ["copy.png", "#바다", "상", None],
    ]:
        book.active.append(row)
    book.save(tmp_path / "posts.xlsx")
    source = Source(
        images=images,
        image_column="파일",
        hashtag_column="태그",
        score_column="평가",
        score_map={"하": 1, "중": 3, "상": 5},
        split_hashtags=True,
        on_error="allow",
    )
    return DataPrepareOptions(table=tmp_path / "posts.xlsx", source=source, jpeg=False, folder=tmp_path / "clean")


def lines(path: Path) -> list[list[str]]:
    return list(csv.reader(path.read_text(encoding="utf-8").splitlines()))


def test_every_fault_is_mended_and_named(options: DataPrepareOptions) -> None:
    done = prepare(options)
    assert lines(done.data) == [
        ["Image Filename", "Hashtag", "Score"],
        ["가을.png", "#바다", "5"],
        ["가을.png", "#여행", "5"],
        ["sub/b.png", "산", "1"],
        ["c.heic", "꽃", "3"],
        ["c.jpg", "꽃", "5"],
    ]
    assert done.rows == 5
    changes = [(row, change, before, after) for row, _, _, change, before, after in lines(done.changes)[1:]]
    images = options.source.images
    cell = "#바다 " + unicodedata.normalize("NFD", "#여행")
    assert changes == [
        ("", "format", "XLSX, sheet 'Sheet'", "CSV, UTF-8"),
        ("", "column renamed", "파일", "Image Filename"),
        ("", "column renamed", "태그", "Hashtag"),
        ("", "column renamed", "평가", "Score"),
        ("", "column left out", "메모", ""),
        ("1", "cell split", cell, "2 rows"),
        ("1", "score", "상", "5"),
        ("1", "score", "상", "5"),
        ("1", "hashtag", unicodedata.normalize("NFD", "#여행"), "#여행"),
        ("2", "score", "하", "1"),
        ("2", "image", str(images / "sub" / "b.png"), "sub/b.png"),
        ("3", "score", "하", "1"),
        ("3", "left out", "", "repeats row 2"),
        ("4", "score", "중", "3"),
        ("5", "left out", "", "score '?' is not in --score-map (row 5 of the file)"),
        ("6", "score", "상", "5"),
        ("7", "score", "상", "5"),
        ("7", "left out", "", f"not found in {images}"),
        ("8", "score", "상", "5"),
        ("8", "left out", "", "broken or truncated: its header is damaged"),
        ("9", "score", "상", "5"),
        ("9", "left out", "", "repeats row 1"),
    ]
    assert done.counts["left out"] == 5
    assert [skipped.row for skipped in done.skipped] == [6, 8, 9]  # pairs, as of a table that was split


@pytest.mark.parametrize("jpeg", [False, True])
def test_the_result_is_clean_and_preparing_it_again_changes_nothing(
    options: DataPrepareOptions, jpeg: bool, tmp_path: Path
) -> None:
    done = prepare(replace(options, jpeg=jpeg))
    source = Source(data=done.data, images=done.images)
    health = check_data(DataCheckOptions(source=source))
    assert is_complete(health)
    assert (health.rows, health.repeats, health.conflicts, health.not_nfc) == (5, 0, 0, 0)
    assert (health.scale, health.several_hashtags, health.encoding) == (None, None, "UTF-8")
    again = prepare(DataPrepareOptions(table=done.data, source=source, jpeg=False, folder=tmp_path / "again"))
    assert again.counts == {}
    assert again.data.read_bytes() == done.data.read_bytes()


def test_heic_becomes_jpeg_under_a_name_of_its_own(options: DataPrepareOptions) -> None:
    done = prepare(replace(options, jpeg=True))
    assert [row[0] for row in lines(done.data)[1:]] == ["가을.png", "가을.png", "sub/b.png", "c-2.jpg", "c.jpg"]
    images = options.source.images
    assert (done.images / "c.jpg").read_bytes() == (images / "c.jpg").read_bytes()
    assert (done.images / "sub" / "b.png").read_bytes() == (images / "sub" / "b.png").read_bytes()
    with Image.open(done.images / "c-2.jpg") as image:
        assert image.format == "JPEG"
        red, green, blue = image.convert("RGB").getpixel((16, 16))  # type: ignore[misc]
        assert red > 230
        assert max(green, blue) < 25
    assert sorted(path.name for path in done.images.rglob("*.*")) == ["b.png", "c-2.jpg", "c.jpg", "가을.png"]
    assert ["4", "c.heic", "꽃", "image", "c.heic", "c-2.jpg"] in lines(done.changes)
    assert prepare(replace(options, jpeg=True)).rows == 5  # over an earlier result


@pytest.mark.parametrize(("on_conflict", "score"), [("mean", "3"), ("first", "1"), ("drop", None), ("abort", None)])
def test_contradictions_follow_the_option(options: DataPrepareOptions, on_conflict: OnConflict, score: str) -> None:
    book = openpyxl.load_workbook(options.table)
    book.active.append(["sub/b.png", "#산", "상", None])
    book.active["C4"] = "중"
    book.save(options.table)
    options = replace(options, source=replace(options.source, on_conflict=on_conflict))
    if on_conflict == "abort":
        with pytest.raises(DataError, match="but scores 1, 3, 5"):
            prepare(options)
        assert not options.folder.exists()
        return
    done = prepare(options)
    assert [row[2] for row in lines(done.data) if row[:1] == ["sub/b.png"]] == ([score] if score else [])
    said = [row[3:] for row in lines(done.changes) if row[0] in ("2", "3", "10") and row[3] in ("left out",)]
    assert len(said) == (2 if score else 3)
    if on_conflict == "mean":
        assert ["2", str(options.source.images / "sub" / "b.png"), "산", "score of repeats", "1", "3"] in lines(
            done.changes
        )


def test_a_table_without_labels_stays_without(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    (tmp_path / "t.csv").write_text("Image Filename,Hashtag,post\na.png,#x,p 1\n")
    source = Source(images=tmp_path, post_column="post")
    done = prepare(DataPrepareOptions(table=tmp_path / "t.csv", source=source, folder=tmp_path.parent / "clean-posts"))
    assert done.data.read_text() == "Image Filename,Hashtag,post\na.png,#x,p 1\n"


def test_nothing_else_is_overwritten(options: DataPrepareOptions, tmp_path: Path) -> None:
    (options.folder).mkdir()
    (options.folder / "thesis.docx").touch()
    with pytest.raises(InputError, match="holds other files than an earlier result"):
        prepare(options)
    (options.folder / "thesis.docx").unlink()
    shutil.copy(options.table, options.folder / "pairs.csv")
    with pytest.raises(InputError, match="would be overwritten: choose another folder"):
        prepare(replace(options, table=options.folder / "pairs.csv"))
    with pytest.raises(DataError, match="no row has an image that can be used"):
        prepare(replace(options, source=replace(options.source, images=tmp_path / "nowhere")))


def test_a_saved_hugging_face_data_set_becomes_a_table_with_images(tmp_path: Path) -> None:
    buffers = [io.BytesIO(), io.BytesIO()]
    Image.new("RGB", (8, 8), "red").save(buffers[0], "PNG")
    Image.new("RGB", (8, 8), "blue").save(buffers[1], "HEIF")
    data = {
        "image": [
            {"bytes": buffer.getvalue(), "path": name} for buffer, name in zip(buffers, ("a", "b.heic"), strict=True)
        ],
        "tags": ["#x #y", "#z"],
        "score": [1, 5],
    }
    features = datasets.Features(
        {"image": datasets.Image(), "tags": datasets.Value("string"), "score": datasets.Value("int64")}
    )
    datasets.Dataset.from_dict(data, features=features).save_to_disk(str(tmp_path / "set"))
    source = Source(hashtag_column="tags", score_column="score", split_hashtags=True)
    done = prepare(DataPrepareOptions(table=tmp_path / "set", source=source, jpeg=True, folder=tmp_path / "clean"))
    assert lines(done.data)[1:] == [["a", "#x", "1"], ["a", "#y", "1"], ["b.jpg", "#z", "5"]]
    assert done.images == tmp_path / "clean" / "image"
    assert is_complete(check_data(DataCheckOptions(source=Source(data=done.data, images=done.images))))
