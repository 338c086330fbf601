"""Pushing a folder: the hub's real client against a local hub, in a process of its own."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.builders.hub_server import Hub, serve

ROOT = Path(__file__).parents[3]
TOKEN = "hf_of_the_test"
SCRIPT = """
import json, sys
from pathlib import Path
from consistency.backbone.push import push
from consistency.errors import ConsistencyError
try:
    answer = {"url": push(Path(sys.argv[1]), sys.argv[2], public=sys.argv[3] == "public")}
except ConsistencyError as error:
    answer = {"error": str(error), "exit": error.exit_code}
print(json.dumps(answer))
"""


@pytest.fixture
def hub(tmp_path: Path, made: Path) -> Iterator[Hub]:
    (tmp_path / "storage").mkdir()
    with serve(Hub({("kim/clip", "main"): made}, storage=tmp_path / "storage", writers={TOKEN})) as hub:
        yield hub


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "scorer"
    (folder / "onnx").mkdir(parents=True)
    (folder / "README.md").write_text("---\nlicense: mit\n---\n# 카드\n", encoding="utf-8")
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(bytes(range(256)) * 100)
    (folder / "onnx" / "head.onnx").write_bytes(b"onnx")
    return folder


@pytest.fixture
def ask(tmp_path: Path, hub: Hub, folder: Path) -> Callable[..., dict[str, Any]]:
    def ask(model: str, visibility: str = "private", token: str = TOKEN) -> dict[str, Any]:
        plain = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "HUGGING"))}
        settings = {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "hf"), "HF_HUB_DISABLE_XET": "1"}
        settings |= {"PYTHONPATH": str(ROOT)} | ({"HF_TOKEN": token} if token else {})
        command = [sys.executable, "-c", SCRIPT, str(folder), model, visibility]
        done = subprocess.run(command, env=plain | settings, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        answer: dict[str, Any] = json.loads(done.stdout)
        assert "\n" not in answer.get("error", "")
        return answer

    return ask


def test_a_folder_is_pushed_in_private(hub: Hub, folder: Path, ask: Callable[..., dict[str, Any]]) -> None:
    assert ask("kim/scorer") == {"url": f"{hub.url}/kim/scorer"}
    pushed = hub.repositories["kim/scorer", "main"]
    for path in (path for path in folder.rglob("*") if path.is_file()):
        assert (pushed / path.relative_to(folder)).read_bytes() == path.read_bytes()
    assert hub.public == set()
    assert [path for path in folder.rglob("*") if path.is_file() and TOKEN.encode() in path.read_bytes()] == []


def test_public_only_if_asked_for(hub: Hub, ask: Callable[..., dict[str, Any]]) -> None:
    assert "url" in ask("kim/open", "public")
    assert hub.public == {"kim/open"}
    refused = ask("kim/open")
    assert refused == {"error": "kim/open exists on the hub and is public: give --public, or another id", "exit": 2}


@pytest.mark.parametrize(
    ("model", "token", "code", "says"),
    [
        ("kim/scorer", "", 2, "nobody is logged in to the hub: run 'hf auth login', or set HF_TOKEN"),
        ("scorer", TOKEN, 2, "'scorer' does not say whose it is"),
        ("kim/sc orer", TOKEN, 2, "is no valid id of the hub"),
        ("kim/scorer", "hf_of_somebody_else", 1, "was written but not pushed: http://127.0.0.1"),
    ],
)
def test_what_is_refused(
    hub: Hub, ask: Callable[..., dict[str, Any]], model: str, token: str, code: int, says: str
) -> None:
    answer = ask(model, token=token)
    assert answer["exit"] == code
    assert says in answer["error"]
    assert list(hub.repositories) == [("kim/clip", "main")]
