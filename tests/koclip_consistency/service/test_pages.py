"""The requests of the pages, and the files that they load."""

import io
import re
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from urllib.parse import quote

import pytest
from fastapi import FastAPI
from PIL import Image

from consistency.options import Source
from koclip_consistency.scoring.loading import load_scorer
from koclip_consistency.service.annotations import Annotations
from koclip_consistency.service.api import Service, create_api
from koclip_consistency.service.pages import PAGES, add_pages, static_file, static_names
from koclip_consistency.service.shelf import Shelf
from koclip_consistency.service.study import Study
from koclip_consistency.service.worker import Worker
from tests.builders.serving import Client, serving


@pytest.fixture(scope="module")
def api(trained: Path, small_demo: Path) -> Iterator[FastAPI]:
    shelf = Shelf(trained / "runs", partial(load_scorer, cache=trained / "cache"))
    study = Study(shelf, Source(data=small_demo / "combined_data.csv", images=small_demo / "image"))
    service = Service(shelf, Worker())
    api = create_api(service)
    add_pages(api, service, study, Annotations(study, trained / "answers"))
    yield api
    service.worker.close()
    study.close()


@pytest.fixture(scope="module")
def client(api: FastAPI) -> Iterator[Client]:
    with serving(api) as found:
        yield found


def test_every_address_is_made_before_the_first_request(api: FastAPI) -> None:
    made = {getattr(each, "path", None) for each in api.routes}
    assert {"/api/about", "/api/annotate", "/v1/score", *PAGES} <= made
    assert None not in made
    assert not [each for each in api.openapi()["paths"] if each.startswith("/api")]


def test_pages_load_files_of_the_package_alone(client: Client) -> None:
    assert {"app.js", "app.css", "report.css", "index.html"} <= set(static_names())
    for page in PAGES:
        reply = client.send(page)
        assert (reply.status, reply.headers["content-type"]) == (200, "text/html; charset=utf-8")
        loaded = re.findall(r'(?:src|href)="(?!#)([^"]*)"', reply.body.decode())
        assert loaded
        assert all(client.send(each).status == 200 for each in loaded)
    for name in static_names():
        text = static_file(name).decode()
        assert re.findall(r"https?://(?!www\.w3\.org/)", text) == [], name
        for imported in re.findall(r'from "\./([^"]+)"', text):
            assert imported in static_names()
    assert client.send("/static/../api.py").status == 404


def test_pages_write_data_as_text_alone() -> None:
    for name in static_names():
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", static_file(name).decode()
        )


def test_both_languages_have_every_text() -> None:
    text = static_file("words.js").decode()
    english, korean = re.split(r"\n  ko: \{\n", text)
    keys = [set(re.findall(r"[\s{](\w+): [\"{]", part)) for part in (english, korean.split("const KEPT")[0])]
    assert keys[0] - {"en"} == keys[1]
    used = set()
    for name in static_names():
        used |= set(re.findall(r"\bt\(\"(\w+)\"", static_file(name).decode()))
    assert used - keys[0] == set()


def test_what_there_is(client: Client, small_demo: Path) -> None:
    about = client.send("/api/about").json()
    assert about["data"] == str(small_demo / "combined_data.csv")
    assert {each["name"] for each in about["runs"]} == {"heads", "similarity"}
    assert about["status"] == "ready"
    assert about["images"] == 60


def test_rows_are_filtered_by_the_address(client: Client) -> None:
    everything = client.send("/api/rows?run=heads&system=heads").json()
    assert (everything["images"], everything["pages"], len(everything["posts"])) == (60, 3, 24)
    some = client.send("/api/rows?run=heads&system=heads&split=test&error=1&order=error").json()
    assert 0 < some["rows"] < everything["rows"]
    for post in some["posts"]:
        assert all(abs(row["label"] - row["predicted"]) >= 1 for row in post["rows"])
    assert client.send("/api/rows?order=x").error == "order is 'x', expected one of table, error, doubt"
    assert client.send("/api/rows?label=x").status == 422
    assert client.send("/api/rows?run=nowhere").error.startswith("there is no run 'nowhere'")


def test_one_hashtag_and_one_post(client: Client) -> None:
    post = client.send("/api/post?image=3&run=heads&system=heads").json()
    assert post["summary"]["n"] == len(post["rows"]) > 3
    hashtag = post["rows"][0]["hashtag"].lstrip("#")
    told = client.send(f"/api/hashtag?name={quote(hashtag)}&run=heads&system=heads").json()
    assert 3 in [row["image"] for row in told["rows"]]
    assert len(told["names"]) == len(told["rows"])
    assert client.send("/api/post?image=9999").status == 422


def test_images_are_asked_for_by_number(client: Client) -> None:
    reply = client.send("/api/image/0?size=240")
    assert (reply.status, reply.headers["content-type"]) == (200, "image/jpeg")
    assert reply.headers["cache-control"] == "private, max-age=600"
    file = client.send("/api/file/0")
    assert file.headers["content-type"] == "application/octet-stream"
    assert file.headers["x-content-type-options"] == "nosniff"
    for path in ("/api/image/9999", "/api/image/0?size=5", "/api/image/..%2f..%2frun.json", "/api/image/-1"):
        assert client.send(path).status in (404, 422)


def test_work_in_the_background(client: Client) -> None:
    for path in ("/api/health", "/api/map?run=heads&system=heads"):
        while (told := client.send(path).json())["state"] == "working":
            time.sleep(0.05)
        assert told["state"] == "done", told
    assert client.send("/api/map?method=x").status == 422


def test_why_and_the_map(client: Client, small_demo: Path) -> None:
    image = sorted((small_demo / "image").iterdir())[0].read_bytes()
    told = client.ask("/api/why", image, hashtag="바다", run="heads", system="heads").json()
    assert len(told["preferred"]) == 5
    assert told["cosine_rank"]["images"] == 60
    assert told["notes"] == []
    drawn = client.ask("/api/explain", image, hashtag="바다", others=["카페"], run="heads", system="heads")
    assert (drawn.status, drawn.headers["content-type"]) == (200, "image/png")
    assert Image.open(io.BytesIO(drawn.body)).width > 500
    for path in ("/api/why", "/api/explain"):
        assert (
            client.ask(path, b"x", hashtag="바다").error == "the image cannot be scored: looks like text, not an image"
        )


def test_runs_are_compared_and_reported(client: Client) -> None:
    while (told := client.send("/api/compare?run=heads&run=similarity").json())["state"] == "working":
        time.sleep(0.05)
    found = told["result"]["differences"]
    assert {(each["reference"], each["name"]) for each in found} == {("heads/heads", "similarity/similarity-exact")}
    assert found[0]["difference"] == 0  # its predictions are those of the head
    reply = client.send("/api/report?run=heads")
    assert reply.headers["content-disposition"] == 'attachment; filename="report.html"'
    assert b"Content-Security-Policy" in reply.body
    assert client.send("/api/report").status == 422
    assert client.send("/api/report?run=nowhere").error.startswith("there is no run 'nowhere'")


def test_runs_for_the_page(client: Client) -> None:
    told = client.send("/api/runs").json()
    assert told["titles"]["mae"] == "MAE"
    assert len(told["runs"]) == 3
