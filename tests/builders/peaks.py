"""Prints, for each image file, how many bytes of memory a pixel takes while it is decoded, in a process of its own.

`python -m tests.builders.peaks HOW FILE...` with one of "ours", "fast", "published"; Linux only.
"""

import io
import json
import os
import sys
from pathlib import Path

from PIL import Image

from consistency.data.images import decode_image
from embedcache.peak import peak_megabytes, start_peak


def bytes_of_a_pixel(path: Path, how: str) -> float:
    data = path.read_bytes()
    start_peak()
    before = peak_megabytes()
    image = decode_image(data, decode=how)  # type: ignore[arg-type]
    after = peak_megabytes()
    assert before is not None
    assert after is not None
    return (after - before) * 1e6 / (image.width * image.height)


def main() -> None:
    how, *paths = sys.argv[1:]
    for mode in ("I;16", "RGBA"):  # what the first image of all needs, such as Pillow's modules
        Image.new(mode, (64, 64)).save(small := io.BytesIO(), "PNG", exif=b"Exif\0\0" + Image.Exif().tobytes())
        decode_image(small.getvalue())
    for path in map(Path, paths):
        if not os.fork():
            print(json.dumps([path.name, round(bytes_of_a_pixel(path, how), 1)]), flush=True)
            os._exit(0)
        assert os.wait()[1] == 0, path


if __name__ == "__main__":
    main()
