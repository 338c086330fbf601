"""Chromium and axe-core, where they are installed, and a page that is watched."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

Page = Any


def chromium() -> str:
    """The browser's program; skips the test where there is none."""
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        pytest.skip("there is no Chromium to show the page in: install chromium")
    return found


def axe() -> str:
    """axe-core's script: of the package `axe-core-python`, or a newer one that the variable AXE_CORE names."""
    if named := os.environ.get("AXE_CORE"):
        return Path(named).read_text(encoding="utf-8")
    spec = find_spec("axe_core_python")
    if spec is None or spec.origin is None:
        pytest.skip("there is no axe-core: pip install axe-core-python, or set AXE_CORE to axe.min.js")
    return Path(spec.origin).with_name("axe.min.js").read_text(encoding="utf-8")


@contextmanager
def opened_browser() -> Iterator[Any]:
    """Chromium, driven by Playwright; skips the test where one of them is not there."""
    playwright = pytest.importorskip("playwright.sync_api", reason="there is no Playwright to drive Chromium with")
    program = chromium()
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-quic"])
        yield opened
        opened.close()


@dataclass
class Visit:
    """A page, and everything that it must not do."""

    page: Page
    port: int
    faults: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on("console", lambda said: said.type in ("error", "warning") and self.faults.append(said.text))
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on("request", lambda request: self._requested(request.url))

    def _requested(self, url: str) -> None:
        if not url.removeprefix("blob:").startswith((f"http://127.0.0.1:{self.port}/", "data:")):
            self.faults.append(f"asked for {url}")

    def open(self, path: str) -> None:
        self.page.goto(f"http://127.0.0.1:{self.port}{path}")

    def check(self) -> None:
        """axe-core finds nothing, in light and dark, and nothing is wider than the window."""
        for scheme, rules in (("light", "{}"), ("dark", "{runOnly: ['color-contrast']}")):  # all that a scheme changes
            self.page.emulate_media(color_scheme=scheme)
            found = self.page.evaluate(f"{axe()}; axe.run(document, {rules})")
            assert "color-contrast" in {rule["id"] for rule in found["passes"]}  # it looked
            nodes = {rule["id"]: [node["html"][:200] for node in rule["nodes"]] for rule in found["violations"]}
            assert nodes == {}
        width = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        assert self.page.evaluate(width) <= 0
