"""What the pages of the site show: the demo's data set, two runs on it, and the pictures drawn from these.

    python docs/prepare.py

Everything goes to `docs/_build`; `make docs` runs this before Sphinx. The pages then run their own commands in the same
folder (`docs/run_directive.py`).
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from consistency.evaluation.intervals import bootstrap_intervals  # noqa: E402
from consistency.evaluation.metrics import evaluate  # noqa: E402

BUILD = ROOT / "docs" / "_build"
WORK, PICTURES = BUILD / "work", BUILD / "pictures"
BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#767676"  # of Okabe and Ito's palette, and a grey that is readable on white


def run(*words: str) -> None:
    done = subprocess.run([sys.executable, "cli.py", *words], cwd=WORK, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"cli.py {' '.join(words)}: exit code {done.returncode}\n{done.stdout}{done.stderr}")


def entries(name: str) -> dict[str, dict[str, Any]]:
    """Return the entries of a run's metrics.json for its test rows, by system."""
    found = json.loads((WORK / "runs" / name / "metrics.json").read_text(encoding="utf-8"))
    return {entry["system"]: entry for entry in found if entry["split"] == "test"}


def draw_leakage() -> None:
    """The same systems under both protocols: what a split by rows adds without a better model."""
    systems = {
        "name-and-text": "file name and hashtag\n(sees no image)",
        "text-and-post": "hashtag and post\n(sees no image)",
        "heads": "head on image\nand hashtag",
    }
    figure, axes = plt.subplots(figsize=(6.9, 3))
    for offset, name, colour, label in (
        (-0.12, "by-rows", ORANGE, "split by rows, as published"),
        (0.12, "by-images", BLUE, "split by images"),
    ):
        found = entries(name)
        values = [found[system]["metrics"]["qwk"] for system in systems]
        ends = [found[system]["ci95"]["qwk"] for system in systems]
        sides = [[value - end[0] for value, end in zip(values, ends, strict=True)],
                 [end[1] - value for value, end in zip(values, ends, strict=True)]]  # fmt: skip
        places = [place + offset for place in range(len(systems))]
        marker = "s" if name == "by-rows" else "o"
        axes.errorbar(values, places, xerr=sides, fmt=marker, color=colour, capsize=3, label=label)
    axes.set_yticks(range(len(systems)), list(systems.values()))
    axes.invert_yaxis()
    axes.set_xlabel("QWK on the test rows, with 95 % intervals")
    axes.grid(axis="x", alpha=0.3)
    legend_above(axes)
    save(figure, "leakage")


def draw_intervals() -> None:
    """Intervals of one head's QWK on some of its test images and on all, over images and, wrongly, over rows."""
    rows = pd.read_csv(WORK / "runs" / "by-images" / "predictions.csv").query("system == 'heads' and split == 'test'")
    images = np.random.default_rng(42).permutation(rows["cluster"].unique())
    counts = [9, 18, len(images)]
    figure, axes = plt.subplots(figsize=(6.9, 2.4))
    for offset, over, colour, marker, label in (
        (-0.12, "row", GREY, "s", "rows resampled: too narrow"),
        (0.12, "cluster", BLUE, "o", "images resampled, as this program does"),
    ):
        for place, count in enumerate(counts):
            some = rows[rows["cluster"].isin(images[:count])]
            columns = [some[name].to_numpy() for name in ("score", "predicted", "value")]
            low, high = bootstrap_intervals(*columns, None, some[over].to_numpy(), names=("qwk",))["qwk"]
            value = evaluate(*columns, None)["qwk"]
            axes.errorbar(value, place + offset, xerr=[[value - low], [high - value]], fmt=marker, color=colour,
                          capsize=3, label=None if place else label)  # fmt: skip
    axes.set_yticks(range(len(counts)), [f"{count} test images" for count in counts])
    axes.invert_yaxis()
    axes.set_xlabel("QWK of one head, with 95 % intervals")
    axes.grid(axis="x", alpha=0.3)
    legend_above(axes)
    save(figure, "intervals")


def legend_above(axes: Any) -> None:
    axes.margins(y=0.2)
    axes.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 1), ncols=2)


def save(figure: Any, name: str) -> None:
    figure.savefig(PICTURES / f"{name}.svg", bbox_inches="tight")
    plt.close(figure)


def main() -> None:
    shutil.rmtree(WORK, ignore_errors=True)
    for folder in (WORK, PICTURES):
        folder.mkdir(parents=True, exist_ok=True)
    (WORK / "cli.py").symlink_to(ROOT / "cli.py")
    plt.rcParams.update({"svg.hashsalt": "koclip-consistency", "font.size": 9, "axes.spines.top": False,
                         "axes.spines.right": False})  # fmt: skip
    run("data", "demo", "data")
    run("heads", "--backbone", "tiny", "--protocol", "paper", "--out", "runs/by-rows")
    run("heads", "--backbone", "tiny", "--out", "runs/by-images")
    draw_leakage()
    draw_intervals()


if __name__ == "__main__":
    main()
