"""What a model folder holds is checked before anything heavy is loaded."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from consistency.backbone.libraries import files_of, small_files, weight_paths
from consistency.backbone.model_folder import (
    check_configuration,
    digest,
    is_small_file,
    model_type,
    processor_config,
    read_json,
    weight_names,
)
from consistency.backbone.resolve import fingerprint_fields, resolve_backbone
from consistency.durable import write_with_digest
from consistency.errors import BackboneError
from tests.builders.models import change_json, write_json


def refused(folder: Path) -> str:
    with pytest.raises(BackboneError) as caught:
        resolve_backbone(str(folder))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_safetensors_come_before_pickles(model: Path) -> None:
    shutil.copy(model / "model.safetensors", model / "pytorch_model.bin")
    assert [path.name for path in resolve_backbone(str(model)).weights] == ["model.safetensors"]
    (model / "model.safetensors").unlink()
    assert [path.name for path in resolve_backbone(str(model)).weights] == ["pytorch_model.bin"]


def test_damaged_weights_are_found_by_the_digest_beside_them(model: Path) -> None:
    weights = model / "model.safetensors"
    data, before = weights.read_bytes(), resolve_backbone(str(model))
    write_with_digest(weights, data)
    assert resolve_backbone(str(model)) == before
    weights.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    assert "model.safetensors is damaged" in refused(model)


def spoil_shards(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    write_json(folder / "model.safetensors.index.json", {"weight_map": {"a": "model-00001-of-00002.safetensors"}})


def leave_unfinished(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    part = folder / ".cache" / "huggingface" / "download" / "abc.def.incomplete"
    part.parent.mkdir(parents=True)
    part.write_bytes(b"half")


def leave_pointer(folder: Path) -> None:
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 605247071\n"
    (folder / "model.safetensors").write_text(pointer)


def escape_folder(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    write_json(folder / "model.safetensors.index.json", {"weight_map": {"a": "../secret.safetensors"}})


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f: (f / "config.json").unlink(), "neither config.json nor model/config.json"),
        (lambda f: (f / "config.json").write_text("{oops"), "cannot be read as JSON"),
        (lambda f: (f / "config.json").write_text("[]"), "JSON list; expected an object"),
        (lambda f: change_json(f / "config.json", model_type="bert"), "type 'bert'; expected a CLIP-family"),
        (lambda f: change_json(f / "config.json", auto_map={"AutoModel": "code.Evil"}), "never does"),
        (lambda f: change_json(f / "tokenizer_config.json", auto_map={"AutoTokenizer": "code.Evil"}), "never does"),
        (lambda f: (f / "preprocessor_config.json").unlink(), "has no preprocessor_config.json"),
        (lambda f: (f / "tokenizer.json").unlink(), "has no tokenizer"),
        (lambda f: (f / "model.safetensors").unlink(), "expected model.safetensors or pytorch_model.bin"),
        (spoil_shards, "lacks model-00001-of-00002.safetensors"),
        (spoil_shards, "complete it with 'hf download MODEL_ID --local-dir "),
        (leave_unfinished, "its download is unfinished: complete it with 'hf download MODEL_ID --local-dir "),
        (leave_pointer, "is a pointer of Git LFS and not the weights; fetch them with 'git -C "),
        (lambda f: (f / "model.safetensors").rename(f / "flax_model.msgpack"), "weights of Flax only"),
        (
            lambda f: (f / "model.safetensors").rename(f / "flax_model.msgpack"),
            "u.load_flax_checkpoint_in_pytorch_model(",
        ),
        (lambda f: change_json(f / "config.json", model_type="align"), "is an ALIGN, whose text tower has an English"),
        (escape_folder, "names no files in its own folder"),
    ],
)
def test_a_folder_that_cannot_be_loaded_says_why(model: Path, spoil: Callable[[Path], object], message: str) -> None:
    spoil(model)
    assert message in refused(model)


def test_the_nested_processor_configuration_counts_as_transformers_reads_it(model: Path) -> None:
    write_json(model / "processor_config.json", {"image_processor": {"image_processor_type": "SiglipImageProcessor"}})
    fields = fingerprint_fields(resolve_backbone(str(model)), decode="ours", precision="fp32")
    assert fields["processor"] == "SiglipImageProcessor"


def test_the_digest_is_that_of_names_and_contents(model: Path) -> None:
    (model / "README.md").write_text("not part of the model")
    whole = hashlib.sha256()
    for path in sorted(model.iterdir()):
        if path.name != "README.md":
            content = hashlib.sha256(path.read_bytes()).hexdigest()
            whole.update(f"{len(path.name)}:{path.name}:{content}\n".encode())
    assert digest(model, small_files(model, files_of(model)), weight_paths(model)) == whole.hexdigest()


def test_a_sound_folder_passes(model: Path) -> None:
    check_configuration(model)
    assert model_type(model) == "clip"
    assert processor_config(model) == json.loads((model / "preprocessor_config.json").read_text())
    assert weight_paths(model) == (model / "model.safetensors",)


def test_an_index_names_its_shards_once_and_in_order(tmp_path: Path) -> None:
    shards = {"a": "two.safetensors", "b": "one.safetensors", "c": "two.safetensors"}
    write_json(tmp_path / "model.safetensors.index.json", {"weight_map": shards})
    names = ["model.safetensors.index.json", "one.safetensors", "two.safetensors", "pytorch_model.bin"]
    assert weight_names(tmp_path, names) == ["one.safetensors", "two.safetensors"]


@pytest.mark.parametrize(
    ("name", "small"),
    [("config.json", True), ("merges.txt", True), ("spiece.model", True), ("model.safetensors", False),
     ("onnx/config.json", False), ("README.md", False)],
)  # fmt: skip
def test_small_files_are_configurations_and_tokenizers_at_the_top(name: str, small: bool) -> None:
    assert is_small_file(name) == small


def test_a_file_that_is_missing_is_named_with_its_folder(tmp_path: Path) -> None:
    with pytest.raises(BackboneError, match="has no config.json; expected a Hugging Face model folder"):
        read_json(tmp_path / "config.json")
