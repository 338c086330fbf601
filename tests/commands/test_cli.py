"""The command line from outside: help, exit codes, one-line errors, what lies in a run folder afterwards."""

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import torch
from click.testing import CliRunner

from cli import app
from embedcache.catalog import write_fields
from embedcache.fingerprint import fingerprint
from embedcache.store import EmbeddingCache
from tests.builders.commands import Run

ROOT = Path(__file__).parents[2]


def commands(group: click.Group = app, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name)


def data_options(folder: Path, tmp_path: Path) -> list[object]:
    return ["--data", folder / "combined_data.csv", "--images", folder / "image", "--cache", tmp_path / "cache"]


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("path", list(commands()), ids=" ".join)
def test_every_command_has_help(run: Run, path: tuple[str, ...]) -> None:
    ran = run(*path, "--help")
    assert ran.code == 0
    assert ran.stdout.startswith("Usage: ")
    assert f" {' '.join(path)} [OPTIONS]" in ran.stdout
    assert ran.stderr == ""


def test_help_loads_nothing_heavy() -> None:
    heavy = {"torch", "transformers", "numpy", "pandas", "sklearn", "h5py", "PIL", "rich", "matplotlib"}
    code = f"import sys, cli; sys.exit(sorted({heavy!r} & set(sys.modules)) or 0)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["extrct"], "No such command 'extrct'"),
        (["extract", "--bakbone", "tiny"], "No such option"),
        (["similarity", "--method", "guess"], "'guess' is not one of"),
        (["extract", "--batch-size", "0"], "neither auto nor a whole number"),
        (["heads", "--grid", "--preset", "paper"], "give one"),
        (["heads", "--grid-file", "grid.toml"], "--grid-file goes with --grid"),
        (["score", "--model", "x", "--image", "a.png"], "--image and --hashtag go together"),
        (["cache", "gc"], "name the model to keep"),
    ],
)
def test_wrong_usage_exits_2(run: Run, arguments: list[str], said: str) -> None:
    ran = run(*arguments)
    assert ran.code == 2
    assert said in ran.stderr
    assert ran.stdout == ""


@pytest.mark.parametrize(
    "error",
    [MemoryError(), torch.OutOfMemoryError("CUDA out of memory.\nTried"), RuntimeError("can't allocate memory")],
)
def test_a_lack_of_memory_is_one_line(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def full(choice: object) -> None:
        raise error

    monkeypatch.setattr("koclip_consistency.workflows.cache.cache_info", full)
    ran = run("cache", "info", "--cache", tmp_path)
    assert (ran.code, ran.stderr) == (1, "Error: out of memory: use a smaller --batch-size, or fewer rows\n")


def test_missing_data_is_one_line(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    ran = run("similarity", "--backbone", "tiny")
    assert ran.code == 2
    assert ran.stderr.count("\n") == 1
    assert "data/combined_data.csv" in ran.stderr
    assert list(tmp_path.iterdir()) == []


def test_missing_pictures_abort(run: Run, small_demo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    ran = run("similarity", "--backbone", "tiny", "--data", small_demo / "combined_data.csv", "--images", tmp_path)
    assert ran.code == 2
    assert "--images" in ran.stderr
    assert list(tmp_path.iterdir()) == []


def test_unreachable_weights_are_one_line_in_time(small_demo: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path / "hub")}
    environment.pop("HF_HUB_OFFLINE", None)
    arguments = [str(part) for part in data_options(small_demo, tmp_path)]
    done = subprocess.run(
        [sys.executable, "cli.py", "extract", "--backbone", "koclip", *arguments],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=30,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "Bingsu/clip-vit-large-patch14-ko" in done.stderr
    assert not (tmp_path / "cache").exists()


def test_similarity_cold_and_warm(run: Run, small_demo: Path, tmp_path: Path) -> None:
    options = ["--backbone", "tiny", *data_options(small_demo, tmp_path)]
    first = run("similarity", *options, "--out", tmp_path / "a", "--json")
    assert first.code == 0, first.stderr
    systems = [entry["system"] for entry in first.json()]
    assert systems == [
        "majority", "median", "text-only", "name-and-text", "text-embedding",
        "similarity-simple", "similarity-search", "similarity-exact",
    ]  # fmt: skip
    assert first.json() == json.loads((tmp_path / "a" / "metrics.json").read_text())

    # Everything is there: the second run works without the weights, and says the same.
    second = run("similarity", *options, "--no-extract", "--out", tmp_path / "b", "--json")
    assert second.code == 0, second.stderr
    assert second.json() == first.json()
    for name in ("predictions.csv", "split.csv", "thresholds.json", "metrics.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name
    written = {path.name for path in (tmp_path / "a").iterdir()}
    assert {"run.json", "confusion_matrix.png"} <= written
    assert len(rows_of(tmp_path / "a" / "split.csv")) == len(rows_of(small_demo / "combined_data.csv"))


def test_extract_counts_and_second_time(run: Run, small_demo: Path, tmp_path: Path) -> None:
    options = ["--backbone", "tiny", *data_options(small_demo, tmp_path), "--json"]
    cold, warm = run("extract", *options), run("extract", *options)
    assert (cold.code, warm.code) == (0, 0)
    table = rows_of(small_demo / "combined_data.csv")
    assert cold.json()["images_encoded"] == len({row["Image Filename"] for row in table})
    assert cold.json()["hashtags_encoded"] == len({row["Hashtag"] for row in table})
    assert (warm.json()["images_encoded"], warm.json()["hashtags_encoded"]) == (0, 0)


def test_extract_keeps_an_account_in_its_run_folder(run: Run, small_demo: Path, tmp_path: Path) -> None:
    shutil.copytree(small_demo, tmp_path / "data")
    broken = next((tmp_path / "data" / "image").iterdir())
    broken.write_bytes(b"no picture")
    options = ["--backbone", "tiny", *data_options(tmp_path / "data", tmp_path)]
    ran = run("extract", *options, "--out", tmp_path / "run", "--json")
    assert ran.code == 3
    account = json.loads((tmp_path / "run" / "run.json").read_text())
    assert account["command"] == "extract"
    assert account["fingerprint"] == ran.json()["fingerprint"] == fingerprint(account["fingerprint_fields"])
    assert account["config"]["extraction"]["images_per_second"] == ran.json()["images_per_second"] > 0
    assert 0 < account["config"]["extraction"]["encoder_busy"] <= 1
    left_out = rows_of(tmp_path / "run" / "skipped.csv")
    assert {row["image"] for row in left_out} == {broken.name}
    assert str(tmp_path / "run" / "skipped.csv") in ran.stderr


def test_no_extract_refuses(run: Run, small_demo: Path, tmp_path: Path) -> None:
    ran = run("similarity", "--backbone", "tiny", *data_options(small_demo, tmp_path), "--no-extract")
    assert ran.code == 1
    assert ran.stderr == f"Error: there are no embeddings in {tmp_path / 'cache'}; run extract\n"
    assert not (tmp_path / "cache").exists()

    options = ["--backbone", "tiny", *data_options(small_demo, tmp_path)]
    assert run("extract", *options, "--decode", "published").code == 0
    other = run("similarity", *options, "--no-extract")  # another way of decoding: both are named, and what differs
    assert other.code == 1
    assert "holds no embeddings of local; the nearest are of local and differ in decoding: 'converted" in other.stderr
    assert "there, 'EXIF orientation applied" in other.stderr

    assert run("extract", *options).code == 0
    (tmp_path / "image").mkdir()
    for path in (small_demo / "image").iterdir():
        (tmp_path / "image" / path.name).write_bytes(path.read_bytes() + b"more")
    changed = run("similarity", *options, "--images", tmp_path / "image", "--no-extract")
    assert changed.code == 1
    assert "lacks embeddings of tiny for this data, and --no-extract was given" in changed.stderr


def test_bad_pictures_and_rows_are_skipped_and_told(run: Run, small_demo: Path, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    shutil.copytree(small_demo, folder)
    names = sorted({row["Image Filename"] for row in rows_of(folder / "combined_data.csv")})
    (folder / "image" / names[0]).write_bytes(b"<!DOCTYPE html><html></html>")
    (folder / "image" / names[1]).unlink()
    with (folder / "combined_data.csv").open("a", encoding="utf-8") as file:
        file.write(f"{names[2]},바다,9\n")
    options = ["--backbone", "tiny", *data_options(folder, tmp_path)]
    ran = run("similarity", *options, "--out", tmp_path / "run")
    assert ran.code == 3
    assert "Left out" in ran.stderr
    skipped = rows_of(tmp_path / "run" / "skipped.csv")
    assert {names[0], names[1], names[2]} == {row["image"] for row in skipped}
    assert all(row["reason"] and row["row"] for row in skipped)
    assert run("similarity", *options, "--on-error", "allow", "--out", tmp_path / "allowed").code == 0
    scoring = ["score", "--model", tmp_path / "run", "--system", "similarity-exact", "-o", tmp_path / "scored.csv"]
    scored = run(*scoring, *options[2:])
    assert scored.code == 3
    assert f"; all in {tmp_path / 'scored.skipped.csv'}" in scored.stderr
    assert rows_of(tmp_path / "scored.skipped.csv") == skipped
    assert run(*scoring, *data_options(small_demo, tmp_path)).code == 0
    assert not (tmp_path / "scored.skipped.csv").exists()
    for plain, told in (
        (["data", "split", *options[2:6], "-o"], {names[2]}),  # which needs no images: one row cannot be read
        (["cache", "export", *options[2:]], set(names[:3])),
    ):
        written = run(*plain, tmp_path / "plain.npz")
        assert written.code == 3
        assert f"; all in {tmp_path / 'plain.skipped.csv'}" in written.stderr
        assert {row["image"] for row in rows_of(tmp_path / "plain.skipped.csv")} == told
    stopped = run("similarity", *options, "--on-error", "abort", "--out", tmp_path / "stopped")
    assert stopped.code == 2
    assert not (tmp_path / "stopped").exists()


def test_interrupt_exits_130_and_goes_on(run: Run, small_demo: Path, tmp_path: Path) -> None:
    """Ctrl-C in a fine-tuning: one line, and --resume finishes it (to the same bits: test_finetune_resume)."""
    options = [str(part) for part in data_options(small_demo, tmp_path)[:4]]
    recipe = ["finetune", "--backbone", "tiny", *options, "--epochs", "30", "--threads", "1"]
    folder = tmp_path / "run"
    started = subprocess.Popen(
        [sys.executable, "cli.py", *recipe, "--out", str(folder)], cwd=ROOT, stderr=subprocess.PIPE, text=True
    )
    while not (folder / "history.csv").exists() and started.poll() is None:
        time.sleep(0.05)
    started.send_signal(signal.SIGINT)
    _, said = started.communicate(timeout=60)
    assert started.returncode == 130, said
    assert said.strip().endswith(f"interrupted; what is finished is kept: run it again with --resume {folder}")
    assert "\n" not in said.strip()
    assert not (folder / "run.json").exists()
    assert run("report", folder, "-o", tmp_path / "r.html").code == 2  # unfinished: nothing to report yet

    cache = ["--cache", tmp_path / "cache"]
    other = run("heads", "--backbone", "tiny", *options, *cache, "--resume", folder)
    assert other.code == 2
    assert "unfinished run of finetune" in other.stderr

    resumed = run(*recipe, "--resume", folder, "--json")
    assert resumed.code == 0, resumed.stderr
    assert (folder / "run.json").exists()
    assert not (folder / ".unfinished").exists()
    assert "finetune" in {entry["system"] for entry in resumed.json()}


def test_cache_commands(run: Run, small_demo: Path, tmp_path: Path) -> None:
    cache = ["--cache", tmp_path / "cache"]
    empty = run("cache", "verify", *cache)
    assert empty.code == 0
    assert "does not exist yet" in empty.stderr
    data = data_options(small_demo, tmp_path)
    assert run("extract", "--backbone", "tiny", *data).code == 0
    (info,) = run("cache", "info", *cache, "--json").json()
    assert info["images"] == 60
    assert run("cache", "export", tmp_path / "out.npz", *data).code == 0
    assert run("cache", "compact", *cache).code == 0
    assert run("cache", "verify", *cache).code == 0
    whole = run("cache", "export", tmp_path / "out.npz", *data, "--json").json()

    def damage() -> None:
        segment = next((tmp_path / "cache").glob("*/seg-*.h5"))
        content = bytearray(segment.read_bytes())
        content[-1000] ^= 1
        segment.write_bytes(content)

    damage()
    damaged = run("cache", "verify", *cache)
    assert damaged.code == 1
    assert "quarantine" in damaged.stderr
    assert run("extract", "--backbone", "tiny", *data).code == 0  # fills the hole
    assert run("cache", "verify", *cache).code == 0
    damage()
    partly = run("cache", "export", tmp_path / "out.npz", *data, "--json")
    assert partly.code == 3
    assert len(partly.json()["damaged"]) == 1
    assert "quarantine" in partly.stderr
    assert "run extract" in (tmp_path / "out.skipped.csv").read_text(encoding="utf-8")
    assert re.search(r"quarantined segments\n.* [12] *\n", run("cache", "info", *cache).stderr)
    assert run("extract", "--backbone", "tiny", *data).code == 0
    again = run("cache", "export", tmp_path / "out.npz", *data, "--json")
    assert (again.code, again.json()) == (0, whole)
    assert not (tmp_path / "out.skipped.csv").exists()


def test_one_set_of_embeddings_among_several(run: Run, small_demo: Path, tmp_path: Path) -> None:
    data = data_options(small_demo, tmp_path)
    cache = data[4:]
    for decode in ("ours", "published"):
        assert run("extract", "--backbone", "tiny", *data, "--decode", decode).code == 0
    both = run("cache", "info", *cache, "--json").json()
    kept, other = (entry["fingerprint"] for entry in both)
    shown = run("cache", "info", *cache, "--fingerprint", kept[:8], "--json")
    assert [entry["fingerprint"] for entry in shown.json()] == [kept]
    assert re.search(r"tiny (ours|published) fp32 +60 +\d+ +0\.\d MB +(now|\d+ min)\n", shown.stderr)
    assert f"{kept[:12]}: schema 1, model local, revision sha256:" in shown.stderr
    assert re.search(r", libraries pillow \d+, tokenizers [\d.]+, transformers \d+, precision fp32,", shown.stderr)
    export = ["cache", "export", tmp_path / "out.h5", *data]
    several = run(*export)
    assert several.code == 2
    assert "choose one with --fingerprint" in several.stderr
    assert run(*export, "--fingerprint", kept[:8], "--json").json()["fingerprint"] == kept
    assert run(*export, "--fingerprint", "xyz").code == 2
    assert run("cache", "gc", *cache, "--fingerprint", kept[:8], "--yes", "--json").json() == [other]
    assert [entry["fingerprint"] for entry in run("cache", "info", *cache, "--json").json()] == [kept]


def test_embeddings_that_another_program_described(run: Run, small_demo: Path, tmp_path: Path) -> None:
    """Their fields are none that we know: all the same they are shown, and pass for no backbone of ours."""
    EmbeddingCache.open(tmp_path, {"model of": "somebody"})
    shown = run("cache", "info", "--cache", tmp_path)
    assert shown.code == 0
    assert "?@? ? ?" in shown.stderr
    for backbone in ("tiny", "koclip"):
        assert run("cache", "info", "--cache", tmp_path, "--backbone", backbone, "--json").json() == []
    fields = {"store": "bf16"}  # vectors that this version cannot read
    foreign, other = tmp_path / fingerprint(fields), tmp_path / fingerprint({"model of": "somebody"})
    foreign.mkdir()
    write_fields(foreign, fields)
    gc = ["cache", "gc", "--cache", tmp_path, "--fingerprint", other.name, "--yes"]
    assert [entry["fingerprint"] for entry in run("cache", "info", *gc[2:4], "--json").json()] == [other.name]
    assert run(*gc, "--json").json() == []
    assert foreign.is_dir()


def test_gc_asks(small_demo: Path, tmp_path: Path) -> None:
    data = [str(part) for part in data_options(small_demo, tmp_path)]
    for decode in ("ours", "published"):
        assert CliRunner().invoke(app, ["extract", "--backbone", "tiny", *data, "--decode", decode]).exit_code == 0
    kept, other = sorted(path.name for path in (tmp_path / "cache").iterdir())
    gc = ["cache", "gc", *data[4:], "--fingerprint", kept]
    refused = CliRunner().invoke(app, [*gc, "--json"], input="n\n")
    assert (refused.exit_code, json.loads(refused.stdout)) == (0, [])
    assert "Remove these 1? [y/N]" in refused.stderr
    nobody = CliRunner().invoke(app, gc, input="")
    assert nobody.exit_code == 2
    assert "nobody to ask" in nobody.stderr
    assert (tmp_path / "cache" / other).is_dir()
    assert CliRunner().invoke(app, gc, input="y\n").exit_code == 0
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [kept]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is such a device here")
def test_a_device_that_is_not_here(run: Run, small_demo: Path, tmp_path: Path) -> None:
    options = ["extract", "--backbone", "tiny", *data_options(small_demo, tmp_path)]
    for _ in range(2):  # with nothing in the cache, and with everything
        ran = run(*options, "--device", "cuda")
        assert ran.code == 2
        assert ran.stderr.startswith("Error: there is no device 'cuda' here; expected auto or cpu")
        assert ran.stderr.count("\n") == 1
        assert run(*options).code == 0


def test_a_file_for_the_cache(run: Run, small_demo: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").touch()
    data = data_options(small_demo, tmp_path)
    upkeep = [("info",), ("verify",), ("compact",), ("gc", "--fingerprint", "0", "--yes")]
    for command in [("extract", "--backbone", "tiny", *data), *(("cache", *one, *data[4:]) for one in upkeep)]:
        ran = run(*command)
        assert ran.code == 2
        assert "cache is a file, expected the folder of the embeddings" in ran.stderr
        assert ran.stderr.count("\n") == 1


def test_no_output_into_a_folder_that_is_not_there(run: Run, small_demo: Path, tmp_path: Path) -> None:
    data = data_options(small_demo, tmp_path)
    trained = tmp_path / "run"
    assert run("similarity", "--backbone", "tiny", *data, "--method", "simple", "--out", trained).code == 0
    missing = tmp_path / "nowhere"
    for command in (
        ["cache", "export", missing / "out.npz", *data],
        ["data", "split", *data[:4], "-o", missing / "split.csv"],
        ["report", trained, "-o", missing / "report.html"],
        ["score", "--model", trained, *data, "-o", missing / "scores.csv"],
    ):
        ran = run(*command)
        assert ran.code == 2, ran.stderr
        assert f"the folder {missing} does not exist" in ran.stderr
        assert ran.stderr.count("\n") == 1
    assert not missing.exists()


COMMANDS = ["extract", "similarity", "heads", "finetune", "audit", "paper"]


def test_a_place_for_no_run_is_refused_before_any_work(run: Run, small_demo: Path, tmp_path: Path) -> None:
    data = data_options(small_demo, tmp_path)
    (tmp_path / "file").touch()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").touch()
    places = {
        "file": "is a file, expected a folder",
        "other": "is not empty and holds no run",
        "file/run": "is a file, expected a folder",
    }
    for command in COMMANDS:
        options = data[:4] if command == "finetune" else data
        for name, said in places.items():
            ran = run(command, "--backbone", "tiny", *options, "--out", tmp_path / name)
            assert ran.code == 2, ran.stderr
            assert said in ran.stderr
            assert ran.stderr.count("\n") == 1
    for command in ("heads", "finetune"):
        ran = run(command, "--backbone", "tiny", *data[:4], "--resume", tmp_path / "other")
        assert (ran.code, ran.stderr.count("\n")) == (2, 1)
        assert "holds no unfinished run" in ran.stderr
    assert not (tmp_path / "cache").exists()


def test_the_demo_is_drawn_over_a_drawing_alone(run: Run, small_demo: Path, tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    (begun / "image").mkdir(parents=True)
    shutil.copy(small_demo / "image" / "demo_001.png", begun / "image")
    (begun / "image" / ".writing-1-a").touch()  # as a kill leaves it
    own = tmp_path / "own"
    shutil.copytree(small_demo, own)
    (own / "clean_labels.csv").unlink()
    other = tmp_path / "other"
    shutil.copytree(small_demo, other)
    (other / "image" / "holiday.jpg").touch()
    for folder in (own, other):
        before = (folder / "combined_data.csv").read_bytes()
        ran = run("data", "demo", folder)
        assert ran.code == 2
        assert "holds something else than an earlier drawing" in ran.stderr
        assert (folder / "combined_data.csv").read_bytes() == before
    ran = run("data", "demo", begun, "--json")
    assert ran.code == 0, ran.stderr
    assert ran.json()["pictures"] == 180
    assert not list(begun.rglob(".writing*"))
    assert run("data", "demo", begun, "--seed", 7).code == 0


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_only_be_read(run: Run, small_demo: Path, tmp_path: Path) -> None:
    data = data_options(small_demo, tmp_path)
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o555)
    for command in (["extract", "--backbone", "tiny", *data, "--out", closed / "run"],
                    ["data", "split", *data[:4], "-o", closed / "split.csv"],
                    ["data", "demo", closed / "data"]):  # fmt: skip
        ran = run(*command)
        assert (ran.code, ran.stderr.count("\n")) == (2, 1)
        assert f"{closed} cannot be written to" in ran.stderr


def test_data_check_without_pictures(run: Run, small_demo: Path, tmp_path: Path) -> None:
    ran = run("data", "check", "--data", small_demo / "combined_data.csv", "--images", tmp_path, "--json")
    assert ran.code == 3
    assert ran.json()["pictures"]["none_found"]
    assert run("data", "check", "--data", small_demo / "combined_data.csv", "--images", small_demo / "image").code == 0
