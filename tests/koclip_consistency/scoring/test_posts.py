"""Tables for a scorer that reads posts: rows of a post may be apart, in any batch."""

from pathlib import Path

import numpy as np
import pytest

from consistency.backbone.embeddings import PairEmbeddings
from consistency.backbone.model import Backbone, load_backbone
from consistency.backbone.resolve import resolve_backbone
from consistency.data.hashtags import hashtag_identity
from consistency.options import Source
from heads.post import CONTEXT
from heads.post import others as others_of
from koclip_consistency.scoring import posts as module
from koclip_consistency.scoring.loading import load_scorer
from koclip_consistency.scoring.posts import PostAnswers
from koclip_consistency.scoring.scorer import Judgement, Scorer
from tests.builders.commands import rows_of
from tests.builders.torn_posts import in_parts, torn_posts


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return load_backbone(resolve_backbone("tiny"), device="cpu", precision="fp32", trainable=False)


@pytest.fixture
def source(small_demo: Path, tmp_path: Path) -> Source:
    return torn_posts(small_demo, tmp_path)


@pytest.mark.parametrize(("size", "at_once"), [(10**6, 16_384), (7, 16_384), (1, 5), (7, 1)])
def test_cosine_rank_and_percentile(
    backbone: Backbone, source: Source, tmp_path: Path, size: int, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BATCH", at_once)
    scorer = load_scorer(None, backbone="tiny", cache=tmp_path / "cache")
    answers = PostAnswers(scorer, in_parts(source, size), source)
    table = [(row["Image Filename"], row["Hashtag"]) for row in rows_of(source.data)]
    assert answers.n == len(table)
    columns = answers.rows(0, len(table))
    known = {tag for image, tag in table if tag.strip()}
    texts = dict(zip(sorted(known), backbone.encode_texts(sorted(known)), strict=True))
    pixels = {name: backbone.prepare(decode(source.images / name)) for name, _ in table if (name[:4] == "demo")}
    images = {name: backbone.encode_images(np.stack([each]))[0] for name, each in pixels.items()}
    for row, (image, tag) in enumerate(table):
        said = {name: cells[row] for name, cells in columns.items()}
        if image not in images or not tag.strip():
            assert said["similarity"] is said["rank"] is said["percentile"] is None
            continue
        cosine = {
            other: float(images[image] @ texts[other]) for owner, other in table if owner == image and other.strip()
        }
        assert said["similarity"] == pytest.approx(cosine[tag], abs=1e-6)
        assert said["rank_of"] == len(cosine)
        assert said["rank"] == 1 + sum(value > cosine[tag] + 1e-6 for value in cosine.values())
        below = sum(float(images[image] @ vector) < cosine[tag] - 1e-6 for vector in texts.values())
        assert said["percentile"] == pytest.approx(100 * below / len(texts), abs=1e-6)
    reasons = {image: reason for (image, _), reason in zip(table, columns["why_not"], strict=True) if reason}
    assert reasons["page.png"] == "looks like HTML, not an image"
    assert set(reasons) == {"page.png"}  # the batch itself says why the others cannot be scored
    assert columns["predicted"] == [None] * len(table)
    assert answers.rows(3, 5) == {name: cells[3:5] for name, cells in columns.items()}


def decode(path: Path):  # type: ignore[no-untyped-def]
    from consistency.data.images import decode_image
    from consistency.options import ImageLimits

    return decode_image(path.read_bytes(), decode="ours", limits=ImageLimits())


def test_a_head_that_reads_posts_gets_whole_posts(source: Source, tmp_path: Path) -> None:
    """Its context counts the other hashtags of the post, wherever in the table their rows are."""

    def judge(pairs: PairEmbeddings) -> Judgement:
        assert pairs.context is not None
        others = pairs.context[:, CONTEXT.index("others")]
        return np.full(len(pairs), 3), others, None

    cosine = load_scorer(None, backbone="tiny", cache=tmp_path / "cache")
    scorer = Scorer("s", judge, cosine._encoder, cosine._encode_table, post_read=lambda pairs: others_of(pairs) >= 3)
    posts = PostAnswers(scorer, in_parts(source, 7), source)
    table = [(row["Image Filename"], row["Hashtag"]) for row in rows_of(source.data)]
    found = posts.rows(0, posts.n)
    answers = zip(table, found["value"], found["predicted"], found["post_read"], strict=True)
    for (image, tag), others, predicted, read in answers:
        if image in ("page.png", "lost.png") or not tag.strip():
            assert others is None
            continue
        assert predicted == 3
        assert read is (others >= 3)
        assert (
            others == len({hashtag_identity(other) for owner, other in table if owner == image and other.strip()}) - 1
        )
