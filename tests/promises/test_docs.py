"""The documentation site: notebooks and the commands that pages show the output of run; the rest `make docs` checks."""

import re
import shlex
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

import koclip_consistency as kc
from tests.builders.commands import Run
from tests.promises.house import ROOT

DOCS = ROOT / "docs"
NOTEBOOKS = sorted((DOCS / "notebooks").glob("*.ipynb"))
LONG = "from-labels-to-a-paper-table"
RUN = re.compile(r"```\{run\}\n(.*?)```", re.S)
RUNNING = [page for page in sorted(DOCS.glob("*.md")) if RUN.search(page.read_text(encoding="utf-8"))]


def kinds(cell: Any) -> list[str]:
    """What a cell shows: the kinds of its outputs, from the plainest to the richest."""
    return [kind for output in cell.get("outputs", ()) for kind in sorted(output.get("data", [output["output_type"]]))]


@pytest.mark.parametrize(
    "path",
    [pytest.param(path, id=path.stem, marks=[pytest.mark.slow] * (path.stem == LONG)) for path in NOTEBOOKS],
)
def test_notebook_runs_and_shows_what_it_is_kept_with(path: Path, tmp_path: Path) -> None:
    """On 60 images instead of 180. The figures are among what it is kept with."""
    kept = nbformat.read(path, as_version=4)
    assert any("image/png" in kinds(cell) for cell in kept.cells)
    small = nbformat.reads(path.read_text(encoding="utf-8").replace("images=180", "images=60"), as_version=4)
    assert small.cells != kept.cells
    resources = {"metadata": {"path": str(tmp_path)}}
    ran = NotebookClient(small, timeout=300, kernel_name="python3", resources=resources).execute()
    assert [kinds(cell) for cell in ran.cells] == [kinds(cell) for cell in kept.cells]


@pytest.mark.parametrize("page", RUNNING, ids=lambda page: page.stem)
def test_commands_with_output_run(
    page: Path, small_demo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Run
) -> None:
    """The blocks `run` of a page, in its order, beside the runs that `docs/prepare.py` makes."""
    monkeypatch.chdir(tmp_path)
    Path("data").symlink_to(small_demo)
    text = page.read_text(encoding="utf-8")
    before = [["heads", "--backbone", "tiny", "--out", "runs/by-images"]] if "runs/by-images" in text else []
    blocks = RUN.findall(text)
    for block in blocks:
        code = re.search(r"^:exit: (\d)$", block, re.M)
        lines = re.sub(r"^:.*\n", "", block, flags=re.M).replace("\\\n", " ").splitlines()
        for line in lines:
            words = shlex.split(line)
            assert words[:2] == ["python", "cli.py"]
            if words[2:4] == ["data", "demo"]:
                continue  # the data set is there
            for command in (*before, words[2:]):
                ran = run(*command)
                assert ran.code == (int(code[1]) if code else 0), ran.stderr
            before = []


def test_every_public_name_is_in_the_reference() -> None:
    text = (DOCS / "api.md").read_text(encoding="utf-8")
    assert set(re.findall(r"auto\w+:: (\w+)", text)) == set(kc.__all__)


def test_a_segment_is_read_as_documented(trained: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", (DOCS / "cache-format.md").read_text(encoding="utf-8"), re.S)
    names: dict[str, Any] = {"path": next((trained / "cache").rglob("seg-*.h5"))}
    for block in blocks:
        exec(compile(block, "cache-format.md", "exec"), names)
    assert len(names["keys"]) == len(names["vectors"]) > 0
