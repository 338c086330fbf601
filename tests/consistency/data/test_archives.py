"""Images are read from ZIP and tar archives as from a folder, and what cannot be read has a reason."""

import io
import os
import pickle
import subprocess
import sys
import tarfile
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from PIL import Image

from consistency.data import archives, sources
from consistency.data.archives import index_archive
from consistency.data.files import find_images
from consistency.data.reading import Budget, Decoding
from consistency.errors import DataError, ImageError
from consistency.options import ImageLimits
from consistency.remote import path_of
from tests.builders.object_store import memory_folder

NAMES = ["가을 사진.png", "sub/b.png", "noise.png"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("archives") / "image"
    (folder / "sub").mkdir(parents=True)
    Image.new("RGB", (40, 30), "navy").save(folder / NAMES[0])
    Image.new("RGB", (30, 40), "olive").save(folder / NAMES[1])
    (folder / NAMES[2]).write_bytes(os.urandom(100_000))
    return folder


def pack(folder: Path, out: Path, how: str, *, top: str = "") -> Path:
    if how.startswith("zip"):
        method = {"zip": zipfile.ZIP_STORED, "zip-deflated": zipfile.ZIP_DEFLATED, "zip-bzip2": zipfile.ZIP_BZIP2}[how]
        with zipfile.ZipFile(out, "w", method) as archive:
            for name in NAMES:
                archive.write(folder / name, top + name)
    else:
        with tarfile.open(out, "w", format=tarfile.GNU_FORMAT if how == "tar-gnu" else tarfile.PAX_FORMAT) as archive:
            for name in NAMES:
                archive.add(folder / name, top + name)
    return out


@pytest.mark.parametrize("top", ["", "./", "photos/"])
@pytest.mark.parametrize("how", ["zip", "zip-deflated", "tar", "tar-gnu"])
def test_an_archive_gives_what_its_folder_gives(folder: Path, tmp_path: Path, how: str, top: str) -> None:
    path = pack(folder, tmp_path / "images.bin", how, top=top)
    asked = [*NAMES, "none.png", "SUB/b.png", "sub\\b.png"]
    plain, packed = find_images(asked, folder), find_images(asked, path)
    assert [file.digest for file in packed.values()] == [file.digest for file in plain.values()]
    assert packed["none.png"].problem == f"not found in {path}"
    assert packed["SUB/b.png"].problem == f"not found in {path}, but sub/b.png is there: correct the name"
    for name in NAMES:
        assert packed[name].path == path
        assert packed[name].read() == (folder / name).read_bytes()
    image = Decoding("ours", ImageLimits()).prepared(packed[NAMES[0]], lambda image: image.copy(), Budget(10**6))
    assert image.size == (40, 30)


@pytest.mark.parametrize("how", ["zip", "zip-deflated", "tar"])
def test_threads_and_processes_read_the_right_bytes(folder: Path, tmp_path: Path, how: str) -> None:
    """Threads that share one position in an archive would get each other's bytes."""
    many = tmp_path / "many"
    many.mkdir()
    for number in range(40):
        (many / f"{number}.png").write_bytes(os.urandom(50_000 + number))
    path = tmp_path / "images"
    if how == "tar":
        with tarfile.open(path, "w") as archive:
            archive.add(many, "many")
    else:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED if "-" in how else zipfile.ZIP_STORED) as archive:
            for file in many.iterdir():
                archive.write(file, file.name)
    files = find_images([f"{number}.png" for number in range(40)], path)
    with ThreadPoolExecutor(8) as pool:
        read = list(pool.map(lambda file: file.read(), list(files.values()) * 10))
    assert read == [(many / f"{number}.png").read_bytes() for number in range(40)] * 10
    code = "import pickle, sys; print(len(pickle.load(sys.stdin.buffer).read()))"
    done = subprocess.run([sys.executable, "-c", code], input=pickle.dumps(files["7.png"]), capture_output=True)
    assert done.stdout.strip() == b"50007", done.stderr


def test_names_of_korean_zips_without_a_declared_encoding(tmp_path: Path) -> None:
    path = tmp_path / "korean.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("xx.png", b"data")
    path.write_bytes(path.read_bytes().replace(b"xx.png", "가.png".encode("cp949")))
    assert find_images(["가.png"], path)["가.png"].read() == b"data"


def test_members_that_cannot_be_read_have_a_reason(folder: Path, tmp_path: Path) -> None:
    path = pack(folder, tmp_path / "b.zip", "zip-bzip2")
    assert find_images(NAMES[:1], path)[NAMES[0]].problem == (
        "is compressed by method 12 in the archive, expected stored or deflated"
    )
    with tarfile.open(tmp_path / "t.tar", "w") as archive:
        archive.add(folder / NAMES[0], "a.png")
        for name, kind in (
            ("soft.png", tarfile.SYMTYPE),
            ("hard.png", tarfile.LNKTYPE),
            ("fifo.png", tarfile.FIFOTYPE),
        ):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "a.png"
            archive.addfile(info)
        for name in ("/a.png", "../a.png"):
            archive.addfile(tarfile.TarInfo(name))
    files = find_images(["soft.png", "hard.png", "fifo.png", "../a.png", "/a.png", ""], tmp_path / "t.tar")
    assert files["hard.png"].read() == (folder / NAMES[0]).read_bytes()
    assert files["soft.png"].problem == files["fifo.png"].problem == "is not a regular file in the archive"
    for name in ("../a.png", "/a.png", ""):
        assert str(files[name].problem).startswith("not found in ")


@pytest.mark.parametrize("how", ["zip", "zip-deflated", "tar"])
def test_damaged_bytes_are_refused(folder: Path, tmp_path: Path, how: str) -> None:
    path = pack(folder, tmp_path / "a", how)
    file = find_images(NAMES[2:], path)[NAMES[2]]
    data = path.read_bytes()
    assert file.member is not None
    for damage in (b"\0" * len(data), data[: file.member.start], data[: file.member.start] + bytes(500)):
        path.write_bytes(damage)
        with pytest.raises(ImageError):
            file.read()


def test_a_member_that_inflates_to_more_than_it_says_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.png", bytes(5_000_000))
    size = (5_000_000).to_bytes(4, "little")
    path.write_bytes(path.read_bytes().replace(size, (1000).to_bytes(4, "little")))
    assert find_images(["a.png"], path)["a.png"].problem == (
        "is damaged in the archive: its size is not what the archive says"
    )


def test_large_members_are_refused_by_their_size(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = pack(folder, tmp_path / "a.tar", "tar")
    monkeypatch.setattr(sources, "MAX_BYTES", 50_000)
    files = find_images(NAMES, path)
    assert [file.problem for file in files.values()] == [None, None, "is over 0.05 MB"]


def test_what_is_no_archive_is_refused(folder: Path, tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.write_text("no archive at all")
    compressed = tmp_path / "a.tar.gz"
    with tarfile.open(compressed, "w:gz") as archive:
        archive.add(folder / NAMES[0], "a.png")
    cut = tmp_path / "cut.tar"
    cut.write_bytes(pack(folder, tmp_path / "whole.tar", "tar").read_bytes()[:-60_000])
    for path, said in (
        (text, "is a file, expected a folder, a ZIP or a tar of images"),
        (compressed, "is compressed with gzip, so its images cannot be read one by one: unpack it, or name a ZIP"),
        (cut, "cannot be read: unexpected end of data"),
    ):
        with pytest.raises(DataError, match=said):
            find_images(["a.png"], path)


def test_the_index_of_a_large_tar_is_small(tmp_path: Path) -> None:
    path = tmp_path / "many.tar"
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as archive:
        for number in range(2000):
            archive.addfile(tarfile.TarInfo(f"{number}.png"), io.BytesIO())
    index = index_archive(path)
    assert len(index) == 2000
    assert {type(member) for member in index.values()} == {archives.Member}


@pytest.mark.parametrize("how", ["zip-deflated", "tar"])
def test_an_archive_behind_a_url_is_read_from_a_copy(folder: Path, tmp_path: Path, how: str) -> None:
    packed = pack(folder, tmp_path / f"images.{how}", how)
    memory_folder(tmp_path, f"memory://archives/{how}")
    local, remote = (find_images(NAMES, place) for place in (packed, path_of(f"memory://archives/{how}/{packed.name}")))
    assert [file.digest for file in remote.values()] == [file.digest for file in local.values()]
    with ThreadPoolExecutor(8) as pool:
        again = list(pool.map(lambda name: remote[name].read(), NAMES * 50))
    assert again == [(folder / name).read_bytes() for name in NAMES] * 50
    elsewhere = pickle.loads(pickle.dumps(remote[NAMES[0]]))
    assert elsewhere.copy == Path(os.fspath(path_of(f"memory://archives/{how}/{packed.name}")))
    assert elsewhere.read() == (folder / NAMES[0]).read_bytes()
