"""Which systems are ranked; their names come without what computes controls."""

import subprocess
import sys
from pathlib import Path

import pytest

from consistency.evaluation.systems import CONTROLS, PEEKED, competes

ROOT = Path(__file__).parents[3]


def test_controls_and_systems_picked_on_the_test_rows_are_not_ranked() -> None:
    assert not any(map(competes, CONTROLS))
    assert not competes(f"heads{PEEKED}")
    assert competes("heads")
    assert competes("text")


@pytest.mark.parametrize(
    "module",
    ["workflows.score", "workflows.extract", "workflows.agreement", "screen.commands.runs", "screen.commands.compare"],
)
def test_commands_that_compute_no_controls_load_no_scikit_learn(module: str) -> None:
    code = f"import sys, koclip_consistency.{module}; print(*{{'sklearn', 'scipy.stats', 'pandas'}} & {{*sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
