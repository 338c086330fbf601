"""Half an hour of the app: whether memory and open files stay flat. `python -m benchmarks.soak [--minutes 30]`

The app shows a drawn data set with a head trained on it. Four clients ask without a pause between --per-second requests
for everything that its pages ask for: rows, images, hashtags, scores of new hashtags, suggestions, explanations, maps,
reports and answers of annotators; and one request in twenty is broken: no image, half a body, a page that is not there.
A line every twentieth of the time: resident memory, open descriptors and threads of the server. Linux only.
"""

import argparse
import http.client
import json
import random
import socket
import tempfile
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote
from uuid import uuid4

from benchmarks.service import BOUNDARY, IMAGES, form, resident, server
from benchmarks.timing import machine
from consistency.data.pairs import read_pairs
from consistency.options import Encoding, HeadsOptions, Output, Source
from demo.dataset import write_demo
from koclip_consistency.workflows.heads import run_heads

CLIENTS, LINES = 4, 20
MULTIPART = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
JSON = {"Content-Type": "application/json"}


class Visitor:
    """Asks for one thing after another, at random.

    Parameters
    ----------
    port : int
        Port of the app.
    images : list of bytes
        Images to ask about.
    hashtags : list of str
        Hashtag of each row of the table.
    seed : int
        Random seed.
    """

    def __init__(self, port: int, images: list[bytes], hashtags: list[str], seed: int) -> None:
        self.port, self.images, self.hashtags, self.random = port, images, hashtags, random.Random(seed)
        self.asked = self.refused = self.busy = 0
        self.name = f"annotator {seed}"

    def ask_once(self) -> None:
        """Send one request. Raises RuntimeError for an answer that is neither right nor a clean refusal."""
        self.asked += 1
        if self.asked % 20 == 0:
            return self._break()
        pick, image = self.random, self.random.choice(self.images)
        number = pick.randrange(IMAGES)
        about = form(image, f"#말{pick.randrange(100_000)}")
        one = about.replace(b'name="hashtags"', b'name="hashtag"')
        row = pick.randrange(len(self.hashtags))
        line = {"id": str(uuid4()), "time": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}", "row": row + 1,
                "hashtag": self.hashtags[row], "score": 1 + row % 5, "queue": "random"}  # fmt: skip
        path, body, headers = pick.choice(
            [
                ("/", None, {}),
                ("/static/app.js", None, {}),
                ("/api/about", None, {}),
                (f"/api/rows?page={1 + pick.randrange(3)}&run=run&order=error", None, {}),
                (f"/api/image/{number}?size=240", None, {}),
                (f"/api/file/{number}", None, {}),
                (f"/api/hashtag?name={quote('#바다')}", None, {}),
                (f"/api/post?image={number}", None, {}),
                ("/api/map", None, {}),
                ("/api/health", None, {}),
                ("/api/runs", None, {}),
                ("/v1/score", about, MULTIPART),
                ("/v1/score", about, MULTIPART),
                ("/v1/suggest", form(image), MULTIPART),
                ("/api/why", one, MULTIPART),
                *([("/api/explain", one, MULTIPART), ("/api/report?run=run", None, {})] if pick.random() < 0.1 else []),
                (f"/api/annotate/queue?name={quote(self.name)}", None, {}),
                ("/api/annotate/answers", json.dumps({"annotator": self.name, "lines": [line]}).encode(), JSON),
                ("/api/raters", None, {}),
            ]
        )
        status, told = self._send(path, body, headers)
        self.busy += status == 503
        if status not in (200, 503):
            raise RuntimeError(f"{path}: {status} {told[:200]!r}")

    def _break(self) -> None:
        self.refused += 1
        if self.asked % 40 == 0:  # half a body, and away
            with socket.create_connection(("127.0.0.1", self.port)) as half:
                half.sendall(b"POST /v1/score HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100000\r\n\r\nhalf")
            return
        path, body, headers = self.random.choice(
            [
                ("/nothing", None, {}),
                ("/v1/score", form(b"no image", "#x"), MULTIPART),
                ("/api/image/99999999", None, {}),
                ("/api/annotate/answers", b"{", JSON),
            ]
        )
        status, told = self._send(path, body, headers)
        if not 400 <= status < 500:
            raise RuntimeError(f"{path}: {status} {told[:200]!r}, though it is broken")

    def _send(self, path: str, body: bytes | None, headers: dict[str, str]) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        try:
            connection.request("GET" if body is None else "POST", path, body, headers)
            reply = connection.getresponse()
            return reply.status, reply.read()
        finally:
            connection.close()


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.soak", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--per-second", type=float, default=10, help="requests of all clients together")
    given = parser.parse_args()
    print(machine("fastapi", "uvicorn"))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_demo(folder / "demo", seed=7, images=IMAGES)
        source = Source(data=folder / "demo" / "combined_data.csv", images=folder / "demo" / "image")
        encoding = Encoding(backbone="tiny", cache=folder / "cache")
        run_heads(HeadsOptions(source=source, encoding=encoding, output=Output(out=folder / "runs" / "run")))
        words = ["--data", source.data, "--images", source.images, "--runs", folder / "runs", "--cache", encoding.cache]
        with server("app", *words, "--answers", folder / "answers", "--no-browser") as (pid, port):
            watch(pid, port, source, given)


def watch(pid: int, port: int, source: Source, given: argparse.Namespace) -> None:
    """Let the clients ask, and print what the server takes meanwhile."""
    images = [path.read_bytes() for path in sorted(source.images.iterdir())]
    hashtags = read_pairs(source.data).hashtags.tolist()
    visitors = [Visitor(port, images, hashtags, seed) for seed in range(CLIENTS)]
    ends, faults = time.monotonic() + 60 * given.minutes, list[BaseException]()

    def visit(visitor: Visitor) -> None:
        try:
            while time.monotonic() < ends and not faults:
                started = time.monotonic()
                visitor.ask_once()
                time.sleep(max(0.0, CLIENTS / given.per_second - (time.monotonic() - started)))
        except BaseException as fault:
            faults.append(fault)

    threads = [threading.Thread(target=visit, args=(visitor,)) for visitor in visitors]
    for thread in threads:
        thread.start()
    print("| minutes | requests | MB | descriptors | threads |\n| --- | --- | --- | --- | --- |")
    for line in range(LINES + 1):
        while time.monotonic() < ends - 60 * given.minutes * (1 - line / LINES) and not faults:
            time.sleep(0.2)
        if faults:
            raise faults[0]
        asked = sum(visitor.asked for visitor in visitors)
        counts = (len(list(Path(f"/proc/{pid}/{of}").iterdir())) for of in ("fd", "task"))
        minutes = f"{line * given.minutes / LINES:.1f}"
        print(f"| {minutes} | {asked:,} | {resident(pid):.0f} | {' | '.join(map(str, counts))} |", flush=True)
    for thread in threads:
        thread.join()
    refused, busy = (sum(counts) for counts in zip(*((v.refused, v.busy) for v in visitors), strict=True))
    print(f"{refused:,} of the requests were broken, and refused; {busy:,} were told that the server is busy (503)")


if __name__ == "__main__":
    main()
