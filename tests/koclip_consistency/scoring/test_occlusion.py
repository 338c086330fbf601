"""Covering parts of an image, against plain loops over pixels and cells."""

import numpy as np
import pytest

from koclip_consistency.scoring.occlusion import (
    COARSE,
    STEPS,
    cover,
    covering_grid,
    deletion_gap,
    fixed_place,
    occlusion,
)

RNG = np.random.default_rng(0)
IMAGE = RNG.integers(0, 256, (24, 36, 3), dtype=np.uint8)
WEIGHTS = RNG.normal(size=(4, 6))


def brightness(versions: np.ndarray) -> np.ndarray:
    """Mean brightness of each of 4 by 6 cells, weighted: what it loses where a cell is covered is known."""
    cells = versions.astype(np.float64).mean(axis=3).reshape(len(versions), 4, 6, 6, 6).mean(axis=(2, 4))
    return (cells * WEIGHTS).sum(axis=(1, 2))


def plainly_covered(image: np.ndarray, cells: list[tuple[int, int]]) -> np.ndarray:
    """`image` with cells of 6 by 6 pixels in its mean colour."""
    found = image.copy()
    for row, column in cells:
        for y in range(6 * row, 6 * row + 6):
            for x in range(6 * column, 6 * column + 6):
                for channel in range(3):
                    found[y, x, channel] = round(float(image[:, :, channel].mean()))
    return found


def test_covered_cells_have_the_mean_colour_and_others_stay() -> None:
    shown = np.ones((2, 4, 6), dtype=bool)
    shown[0, 1, 2] = shown[1, 3, 5] = shown[1, 0, 0] = False
    found = cover(IMAGE, shown)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found[0], plainly_covered(IMAGE, [(1, 2)]))
    np.testing.assert_array_equal(found[1], plainly_covered(IMAGE, [(3, 5), (0, 0)]))


def test_images_whose_channels_come_first() -> None:
    image = RNG.normal(size=(3, 8, 8)).astype(np.float32)
    shown = np.array([[[True, False], [True, True]]])
    (found,) = cover(image, shown)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found[:, :, :4], image[:, :, :4])
    np.testing.assert_array_equal(found[:, 4:], image[:, 4:])
    for channel, colour in enumerate(image.astype(np.float64).mean(axis=(1, 2))):
        assert found[channel, :4, 4:] == pytest.approx(colour, rel=1e-6)


def test_a_side_that_the_cells_do_not_divide() -> None:
    found = cover(IMAGE[:23, :35], ~np.eye(49, dtype=bool).reshape(49, 7, 7))
    changed = (found != IMAGE[:23, :35]).any(axis=3)
    assert changed.sum(axis=0).max() == 1  # no pixel is in two cells
    assert (changed.sum(axis=(1, 2)) >= 9).all()


def test_occlusion_is_what_each_cell_is_worth() -> None:
    found = occlusion(brightness, IMAGE, (4, 6))
    for row in range(4):
        for column in range(6):
            lost = brightness(np.stack([IMAGE, plainly_covered(IMAGE, [(row, column)])]))
            assert found[row, column] == pytest.approx(lost[0] - lost[1])


def test_the_deletion_gap_of_a_map() -> None:
    """Cells vanish from the largest number on, two at a time, and appear in the same order."""
    grid = occlusion(brightness, IMAGE, (4, 6))
    order = [divmod(int(cell), 6) for cell in np.argsort(-grid.ravel(), kind="stable")]
    deleted = [brightness(plainly_covered(IMAGE, order[:n])[None])[0] for n in range(0, 25, 2)]
    inserted = [brightness(plainly_covered(IMAGE, order[n:])[None])[0] for n in range(0, 25, 2)]
    area = sum((inserted[k] + inserted[k + 1] - deleted[k] - deleted[k + 1]) / 2 for k in range(STEPS)) / STEPS
    found = deletion_gap(brightness, IMAGE, grid)
    assert found == pytest.approx(area)
    assert found > 0
    assert deletion_gap(brightness, IMAGE, -grid) == pytest.approx(-found)
    others = [deletion_gap(brightness, IMAGE, RNG.permuted(grid.ravel()).reshape(4, 6)) for _ in range(20)]
    assert max(others) < found


def test_a_map_of_fewer_cells_than_steps() -> None:
    """Of two cells the left one is worth 3: it is there half of the time when it comes first."""

    def left(versions: np.ndarray) -> np.ndarray:
        return 3.0 * (versions[:, 0, 0] == IMAGE[0, 0]).all(axis=1)

    assert deletion_gap(left, IMAGE, np.array([[1.0, 0.0]])) == pytest.approx(1.5)
    assert deletion_gap(left, IMAGE, np.array([[0.0, 1.0]])) == pytest.approx(-1.5)


def test_the_fixed_place_is_the_centre() -> None:
    found = fixed_place((7, 5))
    assert found.shape == (7, 5)
    assert np.unravel_index(found.argmax(), found.shape) == (3, 2)
    np.testing.assert_allclose(found, found[::-1, ::-1])
    assert found.min() > 0
    assert found.max() == 1


@pytest.mark.parametrize(("patches", "cells"), [((6, 6), (6, 6)), ((8, 8), (8, 8)), ((16, 16), COARSE), (None, COARSE)])
def test_many_patches_are_covered_in_a_coarse_grid(patches: tuple[int, int] | None, cells: tuple[int, int]) -> None:
    assert covering_grid(patches) == cells
