"""Loading the files of a model: as transformers does, or refused in one line, and quietly."""

from collections.abc import Callable
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from consistency.backbone.loading import load_image_processor, load_model, load_tokenizer
from consistency.backbone.resolve import resolve_backbone
from consistency.errors import BackboneError
from tests.builders.backbones import LONG, encode, load
from tests.builders.models import KINDS, change_json, make_clip_folder, make_siglip_folder, write_json


def test_pickles_and_shards_load_as_safetensors_do(model: Path, photos: list[Image.Image]) -> None:
    weights = model / "model.safetensors"
    before = encode(load(model), photos)
    state = load_file(weights)
    halves = {"model-00001-of-00002.safetensors": {}, "model-00002-of-00002.safetensors": {}}  # type: dict[str, dict]
    for number, (name, tensor) in enumerate(state.items()):
        halves[list(halves)[number % 2]][name] = tensor.clone()
    weights.unlink()
    for name, part in halves.items():
        save_file(part, model / name)
    index = {"weight_map": {key: name for name, part in halves.items() for key in part}}
    write_json(model / "model.safetensors.index.json", index)
    np.testing.assert_array_equal(encode(load(model), photos), before)

    (model / "model.safetensors.index.json").unlink()
    torch.save(state, model / "pytorch_model.bin")
    np.testing.assert_array_equal(encode(load(model), photos), before)
    torch.save(state, model / "pytorch_model.bin", _use_new_zipfile_serialization=False)  # as old files are
    np.testing.assert_array_equal(encode(load(model), photos), before)


def test_buffers_that_old_checkpoints_hold_are_no_unexpected_weights(model: Path, photos: list[Image.Image]) -> None:
    before = encode(load(model), photos)
    change_weights(
        model,
        lambda state: state.update(
            {
                "text_model.embeddings.position_ids": torch.arange(77)[None],
                "vision_model.embeddings.position_ids": torch.arange(5)[None],
            }
        ),
    )
    np.testing.assert_array_equal(encode(load(model), photos), before)


def test_code_that_a_folder_brings_is_not_run(tmp_path: Path) -> None:
    """Neither if it comes into the folder after the folder was checked."""
    folder, ran = make_clip_folder(tmp_path / "model"), tmp_path / "ran.txt"
    resolved = resolve_backbone(str(folder))
    (folder / "evil.py").write_text(f"open({str(ran)!r}, 'w').close()\n")
    change_json(folder / "config.json", auto_map={"AutoConfig": "evil.Config", "AutoModel": "evil.Model"})
    change_json(folder / "tokenizer_config.json", auto_map={"AutoTokenizer": [None, "evil.Tokenizer"]})
    change_json(folder / "preprocessor_config.json", auto_map={"AutoImageProcessor": "evil.Processor"})
    for load_part in (lambda: load_model(resolved, torch.float32), lambda: load_tokenizer(resolved),
                      lambda: load_image_processor(resolved)):  # fmt: skip
        with suppress(BackboneError):  # refused is as good as loaded without it
            load_part()
    assert not ran.exists()


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
        (lambda f: to_pickle(f, [torch.ones(2)]), "holds no named tensors"),
        (lambda f: to_pickle(f, {"state_dict": {"text_projection.weight": torch.ones(2)}}), "holds no named tensors"),
        (truncate_pickle, "cannot be read as weights"),
        (lambda f: truncate(f / "model.safetensors"), "cannot be read as weights"),
        (lambda f: (f / "model.safetensors").write_bytes(b"\xff" * 1000), "cannot be read as weights"),
        (lambda f: (f / "model.safetensors").write_bytes(b""), "cannot be read as weights"),
        (
            lambda f: change_weights(f, lambda s: s.pop("text_projection.weight")),
            "1 missing keys (text_projection",
        ),
        (lambda f: change_weights(f, lambda s: s.update(head=torch.ones(2))), "1 unexpected keys (head)"),
        (lambda f: change_weights(f, lambda s: s["logit_scale"].fill_(torch.nan)), "logit_scale contains NaN"),
        (lambda f: change_weights(f, lambda s: s.update({"text_projection.weight": torch.ones(3, 3)})), "do not match"),
        (lambda f: (f / "tokenizer.json").write_text("{}"), "the tokenizer of"),
        (lambda f: change_json(f / "tokenizer_config.json", eos_token="<end>"), "ids exceed the vocabulary"),
        (lambda f: change_json(f / "config.json", projection_dim=31), "do not match"),
        (lambda f: change_json(f / "config.json", text_config={"hidden_size": "wide"}), "the configuration of"),
    ],
)
def test_files_that_cannot_be_used_end_in_one_line(
    model: Path, spoil: Callable[[Path], object], message: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    spoil(model)
    with pytest.raises(BackboneError) as caught:
        load(model)
    assert message in str(caught.value)
    assert str(model) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "ran.txt").exists()


@pytest.mark.parametrize("call", ["load_file", "MODEL_MAPPING", "AutoTokenizer.from_pretrained"])
@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory")])
def test_a_lack_of_memory_is_no_fault_of_the_files(
    model: Path, monkeypatch: pytest.MonkeyPatch, call: str, error: Exception
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
        load(model)


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


@pytest.mark.skipif(find_spec("sentencepiece") is not None, reason="the package is here")
def test_a_tokenizer_that_needs_sentencepiece(tmp_path: Path) -> None:
    folder = make_siglip_folder(tmp_path / "siglip")
    (folder / "tokenizer.json").unlink()
    (folder / "spiece.model").write_bytes(b"not read")
    change_json(folder / "tokenizer_config.json", tokenizer_class="SiglipTokenizer")
    expected = "needs a package that is not installed: pip install 'koclip-consistency.siglip.'$"
    with pytest.raises(BackboneError, match=expected):
        load_tokenizer(resolve_backbone(str(folder)))
