"""Every benchmark starts: a program that is seldom run breaks unseen."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULES = sorted(path for path in (ROOT / "benchmarks").glob("*.py") if path.stem != "__init__")
# In one process, since most of the time goes into importing torch.
START = """
import contextlib, importlib, io, json, sys, traceback
told = {}
for name in sys.argv[1:]:
    out = io.StringIO()
    try:
        with contextlib.redirect_stdout(out):
            module = importlib.import_module(name)
            if "ArgumentParser" in open(module.__file__, encoding="utf-8").read():
                sys.argv = [name, "--help"]
                module.main()
    except SystemExit as stop:
        out.write("" if not stop.code else f"exit {stop.code}")
    except BaseException:
        out = io.StringIO(traceback.format_exc())
    told[name] = out.getvalue()
print(json.dumps(told))
"""


@pytest.fixture(scope="module")
def told() -> dict[str, str]:
    """What each benchmark prints for --help, or the traceback."""
    names = [f"benchmarks.{path.stem}" for path in MODULES]
    done = subprocess.run([sys.executable, "-c", START, *names], cwd=ROOT, capture_output=True, text=True, check=True)
    return dict(json.loads(done.stdout))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_it_can_be_imported_and_explains_itself(told: dict[str, str], path: Path) -> None:
    name = f"benchmarks.{path.stem}"
    assert "Traceback" not in told[name]
    if "ArgumentParser" in path.read_text(encoding="utf-8"):
        assert told[name].startswith("usage:")
        assert name in told[name]
