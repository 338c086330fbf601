"""Explanations of a pair: both maps, what they explain, and their controls."""

import json
from pathlib import Path

import numpy as np
import pytest

from consistency.backbone.model import Backbone, load_backbone
from consistency.backbone.relevance import relevance
from consistency.backbone.resolve import resolve_backbone
from consistency.errors import BackboneError, InputError
from koclip_consistency.scoring.encoder import WarmEncoder
from koclip_consistency.scoring.explanation import EVIDENCE, explain
from koclip_consistency.scoring.occlusion import deletion_gap, fixed_place
from koclip_consistency.scoring.scorer import Judgement, Scorer


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return load_backbone(resolve_backbone("tiny"), device="cpu", precision="fp32")


@pytest.fixture
def image(small_demo: Path) -> Path:
    return sorted((small_demo / "image").iterdir())[1]


def no_table(*_: object) -> None:
    raise AssertionError("no table is asked for")


def judge(pairs):  # type: ignore[no-untyped-def]
    values = 3 + 2 * pairs.cosine()
    return np.rint(values).astype(np.int64), values, np.full((len(pairs), 5), 0.2)


def by_thresholds(pairs) -> Judgement:  # type: ignore[no-untyped-def]
    return np.full(len(pairs), 4), pairs.cosine(), None


def test_both_maps_of_a_system_with_probabilities(backbone: Backbone, image: Path) -> None:
    scorer = Scorer("s", judge, WarmEncoder(lambda: backbone), no_table)
    found = explain(scorer, image, "#바다", others=["카페"])
    answer = scorer.answer(image, ["#바다", "카페"])
    assert (found.image, found.hashtag, found.others, found.system) == (image.name, "#바다", ("카페",), "s")
    assert found.predicted == answer.predicted[0]  # type: ignore[index]
    assert found.expected_score == pytest.approx(answer.values[0])
    assert found.similarity == pytest.approx(answer.similarity[0])
    attention, occlusion = found.maps
    assert (attention.method, attention.explains) == ("attention", "cosine")
    assert (occlusion.method, occlusion.explains) == ("occlusion", "expected_score")
    text = backbone.encode_texts(["#바다"])[0]
    np.testing.assert_allclose(attention.grid, relevance(backbone, found.pixels.copy(), text), rtol=1e-4, atol=1e-9)
    for row, column in ((0, 0), (2, 3), (5, 5)):
        covered = found.pixels.copy()
        covered[12 * row : 12 * row + 12, 12 * column : 12 * column + 12] = np.rint(found.pixels.mean(axis=(0, 1)))
        lost = answer.values[0] - scorer.answer(covered, ["#바다", "카페"]).values[0]
        assert occlusion.grid[row, column] == pytest.approx(lost, abs=2e-5)
    probe = scorer.probe(image, ["#바다", "카페"])
    for each, values in ((attention, probe.cosines), (occlusion, probe.values)):
        assert each.gap == pytest.approx(deletion_gap(values, probe.pixels, each.grid))
        assert each.control_gap == pytest.approx(deletion_gap(values, probe.pixels, fixed_place((6, 6))))
    said = json.loads(json.dumps(found.as_dict()))
    assert said["notes"] == [EVIDENCE]
    assert np.shape(said["maps"][0]["grid"]) == (6, 6)
    assert "pixels" not in said


@pytest.mark.parametrize("judged", [None, by_thresholds])
def test_without_probabilities_both_maps_explain_the_cosine(backbone: Backbone, image: Path, judged) -> None:  # type: ignore[no-untyped-def]
    scorer = Scorer("s", judged, WarmEncoder(lambda: backbone), no_table)
    found = explain(scorer, image.read_bytes(), "바다")
    assert [each.explains for each in found.maps] == ["cosine", "cosine"]
    assert found.expected_score is None
    assert found.predicted == (None if judged is None else 4)
    assert found.image == "the image"


def test_an_architecture_without_attention_is_explained_by_occlusion_alone(image: Path) -> None:
    backbone = load_backbone(resolve_backbone("tiny"), device="cpu", precision="fp32")
    backbone.model.config.vision_config.patch_size = 36  # not the patches that the model has
    scorer = Scorer("s", None, WarmEncoder(lambda: backbone), no_table)
    found = explain(scorer, image, "바다")
    assert [each.method for each in found.maps] == ["occlusion"]
    assert "gives no attention weights" in found.notes[0]
    assert found.as_dict()["notes"] == [*found.notes, EVIDENCE]
    with pytest.raises(BackboneError, match="use --method occlusion"):
        explain(scorer, image, "바다", methods=["attention"])


def test_an_unknown_method_is_refused(backbone: Backbone, image: Path) -> None:
    scorer = Scorer("s", None, WarmEncoder(lambda: backbone), no_table)
    with pytest.raises(InputError, match="there is no method 'gradcam': expected attention or occlusion"):
        explain(scorer, image, "바다", methods=["gradcam"])  # type: ignore[list-item]
