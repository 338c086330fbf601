"""`serve` from the command line: it answers until Ctrl-C, and refuses what it cannot serve before it listens."""

import os
import signal
import threading
import time
from pathlib import Path

import pytest

from tests.builders.commands import Run
from tests.builders.serving import Client


def test_it_answers_until_ctrl_c(run: Run, trained: Path, small_demo: Path, tmp_path: Path) -> None:
    token = tmp_path / "token"
    image = sorted((small_demo / "image").iterdir())[0].read_bytes()
    log, answers = tmp_path / "log", []

    def visit() -> None:
        try:
            while "Serving" not in (log.read_text(encoding="utf-8") if log.exists() else ""):
                time.sleep(0.05)
            port = int(log.read_text(encoding="utf-8").rsplit(":", 1)[1].strip().rstrip("/"))
            answers.append(Client(port).send("/v1/runs").status)
            given = {"Authorization": f"Bearer {token.read_text().strip()}"}
            answers.append(Client(port).send("/v1/runs", headers=given).json()["default_system"])
            answers.append(Client(port).ask("/v1/score", image, hashtags="바다").status)
        finally:
            os.kill(os.getpid(), signal.SIGINT)

    visitor = threading.Thread(target=visit)
    visitor.start()
    words = ["--port", 0, "--token-file", token, "--cache", trained / "cache", "--log-file", log]
    ran = run("serve", "--model", trained / "runs" / "similarity", *words)
    visitor.join()
    assert (ran.code, ran.stdout) == (0, "")
    assert "Serving similarity-exact: http://127.0.0.1:" in ran.stderr
    assert ran.stderr.endswith("Stopped.\n")
    assert answers == [401, "similarity-exact", 401]


RUN = ["--model", "{folder}/runs/similarity"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--model", "{folder}/nowhere"], "is no run folder"),
        ([*RUN, "--system", "x"], "has no system x"),
        ([*RUN, "--host", "0.0.0.0"], "give --token-file, whose token they must send"),
        (
            [*RUN, "--host", "no.such.host.invalid", "--token-file", "{folder}/t"],
            "cannot listen",
        ),
        ([], "Missing option '--model'"),
    ],
)
def test_what_cannot_be_served_is_one_line(run: Run, trained: Path, words: list[str], said: str) -> None:
    given = [word.format(folder=trained) for word in words]
    ran = run("serve", *given, "--cache", trained / "cache", "--port", 0)
    assert (ran.code, ran.stderr.count("\n")) == (2, 1)
    assert said in ran.stderr
