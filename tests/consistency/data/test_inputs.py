"""What commands start from: the table with its images, or one line saying why they cannot."""

from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from consistency.data.folds import with_folds
from consistency.data.inputs import list_skipped, read_batches, read_inputs, read_table, refuse_skipped, skipped_beside
from consistency.data.pairs import Skipped
from consistency.errors import DataError
from consistency.options import Evaluation, Source
from koclip_consistency.workflows.division import split_table

HEADER = "Image Filename,Hashtag,Score\n"


@pytest.fixture
def source(tmp_path: Path) -> Source:
    (tmp_path / "image").mkdir()
    for number, colour in enumerate(("navy", "olive")):
        Image.new("RGB", (40, 30), colour).save(tmp_path / "image" / f"{number}.png")
    (tmp_path / "image" / "copy.png").write_bytes((tmp_path / "image" / "0.png").read_bytes())
    write(tmp_path, ["0.png,#바다,5", "copy.png,바다,5", "1.png,카페,1", "gone.png,산,2"])
    return Source(data=tmp_path / "pairs.csv", images=tmp_path / "image")


def write(folder: Path, lines: list[str]) -> None:
    (folder / "pairs.csv").write_text(HEADER + "".join(f"{line}\n" for line in lines), encoding="utf-8")


def labelled(source: Source, labels: list[object]) -> Source:
    """`source` with a table of these labels over its images."""
    write(source.data.parent, [f"{number % 2}.png,#tag{number},{label}" for number, label in enumerate(labels)])
    return source


def refusal(source: Source, **options: Any) -> str:
    with pytest.raises(DataError) as error:
        read_inputs(source, **options)
    assert error.value.exit_code == 2
    assert "\n" not in str(error.value)
    return str(error.value)


def test_images_are_told_by_their_content(source: Source) -> None:
    inputs = read_inputs(source)
    assert len(inputs.table) == 4
    assert inputs.identity[0] == inputs.identity[1] != inputs.identity[2]
    assert inputs.identity[3] == "name:gone.png"
    assert inputs.posts.tolist() == inputs.identity.tolist()
    assert inputs.files["gone.png"].problem == f"not found in {source.images}"
    assert inputs.pictures_digest == sha256("\n".join(inputs.identity).encode()).hexdigest()
    assert (inputs.none_found, inputs.scenes, inputs.near) == (False, None, None)


def test_near_duplicates_are_looked_for_where_that_is_asked(source: Source) -> None:
    Image.open(source.images / "0.png").save(source.images / "gone.png", optimize=True, compress_level=1)
    inputs = read_inputs(source, near_duplicates=4)
    assert inputs.near is not None
    assert inputs.near.limit == 4
    assert inputs.scenes is not None
    assert inputs.scenes[0] == inputs.scenes[3]


def test_no_image_at_all_is_refused_unless_none_is_needed(source: Source, tmp_path: Path) -> None:
    nowhere = replace(source, images=tmp_path / "nowhere")
    folder = tmp_path / "nowhere"
    assert refusal(nowhere) == f"there is no folder {folder}: name the folder of the images with --images"
    folder.mkdir()
    (folder / "0.PNG").touch()
    assert refusal(nowhere).startswith("none of the 4 images named in ")
    assert refusal(nowhere).endswith(
        f"(not found in {folder}, but 0.PNG is there: correct the name): put them there, or name their folder with "
        "--images"
    )
    assert read_inputs(nowhere, images_needed=False).none_found


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 1, 2, 3, 4] * 4, "scores run 0 to 4, expected 1 to 5: map them with --score-map 0=1,1=2,2=3,3=4,4=5"),
        ([1, 2, 3, 4, 5, 6, 7] * 3, "scores run 1 to 7, expected 1 to 5: map them with --score-map 1=1,2=2,"),
        (["low", "high"] * 5, "scores are 'low', 'high', expected 1 to 5: map them with --score-map low=1,..."),
        ([3] * 9, "every score is 3, and nothing can be learned from one score: add others"),
    ],
)
@pytest.mark.parametrize("on_error", ["skip", "allow", "abort"])
def test_labels_of_another_scale_are_refused(source: Source, labels: list[object], message: str, on_error: Any) -> None:
    assert message in refusal(replace(labelled(source, labels), on_error=on_error))


def test_too_many_rows_without_a_score_are_refused_unless_allowed(source: Source) -> None:
    labelled(source, ["NaN", "", *[1, 2, 3, 4, 5] * 4])
    assert "2 of 22 rows have no score from 1 to 5 ('NaN', '')" in refusal(source)
    inputs = read_inputs(replace(source, on_error="allow"))
    assert (len(inputs.table), len(inputs.skipped)) == (20, 2)
    labelled(source, ["NaN", *[1, 2, 3, 4, 5] * 4])
    assert len(read_inputs(source).skipped) == 1  # fewer than one in twenty


def test_a_table_without_scores_is_read_where_none_are_needed(source: Source) -> None:
    labelled(source, [0, 1, 2, 3, 4, ""])
    assert read_inputs(source, require_scores=False).table.scores.tolist() == [1, 2, 3, 4, 0]
    assert len(read_table(source)) == 4


def test_the_first_row_that_is_left_out_ends_a_strict_command(source: Source) -> None:
    write(source.data.parent, [*(f"0.png,tag{number},{number % 5 + 1}" for number in range(30)), "0.png,#,1"])
    message = "row 31: the hashtag is empty (1 in all; to continue without, use --on-error skip)"
    assert refusal(replace(source, on_error="abort")) == message
    refuse_skipped(read_inputs(source).skipped, "skip")
    with pytest.raises(DataError, match=r"^a\.png: is broken"):
        refuse_skipped([Skipped(None, "a.png", "", "is broken")], "abort")


def test_what_is_left_out_is_listed_beside_the_result(tmp_path: Path) -> None:
    out = tmp_path / "scored.csv"
    list_skipped(out, [Skipped(3, "a.png", "#x", "is broken")])
    assert skipped_beside(out) == tmp_path / "scored.skipped.csv"
    assert skipped_beside(out).read_text() == "row,image,hashtag,reason\n3,a.png,#x,is broken\n"
    list_skipped(out, [])
    assert not skipped_beside(out).exists()


def test_posts_are_kept_whole_with_their_images(source: Source) -> None:
    rows = ["0.png,a,1,p", "1.png,b,2,p", "copy.png,c,3,", "gone.png,d,4,q", "2.png,e,5,", "3.png,f,1,q", "4.png,g,2,r"]
    (source.data).write_text("Image Filename,Hashtag,Score,post\n" + "\n".join(rows))
    inputs = read_inputs(replace(source, post_column="post"))
    one, *rest = inputs.posts.tolist()
    assert one == rest[0] == "post:p"
    assert rest[1] == inputs.identity[0]  # no post of its own: the rows of its image
    assert rest[2] == rest[4] == "post:q"
    groups = inputs.alike.tolist()
    assert groups[0] == groups[1] == groups[2]  # a post, and a copy of one of its images
    assert groups[3] == groups[5]
    assert len(set(groups)) == 4
    assert (source.post_column, read_inputs(source).alike.tolist()) == (None, inputs.identity.tolist())


@pytest.mark.parametrize("seed", range(5))
def test_a_grouped_split_never_divides_a_post(source: Source, seed: int) -> None:
    rows = [f"{row}.png,tag{row},{row % 5 + 1},{row % 17}" for row in range(120)]
    (source.data).write_text("Image Filename,Hashtag,Score,post\n" + "\n".join(rows))
    source = replace(source, post_column="post")
    inputs = read_inputs(source, images_needed=False)
    split = split_table(inputs, source, Evaluation(seed=seed), validation=True)
    sides = {(post, side) for post, side in zip(inputs.posts, split.side, strict=True)}
    assert len(sides) == 17
    assert {side for _, side in sides} == {"train", "val", "test"}
    fold = with_folds(split, 3).fold
    assert len(set(zip(inputs.posts, fold, strict=True))) == 17


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_batches_hold_what_the_whole_table_holds(source: Source, size: int) -> None:
    rows = ["0.png,#a #b,1,x", "1.png,#,2,y", "copy.png,c,,z", "gone.png", "2.png,#d #e#f,9,", "3.png,g,5,w"]
    (source.data).write_text("Image Filename,Hashtag,Score,note\n" + "\n".join(rows))
    for each in (source, replace(source, split_hashtags=True)):
        whole = read_table(each, require_scores=False)
        batches = list(read_batches(each, size))
        assert [cells for batch, _, _ in batches for cells in batch] == [row.split(",") for row in rows]
        assert [len(batch) for batch, _, _ in batches][:-1] == [size] * (len(batches) - 1)
        assert [n for _, counts, _ in batches for n in counts] == (
            [2, 1, 1, 1, 3, 1] if each.split_hashtags else [1] * 6
        )
        tables = [pairs for _, _, pairs in batches]
        for name in ("rows", "images", "hashtags", "scores"):
            assert [value for table in tables for value in getattr(table, name)] == getattr(whole, name).tolist()
        assert tuple(skipped for table in tables for skipped in table.skipped) == whole.skipped
    assert whole.file_rows is not None
    assert whole.file_rows.tolist() == [1, 1, 3, 6]
