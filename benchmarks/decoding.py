"""What decoding costs.

    python -m benchmarks.decoding           CPU milliseconds of a JPEG of 1080x1350, one thread, least of 20 rounds
    python -m benchmarks.decoding FOLDER    JPEGs of a folder per second that the processes which feed a GPU prepare,
                                            counted after the first batch

It is a separate module because each process imports the program that started it.
"""

import sys
import time
from dataclasses import replace
from pathlib import Path

from consistency.backbone.preprocess import PreprocessSpec
from consistency.data.files import find_images
from consistency.data.images import decode_image, decode_pixels
from consistency.data.reading import Decoding, cores
from consistency.options import ImageLimits

SPEC = PreprocessSpec(("shortest", 224), 3, (224, 224), 1 / 255, (0.48, 0.46, 0.41), (0.27, 0.26, 0.28))


def main() -> None:
    if len(sys.argv) == 1:
        return of_one()
    folder = Path(sys.argv[1])
    files = list(find_images(sorted(path.name for path in folder.glob("*.jpg")), folder).values())
    import torch

    from embedcache.engines.on_device import device_batches

    device = "cuda" if torch.cuda.is_available() else "cpu"
    batches = device_batches(Decoding("ours", ImageLimits()), SPEC, files, {}, size=256, workers=cores(), device=device)
    next(batches)
    started = time.perf_counter()
    decoded = sum(len(some) for some, _ in batches)
    print(decoded / (time.perf_counter() - started))


def of_one() -> None:
    """Print a line for each way; images are those of benchmarks.fidelity."""
    import tempfile

    import torch

    from benchmarks.fidelity import cut
    from benchmarks.timing import machine

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        images = [path.read_bytes() for path in (cut(Path(temporary) / "cut", "1080x1350", 8) / "image").iterdir()]
    quick, best = replace(SPEC, quick=True), dict.fromkeys(("ours", "fast, Pillow", "fast, simplejpeg"), float("inf"))
    for _ in range(20):
        for name in best:
            started = time.process_time()
            for data in images:
                if name == "ours":
                    SPEC.resize_crop(decode_image(data))
                elif name == "fast, Pillow":
                    quick.resize_crop(decode_image(data, decode="fast", target=SPEC.target))
                else:
                    quick.resize_crop(decode_pixels(data, target=SPEC.target))
            best[name] = min(best[name], (time.process_time() - started) / len(images))
    print(machine("pillow", "simplejpeg"))
    for name, seconds in best.items():
        print(f"{name}: {1000 * seconds:.1f} ms, {best['ours'] / seconds:.2f}x")


if __name__ == "__main__":
    main()
