"""Test metrics of the systems on fresh draws of the demo data set, and their differences on each draw.

    python -m benchmarks.draws --with-finetune --out runs/draws

For each seed it draws the data set, splits it by image, and runs similarity, the published head recipe, the default
head, the grid and, on request, fine-tuning, all with the packaged backbone and that seed. The intervals (Student's t)
are over draws, not over rows or images, so they include what another data set, split and training seed would change.
Draws 1 to 5, 11 to 15, 42 to 44, 101 to 105, 201 to 205, 401 to 406 and 801 to 806 were used while the methods were
developed and prove nothing here.
If a run is interrupted, the same command continues it. A draw takes about as long as `make demo`.
"""

import argparse
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.timing import machine
from consistency.evaluation.seeds import Spread
from consistency.options import Encoding, Evaluation, HeadsOptions, Output, Source
from consistency.text import number
from demo.dataset import IMAGES, write_demo
from demo.like_published import IMAGES as LIKE_PUBLISHED
from koclip_consistency.screen.console import Screen
from koclip_consistency.workflows.demo import QUICK_IMAGES
from koclip_consistency.workflows.heads import run_heads
from koclip_consistency.workflows.paper import QUICK_EPOCHS, system_steps
from koclip_consistency.workflows.suite import Done, Step, open_suite, run_steps
from koclip_consistency.workflows.trial import Outcome

SEEDS = (901, 902, 903, 904, 905)
SYSTEMS = (
    "majority",
    "name-and-text",
    "text-and-post",
    "text-and-post-head",
    "similarity-exact",
    "heads-paper",
    "heads",
    "heads-grid",
    "heads-post",
    "finetune",
    "finetune-post",
)
METRICS = {"qwk": "QWK", "macro_f1": "macro-F1"}
PAIRS = (
    ("heads-grid", "heads-paper"),
    ("heads-grid", "heads"),
    ("finetune", "heads-grid"),
    ("finetune", "heads-paper"),
    ("heads-post", "heads"),
    ("heads-post", "heads-grid"),
    ("heads-post", "text-and-post"),
    ("heads-post", "text-and-post-head"),
    ("finetune-post", "heads-post"),
    ("finetune-post", "finetune"),
)
Floats = npt.NDArray[np.float64]


def run_draw(
    out: Path,
    seed: int,
    *,
    finetune: bool,
    quick: bool,
    screen: Screen,
    only: Collection[str] | None = None,
    like_published: bool = False,
) -> list[Done]:
    """Run systems on one draw, in its own folder; steps that an earlier call finished are read instead of run.

    `only` names the steps to run, such as "heads-grid" and "heads-default"; None runs all of them.
    """
    folder = out / str(seed)
    suite = open_suite(Output(out=folder), command="draws", backbone="tiny", config={"seed": seed, "quick": quick})
    source = Source(data=folder / "data" / "combined_data.csv", images=folder / "data" / "image")
    if not source.data.is_file():
        images = QUICK_IMAGES if quick else LIKE_PUBLISHED if like_published else IMAGES
        write_demo(source.data.parent, seed=seed, images=images, like_published=like_published)
    encoding = Encoding(backbone="tiny", cache=out / "cache", device="cpu")

    def default_head(path: Path) -> Outcome:
        evaluation, output = Evaluation(seed=seed), Output(out=path)
        options = HeadsOptions(source=source, encoding=encoding, evaluation=evaluation, output=output)
        return run_heads(options, screen.reporter)

    steps = system_steps(
        source,
        encoding,
        "grouped",
        seed,
        finetune=(None,) if finetune else (),
        epochs=QUICK_EPOCHS if quick else None,
        reporter=screen.reporter,
    )
    steps = [*steps, Step("heads-default", default_head)]
    return run_steps(suite, [step for step in steps if only is None or step.name in only], screen.note)


def reached(done: Sequence[Done]) -> dict[tuple[str, str], float]:
    """Return the metrics on the test rows by system and metric."""
    figures: dict[tuple[str, str], float] = {}
    for step in done:
        for result in step.run.results:
            if result.predictions.split == "test":
                for metric in METRICS:
                    value = result.metrics[metric]
                    figures[result.predictions.system, metric] = float("nan") if value is None else value
    return figures


def interval(values: Floats) -> str:
    """Format the mean over draws, (n,), and its 95 % interval; a single draw has no interval."""
    if len(values) < 2:
        return number(float(values.mean()))
    over = Spread.of(values)
    return f"{number(over.mean)} ({number(over.low)} to {number(over.high)})"


def markdown(seeds: Sequence[int], draws: Sequence[dict[tuple[str, str], float]]) -> str:
    """Make a table for each metric: systems, then differences between two systems, by draw and over draws."""
    there = [name for name in SYSTEMS if all((name, metric) in draw for metric in METRICS for draw in draws)]
    lines = []
    for metric, title in METRICS.items():
        columns = [title, *map(str, seeds), "mean (95 % interval)"]
        lines += [columns, ["---"] * len(columns)]
        of = {name: np.array([draw[name, metric] for draw in draws]) for name in there}
        rows = of | {f"{a} - {b}": of[a] - of[b] for a, b in PAIRS if a in of and b in of}
        lines += [[name, *map(number, values), interval(values)] for name, values in rows.items()]
        lines.append([])
    return "".join(f"| {' | '.join(line)} |\n" if line else "\n" for line in lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.draws", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS, help="one draw each (default: %(default)s)")
    parser.add_argument(
        "--only", nargs="+", default=(), metavar="STEP", help="run these steps alone, such as heads-post heads-default"
    )
    parser.add_argument("--like-published", action="store_true", help="draw posts like the published ones")
    parser.add_argument("--with-finetune", action="store_true", help="fine-tune the packaged backbone too")
    parser.add_argument(
        "--out", type=Path, default=Path("runs/draws"), help="folder of the runs (default: %(default)s)"
    )
    parser.add_argument("--quick", action="store_true", help="60 images and 2 epochs of fine-tuning: a smoke test")
    given = parser.parse_args()
    screen, draws = Screen(), []
    for seed in given.seeds:
        screen.note(f"Draw {seed}")
        done = run_draw(
            given.out,
            seed,
            finetune=given.with_finetune,
            quick=given.quick,
            screen=screen,
            only=given.only or None,
            like_published=given.like_published,
        )
        draws.append(reached(done))
    print(machine("transformers", "scikit-learn"), end="\n\n")
    print(markdown(given.seeds, draws), end="")


if __name__ == "__main__":
    main()
