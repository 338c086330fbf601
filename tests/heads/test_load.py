"""Folders that hold no head, or one that cannot be read."""

import hashlib
import json

import pytest

from consistency.errors import InputError, StorageError
from heads.load import load_head
from heads.model import Head, HeadConfig, TrainedHead


def trained():
    return TrainedHead(HeadConfig.paper(), Head(HeadConfig.paper(), 12, seed=3).eval(), 12, 3)


def test_a_folder_without_a_readable_head_is_explained(tmp_path):
    with pytest.raises(InputError, match=r"has no trained head: .*head.json is missing"):
        load_head(tmp_path)
    trained().save(tmp_path)
    weights = tmp_path / "head.safetensors"
    assert hashlib.sha256(weights.read_bytes()).hexdigest() in (tmp_path / "head.safetensors.sha256").read_text()
    description = json.loads((tmp_path / "head.json").read_text())
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(StorageError, match="damaged"):
        load_head(tmp_path)
    trained().save(tmp_path)
    (tmp_path / "head.json").write_text(json.dumps(description | {"format": 2}))
    with pytest.raises(InputError, match="has format 2, expected 1"):
        load_head(tmp_path)
    other = description | {"embed_dim": 13}
    (tmp_path / "head.json").write_text(json.dumps(other))
    with pytest.raises(InputError, match="has no head that this version can read"):
        load_head(tmp_path)
