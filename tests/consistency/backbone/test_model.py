"""Backbones against transformers run plainly on the same files, and what broken files get."""

import json
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from safetensors.torch import load_file, save_file
from sklearn.datasets import load_sample_images

from consistency.backbone.model import Backbone, load_backbone
from consistency.backbone.resolve import choose_device, fingerprint_fields, resolve_backbone
from consistency.errors import BackboneError
from tests.builders.models import KINDS, change_json, make_clip_folder, make_other_folder, write_json

HASHTAGS = ["#바다여행", "맛스타그램", "#夜景", "カフェ", "#ootd", "☕🌊❤️", "#여행 에세이 2024", "뷁"]
LONG = "#제주도한달살기브이로그" * 10


@pytest.fixture(scope="module")
def pictures() -> list[Image.Image]:
    """A wide and an upright photograph, and one smaller than the models' input."""
    china, flower = (Image.fromarray(array) for array in load_sample_images().images)
    return [china, flower.transpose(Image.Transpose.ROTATE_90), flower.resize((20, 17))]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    made: dict[str, Path] = {}

    def folder(kind: str) -> Path:
        if kind not in made:
            made[kind] = KINDS[kind](tmp_path_factory.mktemp("models") / "model")
        return made[kind]

    return folder


@pytest.fixture
def clip(folders: Callable[[str], Path], tmp_path: Path) -> Path:
    """A CLIP folder to change."""
    return Path(shutil.copytree(folders("clip"), tmp_path / "clip"))


def load(folder: Path, **options: Any) -> Backbone:
    return load_backbone(resolve_backbone(str(folder)), device="cpu", **options)


def encode(backbone: Backbone, pictures: list[Image.Image]) -> np.ndarray:
    return backbone.encode_images(np.stack([backbone.prepare(picture) for picture in pictures]))


def expected(folder: Path, pictures: list[Image.Image], texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """image_embeds and text_embeds as transformers computes them, every text padded to the model's length."""
    model = transformers.AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    processor = transformers.AutoImageProcessor.from_pretrained(folder, backend="pil")
    with torch.inference_mode():
        output = model(
            **tokenizer(texts, padding="max_length", truncation=True, return_tensors="pt"),
            **processor(images=pictures, return_tensors="pt"),
        )
    return output.image_embeds.numpy(), output.text_embeds.numpy()


@pytest.mark.parametrize("trainable", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_embeddings_are_those_of_transformers(
    kind: str, trainable: bool, folders: Callable[[str], Path], pictures: list[Image.Image]
) -> None:
    folder = folders(kind)
    backbone = load(folder, trainable=trainable)
    # Each text alone too: a batch that holds a long text pads all of them to the model's length.
    images, short = encode(backbone, pictures), backbone.encode_texts(HASHTAGS)
    mixed = backbone.encode_texts([*HASHTAGS, LONG])
    true_images, true_texts = expected(folder, pictures, [*HASHTAGS, LONG])
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
    if kind == "siglip":  # trained with padding, and attends to it
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


@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_pixels_equal_those_of_transformers_processor(
    kind: str, folders: Callable[[str], Path], pictures: list[Image.Image]
) -> None:
    pictures = [*pictures, pictures[0].resize((300, 31)), pictures[1].resize((549, 969))]
    backbone = load(folders(kind))
    processor = transformers.AutoImageProcessor.from_pretrained(folders(kind), backend="pil")
    prepared = [backbone.prepare(picture) for picture in pictures]
    assert {array.dtype for array in prepared} == {np.dtype(np.uint8)}
    theirs = processor(images=pictures, return_tensors="pt")["pixel_values"]
    torch.testing.assert_close(backbone.pixels(np.stack(prepared)), theirs, atol=1e-5, rtol=0)


def test_preprocessing_that_is_not_ours_goes_through_transformers(clip: Path, pictures: list[Image.Image]) -> None:
    config = json.loads((clip / "preprocessor_config.json").read_text())
    # Padding after a resize to the longest edge: nothing that PreprocessSpec knows.
    config |= {"image_processor_type": "ConvNextImageProcessor", "crop_pct": 0.875, "size": {"shortest_edge": 32}}
    write_json(clip / "preprocessor_config.json", config)
    backbone = load(clip)
    assert backbone.spec is None
    np.testing.assert_allclose(encode(backbone, pictures), expected(clip, pictures, HASHTAGS)[0], atol=1e-5)


def test_the_old_form_of_the_preprocessing_is_understood(clip: Path, pictures: list[Image.Image]) -> None:
    config = json.loads((clip / "preprocessor_config.json").read_text())
    for key in ("image_processor_type", "do_convert_rgb", "do_rescale", "rescale_factor"):
        del config[key]
    config |= {"feature_extractor_type": "CLIPFeatureExtractor", "size": 32, "crop_size": 32}  # as openai's
    write_json(clip / "preprocessor_config.json", config)
    backbone = load(clip)
    assert backbone.spec is not None
    np.testing.assert_allclose(encode(backbone, pictures), expected(clip, pictures, HASHTAGS)[0], atol=1e-5)


def test_pictures_can_be_prepared_by_many_threads(clip: Path, pictures: list[Image.Image]) -> None:
    backbone = load(clip)
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(backbone.prepare, pictures * 20))
    alone = [backbone.prepare(picture) for picture in pictures]
    assert all((ours == alone[index % len(alone)]).all() for index, ours in enumerate(together))


def test_half_precision_weights_are_computed_in_fp32_unless_asked(tmp_path: Path, pictures: list[Image.Image]) -> None:
    folder = make_clip_folder(tmp_path / "half", dtype=torch.float16)
    exact, half = load(folder), load(folder, precision="bf16")
    assert {parameter.dtype for parameter in exact.model.parameters()} == {torch.float32}
    assert {parameter.dtype for parameter in half.model.parameters()} == {torch.bfloat16}
    images, texts = expected(folder, pictures, HASHTAGS)
    np.testing.assert_allclose(encode(exact, pictures), images, atol=1e-5)
    np.testing.assert_allclose(exact.encode_texts(HASHTAGS), texts, atol=1e-5)
    for ours, theirs in ((encode(half, pictures), images), (half.encode_texts(HASHTAGS), texts)):
        assert ours.dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(ours, axis=1), 1, atol=1e-6)
        assert 0.99 < (ours * theirs).sum(axis=1).min() < 0.9999999


@pytest.mark.parametrize("kind", ["clip", "siglip", "vision-text-dual-encoder"])
def test_only_a_model_that_is_not_trained_is_packed(kind: str, folders: Callable[[str], Path]) -> None:
    def linear(backbone: Backbone) -> set[str]:
        return {type(module).__name__ for module in backbone.model.modules() if "Linear" in type(module).__name__}

    assert "PackedLinear" not in linear(load(folders(kind)))
    assert "PackedLinear" not in linear(load(folders(kind), trainable=False, precision="bf16"))
    if torch.backends.mkldnn.is_available():
        packed = linear(load(folders(kind), trainable=False))
        assert "PackedLinear" in packed
        assert "Linear" not in packed


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


def test_a_model_that_gives_its_size_by_sides(tmp_path: Path, pictures: list[Image.Image]) -> None:
    folder = make_other_folder(tmp_path / "model", "vit")
    backbone = load(folder)
    assert backbone.model.config.vision_config.image_size == [32, 32]
    assert backbone.batch_sizes == (64, 128)
    np.testing.assert_allclose(encode(backbone, pictures), expected(folder, pictures, HASHTAGS)[0], atol=1e-5)


def test_batches_are_small_on_a_cpu(folders: Callable[[str], Path]) -> None:
    threads = torch.get_num_threads()
    backbone = load(folders("clip"))
    assert backbone.batch_sizes == (64, 128)
    vision = backbone.model.config.vision_config
    vision.image_size, vision.patch_size, vision.intermediate_size = 224, 32, 3072  # a ViT-B/32
    assert backbone.batch_sizes == (min(64, max(2, int(13.66 * threads))), 128)
    vision.patch_size, vision.intermediate_size = 14, 4096  # a ViT-L/14
    assert backbone.batch_sizes == (max(2, int(1.995 * threads)), 128)


def test_embeddings_carry_gradients(clip: Path, pictures: list[Image.Image]) -> None:
    backbone = load(clip)
    images = backbone.image_embeds(backbone.pixels(np.stack([backbone.prepare(picture) for picture in pictures])))
    texts = backbone.text_embeds(*backbone.text_batch(backbone.token_ids(HASHTAGS[:3])))
    (images * texts).sum().backward()
    missing = [name for name, weights in backbone.model.named_parameters() if weights.grad is None]
    assert missing == ["logit_scale"]


def test_the_fields_are_those_of_the_files(clip: Path) -> None:
    backbone = load(clip, precision="bf16", decode="fast")
    assert backbone.fields == fingerprint_fields(resolve_backbone(str(clip)), decode="fast", precision="bf16")


def test_pickles_and_shards_load_as_safetensors_do(clip: Path, pictures: list[Image.Image]) -> None:
    weights = clip / "model.safetensors"
    before = encode(load(clip), pictures)
    state = load_file(weights)
    halves = {"model-00001-of-00002.safetensors": {}, "model-00002-of-00002.safetensors": {}}  # type: dict[str, dict]
    for number, (name, tensor) in enumerate(state.items()):
        halves[list(halves)[number % 2]][name] = tensor.clone()
    weights.unlink()
    for name, part in halves.items():
        save_file(part, clip / name)
    index = {"weight_map": {key: name for name, part in halves.items() for key in part}}
    write_json(clip / "model.safetensors.index.json", index)
    np.testing.assert_array_equal(encode(load(clip), pictures), before)

    (clip / "model.safetensors.index.json").unlink()
    torch.save(state, clip / "pytorch_model.bin")
    np.testing.assert_array_equal(encode(load(clip), pictures), before)
    torch.save(state, clip / "pytorch_model.bin", _use_new_zipfile_serialization=False)  # as old files are
    np.testing.assert_array_equal(encode(load(clip), pictures), before)


def test_buffers_that_old_checkpoints_hold_are_no_unexpected_weights(clip: Path, pictures: list[Image.Image]) -> None:
    before = encode(load(clip), pictures)
    change_weights(
        clip,
        lambda state: state.update(
            {
                "text_model.embeddings.position_ids": torch.arange(77)[None],
                "vision_model.embeddings.position_ids": torch.arange(5)[None],
            }
        ),
    )
    np.testing.assert_array_equal(encode(load(clip), pictures), before)


class Evil:
    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return (Path.touch, (Path("ran.txt"),))


def to_pickle(folder: Path, value: object) -> None:
    (folder / "model.safetensors").unlink()
    torch.save(value, folder / "pytorch_model.bin")


def change_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    state = {name: tensor.clone() for name, tensor in load_file(folder / "model.safetensors").items()}
    change(state)
    save_file(state, folder / "model.safetensors", {"format": "pt"})


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def truncate_pickle(folder: Path) -> None:
    to_pickle(folder, {"weights": torch.ones(999)})
    truncate(folder / "pytorch_model.bin")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f: to_pickle(f, {"weights": Evil()}), "holds more than tensors"),
        (lambda f: to_pickle(f, [torch.ones(2)]), "holds no tensors by name"),
        (lambda f: to_pickle(f, {"state_dict": {"text_projection.weight": torch.ones(2)}}), "holds no tensors by name"),
        (truncate_pickle, "cannot be read as weights"),
        (lambda f: truncate(f / "model.safetensors"), "cannot be read as weights"),
        (lambda f: (f / "model.safetensors").write_bytes(b"\xff" * 1000), "cannot be read as weights"),
        (lambda f: (f / "model.safetensors").write_bytes(b""), "cannot be read as weights"),
        (
            lambda f: change_weights(f, lambda s: s.pop("text_projection.weight")),
            "1 missing keys (text_projection",
        ),
        (lambda f: change_weights(f, lambda s: s.update(head=torch.ones(2))), "1 unexpected keys (head)"),
        (lambda f: change_weights(f, lambda s: s["logit_scale"].fill_(torch.nan)), "logit_scale holds NaN"),
        (lambda f: change_weights(f, lambda s: s.update({"text_projection.weight": torch.ones(3, 3)})), "do not fit"),
        (lambda f: (f / "tokenizer.json").write_text("{}"), "the tokenizer of"),
        (lambda f: change_json(f / "tokenizer_config.json", eos_token="<end>"), "ids go beyond the vocabulary"),
        (lambda f: change_json(f / "config.json", projection_dim=31), "do not fit"),
        (lambda f: change_json(f / "config.json", text_config={"hidden_size": "wide"}), "the configuration of"),
    ],
)
def test_files_that_cannot_be_used_end_in_one_line(
    clip: Path, spoil: Callable[[Path], object], message: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    spoil(clip)
    with pytest.raises(BackboneError) as caught:
        load(clip)
    assert message in str(caught.value)
    assert str(clip) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "ran.txt").exists()


@pytest.mark.parametrize("call", ["load_file", "MODEL_MAPPING", "AutoTokenizer.from_pretrained"])
@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory")])
def test_a_lack_of_memory_is_no_fault_of_the_files(
    clip: Path, monkeypatch: pytest.MonkeyPatch, call: str, error: Exception
) -> None:
    class Full:
        def __call__(self, *arguments: object, **options: object) -> None:
            raise error

        def __getitem__(self, config: type) -> "Full":
            return self

        from_pretrained = __call__

    where = "state_dict" if call == "load_file" else "loading"
    monkeypatch.setattr(f"consistency.backbone.{where}.{call}", Full())
    with pytest.raises(type(error)):
        load(clip)


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_of_transformers_reaches_the_user(
    kind: str, folders: Callable[[str], Path], capfd: pytest.CaptureFixture[str]
) -> None:
    folder = folders(kind)
    capfd.readouterr()
    backbone = load(folder)
    backbone.encode_texts([LONG])
    backbone.truncated([LONG])
    assert capfd.readouterr() == ("", "")


def test_a_device_that_is_not_here_is_refused() -> None:
    assert choose_device("cpu") == "cpu"
    assert choose_device("auto") in ("cpu", "cuda", "mps")
    with pytest.raises(BackboneError, match="no device 'tpu' here; expected auto or cpu"):
        choose_device("tpu")
