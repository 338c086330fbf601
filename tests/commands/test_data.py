"""`data`: drawing the demo and checking a pair table."""

import json
import shutil
from pathlib import Path

import pytest
from PIL import Image

from consistency.durable import machine
from demo.dataset import sample_rows
from tests.builders.commands import Run, rows_of
from tests.builders.posts import drawn_posts


def test_the_demo_is_drawn_over_a_drawing_alone(run: Run, small_demo: Path, tmp_path: Path) -> None:
    own = tmp_path / "own"
    shutil.copytree(small_demo, own)
    (own / "clean_labels.csv").unlink()
    other = tmp_path / "other"
    shutil.copytree(small_demo, other)
    (other / "image" / "holiday.jpg").touch()
    for folder in (own, other):
        before = (folder / "combined_data.csv").read_bytes()
        ran = run("data", "demo", folder)
        assert ran.code == 2
        assert "holds other files than an earlier drawing" in ran.stderr
        assert (folder / "combined_data.csv").read_bytes() == before


@pytest.mark.slow
def test_the_demo_is_drawn_over_an_unfinished_and_a_finished_drawing(
    run: Run, small_demo: Path, tmp_path: Path
) -> None:
    begun = tmp_path / "begun"
    (begun / "image").mkdir(parents=True)
    shutil.copy(small_demo / "image" / "demo_001.png", begun / "image")
    (begun / "image" / f".writing-{machine()}-1-{1:016x}").touch()  # as a kill leaves it
    ran = run("data", "demo", begun, "--json")
    assert ran.code == 0, ran.stderr
    assert ran.json()["pictures"] == 180
    assert not list(begun.rglob(".writing*"))
    assert run("data", "demo", begun, "--seed", 7).code == 0


def test_data_check_without_pictures(run: Run, small_demo: Path, tmp_path: Path) -> None:
    ran = run("data", "check", "--data", small_demo / "combined_data.csv", "--images", tmp_path, "--json")
    assert ran.code == 3
    assert ran.json()["pictures"]["none_found"]
    assert run("data", "check", "--data", small_demo / "combined_data.csv", "--images", small_demo / "image").code == 0


def test_cells_of_several_hashtags_are_named_or_split(run: Run, small_demo: Path, tmp_path: Path) -> None:
    """An export with a row per post: every command warns, until `--split-hashtags` makes pairs of it."""
    posts: dict[str, list[str]] = {}
    for row in rows_of(small_demo / "combined_data.csv"):
        posts.setdefault(row["Image Filename"], []).append("#" + row["Hashtag"].lstrip("#").replace(" ", ""))
    export = tmp_path / "posts.jsonl"
    export.write_text(
        "".join(
            json.dumps({"file": name, "tags": " ".join(tags), "label": number % 5 + 1}, ensure_ascii=False) + "\n"
            for number, (name, tags) in enumerate(posts.items())
        )
    )
    columns = ("--image-column", "file", "--hashtag-column", "tags", "--score-column", "label")
    data = ("--data", export, "--images", small_demo / "image", *columns, "--on-conflict", "first")
    encoding = ("--backbone", "tiny", "--cache", tmp_path / "cache")
    split = tmp_path / "split.csv"
    for words in (
        ("data", "split", *data, "-o", split),
        ("extract", *data, *encoding, "--out", tmp_path / "extract"),
        ("similarity", *data, *encoding, "--method", "simple", "--out", tmp_path / "similarity"),
        ("finetune", *data, "--backbone", "tiny", "--max-steps", 1, "--out", tmp_path / "finetune"),
    ):
        ran = run(*words)
        assert ran.code == 0, ran.stderr
        assert ran.stderr.count("hold several hashtags in one cell, and are taken for one: split them with") == 1
    checked = run("data", "check", *data, "--json").json()
    assert checked["several_hashtags"].startswith(f"{sum(len(tags) > 1 for tags in posts.values())} rows hold several")
    assert (checked["format"], checked["rows"]) == ("JSON Lines", len(posts))
    ran = run("data", "split", *data, "--split-hashtags", "-o", split)
    assert "several hashtags" not in ran.stderr
    assert [row["hashtag"] for row in rows_of(split)] == [tag for tags in posts.values() for tag in tags]
    again = run("data", "split", *data, "--split-hashtags", "-o", tmp_path / "again.csv")
    assert again.code == 0
    ran = run("similarity", *data, *encoding, "--split-hashtags", "--split", split, "--out", tmp_path / "pairs")
    assert ran.code == 0, ran.stderr
    assert run("data", "check", *data, "--split-hashtags", "--json").json()["several_hashtags"] is None


def test_data_check_trains_controls_in_folds(run: Run, tmp_path: Path) -> None:
    posts, hashtags, labels = drawn_posts(posts=20, size=6)
    lines = [f"{post},{tag},{label + 1}" for post, tag, label in zip(posts, hashtags, labels, strict=True)]
    table, header = tmp_path / "pairs.csv", "Image Filename,Hashtag,Score"
    table.write_text("\n".join([header, *lines]), encoding="utf-8")
    columns = ("--data", table, "--images", tmp_path)
    ran = run("data", "check", *columns, "--controls", "--folds", 3, "--ordered", "--seed", 5, "--json")
    assert ran.code == 3, ran.stderr  # there are no images
    found = ran.json()
    low, high = found["controls_out_of_fold"]["text-and-post-ordered"]["ci95"]["qwk"]
    assert low < found["controls_out_of_fold"]["text-and-post-ordered"]["metrics"]["qwk"] < high
    assert abs(found["order_gamma"]) < 0.3  # they are drawn in any order
    alone = run("data", "check", *columns, "--folds", 3)
    assert (alone.code, alone.stdout) == (2, "")
    assert "--folds needs --controls" in alone.stderr
    table.write_text("\n".join([header, *sorted(lines, key=lambda line: line[-1])]), encoding="utf-8")
    ran = run("data", "check", *columns, "--controls", "--ordered")
    assert ran.code == 2
    assert "sorted by score (gamma 1.00" in ran.stderr


def test_images_are_checked_in_an_archive_as_in_their_folder(run: Run, small_demo: Path, tmp_path: Path) -> None:
    shutil.make_archive(str(tmp_path / "photos"), "zip", small_demo, "image")
    shutil.make_archive(str(tmp_path / "photos"), "tar", small_demo / "image")
    data = ("--data", small_demo / "combined_data.csv", "--json")
    plain = run("data", "check", *data, "--images", small_demo / "image")
    assert plain.code == 0
    for name in ("photos.zip", "photos.tar"):
        packed = run("data", "check", *data, "--images", tmp_path / name)
        assert packed.code == 0, packed.stderr
        assert packed.json() == plain.json()


def test_animations_and_a_missing_folder_are_said(run: Run, tmp_path: Path) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    frames[1].save(tmp_path / "b.gif")
    (tmp_path / "pairs.csv").write_text("Image Filename,Hashtag,Score\na.gif,x,1\nb.gif,y,5\n")
    data = ("--data", tmp_path / "pairs.csv", "--images")
    checked = run("data", "check", *data, tmp_path, "--json").json()
    assert checked["pictures"]["animated"] == ["a.gif"]
    shown = run("data", "check", *data, tmp_path).stdout
    assert "animations, of which the first frame counts\t1" in shown
    lost = run("data", "check", *data, tmp_path / "nowhere")
    assert f"none (there is no folder {tmp_path / 'nowhere'}): all figures come from the table alone" in lost.stdout
    refused = run("data", "split", *data, tmp_path / "nowhere", "--near-duplicates", "-o", tmp_path / "split.csv")
    assert refused.code == 2
    assert f"there is no folder {tmp_path / 'nowhere'}: name the folder of the images with --images" in refused.stderr


def test_posts_like_the_published_ones_are_drawn(run: Run, tmp_path: Path) -> None:
    ran = run("data", "demo", tmp_path / "like", "--like-published", "--seed", 9, "--json")
    assert ran.code == 0, ran.stderr
    assert ran.json()["pictures"] == 172
    assert ran.json()["rows"] == len(sample_rows(9, images=172, like_published=True))


def test_a_codebook_is_written_and_never_over_the_table(run: Run, small_demo: Path, tmp_path: Path) -> None:
    ran = run("data", "codebook", "--data", small_demo / "combined_data.csv", "-o", tmp_path / "codebook", "--json")
    assert ran.code == 0, ran.stderr
    assert sorted(path.name for path in (tmp_path / "codebook").iterdir()) == [
        "codebook.md",
        "codes.csv",
        "columns.csv",
    ]
    codes = rows_of(tmp_path / "codebook" / "codes.csv")
    assert sum(int(code["rows"]) for code in codes) == ran.json()["rows"]
    assert codes[4]["meaning_en"] == "Very high relevance"
    again = run("data", "codebook", "--data", small_demo / "combined_data.csv", "-o", tmp_path / "codebook")
    assert again.code == 0
    table = tmp_path / "codes.csv"
    table.write_bytes((small_demo / "combined_data.csv").read_bytes())
    refused = run("data", "codebook", "--data", table, "-o", tmp_path)
    assert refused.code == 2
    assert "is the pair table itself" in refused.stderr
    assert not (tmp_path / "codebook.md").exists()
    assert table.read_bytes() == (small_demo / "combined_data.csv").read_bytes()
