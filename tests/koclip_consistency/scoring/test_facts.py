"""The facts about a pair, counted a second time from the files of the run and the vectors of the model."""

import json
from pathlib import Path

import numpy as np
import pytest

from consistency.backbone.model import Backbone, load_backbone
from consistency.backbone.resolve import resolve_backbone
from consistency.data.images import decode_image
from consistency.errors import ImageError
from consistency.options import ImageLimits
from koclip_consistency.scoring.encoder import WarmEncoder
from koclip_consistency.scoring.facts import NO_CACHE, NO_RUN, find_facts
from koclip_consistency.scoring.learned import Learned, read_learned
from koclip_consistency.scoring.loading import load_scorer
from koclip_consistency.scoring.scorer import Scorer
from tests.builders.commands import rows_of


@pytest.fixture(scope="module")
def scorer(trained: Path) -> Scorer:
    return load_scorer(trained / "runs" / "heads", cache=trained / "cache")


@pytest.fixture(scope="module")
def learned(trained: Path) -> Learned:
    return read_learned(trained / "runs" / "heads")


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return load_backbone(resolve_backbone("tiny"), device="cpu", precision="fp32", trainable=False)


def vectors(backbone: Backbone, images: list[Path]) -> np.ndarray:
    decoded = [decode_image(path.read_bytes(), decode="ours", limits=ImageLimits()) for path in images]
    return backbone.encode_images(np.stack([backbone.prepare(image) for image in decoded]))


def test_every_fact_is_counted_again(
    scorer: Scorer, learned: Learned, backbone: Backbone, trained: Path, small_demo: Path
) -> None:
    images = sorted((small_demo / "image").iterdir())
    asked, hashtag = images[2], "동네카페"
    own, every = vectors(backbone, [asked])[0], vectors(backbone, images)
    text = backbone.encode_texts([hashtag])[0]
    found = find_facts(scorer, asked, hashtag, learned)
    assert found.notes == ()
    assert found.cosine_rank is not None
    assert found.cosine_rank.images == 60
    assert found.cosine_rank.rank == 1 + (every @ text > own @ text + 1e-6).sum()

    split = {line["row"]: line["split"] for line in rows_of(trained / "runs" / "heads" / "split.csv")}
    train: dict[tuple[str, str], int] = {}
    for number, row in enumerate(rows_of(small_demo / "combined_data.csv"), start=1):
        if split[str(number)] == "train":
            train[row["Image Filename"], row["Hashtag"].lstrip("#")] = int(row["Score"])
    of_hashtag = {image: score for (image, tag), score in train.items() if tag == hashtag}
    of_image = [score for (image, _), score in train.items() if image == asked.name]
    assert len(of_hashtag) >= 5
    assert found.hashtag_labels is not None
    assert (found.hashtag_labels.n, found.hashtag_labels.mean) == (
        len(of_hashtag),
        pytest.approx(np.mean(list(of_hashtag.values()))),
    )
    assert found.image_labels is not None
    assert found.image_labels.n == len(of_image)
    cosine = {image: float(vectors(backbone, [small_demo / "image" / image])[0] @ own) for image in of_hashtag}
    nearest = sorted(of_hashtag, key=lambda image: -cosine[image])[:5]
    assert [each.image for each in found.nearest] == nearest
    assert [each.score for each in found.nearest] == [of_hashtag[image] for image in nearest]
    np.testing.assert_allclose([each.similarity for each in found.nearest], [cosine[i] for i in nearest], atol=1e-5)

    chances = learned.text_only(np.array([hashtag], dtype=object))[0]
    assert found.text_only is not None
    assert found.text_only.predicted == chances.argmax() + 1
    assert found.text_only.expected_score == pytest.approx(chances @ np.arange(1, 6))
    best = scorer.suggest(asked, 5)
    assert [each.hashtag for each in found.preferred] == best["hashtag"].tolist()
    np.testing.assert_allclose([each.similarity for each in found.preferred], best["similarity"])
    assert json.loads(json.dumps(found.as_dict()))["cosine_rank"] == {"rank": found.cosine_rank.rank, "images": 60}


def test_spellings_of_a_hashtag_share_its_labels(scorer: Scorer, learned: Learned, small_demo: Path) -> None:
    image = sorted((small_demo / "image").iterdir())[2]
    one, other = (find_facts(scorer, image, hashtag, learned) for hashtag in ("동네카페", "＃동네카페"))
    assert one.hashtag_labels == other.hashtag_labels
    assert one.nearest == other.nearest


def test_a_hashtag_that_nobody_used(scorer: Scorer, learned: Learned, small_demo: Path) -> None:
    found = find_facts(scorer, sorted((small_demo / "image").iterdir())[0], "뷁뷁", learned, shown=2)
    assert found.hashtag_labels is not None
    assert (found.hashtag_labels.n, found.hashtag_labels.mean) == (0, None)
    assert found.nearest == ()
    assert found.notes == ("no train row has this hashtag",)
    assert len(found.preferred) == 2


def test_without_run_and_cache_there_are_no_facts_but_their_reasons(backbone: Backbone, small_demo: Path) -> None:
    image = sorted((small_demo / "image").iterdir())[0]
    bare = Scorer("cosine", None, WarmEncoder(lambda: backbone), lambda *_: pytest.fail("a table was asked for"))
    found = find_facts(bare, image, "바다", None)
    assert (found.cosine_rank, found.text_only, found.nearest, found.preferred) == (None, None, (), ())
    assert found.notes == (NO_RUN, NO_CACHE, "there is nothing to suggest: the cache records no hashtags")
    assert find_facts(bare, image, "바다", None, why_not="the table is gone").notes[0] == "the table is gone"


def test_a_model_without_a_cache_prefers_hashtags_of_train(
    backbone: Backbone, learned: Learned, scorer: Scorer, small_demo: Path
) -> None:
    """As a fine-tuned one: its best hashtags are those of train, and only images that it has seen have vectors."""
    images = sorted((small_demo / "image").iterdir())
    bare = Scorer("cosine", None, WarmEncoder(lambda: backbone), lambda *_: pytest.fail("a table was asked for"))
    found = find_facts(bare, images[2], "동네카페", learned)
    assert len(found.preferred) == 5
    assert {each.hashtag for each in found.preferred} <= set(learned.hashtags)
    near = find_facts(scorer, images[2], "동네카페", learned).nearest
    assert found.nearest == () or found.nearest[0].image == images[2].name
    assert bare.answer(small_demo / "image" / near[-1].image, ["카페"]).rows.tolist() == [0]
    again = find_facts(bare, images[2], "동네카페", learned).nearest
    assert near[-1].image in [each.image for each in again]


def test_an_image_that_cannot_be_read_is_refused(scorer: Scorer, learned: Learned, tmp_path: Path) -> None:
    (tmp_path / "page.jpg").write_text("<html></html>")
    with pytest.raises(ImageError, match="looks like HTML"):
        find_facts(scorer, tmp_path / "page.jpg", "바다", learned)
