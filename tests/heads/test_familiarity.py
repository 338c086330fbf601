"""Familiar hashtags: the threshold against a plain computation, and whether it separates words from nonsense."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from consistency.backbone.model import load_backbone
from consistency.backbone.resolve import resolve_backbone
from consistency.data.pairs import read_pairs
from consistency.errors import InputError, StorageError
from heads import familiarity
from heads.familiarity import Familiarity, keep_familiarity, load_familiarity

NONSENSE = [f"{a}{b}{c}" for a in "뷁쀍쮉퀡" for b in "쒫꿻뛟" for c in "뾹쯣"]


def unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture
def vectors() -> np.ndarray:
    return unit(np.random.default_rng(0).normal(size=(90, 6)))


def fitted(vectors: np.ndarray, names: list[str] | None = None) -> Familiarity:
    found = Familiarity.fit(vectors, names or list(map(str, range(len(vectors)))))
    assert found is not None
    return found


def leave_one_out(vectors: np.ndarray) -> list[float]:
    """The cosine of every vector to the nearest other one, in plain Python."""
    exact = vectors.astype(np.float64)
    return [max(float(a @ b) for j, b in enumerate(exact) if j != i) for i, a in enumerate(exact)]


@pytest.mark.parametrize("block", [7, 1024])
def test_threshold_is_the_quantile_of_leave_one_out_cosines(
    vectors: np.ndarray, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(familiarity, "BLOCK", block)
    found = fitted(vectors)
    assert found.threshold == pytest.approx(np.quantile(leave_one_out(vectors), 0.05), abs=1e-6)
    fresh = unit(np.random.default_rng(1).normal(size=(40, 6)))
    expected = [max(float(a @ b) for b in vectors.astype(np.float64)) for a in fresh.astype(np.float64)]
    np.testing.assert_allclose(found.nearest(fresh), expected, atol=1e-6)
    np.testing.assert_array_equal(found.familiar(fresh), found.nearest(fresh) >= found.threshold)
    assert found.familiar(vectors).all()
    assert found.familiar(vectors[:0]).shape == (0,)


def test_a_sample_of_many_hashtags_gives_about_the_same_threshold(monkeypatch: pytest.MonkeyPatch) -> None:
    many = unit(np.random.default_rng(2).normal(size=(3000, 8)))
    exact = fitted(many).threshold
    monkeypatch.setattr(familiarity, "SAMPLE", 1000)
    sampled = fitted(many)
    assert sampled.threshold != exact
    assert sampled.threshold == pytest.approx(exact, abs=0.02)
    assert len(sampled.hashtags) == 3000  # every training hashtag stays familiar


def test_spellings_of_a_hashtag_count_once(vectors: np.ndarray) -> None:
    names = [f"말{number}" for number in range(len(vectors))]
    doubled = fitted(np.concatenate([vectors, vectors]), [*names, *(f" {name} " for name in names)])
    assert doubled.threshold == fitted(vectors, names).threshold
    assert len(doubled.hashtags) == 2 * len(vectors)  # both spellings are familiar


@pytest.mark.parametrize("count", [0, 1])
def test_a_single_hashtag_has_no_threshold(vectors: np.ndarray, count: int) -> None:
    assert Familiarity.fit(vectors[:count], ["바다"] * count) is None


def test_a_run_folder_keeps_it(vectors: np.ndarray, tmp_path: Path) -> None:
    assert load_familiarity(tmp_path) is None
    found = fitted(vectors)
    found.save(tmp_path)
    again = load_familiarity(tmp_path)
    assert again is not None
    assert again.threshold == found.threshold
    np.testing.assert_array_equal(again.hashtags, found.hashtags)
    path = tmp_path / "familiarity.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(StorageError, match="familiarity.safetensors is damaged"):
        load_familiarity(tmp_path)
    path.write_bytes(b"{}")
    (tmp_path / "familiarity.safetensors.sha256").write_text(f"{hashlib.sha256(b'{}').hexdigest()}  x\n")
    with pytest.raises(InputError, match="is not a record of training hashtags that this version can read"):
        load_familiarity(tmp_path)


def test_nonsense_is_unfamiliar_beside_the_demo(small_demo: Path) -> None:
    """Hashtags of images that were held out are familiar about as often as the quantile promises, nonsense is not."""
    table = read_pairs(small_demo / "combined_data.csv")
    backbone = load_backbone(resolve_backbone("tiny"), device="cpu", precision="fp32", trainable=False)
    images = sorted(set(table.images))
    held_out = np.isin(table.images, images[::4])
    found = fitted(backbone.encode_texts(table.hashtags[~held_out]), list(table.hashtags[~held_out]))
    real = backbone.encode_texts(sorted(set(table.hashtags[held_out])))
    nonsense = backbone.encode_texts(NONSENSE)
    auc = roc_auc_score(
        [1] * len(real) + [0] * len(nonsense), np.concatenate([found.nearest(real), found.nearest(nonsense)])
    )
    assert auc > 0.95
    assert found.familiar(real).mean() > 0.85
    assert found.familiar(nonsense).mean() < 0.3


def test_unfamiliar_hashtags_are_counted_and_named(tmp_path: Path) -> None:
    train, strange = np.eye(4, dtype=np.float32), unit(np.array([[-1.0, -1, -1, -1]]))
    near = unit(train[:1] + 0.1 * train[1:2])
    asked = np.concatenate([train[1:2], near, strange, strange])
    found = keep_familiarity(tmp_path, train, ["a", "b", "c", "d"], asked, ["b", "#A", "x", "x"])
    assert found is not None
    assert (found.n, found.rows, found.hashtags) == (4, 2, ("x",))
    assert found.note == "of 4 test rows 2 have a hashtag that is unlike every hashtag of train"
    assert load_familiarity(tmp_path) is not None
    assert keep_familiarity(tmp_path / "none", train[:1], ["a"], asked, ["b"] * 4) is None
