"""What a result may depend on besides its data and options: library versions, this program's code, the computer."""

import hashlib
import os
import platform
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = (
    "koclip-consistency",
    "numpy",
    "scipy",
    "scikit-learn",
    "pandas",
    "pillow",
    "h5py",
    "torch",
    "transformers",
    "tokenizers",
    "safetensors",
    "peft",
)
SOURCES = ("consistency", "embedcache", "heads", "finetune", "demo", "koclip_consistency")


def versions() -> dict[str, str]:
    """Version of Python and of each package of PACKAGES that is installed."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def code_digest() -> str:
    """SHA-256 in hex of the Python files of this program, since a checkout changes more often than its version."""
    folder, digest = Path(__file__).parents[2], hashlib.sha256()
    for package in SOURCES:
        for file in sorted((folder / package).rglob("*.py")):
            digest.update(f"{file.relative_to(folder).as_posix()}\0".encode() + file.read_bytes() + b"\0")
    return digest.hexdigest()


def computer() -> dict[str, Any]:
    """Operating system, processor, accelerator, and numbers of CPUs and of torch's threads.

    `accelerator` and `threads` are None if the run did not load torch.
    """
    torch = sys.modules.get("torch")
    return {
        "system": platform.platform(),
        "machine": platform.machine(),
        "processor": processor(),
        "accelerator": torch.cuda.get_device_name() if torch and torch.cuda.is_available() else None,
        "cpus": os.cpu_count(),
        "threads": torch.get_num_threads() if torch else None,
    }


def processor() -> str:
    """Model name of the processor, as precise as the operating system gives it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
