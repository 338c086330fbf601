"""Who may import whom: the rule of CONTRIBUTING.md, checked on every import statement."""

import subprocess
import sys

import pytest

from tests.promises.house import ROOT, House

HOUSE = House(ROOT)
PACKAGES = ("consistency", "embedcache", "heads", "finetune", "demo", "koclip_consistency", "cli")

# What each package may import of the others; a name with a dot stands for one module.
MAY_IMPORT = {
    "consistency": set(),
    "embedcache": {"consistency"},
    "heads": {"consistency"},
    "demo": {"consistency"},
    "finetune": {"consistency", "heads.config", "heads.load", "heads.losses", "heads.model", "heads.train"},
    "koclip_consistency": {"consistency", "embedcache", "heads", "demo", "finetune"},
    "cli": {"koclip_consistency", "consistency"},
}
# The rooms of consistency in the order in which work passes through them: a room imports itself and those before it.
ROOMS = ("data", "backbone", "evaluation", "runs", "report")
# Under the roof, what a person touches calls the workflows; the workflows know nobody who calls them. The commands
# `serve` and `app` start the service.
CALLERS = {"koclip_consistency.screen": ("cli",), "koclip_consistency.service": ("koclip_consistency.screen",)}
# Libraries of others, and the only places that may import them.
CONFINED = {
    "click": ("cli", "koclip_consistency.screen"),
    "rich": ("cli", "koclip_consistency.screen"),
    "fastapi": ("koclip_consistency.service",),
    "starlette": ("koclip_consistency.service",),
    "uvicorn": ("koclip_consistency.service",),
    "h5py": ("embedcache",),
    "ray": ("embedcache.engines.cluster", "embedcache.engines.ray"),
    "duckdb": ("consistency.data",),
    "pyarrow": ("consistency.data", "embedcache.engines.cluster", "embedcache.engines.ray"),
    "jinja2": ("consistency.report", "koclip_consistency.service"),
    "matplotlib": ("consistency.report",),
}
# Reading tables, splitting, measuring and reporting must work, and answer quickly, without torch.
WITHOUT_TORCH = ("consistency.data", "consistency.evaluation", "consistency.runs", "consistency.report")


def within(name: str, place: str) -> bool:
    return name == place or name.startswith(f"{place}.")


def room_of(name: str) -> str | None:
    """The room of a module of consistency; None for the modules at its root."""
    parts = name.split(".")
    return parts[1] if parts[0] == "consistency" and len(parts) > 1 and parts[1] in ROOMS else None


def faults(module: str, imported: str) -> list[str]:
    """What is wrong with `module` importing `imported`, both by their full names."""
    found = []
    top, other = module.split(".")[0], imported.split(".")[0]
    if other in PACKAGES and other != top and not {other, imported} & MAY_IMPORT[top]:
        found.append(f"{top} may not import {imported}")
    if top == other == "consistency" and imported != "consistency":
        here, there = room_of(module), room_of(imported)
        if there and (here is None or ROOMS.index(there) > ROOMS.index(here)):
            found.append(f"{here or 'the root of consistency'} may not import {imported}, a later room")
    for caller, allowed in CALLERS.items():
        if within(imported, caller) and not any(within(module, place) for place in (caller, *allowed)):
            found.append(f"{imported} calls the others, which do not call it")
    if other in CONFINED and not any(within(module, place) for place in CONFINED[other]):
        found.append(f"{other} belongs in {' and '.join(CONFINED[other])}")
    if other in ("tests", "benchmarks"):
        found.append(f"{other} are not installed")
    return found


@pytest.mark.parametrize("name", HOUSE.modules)
def test_imports_follow_the_rule(name: str) -> None:
    imports = sorted({each.name for each in HOUSE.imports(HOUSE.modules[name])})
    assert [fault for other in imports for fault in faults(name, other)] == []


@pytest.mark.parametrize(
    ("module", "imported"),
    [
        ("consistency.data.pairs", "heads.config"),
        ("consistency.errors", "consistency.data.pairs"),
        ("consistency.data.pairs", "consistency.evaluation.metrics"),
        ("finetune.train", "embedcache.store"),
        ("finetune.train", "heads.grid"),
        ("heads.train", "cli"),
        ("heads.train", "rich.console"),
        ("heads.train", "h5py"),
        ("koclip_consistency.workflows.heads", "koclip_consistency.screen.console"),
        ("koclip_consistency", "koclip_consistency.screen.console"),
        ("koclip_consistency.workflows.heads", "koclip_consistency.service.api"),
        ("koclip_consistency.service.api", "koclip_consistency.screen.console"),
        ("koclip_consistency.workflows.heads", "click"),
        ("koclip_consistency.workflows.heads", "matplotlib.pyplot"),
        ("koclip_consistency.screen.tables", "cli"),
        ("cli", "heads.train"),
        ("demo.dataset", "tests.builders.models"),
    ],
)
def test_the_rule_finds_what_it_forbids(module: str, imported: str) -> None:
    assert len(faults(module, imported)) == 1


def modules_without_torch() -> list[str]:
    """The rooms that need no torch, and the modules at the root of consistency."""
    return [
        name
        for name in HOUSE.modules
        if any(within(name, room) for room in WITHOUT_TORCH) or (within(name, "consistency") and name.count(".") < 2)
    ]


def test_modules_that_need_no_torch() -> None:
    """Loaded by an interpreter of their own; what a function imports when it is called does not count."""
    names = [*modules_without_torch(), "consistency.backbone.preprocess", "consistency.backbone.resolve"]
    names.append("koclip_consistency.workflows.extract")
    assert len(names) > 20
    code = f"""
import importlib, sys
for name in {names}:
    importlib.import_module(name)
    loaded = sorted({{"torch", "transformers"}} & set(sys.modules))
    if loaded:
        sys.exit(f"{{name}} imports {{loaded}}")
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
