"""Embeddings of a backbone equal those that transformers computes from the same files."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from PIL import Image

from consistency.backbone.transformers_model import TransformersBackbone
from tests.builders.backbones import HASHTAGS, LONG, encode, expected, load
from tests.builders.models import KINDS, make_clip_folder, make_other_folder, write_json


@pytest.mark.parametrize("trainable", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_embeddings_are_those_of_transformers(
    kind: str, trainable: bool, folders: Callable[[str], Path], photos: list[Image.Image]
) -> None:
    folder = folders(kind)
    backbone = load(folder, trainable=trainable)
    # Each text alone too: a batch that holds a long text pads all of them to the model's length.
    images, short = encode(backbone, photos), backbone.encode_texts(HASHTAGS)
    mixed = backbone.encode_texts([*HASHTAGS, LONG])
    true_images, true_texts = expected(folder, photos, [*HASHTAGS, LONG])
    for ours, theirs in ((images, true_images), (short, true_texts[:-1]), (mixed, true_texts)):
        assert ours.dtype == np.float32
        assert ours.shape == (len(theirs), backbone.embed_dim)
        np.testing.assert_allclose(np.linalg.norm(ours, axis=1), 1, atol=1e-6)
        np.testing.assert_allclose(ours, theirs, atol=1e-5)
        assert (ours * theirs).sum(axis=1).min() > 0.999999
    assert (true_texts @ true_texts.T).min() < 0.99  # the texts are told apart at all


@pytest.mark.parametrize("kind", KINDS)
def test_texts_are_padded_no_further_than_the_model_needs(kind: str, folders: Callable[[str], Path]) -> None:
    backbone = load(folders(kind))
    ids = backbone.token_ids(HASHTAGS)
    tokens, mask = backbone.text_batch(ids)
    if "siglip" in kind:  # trained with padding, and attends to it
        assert tokens.shape == (len(HASHTAGS), backbone.text_length)
        assert mask.all()
    else:
        assert tokens.shape == (len(HASHTAGS), max(map(len, ids)))
        assert mask.sum(dim=1).tolist() == list(map(len, ids))


@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_long_hashtags_are_cut_as_transformers_does_and_counted(kind: str, folders: Callable[[str], Path]) -> None:
    backbone = load(folders(kind))
    tokenizer = transformers.AutoTokenizer.from_pretrained(folders(kind))
    ids = backbone.token_ids([LONG, "#바다"])
    assert ids == tokenizer([LONG, "#바다"], truncation=True)["input_ids"]
    assert len(ids[0]) == backbone.text_length
    assert ids[0][-1] == tokenizer.eos_token_id
    assert backbone.truncated([LONG, "#바다", LONG + "!"]) == [LONG, LONG + "!"]
    lengths = (len(tokenizer("a" * number)["input_ids"]) for number in range(100))
    exact = "a" * list(lengths).index(backbone.text_length)
    assert backbone.truncated([exact, exact + "a"]) == [exact + "a"]
    assert backbone.truncated([]) == []
    assert backbone.token_ids([]) == []


@pytest.mark.parametrize("kind", ["siglip 2", "siglip 2, naflex"])
def test_siglip_2_reads_text_and_images_as_its_own_processor_does(
    kind: str, folders: Callable[[str], Path], photos: list[Image.Image]
) -> None:
    folder, texts = folders(kind), ["#Cafe 바다", "#CAFE 바다", "#cafe 바다", "☕", LONG]
    images = transformers.AutoImageProcessor.from_pretrained(folder, backend="pil")
    tokenizer = transformers.Siglip2Tokenizer.from_pretrained(folder)
    backbone = load(folder)
    options: dict[str, Any] = {"padding": "max_length", "max_length": 16, "truncation": True, "return_tensors": "pt"}
    if "naflex" in kind:
        assert backbone.spec is None
        assert {backbone.prepare(photo).shape for photo in photos} == {(17, 3 * 16 * 16)}
        processor: Any = transformers.Siglip2Processor(images, tokenizer)
        inputs = processor(images=photos, text=texts, max_num_patches=16, **options)
        grids = [tuple(backbone.prepare(photo)[-1, :2].astype(int)) for photo in photos]
        assert grids == [tuple(grid) for grid in inputs["spatial_shapes"].tolist()]
        assert len(set(grids)) > 1
    else:
        inputs = {**tokenizer(texts, **options), **images(photos, return_tensors="pt")}
    model = transformers.AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.inference_mode():
        theirs = model(**inputs)
    np.testing.assert_allclose(encode(backbone, photos), theirs.image_embeds.numpy(), atol=1e-5)
    ours = backbone.encode_texts(texts)
    np.testing.assert_allclose(ours, theirs.text_embeds.numpy(), atol=1e-5)
    np.testing.assert_allclose(ours[[0, 1]], ours[[2, 2]], atol=1e-6)
    assert ours[0] @ ours[3] < 0.999
    assert backbone.fields["text"].startswith("lower-cased; ")


def test_siglip_keeps_its_own_tokenizer(folders: Callable[[str], Path]) -> None:
    assert load(folders("siglip")).fields["text"].startswith("as in the table; ")


@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_pixels_equal_those_of_transformers_processor(
    kind: str, folders: Callable[[str], Path], photos: list[Image.Image]
) -> None:
    photos = [*photos, photos[0].resize((300, 31)), photos[1].resize((549, 969))]
    backbone = load(folders(kind))
    processor = transformers.AutoImageProcessor.from_pretrained(folders(kind), backend="pil")
    prepared = [backbone.prepare(photo) for photo in photos]
    assert {array.dtype for array in prepared} == {np.dtype(np.uint8)}
    theirs = processor(images=photos, return_tensors="pt")["pixel_values"]
    torch.testing.assert_close(backbone.pixels(np.stack(prepared)), theirs, atol=1e-5, rtol=0)


def test_preprocessing_that_is_not_ours_goes_through_transformers(model: Path, photos: list[Image.Image]) -> None:
    config = json.loads((model / "preprocessor_config.json").read_text())
    # Padding after a resize to the longest edge: nothing that PreprocessSpec knows.
    config |= {"image_processor_type": "ConvNextImageProcessor", "crop_pct": 0.875, "size": {"shortest_edge": 32}}
    write_json(model / "preprocessor_config.json", config)
    backbone = load(model)
    assert backbone.spec is None
    np.testing.assert_allclose(encode(backbone, photos), expected(model, photos, HASHTAGS)[0], atol=1e-5)


def test_the_old_form_of_the_preprocessing_is_understood(model: Path, photos: list[Image.Image]) -> None:
    config = json.loads((model / "preprocessor_config.json").read_text())
    for key in ("image_processor_type", "do_convert_rgb", "do_rescale", "rescale_factor"):
        del config[key]
    config |= {"feature_extractor_type": "CLIPFeatureExtractor", "size": 32, "crop_size": 32}  # as openai's
    write_json(model / "preprocessor_config.json", config)
    backbone = load(model)
    assert backbone.spec is not None
    np.testing.assert_allclose(encode(backbone, photos), expected(model, photos, HASHTAGS)[0], atol=1e-5)


@pytest.mark.parametrize("kind", ["clip", "siglip", "vision-text-dual-encoder"])
def test_only_a_model_that_is_not_trained_is_packed(kind: str, folders: Callable[[str], Path]) -> None:
    def linear(backbone: TransformersBackbone) -> set[str]:
        return {type(module).__name__ for module in backbone.model.modules() if "Linear" in type(module).__name__}

    assert "PackedLinear" not in linear(load(folders(kind)))
    assert "PackedLinear" not in linear(load(folders(kind), trainable=False, precision="fp16"))
    has_onednn = torch.backends.mkldnn.is_available()
    for precision, here in (
        ("fp32", has_onednn),
        ("bf16", has_onednn and torch.ops.mkldnn._is_mkldnn_bf16_supported()),
    ):
        packed = linear(load(folders(kind), trainable=False, precision=precision))
        assert ("PackedLinear" in packed, "Linear" in packed) == (here, not here)


def test_a_padding_token_of_the_highest_id_is_not_taken_for_the_end(tmp_path: Path) -> None:
    """By old configurations the end of a text is its largest id. A text alone needs no padding."""
    folder = make_clip_folder(tmp_path / "model", legacy_eos=True, vocab_size=2000)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    tokenizer.add_special_tokens({"pad_token": "[PAD]"})
    tokenizer.save_pretrained(folder)
    assert tokenizer.pad_token_id > tokenizer.eos_token_id
    model = transformers.AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.inference_mode():
        alone = [model.get_text_features(**tokenizer(text, return_tensors="pt")).pooler_output for text in HASHTAGS]
    expected = torch.nn.functional.normalize(torch.cat(alone)).numpy()
    for trainable in (True, False):
        np.testing.assert_allclose(load(folder, trainable=trainable).encode_texts(HASHTAGS), expected, atol=1e-5)


@pytest.mark.parametrize("kind", ["roberta", "altclip"])
def test_texts_are_cut_to_the_places_that_a_tower_has(tmp_path: Path, kind: str) -> None:
    """Of RoBERTa's, those up to the padding token's are never used; a tokenizer need not tell a length."""
    folder = make_other_folder(tmp_path / "model", kind)
    config = json.loads((folder / "tokenizer_config.json").read_text())
    del config["model_max_length"]
    write_json(folder / "tokenizer_config.json", config)
    backbone = load(folder)
    assert backbone.text_length == backbone.model.config.text_config.max_position_embeddings - 2
    assert np.isfinite(backbone.encode_texts([LONG, "#바다"])).all()


def test_a_model_that_gives_its_size_by_sides(tmp_path: Path, photos: list[Image.Image]) -> None:
    folder = make_other_folder(tmp_path / "model", "vit")
    backbone = load(folder)
    assert backbone.model.config.vision_config.image_size == [32, 32]
    assert backbone.batch_sizes == (64, 128)
    np.testing.assert_allclose(encode(backbone, photos), expected(folder, photos, HASHTAGS)[0], atol=1e-5)


def test_embeddings_carry_gradients(model: Path, photos: list[Image.Image]) -> None:
    backbone = load(model)
    images = backbone.image_embeds(backbone.pixels(np.stack([backbone.prepare(photo) for photo in photos])))
    texts = backbone.text_embeds(*backbone.text_batch(backbone.token_ids(HASHTAGS[:3])))
    (images * texts).sum().backward()
    missing = [name for name, weights in backbone.model.named_parameters() if weights.grad is None]
    assert missing == ["logit_scale"]
