"""The scorer's answers against its parts: the judge, the vectors, the record of training hashtags."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from consistency.backbone.embeddings import PairEmbeddings
from consistency.backbone.model import Backbone, load_backbone
from consistency.backbone.resolve import resolve_backbone
from consistency.data.inputs import Inputs, read_inputs
from consistency.errors import InputError
from consistency.options import ImageLimits, Source
from heads.familiarity import Familiarity
from heads.similarity import fit
from koclip_consistency.scoring.encoder import WarmEncoder
from koclip_consistency.scoring.scorer import EncodedTable, Judgement, Scorer

HASHTAGS = ["#바다", "카페", "뷁뷁"]


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return load_backbone(resolve_backbone("tiny"), device="cpu", precision="fp32", trainable=False)


@pytest.fixture
def picture(small_demo: Path) -> Path:
    return sorted((small_demo / "image").iterdir())[0]


def judge(pairs: PairEmbeddings) -> Judgement:
    similarity = pairs.cosine()
    return fit("simple", similarity, np.zeros(len(pairs), np.int64)).predict(similarity) + 1, similarity, None


def no_table(inputs: Inputs, source: Source) -> EncodedTable:
    raise AssertionError("no table is asked for")


def test_answers_of_one_image(backbone: Backbone, picture: Path) -> None:
    known = backbone.encode_texts(["바다", "카페", "해변"])
    record = Familiarity(known, 0.99)
    warm = WarmEncoder(lambda: backbone)
    answers = Scorer("s", judge, warm, no_table, record).answer(picture, HASHTAGS)
    image, texts = warm.image(read(picture), ImageLimits()), backbone.encode_texts(HASHTAGS)
    np.testing.assert_allclose(answers.values, (texts @ image[0]), atol=1e-6)
    np.testing.assert_array_equal(answers.similarity, answers.values)
    assert answers.probabilities is None
    assert answers.rows.tolist() == [0, 1, 2]
    assert answers.familiar is not None
    np.testing.assert_array_equal(answers.familiar, (texts @ known.T).max(axis=1) >= 0.99)
    assert answers.familiar.tolist()[1:] == [True, False]
    assert answers.skipped == ()
    assert Scorer("s", judge, warm, no_table).answer(picture, HASHTAGS).familiar is None


def read(picture: Path):  # type: ignore[no-untyped-def]
    from koclip_consistency.scoring.images import read_image

    return read_image(picture)


def test_a_table_is_judged_row_by_row(small_demo: Path) -> None:
    source = Source(data=small_demo / "combined_data.csv", images=small_demo / "image")
    inputs = read_inputs(source)
    vectors = np.eye(2, 4, dtype=np.float32)
    pairs = PairEmbeddings(vectors, vectors, np.array([0, 0, 1]), np.array([0, 1, 1]))

    def encode(inputs: Inputs, source: Source) -> EncodedTable:
        return np.array([0, 2, 5]), pairs, inputs.skipped

    scorer = Scorer("s", judge, WarmEncoder(lambda: pytest.fail("loaded")), encode, Familiarity(vectors[:1], 0.5))
    answers = scorer.answer_table(inputs, source)
    assert answers.rows.tolist() == [0, 2, 5]
    assert answers.similarity.tolist() == [1, 0, 1]
    assert answers.familiar is not None
    assert answers.familiar.tolist() == [True, False, False]


@pytest.mark.parametrize(
    ("hashtags", "said"),
    [
        ([], "there is no hashtag to score"),
        (["바다", " "], "the hashtag ' ' cannot be scored: the hashtag is empty"),
        (["\ud800"], "not UTF-8"),
    ],
)
def test_hashtags_that_are_none_are_refused(backbone: Backbone, picture: Path, hashtags: list[str], said: str) -> None:
    with pytest.raises(InputError, match=said):
        Scorer("s", judge, WarmEncoder(lambda: backbone), no_table).answer(picture, hashtags)


def test_images_that_are_none_are_refused(backbone: Backbone, picture: Path, tmp_path: Path) -> None:
    scorer = Scorer("s", judge, WarmEncoder(lambda: backbone), no_table)
    (tmp_path / "page.jpg").write_text("<html></html>")
    with pytest.raises(InputError, match=r"page.jpg cannot be scored: looks like HTML"):
        scorer.answer(tmp_path / "page.jpg", ["바다"])
    with pytest.raises(InputError, match="the image cannot be scored: the file is empty"):
        scorer.answer(b"", ["바다"])
    with pytest.raises(InputError, match="is over 0.001 megapixels"):
        scorer.answer(picture, ["바다"], ImageLimits(max_pixels=1000))
    assert len(scorer.answer(picture, ["바다"]).rows) == 1


def test_several_threads_get_the_answers_of_one(backbone: Backbone, small_demo: Path) -> None:
    pictures = sorted((small_demo / "image").iterdir())[:6]
    alone = Scorer("s", judge, WarmEncoder(lambda: backbone), no_table)
    expected = [alone.answer(picture, [f"태그{number}", "바다"]).values for number, picture in enumerate(pictures)]
    shared = Scorer("s", judge, WarmEncoder(lambda: backbone), no_table)
    with ThreadPoolExecutor(4) as pool:
        calls = [pool.submit(shared.answer, p, [f"태그{n}", "바다"]) for n, p in enumerate(pictures)]
        found = [call.result().values for call in calls]
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_requests_that_are_remembered_answer_as_alone(backbone: Backbone, picture: Path) -> None:
    scorer = Scorer("s", judge, WarmEncoder(lambda: backbone), no_table)
    scorer.load()
    scorer.remember([picture, b"no image", picture.read_bytes()], [*HASHTAGS, " ", "카페"])
    alone = Scorer("s", judge, WarmEncoder(lambda: backbone), no_table).answer(picture, HASHTAGS)
    np.testing.assert_allclose(scorer.answer(picture, HASHTAGS).similarity, alone.similarity, atol=1e-6)
    with pytest.raises(InputError, match="the image cannot be scored"):
        scorer.answer(b"no image", HASHTAGS)
