"""The report in a real browser: its script runs under its own policy, and axe-core finds nothing to mend.

Needs Chromium, and axe-core's script: from the package `axe-core-python` (extra `test`), or a newer one that the
environment variable AXE_CORE names.
"""

import csv
import hashlib
import html
import json
import re
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from consistency.data.annotations import annotation_of
from consistency.data.pairs import Skipped
from consistency.evaluation.results import Audited
from consistency.evaluation.seeds import Trainings
from consistency.report.curve import learning_curve_png
from consistency.report.page import write_report
from consistency.report.plots import training_png
from consistency.runs.folder import RunFolder
from consistency.runs.read import read_run
from tests.builders.browser import axe, chromium
from tests.builders.curves import curve_of
from tests.builders.results import make_result, write_run

WIDTHS = (390, 1280)
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--virtual-time-budget=60000",
)
POLICY = re.compile(r'<meta http-equiv="Content-Security-Policy"[^>]*>')
CHECK = """
document.querySelectorAll("details").forEach((details) => { details.open = true; });
axe.run(document).then((found) => parent.postMessage(JSON.stringify({
  width: innerWidth,
  dark: matchMedia("(prefers-color-scheme: dark)").matches,
  passes: found.passes.map((rule) => rule.id),
  violations: found.violations.map((rule) => [rule.id, rule.nodes.map((node) => node.html.slice(0, 200))]),
}), "*"));
"""
FRAMES = """<!doctype html><html><body><pre id="found"></pre>{frames}<script>
const all = [];
addEventListener("message", (event) => {{
  all.push(JSON.parse(event.data));
  document.getElementById("found").textContent = JSON.stringify(all);
}});
</script></body></html>"""


def shown(page: Path, *flags: str) -> str:
    """The page's HTML after its scripts have run."""
    with tempfile.TemporaryDirectory() as profile:
        command = [chromium(), *FLAGS, *flags, f"--user-data-dir={profile}", "--dump-dom", page.as_uri()]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report with every part that a report can have."""
    folder = tmp_path_factory.mktemp("report")
    (folder / "image").mkdir()
    for number in range(11):  # of 12: one is missing
        Image.new("RGB", (300, 200), (20 * number, 90, 200)).save(folder / "image" / f"그림 {number}.png")
    results = [
        make_result("majority", backbone="none", seed=5),
        make_result("similarity-exact", seed=6, probabilities=False),
        make_result("heads", seed=1),
        make_result("heads", seed=2, split="cv"),
    ]
    leakage = {"n": 60, "image": 5, "pair": 0, "hashtag": 30, "images that trained the backbone": 30}
    division = {"leakage": {"test": leakage}, "notes": ["only 12 images are tested: intervals are wide"]}
    precision = {"n": 60, "moved": 9, "found": 5, "precision": 0.56, "low": 0.2, "high": 0.8, "chance": 0.15}
    trainings = Trainings("heads", (1, 2), (results[2].metrics, results[3].metrics)).as_dict()
    details = {"division": division, "precision": precision, "trainings": trainings}
    run = write_run(folder / "run", results, config={"top": 4}, details=details)
    (run / "thresholds.json").write_text('{"similarity-exact": {"thresholds": [1.5, 2.5, 3.5, 4.5]}}')
    writer = RunFolder.at(run, command="heads", backbone="tiny", config={})
    writer.write_file("training_results.png", training_png([{"epoch": 1, "train_loss": 0.5, "accuracy": 0.4}]))
    writer.write_file(
        "learning_curve.png", learning_curve_png(curve_of({24: [0.3, 0.5], 48: [0.4, 0.6], 96: [0.5, 0.7]}))
    )
    writer.write_skipped([Skipped(7, "e.png", "#z", "not found")])
    chances = (0.05, 0.05, 0.1, 0.1, 0.7)
    writer.write_audit([Audited(n, n, f"그림 {n}.png", "#바다", 2, 5, 0.2, chances, (70,)) for n in (1, 2, 11)])
    write_report([read_run(run)], folder / "report.html", images=folder / "image")
    return folder / "report.html"


def test_the_script_runs_under_the_policy_of_the_page(report: Path) -> None:
    """Its hash is right, and it counts and orders what it shows."""
    page = report.read_text(encoding="utf-8")
    assert "Only 12 images are tested" in page  # the notes of the run
    assert '<output id="shown"></output>' in page
    assert re.search(r'id="filters" hidden', page)
    after = shown(report)
    assert re.search(r'<output id="shown">60 hashtags on 12 images</output>', after)
    assert not re.search(r'id="filters" hidden', after)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_to_mend(report: Path, tmp_path: Path, scheme: str) -> None:
    # The page's policy would refuse axe: it is checked in a copy without the policy.
    page, count = POLICY.subn("", report.read_text(encoding="utf-8"))
    assert count == 1
    (tmp_path / "page.html").write_text(f"{page}<script>{axe()}</script><script>{CHECK}</script>", encoding="utf-8")
    # A browser window is never narrower than 500 pixels: each width is that of a frame.
    frames = "".join(f'<iframe src="page.html" style="width:{w}px;height:900px;border:0"></iframe>' for w in WIDTHS)
    (tmp_path / "frames.html").write_text(FRAMES.format(frames=frames), encoding="utf-8")
    dark = f"--blink-settings=preferredColorScheme={0 if scheme == 'dark' else 1}"
    text = re.search(
        r'<pre id="found">(.*?)</pre>', shown(tmp_path / "frames.html", dark, "--window-size=1700,950"), re.S
    )
    assert text
    found: list[dict[str, Any]] = json.loads(html.unescape(text[1]))
    assert sorted(one["width"] for one in found) == sorted(WIDTHS)
    for one in found:
        assert one["dark"] == (scheme == "dark")
        assert {"color-contrast", "document-title", "list", "region"} <= set(one["passes"])  # it looked
        assert one["violations"] == []


def test_filters_decisions_and_larger_images(report: Path, tmp_path: Path) -> None:
    """What a reader does with the page, under its own policy: nothing is asked of the network, and no error occurs."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs the package playwright")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page()
        wrong: list[str] = []
        asked: list[str] = []
        page.on("console", lambda message: wrong.append(message.text))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(report.as_uri())

        def saved(button: str) -> list[list[str]]:
            with page.expect_download() as waiting:
                page.locator(button).click()
            waiting.value.save_as(tmp_path / "saved.csv")
            with (tmp_path / "saved.csv").open(encoding="utf-8", newline="") as file:
                return list(csv.reader(file))

        page.select_option("#predicted", "3")
        rows = saved("#save")[1:]
        assert rows
        assert {row[3] for row in rows} == {"3"}
        assert page.inner_text("#shown").startswith(f"{len(rows)} hashtags")
        page.fill("#text", "there is no such hashtag")
        page.click("#again")
        assert page.inner_text("#shown") == "60 hashtags on 12 images"
        page.select_option("#sort", "name")
        names = page.locator("#gallery figcaption").all_inner_texts()
        assert names == [f"그림 {number}.png" for number in range(12)]
        page.locator("#gallery .view button").first.click()
        assert page.locator("#large img").is_visible()
        page.keyboard.press("Escape")
        assert not page.locator("#large").is_visible()
        page.locator(".find").first.click()
        assert page.locator("#text").input_value() == page.locator(".find").first.inner_text()
        page.locator(".decision select").first.select_option("5")
        page.click("#decide")
        assert page.inner_text("#decided") == "give your name first"
        page.fill("#annotator", "김 철수")
        header, answer = saved("#decide")
        decided = annotation_of(dict(zip(header, answer, strict=True)))  # as `annotate import` reads it
        digest = hashlib.sha256((report.parent / "image" / "그림 1.png").read_bytes()).hexdigest()
        assert (decided.annotator, decided.row, decided.image_sha256) == ("김 철수", 1, digest)
        assert (decided.hashtag, decided.score, decided.queue, decided.blind) == ("#바다", 5, "doubtful", False)
        assert wrong == []
        assert [url for url in asked if not url.startswith(("file:", "data:", "blob:"))] == []
        browser.close()
