"""`finetune` as it is called: every choice arrives, and what it leaves serves the other commands."""

import csv
import dataclasses
import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import koclip_consistency as kc
from tests.builders.commands import Run, data_options, rows_of

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("finetuned")


def of(small_demo: Path) -> list[object]:
    return ["--data", small_demo / "combined_data.csv", "--images", small_demo / "image", "--threads", "1"]


def config_of(run_dir: Path) -> dict[str, Any]:
    config: dict[str, Any] = json.loads((run_dir / "run.json").read_text())["details"]
    return config


def test_every_choice_arrives(run: Run, small_demo: Path, folder: Path) -> None:
    words = ["finetune", "--backbone", "tiny", *of(small_demo), "--max-steps", 2, "--out", folder / "chosen"]
    batches = ["--batch-by", "row", "--batch-size", 6, "--accumulation", 2, "--micro-batch", 3]
    weights = ["--average", "interpolate", "--class-weights", "balanced", "--loss", "corn", "--freeze", 1]
    rest = ["--patience", 2, "--no-refit", "--crop", 0.8, "--flip", "--gradient-checkpointing", "--checkpoint-steps", 1]
    ran = run(*words, *batches, *weights, *rest, "--lr", 1e-3, "--head-lr", 1e-2)
    assert ran.code == 0, ran.stderr
    assert "of the way from the weights before training" in ran.stderr
    config = config_of(folder / "chosen")["finetune"]
    assert {"class_weights": "balanced", "loss": "corn"}.items() <= config["head"].items()
    expected = {
        "batch_by": "row",
        "batch_size": 6,
        "accumulation": 2,
        "micro_batch": 3,
        "max_steps": 2,
        "average": "interpolate",
        "freeze": 1,
        "patience": 2,
        "refit": False,
        "crop": 0.8,
        "flip": True,
        "gradient_checkpointing": True,
        "lr": 1e-3,
        "head_lr": 1e-2,
    }
    assert expected.items() <= config.items()
    history = (folder / "chosen" / "history.csv").read_text().splitlines()
    assert [line.split(",")[1] for line in history[1:]] == ["0", "2"]  # the warm start, two steps


def test_the_head_that_a_grid_chose(run: Run, small_demo: Path, folder: Path) -> None:
    """Ridge heads too, which only `heads` can train."""
    grid = '[[grid]]\nfeatures = ["concat"]\nhidden = [[]]\noptimizer = ["ridge"]\nweight_decay = [1.0, 10.0]\n'
    (folder / "grid.toml").write_text(grid)
    chosen = ["heads", "--grid", "--grid-file", folder / "grid.toml", "--inner-folds", 3, "--cache", folder / "cache"]
    ran = run(*chosen, "--backbone", "tiny", *of(small_demo), "--out", folder / "heads")
    assert ran.code == 0, ran.stderr
    words = ["finetune", "--backbone", "tiny", *of(small_demo), "--max-steps", 1, "--head", folder / "heads"]
    ran = run(*words, "--out", folder / "like")
    assert ran.code == 0, ran.stderr
    assert (
        config_of(folder / "like")["finetune"]["head"]
        == json.loads((folder / "heads" / "head.json").read_text())["config"]
    )
    with (folder / "like" / "history.csv").open() as file:
        first = next(csv.DictReader(file))
    assert first["epoch"] == "0"  # trained before anything moved,
    assert float(first["qwk"]) > 0  # and it knows something
    ran = run(*words[:-1], folder, "--out", folder / "none")
    assert ran.code == 2
    assert "has no trained head" in ran.stderr
    assert not (folder / "none").exists()


@pytest.mark.parametrize("redraw", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_seeds_repeat_the_training(run: Run, small_demo: Path, tmp_path: Path, redraw: bool) -> None:
    """Each line of seeds.csv is what a run with that seed says, on the same split or on its own."""
    command = ["finetune", "--backbone", "tiny", *of(small_demo), "--max-steps", 3]
    assert run(*command, "--out", tmp_path / "once").code == 0
    ran = run(*command, "--seeds", 2, *(["--redraw-split"] if redraw else []), "--out", tmp_path / "two")
    assert ran.code == 0, ran.stderr
    said = "trained 2 times, each on its own split" if redraw else "trained 2 times on the same split"
    assert said in " ".join(ran.stderr.split())
    assert f"finetune trained with 2 seeds on {'2 splits' if redraw else 'one split'}" in ran.stdout
    # The first training is the run without --seeds, weights and all; nothing of the others stays but their metrics.
    once, two = tmp_path / "once", tmp_path / "two"
    a, b = ({p.relative_to(place): p.read_bytes() for p in place.rglob("*") if p.is_file()} for place in (once, two))
    assert b.keys() - a.keys() == {Path("seeds.csv")}
    seconds = {Path("run.json"), Path("history.csv")}  # both hold some
    assert {name for name in a if a[name] != b[name]} <= seconds
    assert [row | {"seconds": ""} for row in rows_of(once / "history.csv")] == [
        row | {"seconds": ""} for row in rows_of(two / "history.csv")
    ]
    assert [path for path in two.iterdir() if path.is_dir()] == [two / "model"]

    first, second = rows_of(tmp_path / "two" / "seeds.csv")
    split = [] if redraw else ["--split", tmp_path / "once" / "split.csv"]
    assert run(*command, *split, "--seed", second["seed"], "--out", tmp_path / "alone").code == 0
    for row, where in ((first, "once"), (second, "alone")):
        (entry,) = [e for e in json.loads((tmp_path / where / "metrics.json").read_text()) if e["system"] == "finetune"]
        assert {name: float(row[name]) for name in entry["metrics"]} == entry["metrics"]
    trainings = config_of(tmp_path / "two")["trainings"]
    assert trainings["seeds"] == [42, int(second["seed"])]
    assert trainings["redrawn_split"] is redraw
    for name, spread in trainings["metrics"].items():
        assert spread["mean"] == pytest.approx((float(first[name]) + float(second[name])) / 2), name


def test_a_tuned_backbone_serves_every_command(run: Run, small_demo: Path, folder: Path) -> None:
    tuned = ["finetune", "--backbone", "tiny", *of(small_demo), "--max-steps", 2, "--batch-size", "auto"]
    ran = run(*tuned, "--lora", 4, "--out", folder / "tuned")
    assert ran.code == 0, ran.stderr
    assert config_of(folder / "tuned")["finetune"]["lora"] == 4
    cache = ["--cache", folder / "cache"]
    for name in ("tiny", folder / "tuned"):
        ran = run("extract", "--backbone", name, *of(small_demo), *cache)
        assert ran.code == 0, ran.stderr
    ran = run("heads", "--backbone", folder / "tuned", *of(small_demo), *cache, "--no-extract", "--out", folder / "on")
    assert ran.code == 0, ran.stderr
    assert len([*(folder / "cache").glob("*/format.json")]) == 2
    out = folder / "scored.csv"
    ran = run("score", "--model", folder / "on", *of(small_demo), *cache, "-o", out)
    assert ran.code == 0, ran.stderr


@pytest.mark.slow
def test_a_tuned_backbone_confesses_to_every_command(run: Run, small_demo: Path, tmp_path: Path) -> None:
    """By content: the images lie under other names, and the hashtags are spelled otherwise, when it is evaluated."""
    ft = tmp_path / "ft"
    tuned = ["finetune", "--backbone", "tiny", *of(small_demo), "--seed", 42, "--max-steps", 2, "--no-refit"]
    ran = run(*tuned, "--out", ft)
    assert ran.code == 0, ran.stderr
    assert "trained the backbone" not in ran.stderr  # tiny has seen none of them
    trained = {(line["image"], line["hashtag"]): line["split"] for line in rows_of(ft / "split.csv") if line["split"]}
    seen_images = {image for (image, _), side in trained.items() if side in ("train", "val")}
    assert {"train", "val", "test"} <= set(trained.values())

    renamed = tmp_path / "renamed"
    (renamed / "image").mkdir(parents=True)
    for path in (small_demo / "image").iterdir():
        shutil.copy(path, renamed / "image" / f"other_{path.name}")
    table = rows_of(small_demo / "combined_data.csv")
    with (renamed / "combined_data.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(table[0]))
        writer.writeheader()
        name, hashtag = list(table[0])[:2]
        for line in table:
            writer.writerow({**line, name: f"other_{line[name]}", hashtag: f"＃{line[hashtag].lstrip('#')}"})

    cache = ["--cache", tmp_path / "cache"]
    for number, command in enumerate((["heads", "--folds", 3], ["similarity"], ["finetune", "--max-steps", 1])):
        out = tmp_path / command[0]  # type: ignore[operator]
        keep = [] if command[0] == "finetune" else cache
        ran = run(*command, "--backbone", ft, *of(renamed), *keep, "--seed", 43 + number, "--out", out)
        assert ran.code == 0, ran.stderr
        tested = {line["image"] for line in rows_of(out / "split.csv") if line["split"] == "test"}
        known = {image for image in tested if image.removeprefix("other_") in seen_images}
        assert 0 < len(known) < len(tested)
        said = f"{len(known)} of {len(tested)} test images trained the backbone {ft}"
        assert said in ran.stderr
        assert not (out / "sets.json").exists()  # sets promise something for new images
        counts = config_of(out)["division"]["trained_on"]["test"]
        assert (counts["images"], counts["n_images"]) == (len(known), len(tested))
        assert counts["pairs"] > 0
        entries = json.loads((out / "metrics.json").read_text())
        assert entries
        for entry in entries:  # text-embedding too: the text tower was tuned
            if entry["split"] == "test":
                assert entry.get("trained_on") == (None if entry["backbone"] == "none" else counts)
        if command[0] == "heads":
            assert run("report", out, "-o", tmp_path / "report.html").code == 0
            page = (tmp_path / "report.html").read_text(encoding="utf-8")
            assert f"These figures say little about new images: {said}" in page
            assert '<ul class="notes leaks">' in page
    every = {line["image"] for line in rows_of(tmp_path / "heads" / "split.csv")}
    seen = config_of(tmp_path / "heads")["division"]["trained_on"]["cv"]
    assert (seen["images"], seen["n_images"]) == (len(seen_images), len(every))
    assert 0 < seen["only_validated"] < seen["images"]

    ran = run(
        "heads", "--backbone", ft, *of(small_demo), *cache, "--split", ft / "split.csv", "--out", tmp_path / "own"
    )
    assert ran.code == 0, ran.stderr
    assert "0 of 12 test images trained the backbone" in ran.stderr
    counts = config_of(tmp_path / "own")["division"]["trained_on"]["test"]
    assert (counts["images"], counts["pairs"]) == (0, 0)
    assert not any("trained_on" in entry for entry in json.loads((tmp_path / "own" / "metrics.json").read_text()))
    for folder in (ft, tmp_path / "own"):
        sets = json.loads((folder / "sets.json").read_text())
        assert (sets["calibrated_on"], sets["images"]) == ("test", 12)

    second = json.loads((tmp_path / "finetune" / "model" / "trained_on.json").read_text())
    first = json.loads((ft / "model" / "trained_on.json").read_text())
    assert set(first["train"]["images"]) < set(second["train"]["images"])
    assert second["complete"]
    # Comparing: the run on tiny has nothing to confess.
    of_tiny = ["heads", "--backbone", "tiny", *of(renamed), *cache, "--split", tmp_path / "heads" / "split.csv"]
    assert run(*of_tiny, "--out", tmp_path / "clean").code == 0
    ran = run("compare", tmp_path / "clean", tmp_path / "heads")
    assert ran.code == 0, ran.stderr
    counts = config_of(tmp_path / "heads")["division"]["trained_on"]["test"]
    said = " ".join(ran.stderr.split())
    assert f"heads/heads: {counts['images']} of {counts['n_images']} test images trained the backbone {ft}" in said
    assert said.count("trained the backbone") == 1

    # A notebook.
    pairs = kc.read_pairs(renamed / "combined_data.csv", renamed / "image")
    split = kc.make_split(pairs, seed=43)
    emb = kc.embed(pairs, backbone=ft, cache=tmp_path / "cache")
    head = kc.Head(epochs=1).fit(emb[split.train], split.scores[split.train])
    for model in (head, head.predict(emb[split.test])):
        with pytest.warns(UserWarning, match=f"{counts['images']} of {counts['n_images']} test images .* say little"):
            found = kc.evaluate(model, emb, pairs, split)
        assert found.result.trained_on is not None
        assert dataclasses.asdict(found.result.trained_on) == counts
        assert f"{counts['images']} of {counts['n_images']} test images trained the backbone {ft}" in repr(found)
    assert kc.evaluate(head.predict(emb[split.test]), None, pairs, split).notes == ()


def test_a_published_file_scores_as_its_run(run: Run, small_demo: Path, folder: Path) -> None:
    words = ["finetune", "--preset", "paper", "--backbone", "tiny", *of(small_demo), "--epochs", 1]
    ran = run(*words, "--out", folder / "paper", "--json")
    assert ran.code == 0, ran.stderr
    systems = [entry["system"] for entry in ran.json()]
    assert systems[-2:] == ["finetune-paper", "finetune-paper-best"]
    assert "picked on the test rows" in ran.stderr
    ran = run("score", "--model", folder / "paper", *of(small_demo), "-o", folder / "kept.csv")
    assert ran.code == 0, ran.stderr  # one system: the best epoch's weights are not kept
    file = folder / "paper" / "fine_tuned_tiny.pth"
    ran = run("score", "--model", file, "--backbone", "tiny", *of(small_demo), "-o", folder / "published.csv")
    assert ran.code == 0, ran.stderr
    with (folder / "paper" / "predictions.csv").open(newline="", encoding="utf-8") as before:
        asked = {row["row"]: row for row in csv.DictReader(before) if row["system"] == "finetune-paper"}
    with (folder / "published.csv").open(newline="", encoding="utf-8") as after:
        answers = {row["row"]: row for row in csv.DictReader(after)}
    for row, expected in asked.items():
        assert float(answers[row]["value"]) == pytest.approx(float(expected["value"]), abs=1e-4)


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
