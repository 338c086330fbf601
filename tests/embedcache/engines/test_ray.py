"""Ray gives the vectors of a single process, whatever dies meanwhile; the cache decides what is missing."""

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from consistency.durable import machine
from embedcache.segments import KINDS
from embedcache.store import EmbeddingCache, list_fields
from tests.builders.commands import Run, rows_of

ROOT = Path(__file__).parents[3]
# A network of its own, in which there is the loopback alone.
ALONE = ["unshare", "-rn", "sh", "-c", 'ip link set lo up && exec "$@"', "sh"]
LOOPBACK = ("0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000")
IMAGES = 24


@pytest.mark.parametrize("option", [["--num-workers", 2], ["--ray-address", "a:1"], ["--gpus-per-worker", 0]])
def test_options_of_ray_need_it(run: Run, small_demo: Path, option: list[object]) -> None:
    data = ["--data", small_demo / "combined_data.csv", "--images", small_demo / "image"]
    ran = run("extract", "--backbone", "tiny", *data, *option)
    assert (ran.code, ran.stderr) == (2, f"Error: {option[0]} needs --engine ray\n")


def can_be_alone() -> bool:
    if shutil.which("unshare") is None or shutil.which("ip") is None:
        return False
    return subprocess.run([*ALONE, "true"], capture_output=True).returncode == 0


@dataclass(frozen=True)
class Place:
    """A folder with 24 images, of which one is broken, their table, and a cache that the commands share."""

    folder: Path
    alone: bool

    def words(self, cache: str, out: str) -> list[str]:
        words = ["extract", "--backbone", "tiny", "--data", self.folder / "combined_data.csv", "--json"]
        words += ["--images", self.folder / "image", "--cache", self.folder / cache, "--out", self.folder / out]
        return list(map(str, words))

    def start(self, how: str) -> "subprocess.Popen[str]":
        """The command on Ray, in a process group of its own, as a terminal starts it."""
        (self.folder / how).unlink(missing_ok=True)
        command = [*(ALONE if self.alone else []), sys.executable, "-W", "error", "-m", "tests.builders.ray_commands"]
        command += [how, str(self.folder), *self.words("cache", "run"), "--engine", "ray", "--num-workers", "2"]
        return subprocess.Popen(
            command,
            cwd=ROOT,
            # Ray gives its workers a niceness of 15, so that beside other tests they would wait.
            env=os.environ | {"OMP_NUM_THREADS": "1", "OF_TEST": str(self.folder), "RAY_worker_niceness": "0"},
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )

    def segments(self) -> int:
        return len(list((self.folder / "cache").rglob("seg-*.h5")))

    def until_stored(self, process: "subprocess.Popen[str]") -> None:
        """Wait until the command has stored one more segment; its actors then wait to be ended."""
        before = self.segments()
        while self.segments() == before:
            assert process.poll() is None, process.communicate()
            time.sleep(0.05)

    def no_process_is_left(self) -> bool:
        for _ in range(600):
            if not self.processes():
                return True
            time.sleep(0.05)
        return False

    def processes(self) -> list[int]:
        """Processes that a command here has started, and their daemons.

        Two agents, which do nothing, are left out: for a minute they try to report the end of a raylet that was killed.
        """
        found, own = [], f"OF_TEST={self.folder}\0".encode()
        for path in Path("/proc").glob("[0-9]*/environ"):
            try:
                if own in path.read_bytes() and b"Agent" not in (path.parent / "cmdline").read_bytes():
                    found.append(int(path.parent.name))
            except OSError:  # it has ended
                continue
        return found


def left_by(process: "subprocess.Popen[str]") -> list[Path]:
    """Folders of Ray that the command made."""
    return list(Path("/tmp").glob(f"ray-{machine()}-{process.pid}-*"))


def sockets(pid: int) -> list[tuple[str, str, str]]:
    """Local address, remote address and state of each TCP socket in the network of a process, in hexadecimal digits."""
    lines = [line for name in ("tcp", "tcp6") for line in Path(f"/proc/{pid}/net/{name}").read_text().splitlines()[1:]]
    return [(local.split(":")[0], remote.split(":")[0], state) for _, local, remote, state, *_ in map(str.split, lines)]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    from demo.dataset import write_demo

    if importlib.util.find_spec("ray") is None:
        pytest.skip("needs the extra ray")
    write_demo(tmp_path, seed=7, images=IMAGES)
    broken, *_ = sorted((tmp_path / "image").iterdir())
    broken.write_bytes(b"no image")
    return Place(tmp_path, can_be_alone())


def test_a_killed_command_and_a_killed_actor_lose_nothing(place: Place, run: Run) -> None:
    """The command is killed when a part is stored. Run again, one of its two actors kills itself."""
    killed = place.start("hold")
    place.until_stored(killed)
    if place.alone:  # there is no other network, and nothing listens that another one would reach
        seen = sockets(killed.pid)
        assert {"0A", "01"} <= {state for *_, state in seen}
        assert {local for local, *_ in seen} <= {*LOOPBACK}
        assert {remote for _, remote, state in seen if state != "0A"} <= {*LOOPBACK}
    killed.kill()
    killed.communicate()
    assert place.no_process_is_left()
    assert left_by(killed)

    again = place.start("die")
    stdout, stderr = again.communicate()
    assert (again.returncode, (place.folder / "die").exists()) == (3, True), stderr  # one image is broken
    assert "Traceback" not in stderr
    assert "Warning" not in stderr
    assert left_by(killed) == left_by(again) == []
    assert place.no_process_is_left()

    ran = run(*place.words("local", "local-run"))
    assert ran.code == 3
    ours, theirs = json.loads(stdout), ran.json()
    assert 0 < ours["images_cached"] < theirs["images_encoded"] == IMAGES - 1
    assert ours["images_cached"] + ours["images_encoded"] == theirs["images_encoded"]
    assert ours["hashtags_encoded"] == theirs["hashtags_encoded"]
    assert rows_of(place.folder / "run" / "skipped.csv") == rows_of(place.folder / "local-run" / "skipped.csv")
    [(_, fields)] = list_fields(place.folder / "local")
    local, ray = (EmbeddingCache.open(place.folder / name, fields, create=False) for name in ("local", "cache"))
    for kind in KINDS:
        keys = local.sound_index(kind).keys
        assert (ray.sound_index(kind).keys == keys).all()
        assert sum(len(segment) for segment in ray.index(kind).segments) == len(keys)  # none twice
        vectors, expected = ray.vectors(kind, keys), local.vectors(kind, keys)
        assert (vectors == expected).all() if kind == "image" else np.abs(vectors - expected).max() < 2e-7


@pytest.mark.slow
@pytest.mark.parametrize(("name", "code", "word"), [("SIGINT", 130, "interrupted"), ("SIGTERM", 143, "terminated")])
def test_an_interrupted_command_ends_ray_and_keeps_what_is_stored(
    place: Place, name: str, code: int, word: str
) -> None:
    process = place.start("hold")
    place.until_stored(process)
    # A terminal sends Ctrl-C to all processes of its group, a scheduler SIGTERM to the command.
    (os.killpg if name == "SIGINT" else os.kill)(process.pid, signal.Signals[name])
    stdout, stderr = process.communicate(timeout=300)
    message = f"{word}; what is finished is kept: run it again"
    assert process.returncode == code, stderr
    assert stderr.splitlines()[-1] == f"Error: {message}"
    assert (stderr.count("Error: "), stderr.count("Traceback")) == (1, 0)  # Ray has lines of its own
    assert json.loads(stdout) == {"error": message, "exit_code": code}
    assert (place.no_process_is_left(), left_by(process), place.segments()) == (True, [], 1)
