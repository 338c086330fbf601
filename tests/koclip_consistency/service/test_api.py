"""The service equals `score --json`, and refuses or survives whatever else it is sent."""

import http.client
import io
import shutil
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from koclip_consistency.scoring.loading import load_scorer
from koclip_consistency.service.api import Service, create_api
from koclip_consistency.service.guard import MEGABYTE, Limits
from koclip_consistency.service.shelf import Shelf
from koclip_consistency.service.worker import Worker
from tests.builders.commands import Run
from tests.builders.serving import Client, multipart, serving

HASHTAGS = ["#바다", "카페", "처음 보는 말", "=1+1"]


def service_of(folder: Path, **options: Any) -> Service:
    return Service(Shelf(folder / "runs", partial(load_scorer, cache=folder / "cache")), Worker(), **options)


@pytest.fixture(scope="module")
def client(trained: Path) -> Iterator[Client]:
    service = service_of(trained)
    with serving(create_api(service)) as found:
        assert found.send("/readyz").status == 200  # nothing is being loaded
        service.load_first()
        service.first.result(60)
        yield found
    service.worker.close()


@pytest.fixture(scope="module")
def image(small_demo: Path) -> Path:
    return sorted((small_demo / "image").iterdir())[0]


def agrees(client: Client, run: Run, folder: Path, name: str, image: Path) -> None:
    """The service answers as `score --json` does."""
    asked = [word for hashtag in HASHTAGS for word in ("--hashtag", hashtag)]
    model = folder / "runs" / name
    ran = run("score", "--model", model, "--cache", folder / "cache", "--image", image, *asked, "--json")
    assert ran.code == 0, ran.stderr
    expected = {record["hashtag"]: record for record in ran.json()}
    reply = client.ask("/v1/score", image.read_bytes(), hashtags=HASHTAGS, run=name)
    assert reply.status == 200, reply.body
    answer = reply.json()
    assert answer.keys() == {"system", "rows"}
    assert [row["hashtag"] for row in answer["rows"]] == HASHTAGS
    for row in answer["rows"]:
        said = expected[row["hashtag"]]
        assert (row["score"], row["familiar"], row["why_not"]) == (said["predicted"], said["familiar"], None)
        assert row["similarity"] == pytest.approx(said["similarity"], abs=1e-6)
        if "p1" in said:
            assert row["expected_score"] == pytest.approx(said["expected_score"], abs=1e-5)
            chances = [said[f"p{score}"] for score in range(1, 6)]
            assert row["probabilities"] == pytest.approx(chances, abs=1e-5)
        else:
            assert (row["expected_score"], row["probabilities"]) == (None, None)


@pytest.mark.parametrize("name", ["similarity", "heads"])
def test_answers_equal_those_of_score(client: Client, run: Run, trained: Path, name: str, image: Path) -> None:
    agrees(client, run, trained, name, image)


@pytest.mark.slow
def test_answers_equal_those_of_score_for_every_system_of_the_demo(run: Run, tmp_path: Path) -> None:
    assert run("demo", "--quick", "--cache", tmp_path / "cache", "--out", tmp_path / "runs").code == 0
    service = service_of(tmp_path)
    image = sorted((tmp_path / "runs" / "data" / "image").iterdir())[0]
    with serving(create_api(service)) as client:
        names = [each["name"] for each in client.send("/v1/runs").json()["runs"] if len(each["systems"]) == 1]
        assert {"heads-grid", "heads-post", "finetune", "finetune-post"} <= set(names)
        for name in names:
            agrees(client, run, tmp_path, name, image)
    service.worker.close()


def test_suggestions_equal_those_of_score(client: Client, run: Run, trained: Path, image: Path) -> None:
    words = ["score", "--model", trained / "runs" / "heads", "--cache", trained / "cache", "--image", image]
    expected = [record["hashtag"] for record in run(*words, "--suggest", 3, "--json").json()]
    answer = client.ask("/v1/suggest", image.read_bytes(), n=3, run="heads").json()
    assert [row["hashtag"] for row in answer["rows"]] == expected
    listed = client.ask("/v1/suggest", image.read_bytes(), n=1, words=["카페", "#바다"], run="heads").json()
    assert [row["hashtag"] for row in listed["rows"]][0] in ("카페", "#바다")


def test_the_runs_and_the_description(client: Client, trained: Path) -> None:
    told = client.send("/v1/runs").json()
    assert {each["name"]: each["systems"] for each in told["runs"]} == {
        "similarity": ["similarity-exact"],
        "heads": ["heads"],
    }  # an audit cannot score
    assert told["default_run"] in ("similarity", "heads")
    assert client.send("/healthz").json() == {"status": "ok"}
    assert client.send("/readyz").json() == {"status": "ready"}
    paths = client.send("/openapi.json").json()["paths"]
    assert set(paths) == {"/healthz", "/readyz", "/v1/runs", "/v1/score", "/v1/suggest"}
    assert client.send("/docs").status == 404  # FastAPI's own page loads scripts from elsewhere


def png(width: int, height: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("1", (width, height)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("image", "fields", "status", "said"),
    [
        (b"<html></html>", {"hashtags": "바다"}, 422, "the image cannot be scored: looks like HTML"),
        (b"", {"hashtags": "바다"}, 422, "the image cannot be scored: the file is empty"),
        (png(20_000, 10_000), {"hashtags": "바다"}, 422, "over 50 megapixels"),  # a bomb of 24 KB
        (png(20_000, 1), {"hashtags": "바다"}, 422, "the image cannot be scored"),
        (None, {"hashtags": "바다"}, 422, "image: Field required"),
        (png(9, 9), {}, 422, "hashtags: Field required"),
        (png(9, 9), {"hashtags": ["바다", " # "]}, 422, "the hashtag ' # ' cannot be scored"),
        (png(9, 9), {"hashtags": ["바다"] * 101}, 422, "101 hashtags are too many: ask about at most 100 at once"),
        (png(9, 9), {"hashtags": "바다", "run": "../x"}, 422, "there is no run '../x'"),
        (png(9, 9), {"hashtags": "바다", "system": "x"}, 422, "0 runs hold the system x"),
    ],
)
def test_what_cannot_be_answered_is_one_line(
    client: Client, image: bytes | None, fields: dict[str, Any], status: int, said: str
) -> None:
    reply = client.ask("/v1/score", image, **fields)
    assert reply.status == status
    assert said in reply.error
    assert "\n" not in reply.error


def test_an_upload_of_60_mb_is_refused(client: Client) -> None:
    reply = client.ask("/v1/score", b"x" * (60 * MEGABYTE), hashtags="바다")
    assert (reply.status, reply.error) == (413, "the request is over 20 MB: send a smaller image")


def test_no_path_leads_to_a_file(client: Client) -> None:
    for path in ("/", "/../run.json", "/v1/runs/heads/run.json", "/v1/%2e%2e/cli.py"):
        assert client.send(path).status == 404
    assert client.send("/v1/score").status == 405


def test_200_requests_at_once_lose_none(client: Client, image: Path) -> None:
    """Beyond the queue they get 429, and an answer when they come again."""
    data = image.read_bytes()
    expected = client.ask("/v1/score", data, hashtags=["바다"], run="heads").json()

    def ask(number: int) -> tuple[int, Any]:
        refused = 0
        while True:
            reply = client.ask("/v1/score", data, hashtags=["바다", f"말{number % 10}"], run="heads")
            if reply.status != 429:
                return refused, (reply.status, reply.json())
            assert reply.headers["retry-after"] == "1"
            assert "too many requests wait already" in reply.error
            refused += 1

    with ThreadPoolExecutor(200) as pool:
        found = list(pool.map(ask, range(200)))
    assert [status for _, (status, _) in found] == [200] * 200
    for number, (_, (_, answer)) in enumerate(found):
        assert [row["hashtag"] for row in answer["rows"]] == ["바다", f"말{number % 10}"]
        assert answer["rows"][0]["expected_score"] == pytest.approx(expected["rows"][0]["expected_score"], abs=1e-5)


def test_more_than_may_wait_are_refused(trained: Path, image: Path) -> None:
    """While the worker loads a model three requests wait, and others are refused at once."""
    started, go = threading.Event(), threading.Event()

    def held(*words: Any, **options: Any) -> Any:
        started.set()
        go.wait(60)
        return load_scorer(*words, cache=trained / "cache", **options)

    service = Service(Shelf(trained / "runs", held), Worker(most=3), Limits(seconds=1.0))
    service.load_first()
    started.wait(60)
    data = image.read_bytes()
    with serving(create_api(service)) as client, ThreadPoolExecutor(8) as pool:
        replies = list(pool.map(lambda _: client.ask("/v1/score", data, hashtags="바다", run="heads"), range(8)))
    go.set()
    service.worker.close()
    assert sorted(reply.status for reply in replies) == [429] * 5 + [503] * 3
    assert {reply.error for reply in replies if reply.status == 503} == {"there was no answer within 1 s"}


def test_a_client_that_is_killed_harms_nobody(client: Client, image: Path) -> None:
    body, kind = multipart(image.read_bytes(), hashtags=["바다"])
    head = f"POST /v1/score HTTP/1.1\r\nHost: 127.0.0.1:{client.port}\r\nContent-Type: {kind}\r\n"
    whole = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
    for sent in (20, len(whole) // 2, len(whole)):
        with socket.create_connection(("127.0.0.1", client.port)) as killed:
            killed.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")  # reset
            killed.sendall(whole[:sent])
    assert client.ask("/v1/score", image.read_bytes(), hashtags=["바다"]).status == 200


def test_a_model_that_cannot_be_loaded(trained: Path, tmp_path: Path) -> None:
    shutil.copytree(trained / "runs" / "heads", tmp_path / "runs" / "heads")
    (tmp_path / "runs" / "heads" / "head.json").write_text("{")
    service = service_of(tmp_path)
    service.load_first()
    with serving(create_api(service)) as client:
        assert service.first.exception(60) is not None
        reply = client.send("/readyz")
        assert reply.status == 503
        assert reply.error.startswith("the model cannot be loaded: ")
        assert client.send("/healthz").status == 200
    service.worker.close()


def test_requests_in_pieces_keep_one_connection(client: Client, image: Path) -> None:
    body, kind = multipart(image.read_bytes(), hashtags=["바다"])
    connection = http.client.HTTPConnection("127.0.0.1", client.port, timeout=60)
    for _ in range(2):
        pieces = [body[:10], body[10:400], body[400:]]
        connection.request("POST", "/v1/score", iter(pieces), {"Content-Type": kind}, encode_chunked=True)
        response = connection.getresponse()
        assert response.status == 200
        response.read()
    connection.close()
