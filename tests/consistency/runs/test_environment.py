"""What a run records of the program and the computer."""

import hashlib
import platform
import shutil
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

from consistency.runs.environment import SOURCES, code_digest, computer, processor, versions

ROOT = Path(__file__).parents[3]


def test_versions_are_those_installed() -> None:
    found = versions()
    assert found["python"] == platform.python_version()
    for package in ("numpy", "torch", "transformers", "pillow", "h5py"):
        assert found[package] == metadata.version(package)


def test_the_sources_are_the_packages_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    packages = project["tool"]["setuptools"]["packages"]
    assert set(SOURCES) == {name for name in packages if "." not in name}


def test_the_code_digest_changes_with_any_source_and_with_nothing_else(tmp_path: Path) -> None:
    for package in SOURCES:
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__", "tiny"))

    def digest() -> str:
        code = "import consistency.runs.environment as e; print(e.code_digest())"
        done = subprocess.run([sys.executable, "-B", "-c", code], cwd=tmp_path, env={}, capture_output=True, text=True)
        return done.stdout.strip()

    before = digest()
    assert before == code_digest()
    assert len(before) == 2 * hashlib.sha256().digest_size
    (tmp_path / "consistency" / "notes.txt").write_text("not code")
    assert digest() == before
    (tmp_path / "heads" / "further.py").write_text("")
    assert digest() != before


def test_the_computer_is_described_without_loading_torch() -> None:
    code = (
        "import sys; from consistency.runs.environment import computer; c = computer(); "
        "assert 'torch' not in sys.modules; print(c['threads'], c['accelerator'])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.split() == ["None", "None"], done.stderr
    import torch

    found = computer()
    assert found["threads"] == torch.get_num_threads()
    assert found["system"] == platform.platform()
    assert found["processor"] == processor() != ""
