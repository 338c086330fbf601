"""Images are found by the names of a table, never outside their folder, and identified by their bytes."""

import os
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from consistency import remote
from consistency.data.files import find_images, image_identity
from consistency.errors import DataError, ImageError
from consistency.remote import path_of
from tests.builders.object_store import memory_folder

HANGUL = "가을사진.png"
DECOMPOSED = unicodedata.normalize("NFD", HANGUL)
RED, BLUE = b"the bytes of one image", b"and those of another"  # finding an image decodes nothing


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    images = tmp_path / "image"
    (images / "inner").mkdir(parents=True)
    (images / "a.png").write_bytes(RED)
    (images / "copy.png").write_bytes(RED)
    (images / "inner" / "b.jpg").write_bytes(BLUE)
    (tmp_path / "outside.png").write_bytes(RED)
    return images


def problem(name: str, folder: Path) -> str | None:
    file = find_images([name], folder)[name]
    assert file.name == name
    assert (file.path is None) == (file.digest is None) == (file.problem is not None)
    return file.problem


def test_files_are_found_once_with_their_digest(folder: Path) -> None:
    files = find_images(["a.png", "copy.png", "inner/b.jpg", "a.png", "none.png"], folder)
    assert list(files) == ["a.png", "copy.png", "inner/b.jpg", "none.png"]
    assert files["a.png"].path == folder / "a.png"
    assert files["a.png"].digest == files["copy.png"].digest != files["inner/b.jpg"].digest
    assert files["none.png"].problem == f"not found in {folder}"
    assert files["none.png"].path is None


def test_identity_is_the_content_or_else_the_name(folder: Path) -> None:
    names = np.array(["a.png", "copy.png", HANGUL, DECOMPOSED, "inner/b.jpg"], dtype=object)
    identity = image_identity(names, find_images(names, folder))
    assert identity[0] == identity[1]
    assert identity[2] == identity[3] == "name:" + HANGUL
    assert len(set(identity)) == 3
    assert len(image_identity(names[:0], {})) == 0


def test_a_missing_folder_misses_every_file(tmp_path: Path) -> None:
    assert problem("a.png", tmp_path / "nowhere") == f"there is no folder {tmp_path / 'nowhere'}"
    (tmp_path / "file").write_bytes(RED)
    with pytest.raises(DataError, match="file is a file, expected a folder, a ZIP or a tar of images"):
        find_images(["a.png"], tmp_path / "file")


def test_absolute_paths_inside_the_folder_are_found(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "alias").symlink_to(folder)
    names = [str(folder / "a.png"), str(tmp_path / "alias" / "inner" / "b.jpg")]
    files = find_images(names, tmp_path / "alias")
    assert [files[name].path for name in names] == [folder / "a.png", folder / "inner" / "b.jpg"]
    assert problem(names[1], folder) == "leads out of the image folder"  # by its name; it is where another name leads


def test_windows_separators_and_other_cases(folder: Path) -> None:
    assert problem("inner\\b.jpg", folder) is None
    for name in ("INNER/B.JPG", "inner\\b.JPG", str(folder / "inner" / "B.jpg")):
        assert problem(name, folder) == f"not found in {folder}, but inner/b.jpg is there: correct the name"
    assert problem("inner/c.jpg", folder) == f"not found in {folder}"


@pytest.mark.parametrize(("stored", "named"), [(HANGUL, DECOMPOSED), (DECOMPOSED, HANGUL)])
def test_names_are_found_in_any_unicode_form(folder: Path, stored: str, named: str) -> None:
    (folder / stored).write_bytes(RED)
    (folder / f"dir{stored}").mkdir()
    (folder / f"dir{stored}" / stored).write_bytes(BLUE)
    files = find_images([named, stored, f"dir{named}/{named}"], folder)
    assert files[named].path == files[stored].path == folder / stored
    assert files[f"dir{named}/{named}"].path == folder / f"dir{stored}" / stored


def test_the_exact_name_wins_and_an_ambiguous_one_is_refused(folder: Path) -> None:
    half = "가" + unicodedata.normalize("NFD", "을사진.png")
    (folder / HANGUL).write_bytes(RED)
    (folder / DECOMPOSED).write_bytes(BLUE)
    files = find_images([HANGUL, DECOMPOSED], folder)
    assert files[HANGUL].digest != files[DECOMPOSED].digest
    with pytest.raises(DataError) as error:
        find_images([half], folder)
    assert str(error.value) == (
        f"{half} fits 2 names in {folder} that differ only in Unicode form: rename one, or name it exactly"
    )


def test_what_is_no_regular_file_below_the_folder(folder: Path, tmp_path: Path) -> None:
    os.mkfifo(folder / "fifo.png")
    (folder / "loop.png").symlink_to("loop.png")
    (folder / "out.png").symlink_to(tmp_path / "outside.png")
    (folder / "dangling.png").symlink_to("gone.png")
    (folder / "outdir").symlink_to(tmp_path)
    (folder / "zero.png").symlink_to("/dev/zero")
    with (folder / "film.mp4").open("wb") as film:
        film.truncate(5_000_000_000)
    out = "leads out of the image folder"
    expected = {
        "fifo.png": "is not a regular file",
        "inner": "is a folder",
        "": "is a folder",
        ".": "is a folder",
        "loop.png": "cannot be read: Too many levels of symbolic links",
        "dangling.png": "cannot be read: No such file or directory",
        "out.png": out,
        "zero.png": out,
        "outdir/outside.png": out,
        "../outside.png": out,
        "inner/../../outside.png": out,
        str(tmp_path / "outside.png"): out,
        "/etc/passwd": out,
        "film.mp4": "is over 400 MB",
        "a\0.png": f"not found in {folder}",
        "a.png/b.png": f"not found in {folder}",
        "https://example.com/a.png": f"not found in {folder}",
        "x" * 300 + ".png": f"not found in {folder}",
        "x" * 300 + "/a.png": f"not found in {folder}",
    }
    assert {name: problem(name, folder) for name in expected} == expected


def test_links_inside_the_folder_and_to_it_are_followed(folder: Path, tmp_path: Path) -> None:
    (folder / "link.png").symlink_to("a.png")
    (tmp_path / "alias").symlink_to(folder)
    files = find_images(["link.png", "a.png"], tmp_path / "alias")
    assert files["link.png"].digest == files["a.png"].digest
    assert files["link.png"].problem is None


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read anything")
def test_a_file_that_may_not_be_read(folder: Path) -> None:
    (folder / "a.png").chmod(0)
    assert problem("a.png", folder) == "cannot be read: Permission denied"


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.text(max_size=20) | st.lists(st.sampled_from(["..", ".", "/", "a.png", "inner", "\0", "~"])).map("/".join)
)
def test_no_name_leads_out_of_the_folder(folder: Path, name: str) -> None:
    path = find_images([name], folder)[name].path
    assert path is None or path.resolve().is_relative_to(folder)


def test_a_found_image_is_read_as_it_was(folder: Path) -> None:
    file = find_images(["a.png"], folder)["a.png"]
    assert file.read() == RED
    with file.open() as stream:
        assert stream.read() == RED
    (folder / "a.png").write_bytes(BLUE)
    with pytest.raises(ImageError, match="^changed while it was read$"):
        file.read()


def test_an_image_that_was_not_found_cannot_be_read(folder: Path) -> None:
    file = find_images(["none.png"], folder)["none.png"]
    for use in (file.read, file.open):
        with pytest.raises(ImageError, match="^not found in "):
            use()


def test_names_below_a_url_mean_what_they_mean_in_a_folder(folder: Path) -> None:
    (folder / DECOMPOSED).write_bytes(BLUE)
    (folder / "한글" / "inner").mkdir(parents=True)
    (folder / "한글" / "inner" / "c d#%.png").write_bytes(b"third")
    (folder / "empty.png").write_bytes(b"")
    memory_folder(folder, "memory://names/image")
    names = ["a.png", "copy.png", "./inner/../a.png", "inner\\b.jpg", HANGUL, DECOMPOSED, "한글/inner/c d#%.png",
             "empty.png"]  # fmt: skip
    local, remote = (find_images(names, place) for place in (folder, path_of("memory://names/image")))
    assert list(remote) == names
    assert [file.digest for file in remote.values()] == [file.digest for file in local.values()]
    assert all(file.digest for file in remote.values())
    assert str(remote["inner\\b.jpg"].path) == "memory://names/image/inner/b.jpg"
    assert [file.read() for file in remote.values()] == [file.read() for file in local.values()]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("none.png", "not found in memory://names/image"),
        ("inner", "is a folder"),
        ("../outside.png", "leads out of the image folder"),
        ("inner/../../outside.png", "leads out of the image folder"),
        ("/names/image/a.png", "leads out of the image folder"),
        ("..\\outside.png", "leads out of the image folder"),
        ("memory://names/image/a.png", "is a URL, expected a name below the image folder"),
        ("https://example.org/a.png", "is a URL, expected a name below the image folder"),
        ("", "cannot be read: an empty name, or a NUL character"),
        ("a\0.png", "cannot be read: an empty name, or a NUL character"),
    ],
)
def test_names_that_a_url_does_not_have(folder: Path, name: str, said: str) -> None:
    memory_folder(folder.parent, "memory://names")
    file = find_images([name], path_of("memory://names/image"))[name]
    assert (file.problem, file.path, file.digest) == (said, None, None)


def test_a_url_without_images_misses_every_file() -> None:
    files = find_images(["a.png", "b.png"], path_of("memory://names/nowhere"))
    assert {file.problem for file in files.values()} == {"there is no folder memory://names/nowhere"}


def test_an_image_that_changes_in_the_store_is_read_as_it_was_found_or_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory_folder(folder, "memory://names/changing")
    file = find_images(["a.png"], path_of("memory://names/changing"))["a.png"]
    (folder / "a.png").write_bytes(BLUE)
    memory_folder(folder, "memory://names/changing")
    assert file.read() == RED
    assert file.copy is not None
    file.copy.unlink()
    monkeypatch.setattr(remote, "_copies", remote._Copies())
    with pytest.raises(ImageError, match="changed while it was read"):
        file.read()
