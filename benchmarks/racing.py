"""What the race of `heads --grid` saves, and whether it chooses the head that the whole grid chooses.

    python -m benchmarks.racing

For each seed it draws the demo data set, splits it by image and runs the default grid twice on the training rows, with
`--racing` and with `--no-racing`. Both times include the retraining of the winner. Processor seconds are those of all
threads: on a machine that does other work they say more than wall seconds do. The rule (`heads.select.stages`) was
chosen on draws 42, 301, 801 to 804, 811, 812, 821 and 855, which therefore prove nothing here. A draw takes 3 minutes
of one core.
"""

import argparse
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.encoded import encoded_draw
from benchmarks.timing import machine
from consistency.progress import Progress
from demo.dataset import IMAGES
from heads.grid import GridResult, default_grid, run_grid
from koclip_consistency.screen.console import Screen
from koclip_consistency.workflows.demo import QUICK_IMAGES

SEEDS = (861, 862, 863, 864, 865)


@dataclass(frozen=True, eq=False)
class Timed:
    """A grid with its processor seconds and wall seconds."""

    result: GridResult
    processor: float
    wall: float

    @property
    def winner(self) -> str:
        """The configuration that is chosen, and its number of epochs."""
        entry = self.result.entries[self.result.chosen]
        c = entry.config
        how = f"ridge {c.weight_decay:g}" if c.optimizer == "ridge" else f"rate {c.lr:g}, dropout {c.dropout:g}"
        weights = ", balanced" if c.class_weights == "balanced" else ""
        return f"{c.features}, {c.shape}, {c.loss}{weights}, {how}, {entry.epochs} epochs"


def run_draw(folder: Path, seed: int, *, quick: bool, progress: Progress) -> tuple[Timed, Timed]:
    """Run the grid on one draw with the race and without."""
    _, split, encoded = encoded_draw(folder, seed, images=QUICK_IMAGES if quick else IMAGES, progress=progress)
    rows = encoded.side(split, "train")
    configs = default_grid()[::9] if quick else default_grid()

    def timed(*, race: bool) -> Timed:
        wall, processor = time.perf_counter(), time.process_time()
        result = run_grid(
            configs,
            encoded.at(rows),
            split.labels[rows],
            split.groups_of(rows),
            seed=seed,
            race=race,
            progress=progress,
        )
        return Timed(result, time.process_time() - processor, time.perf_counter() - wall)

    return timed(race=True), timed(race=False)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.racing", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS, help="one draw each (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="60 images and a ninth of the grid: a smoke test")
    given = parser.parse_args()
    screen, same, ratios = Screen(), 0, []
    print(machine("scikit-learn"), end="\n\n")
    print("| draw | heads trained | processor s, whole and race | ratio | wall ratio | winner |")
    print("| --- | --- | --- | --- | --- | --- |", flush=True)
    for seed in given.seeds:
        with tempfile.TemporaryDirectory() as name:
            race, whole = run_draw(Path(name), seed, quick=given.quick, progress=screen.progress)
        heads = [sum(entry.n_folds for entry in run.result.entries) for run in (whole, race)]
        ratios.append(whole.processor / race.processor)
        alike = race.winner == whole.winner
        same += alike
        winner = f"both: {whole.winner}" if alike else f"whole: {whole.winner}; race: {race.winner}"
        print(
            f"| {seed} | {heads[1]} of {heads[0]} | {whole.processor:.0f}, {race.processor:.0f} | {ratios[-1]:.2f} | "
            f"{whole.wall / race.wall:.2f} | {winner} |",
            flush=True,
        )
    print(f"\nThe same winner on {same} of {len(given.seeds)} draws; least ratio of processor time {min(ratios):.2f}")


if __name__ == "__main__":
    main()
