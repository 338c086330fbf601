"""The service over many requests: memory, time per answer, and the first page of a large table.

    python -m benchmarks.service [--requests 10000] [--hashtags 10000] [--rows 20000]

`app` shows a table of so many rows, 8 for each image. Then `serve` runs in a process of its own, and 8 clients ask it
about one of 50 images, with a known hashtag and one of so many others. Memory is the resident memory of the server
after every tenth of the requests; the vectors of the last 16,384 images and hashtags stay in it.
"""

import argparse
import http.client
import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from benchmarks.memory import draw, name
from benchmarks.timing import machine
from consistency.options import Encoding, Output, SimilarityOptions, Source
from demo.dataset import write_demo
from koclip_consistency.workflows.similarity import run_similarity

ROOT = Path(__file__).parents[1]
CLIENTS, IMAGES, PARTS, PER_IMAGE = 8, 50, 10, 8
BOUNDARY = "a-line-between-parts"


@contextmanager
def server(*words: str | Path) -> Iterator[tuple[int, int]]:
    """A server of the command line: its process and its port."""
    command = [sys.executable, "cli.py", *map(str, words), "--port", "0"]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        for line in process.stderr:
            if found := re.search(r"http://127\.0\.0\.1:(\d+)/", line):
                yield process.pid, int(found[1])
                return
        raise RuntimeError("the server ended before it listened")
    finally:
        process.terminate()
        process.wait()


def resident(pid: int) -> float:
    """Resident memory of a process in MB (10^6), on Linux."""
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) * 1024 / 1e6


def form(image: bytes, *hashtags: str) -> bytes:
    part = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="'
    fields = "".join(f'{part}hashtags"\r\n\r\n{hashtag}\r\n' for hashtag in hashtags).encode()
    return fields + f'{part}image"; filename="a"\r\n\r\n'.encode() + image + f"\r\n--{BOUNDARY}--\r\n".encode()


def ask(port: int, numbers: range, images: list[bytes], hashtags: int) -> list[float]:
    """Seconds of each request, one after another on one connection."""
    connection, seconds = http.client.HTTPConnection("127.0.0.1", port, timeout=60), []
    headers = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
    for number in numbers:
        started = time.perf_counter()
        body = form(images[number % len(images)], "바다", f"말{number % hashtags}")
        connection.request("POST", "/v1/score", body, headers)
        reply = connection.getresponse()
        answer = json.loads(reply.read())
        if reply.status != 200:
            raise RuntimeError(f"request {number}: {answer}")
        seconds.append(time.perf_counter() - started)
    return seconds


def many_requests(folder: Path, requests: int, hashtags: int) -> None:
    write_demo(folder / "demo", seed=7, images=IMAGES)
    source = Source(data=folder / "demo" / "combined_data.csv", images=folder / "demo" / "image")
    encoding = Encoding(backbone="tiny", cache=folder / "cache")
    run_similarity(SimilarityOptions(("exact",), source=source, encoding=encoding, output=Output(out=folder / "run")))
    images = [path.read_bytes() for path in sorted(source.images.iterdir())]
    with (
        server("serve", "--model", folder / "run", "--cache", folder / "cache") as (pid, port),
        ThreadPoolExecutor(CLIENTS) as pool,
    ):
        ask(port, range(20), images, 20)
        print(f"{0:>7} requests: {resident(pid):6.1f} MB")
        step = requests // PARTS
        for done in range(0, step * PARTS, step):
            started = time.perf_counter()
            each = [range(done + client, done + step, CLIENTS) for client in range(CLIENTS)]
            seconds = np.concatenate(list(pool.map(lambda numbers: ask(port, numbers, images, hashtags), each)))
            rate = step / (time.perf_counter() - started)
            middle, slow = np.quantile(seconds, [0.5, 0.99])
            print(
                f"{done + step:>7} requests: {resident(pid):6.1f} MB, {rate:.0f} a second, "
                f"median {1000 * middle:.0f} ms, 99 % within {1000 * slow:.0f} ms",
                flush=True,
            )


def large_table(folder: Path, rows: int) -> None:
    images = -(-rows // PER_IMAGE)
    (folder / "image").mkdir()
    draw(folder / "image", 0, images)
    lines = [f"{name(row // PER_IMAGE)},#태그{row % 997},{row % 5 + 1}\n" for row in range(rows)]
    (folder / "large.csv").write_text("Image Filename,Hashtag,Score\n" + "".join(lines), encoding="utf-8")
    words = ["--data", folder / "large.csv", "--images", folder / "image", "--runs", folder / "none", "--no-browser"]
    started = time.perf_counter()
    with server("app", *words) as (_, port):
        print(f"{rows:,} rows on {images:,} images: listening after {time.perf_counter() - started:.1f} s")
        for what, filters in (("first page", ""), ("again", ""), ("a text", "text=%ED%83%9C%EA%B7%B8500")):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
            started = time.perf_counter()
            connection.request("GET", f"/api/rows?{filters}")
            shown = json.loads(connection.getresponse().read())["posts"]
            for post in shown:
                connection.request("GET", f"/api/image/{post['id']}?size=240")
                if len(connection.getresponse().read()) < 100:
                    raise RuntimeError(f"image {post['id']} is not shown")
            print(f"{what}, with its {len(shown)} images: {time.perf_counter() - started:.3f} s")


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.service", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--hashtags", type=int, default=10_000, help="distinct ones")
    parser.add_argument("--rows", type=int, default=20_000)
    given = parser.parse_args()
    print(machine("transformers", "fastapi", "uvicorn"))
    with tempfile.TemporaryDirectory() as folder:
        large_table(Path(folder), given.rows)
        many_requests(Path(folder), given.requests, given.hashtags)


if __name__ == "__main__":
    main()
