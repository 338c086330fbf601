"""The judges of an audit never see what they judge, and clean labels must fit the table."""

from pathlib import Path

import numpy as np
import pytest

from consistency.backbone.embeddings import PairEmbeddings
from consistency.data.pairs import read_pairs
from consistency.errors import DataError
from koclip_consistency.workflows.audit import out_of_fold, read_clean


def test_no_judge_has_seen_the_image() -> None:
    """An image's own labels never reach its judges: change them, and their probabilities for it stay."""
    rng = np.random.default_rng(0)
    n, n_images = 120, 12
    image, hashtag = rng.integers(0, n_images, n), rng.integers(0, 30, n)
    vectors = [rng.normal(size=(count, 8)).astype(np.float32) for count in (n_images, 30)]
    embeddings = PairEmbeddings(*(v / np.linalg.norm(v, axis=1, keepdims=True) for v in vectors), image, hashtag)
    names = np.array([f"{i}.png" for i in image], dtype=object)
    labels = np.tile(np.arange(5), n // 5)
    chances, fold = out_of_fold(embeddings, labels, names, folds=3, repeats=1, seed=1)
    assert all(len(set(fold[names == name])) == 1 for name in names)
    assert np.allclose(chances.sum(axis=1), 1)
    mine, other = fold == 0, labels.copy()
    for name in set(names[mine]):  # another order of the same scores on an image: the folds stay
        other[names == name] = np.roll(labels[names == name], 1)
    again, fold_again = out_of_fold(embeddings, other, names, folds=3, repeats=1, seed=1)
    assert np.array_equal(fold, fold_again)
    assert np.array_equal(again[mine], chances[mine])
    assert not np.array_equal(again[~mine], chances[~mine])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("row,clean_score\n1,5\n", "no clean score from 1 to 5 for row 2"),
        ("row,score\n1,5\n", "no table of clean labels"),
        ("row,clean_score\n1,high\n", "no table of clean labels"),
        (None, "cannot be read"),
    ],
)
def test_clean_labels_that_do_not_fit_are_one_line(
    small_demo: Path, tmp_path: Path, content: str | None, said: str
) -> None:
    path = tmp_path / "clean.csv"
    if content is not None:
        path.write_text(content)
    with pytest.raises(DataError, match=said):
        read_clean(path, read_pairs(small_demo / "combined_data.csv"))
