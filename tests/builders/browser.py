"""Chromium and axe-core, where they are installed."""

import os
import shutil
from importlib.util import find_spec
from pathlib import Path

import pytest


def chromium() -> str:
    """The browser's program; skips the test where there is none."""
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        pytest.skip("there is no Chromium to show the page in: install chromium")
    return found


def axe() -> str:
    """axe-core's script: of the package `axe-core-python`, or a newer one that the variable AXE_CORE names."""
    if named := os.environ.get("AXE_CORE"):
        return Path(named).read_text(encoding="utf-8")
    spec = find_spec("axe_core_python")
    if spec is None or spec.origin is None:
        pytest.skip("there is no axe-core: pip install axe-core-python, or set AXE_CORE to axe.min.js")
    return Path(spec.origin).with_name("axe.min.js").read_text(encoding="utf-8")
