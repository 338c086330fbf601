"""A pair table is read as it is meant, or refused in one clear line; nothing passes silently."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from consistency.data.pairs import PairTable, Skipped, read_pairs
from consistency.errors import DataError

HEADER = "Image Filename,Hashtag,Score\n"
PLAIN = HEADER + "가을.png,#가을,5\nb.jpg,바다,1\n"
Read = Callable[..., PairTable]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Read a table of the given text or bytes."""

    def read_table(content: str | bytes, **options: Any) -> PairTable:
        path = tmp_path / "pairs.csv"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return read_pairs(path, **options)

    return read_table


def refusal(read: Read, content: str | bytes, **options: Any) -> str:
    """The one line that a table is refused with, after its path."""
    with pytest.raises(DataError) as error:
        read(content, **options)
    message = str(error.value)
    assert "\n" not in message
    return message.partition("pairs.csv")[2] or message


def test_a_table_is_read_exactly_as_it_is_written(read: Read) -> None:
    content = HEADER + "가을.png,#가을,5\nb.jpg, 바다 ,1\nb.jpg,여행\u1100\u1161,3\n"
    table = read(content)
    assert table.rows.tolist() == [1, 2, 3]
    assert table.images.tolist() == ["가을.png", "b.jpg", "b.jpg"]
    assert table.hashtags.tolist() == ["#가을", " 바다 ", "여행\u1100\u1161"]
    assert table.scores.tolist() == [5, 1, 3]
    assert table.labels.tolist() == [4, 0, 2]
    assert (table.rows.dtype, table.scores.dtype, table.images.dtype) == (np.int64, np.int64, object)
    assert table.digest == hashlib.sha256(content.encode()).hexdigest()
    assert table.skipped == ()


def test_the_published_layout(read: Read) -> None:
    """A byte-order mark, a fourth column for readers, several scripts, repeats, hashtags in any Unicode form."""
    decomposed = "\u1112\u1161\u11ab\u1100\u1161\u11bc"
    table = read(
        "\ufeffImage Filename,Hashtag,Score,Hashtag_en\n"
        "fall_01.png,헬스,5,gym\n"
        "fall_01.png,#카페,4,cafe\n"
        "sea.png,海,1,sea\n"
        "sea.png,OOTD,2,\n"
        "fall_01.png,헬스,5,gym\n"
        f"sea.png,{decomposed},3,river\n"
        "sea.png,🌊,3,wave"
    )
    assert len(table) == 7
    assert table.skipped == ()
    assert table.hashtags[5] == decomposed
    assert table.images[0] == table.images[4]
    assert table.hashtags[0] == table.hashtags[4]


def test_columns_in_any_order_under_other_names(read: Read) -> None:
    names = {"image_column": "img", "hashtag_column": "tag", "score_column": "label"}
    table = read("note,label,tag,img\nx,4,#바다,a.jpg\n", **names)
    assert (table.images[0], table.hashtags[0], table.scores[0]) == ("a.jpg", "#바다", 4)


@pytest.mark.parametrize(
    ("content", "options"),
    [
        (PLAIN.encode("utf-8-sig"), {}),
        (PLAIN.encode("utf-8-sig"), {"encoding": "utf-8"}),
        (PLAIN.replace("\n", "\r\n").encode(), {}),
        (PLAIN.replace("\n", "\r").encode(), {}),
        (("\n\n" + PLAIN + "\n\n").encode(), {}),
        (PLAIN.encode("cp949"), {"encoding": "cp949"}),
        (PLAIN.encode("utf-16"), {"encoding": "utf-16"}),
        (PLAIN.encode("utf-16-le"), {"encoding": "utf-16-le"}),
        (b"\xff\xfe" + PLAIN.encode("utf-16-le"), {"encoding": "utf-16-le"}),
        ('"Image Filename","Hashtag","Score"\n"가을.png","#가을","5"\n"b.jpg","바다","1"'.encode(), {}),
    ],
    ids=["bom", "bom as utf-8", "crlf", "cr", "blank lines", "cp949", "utf-16", "utf-16-le", "utf-16-le bom", "quoted"],
)
def test_the_same_table_in_other_clothes(read: Read, content: bytes, options: dict[str, str]) -> None:
    table = read(content, **options)
    assert table.rows.tolist() == [1, 2]
    assert table.images.tolist() == ["가을.png", "b.jpg"]
    assert table.hashtags.tolist() == ["#가을", "바다"]
    assert table.scores.tolist() == [5, 1]


MIXED = PLAIN.encode() + "c.jpg,카페,3\n".encode("cp949")


@pytest.mark.parametrize(
    ("content", "options", "expected"),
    [
        (
            PLAIN.encode("cp949"),
            {},
            "line 2: not utf-8-sig; all of it can be read as cp949: --encoding cp949",
        ),
        (MIXED, {}, "line 4: not utf-8-sig; nor is all of it utf-16 or cp949: save the file as UTF-8"),
        (MIXED, {"encoding": "cp949"}, "not cp949; nor is all of it utf-8-sig or utf-16: save the file as UTF-8"),
        (b"\xef\xbb\xbfImage Filename,Hashtag,Score\n\xb0\xa1.png,x,1\n", {}, "line 2: not utf-8-sig;"),
        (PLAIN.encode("utf-16"), {}, "all of it can be read as utf-16: --encoding utf-16"),
        (HEADER.encode("utf-16-le"), {}, " is not utf-8-sig but looks like UTF-16: --encoding utf-16-le"),
        (HEADER.encode("utf-16-be"), {}, " is not utf-8-sig but looks like UTF-16: --encoding utf-16-be"),
        (PLAIN, {"encoding": "klingon"}, "there is no encoding 'klingon': use for example utf-8-sig, cp949 or utf-16"),
        (PLAIN, {"encoding": "rot13"}, "there is no encoding 'rot13'"),
        (PLAIN, {"encoding": "ascii"}, "line 2: not ascii;"),
        ("", {}, " is empty, expected a header and rows"),
        ("\ufeff \n\n", {}, " is empty,"),
        (HEADER, {}, " has no usable row (there is only a header): correct it, or name another file with --data"),
        (HEADER + "a.jpg,#,5\nb.jpg,x,9\n", {}, " has no usable row (row 1: the hashtag is empty)"),
        (
            "Image Filename, Hashtag,score\na.jpg,x,5\n",
            {},
            " has no column 'Hashtag' (found 'Image Filename', ' Hashtag', 'score'): "
            "--hashtag-column ' Hashtag'",
        ),
        ("Image Filename,Hashtag\na.jpg,x\n", {}, " has no column 'Score' (found 'Image Filename', 'Hashtag')"),
        ("Image Filename,Hashtag,Score,Score\na.jpg,x,5,4\n", {}, " has 2 columns 'Score', expected one (found"),
        (",".join("x" * 1000 for _ in range(1000)), {}, " and 980 more): name it with --image-column"),
    ],
)  # fmt: skip
def test_what_is_no_such_table_is_refused(
    read: Read, content: str | bytes, options: dict[str, str], expected: str
) -> None:
    message = refusal(read, content, **options)
    assert expected in message
    assert len(message) < 1500


@pytest.mark.parametrize(
    ("rows", "line", "why"),
    [
        ('a.jpg,"바다,5\nb.jpg,산,4\n', 2, "unexpected end of data"),
        ('a.jpg,x,5\nb.jpg,"바다,5\nc.jpg,"산",4\n', 3, "',' expected after '\"'"),
        # Valid CSV, two rows swallowed: the hashtag would be '바다,5\nb.jpg,산,4\nc.jpg,강'.
        ('a.jpg,"바다,5\nb.jpg,산,4\nc.jpg,강",3\n', 2, "a quote is not closed before the next row"),
        ('a.jpg,"' + "바다" * 100_000 + '",5\n', 2, "field larger than field limit"),
    ],
)
def test_an_open_quote_is_refused_with_the_line_it_opens_on(read: Read, rows: str, line: int, why: str) -> None:
    message = refusal(read, HEADER + rows)
    assert message.startswith(f", from line {line}: {why}")
    assert message.endswith(
        'expected cells separated by commas: close the quote, or write a quote inside a quoted cell as ""'
    )


def test_quotes_that_are_closed_are_no_fault(read: Read) -> None:
    table = read('Image Filename,Hashtag,Score,Note\na.jpg,"a ""b"", c",5,"two\nlines, and\nmore"\nb.jpg,5" 화면,4,\n')
    assert table.hashtags.tolist() == ['a "b", c', '5" 화면']


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("a.jpg,바다", "2 cells, the header has 3"),
        ("a.jpg", "1 cells, the header has 3"),
        ("a.jpg,바다,5,", "4 cells, the header has 3"),
        *((f"a.jpg,바다,{score}", f"score {score!r}, expected a whole number from 1 to 5") for score in
          ["", "nan", "NaN", "0", "6", "-1", "５", "1_0", "1e0", "4.5", "5x", "+3", "05", "٣", "five"]),
        ("a.jpg,,5", "the hashtag is empty"),
        ("a.jpg, ,5", "the hashtag is empty"),
        ("a.jpg,#,5", "the hashtag is empty"),
        ("a.jpg,# # #,5", "the hashtag is empty"),
        ("a.jpg,＃,5", "the hashtag is empty"),
        ("a.jpg,#\u200b\ufeff,5", "the hashtag is empty"),
        ("a.jpg,바\0다,5", "the hashtag has a NUL character"),
        (",바다,5", "the image has no name"),
        ("  ,바다,5", "the image has no name"),
        ("a\0.jpg,바다,5", "the image's name has a NUL character"),
        ("https://example.com/a.jpg,바다,5", "the image is a URL, expected a file name: download it first"),
        ("data:image/png;base64;AAAA,바다,5", "the image is a URL, expected a file name: download it first"),
        *((f"{name},바다,5", "the image's name leads out of the image folder") for name in
          ["../a.jpg", "a/../../b.jpg", "..\\a.jpg", "//host/a.jpg", "\\\\host\\a.jpg", "C:\\a.jpg", "C:a.jpg"]),
    ],
)  # fmt: skip
def test_a_row_that_cannot_be_used_is_named_and_the_rest_is_read(read: Read, row: str, reason: str) -> None:
    table = read(f"{HEADER}z.jpg,하나,1\n{row}\ny.jpg,둘,2\n")
    assert table.rows.tolist() == [1, 3]
    (skipped,) = table.skipped
    assert (skipped.row, skipped.reason) == (2, reason)
    assert skipped.image == row.split(",")[0]


@pytest.mark.parametrize("score", ["5.0", "5.00", " 5", "5 "])
def test_a_whole_number_may_be_written_as_spreadsheets_do(read: Read, score: str) -> None:
    assert read(f"{HEADER}a.jpg,바다,{score}\n").scores.tolist() == [5]


@pytest.mark.parametrize(
    "name", ["가을 사진 (1).jpg", "year 2020/a.jpg", "a..b.jpg", "...jpg", "a,b.jpg", "#1.jpg", "/home/me/image/a.jpg"]
)
def test_unusual_names_are_names(read: Read, name: str) -> None:
    assert read(f'{HEADER}"{name}",바다,5\n').images.tolist() == [name]


@pytest.mark.parametrize("hashtag", ["#1", "🌊", "#🏳️‍🌈", "C#", "??", "ㅋㅋ", "#x #y"])
def test_unusual_hashtags_are_hashtags(read: Read, hashtag: str) -> None:
    assert read(f"{HEADER}a.jpg,{hashtag},5\n").hashtags.tolist() == [hashtag]


def test_scores_may_be_missing_where_none_are_needed(read: Read) -> None:
    table = read("Image Filename,Hashtag\na.jpg,바다\n", require_scores=False)
    assert table.scores.tolist() == [0]
    table = read(HEADER + "a.jpg,바다,\nb.jpg,산,4\nc.jpg,강,7\n", require_scores=False)
    assert table.scores.tolist() == [0, 4]
    assert [skipped.row for skipped in table.skipped] == [3]


def test_a_path_that_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "loop").symlink_to("loop")
    no_table = "expected a table file (CSV, TSV, JSON Lines, Parquet or XLSX): name the file with --data"
    for name, expected in {
        "none.csv": "there is no file {}: name the pair table with --data, or draw one with `data demo`",
        ".": f"{{}} is a folder, {no_table}",
        "fifo": f"{{}} is not a regular file, {no_table}",
        "loop": "{} cannot be read: ",
    }.items():
        with pytest.raises(DataError) as error:
            read_pairs(tmp_path / name)
        assert str(error.value).startswith(expected.format(tmp_path / name))


def test_columns_of_different_lengths_are_no_table(read: Read) -> None:
    table = read(PLAIN)
    with pytest.raises(ValueError, match="do not make a table"):
        PairTable(table.rows, table.images[:1], table.hashtags, table.scores, table.path, table.digest, ())


def test_take_by_index_and_by_mask(read: Read) -> None:
    table = read(PLAIN)
    for rows in (np.array([1]), np.array([False, True])):
        taken = table.take(rows)
        assert (taken.rows.tolist(), taken.images.tolist(), taken.scores.tolist()) == ([2], ["b.jpg"], [1])
        assert (taken.path, taken.digest) == (table.path, table.digest)


def test_rows_without_a_usable_image_are_listed_with_the_reason(read: Read) -> None:
    usable, lost = read(PLAIN).without_images({"b.jpg": "not found", "other.jpg": "not found"})
    assert (usable.rows.tolist(), usable.images.tolist()) == ([1], ["가을.png"])
    assert lost == [Skipped(2, "b.jpg", "바다", "not found")]
    assert read(PLAIN).without_images({})[1] == []


cells = st.text(st.characters(codec="utf-8", exclude_characters="\0\r\n"), min_size=1, max_size=8)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(cells, cells, st.integers(1, 5)), min_size=1, max_size=5))
def test_what_was_written_is_read(read: Read, pairs: list[tuple[str, str, int]]) -> None:
    """Every row is either in the table, character for character, or named as left out."""
    quoted = "".join('"{}","{}",{}\n'.format(*(str(cell).replace('"', '""') for cell in pair)) for pair in pairs)
    try:
        table = read(HEADER + "z.jpg,하나,1\n" + quoted)
    except DataError:
        pytest.fail("a well-formed table was refused")
    found = dict(zip(table.rows.tolist(), zip(table.images, table.hashtags, table.scores, strict=True), strict=True))
    left_out = {skipped.row: (skipped.image, skipped.hashtag) for skipped in table.skipped}
    assert not found.keys() & left_out.keys()
    for row, pair in enumerate(pairs, 2):
        assert left_out[row] == pair[:2] if row in left_out else found[row] == pair


whole = (PLAIN + 'c d.jpg,"a, ""b""",3.0\n../x,산,9\n').encode("utf-8-sig")
mutations = st.lists(
    st.tuples(
        st.integers(0, len(whole)),
        st.integers(0, 20),
        st.binary(max_size=3) | st.sampled_from([b'"', b",", b"\n", b"\r", b"\0", b";", b"\t", b"\xff\xfe", b"#"]),
    ),
    min_size=1,
    max_size=6,
)


@settings(max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(mutations, st.sampled_from(["utf-8-sig", "cp949", "utf-16", "latin-1"]), st.booleans())
def test_mutated_tables_are_read_or_refused(
    read: Read, mutations: list[tuple[int, int, bytes]], encoding: str, require_scores: bool
) -> None:
    data = whole
    for start, length, new in mutations:
        data = data[:start] + new + data[start + length :]
    try:
        table = read(data, encoding=encoding, require_scores=require_scores)
    except DataError:
        refusal(read, data, encoding=encoding, require_scores=require_scores)
        return
    assert len(table) > 0
    assert set(table.scores) <= ({1, 2, 3, 4, 5} if require_scores else {0, 1, 2, 3, 4, 5})
    assert all(name.strip() and "\0" not in name for name in table.images)
    assert all("\n" not in skipped.reason for skipped in table.skipped)
    assert sorted([*table.rows.tolist(), *(skipped.row or 0 for skipped in table.skipped)]) == list(
        range(1, len(table) + len(table.skipped) + 1)
    )


def test_scores_by_a_mapping(read: Read) -> None:
    table = read(HEADER + "a.jpg,x,low\nb.jpg,y,high\nc.jpg,z,?\nd.jpg,#,?\n", score_map={"low": 1, "high": 5})
    assert table.scores.tolist() == [1, 5]
    assert [skipped.reason for skipped in table.skipped] == ["score '?' is not in --score-map", "the hashtag is empty"]
    assert (dict(table.unscored), table.mapped) == ({"?": 2}, True)
    assert table.score_counts == [1, 0, 0, 0, 1]


def test_a_table_of_other_labels_alone_is_refused_with_the_cure(read: Read) -> None:
    message = refusal(read, HEADER + "a.jpg,x,low\nb.jpg,y,high\n")
    assert message.endswith(
        " has no usable row: scores are 'low', 'high', expected 1 to 5: map them with --score-map low=1,..."
    )


def test_a_cell_of_hashtags_becomes_a_row_each(read: Read) -> None:
    content = HEADER + 'a.jpg,"#바다 #여행,카페",4\nb.jpg,#산#강,2 5\nc.jpg,#x #y,1 2 3\nd.jpg,,5\ne.jpg,#하나,3\n'
    table = read(content, split=True)
    assert list(zip(table.images, table.hashtags, table.scores, strict=True)) == [
        ("a.jpg", "#바다", 4),
        ("a.jpg", "#여행", 4),
        ("a.jpg", "카페", 4),
        ("b.jpg", "#산", 2),
        ("b.jpg", "#강", 5),
        ("e.jpg", "#하나", 3),
    ]
    assert table.rows.tolist() == [1, 2, 3, 4, 5, 8]  # unique, as split files need them
    assert table.file_rows is not None
    assert table.file_rows.tolist() == [1, 1, 1, 2, 2, 5]
    assert [(skipped.row, skipped.reason) for skipped in table.skipped] == [
        (6, "the row has 3 scores for 2 hashtags (row 3 of the file)"),
        (7, "the hashtag is empty (row 4 of the file)"),
    ]
    whole = read(content)
    assert (whole.hashtags[0], whole.file_rows) == ("#바다 #여행,카페", None)


def test_posts_are_read_from_their_column(read: Read) -> None:
    content = "Image Filename,Hashtag,Score,post\na.jpg,바다,4,p1\nb.jpg,산,2, p1 \nc.jpg,강,5,\n"
    table = read(content, post_column="post")
    assert table.posts is not None
    assert table.posts.tolist() == ["p1", "p1", ""]
    taken = table.take(np.array([2, 0])).posts
    assert taken is not None
    assert taken.tolist() == ["", "p1"]
    assert read(content).posts is None
    assert " has no column 'Post' (found" in refusal(read, content, post_column="Post")
    assert refusal(read, content, post_column="Post").endswith(": --post-column 'post'")


def test_a_table_without_a_header_is_recognised(read: Read) -> None:
    assert " has no header, its first row looks like data" in refusal(read, "a.jpg,바다,5\nb.jpg,산,1\n")


def test_several_columns_of_scores(tmp_path: Path) -> None:
    path = tmp_path / "rated.csv"
    lines = ["Image Filename,Hashtag,a,b,c", "x,1,5,4,", "x,2,2,3,3", "y,3,,,", "y,4,1,9,1", "z,5,,,2"]
    path.write_text("\n".join(lines))
    table = read_pairs(path, score_column=["a", "b", "c"])
    assert table.raters == ("a", "b", "c")
    assert table.rows.tolist() == [1, 2, 5]
    assert table.scores.tolist() == [5, 3, 2]
    assert table.ratings is not None
    assert table.ratings.tolist() == [[5, 4, 0], [2, 3, 3], [0, 0, 2]]
    assert [(each.row, each.reason) for each in table.skipped] == [
        (3, "score '', expected a whole number from 1 to 5"),
        (4, "score '9', expected a whole number from 1 to 5"),
    ]
    assert read_pairs(path, score_column=["a", "b"], aggregate="mean").scores.tolist() == [5, 3]
    taken = table.take(np.array([2]))
    assert taken.ratings is not None
    assert taken.ratings.tolist() == [[0, 0, 2]]
    one = read_pairs(path, score_column=["c"])
    assert (one.raters, one.ratings, one.scores.tolist()) == ((), None, [3, 1, 2])


def test_labels_of_several_people_are_mapped_and_may_be_missing(tmp_path: Path) -> None:
    path = tmp_path / "rated.csv"
    path.write_text("Image Filename,Hashtag,a,b\nx,1,low,high\nx,2,,high\n")
    table = read_pairs(path, score_column=("a", "b"), score_map={"low": 1, "high": 5})
    assert table.scores.tolist() == [3, 5]
    new = read_pairs(path, score_column=("a", "z"), require_scores=False)
    assert (new.scores.tolist(), new.ratings) == ([0, 0], None)
    with pytest.raises(DataError, match="has no column 'z'"):
        read_pairs(path, score_column=("a", "z"))
