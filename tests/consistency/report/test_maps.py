"""Maps over an image as PNG: the same bytes, and colours where the map says."""

import io

import numpy as np
from PIL import Image

from consistency.report.maps import Panel, maps_png

IMAGE = np.full((40, 60, 3), 255, dtype=np.uint8)
GRID = np.array([[1.0, 0.0, -1.0], [0.5, 0.0, 0.0]])


def drawn(panels: list[Panel]) -> bytes:
    return maps_png(IMAGE, "Image\nas it is", panels, "A line below. " * 12)


def test_equal_maps_are_equal_bytes_and_others_are_not() -> None:
    assert drawn([Panel("Map\nof a", GRID)]) == drawn([Panel("Map\nof a", GRID.copy())])
    assert drawn([Panel("Map\nof a", GRID)]) != drawn([Panel("Map\nof a", -GRID)])


def test_positive_cells_are_orange_and_negative_ones_blue() -> None:
    pixels = np.asarray(Image.open(io.BytesIO(drawn([Panel("Map", GRID)]))).convert("RGB")).astype(int)
    red, blue = pixels[:, :, 0], pixels[:, :, 2]
    orange = np.argwhere((red > 200) & (blue < 80))
    dark = np.argwhere((blue > 140) & (red < 80))
    assert len(orange) > 500
    assert len(dark) > 500
    assert orange[:, 1].min() > pixels.shape[1] // 2  # beside the image, not over it
    assert orange[:, 1].max() < dark[:, 1].min()  # the first column against the third
    width = np.ptp(orange[:, 1]) + 1
    assert 0.25 < width / (np.ptp(np.concatenate([orange, dark])[:, 1]) + 1) < 0.4


def test_a_map_without_any_evidence_is_empty() -> None:
    pixels = np.asarray(Image.open(io.BytesIO(drawn([Panel("Map", np.zeros((2, 2)))]))).convert("RGB")).astype(int)
    assert np.ptp(pixels, axis=2).max() < 40  # shades of grey, and ink
