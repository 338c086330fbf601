"""A model of images and one of texts as one backbone, such as CLIP and a multilingual student of its text tower."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from consistency.backbone.model import load_backbone
from consistency.backbone.resolve import resolve_backbone
from consistency.errors import BackboneError
from tests.builders.backbones import HASHTAGS, LONG, encode
from tests.builders.commands import Run, data_options, rows_of
from tests.builders.models import make_clip_folder

pytest.importorskip("sentence_transformers")
from tests.builders.backbones import expected as of_transformers  # noqa: E402
from tests.builders.sentence import expected, make_legacy_clip, make_student  # noqa: E402


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_student(tmp_path_factory.mktemp("texts") / "student")


def test_hashtags_are_embedded_by_one_model_and_images_by_the_other(
    student: Path, made: Path, tmp_path: Path, photos: list[Image.Image]
) -> None:
    legacy = make_legacy_clip(tmp_path / "images", seed=3)
    of_texts = expected(student, [*HASHTAGS, LONG])
    assert (of_texts @ of_texts.T).min() < 0.99
    for images, of_images in ((legacy, expected(legacy, photos)), (made, of_transformers(made, photos, ["a"])[0])):
        for name in (f"{student}+{images}", f"{images}+{student}"):
            resolved = resolve_backbone(name)
            assert (resolved.name, resolved.model_id) == (name, "local+local")
            backbone = load_backbone(resolved, device="cpu", trainable=False)
            np.testing.assert_allclose(encode(backbone, photos), of_images, atol=1e-5)
            np.testing.assert_allclose(backbone.encode_texts([*HASHTAGS, LONG]), of_texts, atol=1e-5)
            assert backbone.truncated([LONG, "#바다"]) == [LONG]
    half = load_backbone(resolved, device="cpu", precision="bf16", trainable=False)
    np.testing.assert_allclose(half.in_fp32().encode_texts(HASHTAGS), of_texts[:-1], atol=1e-5)
    with pytest.raises(BackboneError, match="is two models, which cannot be fine-tuned here; use heads"):
        load_backbone(resolved, device="cpu")


def test_models_of_different_dimensions_are_refused(student: Path, tmp_path: Path) -> None:
    wide = make_clip_folder(tmp_path / "wide", dim=16)
    with pytest.raises(BackboneError, match="embedded in 32 dimensions and images in 16; expected the image model"):
        load_backbone(resolve_backbone(f"{student}+{wide}"), device="cpu", trainable=False)


def test_a_run_from_extraction_to_score_and_again(
    run: Run, small_demo: Path, student: Path, made: Path, tmp_path: Path
) -> None:
    options = ["--backbone", f"{student}+{made}", *data_options(small_demo, tmp_path)]
    few = ["--max-aspect", 1.01]  # the first extraction leaves images out, the second adds them
    first = run("extract", *options, *few, "--on-error", "allow", "--json")
    rest = run("extract", *options, "--json")
    again = run("extract", *options, "--json")
    assert first.code == rest.code == again.code == 0
    assert again.json()["images_encoded"] == again.json()["hashtags_encoded"] == 0
    assert first.json()["images_encoded"] + rest.json()["images_encoded"] == again.json()["images"]
    heads = run("heads", *options, "--out", tmp_path / "heads", "--json")
    assert heads.code == 0, heads.stderr
    scored = run(
        "score", "--model", tmp_path / "heads", *data_options(small_demo, tmp_path), "-o", tmp_path / "out.csv"
    )
    assert scored.code == 0, scored.stderr
    answers = {
        (row["image"], row["hashtag"]): row["predicted"]
        for row in rows_of(tmp_path / "heads" / "predictions.csv")
        if row["system"] == "heads"
    }
    compared = [row for row in rows_of(tmp_path / "out.csv") if (row["Image Filename"], row["Hashtag"]) in answers]
    assert {(row["Image Filename"], row["Hashtag"]) for row in compared} == answers.keys()
    for row in compared:
        assert answers[row["Image Filename"], row["Hashtag"]] == row["predicted"]
