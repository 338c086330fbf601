"""An exported folder under other library versions, and damaged ones."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save

from consistency.backbone.model import load_backbone
from consistency.backbone.resolve import fingerprint_fields, resolve_backbone
from consistency.durable import write_with_digest
from consistency.errors import CacheError, ConsistencyError, InputError, StorageError
from consistency.options import Encoding
from heads.similarity import SimilarityModel
from koclip_consistency.scoring.exported import (
    REFERENCE,
    Exported,
    compare_reference,
    is_exported,
    read_exported,
    write_reference,
)
from koclip_consistency.scoring.loading import load_scorer


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Thresholds on the packaged backbone, as `export` writes them."""
    folder = tmp_path_factory.mktemp("exported") / "scorer"
    tiny = resolve_backbone("tiny")
    shutil.copytree(tiny.folder, folder)
    encoding = Encoding(backbone=str(folder), text="plain", templates=("{} 사진",), precision="fp32")
    fields = fingerprint_fields(resolve_backbone(str(folder)), decode="ours", precision="fp32")
    thresholds = SimilarityModel("exact", (-0.1, 0.1, 0.2, 0.3), "macro-f1", 0.5).as_dict()
    (folder / "thresholds.json").write_text(json.dumps({"similarity-exact": thresholds}))
    write_reference(folder, load_backbone(tiny, device="cpu", precision="fp32"))
    Exported(folder, "similarity-exact", encoding, fields).write()
    return folder


def test_what_was_written_is_read(folder: Path, tmp_path: Path) -> None:
    assert is_exported(folder)
    assert not is_exported(folder.parent)
    found = read_exported(folder)
    assert (found.system, found.encoding.text, found.encoding.templates) == ("similarity-exact", "plain", ("{} 사진",))
    here = found.on(tmp_path, "cpu", 1)
    assert (here.cache, here.device, here.threads, here.backbone) == (tmp_path, "cpu", 1, str(folder.absolute()))


def test_the_reference_is_the_same_again(folder: Path) -> None:
    exported = read_exported(folder)
    backbone = load_backbone(resolve_backbone(str(folder)), device="cpu", precision="fp32")
    verdict = compare_reference(exported, backbone)
    assert (verdict.images, verdict.texts, verdict.equal) == (4, 5, True)
    assert verdict.largest < 1e-6
    arrays = load_file(folder / REFERENCE)
    np.testing.assert_allclose(np.linalg.norm(arrays["images"], axis=1), 1, atol=1e-6)
    np.testing.assert_array_equal(backbone.encode_texts(["바다"])[0], arrays["texts"][0])


def copied(folder: Path, out: Path) -> Path:
    shutil.copytree(folder, out)
    return out


def of_other_libraries(folder: Path, **fields: str) -> None:
    exported = read_exported(folder)
    replace(exported, fields={**exported.fields, "libraries": "pillow 1, tokenizers 0.1", **fields}).write()


def test_other_library_versions_must_give_the_same_vectors(folder: Path, tmp_path: Path) -> None:
    same = copied(folder, tmp_path / "same")
    of_other_libraries(same)
    assert load_scorer(same, cache=tmp_path / "cache").system == "similarity-exact"

    others = copied(same, tmp_path / "others")
    arrays = load_file(others / REFERENCE)
    arrays["images"][2, 0] += 0.01
    write_with_digest(others / REFERENCE, save(arrays))
    with pytest.raises(CacheError, match=r"differ in libraries: .*pillow 1.*4 images and 5 texts.*at most 0.01"):
        load_scorer(others, cache=tmp_path / "cache")

    settings = copied(folder, tmp_path / "settings")
    of_other_libraries(settings, decoding="upside down")
    with pytest.raises(CacheError, match="differ in decoding, libraries: use the same"):
        load_scorer(settings, cache=tmp_path / "cache")


def change(name: str, value: object) -> Callable[[Path], None]:
    def changed(folder: Path) -> None:
        content = json.loads((folder / "export.json").read_bytes())
        (folder / "export.json").write_text(json.dumps({**content, name: value}))

    return changed


def cut(folder: Path) -> None:
    (folder / REFERENCE).write_bytes(b"short")


@pytest.mark.parametrize(
    ("damage", "kind", "says"),
    [
        (
            change("format", 9),
            InputError,
            "newer version of this program .format 9, expected 1.: upgrade",
        ),
        (change("fingerprint", "ab"), InputError, "its fingerprint is not that of its fields"),
        (change("encoding", {}), InputError, "is damaged .KeyError"),
        (change("system", "none"), InputError, "has no system"),
        (cut, StorageError, "is damaged: its SHA-256"),
    ],
)
def test_damage_is_one_line(
    folder: Path, tmp_path: Path, damage: Callable[[Path], None], kind: type[ConsistencyError], says: str
) -> None:
    damaged = copied(folder, tmp_path / "scorer")
    of_other_libraries(damaged)
    damage(damaged)
    with pytest.raises(kind, match=says):
        load_scorer(damaged, cache=tmp_path / "cache", system="similarity-exact")
