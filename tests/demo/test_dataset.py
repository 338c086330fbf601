"""The demo data set: facts of its table, and files that repeat to the byte."""

import csv
import hashlib
import random
from collections import Counter, defaultdict
from pathlib import Path

import pytest
from PIL import Image

from consistency.data.hashtags import hashtag_identity
from demo.dataset import is_drawing, photograph, sample_hashtags, sample_rows, write_demo
from demo.vocabulary import CONCEPTS, clean_score, sample_content


def read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("demo")
    write_demo(out)
    return out


def test_same_seed_same_bytes_and_another_seed_other_ones(tmp_path: Path) -> None:
    for name, seed in (("one", 3), ("again", 3), ("other", 4)):
        write_demo(tmp_path / name, seed=seed, images=8)
    one = digests(tmp_path / "one")
    assert one == digests(tmp_path / "again")
    assert len(one) == 10
    assert not set(one.values()) & set(digests(tmp_path / "other").values())


def test_posts_like_the_published_ones_are_written_in_their_order(tmp_path: Path) -> None:
    write_demo(tmp_path, seed=3, images=6, like_published=True)
    rows = read(tmp_path / "combined_data.csv")
    drawn = sample_rows(3, images=6, like_published=True)
    assert [(row["Image Filename"], row["Hashtag"], int(row["Score"])) for row in rows] == [
        (row.image, row.hashtag, row.score) for row in drawn
    ]
    clean = [int(row["clean_score"]) for row in read(tmp_path / "clean_labels.csv")]
    assert clean == [row.clean for row in drawn]
    assert list(dict.fromkeys(row.image for row in drawn)) == sorted({row.image for row in drawn})
    assert is_drawing(tmp_path)


def test_the_table_has_the_shape_of_the_published_one(demo: Path) -> None:
    rows = read(demo / "combined_data.csv")
    assert list(rows[0]) == ["Image Filename", "Hashtag", "Score"]
    assert len(rows) == 2022
    assert {row["Image Filename"] for row in rows} == {path.name for path in (demo / "image").iterdir()}
    scores = Counter(int(row["Score"]) for row in rows)
    assert sorted(scores) == [1, 2, 3, 4, 5]
    assert 0.41 < scores[5] / len(rows) < 0.46
    assert scores[1] < scores[2] < scores[3] < scores[4] < scores[5]
    assert 0.5 < sum(row["Hashtag"].startswith("#") for row in rows) / len(rows) < 0.66
    assert sum(row["Hashtag"].isascii() for row in rows) / len(rows) < 0.3


def test_eleven_percent_are_repeats_and_their_scores_agree_in_any_spelling(demo: Path) -> None:
    scores = defaultdict(list)
    for row in read(demo / "combined_data.csv"):
        scores[row["Image Filename"], hashtag_identity(row["Hashtag"])].append(row["Score"])
    assert all(len(set(given)) == 1 for given in scores.values())
    assert sum(len(given) - 1 for given in scores.values()) == 222
    assert len(scores) == 1800


def test_labels_were_moved_by_one_and_clean_ones_follow_the_rule(demo: Path) -> None:
    rows, clean = read(demo / "combined_data.csv"), read(demo / "clean_labels.csv")
    assert [int(row["row"]) for row in clean] == list(range(1, len(rows) + 1))
    moves = [int(row["Score"]) - int(label["clean_score"]) for row, label in zip(rows, clean, strict=True)]
    assert set(moves) == {-1, 0, 1}
    # 15 % are moved, but upwards from 5 and downwards from 1 is nowhere.
    assert 0.08 < sum(move != 0 for move in moves) / len(moves) < 0.14
    labelled = zip(rows, clean, strict=True)
    label_of = {(row["Image Filename"], row["Hashtag"]): int(label["clean_score"]) for row, label in labelled}
    numbers = {f"demo_{number + 1:03}": number for number in range(180)}
    concept_of = {tag: concept for concept, tags in CONCEPTS.items() for tag in tags}
    checked = 0
    for (name, hashtag), label in label_of.items():
        content = sample_content(random.Random(f"demo/42/image/{numbers[name.split('.')[0]]}"))
        if concept := concept_of.get(hashtag.removeprefix("#")):
            assert label == clean_score(content, concept)
            checked += 1
    assert checked > 900


def test_images_are_what_their_names_say(demo: Path) -> None:
    kinds: Counter[tuple[str | None, str]] = Counter()
    for path in (demo / "image").iterdir():
        with Image.open(path) as image:
            assert (image.mode, image.size) == ("RGB", (288, 288))
            kinds[image.format, path.suffix] += 1
    assert kinds == {("PNG", ".png"): 135, ("JPEG", ".jpg"): 45}


def test_hashtags_of_an_image_differ() -> None:
    for seed in range(20):
        rng = random.Random(seed)
        tags = [tag for tag, _ in sample_hashtags(sample_content(rng), rng)]
        assert len(set(tags)) == len(tags) == 10


def test_only_what_the_demo_writes_is_a_drawing(tmp_path: Path) -> None:
    write_demo(tmp_path / "demo", images=2)
    assert is_drawing(tmp_path / "demo")
    (tmp_path / "demo" / "combined_data.csv").unlink()
    assert is_drawing(tmp_path / "demo")  # interrupted before the table
    (tmp_path / "demo" / "image" / "holiday.jpg").touch()
    assert not is_drawing(tmp_path / "demo")
    own = tmp_path / "own"
    own.mkdir()
    (own / "combined_data.csv").touch()
    assert not is_drawing(own)


def test_a_photograph_keeps_the_size_and_follows_the_seed() -> None:
    image = Image.linear_gradient("L").convert("RGB").resize((90, 90))
    one, again, other = (photograph(image, random.Random(seed)) for seed in (1, 1, 2))
    assert one.size == image.size
    assert one.tobytes() == again.tobytes()
    assert len({image.tobytes(), one.tobytes(), other.tobytes()}) == 3


def test_annotators_add_columns_and_change_nothing_else(tmp_path: Path) -> None:
    write_demo(tmp_path / "plain", seed=3, images=3)
    write_demo(tmp_path / "panel", seed=3, images=3, annotators=2, noise=0.5, missing=0.3)
    plain, panel = (
        (tmp_path / name / "combined_data.csv").read_text(encoding="utf-8").splitlines() for name in ("plain", "panel")
    )
    assert panel[0] == "Image Filename,Hashtag,Score,annotator_1,annotator_2"
    assert [line.rsplit(",", 2)[0] for line in panel] == plain
    for name in ("clean_labels.csv", "image/demo_001.png"):
        assert (tmp_path / "plain" / name).read_bytes() == (tmp_path / "panel" / name).read_bytes()
