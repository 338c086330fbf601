"""Embeddings of a sentence-transformers folder equal those of the library's own `encode`.

`make test-openclip` also runs what needs torchvision.
"""

import json
import shutil
from collections.abc import Callable
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from consistency.backbone.base import Backbone
from consistency.backbone.model import load_backbone
from consistency.backbone.resolve import resolve_backbone
from consistency.errors import BackboneError
from tests.builders.backbones import HASHTAGS, LONG, encode
from tests.builders.models import change_json

pytest.importorskip("sentence_transformers")
from tests.builders.sentence import expected, make_legacy_clip, make_projected_clip, make_qwen  # noqa: E402

needs_torchvision = pytest.mark.skipif(find_spec("torchvision") is None, reason="torchvision is not installed")
KINDS: list[object] = [make_legacy_clip, make_projected_clip, pytest.param(make_qwen, marks=needs_torchvision)]


@pytest.fixture(scope="module", params=KINDS)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    make: Callable[[Path], Path] = request.param
    return make(tmp_path_factory.mktemp("models") / "model")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_legacy_clip(tmp_path_factory.mktemp("clip") / "model")


def load(folder: Path, precision: str = "fp32") -> Backbone:
    return load_backbone(resolve_backbone(str(folder)), device="cpu", precision=precision, trainable=False)


def test_embeddings_are_those_of_the_library(
    folder: Path, photos: list[Image.Image], capfd: pytest.CaptureFixture[str]
) -> None:
    assert resolve_backbone(str(folder)).library == "sentence-transformers"
    capfd.readouterr()
    backbone = load(folder)
    images, short = encode(backbone, photos), backbone.encode_texts(HASHTAGS)
    mixed = backbone.encode_texts([LONG, "#바다"])
    assert capfd.readouterr() == ("", "")  # nothing of the library reaches the user
    true_texts = expected(folder, [*HASHTAGS, LONG, "#바다"])
    for ours, theirs in (
        (images, expected(folder, photos)),
        (short, true_texts[:-2]),
        (mixed, true_texts[-2:]),
    ):
        assert ours.dtype == np.float32
        assert ours.shape == (len(theirs), backbone.embed_dim)
        np.testing.assert_allclose(ours, theirs, atol=1e-5)
    assert (true_texts @ true_texts.T).min() < 0.99  # the texts are told apart at all
    assert backbone.truncated([LONG, "#바다", LONG + "!"]) == [LONG, LONG + "!"]
    assert backbone.truncated([]) == backbone.token_ids([]) == []
    assert min(backbone.batch_sizes) >= 2


def test_a_hashtag_that_is_an_address_is_a_text(clip: Path) -> None:
    """The library would download `https://...png` and `data:image/...` as images."""
    address = "https://example.invalid/a.png"
    (vector,) = load(clip).encode_texts([address])
    np.testing.assert_allclose(vector, expected(clip, [{"text": address}])[0], atol=1e-5)


def test_half_precision_is_close(clip: Path, photos: list[Image.Image]) -> None:
    half = load(clip, "bf16")
    for ours, inputs in ((encode(half, photos), photos), (half.encode_texts(HASHTAGS), HASHTAGS)):
        assert 0.98 < (ours * expected(clip, inputs)).sum(axis=1).min() < 0.9999999


def test_the_fields_name_the_library_and_change_with_every_file_it_reads(clip: Path, tmp_path: Path) -> None:
    import sentence_transformers

    fields = load(clip).fields
    assert f"sentence-transformers {sentence_transformers.__version__.split('.')[0]}" in fields["libraries"]
    assert json.loads(fields["preprocessing"])["crop_size"] == {"height": 32, "width": 32}
    for name, values in {
        "0_CLIPModel/preprocessor_config.json": {"resample": 2},
        "config_sentence_transformers.json": {"prompts": {"x": "a photo of "}, "default_prompt_name": "x"},
    }.items():
        other = Path(shutil.copytree(clip, tmp_path / name.replace("/", "-")))
        change_json(other / name, **values)
        assert load(other).fields["revision"] != fields["revision"]
    np.testing.assert_allclose(
        load(other).encode_texts(["#바다"]), expected(clip, ["a photo of #바다"]), atol=1e-5
    )  # the default prompt, as `encode` puts it


def test_code_that_a_folder_brings_is_not_run(clip: Path, tmp_path: Path) -> None:
    """Neither if it comes into the folder after the folder was checked."""
    folder, ran = Path(shutil.copytree(clip, tmp_path / "model")), tmp_path / "ran.txt"
    resolved = resolve_backbone(str(folder))
    (folder / "evil.py").write_text(f"open({str(ran)!r}, 'w').close()\n")
    modules = (folder / "modules.json").read_text()
    (folder / "modules.json").write_text(modules.replace("sentence_transformers.models.CLIPModel", "evil.Model"))
    with suppress(BackboneError):  # refused is as good as loaded without it
        load_backbone(resolved, device="cpu", trainable=False)
    assert not ran.exists()


def test_weights_that_do_not_fit_end_in_one_line(clip: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(clip, tmp_path / "model"))
    weights = folder / "0_CLIPModel" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(BackboneError, match="cannot be loaded by sentence-transformers: ") as caught:
        load(folder)
    assert "\n" not in str(caught.value)
    with pytest.raises(BackboneError, match="is a model of sentence-transformers, which cannot be fine-tuned here"):
        load_backbone(resolve_backbone(str(clip)), device="cpu")
