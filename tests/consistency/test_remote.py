"""URLs of object stores: which are allowed, how they behave as paths, and how their bytes come to this machine."""

import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from consistency import remote
from consistency.errors import ImageError, InputError, StorageError
from consistency.options import Source, as_config, from_config, with_urls
from consistency.remote import RemotePath, UnaskedPath, copy_of, fetch, open_remote, path_of, reason_of
from tests.builders.object_store import Store


@pytest.fixture
def shelf() -> Iterator[RemotePath]:
    """A folder in memory with a file and a folder."""
    import fsspec

    system = fsspec.filesystem("memory")
    system.pipe_file("memory://shelf/a.bin", b"abc")
    system.pipe_file("memory://shelf/sub/b.bin", b"")
    yield RemotePath("memory:", "shelf")
    system.rm("memory://shelf", recursive=True)


def read(descriptor: int) -> bytes:
    with open(descriptor, "rb") as file:
        return file.read()


def test_a_url_is_a_path_that_keeps_its_slashes() -> None:
    path = path_of("s3://bucket/some folder/이미지.png")
    assert isinstance(path, RemotePath)
    assert str(path) == f"{path}" == "s3://bucket/some folder/이미지.png"
    assert (path.name, path.suffix, str(path.parent)) == ("이미지.png", ".png", "s3://bucket/some folder")
    assert str(path.parent / "b.png") == "s3://bucket/some folder/b.png"
    assert str(path.with_name("c.csv")) == "s3://bucket/some folder/c.csv"
    assert Path("/began/here") / path == path.absolute() == path.resolve() == path
    assert pickle.loads(pickle.dumps(path)) == path
    assert str(pickle.loads(pickle.dumps(path))) == str(path)


def test_other_texts_are_local_paths() -> None:
    for text in ("data/pairs.csv", "/data/s3:/x", "s3:/x", "a:b"):
        assert type(path_of(text)) is type(Path())
    assert path_of("file:///data/a b.csv") == Path("/data/a b.csv")
    assert path_of(Path("x")) == Path("x")


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("https://example.org/pairs.csv", "https:// is not supported, expected s3://, gs://"),
        ("ftp://me:secret@example.org/x", "ftp:// is not supported"),
        ("s3://me:secret@bucket/x", "holds a user name, a password or a query"),
        ("s3://secret@bucket/x", "holds a user name, a password or a query"),
        ("abfs://me:secret@account/x", "holds a user name, a password or a query"),
        ("gs://bucket/x?Signature=secret", "holds a user name, a password or a query"),
        ("s3://bucket/a/../x", "holds .. or NUL"),
        ("file://data/x", "names an absolute path"),
    ],
)
def test_other_urls_are_refused_without_repeating_secrets(url: str, said: str) -> None:
    with pytest.raises(InputError, match=said) as error:
        path_of(url)
    assert "secret" not in str(error.value)
    assert "\n" not in str(error.value)


def test_a_container_of_azure_is_no_user() -> None:
    assert (
        str(path_of("abfs://images@account.dfs.core.windows.net/x")) == "abfs://images@account.dfs.core.windows.net/x"
    )


def test_files_and_folders_are_told_apart(shelf: RemotePath) -> None:
    assert ((shelf / "a.bin").is_file(), (shelf / "a.bin").is_dir(), (shelf / "a.bin").exists()) == (True, False, True)
    assert (shelf.is_file(), shelf.is_dir(), shelf.exists()) == (False, True, True)
    assert ((shelf / "gone").is_file(), (shelf / "gone").is_dir(), (shelf / "gone").exists()) == (False, False, False)


def test_a_file_is_read_through_a_copy(shelf: RemotePath) -> None:
    assert (shelf / "a.bin").read_bytes() == b"abc"
    assert (shelf / "a.bin").stat().st_size == 3
    assert Path(os.fspath(shelf / "a.bin")).read_bytes() == b"abc"
    with pytest.raises(FileNotFoundError):
        (shelf / "gone").read_bytes()
    with pytest.raises(InputError, match="memory://shelf is a folder, expected a file"):
        shelf.read_bytes()


def test_images_are_fetched_once_while_there_is_room(shelf: RemotePath, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "KEPT", 8)
    system = remote.filesystem(shelf)
    for name in "xyz":
        system.pipe_file(f"memory://shelf/{name}", name.encode() * 3)
        assert read(open_remote(shelf / name, None, 100)) == name.encode() * 3
    system.rm("memory://shelf/x")
    system.pipe_file("memory://shelf/z", b"other")
    assert copy_of(shelf / "x") is None  # the oldest made room
    assert read(open_remote(shelf / "z", None, 100)) == b"zzz"
    assert read(open_remote(shelf / "y", copy_of(shelf / "y"), 100)) == b"yyy"
    with pytest.raises(FileNotFoundError):
        open_remote(shelf / "x", None, 100)
    system.pipe_file("memory://shelf/long", b"9" * 9)
    assert read(open_remote(shelf / "long", None, 100)) == b"9" * 9
    assert copy_of(shelf / "long") is None


def test_what_is_too_large_or_no_file_is_a_problem_of_the_image(shelf: RemotePath, tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="is over 2e-06 MB"):
        fetch(shelf / "a.bin", tmp_path / "copy", most=2)
    with pytest.raises(ImageError, match="is a folder"):
        open_remote(shelf / "sub", None, 100)
    assert read(open_remote(shelf / "sub" / "b.bin", None, 100)) == b""


def test_copies_end_with_the_process(shelf: RemotePath) -> None:
    code = (
        "import os, fsspec\nfrom consistency.remote import path_of\n"
        "fsspec.filesystem('memory').pipe_file('memory://a/b', b'1')\nprint(os.fspath(path_of('memory://a/b')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip()
    assert not Path(done.stdout.strip()).parent.exists()


def test_a_recorded_url_is_fetched_on_request_alone(shelf: RemotePath) -> None:
    source = Source(data=shelf / "a.bin", images=Path("image"))
    recorded = from_config(Source, as_config(source))
    assert recorded == source
    assert isinstance(recorded.data, UnaskedPath)
    assert (recorded.data.exists(), recorded.data.is_file(), recorded.data.parent.is_dir()) == (False, False, False)
    with pytest.raises(InputError, match=r"memory://shelf/a.bin is named by a run, and was not fetched"):
        recorded.data.read_bytes()
    assert with_urls(recorded).data.read_bytes() == b"abc"


def test_a_missing_package_is_one_line() -> None:
    """In a process of its own, which has loaded none of them."""
    code = """
import sys
from consistency.remote import path_of
for module, url in (("s3fs", "s3://bucket/x"), ("gcsfs", "gs://bucket/x"), ("fsspec", "memory://x")):
    sys.modules[module] = None
    try:
        path_of(url).exists()
    except Exception as error:
        print(type(error).__name__, error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    needs, install = "which is not installed", "pip install 'koclip-consistency[remote]'"
    assert done.stdout.splitlines() == [
        f"InputError s3:// needs s3fs, {needs}: {install}",
        f"InputError gs:// needs gcsfs, {needs}: {install} gcsfs",
        f"InputError memory:// needs fsspec, {needs}: {install}",
    ]


def test_messages_hold_no_secrets() -> None:
    error = OSError("cannot open https://cdn.example/x.png?X-Amz-Signature=secret&b and s3://me:secret@bucket/x")
    assert reason_of(error) == "cannot open https://cdn.example/x.png?... and s3://bucket/x"


def test_a_store_that_is_not_there_is_one_line(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "filesystem", lambda path: Unreachable())
    for asked in (lambda: path_of("s3://bucket/x").exists(), lambda: path_of("s3://bucket/y").read_bytes()):
        with pytest.raises(StorageError, match=r"s3://bucket/. cannot be reached \(no route to https://h/x\?\.{3}\)"):
            asked()


class Unreachable:
    def __getattr__(self, name: str) -> object:
        raise ConnectionError("no route to https://h/x?secret")


def test_threads_share_one_file_system(store: Store) -> None:
    bucket = store.bucket("shared")
    for number in range(20):
        store.system().pipe_file(f"{bucket}/{number}", bytes([number]))
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda number: read(open_remote(path_of(f"{bucket}/{number}"), None, 9)), range(20)))
        systems = set(pool.map(lambda _: id(remote.filesystem(path_of(bucket))), range(20)))
    assert found == [bytes([number]) for number in range(20)]
    assert len(systems) == 1
