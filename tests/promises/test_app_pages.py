"""The app in a real browser: what people do on its pages, with axe-core, and nothing that leaves the machine.

Needs Chromium and Playwright (extra `test`), which drives the installed browser: it downloads none.
"""

import errno
import os
import re
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from consistency import durable
from consistency.durable import System
from consistency.options import Source
from koclip_consistency.scoring.loading import load_scorer
from koclip_consistency.service.annotations import Annotations
from koclip_consistency.service.api import Service, create_api
from koclip_consistency.service.guard import MEGABYTE
from koclip_consistency.service.pages import PAGES, add_pages
from koclip_consistency.service.shelf import Shelf
from koclip_consistency.service.study import Study
from koclip_consistency.service.worker import Worker
from tests.builders.browser import Visit, opened_browser
from tests.builders.commands import rows_of
from tests.builders.serving import Client, serving

Page = Any


class FullDisk(System):
    """A disk that has become full."""

    def __init__(self, reason: int) -> None:
        self.reason = reason

    def write(self, fd: int, data: object) -> int:  # type: ignore[override]
        raise OSError(self.reason, os.strerror(self.reason))


NOISE = "Failed to load resource: the server responded with a status of"  # of an error that a page shows
UNFAMILIAR = "<b>쀍쀍쀍</b>"  # and no markup
CONTENT = {"/": ".drop", "/data": ".post img", "/hashtag": "#name", "/post": "main a", "/doubtful": ".post img",
           "/map": ".list li", "/annotate": "#annotator", "/agreement": ".raters", "/runs": ".plain-table"}  # fmt: skip
CONNECTED: list[Any] = []  # addresses outside this machine that this process has turned to


def _note_connections(event: str, arguments: tuple[Any, ...]) -> None:
    if event in ("socket.connect", "socket.getaddrinfo"):
        address = arguments[1] if event == "socket.connect" else arguments[0]
        host = address[0] if isinstance(address, tuple) else address
        if host not in ("127.0.0.1", "localhost", "::1", None) and not str(host).startswith("/"):
            CONNECTED.append(address)


sys.addaudithook(_note_connections)


def application(
    folder: Path, cache: Path, source: Source | None, answers: Path = Path("answers")
) -> tuple[Any, Service]:
    shelf = Shelf(folder, partial(load_scorer, cache=cache))
    service = Service(shelf, Worker())
    api = create_api(service)
    study = Study(shelf, source)
    add_pages(api, service, study, Annotations(study, answers))
    return api, service


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("annotated") / "answers"


@pytest.fixture(scope="module")
def client(trained: Path, small_demo: Path, answers: Path) -> Iterator[Client]:
    source = Source(data=small_demo / "combined_data.csv", images=small_demo / "image")
    api, service = application(trained / "runs", trained / "cache", source, answers)
    service.load_first()
    with serving(api) as found:
        yield found
    service.worker.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with opened_browser() as found:
        yield found


@pytest.fixture
def visit(browser: Any, client: Client, request: pytest.FixtureRequest) -> Iterator[Visit]:
    """A page of a window of its own; at its end nothing was wrong with it, unless errors are what is tested."""
    options = {"locale": "en-US", "viewport": {"width": 1280, "height": 900}, **getattr(request, "param", {})}
    expects_errors = options.pop("errors", False)
    context = browser.new_context(**options)
    context.set_default_timeout(30_000)
    CONNECTED.clear()
    made = Visit(context.new_page(), client.port)
    yield made
    context.close()
    faults = [each for each in made.faults if not (expects_errors and each.startswith(NOISE))]
    assert faults == []
    assert CONNECTED == []


def test_a_hashtag_is_scored_and_explained(visit: Visit, small_demo: Path) -> None:
    page = visit.page
    visit.open("/?run=heads&system=heads")
    page.locator("input[type=file]").set_input_files(sorted((small_demo / "image").iterdir())[0])
    page.locator("#hashtags").fill(f"#바다#하늘, {UNFAMILIAR}")
    page.get_by_role("button", name="Score", exact=True).click()
    page.locator(".answer").nth(2).wait_for()
    assert page.locator(".answer h2").all_text_contents() == ["#바다", "#하늘", UNFAMILIAR]
    assert "3 hashtags scored with heads" in page.locator("#status").text_content()
    for card in page.locator(".answer").all():
        assert card.locator(".said").inner_text()[0] in "12345"
        shares = [int(share.rstrip("%")) for share in card.locator(".chances b").all_text_contents()]
        assert len(shares) == 5
        assert abs(sum(shares) - 100) <= 2
    assert page.locator(".answer", has_text=UNFAMILIAR).locator(".badge").inner_text() == "unfamiliar"
    page.locator(".answer").first.get_by_role("button", name="Why?").click()
    page.locator(".why dl").wait_for()
    assert "among the 60 images of the cache" in page.locator(".why dl").inner_text()
    page.get_by_role("button", name="Show which parts of the image matter").click()
    page.get_by_role("img", name="Parts of the image that the answer for #바다 depends on").wait_for()
    visit.check()


def test_a_system_without_probabilities_and_the_example_image(visit: Visit) -> None:
    page = visit.page
    visit.open("/?run=similarity&system=similarity-exact")
    page.get_by_role("button", name="Use an example image").click()
    page.locator(".drop img").wait_for()
    page.locator("#hashtags").fill("바다")
    page.get_by_role("button", name="Score", exact=True).click()
    page.locator(".answer").wait_for()
    assert "Confidence: none, thresholds only" in page.locator(".answer").inner_text()


def counted(page: Page) -> tuple[int, int]:
    page.locator("#counted", has_text="rows on").wait_for()
    found = re.fullmatch(r"(\d+) rows on (\d+) images", page.locator("#counted").text_content())
    assert found
    return int(found[1]), int(found[2])


def test_filters_change_the_counts_and_the_address(visit: Visit, client: Client) -> None:
    page = visit.page
    visit.open("/data")
    every = counted(page)
    assert every[1] == 60
    assert page.locator("#gallery > figure").count() == 24
    page.get_by_role("button", name="Next").click()
    page.get_by_text("Page 2 of 3").wait_for()
    page.get_by_label("Label", exact=True).select_option("5")
    page.get_by_text(re.compile("Page 1 of")).wait_for()
    page.get_by_label("Search").fill("demo_00")
    expected = client.send("/api/rows?label=5&text=demo_00").json()
    page.locator("#counted", has_text=f"{expected['rows']} rows on {expected['images']} images").wait_for()
    assert 0 < expected["rows"] < every[0]
    assert "label=5" in page.url
    page.reload()
    assert counted(page) == (expected["rows"], expected["images"])
    page.get_by_role("button", name="Check the data set").click()
    page.get_by_role("heading", name="Test rows shared with train").wait_for()
    visit.check()
    page.get_by_label("Search").fill("no such thing")
    page.get_by_text("No row passes the filters.").wait_for()
    page.get_by_role("button", name="Reset filters").click()
    page.locator("#counted", has_text=f"{every[0]} rows").wait_for()


def test_from_an_image_to_a_hashtag_and_back(visit: Visit) -> None:
    page = visit.page
    visit.open("/data?run=heads&system=heads&split=test")
    page.locator("#gallery .tag a").first.click()
    page.get_by_role("heading", name="Hashtag", level=1).wait_for()
    page.locator(".plain-table tbody tr").first.wait_for()
    name = page.locator("#name").input_value()
    rows = page.locator(".plain-table tbody tr").count()
    assert f"{rows} rows, mean label" in page.locator("main").inner_text()
    assert page.locator(".dots circle").count() >= 1
    visit.check()
    page.locator(".plain-table a").first.click()
    page.locator("img.big-picture").wait_for()
    assert name.lstrip("#") in page.locator("main").inner_text()
    visit.check()


def test_doubtful_labels_come_first(visit: Visit, trained: Path) -> None:
    page = visit.page
    visit.open("/doubtful")
    rows, _ = counted(page)
    assert rows == len((trained / "runs" / "audit" / "audit.csv").read_text(encoding="utf-8").splitlines()) - 1
    assert re.search(r"label \d → suggested \d · doubt 0\.99", page.locator("#gallery .tag").first.inner_text())


def test_doubtful_labels_are_annotated_and_compared(visit: Visit, answers: Path, small_demo: Path) -> None:
    page = visit.page
    visit.open("/doubtful")
    page.get_by_role("link", name="Annotate these labels").click()
    page.locator("#annotator").fill("김 철수")
    assert page.get_by_label("Which pairs").input_value() == "doubtful audit"
    page.get_by_role("button", name="Begin").click()
    page.locator(".shown img").wait_for()
    visit.check()
    for key in "512340512345":
        page.keyboard.press(key)
    page.locator("#done", has_text="12 of ").wait_for()
    page.locator("#saved", has_text="Saved").wait_for()
    visit.check()
    page.get_by_role("link", name="Agreement").first.click()
    page.get_by_text("11 of these rows were scored because their label was doubtful").wait_for()
    table = rows_of(small_demo / "combined_data.csv")
    lines = [line for line in rows_of(answers / "answers-김 철수.csv") if line["score"] != "0"]
    labels = [int(table[int(line["row"]) - 1]["Score"]) for line in lines]
    given = [int(line["score"]) for line in lines]
    row = page.locator("tr", has_text="Score – 김 철수").locator("td").all_inner_texts()
    assert row[0] == "11"
    for shown, weights in zip(row[1:4], (None, "linear", "quadratic"), strict=True):
        assert shown.startswith(f"{cohen_kappa_score(labels, given, labels=[1, 2, 3, 4, 5], weights=weights):.3f}")
    assert row[4].startswith(f"{np.mean(np.array(labels) == given):.3f}")
    visit.check()
    differing = sum(one != other for one, other in zip(labels, given, strict=True))
    assert page.get_by_role("heading", name=f"{differing} disagreements").count() == 1
    page.get_by_label("Run", exact=True).select_option("heads")
    page.get_by_role("heading", name="Systems and raters").wait_for()
    assert "run=heads" in page.url
    visit.check()


@pytest.mark.parametrize("visit", [{"errors": True}], indirect=True)
def test_a_full_disk_stops_the_annotator_and_loses_nothing(
    visit: Visit, answers: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = visit.page
    visit.open("/annotate?name=lee&kind=random&limit=9&begun=1")
    page.locator(".shown img").wait_for()
    page.keyboard.press("3")
    page.locator("#saved", has_text="Saved").wait_for()
    with monkeypatch.context() as patch:
        patch.setattr(durable, "system", FullDisk(errno.ENOSPC))
        page.keyboard.press("4")
        banner = page.get_by_role("alert").filter(has_text="Stopped, because 1 answers could not be saved")
        banner.wait_for()
        assert "No space left on device" in banner.inner_text()
        visit.check()
        page.keyboard.press("5")
        assert page.locator("#done").inner_text() == "2 of 9 answered"
    banner.wait_for(state="detached")
    page.keyboard.press("5")
    page.locator("#done", has_text="3 of ").wait_for()
    page.locator("#saved", has_text="Saved").wait_for()
    assert [line["score"] for line in rows_of(answers / "answers-lee.csv")] == ["3", "4", "5"]


def test_the_list_of_the_map_is_the_map(visit: Visit) -> None:
    page = visit.page
    visit.open("/map?run=heads&system=heads")
    page.locator("#counted", has_text="points").wait_for()
    every = int(page.locator("#counted").text_content().split()[0])
    page.get_by_role("checkbox", name="Hashtags").uncheck()
    page.locator("#counted", has_text="60 points").wait_for()
    assert page.locator(".list li").count() == 60
    box = page.locator("canvas").bounding_box()
    corners = [(0.02, 0.02), (0.5, 0.02), (0.5, 0.98), (0.02, 0.98)]
    spots = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in corners]
    page.mouse.move(*spots[0])
    page.mouse.down()
    for spot in spots[1:]:
        page.mouse.move(*spot, steps=4)
    page.mouse.up()
    left = page.locator(".list li").count()
    assert 0 < left < 60
    visit.check()
    page.get_by_role("button", name="List all").click()
    page.get_by_role("checkbox", name="Hashtags").check()
    page.locator("#counted", has_text=f"{every} points").wait_for()


def test_runs_are_compared_and_reported(visit: Visit, tmp_path: Path) -> None:
    page = visit.page
    visit.open("/runs")
    for name in ("heads", "similarity"):
        page.get_by_role("checkbox", name=name).check()
    page.get_by_role("button", name="Compare").click()
    page.get_by_text(re.compile(r"Differences to heads/heads on \d+ rows")).first.wait_for()
    visit.check()
    with page.expect_download() as coming:
        page.get_by_role("button", name="Write a report").click()
    coming.value.save_as(tmp_path / "report.html")
    assert "Confusion matrices" in (tmp_path / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("visit", [{"viewport": {"width": 390, "height": 800}, "locale": "ko-KR"}], indirect=True)
def test_every_page_fits_a_phone_in_korean(visit: Visit) -> None:
    for path in PAGES:
        visit.open(f"{path}?text=demo_00")  # a few images are enough
        visit.page.locator(CONTENT[path]).first.wait_for()
        assert visit.page.locator("html").get_attribute("lang") == "ko"
        assert re.search("[가-힣]", visit.page.locator("h1").inner_text())
        visit.check()
    visit.page.get_by_role("button", name="English").click()
    visit.page.get_by_role("heading", name="Runs", level=1).wait_for()


def test_the_keyboard_reaches_everything(visit: Visit) -> None:
    page = visit.page
    visit.open("/")
    page.locator("#hashtags").wait_for()
    reached = []
    for _ in range(16):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.id || document.activeElement.textContent.trim()"))
    assert reached[0] == "skip"
    assert {"language", "Data", "Runs", "hashtags", "Score"} <= set(reached)


@pytest.mark.parametrize("visit", [{"errors": True}], indirect=True)
def test_errors_are_shown_in_words(visit: Visit, tmp_path: Path) -> None:
    page = visit.page
    visit.open("/")
    ask = page.get_by_role("button", name="Score", exact=True)
    ask.click()
    page.get_by_text("Choose an image first.").first.wait_for()
    (tmp_path / "page.jpg").write_text("<html></html>")
    page.locator("input[type=file]").set_input_files(tmp_path / "page.jpg")
    ask.click()
    page.get_by_text("Write at least one hashtag.").first.wait_for()
    page.locator("#hashtags").fill("바다")
    ask.click()
    page.get_by_role("alert").filter(has_text="looks like HTML").wait_for()
    (tmp_path / "large.jpg").write_bytes(b"\xff\xd8" + b"x" * (21 * MEGABYTE))
    page.locator("input[type=file]").set_input_files(tmp_path / "large.jpg")
    page.get_by_role("alert").filter(has_text="over 20 MB").wait_for()
    visit.check()


def test_without_runs_and_table_the_commands_are_named(browser: Any, tmp_path: Path) -> None:
    api, service = application(tmp_path, tmp_path, None)
    with serving(api) as client:
        context = browser.new_context(locale="en-US")
        made = Visit(context.new_page(), client.port)
        for path in PAGES:
            made.open(path)
            assert "python cli.py " in made.page.get_by_role("alert").inner_text()
        made.check()
        context.close()
    service.worker.close()
    assert made.faults == []


def test_a_token_comes_in_the_fragment_and_is_kept(browser: Any, tmp_path: Path) -> None:
    api, service = application(tmp_path, tmp_path, None)
    with serving(api, token="a-token-of-some-length") as client:
        context = browser.new_context(locale="en-US")
        made = Visit(context.new_page(), client.port)
        made.open("/runs")
        made.page.get_by_role("alert").filter(has_text="a token is needed").wait_for()
        made.open("/data#token=a-token-of-some-length")
        made.page.reload()
        made.page.get_by_role("alert").filter(has_text="There is no table to look at").wait_for()
        assert "token" not in made.page.url
        made.open("/runs")
        made.page.get_by_role("alert").filter(has_text="There are no finished runs").wait_for()
        context.close()
    service.worker.close()
