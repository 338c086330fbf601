"""The built wheel: what is in it, and that the installed command works from any folder."""

import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from tests.promises.house import ROOT, House

PACKAGES = {"consistency", "embedcache", "heads", "finetune", "demo", "koclip_consistency"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    # Built from a copy: setuptools leaves build/ and *.egg-info beside what it builds.
    names = [*sorted(PACKAGES), "cli.py", "pyproject.toml", "README.md", "LICENSE"]
    source.mkdir()
    for name in names:
        subprocess.run(["cp", "-r", str(ROOT / name), str(source / name)], check=True)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "--wheel-dir", str(folder), str(source)], check=True)
    (built,) = folder.glob("*.whl")
    return built


def test_wheel_holds_the_packages_and_their_data_only(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        metadata = next(archive.read(name).decode() for name in names if name.endswith("METADATA"))
        licence = archive.read("demo/tiny/LICENSE")
    tops = {name.split("/")[0] for name in names}
    assert {name for name in tops if not name.endswith(".dist-info")} == PACKAGES | {"cli.py"}
    assert {
        "demo/tiny/model.safetensors",
        "demo/tiny/config.json",
        "demo/tiny/LICENSE",
        "consistency/report/templates/report.html.j2",
        "consistency/report/templates/report.css",
        "consistency/report/templates/report.js",
        "koclip_consistency/service/static/index.html",
        "koclip_consistency/service/static/app.js",
        "koclip_consistency/service/static/app.css",
        "koclip_consistency/service/static/offline.html.j2",
    } <= set(names)
    assert {module.place for module in House(ROOT).modules.values()} <= set(names)
    assert not [name for name in names if "test" in name or name.endswith((".png", ".h5"))]
    assert "Classifier: Private :: Do Not Upload" in metadata
    assert "License-Expression: MIT" in metadata
    assert licence == (ROOT / "LICENSE").read_bytes()  # of the weights too


def test_installed_command_scores_with_the_packaged_backbone(wheel: Path, small_demo: Path, tmp_path: Path) -> None:
    """In an environment of its own: the wheel installed, the libraries borrowed from the one that runs the tests."""
    environment = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True)
    python = environment / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--no-deps", str(wheel)], check=True)
    site = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_paths()['purelib'])"],
        capture_output=True, text=True, check=True,
    ).stdout.strip()  # fmt: skip
    Path(site, "libraries.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    variables = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "KOCLIP"))}
    done = subprocess.run(
        [environment / "bin" / "koclip-consistency", "similarity", "--backbone", "tiny", "--json",
         "--data", small_demo / "combined_data.csv", "--images", small_demo / "image"],
        cwd=elsewhere, env=variables, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "similarity-exact" in done.stdout
    assert {path.name for path in elsewhere.iterdir()} == {"cache", "runs"}
    module = subprocess.run(
        [python, "-c", "import cli; print(cli.__file__)"], cwd=elsewhere, env=variables, capture_output=True, text=True
    )
    assert module.stdout.startswith(site)
