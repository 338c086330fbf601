"""Annotating by keyboard alone while the server is killed: no answer that the page calls saved is lost.

`python -m pytest -m slow -s tests/promises/test_annotating.py` kills it 20 times and prints what came of it.
"""

import json
import random
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path
from typing import Any

import pytest

from consistency.data.annotations import standing
from consistency.data.answer_files import read_all, read_answers
from consistency.options import AnnotateImportOptions, AnnotatePageOptions, QueueChoice, Source
from consistency.options.annotating import Answering
from koclip_consistency.service.offline import write_page
from koclip_consistency.workflows.annotate import import_answers
from tests.builders.browser import Visit, opened_browser
from tests.builders.killed_service import Killed, killed_service
from tests.builders.serving import Client

GONE = "Failed to load resource: net::ERR_"  # what the browser says about a killed server


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("annotating") / "answers"


@pytest.fixture(scope="module")
def service(small_demo: Path, answers: Path) -> Iterator[Killed]:
    with killed_service(small_demo, answers) as found:
        yield found


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with opened_browser() as found:
        yield found


@dataclass
class Annotator:
    """Answers as fast as the server confirms, and sends what was not confirmed again, as the page does."""

    name: str
    client: Client
    seed: int
    stop: threading.Event = field(default_factory=threading.Event)
    confirmed: list[dict[str, Any]] = field(default_factory=list)
    repeated: int = 0

    def run(self) -> None:
        chance = random.Random(self.seed)
        items = self._ask(f"/api/annotate/queue?name={self.name}")["items"]
        while not self.stop.is_set():
            lines = [self._line(chance.choice(items), chance) for _ in range(chance.randint(1, 3))]
            body = json.dumps({"annotator": self.name, "lines": lines}).encode()
            told = self._ask("/api/annotate/answers", body)
            assert told["saved"] == [line["id"] for line in lines]
            self.confirmed += lines

    def _line(self, item: dict[str, Any], chance: random.Random) -> dict[str, Any]:
        return {
            "id": f"{chance.getrandbits(96):024x}",
            "time": "2026-11-27T10:00:00.000Z",
            "row": item["row"],
            "hashtag": item["hashtag"],
            "score": chance.randint(0, 5),
            "note": chance.choice(["", 'a "note", with commas', "메모 " * 40]),
            "queue": "random",
        }

    def _ask(self, path: str, body: bytes | None = None) -> Any:
        while True:
            try:
                reply = self.client.send(path, body, headers={"Content-Type": "application/json"})
                assert reply.status == 200, reply.body
                return reply.json()
            except (OSError, HTTPException):
                self.repeated += 1
                time.sleep(0.005)


def annotate_under_kills(service: Killed, answers: Path, kills: int, prefix: str) -> tuple[int, int, int]:
    """Three annotators while the server is killed; how many answers were confirmed, lost, and sent again."""
    annotators = [Annotator(f"{prefix}{n}", Client(service.port), n) for n in range(3)]
    threads = [threading.Thread(target=each.run) for each in annotators]
    for thread in threads:
        thread.start()
    chance = random.Random(kills)
    for _ in range(kills):
        before = sum(len(each.confirmed) for each in annotators)
        while sum(len(each.confirmed) for each in annotators) < before + 20:  # it is at work again
            assert all(thread.is_alive() for thread in threads)
            time.sleep(0.01)
        time.sleep(chance.random() / 4)
        service.kill()
        service.start()
    for each in annotators:
        each.stop.set()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    service.kill()
    service.start()
    lost, files = 0, read_all(answers)
    for each in annotators:
        there = {line.id: line for line in files[each.name]}
        assert len(there) == len(files[each.name])  # none twice
        lost += sum(
            line["id"] not in there or (there[line["id"]].row, there[line["id"]].score) != (line["row"], line["score"])
            for line in each.confirmed
        )
    return sum(len(each.confirmed) for each in annotators), lost, sum(each.repeated for each in annotators)


def test_no_confirmed_answer_is_lost_by_two_kills(service: Killed, answers: Path) -> None:
    confirmed, lost, _ = annotate_under_kills(service, answers, 2, "two-")
    assert confirmed > 40
    assert lost == 0


@pytest.mark.slow
def test_no_confirmed_answer_is_lost_by_twenty_kills(service: Killed, answers: Path) -> None:
    confirmed, lost, repeated = annotate_under_kills(service, answers, 20, "twenty-")
    torn = len(list(answers.glob("*.torn-*")))
    print(f"20 SIGKILLs: {confirmed:,} answers confirmed, {lost} lost; {repeated} requests failed, {torn} torn lines")
    assert confirmed > 400
    assert lost == 0


def test_by_keyboard_alone_with_undo_reload_and_a_killed_server(service: Killed, answers: Path, browser: Any) -> None:
    context = browser.new_context(locale="en-US", viewport={"width": 1280, "height": 900})
    context.set_default_timeout(30_000)
    visit = Visit(context.new_page(), service.port)
    page = visit.page

    def done(n: int) -> None:
        page.locator("#done", has_text=f"{n} of ").wait_for()
        page.locator("#saved", has_text="Saved").wait_for()

    visit.open("/annotate")
    page.locator("#annotator").wait_for()
    page.keyboard.type("김 철수")
    page.keyboard.press("Enter")
    page.locator(".shown img").wait_for()
    visit.check()
    for key in "351":
        page.keyboard.press(key)
    done(3)
    page.keyboard.press("u")
    done(2)
    undone = page.locator("#asked").text_content()
    page.keyboard.press("4")
    page.keyboard.press("n")
    page.keyboard.type("3 and u are text here")
    page.keyboard.press("Enter")
    page.keyboard.press("2")
    done(4)
    asked = page.locator("#asked").text_content()
    page.reload()
    done(4)
    assert page.locator("#asked").text_content() == asked  # where it was

    service.kill()
    page.keyboard.press("5")
    page.get_by_role("alert").filter(has_text="The server does not answer. 1 answers wait in this browser").wait_for()
    assert page.locator("#saved").text_content() == "1 not saved yet"
    visit.check()
    service.start()
    done(5)
    page.get_by_role("alert").wait_for(state="detached")

    service.kill()
    page.keyboard.press("0")
    page.get_by_role("alert").wait_for()
    service.start()
    page.reload()
    done(6)
    page.keyboard.press("ArrowLeft")
    assert page.locator("[aria-pressed=true]").get_attribute("data-score") == "0"
    page.keyboard.press("?")
    page.get_by_role("dialog").wait_for()
    page.keyboard.press("3")  # no answer while the help is open
    visit.check()
    page.keyboard.press("Escape")
    page.keyboard.press("c")
    page.locator("dl.others").wait_for()
    page.keyboard.press("1")
    done(6)

    found = list(standing(read_answers(answers / "answers-김 철수.csv")).values())
    assert [line.score for line in found] == [3, 5, 4, 2, 5, 1]
    assert [line.note for line in found] == ["", "", "", "3 and u are text here", "", ""]
    assert [line.blind for line in found] == [True] * 5 + [False]  # the label had been shown
    assert found[2].hashtag == undone
    assert {line.queue for line in found} == {"random"}
    assert [each for each in visit.faults if not each.startswith(GONE)] == []
    context.close()


@pytest.mark.parametrize(("locale", "width"), [("en-US", 1280), ("ko-KR", 390)])
def test_a_colleague_without_python(browser: Any, small_demo: Path, tmp_path: Path, locale: str, width: int) -> None:
    """The page from a file: answers stay over a reload, and the saved file is taken over."""
    source = Source(data=small_demo / "combined_data.csv", images=small_demo / "image")
    queue = QueueChoice(limit=6)
    written = write_page(AnnotatePageOptions(queue=queue, source=source, file=tmp_path / "page.html"))
    context = browser.new_context(locale=locale, viewport={"width": width, "height": 800}, accept_downloads=True)
    visit = Visit(context.new_page(), 0)
    page, address = visit.page, written.path.as_uri()
    page.goto(address)
    page.locator("#annotator").wait_for()
    visit.check()
    for _ in range(2):  # the second time after a reload
        page.locator("#annotator").fill("lee")
        page.keyboard.press("Enter")
        page.locator(".shown img").wait_for()
        for key in "43u":
            page.keyboard.press(key)
        page.keyboard.press("0")
        visit.check()
        page.on("dialog", lambda dialog: dialog.accept())  # that there are answers in no file yet
        page.reload()
    page.locator("#annotator").fill("lee")
    page.keyboard.press("Enter")
    for key in "51":
        page.keyboard.press(key)
    page.locator(".card.panel button.plain").first.wait_for()  # all done
    with page.expect_download() as coming:
        page.locator(".who button").click()
    assert coming.value.suggested_filename == "answers-lee.csv"
    coming.value.save_as(tmp_path / "answers-lee.csv")
    visit.check()
    context.close()
    assert [each for each in visit.faults if address not in each] == []

    answering = Answering(answers=tmp_path / "answers")
    (told,) = import_answers(AnnotateImportOptions((tmp_path / "answers-lee.csv",), answering, source))
    assert (told.annotator, told.new, told.known) == ("lee", 10, 0)
    found = standing(read_answers(tmp_path / "answers" / "answers-lee.csv")).values()
    assert [line.score for line in found] == [4, 0, 4, 0, 5, 1]
