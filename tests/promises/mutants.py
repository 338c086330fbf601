"""Mutants: small faults planted one at a time in what must not be wrong, each of which a test must notice.

    python -m tests.promises.mutants            (make mutants)
    python -m tests.promises.mutants --only embedcache
    python -m tests.promises.mutants --promises --only "an image"

Every fault is planted in a copy of the checkout, and the tests named beside it run there. A mutant dies if one of them
fails, hangs if they do not end within 10 minutes (which a busy machine can cause, too), and survives if all pass. It
exits with 1 if any survives, or if a line to change is no longer there.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDERS = ("consistency", "demo", "embedcache", "finetune", "heads", "koclip_consistency", "tests")


@dataclass(frozen=True)
class Mutant:
    """A fault: in `file` the text `before`, which occurs once, becomes `after`; `tests` must notice it.

    `promise` is the first cell of the line of SECURITY.md that it breaks, empty for the others.
    """

    file: str
    before: str
    after: str
    tests: str
    promise: str = ""

    def __str__(self) -> str:
        change = " -> ".join(" ".join(text.split()) for text in (self.before, self.after or "nothing"))
        return f"{self.file}: {change}" + f" ({self.promise})" * bool(self.promise)


def read_mutants() -> list[Mutant]:
    """The faults of mutants.toml."""
    found = []
    for group in tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))["file"]:
        path = Path(group["path"])
        tests = group.get("tests", f"tests/{path.parent}/test_{path.name}")
        promise = group.get("promise", "")
        found += [Mutant(group["path"], before, after, tests, promise) for before, after in group["faults"]]
    return found


def plant(mutant: Mutant, copy: Path) -> str:
    """Plant a fault in the copy, run its tests, and mend it again; "SURVIVES" if all of them passed."""
    path = copy / mutant.file
    sound = path.read_text(encoding="utf-8")
    if sound.count(mutant.before) != 1:
        raise SystemExit(f"{mutant.file} has {mutant.before!r} {sound.count(mutant.before)} times, expected once")
    path.write_text(sound.replace(mutant.before, mutant.after), encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *mutant.tests.split()]
    environment = os.environ | {"PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}
    try:
        done = subprocess.run(command, cwd=copy, env=environment, capture_output=True, timeout=600, check=False)
        return "dies" if done.returncode else "SURVIVES"
    except subprocess.TimeoutExpired:
        return "hangs"
    finally:
        path.write_text(sound, encoding="utf-8")


def main() -> None:
    about = (__doc__ or "").splitlines()[0]
    parser = argparse.ArgumentParser(prog="python -m tests.promises.mutants", description=about)
    parser.add_argument("--only", default="", metavar="TEXT", help="only mutants whose file or promise contains TEXT")
    parser.add_argument("--promises", action="store_true", help="only mutants that break a promise of SECURITY.md")
    asked = parser.parse_args()
    named = [mutant for mutant in read_mutants() if asked.only in mutant.file or asked.only in mutant.promise]
    chosen = [mutant for mutant in named if mutant.promise or not asked.promises]
    survivors = 0
    with tempfile.TemporaryDirectory() as name:
        copy = Path(name)
        for folder in FOLDERS:
            shutil.copytree(ROOT / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__"))
        for file in ("cli.py", "pyproject.toml"):
            shutil.copy(ROOT / file, copy)
        for number, mutant in enumerate(chosen, start=1):
            began = time.monotonic()
            found = plant(mutant, copy)
            survivors += found == "SURVIVES"
            print(f"[{number}/{len(chosen)}] {found} after {time.monotonic() - began:.0f} s  {mutant}", flush=True)
    print(f"{survivors} of {len(chosen)} mutants survive")
    sys.exit(survivors > 0)


if __name__ == "__main__":
    main()
