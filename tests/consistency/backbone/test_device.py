"""Which device and which precision a backbone gets."""

from functools import partial
from pathlib import Path

import pytest
import torch

from consistency.backbone.device import choose_device, choose_precision, multiplies_bf16
from consistency.errors import BackboneError


def test_precision_follows_a_fixed_rule() -> None:
    assert choose_precision("auto", "cpu") == choose_precision("auto", "mps") == "fp32"
    assert choose_precision("bf16", "cpu") == "bf16"
    with pytest.raises(BackboneError, match="expected auto, fp32, bf16 or fp16"):
        choose_precision("fp8", "cpu")


def test_a_device_that_is_not_here_is_refused() -> None:
    assert choose_device("cpu") == "cpu"
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    assert choose_device("auto") == next(device for device, available in there.items() if available)
    with pytest.raises(BackboneError, match="this machine has no device 'tpu'; expected auto or cpu"):
        choose_device("tpu")


def test_whether_bf16_pays_is_what_the_processor_says(monkeypatch: pytest.MonkeyPatch) -> None:
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8").split()
    except OSError:
        pytest.skip("this system does not list the processor's abilities")
    assert multiplies_bf16() == bool({"amx_bf16", "avx512_bf16"} & set(flags))
    for told, expected in (({"amx_bf16": True}, True), ({"avx512_bf16": True}, True), ({"avx512_f": True}, False)):
        monkeypatch.setattr(torch.cpu, "get_capabilities", partial(dict, told), raising=False)
        assert multiplies_bf16() == expected
