"""Chooses the device and the precision of a backbone."""

import sys
from importlib.metadata import version

from consistency.errors import BackboneError


def choose_device(requested: str) -> str:
    """Choose the device to run on.

    Parameters
    ----------
    requested : str
        A torch device, or "auto" for the first available of cuda, mps, cpu.

    Returns
    -------
    str

    Raises
    ------
    BackboneError
        If this machine does not have the device.
    """
    if requested == "cpu" or (requested == "auto" and _for_cpus_alone()):
        return "cpu"
    import torch  # without transformers this is fast enough even if the cache is complete

    available = ["cpu"]
    if torch.backends.mps.is_available():
        available.insert(0, "mps")
    if torch.cuda.is_available():
        available.insert(0, "cuda")
    if requested == "auto":
        return available[0]
    if requested.partition(":")[0] not in available:
        raise BackboneError(f"this machine has no device {requested!r}; expected auto or {' or '.join(available)}")
    return requested


def _for_cpus_alone() -> bool:
    """Whether torch was built without CUDA and MPS, as its version tells without loading it, which takes seconds."""
    return sys.platform != "darwin" and version("torch").endswith("+cpu")


def choose_precision(requested: str, device: str) -> str:
    """Choose the precision: "auto" is bf16 on a CUDA device that supports it, otherwise fp32.

    Raises
    ------
    BackboneError
        If `requested` is not a known precision.
    """
    if requested in ("fp32", "bf16", "fp16"):
        return requested
    if requested != "auto":
        raise BackboneError(f"precision {requested!r} is unknown; expected auto, fp32, bf16 or fp16")
    if not device.startswith("cuda"):
        return "fp32"
    import torch

    return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"


def multiplies_bf16() -> bool:
    """Whether the processor has instructions for products of bf16 (AVX512-BF16, AMX): it is quicker than fp32 then."""
    import torch

    told: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()  # not in every supported version of torch
    return bool(told.get("avx512_bf16") or told.get("amx_bf16"))
