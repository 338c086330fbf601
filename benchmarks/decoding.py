"""The rate of decoding alone, in the processes that feed a GPU: `python -m benchmarks.decoding FOLDER`.

It prints how many of the folder's JPEGs pass CLIP's preprocessing per second, counted after the first batch. It is a
separate module because each process imports the program that started it.
"""

import sys
import time
from pathlib import Path

from consistency.backbone.preprocess import PreprocessSpec
from consistency.data.files import find_images
from consistency.data.reading import Decoding, cores
from consistency.options import ImageLimits
from embedcache.engines.local import process_batches

SPEC = PreprocessSpec(("shortest", 224), 3, (224, 224), 1 / 255, (0.48, 0.46, 0.41), (0.27, 0.26, 0.28))


def main() -> None:
    folder = Path(sys.argv[1])
    files = list(find_images(sorted(path.name for path in folder.glob("*.jpg")), folder).values())
    batches = process_batches(Decoding("ours", ImageLimits()), SPEC, files, {}, size=256, workers=cores())
    next(batches)
    started = time.perf_counter()
    decoded = sum(len(some) for some, _ in batches)
    print(decoded / (time.perf_counter() - started))


if __name__ == "__main__":
    main()
