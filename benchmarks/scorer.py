"""How long a score takes: a model loaded for each call against one that stays loaded, and what each part costs.

    python -m benchmarks.scorer [--shape tiny|B/32] [--rounds 5]

The run is `similarity` on a drawn data set; B/32 has random weights of ViT-B/32's shape, which take the time of real
ones. "Command" is `cli.py score` in a process of its own, "cold" loads the model for one call in this process, and
"warm" is a call of `kc.load`'s scorer.
"""

import argparse
import subprocess
import sys
import tempfile
from itertools import count
from pathlib import Path

import numpy as np

from benchmarks.extract import SHAPES, make_model
from benchmarks.timing import alternate, machine
from consistency.options import Encoding, Output, SimilarityOptions, Source
from demo.dataset import write_demo
from koclip_consistency.scoring.loading import load_scorer
from koclip_consistency.workflows.similarity import run_similarity

ROOT = Path(__file__).parents[1]


def measure(shape: str, rounds: int, folder: Path) -> dict[str, float]:
    """Seconds of each way to a score, the least of `rounds`."""
    write_demo(folder / "demo", seed=7, images=60)
    backbone = "tiny" if shape == "tiny" else str(make_model(folder / "model", SHAPES[shape]))
    data, images, cache = folder / "demo" / "combined_data.csv", folder / "demo" / "image", folder / "cache"
    options = SimilarityOptions(
        methods=("exact",),
        source=Source(data=data, images=images),
        encoding=Encoding(backbone=backbone, cache=cache),
        output=Output(out=folder / "run"),
    )
    run_similarity(options)
    image = sorted(images.iterdir())[0]
    new, pixels, rng = count(), count(), np.random.default_rng(0)
    fresh = rng.integers(0, 256, (rounds + 2, 480, 640, 3), dtype=np.uint8)
    warm = load_scorer(folder / "run", cache=cache)
    warm.answer(fresh[next(pixels)], ["처음 보는 말"])

    def command() -> None:
        words = [
            "score",
            "--model",
            folder / "run",
            "--cache",
            cache,
            "--image",
            image,
            "--hashtag",
            f"새말{next(new)}",
        ]
        subprocess.run([sys.executable, "cli.py", *map(str, words)], cwd=ROOT, check=True, capture_output=True)

    return alternate(
        {
            "command: known image, new hashtag": command,
            "cold: new image, new hashtag": lambda: load_scorer(folder / "run", cache=folder / "none").answer(
                image, [f"새말{next(new)}"]
            ),
            "warm: new image, new hashtag": lambda: warm.answer(fresh[next(pixels)], [f"새말{next(new)}"]),
            "warm: known image, new hashtag": lambda: warm.answer(image, [f"새말{next(new)}"]),
            "warm: known image and hashtag": lambda: warm.answer(image, ["처음 보는 말"]),
        },
        rounds=rounds,
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.scorer", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shape", choices=["tiny", *SHAPES], default="tiny")
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    print(machine("transformers"))
    with tempfile.TemporaryDirectory() as folder:
        for name, seconds in measure(given.shape, given.rounds, Path(folder)).items():
            print(f"{given.shape}  {name:33} {1000 * seconds:9.1f} ms")


if __name__ == "__main__":
    main()
