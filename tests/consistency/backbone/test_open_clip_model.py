"""Embeddings of an open_clip folder equal those of open_clip's own call. `make test-openclip` runs this file."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from consistency.backbone.base import Backbone
from consistency.backbone.model import load_backbone
from consistency.backbone.resolve import resolve_backbone
from consistency.errors import BackboneError
from tests.builders.backbones import HASHTAGS, LONG, encode
from tests.builders.commands import Run, data_options, rows_of
from tests.builders.models import change_json

pytest.importorskip("open_clip")
from tests.builders.open_clip import KINDS, expected, make_open_clip_folder  # noqa: E402


@pytest.fixture(scope="module", params=KINDS)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_open_clip_folder(tmp_path_factory.mktemp("models") / "model", request.param)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_open_clip_folder(tmp_path_factory.mktemp("clip") / "model", "CLIP")


def load(folder: Path, precision: str = "fp32") -> Backbone:
    return load_backbone(resolve_backbone(str(folder)), device="cpu", precision=precision, trainable=False)


def test_embeddings_are_those_of_open_clip(
    folder: Path, photos: list[Image.Image], capfd: pytest.CaptureFixture[str]
) -> None:
    capfd.readouterr()
    backbone = load(folder)
    images, short = encode(backbone, photos), backbone.encode_texts(HASHTAGS)
    mixed = backbone.encode_texts([LONG, "#바다"])
    assert capfd.readouterr() == ("", "")  # nothing of the library reaches the user
    true_images, true_texts = expected(folder, photos, [*HASHTAGS, LONG, "#바다"])
    for ours, theirs in ((images, true_images), (short, true_texts[:-2]), (mixed, true_texts[-2:])):
        assert ours.dtype == np.float32
        assert ours.shape == (len(theirs), backbone.embed_dim)
        np.testing.assert_allclose(ours, theirs, atol=1e-5)
    assert (true_texts @ true_texts.T).min() < 0.99  # the texts are told apart at all
    assert backbone.truncated([LONG, "#바다", LONG + "!"]) == [LONG, LONG + "!"]
    assert backbone.truncated([]) == backbone.token_ids([]) == []
    assert min(backbone.batch_sizes) >= 2


def test_a_folder_made_of_weights_text_tower_and_configuration(tmp_path: Path, photos: list[Image.Image]) -> None:
    """As docs/backbones.md makes it of XLM-RoBERTa's weights: open_clip's configuration names a model of the hub."""
    made = make_open_clip_folder(tmp_path / "made", "XLM-RoBERTa")
    change_json(made / "open_clip_config.json", preprocess_cfg={})
    images, texts = expected(made, photos, HASHTAGS)
    folder = tmp_path / "xlmr"
    shutil.copytree(made, folder)
    shutil.copy(tmp_path / "made-text" / "config.json", folder)
    torch.save(load_file(folder / "open_clip_model.safetensors"), folder / "open_clip_pytorch_model.bin")
    (folder / "open_clip_model.safetensors").unlink()
    config = json.loads((folder / "open_clip_config.json").read_text())["model_cfg"]
    config["text_cfg"] |= {"hf_model_name": "xlm-roberta-base", "hf_tokenizer_name": "xlm-roberta-base"}
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config}))
    backbone = load(folder)
    np.testing.assert_allclose(encode(backbone, photos), images, atol=1e-5)
    np.testing.assert_allclose(backbone.encode_texts(HASHTAGS), texts, atol=1e-5)


def test_half_precision_is_close(clip: Path, photos: list[Image.Image]) -> None:
    half, (images, texts) = load(clip, "bf16"), expected(clip, photos, HASHTAGS)
    assert {weights.dtype for weights in half.model.parameters()} == {torch.bfloat16}
    for ours, theirs in ((encode(half, photos), images), (half.encode_texts(HASHTAGS), texts)):
        assert 0.98 < (ours * theirs).sum(axis=1).min() < 0.9999999


def test_the_fields_name_the_library_and_what_it_reads(clip: Path, tmp_path: Path) -> None:
    import open_clip

    fields = load(clip).fields
    assert f"open_clip_torch {open_clip.__version__.split('.')[0]}" in fields["libraries"]
    assert "interpolation" in fields["preprocessing"]
    other = Path(shutil.copytree(clip, tmp_path / "model"))
    change_json(other / "open_clip_config.json", preprocess_cfg={"mean": [0.5] * 3, "std": [0.5] * 3})
    changed = load(other).fields
    assert {name for name in fields if fields[name] != changed[name]} == {"revision", "preprocessing"}


def test_weights_that_do_not_fit_end_in_one_line(clip: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(clip, tmp_path / "model"))
    weights = folder / "open_clip_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(BackboneError, match="cannot be loaded as .*open_clip_config.json describes it"):
        load(folder)
    with pytest.raises(BackboneError, match="is a model of open_clip, which cannot be fine-tuned here"):
        load_backbone(resolve_backbone(str(clip)), device="cpu")


def test_a_run_from_extraction_to_score_and_again(run: Run, small_demo: Path, clip: Path, tmp_path: Path) -> None:
    options = ["--backbone", clip, *data_options(small_demo, tmp_path)]
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
    for row in rows_of(tmp_path / "out.csv"):
        pair = row["Image Filename"], row["Hashtag"]
        assert answers.get(pair, row["predicted"]) == row["predicted"]
