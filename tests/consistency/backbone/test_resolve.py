"""Finding a backbone by alias or folder, and all that decides its embeddings."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from consistency.backbone.resolve import DECODING, fingerprint_fields, resolve_backbone
from consistency.data.trained_on import NOTHING, RECORD, UNKNOWN, Digests, TrainedOn
from consistency.errors import BackboneError

ROOT = Path(__file__).parents[3]


def fields(name: Path | str, decode: str = "ours", precision: str = "fp32") -> dict[str, str]:
    return fingerprint_fields(resolve_backbone(str(name)), decode=decode, precision=precision)


def refused(name: Path | str, *, revision: str | None = None) -> str:
    with pytest.raises(BackboneError) as caught:
        resolve_backbone(str(name), revision=revision)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_folder_is_known_by_its_contents_wherever_it_lies(model: Path, tmp_path: Path) -> None:
    found = resolve_backbone(str(model))
    assert (found.name, found.model_id, found.folder) == (str(model), "local", model)
    assert found.weights == (model / "model.safetensors",)
    assert re.fullmatch("sha256:[0-9a-f]{64}", found.revision)
    before = fields(model)
    (model / "README.md").write_text("not part of the model")
    assert fields(model.rename(tmp_path / "moved")) == before


def test_a_run_folder_stands_for_its_model(model: Path) -> None:
    assert resolve_backbone(str(model.parent)).folder == model
    assert fields(model.parent) == fields(model)


def test_what_a_folder_was_trained_on_is_found_and_changes_no_fingerprint(model: Path) -> None:
    before = resolve_backbone(str(model))
    assert before.trained_on == UNKNOWN
    record = TrainedOn(Digests(frozenset(["a"]), frozenset(["b"])))
    record.write(model)
    for name in (model, model.parent):  # the folder, and the run folder that holds it
        found = resolve_backbone(str(name))
        assert found.trained_on == record
        assert found.revision == before.revision
        assert found.weights == before.weights
    (model / RECORD).write_text("{}")
    assert f"{RECORD} is no record of a fine-tuning" in refused(model)


def test_the_packaged_backbone_has_seen_nothing_that_counts_under_either_name() -> None:
    assert resolve_backbone("tiny").trained_on == NOTHING
    assert resolve_backbone(str(ROOT / "demo" / "tiny")).trained_on == NOTHING


@pytest.mark.parametrize(
    "name",
    ["config.json", "preprocessor_config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"],
)
def test_one_changed_byte_changes_the_fingerprint(model: Path, name: str) -> None:
    before = fields(model)
    data = bytearray((model / name).read_bytes())
    position = data.index(b"  ") if name.endswith(".json") else len(data) // 2  # JSON stays JSON
    data[position] ^= 0x20 ^ 0x09
    (model / name).write_bytes(data)
    assert fields(model) != before


def test_everything_that_decides_a_vector_is_in_the_fingerprint(model: Path) -> None:
    ours = fields(model)
    assert {
        "schema",
        "model",
        "revision",
        "processor",
        "preprocessing",
        "decoding",
        "text",
        "libraries",
        "precision",
        "pooling",
    } <= (set(ours))
    assert ours["processor"] == "CLIPImageProcessor"
    assert json.loads(ours["preprocessing"]) == json.loads((model / "preprocessor_config.json").read_text())
    assert all("\n" not in text and str(model) not in text for text in ours.values())
    assert len({tuple(fields(model, decode).values()) for decode in DECODING}) == len(DECODING)
    assert len({fields(model, precision=precision)["precision"] for precision in ("fp32", "bf16", "fp16")}) == 3
    assert "rounding" in fields(model, precision="bf16").keys() - ours.keys()


def test_a_new_version_of_what_prepares_images_and_texts_changes_the_fingerprint(model: Path) -> None:
    """In a process of its own, which finds the metadata of other versions first."""

    def libraries(**versions: str) -> str:
        for name, version in versions.items():
            info = model.parent / "site" / f"{name}-0.dist-info"
            info.mkdir(parents=True, exist_ok=True)
            (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        code = (
            "import sys; from consistency.backbone.resolve import *;"
            "print(fingerprint_fields(resolve_backbone(sys.argv[1]), decode='ours', precision='fp32')['libraries'])"
        )
        environment = os.environ | {"PYTHONPATH": f"{model.parent / 'site'}:{ROOT}"}
        command = [sys.executable, "-c", code, str(model)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    before = libraries(pillow="12.1.0", tokenizers="0.22.1", transformers="5.24.0")
    assert before == "pillow 12, tokenizers 0.22, transformers 5"
    assert libraries(pillow="12.2.0", tokenizers="0.22.2", transformers="5.25.1") == before
    for name, version in (("pillow", "13.0.0"), ("tokenizers", "0.23.0"), ("transformers", "6.0.0.dev0")):
        after = libraries(**{name: version})
        assert after != before
        before = after


def test_names_that_cannot_be_meant_are_refused_at_once(made: Path, tmp_path: Path) -> None:
    assert "did you mean koclip?" in refused("kocilp")
    assert "did you mean clip?" in refused("clp")
    assert "did you mean tiny?" in refused("tyni")
    assert "there is no folder ./nowhere" in refused("./nowhere")
    assert f"did you mean {made}?" in refused(made.parent / "modle")
    assert "is a file" in refused(made / "model.safetensors")
    assert "neither config.json" in refused(tmp_path)
    assert "has no revision 'v1'" in refused(made, revision="v1")
    assert "valid Hugging Face id" in refused("한글/모델")


def test_a_folder_comes_before_a_hub_id_of_its_name(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(made, tmp_path / "kim" / "clip")
    monkeypatch.chdir(tmp_path)
    assert resolve_backbone("kim/clip").model_id == "local"
    shutil.copytree(made, tmp_path / "tiny")
    assert resolve_backbone("./tiny").folder == Path("tiny")


def test_the_packaged_backbone_is_found_without_torch_or_hub() -> None:
    script = (
        "import sys; from consistency.backbone.resolve import *; from consistency.backbone.device import *;"
        "found = resolve_backbone('tiny');"
        "fingerprint_fields(found, decode='ours', precision=choose_precision('auto', 'cpu'));"
        "print(found.model_id, found.folder);"
        "assert not {'torch', 'transformers', 'huggingface_hub'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.split() == ["local", str(ROOT / "demo" / "tiny")], done.stderr
