"""`serve` from the command line: it answers until Ctrl-C, and refuses what it cannot serve before it listens."""

from pathlib import Path

import pytest

from tests.builders.commands import Run
from tests.builders.serving import Client, until_ctrl_c


def test_it_answers_until_ctrl_c(run: Run, trained: Path, small_demo: Path, tmp_path: Path) -> None:
    token, answers = tmp_path / "token", []
    image = sorted((small_demo / "image").iterdir())[0].read_bytes()

    def visit(client: Client) -> None:
        given = {"Authorization": f"Bearer {token.read_text().strip()}"}
        answers.append(client.send("/v1/runs").status)
        answers.append(client.send("/v1/runs", headers=given).json()["default_system"])
        answers.append(client.ask("/v1/score", image, hashtags="바다").status)

    words = ["--model", trained / "runs" / "similarity", "--token-file", token, "--cache", trained / "cache"]
    ran = until_ctrl_c(run, tmp_path / "log", visit, "serve", *words)
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
