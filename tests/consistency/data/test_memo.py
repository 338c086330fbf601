"""An image that has not changed is not read twice; whatever may have changed is."""

import hashlib
import os
import subprocess
import sys
import tarfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from consistency.data import memo as module
from consistency.data.files import find_images
from consistency.data.memo import MOST_PARTS, SETTLED, DigestMemo
from consistency.errors import ImageError
from tests.builders.opened import opened

NAMES = [f"{number}.png" for number in range(20)]


def content(name: str) -> bytes:
    return f"the bytes of {name}".encode()


def sha(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of images, and a tar of them, that have not changed for a while."""
    folder = tmp_path_factory.mktemp("images")
    for name in NAMES:
        (folder / name).write_bytes(content(name))
    with tarfile.open(folder / "all.tar", "w") as archive:
        for name in NAMES:
            archive.add(folder / name, name)
    time.sleep(SETTLED + 0.1)
    return folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "cache"
    root.mkdir()
    return root


def digests(names: list[str], folder: Path, root: Path) -> dict[str, bytes | None]:
    """As a run finds them, which keeps what it has read."""
    with DigestMemo(root) as memo:
        return {name: file.digest for name, file in find_images(names, folder, memo).items()}


@pytest.mark.parametrize("place", [".", "all.tar"])
def test_a_second_run_opens_no_image(old: Path, root: Path, place: str) -> None:
    expected = {name: sha(content(name)) for name in NAMES}
    with opened(old) as first:
        assert digests(NAMES, old / place, root) == expected
    assert len(first) >= len(NAMES)
    with opened(old) as second:
        assert digests(NAMES, old / place, root) == expected
    assert [path.name for path in second if path.name != "all.tar"] == []
    assert len(second) <= 3  # the index of the archive


def test_a_young_file_is_read_again(tmp_path: Path, root: Path) -> None:
    """It could change within the resolution of its times, which are then equal, as git calls racy."""
    path = tmp_path / "a.png"
    path.write_bytes(b"one")
    times = path.stat().st_atime_ns, path.stat().st_mtime_ns
    assert digests(["a.png"], tmp_path, root) == {"a.png": sha(b"one")}
    path.write_bytes(b"two")
    os.utime(path, ns=times)
    assert digests(["a.png"], tmp_path, root) == {"a.png": sha(b"two")}
    assert not (root / "memo").exists()


def test_what_may_have_changed_is_read_again(tmp_path: Path, root: Path) -> None:
    names = ["time.png", "size.png", "inode.png", "restored.png", "same.png"]
    for name in names:
        (tmp_path / name).write_bytes(b"one")
    time.sleep(SETTLED + 0.1)
    assert set(digests(names, tmp_path, root).values()) == {sha(b"one")}
    stat = (tmp_path / "same.png").stat()
    (tmp_path / "time.png").write_bytes(b"two")
    (tmp_path / "size.png").write_bytes(b"three")
    (tmp_path / "new").write_bytes(b"two")
    os.utime(tmp_path / "new", ns=(stat.st_atime_ns, stat.st_mtime_ns))
    os.replace(tmp_path / "new", tmp_path / "inode.png")
    (tmp_path / "restored.png").write_bytes(b"two")
    for name in names[1:4]:
        os.utime(tmp_path / name, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    found = digests(names, tmp_path, root)
    assert found == dict(zip(names, map(sha, (b"two", b"three", b"two", b"two", b"one")), strict=True))


def test_a_file_that_is_gone_is_missed(old: Path, root: Path, tmp_path: Path) -> None:
    (tmp_path / "image").mkdir()
    (tmp_path / "image" / "a.png").symlink_to(old / NAMES[0])
    assert digests(["a.png"], tmp_path / "image", root)["a.png"] is None  # leads out of the folder
    assert digests(NAMES[:1], old, root) == {NAMES[0]: sha(content(NAMES[0]))}
    link, place = tmp_path / "alias", DigestMemo(root)
    link.symlink_to(old)
    with opened(old) as read:
        assert find_images(NAMES[:1], link, place)[NAMES[0]].digest == sha(content(NAMES[0]))
    assert read == []  # the same folder by another name
    assert find_images(["gone.png"], old, place)["gone.png"].problem == f"not found in {old}"


@pytest.mark.parametrize("damage", ["flipped", "cut", "empty", "renamed"])
def test_a_damaged_memo_is_ignored(old: Path, root: Path, damage: str) -> None:
    expected = digests(NAMES, old, root)
    (part,) = (root / "memo").iterdir()
    data = bytearray(part.read_bytes())
    data[20] ^= 1
    if damage == "renamed":
        part.write_bytes(data)
        part.rename(part.with_name(f"part-{len(data)}-{'0' * 32}.bin"))
    else:
        part.write_bytes({"flipped": data, "cut": data[:-7], "empty": b""}[damage])
    with opened(old) as read:
        assert digests(NAMES, old, root) == expected
    assert len(read) == len(NAMES)


def test_nothing_is_written_where_there_is_no_cache(old: Path, tmp_path: Path) -> None:
    with DigestMemo(tmp_path / "cache") as memo:
        find_images(NAMES, old, memo)
    assert not (tmp_path / "cache").exists()
    (tmp_path / "cache").mkdir()
    memo.save()  # an extraction made the cache after the images were read
    with opened(old) as read:
        digests(NAMES, old, tmp_path / "cache")
    assert read == []


def test_a_memo_that_cannot_be_written_stops_nothing(old: Path, root: Path) -> None:
    (root / "memo").write_text("a file in its place")
    for _ in range(2):
        assert digests(NAMES, old, root) == {name: sha(content(name)) for name in NAMES}


def test_a_long_reading_is_kept_while_it_lasts(old: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SAVE_ROWS", 5)
    memo = DigestMemo(tmp_path / "cache")
    find_images(NAMES, old, memo)  # and then the process is killed
    rows = sum(path.stat().st_size for path in (tmp_path / "cache" / "memo").iterdir()) // 48
    assert rows >= len(NAMES) - 5


def test_many_parts_become_one_that_knows_all(old: Path, root: Path) -> None:
    for name in NAMES:
        digests([name], old, root)
    assert len(NAMES) > MOST_PARTS >= len(list((root / "memo").iterdir()))
    with opened(old) as read:
        digests(NAMES, old, root)
    assert read == []


def test_the_memo_is_bounded_and_forgets_the_oldest(old: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_ROWS", 12)
    monkeypatch.setattr(module, "MOST_PARTS", 1)
    digests(NAMES[:10], old, root)
    digests(NAMES[10:], old, root)
    assert sum(path.stat().st_size for path in (root / "memo").iterdir()) == 12 * 48
    with opened(old) as read:
        digests(NAMES[10:], old, root)
    assert read == []


def test_several_processes_write_one_memo(old: Path, root: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from consistency.data.files import find_images;"
        "from consistency.data.memo import DigestMemo\n"
        "for name in sys.argv[3:]:\n"
        "    with DigestMemo(Path(sys.argv[2])) as memo: find_images([name], Path(sys.argv[1]), memo)"
    )
    commands = [[sys.executable, "-c", code, str(old), str(root), *NAMES[at::2]] for at in range(2)]
    with ThreadPoolExecutor() as pool:
        done = list(pool.map(lambda each: subprocess.run(each, check=True, timeout=60), commands))
    assert [each.returncode for each in done] == [0, 0]
    with opened(old) as read:
        digests(NAMES, old, root)
    assert read == []


def test_an_image_that_cannot_be_read_is_not_remembered(tmp_path: Path, root: Path) -> None:
    os.mkfifo(tmp_path / "a.png")
    with DigestMemo(root) as memo, pytest.raises(ImageError, match="not a regular file"):
        memo.digest(tmp_path / "a.png")
    assert not (root / "memo").exists()
