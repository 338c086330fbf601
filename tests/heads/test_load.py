"""Folders that hold no head, or one that cannot be read."""

import hashlib
import json

import pytest

from consistency.errors import InputError, StorageError
from heads.load import load_head
from heads.model import Head, HeadConfig, HeadEnsemble, TrainedHead


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
    with pytest.raises(InputError, match="newer version of this program .format 2, expected 1.: upgrade"):
        load_head(tmp_path)
    other = description | {"embed_dim": 13}
    (tmp_path / "head.json").write_text(json.dumps(other))
    with pytest.raises(InputError, match="has no head that this version can read"):
        load_head(tmp_path)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"temperature": 0}, "temperature is 0, expected a number above 0"),
        ({"temperature": -1.0}, "temperature is -1.0, expected"),
        ({"temperature": float("nan")}, "temperature is nan, expected"),
        ({"power": 9}, "power is 9, expected one of 0.0, 0.5, 1.0, 1.5, 2.0"),
        ({"thresholds": [5, 1, 2, 3]}, r"thresholds are \[5, 1, 2, 3\], expected 4 ascending numbers"),
        ({"thresholds": [1, 2, 3]}, "expected 4 ascending numbers"),
        ({"thresholds": [1, 2, 3, float("inf")]}, "expected 4 ascending numbers"),
        ({"thresholds": [1, 2, 3, "a"]}, "has no head that this version can read"),
    ],
)
def test_a_decision_rule_that_no_training_gives_is_refused(tmp_path, changed, said):
    trained().save(tmp_path)
    description = json.loads((tmp_path / "head.json").read_text())
    (tmp_path / "head.json").write_text(json.dumps(description | changed))
    with pytest.raises(InputError, match=said):
        load_head(tmp_path)


def test_a_head_that_claims_to_be_larger_than_its_weights_is_refused(tmp_path):
    """Before a network of that size is made: this one would take 32 TB."""
    trained().save(tmp_path)
    description = json.loads((tmp_path / "head.json").read_text())
    (tmp_path / "head.json").write_text(json.dumps(description | {"embed_dim": 2**36}))
    with pytest.raises(InputError, match="the network that it describes is larger than its weights"):
        load_head(tmp_path)


def test_members_of_an_ensemble_are_read_from_its_folder_alone(tmp_path):
    (tmp_path / "run").mkdir()
    HeadEnsemble((trained(), trained())).save(tmp_path / "run")
    (tmp_path / "private").mkdir()
    trained().save(tmp_path / "private")
    description = json.loads((tmp_path / "run" / "head.json").read_text())
    (tmp_path / "run" / "head.json").write_text(json.dumps(description | {"members": ["head-1", "../private"]}))
    with pytest.raises(InputError, match=r"has no trained head: .*run/private/head.json is missing"):
        load_head(tmp_path / "run")


def test_the_rule_of_an_ensemble_is_checked_too(tmp_path):
    HeadEnsemble((trained(), trained()), 0.5).save(tmp_path)
    description = json.loads((tmp_path / "head.json").read_text())
    (tmp_path / "head.json").write_text(json.dumps(description | {"power": -3}))
    with pytest.raises(InputError, match="power is -3, expected one of"):
        load_head(tmp_path)
