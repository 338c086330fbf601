"""Every benchmark starts: a program that is seldom run breaks unseen."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULES = sorted(path for path in (ROOT / "benchmarks").glob("*.py") if path.stem != "__init__")


def python(*arguments: str) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, env=environment)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_it_can_be_imported_and_explains_itself(path: Path) -> None:
    name = f"benchmarks.{path.stem}"
    if "ArgumentParser" not in path.read_text(encoding="utf-8"):
        done = python("-c", f"import {name}")
        assert done.returncode == 0, done.stderr
        return
    done = python("-m", name, "--help")
    assert done.returncode == 0, done.stderr
    assert name in done.stdout
