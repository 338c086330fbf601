"""What decoding alone can deliver, by the processes that a GPU is fed by: `python -m benchmarks.decoding FOLDER`.

Prints images per second of a folder's JPEGs through CLIP's preprocessing, from the first batch on. A module of its
own, since every process imports the program that began it.
"""

import os
import sys
import time
from pathlib import Path

from consistency.backbone.preprocess import PreprocessSpec
from consistency.data.files import find_images
from consistency.data.reading import Decoding
from consistency.options import ImageLimits
from embedcache.engines.local import process_batches

SPEC = PreprocessSpec(("shortest", 224), 3, (224, 224), 1 / 255, (0.48, 0.46, 0.41), (0.27, 0.26, 0.28))


def main() -> None:
    folder = Path(sys.argv[1])
    files = list(find_images(sorted(path.name for path in folder.glob("*.jpg")), folder).values())
    workers = len(os.sched_getaffinity(0))
    batches = process_batches(Decoding("ours", ImageLimits()), SPEC, files, {}, size=256, workers=workers)
    next(batches)
    started = time.perf_counter()
    decoded = sum(len(some) for some, _ in batches)
    print(decoded / (time.perf_counter() - started))


if __name__ == "__main__":
    main()
