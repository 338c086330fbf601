"""Models from the hub: the real client against a local hub, in processes of their own."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from consistency.data.trained_on import Digests, TrainedOn
from tests.builders.hub_server import Hub, serve
from tests.builders.models import change_json

ROOT = Path(__file__).parents[3]


def to_pickle(folder: Path) -> None:
    weights = folder / "model.safetensors"
    torch.save(load_file(weights), folder / "pytorch_model.bin")
    weights.unlink()


SCRIPT = """
import json, sys
from consistency.errors import ConsistencyError
from consistency.backbone.resolve import resolve_backbone
try:
    found = resolve_backbone(sys.argv[1], revision=sys.argv[2] or None)
    answer = {"folder": str(found.folder), "revision": found.revision, "weights": [path.name for path in found.weights]}
    answer["seen"], answer["complete"] = len(found.trained_on.train.images), found.trained_on.complete
except ConsistencyError as error:
    answer = {"error": str(error), "exit": error.exit_code}
print(json.dumps(answer))
"""


@pytest.fixture
def hub(made: Path) -> Iterator[Hub]:
    with serve(Hub({("kim/clip", "main"): made})) as hub:
        yield hub


@pytest.fixture
def ask(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Resolve in a process of its own, as the hub's client reads its settings only once; it may print nothing."""

    def ask(hub: Hub, name: str, revision: str = "", *, script: str = SCRIPT, **settings: str) -> dict[str, Any]:
        plain = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "HUGGING"))}
        environment = plain | {"PYTHONPATH": str(ROOT), "HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "hf")}
        hub.requests.clear()
        started = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-c", script, name, revision],
            cwd=tmp_path,
            env=environment | settings,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.stderr == ""
        answer: dict[str, Any] = json.loads(done.stdout)
        assert "\n" not in answer.get("error", "")
        return answer | {"seconds": time.monotonic() - started}

    return ask


def fetched(hub: Hub) -> set[str]:
    """Names of the files whose contents were asked for."""
    return {request.split()[1].rpartition("/")[2] for request in hub.requests if re.match("GET .*/resolve/", request)}


def test_a_hub_model_is_fetched_once_and_then_works_without_the_hub(
    hub: Hub, made: Path, tmp_path: Path, ask: Callable[..., dict[str, Any]]
) -> None:
    folder = shutil.copytree(made, tmp_path / "repository")
    for name in ("README.md", "tf_model.h5", "pytorch_model.bin"):
        (folder / name).write_bytes(b"not needed")
    (folder / "onnx").mkdir()
    (folder / "onnx" / "config.json").write_text("{}")
    hub.repositories["kim/clip", "main"] = folder

    first = ask(hub, "kim/clip")
    assert first["revision"] == hub.commit(folder)
    assert fetched(hub) == {path.name for path in made.iterdir()}
    assert Path(first["folder"], "model.safetensors").read_bytes() == (made / "model.safetensors").read_bytes()

    again = ask(hub, "kim/clip")
    assert again["folder"] == first["folder"]
    assert not fetched(hub)

    ask(hub, "kim/clip", first["revision"])
    assert not hub.requests  # a commit never changes
    offline = ask(hub, "kim/clip", HF_HUB_OFFLINE="1")
    assert not hub.requests
    gone = ask(Hub({}, url="http://127.0.0.1:9"), "kim/clip")
    assert offline["folder"] == gone["folder"] == first["folder"]


def test_a_sentence_transformers_pair_is_fetched_with_the_files_of_its_modules(
    hub: Hub, made: Path, tmp_path: Path, ask: Callable[..., dict[str, Any]]
) -> None:
    texts = tmp_path / "texts"
    for place in ("1_Pooling", "2_Dense", "onnx"):
        (texts / place).mkdir(parents=True)
        (texts / place / "config.json").write_text("{}")
    kinds = {"Transformer": "", "Pooling": "1_Pooling", "Dense": "2_Dense"}
    listed = [{"type": f"sentence_transformers.models.{kind}", "path": place} for kind, place in kinds.items()]
    (texts / "modules.json").write_text(json.dumps(listed))
    (texts / "config.json").write_text(json.dumps({"model_type": "distilbert"}))
    for name in ("tokenizer.json", "sentence_bert_config.json", "README.md"):
        (texts / name).write_text("{}")
    for name in ("pytorch_model.bin", "2_Dense/pytorch_model.bin", "2_Dense/tf_model.h5", "onnx/model.safetensors"):
        (texts / name).write_bytes(b"weights")
    hub.repositories["kim/texts", "main"] = texts
    commits = hub.commit(texts), hub.commit(made)
    assert ask(hub, "kim/texts")["error"].startswith("kim/texts embeds texts alone; name the model of its images too")
    kept = {path.relative_to(texts).as_posix() for path in texts.rglob("*") if path.is_file()}
    kept -= {"README.md", "2_Dense/tf_model.h5", "onnx/model.safetensors", "onnx/config.json"}
    snapshot = tmp_path / "hf" / "hub" / "models--kim--texts" / "snapshots" / commits[0]
    assert {path.relative_to(snapshot).as_posix() for path in snapshot.rglob("*") if path.is_file()} == kept
    pair = ask(hub, f"kim/texts@{commits[0]}+kim/clip@{commits[1]}")
    assert pair["revision"] == "+".join(commits)
    assert "has no revision 'v9'" in ask(hub, "kim/texts+kim/clip@v9")["error"]


def test_an_open_clip_model_comes_with_the_configuration_of_its_text_tower(
    hub: Hub, tmp_path: Path, ask: Callable[..., dict[str, Any]]
) -> None:
    folder, tower = tmp_path / "model", tmp_path / "tower"
    folder.mkdir()
    tower.mkdir()
    text = {"hf_model_name": "kim/text", "hf_tokenizer_name": "kim/text"}
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": {"vision_cfg": {}, "text_cfg": text}}))
    for name in ("tokenizer.json", "README.md", "model.onnx"):
        (folder / name).write_text("{}")
    (folder / "open_clip_pytorch_model.bin").write_bytes(b"weights")
    (tower / "config.json").write_text(json.dumps({"model_type": "m2m_100"}))
    (tower / "model.safetensors").write_bytes(b"not needed")
    hub.repositories |= {("kim/nllb-clip", "main"): folder, ("kim/text", "main"): tower}
    found = ask(hub, "kim/nllb-clip")
    assert found["weights"] == ["open_clip_pytorch_model.bin"]
    assert fetched(hub) == {"open_clip_config.json", "tokenizer.json", "open_clip_pytorch_model.bin", "config.json"}
    assert ask(hub, "kim/nllb-clip", HF_HUB_OFFLINE="1")["folder"] == found["folder"]
    del hub.repositories["kim/text", "main"]
    alone = ask(hub, "kim/nllb-clip", HF_HOME=str(tmp_path / "other"))
    assert "has no model kim/text" in alone["error"]


def test_open_clip_weights_without_their_configuration(
    hub: Hub, tmp_path: Path, ask: Callable[..., dict[str, Any]]
) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "open_clip_pytorch_model.bin").write_bytes(b"weights")
    hub.repositories["kim/xlmr", "main"] = tmp_path / "model"
    assert ask(hub, "kim/xlmr")["error"].endswith("docs/backbones.md says how to make a folder of it")
    assert not fetched(hub)


def test_a_branch_that_moved_is_fetched_again(
    hub: Hub, made: Path, model: Path, ask: Callable[..., dict[str, Any]]
) -> None:
    before = ask(hub, "kim/clip")["revision"]
    change_json(model / "config.json", note="new")
    hub.repositories["kim/clip", "main"] = model
    after = ask(hub, "kim/clip")["revision"]
    assert after == hub.commit(model) != before
    assert ask(hub, "kim/clip", before)["revision"] == before


def test_pickles_are_taken_where_a_revision_has_no_safetensors(
    hub: Hub, model: Path, ask: Callable[..., dict[str, Any]]
) -> None:
    hub.repositories["kim/clip", "refs/pr/1"] = hub.repositories["kim/clip", "main"]
    to_pickle(model)
    hub.repositories["kim/clip", "main"] = model
    assert ask(hub, "kim/clip")["weights"] == ["pytorch_model.bin"]
    assert ask(hub, "kim/clip", "refs/pr/1")["weights"] == ["model.safetensors"]


def test_a_tuned_model_confesses_on_the_hub_too_and_a_published_one_is_not_unknown(
    hub: Hub, made: Path, tmp_path: Path, ask: Callable[..., dict[str, Any]]
) -> None:
    folder = shutil.copytree(made, tmp_path / "repository")
    TrainedOn(Digests(frozenset(["a", "c"]), frozenset(["b"]))).write(folder)
    hub.repositories["kim/tuned", "main"] = folder
    hub.repositories["kim/plain", "main"] = made
    for _ in range(2):  # fetched, and from the hub's cache
        tuned, plain = ask(hub, "kim/tuned"), ask(hub, "kim/plain")
        assert (tuned["seen"], tuned["complete"]) == (2, True)
        assert (plain["seen"], plain["complete"]) == (0, True)


def test_a_cut_connection_is_resumed_where_it_broke(hub: Hub, made: Path, ask: Callable[..., dict[str, Any]]) -> None:
    hub.breaks = 1
    small_chunks = "import huggingface_hub.constants as constants\nconstants.DOWNLOAD_CHUNK_SIZE = 1000\n"
    found = ask(hub, "kim/clip", script=small_chunks + SCRIPT)
    size = (made / "model.safetensors").stat().st_size
    assert hub.requests[-1].endswith(f"bytes={size // 2 // 1000 * 1000}-")
    assert Path(found["folder"], "model.safetensors").read_bytes() == (made / "model.safetensors").read_bytes()


def test_an_interrupted_download_continues_when_run_again(
    hub: Hub, made: Path, ask: Callable[..., dict[str, Any]]
) -> None:
    hub.broken = True
    answer = ask(hub, "kim/clip")
    assert "was interrupted" in answer["error"]
    assert "run the command again to continue" in answer["error"]
    partial = ask(hub, "kim/clip", HF_HUB_OFFLINE="1")  # what arrived so far is not mistaken for the model
    assert "hf download kim/clip" in partial["error"]
    hub.broken = False
    found = ask(hub, "kim/clip")
    assert fetched(hub) == {"model.safetensors"}
    assert Path(found["folder"], "model.safetensors").read_bytes() == (made / "model.safetensors").read_bytes()


def test_tokens_open_private_models(hub: Hub, ask: Callable[..., dict[str, Any]]) -> None:
    hub.tokens["kim/clip"] = "hf_secret"
    assert "has no model kim/clip" in ask(hub, "kim/clip")["error"]
    assert ask(hub, "kim/clip", HF_TOKEN="hf_secret")["weights"] == ["model.safetensors"]


def test_refusals_of_the_hub_are_told_apart(hub: Hub, model: Path, ask: Callable[..., dict[str, Any]]) -> None:
    unknown = ask(hub, "kim/nothing")
    assert unknown["exit"] == 2
    assert f"{hub.url} has no model kim/nothing" in unknown["error"]
    assert "kim/clip has no revision 'v9'" in ask(hub, "kim/clip", "v9")["error"]
    hub.gated.add("kim/clip")
    assert "kim/clip is gated: accept its terms" in ask(hub, "kim/clip")["error"]
    hub.portal = True
    assert f"there was no valid answer from {hub.url}" in ask(hub, "kim/clip")["error"]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f: (f / "config.json").unlink(), "kim/clip has no config.json"),
        (lambda f: change_json(f / "config.json", model_type="bert"), "kim/clip is a model of type 'bert'"),
        (lambda f: (f / "model.safetensors").rename(f / "flax_model.msgpack"), "kim/clip has weights of Flax only"),
    ],
)
def test_a_model_we_cannot_use_is_refused_before_its_weights_are_fetched(
    hub: Hub, model: Path, ask: Callable[..., dict[str, Any]], spoil: Callable[[Path], object], message: str
) -> None:
    spoil(model)
    hub.repositories["kim/clip", "main"] = model
    assert message in ask(hub, "kim/clip")["error"]
    assert "model.safetensors" not in fetched(hub)


def test_an_unreachable_hub_is_reported_without_many_tries(ask: Callable[..., dict[str, Any]]) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:  # accepts and never answers
        port = silent.getsockname()[1]
        answer = ask(Hub({}, url=f"http://127.0.0.1:{port}"), "koclip", "v1")
    assert answer["seconds"] < 30
    assert answer["exit"] == 2
    for part in (
        "Bingsu/clip-vit-large-patch14-ko is not available: there is no such folder",
        f"no answer within 2.5 s from http://127.0.0.1:{port}",
        "'hf download Bingsu/clip-vit-large-patch14-ko --revision v1'",
    ):
        assert part in answer["error"]
    refused = ask(Hub({}, url="http://127.0.0.1:9"), "clip")
    assert refused["seconds"] < 30
    assert "no connection to http://127.0.0.1:9" in refused["error"]
    offline = ask(Hub({}, url="http://127.0.0.1:9"), "clip", HF_HUB_OFFLINE="1")
    assert "HF_HUB_OFFLINE forbids connecting" in offline["error"]


def test_a_cache_that_cannot_be_written_is_a_failure_while_running(
    hub: Hub, tmp_path: Path, ask: Callable[..., dict[str, Any]]
) -> None:
    full = (
        "import errno, os, huggingface_hub.file_download as download\n"
        "def http_get(*args, **kwargs): raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))\n"
        "download.http_get = http_get\n" + SCRIPT
    )
    answer = ask(hub, "kim/clip", script=full)
    assert answer["exit"] == 1
    assert "No space left on device; free some space and run the command again" in answer["error"]
    (tmp_path / "file").write_text("")
    answer = ask(hub, "kim/clip", HF_HOME=str(tmp_path / "file" / "hf"))
    assert answer["exit"] == 1
    assert "cannot be stored in" in answer["error"]


def test_progress_is_shown_on_a_terminal_only(hub: Hub, tmp_path: Path) -> None:
    screen, terminal = os.openpty()
    termios.tcsetwinsize(terminal, (24, 100))
    environment = os.environ | {"PYTHONPATH": str(ROOT), "HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "hf")}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, "kim/clip", ""], env=environment, stdout=subprocess.PIPE, stderr=terminal
    )
    os.close(terminal)
    shown = os.read(screen, 100_000).decode(errors="replace")  # the kernel may cut a character
    os.close(screen)
    assert "weights" in json.loads(done.stdout)
    assert "100%" in shown
