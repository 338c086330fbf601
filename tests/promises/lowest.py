"""The program on the lowest versions that pyproject.toml allows: `python -m tests.promises.lowest`.

Makes an environment of its own with exactly those versions, runs the demo and other commands in it, and ends with
exit code 1 where one of them fails. torch is the one of the environment that runs this: its builds are large.
"""

import importlib.metadata
import os
import subprocess
import sys
import tempfile
import tomllib
import venv
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]


def lowest_versions() -> list[str]:
    """Every dependency but torch, pinned to its lower bound."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    pinned = []
    for requirement in map(Requirement, project["dependencies"]):
        bounds = [each.version for each in requirement.specifier if each.operator == ">="]
        if len(bounds) != 1:
            raise SystemExit(f"{requirement} has no lower bound in pyproject.toml")
        if requirement.name != "torch":
            pinned.append(f"{requirement.name}=={bounds[0]}")
    return pinned


def link_torch(packages: Path) -> None:
    """Make the installed torch importable from `packages`, and known to pip."""
    files = importlib.metadata.files("torch") or []
    for name in sorted({file.parts[0] for file in files if not file.parts[0].startswith(("..", "__"))}):
        here = Path(str(files[0].locate())).parents[len(files[0].parts) - 1] / name
        if here.exists() and not (packages / name).exists():
            (packages / name).symlink_to(here)


def smoke(python: Path, folder: Path) -> None:
    """Run every command once, in `folder`."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "KOCLIP"))}

    def run(*arguments: object) -> None:
        words = [str(argument) for argument in arguments]
        print("+", *words, flush=True)
        done = subprocess.run([python, ROOT / "cli.py", *words], cwd=folder, env=environment, capture_output=True)
        if done.returncode:
            raise SystemExit(f"exit code {done.returncode}\n{done.stderr.decode()}")

    run("demo", "--quick", "--quiet", "--out", "demo")
    data = ["--data", "demo/data/combined_data.csv", "--images", "demo/data/image"]
    image = sorted((folder / "demo" / "data" / "image").iterdir())[0]
    ours = folder / "demo"  # with a run folder for every system
    grid = next(path.parent for path in ours.rglob("leaderboard.csv"))
    similarity = next(path.parent for path in ours.rglob("thresholds.json"))
    run("data", "check", *data)
    run("data", "split", *data, "-o", "split.csv")
    run("heads", *data, "--backbone", "tiny", "--preset", "paper", "--cache", "published", "--out", "heads")
    run("finetune", *data, "--backbone", "tiny", "--max-steps", 2, "--out", "finetune")
    run("score", "--model", grid, "--image", image, "--hashtag", "#바다", "--json")
    run("compare", similarity, grid, "--json")
    run("report", grid, "heads", "finetune", "-o", "report.html")
    run("rerun", "heads")
    for name in ("npz", "h5"):
        run("cache", "export", f"vectors.{name}", *data, "--cache", "published")
    run("cache", "compact")
    run("cache", "verify")
    run("cache", "info", "--json")


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        venv.create(folder / "venv", with_pip=True)
        python = folder / "venv" / "bin" / "python"
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        link_torch(folder / "venv" / "lib" / version / "site-packages")
        pinned = lowest_versions()
        print(*pinned, f"torch=={importlib.metadata.version('torch')} (installed)", sep="\n", flush=True)
        install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*install, "torch", *pinned], check=True)
        smoke(python, folder)
    print("every command works with the lowest versions")


if __name__ == "__main__":
    main()
