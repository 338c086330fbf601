"""`tiny` retrieves the hashtags of images it has not seen, as well as its card says."""

import random
import re
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from demo.dataset import SIDE
from demo.retrieval import Retrieval, fresh_draws, measure, similarities
from demo.vocabulary import CONCEPTS, sample_content

TINY = Path(__file__).parents[2] / "demo" / "tiny"


@pytest.fixture(scope="module")
def plain() -> Retrieval:
    return measure(TINY, seed=99, images=150, filtered=False)


@pytest.fixture(scope="module")
def filtered() -> Retrieval:
    return measure(TINY, seed=99, images=150, filtered=True)


def test_tiny_finds_the_hashtags_of_images_it_has_not_seen(plain: Retrieval, filtered: Retrieval) -> None:
    assert plain.auc > 0.95
    assert plain.precision_at_1 > 0.98
    assert 0.8 < filtered.auc < plain.auc - 0.03  # the filters are new to it


def test_other_images_give_the_figures_of_the_card(plain: Retrieval, filtered: Retrieval) -> None:
    card = (TINY / "README.md").read_text(encoding="utf-8")
    found = [plain.auc, plain.precision_at_1, filtered.auc, filtered.precision_at_1]
    recorded = [float(figure) for figure in re.findall(r"\| (0\.\d{3}) ", card)]
    # 150 images against the 500 of the card: four standard errors of a share, and less for an area.
    np.testing.assert_allclose(found, recorded, atol=0.1)
    np.testing.assert_allclose(found[::2], recorded[::2], atol=0.03)


def test_a_few_images_measured_by_hand() -> None:
    contents, images = fresh_draws(5, 4, filtered=False)
    tags = [(tag, concept) for concept, tags in CONCEPTS.items() for tag in tags]
    cosine = similarities(TINY, images, [tag for tag, _ in tags])
    assert cosine.shape == (4, 115)
    assert np.abs(cosine).max() <= 1 + 1e-6
    shown = [[concept in content.concepts for _, concept in tags] for content in contents]
    hits = [row[int(near.argmax())] for row, near in zip(shown, cosine, strict=True)]
    found = measure(TINY, seed=5, images=4, filtered=False)
    assert found.precision_at_1 == pytest.approx(sum(hits) / 4)
    assert found.auc == pytest.approx(roc_auc_score(np.ravel(shown), cosine.ravel()))


def test_fresh_draws_follow_the_seed_and_the_filter() -> None:
    contents, images = fresh_draws(1, 2, filtered=False)
    again, same = fresh_draws(1, 2, filtered=False)
    assert contents == again == [sample_content(random.Random(f"held out/1/{number}")) for number in range(2)]
    assert [image.tobytes() for image in images] == [image.tobytes() for image in same]
    assert images[0].size == (SIDE, SIDE)
    assert fresh_draws(1, 2, filtered=True)[1][0].tobytes() != images[0].tobytes()
    assert fresh_draws(2, 2, filtered=False)[1][0].tobytes() != images[0].tobytes()
