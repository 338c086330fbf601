"""Which pairs are asked about: each once, only those with an image, in the same order for the same seed."""

from pathlib import Path

import numpy as np
import pytest

from consistency.data.files import find_images
from consistency.data.pairs import PairTable
from consistency.errors import InputError
from consistency.evaluation.results import Audited
from consistency.options import QueueChoice
from koclip_consistency.workflows.queue import choose_queue, doubtful_queue, list_queue, random_queue
from tests.builders.tables import make_table

IMAGES = ["a.png", "a.png", "b.png", "copy.png", "gone.png", "b.png"]
HASHTAGS = ["바다", "산", "#바다", "바다", "바다", "밤"]


@pytest.fixture
def table() -> PairTable:
    """Row 4 repeats row 1 under another name of the image; row 5 has no image."""
    return make_table(IMAGES, HASHTAGS, [1, 2, 3, 4, 5, 5])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a.png", "copy.png"):
        (tmp_path / name).write_bytes(b"one")
    (tmp_path / "b.png").write_bytes(b"other")
    return tmp_path


def audited(row: int, doubt: float, rank: int, image: str | None = None) -> Audited:
    name = image or IMAGES[row - 1]
    return Audited(rank, row, name, HASHTAGS[row - 1], 1, 2, doubt, (0.2,) * 5, ())


def test_a_random_queue_has_every_pair_with_an_image_once(table: PairTable, folder: Path) -> None:
    files = find_images(table.images, folder)
    queue = random_queue(table, files, seed=42)
    assert (queue.kind, sorted(queue.places.tolist())) == ("random", [0, 1, 2, 5])
    again = random_queue(table, files, seed=42, limit=2)
    np.testing.assert_array_equal(again.places, queue.places[:2])
    orders = {tuple(random_queue(table, files, seed=seed).places.tolist()) for seed in range(30)}
    assert len(orders) > 10


def test_doubtful_labels_come_in_the_order_of_their_doubt(table: PairTable, folder: Path) -> None:
    files = find_images(table.images, folder)
    lines = [audited(2, 0.4, 3), audited(4, 0.9, 1), audited(1, 0.5, 2), audited(5, 0.3, 4), audited(6, -0.2, 5)]
    queue = doubtful_queue(table, files, lines)
    assert (queue.kind, queue.places.tolist()) == ("doubtful", [0, 1])  # row 4 is row 1, row 5 has no image
    with pytest.raises(InputError, match="row 2 of the audit is c.png with 산, but not in pairs.csv"):
        doubtful_queue(table, files, [audited(2, 0.4, 1, "c.png")])


def test_a_list_keeps_its_order(table: PairTable, folder: Path, tmp_path: Path) -> None:
    files, path = find_images(table.images, folder), tmp_path / "rows.csv"
    path.write_text("why;row\nx;6\ny; 4 \nz;1\nz;2\n")
    assert list_queue(table, files, path).places.tolist() == [5, 0, 1]
    assert choose_queue(QueueChoice(rows=path, limit=1), table, files).places.tolist() == [5]
    path.write_text("row\n3\n7\n")
    with pytest.raises(InputError, match="row 2: '7' is no row of pairs.csv"):
        list_queue(table, files, path)
    path.write_text("rows\n3\n")
    with pytest.raises(InputError, match="has no column 'row'"):
        list_queue(table, files, path)


def test_an_audit_that_is_none(table: PairTable, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no audit.csv: name a run of `audit`"):
        choose_queue(QueueChoice(audit=tmp_path), table, find_images(table.images, tmp_path))
