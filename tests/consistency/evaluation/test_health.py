"""`check` on a data set with one of every fault, made of real files."""

import json
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from consistency.data.files import find_images
from consistency.data.pairs import read_pairs
from consistency.evaluation.control_figures import ControlChoice
from consistency.evaluation.health import Health, check
from consistency.options import ImageLimits
from koclip_consistency.screen.tables import health_tables

ROWS = """a.png,#바다,5
a.png,#바다,5
a.png, #바다 ,4
b.png,카페,3
c.png,카페,3
d.png,여행,2
e.png,coffee,1
f.png,#x,9
"""


def write_data(folder: Path) -> Path:
    images = folder / "image"
    images.mkdir()
    Image.new("RGB", (40, 30), "navy").save(images / "a.png")
    Image.new("RGB", (30, 40), "olive").save(images / "b.png")
    (images / "c.png").write_bytes((images / "b.png").read_bytes())
    whole = (images / "a.png").read_bytes()
    (images / "d.png").write_bytes(whole[: len(whole) // 2])
    table = folder / "pairs.csv"
    text = "Image Filename,Hashtag,Score\n" + ROWS + f"b.png,{unicodedata.normalize('NFD', '카페')},3\n"
    table.write_text(text, encoding="utf-8-sig")
    return table


@pytest.fixture
def health(tmp_path: Path) -> Health:
    table = read_pairs(write_data(tmp_path))
    return check(table, find_images(table.images, tmp_path / "image"))


def test_every_fault_is_counted(health: Health) -> None:
    assert (health.rows, len(health.skipped)) == (8, 1)
    assert health.encoding == "UTF-8 with BOM"
    assert health.images == 5
    assert (health.hashtags, health.distinct_hashtags) == (6, 4)
    assert (health.with_hash, health.not_nfc) == (3, 1)
    # b.png and c.png are one image, so that 카페 beside them is one pair in three rows
    assert (health.pairs, health.repeats, health.conflicts) == (4, 4, 1)
    assert health.score_counts == {1: 1, 2: 1, 3: 3, 4: 1, 5: 2}
    assert health.scale is not None
    assert health.scale.startswith("scores run 1 to 9, expected 1 to 5: map them with --score-map ")  # the one 9
    assert (health.several_hashtags, health.long_hashtags) == (None, None)
    counts = dict(map(tuple, health_tables(health)[0].rows))
    assert (counts["distinct spellings of hashtags"], counts["distinct hashtags"]) == ("6 (1 rows not NFC)", 4)
    assert counts["scores"] == health.scale


def test_images_are_decoded_and_compared(health: Health) -> None:
    found = health.image_files
    assert (found.named, found.usable, found.none_found) == (5, 3, False)
    assert [name for name, _ in found.missing] == ["e.png"]
    assert [name for name, _ in found.broken] == ["d.png"]
    assert all(reason and "\n" not in reason for _, reason in found.missing + found.broken)
    assert found.duplicates == (("b.png", "c.png"),)
    assert health.rows_with_image == 6
    assert health_tables(health)[0].rows[0][1] == "8 usable, 1 not; 2 of them without a usable image"


def test_controls_out_of_fold_and_the_order_are_shown(tmp_path: Path) -> None:
    table = read_pairs(write_larger(tmp_path))
    found = check(table, find_images(table.images, tmp_path / "no"), controls=ControlChoice(folds=3, ordered=True))
    assert found.controls_out_of_fold is not None
    tables = health_tables(found)
    assert dict(map(tuple, tables[0].rows))["position in a post and score"].startswith("gamma ")
    assert tables[-1].title == "Image-blind controls out of fold, with 95 % intervals over images"
    shown = {row[0]: row[4] for row in tables[-1].rows}
    entry = found.controls_out_of_fold["text-and-post-ordered"]
    low, high = entry["ci95"]["qwk"]
    assert shown["text-and-post-ordered"] == f"{entry['metrics']['qwk']:.3f} {low:.2f}–{high:.2f}"
    assert json.loads(json.dumps(found.as_dict()))["controls_out_of_fold"].keys() == found.controls_out_of_fold.keys()


def test_images_beyond_the_limits_are_broken(tmp_path: Path) -> None:
    table = read_pairs(write_data(tmp_path))
    files = find_images(table.images, tmp_path / "image")
    broken = check(table, files, limits=ImageLimits(max_pixels=100)).image_files.broken
    assert sorted(name for name, _ in broken) == ["a.png", "b.png", "c.png", "d.png"]


def test_without_images_only_the_csv_is_described(tmp_path: Path) -> None:
    table = read_pairs(write_data(tmp_path))
    alone = check(table, find_images(table.images, tmp_path / "nowhere"))
    assert alone.image_files.none_found
    assert len(alone.image_files.missing) == 5
    assert (alone.rows, alone.pairs, alone.repeats) == (8, 5, 3)  # b.png and c.png are told apart by name


def test_health_is_json(health: Health) -> None:
    read = json.loads(json.dumps(health.as_dict()))
    assert read["repeats"] == 4
    assert read["pictures"]["usable"] == 3
    assert read["pictures"]["none_found"] is False
    assert read["published_leakage"] is None  # a score with one row cannot be stratified
    assert read["skipped"][0]["image"] == "f.png"
    assert [protocol for protocol, _ in read["not_drawn"]] == ["paper"]
    assert "score counts {1: 1, 2: 1, 3: 3, 4: 1, 5: 2}" in read["not_drawn"][0][1]
    assert read["controls"] is None


def test_controls_of_a_table_too_small_for_the_published_split_are_shown_without_it(tmp_path: Path) -> None:
    table = read_pairs(write_data(tmp_path))
    found = check(table, find_images(table.images, tmp_path / "image"), controls=ControlChoice())
    assert found.controls is not None
    assert found.controls.keys() == {"grouped"}
    titles = [shown.title for shown in health_tables(found)]
    assert "Splits that cannot be drawn" in titles
    assert any(title.startswith("Image-blind controls") for title in titles)


def write_larger(folder: Path, *, rows: int = 240, images: int = 24) -> Path:
    rng = np.random.default_rng(0)
    words = ["바다", "카페", "여행", "맛집", "산책"]
    lines = ["Image Filename,Hashtag,Score"]
    for _ in range(rows):
        image, word = int(rng.integers(images)), int(rng.integers(5))
        lines.append(f"{image}.png,#{words[word]}{image % 3},{1 + (image + word) % 5}")
    path = folder / "pairs.csv"
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def test_published_leakage_and_controls(tmp_path: Path) -> None:
    table = read_pairs(write_larger(tmp_path))
    files = find_images(table.images, tmp_path / "nowhere")
    health = check(table, files, controls=ControlChoice())
    assert health.encoding == "UTF-8"
    assert health.published_leakage is not None
    assert health.grouped_leakage is not None
    assert (health.published_leakage.n, health.published_leakage.image) == (48, 48)
    assert health.published_leakage.pair > 0
    assert (health.grouped_leakage.image, health.grouped_leakage.pair) == (0, 0)
    assert health.hashtag_leakage is not None
    assert (health.hashtag_leakage.hashtag, health.hashtag_leakage.pair) == (0, 0)
    assert health.not_drawn == ()
    assert health.controls is not None
    assert health.controls.keys() == {"paper", "grouped"}
    for figures in health.controls.values():
        assert figures.keys() == {
            "majority",
            "median",
            "text-only",
            "name-and-text",
            "text-only-balanced",
            "name-and-text-balanced",
            "text-and-post",
        }
        assert all(one.keys() == {"accuracy", "macro_f1", "mae", "qwk"} for one in figures.values())
    assert json.dumps(health.as_dict())


def test_cells_of_several_hashtags_and_long_ones_are_named(tmp_path: Path) -> None:
    path = tmp_path / "pairs.csv"
    lines = ["a.png,#바다 #여행,5", "a.png,카페,4", f"b.png,{'가' * 26},3"]
    path.write_text("\n".join(["Image Filename,Hashtag,Score", *lines]), encoding="utf-8")
    table = read_pairs(path)
    found = check(table, find_images(table.images, tmp_path))
    assert found.scale is None
    assert found.several_hashtags is not None
    assert found.several_hashtags.startswith("1 rows hold several hashtags in one cell")
    assert found.long_hashtags is not None
    assert "row 3: 가가" in found.long_hashtags
    shown = [row[0] for row in health_tables(found)[0].rows]
    assert "several hashtags" in shown
    assert "long hashtags" in shown
    assert "scores" not in shown
