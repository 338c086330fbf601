"""ONNX files of heads and thresholds against their originals, and what is refused. test_export.py has the towers."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from PIL import Image

from consistency.backbone.embeddings import PairEmbeddings
from consistency.backbone.model import load_backbone
from consistency.backbone.resolve import resolve_backbone
from consistency.errors import InputError, RunError
from heads.model import Head, HeadConfig, HeadEnsemble, TrainedHead
from heads.similarity import SimilarityModel
from koclip_consistency.scoring.exported import write_reference
from koclip_consistency.workflows import onnx_files
from koclip_consistency.workflows.onnx_files import Decider, check_onnx, write_head, write_tower
from tests.builders.backbones import expected
from tests.builders.models import make_clip_folder

DIM = 12


def trained(loss: str, features: str = "full", hidden: tuple[int, ...] = (8,), **more: object) -> TrainedHead:
    config = HeadConfig(loss=loss, features=features, hidden=hidden)
    return TrainedHead(config, Head(config, DIM, seed=3).eval(), DIM, 3, **({"temperature": 0.3} | more))  # type: ignore[arg-type]


HEADS: dict[str, Decider] = {
    "corn": trained("corn"),
    "ensemble": HeadEnsemble((trained("cross-entropy", "concat", ()), trained("cumulative-link")), 1.0),
    "thresholds": SimilarityModel("exact", (-0.1, 0.1, 0.2, 0.5), "macro-f1", 0.5),
}


def pairs_of(seed: int, n: int = 40) -> PairEmbeddings:
    vectors = np.random.default_rng(seed).normal(size=(2, n, DIM)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=2, keepdims=True)
    return PairEmbeddings(vectors[0], vectors[1], np.arange(n), np.arange(n))


@pytest.mark.parametrize(
    "name", ["corn", *(pytest.param(name, marks=pytest.mark.slow) for name in ("ensemble", "thresholds"))]
)
def test_a_file_answers_as_the_original(tmp_path: Path, name: str) -> None:
    """For pairs and a batch size that the check has not seen."""
    head, pairs = HEADS[name], pairs_of(5)
    assert write_head(tmp_path / "head.onnx", head, DIM) < 1e-5
    session = onnxruntime.InferenceSession(tmp_path / "head.onnx")
    found = dict(
        zip(
            (output.name for output in session.get_outputs()),
            session.run(None, {"image_vector": pairs.images, "hashtag_vector": pairs.hashtags}),
            strict=True,
        )
    )
    if isinstance(head, SimilarityModel):
        np.testing.assert_allclose(found["cosine"], pairs.cosine(), atol=1e-6)
        np.testing.assert_array_equal(found["score"], head.predict(pairs.cosine()) + 1)
    else:
        probabilities = head.predict(pairs).probabilities
        np.testing.assert_allclose(found["probabilities"], probabilities, atol=1e-6)
        np.testing.assert_allclose(found["expected_score"], probabilities @ np.arange(1, 6), atol=1e-5)


def test_a_file_that_differs_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_files, "TOLERANCE", 1e-12)
    with pytest.raises(RunError, match=r"head.onnx differs from the original by .*: export without --onnx"):
        write_head(tmp_path / "head.onnx", HEADS["thresholds"], DIM)


def test_towers_give_the_vectors_of_transformers(tmp_path: Path) -> None:
    """For images and texts that the check has not seen."""
    folder = make_clip_folder(tmp_path / "model")
    backbone = load_backbone(resolve_backbone(str(folder)), device="cpu", precision="fp32")
    write_reference(folder, backbone)
    rng, texts = np.random.default_rng(1), ["#바다여행", "☕🌊❤️", "뷁"]
    photos = [Image.fromarray(rng.integers(0, 256, (50, 70, 3), dtype=np.uint8)) for _ in range(3)]
    inputs = {
        "image": (backbone.pixels(np.stack([backbone.prepare(photo) for photo in photos])),),
        "text": backbone.text_batch(backbone.token_ids(texts)),
    }
    samples = dict(zip(("image", "text"), onnx_files._reference(folder, backbone), strict=True))
    for kind, wanted in zip(inputs, expected(folder, photos, texts), strict=True):
        path = tmp_path / f"{kind}.onnx"
        assert write_tower(path, backbone, kind, samples[kind]) < 1e-5
        session = onnxruntime.InferenceSession(path)
        names = [each.name for each in session.get_inputs()]
        asked = {name: part.numpy() for name, part in zip(names, inputs[kind], strict=True)}
        wanted /= np.linalg.norm(wanted, axis=1)[:, None]
        np.testing.assert_allclose(session.run(None, asked)[0], wanted, atol=1e-5)


def test_what_cannot_be_exported(monkeypatch: pytest.MonkeyPatch) -> None:
    for head in HEADS.values():
        check_onnx(head, "transformers")
    with pytest.raises(InputError, match="models of open_clip cannot be written as ONNX"):
        check_onnx(HEADS["corn"], "open_clip")
    with pytest.raises(InputError, match="a head that reads the whole post cannot be written"):
        check_onnx(trained("corn", "full+post"), "transformers")
    monkeypatch.setattr(onnx_files, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"onnx is not installed: pip install 'koclip-consistency\[onnx\]'"):
        check_onnx(HEADS["corn"], "transformers")


def test_an_exporter_that_fails_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unknown = trained("corn")
    object.__setattr__(unknown.config, "loss", "unknown")  # an operation that the exporter cannot trace
    with pytest.raises(InputError, match="head cannot be written as ONNX .*: export without --onnx"):
        onnx_files._export(
            onnx_files._Head((unknown,)), (*map(onnx_files.torch.from_numpy, (np.eye(2, DIM, dtype=np.float32),) * 2),),
            ["image_vector", "hashtag_vector"], ["probabilities", "expected_score"], None, tmp_path / "head.onnx",
        )  # fmt: skip
