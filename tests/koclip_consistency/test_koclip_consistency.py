"""The package's face: names that load when they are used, and nothing before."""

import re
import subprocess
import sys

import pytest

import koclip_consistency as kc
from tests.promises.house import ROOT

HEAVY = ("torch", "transformers", "pandas", "sklearn", "numpy", "PIL")


def loaded_after(code: str) -> set[str]:
    """The heavy libraries that a new process has loaded after `code`."""
    program = f"import sys\n{code}\nprint(*(name for name in {HEAVY} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=True)
    return set(done.stdout.split())


def test_importing_loads_no_library() -> None:
    assert loaded_after("import koclip_consistency as kc; dir(kc)") == set()
    assert loaded_after("import koclip_consistency as kc; kc.ConsistencyError") == set()


def test_every_name_is_there_and_listed() -> None:
    assert set(kc.__all__) <= set(dir(kc))
    for name in kc.__all__:
        assert getattr(kc, name).__name__ == name
    text = (ROOT / "koclip_consistency" / "__init__.py").read_text(encoding="utf-8")
    assert set(re.findall(r"import \w+ as (\w+)", text)) == set(kc.__all__)  # what editors and mypy see


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'score_everything'"):
        kc.score_everything  # noqa: B018


def test_reading_and_splitting_pairs_needs_no_torch() -> None:
    assert loaded_after("import koclip_consistency as kc; kc.read_pairs; kc.make_split").isdisjoint(
        {"torch", "transformers"}
    )
