"""A folder of images that are small on the disk and take as much memory as they may: the command stays small."""

import csv
import subprocess
import sys
from itertools import cycle, islice
from pathlib import Path

import pytest

from tests.builders.costly_images import FILES, told_apart

ROOT = Path(__file__).parents[2]
PROGRAM = """
import sys
from pathlib import Path
from cli import main
try:
    main()
finally:
    status = Path("/proc/self/status").read_text()
    print(int(status.partition("VmHWM:")[2].split()[0]) * 1024, file=sys.stderr)
"""
WORST = ("webp-lossless", "webp-turned", "avif-turned", "tiff-16-rgba", "jpeg-cmyk-progressive", "png-transparent")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells the peak of a process")
@pytest.mark.parametrize(("large", "small"), [(1, 5), pytest.param(50, 950, marks=pytest.mark.slow)])
def test_a_hostile_folder_stays_under_a_gigabyte_and_a_half(tmp_path: Path, large: int, small: int) -> None:
    """`large` images of 49 megapixels, the most that are decoded, and `small` ones of 6 or of 1, of all formats."""
    images = tmp_path / "images"
    images.mkdir()
    sides = 7000, 2500 if small > 100 else 1000
    names = [*((name, sides[0]) for name in islice(cycle(WORST), large)),
             *((name, sides[1]) for name in islice(cycle(FILES), small))]  # fmt: skip
    made: dict[tuple[str, int], bytes] = {}
    with (tmp_path / "pairs.csv").open("w", encoding="utf-8", newline="") as file:
        lines = csv.writer(file)
        lines.writerow(("Image Filename", "Hashtag", "Score"))
        for number, (name, side) in enumerate(names):
            if (name, side) not in made:
                made[name, side] = FILES[name](side)
            (images / f"{number}-{name}").write_bytes(told_apart(made[name, side], number))
            lines.writerow((f"{number}-{name}", f"#tag{number}", 1 + number % 5))
    command = [sys.executable, "-c", PROGRAM, "extract", "--backbone", "tiny", "--data", tmp_path / "pairs.csv",
               "--images", images, "--cache", tmp_path / "cache", "--out", tmp_path / "run", "--quiet",
               "--workers", "2", "--threads", "1"]  # fmt: skip
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=1800)
    assert ran.returncode == 0, ran.stderr
    (peak,) = map(int, ran.stderr.split())
    assert peak < 1.5e9
    assert not (tmp_path / "run" / "skipped.csv").exists()  # every image was decoded
