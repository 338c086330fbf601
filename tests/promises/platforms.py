"""The program on every interpreter found: `python -m tests.promises.platforms [PYTHON ...]`.

For each of Python 3.11 to 3.14 on the PATH, below `~/.pyenv`, or known to uv, it makes an environment with the locked
versions and runs every command once. It prints a line for each interpreter, and ends with exit code 1 where one failed.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.promises.lowest import ROOT, smoke

VERSIONS = ("3.11", "3.12", "3.13", "3.14")
INSTALL = (
    ("--require-hashes", "--no-deps", "-r", ROOT / "requirements" / "base.txt"),
    ("-c", ROOT / "constraints.txt", "torch"),
)


def interpreters() -> dict[str, Path]:
    """One interpreter for each version that is found."""
    found: dict[str, Path] = {}
    for path in candidates():
        done = subprocess.run(
            [path, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"], capture_output=True, text=True
        )
        if done.returncode == 0 and (version := done.stdout.strip()) in VERSIONS:
            found.setdefault(version, path)
    return found


def candidates() -> Iterator[Path]:
    for version in VERSIONS:
        if path := shutil.which(f"python{version}"):
            yield Path(path)
        if uv := shutil.which("uv"):
            command = [uv, "python", "find", "--no-python-downloads", version]
            yield from map(Path, subprocess.run(command, capture_output=True, text=True).stdout.split("\n")[:1])
    yield from sorted((Path.home() / ".pyenv" / "versions").glob("*/bin/python"))


def check(python: Path, folder: Path) -> None:
    """Raise SystemExit or CalledProcessError where anything fails."""
    subprocess.run([python, "-m", "venv", folder / "venv"], check=True)
    ours = folder / "venv" / ("Scripts" if os.name == "nt" else "bin") / "python"
    for arguments in INSTALL:
        subprocess.run([ours, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *arguments], check=True)
    (folder / "work").mkdir()
    smoke(ours, folder / "work")


def main() -> None:
    given = [Path(each) for each in sys.argv[1:]]
    failed = False
    for version, python in ({str(path): path for path in given} or interpreters()).items():
        with tempfile.TemporaryDirectory() as name:
            try:
                check(python, Path(name))
                told = "every command works"
            except (SystemExit, subprocess.CalledProcessError) as error:
                told, failed = f"FAILED: {error}", True
        print(f"{version}, {python}, {sys.platform}: {told}", flush=True)
    if not given:
        missing = [version for version in VERSIONS if version not in interpreters()]
        print(f"not found, so not tried: {', '.join(missing) or 'none'}")
    sys.exit(failed)


if __name__ == "__main__":
    main()
