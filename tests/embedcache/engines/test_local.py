"""Images decoded ahead by threads and by real processes: the same batches, bounded, and nothing left running."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from consistency.backbone.preprocess import PreprocessSpec
from consistency.data.files import ImageFile, find_images
from consistency.data.reading import Decoding
from consistency.errors import OutOfMemory
from consistency.options import Decode, ImageLimits
from embedcache.engines.local import (
    Batches,
    Problems,
    one_ahead,
    process_batches,
    thread_batches,
)

ROOT = Path(__file__).parents[3]
SPEC = PreprocessSpec(("shortest", 24), 3, (24, 24), 1 / 255, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
DECODING = Decoding("ours", ImageLimits(max_pixels=4000))


def write_images(folder: Path, n: int) -> list[ImageFile]:
    """Images of several shapes and formats; every seventh cannot be used."""
    folder.mkdir()
    names = []
    for number in range(n):
        rng = np.random.default_rng(number)
        width, height = 30 + number % 5 * 7, 30 + number % 3 * 9
        image = Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8))
        names.append(f"{number}.{'jpg' if number % 2 else 'png'}")
        if number % 7 == 3:
            image = image.resize((100, 100))  # over the limit
        image.save(folder / names[-1])
        if number % 7 == 5:
            (folder / names[-1]).write_bytes((folder / names[-1]).read_bytes()[:200])
    return list(find_images(names, folder).values())


def taken(batches: Batches) -> tuple[list[str], np.ndarray, list[int]]:
    """Names and arrays of all batches, and the batches' sizes."""
    got = list(batches)
    names = [file.name for files, _ in got for file in files]
    return names, np.concatenate([arrays for _, arrays in got]), [len(files) for files, _ in got]


@pytest.mark.parametrize("decode", ["ours", "fast"])
def test_processes_make_what_threads_make(tmp_path: Path, decode: Decode) -> None:
    decoding, spec = replace(DECODING, decode=decode), replace(SPEC, quick=decode == "fast")
    files = write_images(tmp_path / "images", 60)
    threaded: Problems = {}
    names, expected, sizes = taken(thread_batches(decoding, spec.resize_crop, files, threaded, size=16, workers=3))
    assert len(names) == 43
    assert len(threaded) == 17
    assert max(sizes) <= 16
    found: Problems = {}
    assert taken(process_batches(decoding, spec, files, found, size=16, workers=3))[0] == names
    assert found == threaded
    again = taken(process_batches(decoding, spec, files, found, size=16, workers=2))
    assert again[0] == names
    assert (again[1] == expected).all()


def test_threads_rest_while_the_caller_encodes(tmp_path: Path) -> None:
    files = [file for file in write_images(tmp_path / "images", 60) if int(Path(file.path).stem) % 7 not in (3, 5)]
    decoded: list[Any] = []

    def prepare(image: Any) -> np.ndarray:
        decoded.append(image.size)
        return SPEC.resize_crop(image)

    problems: Problems = {}
    batches = thread_batches(DECODING, prepare, files, problems, size=5, workers=3)
    seen = []
    for some, _ in batches:
        before = len(decoded)
        time.sleep(0.02)
        assert len(decoded) == before <= sum(seen) + 15  # four images for each thread, in whole batches
        seen.append(len(some))
    assert problems == {}
    assert seen == [5] * (len(files) // 5) + [len(files) % 5] * (len(files) % 5 > 0)
    assert list(thread_batches(DECODING, prepare, [], problems, size=5, workers=3)) == []


def test_no_image_is_decoded_after_the_last_batch_that_is_wanted(tmp_path: Path) -> None:
    files, started = write_images(tmp_path / "images", 60), []

    def slow(image: Any) -> np.ndarray:
        started.append(image)
        time.sleep(0.05)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        next(thread_batches(DECODING, slow, files, {}, size=60, workers=2))
    assert len(started) < 10


def test_a_killed_decoder_is_an_error_of_ours(tmp_path: Path) -> None:
    files = write_images(tmp_path / "images", 200)
    batches = process_batches(DECODING, SPEC, files, {}, size=8, workers=1)
    next(batches)
    for child in children(os.getpid()):
        if "forkserver" in command_of(child):
            os.kill(children(child)[0], signal.SIGKILL)
    with pytest.raises(OutOfMemory, match="was killed, most likely for lack of memory: try fewer --workers"):
        list(batches)


EXTRACTOR = """
import sys
from dataclasses import replace
from pathlib import Path
from tests.embedcache.engines.test_local import DECODING, SPEC, children, process_batches, write_images
import os, time
if __name__ == "__main__":
    batches = process_batches(DECODING, SPEC, write_images(Path(sys.argv[1]), 60), {}, size=4, workers=2)
    next(batches)
    print(*(pid for child in children(os.getpid()) for pid in [child, *children(child)]), flush=True)
    time.sleep(60)
"""


def test_decoders_end_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "extractor.py"
    script.write_text(EXTRACTOR)
    environment = os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"}
    command = [sys.executable, str(script), str(tmp_path / "images")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdout is not None
    pids = [int(pid) for pid in process.stdout.readline().split()]
    assert len(pids) >= 3  # the server, and two decoders
    assert all(command_of(pid) for pid in pids)
    process.kill()
    process.wait()
    process.stdout.close()
    deadline = time.monotonic() + 20
    while any(command_of(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(command_of(pid) for pid in pids)


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def command_of(pid: int) -> str:
    """ "" for a process that is gone, or has ended and waits to be asked."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""


def test_one_ahead_overlaps_and_ends_early() -> None:
    made, closed = [], []

    def items() -> Any:
        try:
            for item in range(5):
                made.append(item)
                yield item
        finally:
            closed.append(True)

    seen = one_ahead(items())
    assert next(seen) == 0
    deadline = time.monotonic() + 5
    while made != [0, 1] and time.monotonic() < deadline:
        time.sleep(0.001)
    assert made == [0, 1]
    seen.close()
    assert closed == [True]

    def failing() -> Any:
        yield 1
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        list(one_ahead(failing()))
