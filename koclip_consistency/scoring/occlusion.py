"""What an image loses when a part of it is covered: maps by occlusion, and how well any map predicts that loss."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Grid = npt.NDArray[np.float64]
Pixels = npt.NDArray[np.uint8] | npt.NDArray[np.float32]  # (h, w, 3) uint8 or (3, h, w) float32
Values = Callable[[Pixels], npt.NDArray[np.float64]]  # n images to n numbers

MOST_CELLS, COARSE = 64, (7, 7)  # a finer grid of patches is covered in 49 parts: each costs a pass of the model
STEPS = 12  # parts in which an image is deleted and inserted


def covering_grid(patches: tuple[int, int] | None) -> tuple[int, int]:
    """Rows and columns in which an image is covered: its patches, or 7 x 7 if these are more than 64 or unknown."""
    if patches is None or patches[0] * patches[1] > MOST_CELLS:
        return COARSE
    return patches


def cover(pixels: Pixels, shown: npt.NDArray[np.bool_]) -> Pixels:
    """Cover cells of an image with its mean colour.

    Parameters
    ----------
    pixels : (h, w, 3) uint8 or (3, h, w) float32
        The image.
    shown : (n, rows, columns) bool
        The cells that stay, for each of n copies.

    Returns
    -------
    (n, h, w, 3) uint8 or (n, 3, h, w) float32
    """
    first = pixels.dtype != np.uint8  # channels come first
    height, width = pixels.shape[1:] if first else pixels.shape[:2]
    rows = np.arange(height) * shown.shape[1] // height
    columns = np.arange(width) * shown.shape[2] // width
    stays = shown[:, rows][:, :, columns]
    mean = pixels.mean(axis=(1, 2) if first else (0, 1), dtype=np.float64, keepdims=True)
    fill = (mean if first else np.rint(mean)).astype(pixels.dtype)
    return np.where(stays[:, None] if first else stays[..., None], pixels, fill)


def occlusion(values: Values, pixels: Pixels, shape: tuple[int, int]) -> Grid:
    """How much `values` of an image falls when each cell alone is covered.

    Parameters
    ----------
    values : callable
        Gives the number that is explained, for n versions of the image.
    pixels : (h, w, 3) uint8 or (3, h, w) float32
        The image.
    shape : (int, int)
        Rows and columns of the grid.

    Returns
    -------
    (rows, columns) float64
        In the unit of `values`; negative where covering a cell raises it.

    References
    ----------
    Zeiler and Fergus, "Visualizing and Understanding Convolutional Networks", arXiv:1311.2901, section 4.2.
    """
    n = shape[0] * shape[1]
    all_but_one = ~np.eye(n, dtype=bool).reshape(n, *shape)
    found = values(cover(pixels, np.concatenate([np.ones((1, *shape), dtype=bool), all_but_one])))
    return (found[0] - found[1:]).reshape(shape)


def deletion_gap(values: Values, pixels: Pixels, grid: Grid) -> float:
    """How well a map orders the cells of an image: the mean of `values` while they appear, minus while they vanish.

    Cells vanish and appear in `STEPS` parts, those with the largest numbers first. The gap is 0 on average for a map
    that knows nothing, and larger the better the map finds what `values` depends on.

    Parameters
    ----------
    values, pixels
        As for `occlusion`.
    grid : (rows, columns) float64
        The map.

    Returns
    -------
    float
        Area under the insertion curve minus area under the deletion curve, in the unit of `values`.

    References
    ----------
    Petsiuk, Das and Saenko, "RISE: Randomized Input Sampling for Explanation of Black-box Models", arXiv:1806.07421.
    """
    place = np.empty(grid.size, dtype=np.int64)
    place[np.argsort(-grid.ravel(), kind="stable")] = np.arange(grid.size)
    steps = min(STEPS, grid.size)
    taken = place.reshape(grid.shape) < np.rint(np.linspace(0, grid.size, steps + 1))[:, None, None]
    found = values(cover(pixels, np.concatenate([taken, ~taken])))
    inserted, deleted = found[: steps + 1], found[steps + 1 :]
    return float(np.trapezoid(inserted - deleted) / steps)


def fixed_place(shape: tuple[int, int]) -> Grid:
    """The control that sees neither image nor hashtag: cells are the higher, 0 to 1, the nearer to the centre."""
    rows, columns = (2 * (np.arange(side) + 0.5) / side - 1 for side in shape)
    return np.exp(-2 * (rows[:, None] ** 2 + columns**2))
