"""What an open_clip folder holds is checked without open_clip."""

from collections.abc import Callable
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants

from consistency.backbone.libraries import PACKAGES
from consistency.backbone.open_clip_folder import CONFIG, text_tower
from consistency.backbone.resolve import fingerprint_fields, resolve_backbone
from consistency.errors import BackboneError
from tests.builders.models import change_json, make_clip_folder, write_json

TEXT = {"hf_model_name": "facebook/nllb-200-distilled-600M", "hf_tokenizer_name": "facebook/nllb-200-distilled-600M"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An NLLB-CLIP as on the hub, with weights that are not read here."""
    path = tmp_path / "model"
    path.mkdir()
    write_json(path / CONFIG, {"model_cfg": {"embed_dim": 768, "vision_cfg": {}, "text_cfg": TEXT}})
    (path / "open_clip_pytorch_model.bin").write_bytes(b"weights")
    write_json(path / "tokenizer.json", {})
    return path


@pytest.fixture
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The hub's cache with the configuration of the text tower and nothing else."""
    repository = tmp_path / "hub" / "models--facebook--nllb-200-distilled-600M"
    snapshot = repository / "snapshots" / ("a" * 40)
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("a" * 40)
    write_json(snapshot / "config.json", {"model_type": "m2m_100"})
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return snapshot


def test_the_configuration_of_the_text_tower_comes_from_the_hub(folder: Path, hub_cache: Path) -> None:
    assert text_tower(folder) == TEXT["hf_model_name"]
    resolved = resolve_backbone(str(folder))
    assert (resolved.library, resolved.model_id, resolved.text_tower) == ("open_clip", "local", hub_cache)
    assert [path.name for path in resolved.weights] == ["open_clip_pytorch_model.bin"]
    change_json(hub_cache / "config.json", auto_map={"AutoModel": "code.Evil"})
    with pytest.raises(BackboneError, match="never does"):
        resolve_backbone(str(folder))


def test_the_configuration_of_the_text_tower_may_be_in_the_folder(folder: Path) -> None:
    write_json(folder / "config.json", {"model_type": "m2m_100"})
    assert resolve_backbone(str(folder)).text_tower == folder


def test_a_configuration_of_something_else_is_not_that_of_the_text_tower(folder: Path, hub_cache: Path) -> None:
    write_json(folder / "config.json", {"model_type": "vit"})
    assert resolve_backbone(str(folder)).text_tower == hub_cache


def test_a_model_that_transformers_can_load_is_left_to_it(tmp_path: Path) -> None:
    folder = make_clip_folder(tmp_path / "model")
    write_json(folder / CONFIG, {"model_cfg": {}})
    assert resolve_backbone(str(folder)).library == "transformers"


def of_tower(name: str, **values: Any) -> Callable[[Path], None]:
    config = {"embed_dim": 768, "vision_cfg": {}, "text_cfg": TEXT}
    return lambda folder: write_json(folder / CONFIG, {"model_cfg": config | {name: config[name] | values}})  # type: ignore[operator]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f: write_json(f / CONFIG, {"model_cfg": []}), "expected an open_clip model"),
        (of_tower("vision_cfg", timm_model_name="hf-hub:kim/evil"), "takes its image tower from elsewhere"),
        (of_tower("text_cfg", tokenizer_mode="clips"), "asks for the tokenizer mode 'clips'"),
        (
            lambda f: (f / "tokenizer.json").unlink(),
            "put the tokenizer files of facebook/nllb-200",
        ),
        (lambda f: (f / "open_clip_pytorch_model.bin").unlink(), "expected open_clip_model.safetensors or "),
        (lambda f: (f / "open_clip_pytorch_model.bin").unlink(), "complete it with 'hf download MODEL_ID"),
        (lambda f: change_json(f / CONFIG, auto_map={"AutoModel": "code.Evil"}), "never does"),
    ],
)
@pytest.mark.usefixtures("hub_cache")
def test_a_folder_that_cannot_be_loaded_says_why(folder: Path, spoil: Callable[[Path], None], message: str) -> None:
    spoil(folder)
    with pytest.raises(BackboneError) as caught:
        resolve_backbone(str(folder))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(find_spec("open_clip") is not None, reason="open_clip is installed")
@pytest.mark.usefixtures("hub_cache")
def test_without_open_clip_one_line_names_the_extra(folder: Path) -> None:
    with pytest.raises(BackboneError) as caught:
        fingerprint_fields(resolve_backbone(str(folder)), decode="ours", precision="fp32")
    assert str(caught.value).endswith("which is not installed: pip install 'koclip-consistency[openclip]'")
    missing = str(caught.value).split()[4].rstrip(",")
    assert missing in PACKAGES["open_clip"]
    with pytest.raises(metadata.PackageNotFoundError):
        metadata.version(missing)
