"""Data sets that the library `datasets` has saved, with their images, all splits and class labels."""

import io
from pathlib import Path
from typing import Any

import datasets
import pytest
from PIL import Image

from consistency.data.hub_dataset import is_dataset, open_dataset
from consistency.data.pairs import read_pairs
from consistency.data.tables import open_table
from consistency.errors import DataError


def png(colour: str) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), colour).save(buffer, "PNG")
    return buffer.getvalue()


RED, BLUE, GREEN = png("red"), png("blue"), png("green")


def saved(folder: Path, *, splits: bool = False) -> Path:
    images: list[Any] = [
        {"bytes": RED, "path": "photos/a.png"},
        {"bytes": BLUE, "path": "other/a.png"},  # another image of that name
        {"bytes": RED, "path": "again.png"},
        {"bytes": GREEN, "path": None},
    ]
    data = {"photo": images, "Hashtag": [["바다", "#산"], ["강"], ["x"], ["y"]], "Score": [4, 0, 2, 3]}
    features = datasets.Features(
        {
            "photo": datasets.Image(),
            "Hashtag": datasets.List(datasets.Value("string")),
            "Score": datasets.ClassLabel(names=["1", "2", "3", "4", "5"]),
        }
    )
    whole = datasets.Dataset.from_dict(data, features=features)
    parts = datasets.DatasetDict({"train": whole.select([0, 1]), "test": whole.select([2, 3])})
    (parts if splits else whole).save_to_disk(str(folder))
    return folder


@pytest.mark.parametrize("splits", [False, True])
def test_a_saved_data_set_is_a_table_with_images(splits: bool, tmp_path: Path) -> None:
    folder = saved(tmp_path / "set", splits=splits)
    assert is_dataset(folder)
    table = open_dataset(folder, "Image Filename", tmp_path / "image")
    assert table.columns == ("Image Filename", "Hashtag", "Score")
    pairs = read_pairs(table, split=True)
    names = ["a.png", "a.png", pairs.images[2], "a.png", pairs.images[4]]
    assert pairs.images.tolist() == names
    assert pairs.hashtags.tolist() == ["바다", "#산", "강", "x", "y"]
    assert pairs.scores.tolist() == [5, 5, 1, 3, 4]
    read = {path.name: path.read_bytes() for path in (tmp_path / "image").iterdir()}
    assert read == {"a.png": RED, names[2]: BLUE, names[4]: GREEN}
    assert names[2].startswith("a-")
    assert len(table.digest) == 64


def test_other_commands_are_told_to_prepare_it(tmp_path: Path) -> None:
    folder = saved(tmp_path / "set")
    with pytest.raises(DataError, match=r"is a Hugging Face dataset: .* with `data prepare .*set -o DIR`"):
        open_table(folder)


def test_the_column_of_images_must_be_clear(tmp_path: Path) -> None:
    text = datasets.Dataset.from_dict({"a": ["x"]})
    text.save_to_disk(str(tmp_path / "text"))
    with pytest.raises(DataError, match=r"has 0 columns of images \(none\), expected one: name it with --image-column"):
        open_dataset(tmp_path / "text", "a", tmp_path / "image")
    for file in (tmp_path / "text").glob("*.arrow"):
        file.write_bytes(b"no arrow")
    with pytest.raises(DataError, match="is a damaged Hugging Face dataset"):
        open_dataset(tmp_path / "text", "a", tmp_path / "image")
    assert not is_dataset(tmp_path)
