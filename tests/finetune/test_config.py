import json
from typing import Any

import pytest

from consistency.errors import InputError
from finetune.config import FinetuneConfig
from heads.config import rate_share


@pytest.mark.parametrize("config", [FinetuneConfig.default(), FinetuneConfig.paper(), FinetuneConfig(freeze="text")])
def test_json_round_trip(config: FinetuneConfig) -> None:
    assert FinetuneConfig.from_dict(json.loads(json.dumps(config.as_dict()))) == config


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"optimizer": "sgd"}, "optimizer is 'sgd': expected one of adam, adamw"),
        ({"epochs": 0}, "epochs is 0: expected more than 0"),
        ({"max_steps": 0}, "max_steps is 0: expected a whole number of at least 1"),
        ({"average": 0.9}, "average is 0.9: expected one of none, ema, interpolate"),
        ({"ema_decay": 1.0}, "ema_decay is 1.0: expected a number between 0 and 1"),
        ({"micro_batch": 0}, "micro_batch is 0: expected a whole number of at least 1"),
        ({"crop": 0.0}, "crop above 0"),
        ({"freeze": "audio"}, "freeze is 'audio': expected a number of layers, image or text"),
        ({"freeze": 2, "lora": 4}, "lora or freeze, not both"),
    ],
)
def test_values_that_make_no_sense(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        FinetuneConfig(**changes)


def test_an_unknown_setting_is_named() -> None:
    with pytest.raises(InputError, match="unknown fine-tuning setting momentum"):
        FinetuneConfig.from_dict({"momentum": 0.9})


def test_rates() -> None:
    assert [rate_share("step", epoch, 0.0) for epoch in (0, 4, 5, 10)] == pytest.approx([1, 1, 0.1, 0.01])
    assert [rate_share("cosine", 0, done) for done in (0, 0.5, 1)] == pytest.approx([1, 0.5, 0])
    assert rate_share("constant", 7, 0.9) == 1
