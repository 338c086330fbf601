"""Who may import whom: the rule of CONTRIBUTING.md, checked on every import statement."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
OURS = {"consistency", "embedcache", "heads", "finetune", "demo", "workflows", "cli"}
MAY_IMPORT = {
    "consistency": set(),
    "embedcache": {"consistency"},
    "heads": {"consistency"},
    "finetune": {"consistency", "heads.model", "heads.losses"},
    "demo": {"consistency"},
    "workflows": OURS - {"cli"},
    "cli": OURS,
}
# A library that may be imported in these files only.
CONFINED = {
    "click": {"cli.py"},
    "rich": {"cli.py", "koclip_consistency/screen/console.py"},
    "h5py": {"embedcache"},
}
# Reading data, splitting and measuring must work, and answer quickly, without torch.
WITHOUT_TORCH = (
    "errors",
    "progress",
    "durable",
    "data.pairs",
    "data.images",
    "data.reading",
    "data.splits",
    "backbone.preprocess",
    "backbone.resolve",
    "evaluation.metrics",
    "evaluation.controls",
    "runs.folder",
)


def sources() -> list[Path]:
    return [ROOT / "cli.py", *(path for name in sorted(OURS - {"cli"}) for path in (ROOT / name).rglob("*.py"))]


def imported(path: Path, *, at_top: bool = False) -> set[str]:
    """Every module named in an import statement, wherever it stands, or only outside functions."""
    names: set[str] = set()
    tree = ast.parse(path.read_text())
    for node in tree.body if at_top else ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names.add(node.module or "")
    return names


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_follow_the_rule(path: Path) -> None:
    package = path.relative_to(ROOT).parts[0].removesuffix(".py")
    for name in imported(path):
        top = name.split(".")[0]
        if top in OURS and top != package:
            allowed = MAY_IMPORT[package]
            assert top in allowed or name in allowed, f"{package} may not import {name}"
        where = CONFINED.get(top)
        if where:
            assert {str(path.relative_to(ROOT)), package} & where, f"{top} belongs in {sorted(where)}"


@pytest.mark.parametrize("module", WITHOUT_TORCH)
def test_modules_that_need_no_torch(module: str) -> None:
    """Follow our own imports from `module`; what a function imports when it is called does not count."""
    seen: set[str] = set()
    todo = [f"consistency.{module}"]
    while todo:
        name = todo.pop()
        if name in seen:
            continue
        seen.add(name)
        path = ROOT / (name.replace(".", "/") + ".py")
        for other in imported(path, at_top=True):
            assert other.split(".")[0] not in {"torch", "transformers"}, f"{name} imports {other}"
            if other.startswith("consistency."):
                todo.append(other)
