"""A configuration survives JSON and says what is wrong with it."""

import json
from dataclasses import replace

import pytest

from consistency.errors import InputError
from heads.model import (
    HeadConfig,
)


def test_configurations_survive_json_and_say_what_is_wrong_with_them():
    for config in (HeadConfig(), HeadConfig.paper(), HeadConfig(hidden=(), patience=4)):
        assert HeadConfig.from_dict(json.loads(json.dumps(config.as_dict()))) == config
    wrong = {
        "features is 'sum': expected one of concat, full": {"features": "sum"},
        "loss is 3: expected one of cross-entropy": {"loss": 3},
        r"hidden is \[4, 4, 4\]: expected at most two positive widths": {"hidden": [4, 4, 4]},
        "hidden is 64: expected a list of widths": {"hidden": 64},
        "dropout is 1.0: expected a number of at least 0 and below 1": {"dropout": 1.0},
        "lr is 'fast': expected a number": {"lr": "fast"},
        "lr is nan": {"lr": float("nan")},
        "epochs is 2.5: expected a whole number of at least 1": {"epochs": 2.5},
        "batch_size is True": {"batch_size": True},
        "patience is 0": {"patience": 0},
        "standardise is 1: expected true or false": {"standardise": 1},
        "unknown head setting learning_rate: expected features, hidden": {"learning_rate": 1},
    }
    for message, values in wrong.items():
        with pytest.raises(InputError, match=message):
            HeadConfig.from_dict(values)
    assert replace(HeadConfig(), hidden=[3]).hidden == (3,)
