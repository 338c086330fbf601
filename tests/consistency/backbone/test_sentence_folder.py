"""What a sentence-transformers folder holds is checked without sentence-transformers."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from consistency.backbone.libraries import library_of, small_files
from consistency.backbone.resolve import resolve_backbone
from consistency.backbone.sentence_folder import MODULES, embeds_images, modules
from consistency.errors import BackboneError
from tests.builders.models import change_json, make_clip_folder, write_json

ROOT = Path(__file__).parents[3]
OWN = "sentence_transformers.models."


def list_modules(folder: Path, **places: str) -> None:
    listed = [{"idx": n, "name": str(n), "path": path, "type": kind} for n, (kind, path) in enumerate(places.items())]
    for module in listed:
        module["type"] = OWN + str(module["type"]) if "." not in str(module["type"]) else module["type"]
    (folder / MODULES).write_text(json.dumps(listed))


@pytest.fixture
def student(tmp_path: Path) -> Path:
    """A student of CLIP's text tower as on the hub, with weights that are not read here."""
    folder = tmp_path / "student"
    (folder / "1_Pooling").mkdir(parents=True)
    (folder / "2_Dense").mkdir()
    list_modules(folder, Transformer="", Pooling="1_Pooling", Dense="2_Dense")
    write_json(folder / "config.json", {"model_type": "distilbert"})
    write_json(folder / "sentence_bert_config.json", {"max_seq_length": 128, "do_lower_case": False})
    write_json(folder / "tokenizer.json", {})
    write_json(folder / "1_Pooling" / "config.json", {"pooling_mode_mean_tokens": True})
    write_json(folder / "2_Dense" / "config.json", {"activation_function": "torch.nn.modules.linear.Identity"})
    for weights in ("pytorch_model.bin", "2_Dense/pytorch_model.bin"):
        (folder / weights).write_bytes(b"weights")
    return folder


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    make_clip_folder(folder / "0_CLIPModel")
    list_modules(folder, CLIPModel="0_CLIPModel")
    return folder


def refused(name: object) -> str:
    with pytest.raises(BackboneError) as caught:
        resolve_backbone(str(name))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_model_of_texts_is_refused_alone_and_accepted_with_one_of_images(student: Path, clip: Path) -> None:
    assert embeds_images(clip)
    assert not embeds_images(student)
    said = refused(student)
    assert "embeds texts alone; name the model of its images too" in said
    assert said.endswith(f"for example {student}+openai/clip-vit-base-patch32")
    pair = resolve_backbone(f"{student}+{clip}")
    assert pair.weights == (clip / "0_CLIPModel" / "model.safetensors",)
    assert pair.texts is not None
    assert pair.texts.weights == (student / "pytorch_model.bin", student / "2_Dense" / "pytorch_model.bin")
    assert pair.fixed == "two models"
    assert "both embed images: name one of them" in refused(f"{clip}+tiny")
    assert "neither embeds images" in refused(f"{student}+{student}")
    assert "names 3 models; expected TEXT_MODEL+IMAGE_MODEL" in refused(f"{student}+{clip}+tiny")
    with pytest.raises(BackboneError, match="write the revision of each behind it, as HF_ID@REVISION"):
        resolve_backbone(f"{student}+{clip}", revision="main")


def test_a_plus_sign_in_the_name_of_a_folder_is_no_pair(tmp_path: Path) -> None:
    assert resolve_backbone(str(make_clip_folder(tmp_path / "a+b"))).folder == tmp_path / "a+b"


def test_modalities_are_those_that_the_folder_names(student: Path) -> None:
    change_json(student / "sentence_bert_config.json", modality_config={"text": {}, "image": {}})
    assert embeds_images(student)


def test_a_model_that_transformers_can_load_is_left_to_it(tmp_path: Path) -> None:
    folder = make_clip_folder(tmp_path / "model")
    list_modules(folder, Transformer="")
    assert library_of(folder) == "transformers"
    list_modules(folder, Transformer="", Normalize="1_Normalize")
    assert library_of(folder) == "transformers"
    list_modules(folder, Transformer="", Dense="1_Dense")  # transformers would leave the projection out
    assert library_of(folder) == "sentence-transformers"


def test_every_file_that_is_read_is_part_of_the_digest(student: Path, clip: Path) -> None:
    def revision() -> str:
        return resolve_backbone(f"{student}+{clip}").revision

    before = revision()
    (student / "onnx").mkdir()
    for unread in ("README.md", "onnx/config.json"):
        (student / unread).write_text("{}")
    assert revision() == before
    for name in ("2_Dense/pytorch_model.bin", "1_Pooling/config.json", "chat_template.jinja", "tokenizer.json"):
        (student / name).write_text('{"a": 1}')
        assert revision() != before
        before = revision()
    names = ["modules.json", "1_Pooling/config.json", "onnx/config.json", "chat_template.jinja", "model.onnx"]
    assert small_files(student, names) == ["modules.json", "1_Pooling/config.json", "chat_template.jinja"]
    assert [kind for kind, _ in modules(student)] == ["Transformer", "Pooling", "Dense"]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            lambda f: list_modules(f, **{"custom_st.Transformer": ""}),
            "asks to run code from the model's repository (custom_st.Transformer), which this program never does",
        ),
        (lambda f: list_modules(f, Transformer="", Router="1"), "has a module Router; expected CLIPModel, "),
        (lambda f: list_modules(f, Pooling="1_Pooling"), "does not begin with its only CLIPModel or Transformer"),
        (lambda f: list_modules(f, Transformer="../model"), "names ../model, which is not in its folder"),
        (lambda f: (f / MODULES).write_text("{}"), "does not begin with"),
        (lambda f: (f / MODULES).write_text("[1]"), "is no list of modules"),
        (lambda f: change_json(f / "config.json", auto_map={"AutoModel": "code.Evil"}), "never does"),
        (lambda f: write_json(f / "adapter_config.json", {}), "is an adapter of another model; merge it"),
        (
            lambda f: change_json(f / "2_Dense" / "config.json", activation_function="os.system"),
            "asks for the activation os.system, which is code from elsewhere; expected a module of torch",
        ),
        (
            lambda f: change_json(f / "sentence_bert_config.json", tokenizer_name_or_path="kim/other"),
            "names another folder (tokenizer_name_or_path)",
        ),
        (lambda f: (f / "tokenizer.json").unlink(), "has no tokenizer (tokenizer.json)"),
        (lambda f: (f / "2_Dense" / "pytorch_model.bin").unlink(), "2_Dense has no usable weights; expected"),
        (lambda f: (f / "pytorch_model.bin").write_text("version https://git-lfs.github.com/spec/v1"), "Git LFS"),
    ],
)
def test_a_folder_that_cannot_be_loaded_says_why(student: Path, spoil: Callable[[Path], None], message: str) -> None:
    spoil(student)
    assert message in refused(f"{student}+tiny")


def test_without_the_library_one_line_names_the_extra(clip: Path, tmp_path: Path) -> None:
    """In a process that finds no metadata of sentence-transformers."""
    code = (
        "import sys; from importlib import metadata; from consistency.backbone.resolve import *;"
        "real = metadata.Distribution.from_name.__func__;"
        "metadata.Distribution.from_name = classmethod(lambda cls, name: real(cls, name + '-absent' * "
        "name.startswith('sentence')));"
        "fingerprint_fields(resolve_backbone(sys.argv[1]), decode='ours', precision='fp32')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(clip)],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.stderr.splitlines()[-1].endswith(
        "models of sentence-transformers need sentence-transformers, which is not installed: "
        "pip install 'koclip-consistency[st]'"
    )
