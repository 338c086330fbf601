"""Timing variants in turn, so that a machine that slows down slows them all, and describing the machine."""

import os
import platform
import time
from collections.abc import Callable, Mapping
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from consistency.runs.environment import processor


def alternate(variants: Mapping[str, Callable[[], Any]], *, rounds: int) -> dict[str, float]:
    """Return the least wall time of each variant in seconds; each of the `rounds` rounds runs every variant once."""
    best = dict.fromkeys(variants, float("inf"))
    for _ in range(rounds):
        for name, run in variants.items():
            started = time.perf_counter()
            run()
            best[name] = min(best[name], time.perf_counter() - started)
    return best


def machine(*packages: str) -> str:
    """Return date, processor, cores, Python and versions of `packages` in one line; "absent" if not installed."""
    versions = []
    for package in ("torch", *packages):
        try:
            versions.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            versions.append(f"{package} absent")
    python = f"Python {platform.python_version()}"
    return ", ".join([str(date.today()), processor(), f"{os.cpu_count()} cores", python, *versions])


def peak_memory() -> float:
    """Return the peak memory of this process so far, in MiB."""
    import resource

    status = Path("/proc/self/status")
    if status.is_file():  # the other figure begins with that of the process that started this one
        return int(status.read_text().partition("VmHWM:")[2].split()[0]) / (1 << 10)
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used / (1 << 20 if platform.system() == "Darwin" else 1 << 10)
