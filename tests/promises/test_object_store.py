"""Tables, images and caches of an object store: the same results as from local folders, and no other connections."""

import json
import shutil
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.builders.commands import Run
from tests.builders.object_store import Store, beyond_loopback, connections

SIMILARITY = ["similarity", "--method", "exact", "--backbone", "tiny"]


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a table, image/ (16 images) and image.zip."""
    from demo.dataset import write_demo

    folder = tmp_path_factory.mktemp("here")
    write_demo(folder, seed=5, images=16)
    with zipfile.ZipFile(folder / "image.zip", "w") as archive:
        for file in (folder / "image").iterdir():
            archive.write(file, file.name)
    return folder


@pytest.fixture(scope="module")
def there(here: Path, store: Store) -> str:
    """The same in a bucket."""
    bucket = store.bucket("posts")
    store.put_folder(here, f"{bucket}/set")
    return f"{bucket}/set"


@pytest.fixture
def local(run: Run, here: Path, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    """The run of `similarity` on the local folder, made once."""
    place = request.config.stash.setdefault(LOCAL, tmp_path_factory.mktemp("local"))
    if not (place / "run").is_dir():
        data = ["--data", here / "combined_data.csv", "--images", here / "image"]
        ran = run(*SIMILARITY, *data, "--cache", place / "cache", "--out", place / "run")
        assert ran.code == 0, ran.stderr
    return place / "run"


LOCAL = pytest.StashKey[Path]()


def info(path: Path) -> dict[str, Any]:
    return json.loads((path / "run.json").read_text())


def same_results(one: Path, other: Path) -> bool:
    names = ("predictions.csv", "metrics.json", "split.csv")
    digests = ("data_digest", "pictures_digest", "fingerprint")
    return all((one / name).read_bytes() == (other / name).read_bytes() for name in names) and all(
        info(one)[name] == info(other)[name] for name in digests
    )


def gets(store: Store, start: int, key: str) -> Counter[str]:
    """How often each object below `key` was read since request number `start`."""
    found = (request.split() for request in store.requests[start:])
    return Counter(place for method, place in found if method == "GET" and f"{key}/" in place)


def test_a_bucket_gives_the_results_of_a_folder(
    run: Run, store: Store, there: str, local: Path, tmp_path: Path
) -> None:
    start = len(store.requests)
    data = ["--data", f"{there}/combined_data.csv", "--images", f"{there}/image"]
    with connections() as connected:
        ran = run(*SIMILARITY, *data, "--cache", tmp_path / "cache", "--out", tmp_path / "run")
    assert ran.code == 0, ran.stderr
    assert same_results(tmp_path / "run", local)
    assert connected
    assert beyond_loopback(connected) == []
    read = gets(store, start, "/posts/set/image")
    assert (len(read), set(read.values())) == (16, {1})  # for the digest and for the encoder, each image once
    assert info(tmp_path / "run")["config"]["source"]["images"] == f"{there}/image"
    for file in (tmp_path / "run").rglob("*"):
        assert not file.is_file() or b"do-not-record-this" not in file.read_bytes()


def test_an_archive_in_a_bucket_is_fetched_once(
    run: Run, store: Store, there: str, local: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = len(store.requests)
    monkeypatch.setenv("KOCLIP_DATA", f"{there}/combined_data.csv")
    monkeypatch.setenv("KOCLIP_IMAGES", f"{there}/image.zip")
    ran = run(*SIMILARITY, "--cache", tmp_path / "cache", "--out", tmp_path / "run")
    assert ran.code == 0, ran.stderr
    assert same_results(tmp_path / "run", local)
    assert gets(store, start, "/posts/set") <= Counter({"/posts/set/image.zip": 1, "/posts/set/combined_data.csv": 1})


def test_a_received_run_fetches_nothing_unasked(
    run: Run, store: Store, there: str, local: Path, tmp_path: Path
) -> None:
    received = tmp_path / "received"
    shutil.copytree(local, received)
    record = info(received)
    source = record["config"]["source"]
    source |= {"data": f"{there}/combined_data.csv", "images": f"{there}/image"}
    (received / "run.json").write_text(json.dumps(record))
    start = len(store.requests)
    again = ["rerun", received, "--out", tmp_path / "again", "--cache", tmp_path / "cache"]
    for more, said in (
        ([], f"the run used {there}/combined_data.csv: name it with --data if you trust it, or give --download"),
        (["--data", f"{there}/combined_data.csv"], f"the run used {there}/image: name it with --images"),
    ):
        ran = run(*again, *more)
        assert (ran.code, ran.stderr.count("\n")) == (2, 1)
        assert said in ran.stderr
    assert run("report", received, "-o", tmp_path / "report.html").code == 0  # without images
    pair = ["--image", here_image(local), "--hashtag", "#바다"]
    ran = run("explain", "--model", received, *pair, "--cache", tmp_path / "cache", "-o", tmp_path / "map.png")
    assert ran.code == 0, ran.stderr
    assert store.requests[start:] == []
    source["images"] = "https://example.org/image"
    (received / "run.json").write_text(json.dumps(record))
    ran = run(*again)
    assert (ran.code, ran.stderr.count("\n")) == (2, 1)
    assert "https:// is not supported" in ran.stderr
    source["images"] = f"{there}/image"
    (received / "run.json").write_text(json.dumps(record))
    ran = run(*again, "--download", "--json")
    assert ran.code == 0, ran.stderr
    assert ran.json()["identical"]


def here_image(local: Path) -> str:
    folder = Path(info(local)["config"]["source"]["images"])
    return str(sorted(folder.iterdir())[0])


def test_other_commands_read_a_bucket(run: Run, store: Store, there: str, here: Path, tmp_path: Path) -> None:
    data = ["--data", f"{there}/combined_data.csv", "--images", f"{there}/image"]
    on_disk = ["--data", here / "combined_data.csv", "--images", here / "image"]
    found, expected = (run("data", "check", *which, "--near-duplicates", "--json") for which in (data, on_disk))
    assert found.code == expected.code
    replaced = found.stdout.replace(there, str(here))
    assert json.loads(replaced) == expected.json()
    ran = run("data", "prepare", *data[1:], "--jpeg", "-o", tmp_path / "p")
    assert ran.code == 0, ran.stderr
    assert {file.name for file in (tmp_path / "p" / "image").iterdir()} == {f.name for f in (here / "image").iterdir()}
    ran = run("score", *data, "--cache", tmp_path / "cache", "--backbone", "tiny", "-o", tmp_path / "scored.csv")
    assert ran.code == 0, ran.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--images", "s3://posts/gone"], "there is no folder s3://posts/gone: name the folder of the images"),
        (["--images", "http://example.org/image"], "http:// is not supported, expected s3://"),
        (["--images", "s3://me:pw@posts/image"], "holds a user name, a password or a query"),
        (["--data", "s3://posts/gone.csv"], "there is no file s3://posts/gone.csv: name the pair table"),
        (["--data", "s3://posts/set"], "s3://posts/set"),
        (["--out", "s3://posts/run"], "a URL is given, expected a path on this machine"),
    ],
)
def test_what_cannot_be_read_is_one_line(run: Run, there: str, tmp_path: Path, words: list[str], said: str) -> None:
    given = ["--data", f"{there}/combined_data.csv", "--images", f"{there}/image", "--cache", tmp_path / "cache"]
    ran = run(*SIMILARITY, *given, *words)
    assert ran.code == 2
    assert said in ran.stderr
    assert "Traceback" not in ran.stderr


def test_a_cache_in_a_bucket_is_that_of_a_folder(
    run: Run, store: Store, there: str, here: Path, local: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache, data = f"{there}/cache", ["--data", here / "combined_data.csv", "--images", here / "image"]
    monkeypatch.setenv("KOCLIP_MIRROR", str(tmp_path / "one"))
    with connections() as connected:
        ran = run("extract", "--backbone", "tiny", *data, "--cache", cache, "--out", tmp_path / "extract")
        assert ran.code == 0, ran.stderr
        start = len(store.requests)
        monkeypatch.setenv("KOCLIP_MIRROR", str(tmp_path / "another machine"))
        ran = run(*SIMILARITY, *data, "--cache", cache, "--no-extract", "--out", tmp_path / "run")
    assert ran.code == 0, ran.stderr
    assert beyond_loopback(connected) == []
    assert same_results(tmp_path / "run", local)
    assert {method for method, _ in map(str.split, store.requests[start:])} <= {"GET", "HEAD"}  # nothing was encoded
    (entry,) = run("cache", "info", "--cache", cache, "--json").json()
    (on_disk,) = run("cache", "info", "--cache", local.parent / "cache", "--json").json()
    assert (entry["images"], entry["hashtags"]) == (on_disk["images"], on_disk["hashtags"])
    assert entry["path"] == f"{cache}/{on_disk['fingerprint']}"
    assert run("cache", "export", tmp_path / "a.npz", *data, "--cache", cache).code == 0
    assert run("cache", "export", tmp_path / "b.npz", *data, "--cache", local.parent / "cache").code == 0
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    ran = run("cache", "compact", "--cache", cache)
    assert (ran.code, ran.stderr.count("\n")) == (2, 1)
    assert "has no locks, so it cannot be compacted there: copy it to a local folder" in ran.stderr
    key = next(key for key in store.system().find(f"{cache}/") if "/seg-" in key)
    flipped = bytearray(store.system().cat_file(key))
    flipped[len(flipped) // 2] ^= 1
    store.system().pipe_file(key, bytes(flipped))
    ran = run("cache", "verify", "--cache", cache, "--json")
    assert (ran.code, len(ran.json()[0]["damaged"])) == (1, 1)
    ran = run(*SIMILARITY, *data, "--cache", cache, "--out", tmp_path / "repaired")
    assert ran.code == 0, ran.stderr
    assert same_results(tmp_path / "repaired", local)
    assert run("cache", "verify", "--cache", cache).code == 0  # the same rows gave the same object again


def test_a_cache_that_cannot_be_used_is_one_line(run: Run, there: str, here: Path, tmp_path: Path) -> None:
    data = ["--data", here / "combined_data.csv", "--images", here / "image", "--out", tmp_path / "run"]
    for cache, said in (
        ("hf://datasets/me/cache", "cannot hold a cache, since each file would be a commit"),
        ("s3://no-such-bucket/cache", "s3://no-such-bucket/cache"),
        (f"{there}/combined_data.csv", "is a file, expected the folder of the embeddings"),
    ):
        ran = run(*SIMILARITY, *data, "--cache", cache)
        assert ran.code in (1, 2)
        assert said in ran.stderr
        assert "Traceback" not in ran.stderr
