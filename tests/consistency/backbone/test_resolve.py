"""Finding a backbone: by alias, folder or hub id, with the real hub client against a local hub."""

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

from consistency.backbone.resolve import DECODING, choose_precision, fingerprint_fields, resolve_backbone
from consistency.durable import write_with_digest
from consistency.errors import BackboneError
from tests.builders.hub_server import Hub, serve
from tests.builders.models import change_json, make_clip_folder, write_json

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_clip_folder(tmp_path_factory.mktemp("made") / "model")


@pytest.fixture
def model(made: Path, tmp_path: Path) -> Path:
    """A model folder to spoil."""
    return Path(shutil.copytree(made, tmp_path / "model"))


def fields(name: Path | str, decode: str = "ours", precision: str = "fp32") -> dict[str, str]:
    return fingerprint_fields(resolve_backbone(str(name)), decode=decode, precision=precision)


def refused(name: Path | str, *, revision: str | None = None) -> str:
    with pytest.raises(BackboneError) as caught:
        resolve_backbone(str(name), revision=revision)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def to_pickle(folder: Path) -> None:
    weights = folder / "model.safetensors"
    torch.save(load_file(weights), folder / "pytorch_model.bin")
    weights.unlink()


# Local folders


def test_a_folder_is_known_by_its_contents_wherever_it_lies(model: Path, tmp_path: Path) -> None:
    found = resolve_backbone(str(model))
    assert (found.name, found.model_id, found.folder) == (str(model), "local", model)
    assert found.weights == (model / "model.safetensors",)
    assert re.fullmatch("sha256:[0-9a-f]{64}", found.revision)
    before = fields(model)
    (model / "README.md").write_text("not part of the model")
    assert fields(model.rename(tmp_path / "moved")) == before


def test_a_run_folder_stands_for_its_model(model: Path) -> None:
    assert resolve_backbone(str(model.parent)).folder == model
    assert fields(model.parent) == fields(model)


@pytest.mark.parametrize(
    "name",
    ["config.json", "preprocessor_config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"],
)
def test_one_changed_byte_changes_the_fingerprint(model: Path, name: str) -> None:
    before = fields(model)
    data = bytearray((model / name).read_bytes())
    position = data.index(b"  ") if name.endswith(".json") else len(data) // 2  # JSON stays JSON
    data[position] ^= 0x20 ^ 0x09
    (model / name).write_bytes(data)
    assert fields(model) != before


def test_everything_that_decides_a_vector_is_in_the_fingerprint(model: Path) -> None:
    ours = fields(model)
    assert {
        "schema",
        "model",
        "revision",
        "processor",
        "preprocessing",
        "decoding",
        "text",
        "libraries",
        "precision",
        "pooling",
    } <= (set(ours))
    assert ours["processor"] == "CLIPImageProcessor"
    assert json.loads(ours["preprocessing"]) == json.loads((model / "preprocessor_config.json").read_text())
    assert all("\n" not in text and str(model) not in text for text in ours.values())
    assert len({tuple(fields(model, decode).values()) for decode in DECODING}) == len(DECODING)
    assert len({fields(model, precision=precision)["precision"] for precision in ("fp32", "bf16", "fp16")}) == 3


def test_a_new_version_of_what_prepares_pictures_and_texts_changes_the_fingerprint(model: Path) -> None:
    """In a process of its own, which finds the metadata of other versions first."""

    def libraries(**versions: str) -> str:
        for name, version in versions.items():
            info = model.parent / "site" / f"{name}-0.dist-info"
            info.mkdir(parents=True, exist_ok=True)
            (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        code = (
            "import sys; from consistency.backbone.resolve import *;"
            "print(fingerprint_fields(resolve_backbone(sys.argv[1]), decode='ours', precision='fp32')['libraries'])"
        )
        environment = os.environ | {"PYTHONPATH": f"{model.parent / 'site'}:{ROOT}"}
        command = [sys.executable, "-c", code, str(model)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    before = libraries(pillow="12.1.0", tokenizers="0.22.1", transformers="5.24.0")
    assert before == "pillow 12, tokenizers 0.22, transformers 5"
    assert libraries(pillow="12.2.0", tokenizers="0.22.2", transformers="5.25.1") == before
    for name, version in (("pillow", "13.0.0"), ("tokenizers", "0.23.0"), ("transformers", "6.0.0.dev0")):
        after = libraries(**{name: version})
        assert after != before
        before = after


def test_the_nested_processor_configuration_counts_as_transformers_reads_it(model: Path) -> None:
    write_json(model / "processor_config.json", {"image_processor": {"image_processor_type": "SiglipImageProcessor"}})
    assert fields(model)["processor"] == "SiglipImageProcessor"


def test_safetensors_come_before_pickles(model: Path) -> None:
    shutil.copy(model / "model.safetensors", model / "pytorch_model.bin")
    assert [path.name for path in resolve_backbone(str(model)).weights] == ["model.safetensors"]
    (model / "model.safetensors").unlink()
    assert [path.name for path in resolve_backbone(str(model)).weights] == ["pytorch_model.bin"]


def test_damaged_weights_are_found_by_the_digest_beside_them(model: Path) -> None:
    weights = model / "model.safetensors"
    data, before = weights.read_bytes(), resolve_backbone(str(model))
    write_with_digest(weights, data)
    assert resolve_backbone(str(model)) == before
    weights.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    assert "model.safetensors is damaged" in refused(model)


def spoil_shards(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    write_json(folder / "model.safetensors.index.json", {"weight_map": {"a": "model-00001-of-00002.safetensors"}})


def escape_folder(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    write_json(folder / "model.safetensors.index.json", {"weight_map": {"a": "../secret.safetensors"}})


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f: (f / "config.json").unlink(), "neither config.json nor model/config.json"),
        (lambda f: (f / "config.json").write_text("{oops"), "cannot be read as JSON"),
        (lambda f: (f / "config.json").write_text("[]"), "JSON list; expected an object"),
        (lambda f: change_json(f / "config.json", model_type="bert"), "type 'bert'; expected a CLIP-family"),
        (lambda f: change_json(f / "config.json", auto_map={"AutoModel": "code.Evil"}), "never done"),
        (lambda f: change_json(f / "tokenizer_config.json", auto_map={"AutoTokenizer": "code.Evil"}), "never done"),
        (lambda f: (f / "preprocessor_config.json").unlink(), "holds no preprocessor_config.json"),
        (lambda f: (f / "tokenizer.json").unlink(), "holds no tokenizer"),
        (lambda f: (f / "model.safetensors").unlink(), "expected model.safetensors or pytorch_model.bin"),
        (spoil_shards, "lacks model-00001-of-00002.safetensors"),
        (escape_folder, "names no shards beside it"),
    ],
)
def test_a_folder_that_cannot_be_loaded_says_why(model: Path, spoil: Callable[[Path], object], message: str) -> None:
    spoil(model)
    assert message in refused(model)


def test_names_that_cannot_be_meant_are_refused_at_once(made: Path, tmp_path: Path) -> None:
    assert "did you mean koclip?" in refused("kocilp")
    assert "did you mean clip?" in refused("clp")
    assert "did you mean tiny?" in refused("tyni")
    assert "there is no folder ./nowhere" in refused("./nowhere")
    assert f"did you mean {made}?" in refused(made.parent / "modle")
    assert "is a file" in refused(made / "model.safetensors")
    assert "neither config.json" in refused(tmp_path)
    assert "has no revision 'v1'" in refused(made, revision="v1")
    assert "possible Hugging Face id" in refused("한글/모델")


def test_a_folder_comes_before_a_hub_id_of_its_name(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(made, tmp_path / "kim" / "clip")
    monkeypatch.chdir(tmp_path)
    assert resolve_backbone("kim/clip").model_id == "local"
    shutil.copytree(made, tmp_path / "tiny")
    assert resolve_backbone("./tiny").folder == Path("tiny")


def test_the_packaged_backbone_is_found_without_torch_or_hub() -> None:
    script = (
        "import sys; from consistency.backbone.resolve import *; found = resolve_backbone('tiny');"
        "fingerprint_fields(found, decode='ours', precision=choose_precision('auto', 'cpu'));"
        "print(found.model_id, found.folder);"
        "assert not {'torch', 'transformers', 'huggingface_hub'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.split() == ["local", str(ROOT / "demo" / "tiny")], done.stderr


def test_precision_follows_a_fixed_rule() -> None:
    assert choose_precision("auto", "cpu") == choose_precision("auto", "mps") == "fp32"
    assert choose_precision("bf16", "cpu") == "bf16"
    with pytest.raises(BackboneError, match="expected auto, fp32, bf16 or fp16"):
        choose_precision("fp8", "cpu")


# The hub


SCRIPT = """
import json, sys
from consistency.errors import ConsistencyError
from consistency.backbone.resolve import resolve_backbone
try:
    found = resolve_backbone(sys.argv[1], revision=sys.argv[2] or None)
    answer = {"folder": str(found.folder), "revision": found.revision, "weights": [path.name for path in found.weights]}
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


def test_a_branch_that_moved_is_fetched_anew(
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
    assert "run again to continue" in answer["error"]
    partial = ask(hub, "kim/clip", HF_HUB_OFFLINE="1")  # what arrived so far is not mistaken for the model
    assert "hf download kim/clip" in partial["error"]
    hub.broken = False
    found = ask(hub, "kim/clip")
    assert fetched(hub) == {"model.safetensors"}
    assert Path(found["folder"], "model.safetensors").read_bytes() == (made / "model.safetensors").read_bytes()


def test_tokens_open_private_models(hub: Hub, ask: Callable[..., dict[str, Any]]) -> None:
    hub.tokens["kim/clip"] = "hf_secret"
    assert "knows no model kim/clip" in ask(hub, "kim/clip")["error"]
    assert ask(hub, "kim/clip", HF_TOKEN="hf_secret")["weights"] == ["model.safetensors"]


def test_what_the_hub_refuses_is_told_apart(hub: Hub, model: Path, ask: Callable[..., dict[str, Any]]) -> None:
    unknown = ask(hub, "kim/nothing")
    assert unknown["exit"] == 2
    assert f"{hub.url} knows no model kim/nothing" in unknown["error"]
    assert "kim/clip has no revision 'v9'" in ask(hub, "kim/clip", "v9")["error"]
    hub.gated.add("kim/clip")
    assert "kim/clip is gated: accept its terms" in ask(hub, "kim/clip")["error"]
    hub.portal = True
    assert f"no hub's answer from {hub.url}" in ask(hub, "kim/clip")["error"]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f: (f / "config.json").unlink(), "kim/clip holds no config.json"),
        (lambda f: change_json(f / "config.json", model_type="bert"), "kim/clip is a model of type 'bert'"),
        (lambda f: (f / "model.safetensors").rename(f / "flax_model.msgpack"), "kim/clip holds no usable weights"),
    ],
)
def test_a_model_we_cannot_use_is_refused_before_its_weights_are_fetched(
    hub: Hub, model: Path, ask: Callable[..., dict[str, Any]], spoil: Callable[[Path], object], message: str
) -> None:
    spoil(model)
    hub.repositories["kim/clip", "main"] = model
    assert message in ask(hub, "kim/clip")["error"]
    assert "model.safetensors" not in fetched(hub)


def test_an_unreachable_hub_is_said_within_five_seconds(ask: Callable[..., dict[str, Any]]) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:  # accepts and never answers
        port = silent.getsockname()[1]
        answer = ask(Hub({}, url=f"http://127.0.0.1:{port}"), "koclip", "v1")
    assert answer["seconds"] < 5
    assert answer["exit"] == 2
    for part in (
        "Bingsu/clip-vit-large-patch14-ko is not here: no such folder",
        f"no answer within 2.5 s from http://127.0.0.1:{port}",
        "'hf download Bingsu/clip-vit-large-patch14-ko --revision v1'",
    ):
        assert part in answer["error"]
    refused = ask(Hub({}, url="http://127.0.0.1:9"), "clip")
    assert refused["seconds"] < 5
    assert "no connection to http://127.0.0.1:9" in refused["error"]
    offline = ask(Hub({}, url="http://127.0.0.1:9"), "clip", HF_HUB_OFFLINE="1")
    assert "HF_HUB_OFFLINE forbids asking" in offline["error"]


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
    assert "No space left on device; free space there and run again" in answer["error"]
    (tmp_path / "file").write_text("")
    answer = ask(hub, "kim/clip", HF_HOME=str(tmp_path / "file" / "hf"))
    assert answer["exit"] == 1
    assert "cannot be kept in" in answer["error"]


def test_progress_is_shown_on_a_terminal_only(hub: Hub, tmp_path: Path) -> None:
    screen, terminal = os.openpty()
    termios.tcsetwinsize(terminal, (24, 100))
    environment = os.environ | {"PYTHONPATH": str(ROOT), "HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "hf")}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, "kim/clip", ""], env=environment, stdout=subprocess.PIPE, stderr=terminal
    )
    os.close(terminal)
    shown = os.read(screen, 100_000).decode()
    os.close(screen)
    assert "weights" in json.loads(done.stdout)
    assert "100%" in shown
