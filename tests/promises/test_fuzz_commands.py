"""Random command lines and mutated requests: one line and an exit code, or a JSON error and a documented status.

`make test` runs a few, the same every time; `-m slow` runs thousands, other ones each time.
"""

import json
import os
from collections.abc import Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any

import click
import matplotlib.font_manager  # noqa: F401  (makes its folders when it is first imported)
import pytest
from hypothesis import given
from hypothesis import strategies as st

from koclip_consistency.scoring.loading import load_scorer
from koclip_consistency.screen.app import app
from koclip_consistency.service.api import Service, create_api
from koclip_consistency.service.shelf import Shelf
from koclip_consistency.service.worker import Worker
from tests.builders.commands import Run
from tests.builders.fuzzing import drawn, lawful
from tests.builders.mutations import byte_changes, change_bytes
from tests.builders.serving import Client, multipart, serving

# FastAPI leaves what a body that it cannot parse has uploaded so far to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore:.*SpooledTemporaryFile:pytest.PytestUnraisableExceptionWarning")
# Those that serve, download, or draw and train for minutes.
LEFT_OUT = {"app", "serve", "annotate page", "demo", "data demo", "paper", "finetune"}
TABLE = "Image Filename,Hashtag,Score\na.png,#바다,5\nb.png,산,1\n"
CONFIG = 'seed = 3\n[score]\nlimit = "x"\n'
VALUES = [
    *("", "9" * 400, "\x1b[31m", "\udcff"),
    *["-", "--", "0", "-1", "1", "1.5", "nan", "inf", "1e999", "٣", "x", "a,b", "=1+1"],
    *["pairs.csv", "images", "koclip.txt", "run", "out", "nowhere/x", ".", "..", "tiny", "test", "s3://", "http://x/"],
]


@cache
def commands() -> dict[str, list[str]]:
    """The flags of each command."""

    def inside(group: click.Group, words: str = "") -> Iterator[tuple[str, click.Command]]:
        for name, found in group.commands.items():
            place = f"{words} {name}".strip()
            yield from inside(found, place) if isinstance(found, click.Group) else [(place, found)]

    return {
        place: [flag for found in command.get_params(click.Context(command)) for flag in found.opts]
        for place, command in inside(app)
        if place not in LEFT_OUT
    }


def as_argument(data: bytes) -> str:
    """As the system hands it over: bytes that are no UTF-8 become lone surrogates, and there is no byte 0."""
    return os.fsdecode(data.replace(b"\0", b""))


@st.composite
def command_lines(draw: st.DrawFn) -> list[str]:
    words = draw(st.sampled_from(sorted(commands())))
    value = st.sampled_from(VALUES) | st.binary(max_size=4).map(as_argument)
    given_words = words.split()
    for flag in draw(st.lists(st.sampled_from(commands()[words]), max_size=5)):
        given_words += [flag] if flag.startswith("-") and draw(st.booleans()) else [flag, draw(value)]
    return given_words + draw(st.lists(value, max_size=2))


def runs_lawfully(run: Run, folder: Path, words: list[str]) -> None:
    with lawful(folder):
        (folder / "images").mkdir()
        (folder / "run").mkdir()
        (folder / "pairs.csv").write_text(TABLE)
        (folder / "koclip.txt").write_text(CONFIG)
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(folder)
            patch.setenv("HF_HUB_OFFLINE", "1")
            patch.setenv("TORCHINDUCTOR_CACHE_DIR", str(folder / "torch"))  # which torch makes when it is imported
            patch.setenv("KOCLIP_RUNS", str(folder / "runs"))
            ran = run(*words)
    assert ran.code in (0, 1, 2, 3), ran
    assert "--verbose" in words or "Traceback" not in ran.stderr  # which asks for it
    if ran.code in (1, 2):
        assert ran.stderr.splitlines()[-1].startswith("Error: "), ran


def fuzz_commands(run: Run, folder: Path, cases: int, *, same: bool) -> None:
    @drawn(cases, same=same)
    @given(command_lines())
    def holds(words: list[str]) -> None:
        runs_lawfully(run, folder, words)

    holds()


def test_a_few_command_lines(run: Run, tmp_path: Path) -> None:
    fuzz_commands(run, tmp_path / "case", 40, same=True)


def test_a_log_of_words_that_are_no_text(run: Run, tmp_path: Path) -> None:
    """Found by the test below: a word that is no UTF-8 could not be written to the log."""
    runs_lawfully(run, tmp_path / "case", ["report", "\udc8c", "--log-file", "log"])
    assert "\\udc8c" in (tmp_path / "case" / "log").read_text(encoding="utf-8")


def test_a_relabelled_table_without_a_name(run: Run, tmp_path: Path) -> None:
    """Found by the test below: a folder has no name of which the other files' names could be made."""
    runs_lawfully(run, tmp_path / "case", ["data", "relabel", "--answers", "run", "-o", "."])
    assert run("data", "relabel", "--answers", tmp_path, "-o", ".").code == 2


@pytest.mark.slow
def test_many_command_lines(run: Run, tmp_path: Path) -> None:
    fuzz_commands(run, tmp_path / "case", 3_000, same=False)


@pytest.fixture(scope="module")
def client(trained: Path) -> Iterator[Client]:
    service = Service(Shelf(trained / "runs", partial(load_scorer, cache=trained / "cache")), Worker())
    with serving(create_api(service)) as found:
        service.load_first()
        service.first.result(60)
        yield found
    service.worker.close()


PATHS = ["/v1/score", "/v1/suggest", "/v1/runs", "/healthz", "/", "/v1/score?x=%00", "/v1/%2e%2e/x", "//x"]
TEXTS = st.sampled_from(["#바다", "", "heads", "similarity", "audit", "../heads", "nowhere", "-1", "9" * 400, "\0"])
NAMES = ["Content-Type", "Origin", "Host", "Sec-Fetch-Site", "Content-Encoding", "Range", "Cookie"]
HEADERS = st.dictionaries(
    st.sampled_from(NAMES),
    st.sampled_from(["multipart/form-data", "multipart/form-data; boundary=", "application/json", "", "null", "\xff"])
    | st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=8),
    max_size=2,
)
requests = st.fixed_dictionaries(
    {
        "path": st.sampled_from(PATHS),
        "method": st.sampled_from(["POST", "POST", "POST", "GET", "PUT", "HEAD", "OPTIONS", "x"]),
        "fields": st.dictionaries(
            st.sampled_from(["hashtags", "words", "run", "system", "n", "x"]),
            TEXTS | st.lists(TEXTS, max_size=3),
        ),
        "headers": HEADERS,
        "changes": st.none() | byte_changes,
    }
)


def answers_lawfully(client: Client, image: bytes, asked: dict[str, Any]) -> None:
    body, kind = multipart(image, **asked["fields"])
    if asked["changes"]:
        body = change_bytes(body, asked["changes"])
    headers = {"Content-Type": kind} | asked["headers"]
    reply = client.send(asked["path"], body, method=asked["method"], headers=headers, timeout=30)
    assert reply.status in (200, 400, 403, 404, 405, 413, 422, 429, 503), reply
    if asked["method"] != "HEAD" and reply.status != 200 and reply.body != b"Invalid HTTP request received.":
        assert list(json.loads(reply.body)) == ["error"]
        assert isinstance(reply.error, str)


def fuzz_requests(client: Client, image: bytes, cases: int, *, same: bool) -> None:
    @drawn(cases, same=same)
    @given(requests)
    def holds(asked: dict[str, Any]) -> None:
        answers_lawfully(client, image, asked)

    holds()
    assert client.send("/healthz").status == 200


@pytest.fixture
def image(small_demo: Path) -> bytes:
    return sorted((small_demo / "image").iterdir())[0].read_bytes()


def test_a_few_requests(client: Client, image: bytes) -> None:
    fuzz_requests(client, image, 40, same=True)


@pytest.mark.slow
def test_many_requests(client: Client, image: bytes) -> None:
    fuzz_requests(client, image, 5_000, same=False)
