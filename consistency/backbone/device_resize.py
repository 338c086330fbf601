"""Resizes and crops images on a torch device, bit for bit as Pillow does it on the processor.

Pillow resamples 8-bit images in two passes, one per axis, with weights of 22 binary places and rounding to 8 bits in
between (`src/libImaging/Resample.c`). Here each weight is split into three numbers of 8 bits. Their products with
pixels are summed by float32 matrix products, which are exact: every factor fits into 8 bits, so that TF32 and bf16
hold it too, and every sum stays below 2**24.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import PIL
import torch
from PIL import Image

from consistency.backbone.preprocess import PreprocessSpec

Floats = npt.NDArray[np.float64]

BITS = 22  # binary places of a weight
BLOCK = 16  # neighbouring outputs that share a window of inputs: one matrix product
MOST_TAPS = 500  # inputs per output: 500 * 128 * 255 < 2**24
MOST_ASPECT = 100  # some versions of Pillow treat even taller images differently
KEPT_AXES = 128  # in memory of the device, of mostly 0.2 to 0.5 MB
VERTICAL_FIRST = int(PIL.__version__.partition(".")[0]) >= 13


def _hamming(x: Floats) -> Floats:
    constants = float(np.float32(0.54)), float(np.float32(0.46))  # single precision in Pillow, too
    return np.where(x < 1, np.sinc(x) * (constants[0] + constants[1] * np.cos(np.pi * x)), 0)


def _bicubic(x: Floats) -> Floats:
    near = (1.5 * x - 2.5) * x * x + 1
    return np.where(x < 1, near, np.where(x < 2, (((x - 5) * x + 8) * x - 4) * -0.5, 0))


# Half of the width, and the filter for distances of at least 0.
FILTERS: dict[int, tuple[float, Callable[[Floats], Floats]]] = {
    Image.Resampling.BILINEAR: (1.0, lambda x: np.where(x < 1, 1 - x, 0)),
    Image.Resampling.HAMMING: (1.0, _hamming),
    Image.Resampling.BICUBIC: (2.0, _bicubic),
    Image.Resampling.LANCZOS: (3.0, lambda x: np.where(x < 3, np.sinc(x) * np.sinc(x / 3), 0)),
}


class DeviceResize:
    """Maps (h, w, 3) uint8 pixels on a device to what `spec.resize_crop` makes of them there.

    Parameters
    ----------
    spec : PreprocessSpec
        The preprocessing.
    device : str
        Where to resize.
    """

    def __init__(self, spec: PreprocessSpec, device: str) -> None:
        self.spec, self.device = spec, device
        self._axis = lru_cache(KEPT_AXES)(self._new_axis)

    @classmethod
    def exact(cls, spec: PreprocessSpec, device: str) -> "DeviceResize | None":
        """One that reproduces Pillow's pixels of two images there; None if that is not so, as with other filters."""
        if spec.quick or spec.resample not in FILTERS:
            return None
        resize, rng = cls(spec, device), np.random.default_rng(0)
        short, long = 3 * min(spec.size) // 2 + 1, 4 * max(spec.size)
        for shape in ((long, short, 3), (short, long, 3)):
            pixels = rng.integers(0, 256, shape, np.uint8)
            if not np.array_equal(resize(torch.from_numpy(pixels).to(device)).cpu().numpy(), spec.resize_crop(pixels)):
                return None
        return cls(spec, device)  # without the axes of these images, which another stream may have made

    def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
        height, width = pixels.shape[:2]
        (high, wide), (top, left) = self.spec.placed(width, height)
        if self._left_to_pillow(height, width, high, wide):
            return torch.from_numpy(np.array(self.spec.resize_crop(pixels.cpu().numpy()))).to(self.device)
        rows = self._axis(height, high, top, self.spec.size[0])
        columns = self._axis(width, wide, left, self.spec.size[1])
        pixels = pixels[rows.read, columns.read]
        if VERTICAL_FIRST and height > high and height - high > 2 * (width - wide):
            pixels = columns.resized(rows.resized(pixels).transpose(0, 1)).transpose(0, 1)
        else:
            pixels = rows.resized(columns.resized(pixels.transpose(0, 1)).transpose(0, 1))
        return pixels.contiguous()

    def _left_to_pillow(self, height: int, width: int, high: int, wide: int) -> bool:
        taps = 2 * FILTERS[self.spec.resample][0] * max(height / high, width / wide) + 2
        return taps > MOST_TAPS or max(height, width) > MOST_ASPECT * min(height, width)

    def _new_axis(self, size: int, resized: int, first: int, count: int) -> "_Axis":
        """The pass that resizes `size` pixels to `resized`, of which `count` are kept, from `first`."""
        if size == resized:  # Pillow skips the pass
            return _Axis(slice(first, first + count), count, None, None)
        starts, weights = _weights(size, resized, first, count, self.spec.resample)
        lowest, taps, blocks = int(starts[0]), weights.shape[1], -(-count // BLOCK)
        starts = np.append(starts, np.full(blocks * BLOCK - count, starts[-1])).reshape(blocks, BLOCK) - lowest
        offsets = starts - starts[:, :1]
        length = int(offsets.max()) + taps
        windows = np.zeros((blocks, BLOCK, length), np.int64)
        place = offsets.reshape(-1, 1)[:count] + np.arange(taps)
        np.put_along_axis(windows.reshape(-1, length)[:count], place, weights, axis=1)

        low = (windows + 128) % 256 - 128
        middle = ((windows - low) // 256 + 128) % 256 - 128
        parts = np.concatenate([low, middle, (windows - low - 256 * middle) >> 16], axis=1)
        reach = min(size, int(starts.max()) + lowest + taps)
        rows = np.minimum(starts[:, :1] + np.arange(length), reach - lowest - 1)  # beyond, weights are 0
        return _Axis(
            slice(lowest, reach),
            count,
            torch.from_numpy(rows.reshape(-1)).to(self.device),
            torch.from_numpy(parts.astype(np.float32)).to(self.device),
        )


@dataclass(frozen=True)
class _Axis:
    """The pass along one axis: `read` of the input becomes `count` outputs, a block of them from each window.

    `rows` has the rows of all windows, (blocks * length,) int64 counted from the start of `read`; `weights` is
    (blocks, 3 * BLOCK, length) float32. Both are None if nothing is resized.
    """

    read: slice
    count: int
    rows: torch.Tensor | None
    weights: torch.Tensor | None

    def resized(self, pixels: torch.Tensor) -> torch.Tensor:
        """(read, m, 3) to (count, m, 3), uint8."""
        if self.rows is None or self.weights is None:
            return pixels
        blocks, _, length = self.weights.shape
        windows = pixels.index_select(0, self.rows).to(torch.float32).view(blocks, length, -1)
        low, middle, high = torch.bmm(self.weights, windows).to(torch.int32).unflatten(1, (3, BLOCK)).unbind(1)
        # (low + 256 middle + 65536 high + 2**21) >> 22, without numbers that 32 bits do not hold
        sums = (low >> 8).add_(middle).bitwise_right_shift_(8).add_(high)
        sums = sums.add_(1 << BITS - 17).bitwise_right_shift_(BITS - 16).clamp_(0, 255)
        return sums.to(torch.uint8).view(blocks * BLOCK, *pixels.shape[1:])[: self.count]


def _weights(
    size: int, resized: int, first: int, count: int, resample: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Pillow's weights of `count` outputs: the first input of each, (count,), and its weights, (count, taps)."""
    support, function = FILTERS[resample]
    scale = size / resized
    stretch = max(scale, 1.0)
    support *= stretch
    centers = (np.arange(first, first + count) + 0.5) * scale
    starts = np.maximum((centers - support + 0.5).astype(np.int64), 0)
    ends = np.minimum((centers + support + 0.5).astype(np.int64), size)
    inputs = starts[:, None] + np.arange(int((ends - starts).max()))
    values = function(np.abs((inputs - centers[:, None] + 0.5) * (1.0 / stretch)))
    values = np.where(inputs < ends[:, None], values, 0.0)
    sums = np.add.accumulate(values, axis=1)[:, -1:]  # one after another, as in Pillow
    values = values / np.where(sums == 0, 1.0, sums) * (1 << BITS)
    return starts, np.trunc(values + np.copysign(0.5, values)).astype(np.int64)
