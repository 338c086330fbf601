"""A loaded run in a notebook: tables of answers that equal the run's, whatever form the image has."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import koclip_consistency as kc
from consistency.errors import InputError
from consistency.runs.read import read_run
from tests.builders.commands import data_options


@pytest.fixture(scope="module")
def folder(small_demo: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from cli import main

    folder = tmp_path_factory.mktemp("scoring")
    for words in (["heads"], ["similarity"]):
        line = ["cli.py", *words, *data_options(small_demo, folder), "--backbone", "tiny", "--quiet"]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("sys.argv", [*map(str, line), "--out", str(folder / words[0])])
            main()
    return folder


def test_one_image_in_every_form(folder: Path, small_demo: Path) -> None:
    scorer = kc.load(folder / "heads", cache=folder / "cache")
    path = sorted((small_demo / "image").iterdir())[0]
    hashtags = ["카페", "#바다", "카페"]
    expected = scorer.score(path, hashtags)
    assert expected["hashtag"].tolist() == hashtags
    assert expected["predicted"].isin([1, 2, 3, 4, 5]).all()
    np.testing.assert_allclose(expected[["p1", "p2", "p3", "p4", "p5"]].sum(axis=1), 1)
    with Image.open(path) as image:
        forms = [str(path), path.read_bytes(), image.copy(), np.asarray(image.convert("RGB"))]
    for form in forms:
        pd.testing.assert_frame_equal(scorer.score(form, tuple(hashtags)), expected, atol=1e-5)
    with pytest.raises(InputError, match="there is no hashtag to score"):
        scorer.score(path, [])


def test_a_table_keeps_what_the_caller_has(folder: Path, small_demo: Path) -> None:
    scorer = kc.load(folder / "heads", cache=folder / "cache")
    (said,) = (r.predictions for r in read_run(folder / "heads").results if r.predictions.system == "heads")
    frame = pd.DataFrame({"likes": 7, "Image Filename": said.images, "Hashtag": said.hashtags}, index=[5] * len(said))
    scored = scorer.score_frame(frame, images=small_demo / "image")
    pd.testing.assert_frame_equal(scored[frame.columns.tolist()], frame)
    assert scored["predicted"].tolist() == said.predicted.tolist()
    np.testing.assert_allclose(scored["expected_score"], said.values, atol=1e-6)
    assert scored["why_not"].isna().all()
    assert list(frame.columns) == ["likes", "Image Filename", "Hashtag"]  # the caller's table stays as it is


def test_every_row_has_an_answer_or_a_reason(folder: Path, small_demo: Path, tmp_path: Path) -> None:
    scorer = kc.load(folder / "heads", cache=folder / "cache")
    good = sorted((small_demo / "image").iterdir())[0]
    (tmp_path / "good.png").write_bytes(good.read_bytes())
    (tmp_path / "bad.png").write_text("no image")
    frame = pd.DataFrame(
        {"file": ["bad.png", "good.png", "lost.png", "good.png"], "tag": ["바다", "바다", "바다", ""], "predicted": 0},
        index=list("abcd"),
    )
    columns = {"image_column": "file", "hashtag_column": "tag"}
    with pytest.raises(InputError, match="the table already has the column 'predicted': give a prefix"):
        scorer.score_frame(frame, tmp_path, **columns)
    scored = scorer.score_frame(frame, tmp_path, prefix="model_", **columns)
    assert scored.index.tolist() == list("abcd")
    assert scored["model_predicted"].notna().tolist() == [False, True, False, False]
    assert scored.loc["a", "model_why_not"] == "looks like text, not an image"
    assert scored.loc["c", "model_why_not"].startswith("not found")
    assert scored.loc["d", "model_why_not"] == "the hashtag is empty"
    for row in "abcd":  # each of them alone, too
        alone = scorer.score_frame(frame.loc[[row]], tmp_path, prefix="model_", **columns)
        pd.testing.assert_frame_equal(alone, scored.loc[[row]], atol=1e-5)
    assert len(scorer.score_frame(frame[:0], tmp_path, prefix="model_", **columns)) == 0


def test_thresholds_have_no_probabilities(folder: Path, small_demo: Path) -> None:
    scorer = kc.load(folder / "similarity", system="similarity-exact", cache=folder / "cache")
    scored = scorer.score(sorted((small_demo / "image").iterdir())[0], ["바다", "카페"])
    assert scored[["expected_score", "p1", "p5"]].isna().all(axis=None)
    assert scored["similarity"].between(-1, 1).all()
    assert scored["predicted"].notna().all()
    with pytest.raises(InputError, match="choose one with --system"):
        kc.load(folder / "similarity")
