"""A probe's numbers are the scorer's answers to the same images, for every kind of system."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from consistency.backbone.embeddings import PairEmbeddings
from consistency.backbone.model import Backbone, load_backbone
from consistency.backbone.resolve import resolve_backbone
from consistency.errors import BackboneError, ImageError, InputError
from consistency.options import ImageLimits
from heads.post import CONTEXT
from koclip_consistency.scoring.encoder import WarmEncoder
from koclip_consistency.scoring.occlusion import cover
from koclip_consistency.scoring.scorer import Judgement, Scorer
from tests.builders.models import change_json, make_clip_folder, make_siglip2_folder

HASHTAGS = ["#바다", "카페", "고양이"]


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return load_backbone(resolve_backbone("tiny"), device="cpu", precision="fp32", trainable=False)


@pytest.fixture
def image(small_demo: Path) -> Path:
    return sorted((small_demo / "image").iterdir())[1]


def no_table(*_: object) -> None:
    raise AssertionError("no table is asked for")


def judge(pairs: PairEmbeddings) -> Judgement:
    """Reads image, hashtag and, where there is one, the rest of the post."""
    context = 0.0 if pairs.context is None else pairs.context[:, CONTEXT.index("weighted")]
    values = 3 + 2 * pairs.cosine() ** 3 + context
    return np.rint(values).astype(np.int64), values, np.full((len(pairs), 5), 0.2)


def scorer_of(backbone: Backbone, kind: str) -> Scorer:
    reads = (lambda pairs: np.ones(len(pairs), bool)) if kind == "post" else None
    warm = WarmEncoder(lambda: backbone)
    return Scorer(kind, None if kind == "cosine" else judge, warm, no_table, post_read=reads)


@pytest.mark.parametrize("kind", ["cosine", "pair", "post"])
def test_values_are_those_of_the_scorer_one_by_one(backbone: Backbone, image: Path, kind: str) -> None:
    scorer = scorer_of(backbone, kind)
    probe = scorer.probe(image, HASHTAGS)
    assert probe.patches == (6, 6)
    np.testing.assert_array_equal(probe.visible, probe.pixels)
    shown = np.random.default_rng(0).random((9, 6, 6)) < 0.7
    shown[0] = True
    versions = cover(probe.pixels, shown)
    one_by_one = [scorer.answer(version, HASHTAGS) for version in versions]
    np.testing.assert_allclose(probe.values(versions), [a.values[0] for a in one_by_one], atol=1e-5)
    np.testing.assert_allclose(probe.cosines(versions), [a.similarity[0] for a in one_by_one], atol=1e-6)
    whole = scorer.answer(image, HASHTAGS)
    assert probe.values(versions)[0] == pytest.approx(whole.values[0], abs=1e-5)
    alone = scorer.probe(image, HASHTAGS[:1]).values(versions)
    assert np.allclose(alone, probe.values(versions)) == (kind != "post")


def test_what_cannot_be_probed_is_refused(backbone: Backbone, image: Path, tmp_path: Path) -> None:
    scorer = scorer_of(backbone, "cosine")
    with pytest.raises(InputError, match="the hashtag ' ' cannot be scored"):
        scorer.probe(image, [" "])
    (tmp_path / "page.jpg").write_text("<html></html>")
    with pytest.raises(ImageError, match=r"page.jpg cannot be scored: looks like HTML"):
        _ = scorer.probe(tmp_path / "page.jpg", HASHTAGS).pixels
    with pytest.raises(ImageError, match="is over 0.001 megapixels"):
        _ = scorer.probe(image, HASHTAGS, ImageLimits(max_pixels=1000)).pixels


def test_pixels_that_are_no_colours_are_stretched_for_people(tmp_path: Path) -> None:
    """A processor that only transformers can run returns numbers around 0, channels first."""
    folder = make_clip_folder(tmp_path / "model")
    change_json(folder / "preprocessor_config.json", do_pad=True)
    backbone = load_backbone(resolve_backbone(str(folder)), device="cpu", precision="fp32")
    assert backbone.spec is None
    left = np.zeros((32, 32, 3), np.uint8)
    left[:, :16] = 255
    probe = scorer_of(backbone, "cosine").probe(Image.fromarray(left), ["바다"])
    assert probe.pixels.shape == (3, 32, 32)
    assert probe.visible.shape == (32, 32, 3)
    assert probe.visible[:, :12].mean() > 200
    assert probe.visible[:, 20:].mean() < 55
    assert probe.relevance().shape == (2, 2)


def test_a_model_that_receives_no_pixels_in_rows_and_columns_is_refused(tmp_path: Path, image: Path) -> None:
    folder = make_siglip2_folder(tmp_path / "model", flexible=True)
    backbone = load_backbone(resolve_backbone(str(folder)), device="cpu", precision="fp32")
    with pytest.raises(BackboneError, match="receives images as a list of patches"):
        _ = scorer_of(backbone, "cosine").probe(image, ["바다"]).pixels
