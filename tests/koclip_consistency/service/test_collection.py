"""Filters, pages and summaries of a table, against rows counted by hand."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import stats

from consistency.errors import DataError, InputError
from consistency.evaluation.results import Audited
from consistency.options import Source
from koclip_consistency.service.collection import LEAST, PAGE, Collection, Filters, mean_interval
from tests.builders.results import make_result

TABLE = """Image Filename,Hashtag,Score
a.png,#바다,5
b.png,바다,3
a.png,카페,1
a.png,#카페,2
c.png,Cafe,4
b.png,＃바다,3
c.png,하늘,
"""


@pytest.fixture
def collection(tmp_path: Path) -> Collection:
    (tmp_path / "t.csv").write_text(TABLE, encoding="utf-8")
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    return Collection(Source(data=tmp_path / "t.csv", images=tmp_path))


def rows(collection: Collection, *, said: object = None, **filters: object) -> list[int]:
    opinions = said or collection.opinions(None, {}, None)
    return (collection.matching(Filters(**filters), opinions) + 1).tolist()  # type: ignore[arg-type]


def test_filters_of_the_table_itself(collection: Collection) -> None:
    assert collection.names == ["a.png", "b.png", "c.png"]
    assert rows(collection) == [1, 2, 3, 4, 5, 6, 7]
    assert rows(collection, text=" CAFE") == [5]
    assert rows(collection, text="b.PNG") == [2, 6]
    assert rows(collection, label=3) == [2, 6]
    assert rows(collection, label=3, text="바다") == [2, 6]
    assert rows(collection, repeats="repeats") == [2, 3, 4, 6]
    assert rows(collection, repeats="conflicts") == [3, 4]
    assert rows(collection, doubt=True) == []
    assert rows(collection, error=1) == []
    assert (collection.of_hashtag("# 바다") + 1).tolist() == [1, 2, 6]
    assert (collection.of_image(2) + 1).tolist() == [5, 7]
    with pytest.raises(InputError, match="there is no image 3: the table names 3"):
        collection.of_image(3)
    with pytest.raises(InputError, match="order is 'x', expected one of table, error, doubt"):
        Filters(order="x")


def test_what_a_run_and_an_audit_say(collection: Collection) -> None:
    result = make_result("heads", n=7)
    p = result.predictions
    p.rows[:] = [1, 2, 3, 4, 5, 6, 9]
    p.images[:] = ["a.png", "b.png", "a.png", "a.png", "c.png", "other.png", "c.png"]
    p.hashtags[:] = ["바다", "바다", "카페", "카페", "cafe", "바다", "하늘"]
    p.predicted[:] = [2, 3, 2, 5, 1, 1, 1]
    sides = {1: "train", 2: "test", 3: "test", 9: "test"}
    audited = [
        Audited(1, 3, "a.png", "카페", 1, 4, 0.5, (0.2,) * 5, (4,)),
        Audited(2, 1, "a.png", "#바다", 5, 4, -0.1, (0.2,) * 5, ()),
        Audited(3, 2, "z.png", "바다", 3, 4, 0.9, (0.2,) * 5, ()),  # of another table
    ]
    said = collection.opinions(result, sides, audited)
    assert said.predicted.tolist() == [2, 3, 2, 5, 1, 0, 0]
    assert said.values[:5].tolist() == p.values[:5].tolist()
    assert said.sides.tolist() == ["train", "test", "test", "", "", "", ""]
    assert said.doubt[[0, 2, 3]].tolist() == [-0.1, 0.5, 0.5]
    assert np.isnan(said.doubt[[1, 4, 5, 6]]).all()
    assert rows(collection, said=said, predicted=2) == [1, 3]
    assert rows(collection, said=said, split="test") == [2, 3]
    assert rows(collection, said=said, error=3) == [1, 4, 5]
    assert rows(collection, said=said, doubt=True) == [3, 4]
    page = collection.page(Filters(order="error"), said, 1)
    assert [post["name"] for post in page["posts"]] == ["a.png", "c.png", "b.png"]
    assert [post["name"] for post in collection.page(Filters(order="doubt"), said, 1)["posts"]][0] == "a.png"
    first = page["posts"][0]["rows"][0]
    assert first == {
        "row": 1, "image": 0, "hashtag": "#바다", "label": 5, "predicted": 2, "value": p.values[0], "split": "train",
        "doubt": -0.1, "suggested": 4, "times": 1, "conflict": False,
    }  # fmt: skip
    last = page["posts"][1]["rows"][1]
    assert (last["label"], last["predicted"], last["value"], last["split"]) == (None, None, None, None)
    summary = collection.summary(collection.of_image(0), said)
    assert summary == {"n": 3, "mean_label": 8 / 3, "n_errors": 3, "mean_error": 1 / 3, "interval": None}


def test_pages_have_24_images(tmp_path: Path) -> None:
    lines = [f"{n}.png,h{n % 3},{1 + n % 5}" for n in range(60)]
    (tmp_path / "t.csv").write_text("Image Filename,Hashtag,Score\n" + "\n".join(lines), encoding="utf-8")
    collection = Collection(Source(data=tmp_path / "t.csv", images=tmp_path))
    said = collection.opinions(None, {}, None)
    pages = [collection.page(Filters(), said, number) for number in (1, 2, 3)]
    assert [len(page["posts"]) for page in pages] == [PAGE, PAGE, 60 - 2 * PAGE]
    assert [post["id"] for page in pages for post in page["posts"]] == list(range(60))
    assert collection.page(Filters(), said, 99)["page"] == 3
    found = collection.page(Filters(text="h1", label=2), said, 1)
    assert (found["rows"], found["images"], found["pages"]) == (4, 4, 1)
    assert collection.page(Filters(text="nowhere"), said, 1)["posts"] == []


def test_intervals_are_students_t_over_images() -> None:
    values = np.random.default_rng(0).normal(size=LEAST)
    expected = stats.t.interval(0.95, LEAST - 1, values.mean(), stats.sem(values))
    assert mean_interval(values) == pytest.approx(expected)
    assert mean_interval(values[1:]) is None


def test_files_are_found_when_they_are_asked_for(collection: Collection, tmp_path: Path) -> None:
    assert collection.files([0])[0].path == tmp_path / "a.png"
    assert str(collection.files([1])[1].problem).startswith("not found")
    Image.new("RGB", (8, 8)).save(tmp_path / "c.png")
    assert [file.path is None for file in collection.files().values()] == [False, True, False]


def test_a_table_that_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere.csv"):
        Collection(Source(data=tmp_path / "nowhere.csv", images=tmp_path))
