"""Two augmented views of each small picture, for encoders that learn without labels.

A view is a function of (seed, epoch, index, view) alone, as everywhere; no label comes near it.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .augment import Augment, Normalise, render
from .batching import even_batches
from .errors import UsageError
from .loaders import Batch, checked_order
from .seeds import hash_rows

if TYPE_CHECKING:
    from .data import Data

_DRAWN = 11  # numbers drawn for a view, one each for what `parameters` names
_LONGEST = math.log(4 / 3)  # of the ratio of a crop's sides


@dataclass(frozen=True)
class Views:
    """How a view differs from its picture: SimCLR's list, without its blur (small pictures).

    In this order: a random resized crop, brightness, contrast, saturation and hue with probability
    0.8, grey. Hue turns the colour about the grey axis (in YIQ), which is close to a turn in HSV
    and needs no cases. Chen, Kornblith, Norouzi and Hinton 2020.

    Attributes:
        least: a crop has at least this share of the picture's area, and at most all of it; its
            sides differ by at most 4 to 3.
        flip: mirror left to right with probability one half.
        jitter: strength of the change of colours; 0.5 is 40 % of brightness, contrast and
            saturation, and a tenth of the colour circle.
        grey: probability that the colours go.
        size: side of the views; 0 leaves it. Smaller ones are faster.

    Raises:
        UsageError: a value outside its range.

    Example:
        >>> Views.suited((1, 8, 8)).flip
        False
    """

    least: float = 0.2
    flip: bool = True
    jitter: float = 0.5
    grey: float = 0.2
    size: int = 0

    def __post_init__(self) -> None:
        """Refuse impossible values."""
        if not 0 < self.least <= 1:
            raise UsageError(f"views: least={self.least} must be a share of the area, in (0, 1]")
        if not 0 <= self.jitter <= 1 or not 0 <= self.grey <= 1:
            raise UsageError(
                f"views: jitter={self.jitter} and grey={self.grey} must be within 0 and 1"
            )
        if self.size < 0:
            raise UsageError(f"views: size={self.size} must be a side in pixels, or 0")

    @classmethod
    def suited(cls, shape: tuple[int, ...], size: int = 0) -> "Views":
        """Return the defaults for pictures (C, H, W): grey ones, mostly letters, are not flipped.

        Example:
            >>> Views.suited((3, 32, 32)) == Views()
            True
        """
        if shape[0] == 1:
            return cls(least=0.5, flip=False, grey=0.0, size=size)
        return cls(size=size)


def parameters(
    index: NDArray[np.int64], views: Views, side: tuple[int, int], seed: int, epoch: int, view: int
) -> NDArray[np.float32]:
    """Return (b, 12) float32, what happens to each picture in this view.

    Columns: top and left of the crop and its height and width, in pixels and not rounded; flip;
    factors of brightness, contrast and saturation; cosine and sine of the turn of hue; grey; 0.

    Example:
        >>> whole = parameters(np.arange(9), Views(), (32, 32), 0, 1, 0)
        >>> bool((parameters(np.array([7]), Views(), (32, 32), 0, 1, 0) == whole[7:8]).all())
        True
    """
    bits = [hash_rows(index, seed, "two-views", epoch, view, j) for j in range(_DRAWN)]
    u = np.stack([(b >> np.uint64(40)).astype(np.float64) * 2.0**-24 for b in bits])
    height, width = side
    area = (views.least + (1 - views.least) * u[0]) * height * width
    ratio = np.exp((2 * u[1] - 1) * _LONGEST)
    h = np.minimum(np.sqrt(area / ratio), height)
    w = np.minimum(np.sqrt(area * ratio), width)
    jittered = u[5] < 0.8
    out = np.zeros((len(index), 12))
    out[:, 0], out[:, 1] = u[2] * (height - h), u[3] * (width - w)
    out[:, 2], out[:, 3] = h, w
    out[:, 4] = views.flip & (u[4] < 0.5)
    for column, draw in ((5, 6), (6, 7), (7, 8)):
        out[:, column] = np.where(jittered, 1 + 0.8 * views.jitter * (2 * u[draw] - 1), 1)
    turn = np.where(jittered, 2 * np.pi * 0.2 * views.jitter * (2 * u[9] - 1), 0)
    out[:, 8], out[:, 9] = np.cos(turn), np.sin(turn)
    out[:, 10] = u[10] < views.grey
    return out.astype(np.float32)


def draw_views(
    source: Tensor, rows: Tensor, how: NDArray[np.float32], normalise: Normalise, size: int = 0
) -> Tensor:
    """Render views of stored pictures, normalised.

    Args:
        source: (n, C, H, W) uint8 on the CPU, C 1 or 3.
        rows: (b,) int64, which of them.
        how: (b, 12) from `parameters`.
        normalise: of C channels.
        size: side of the views; 0 leaves it.

    Returns:
        (b, C, size, size) float32.

    Example:
        >>> x = torch.full((1, 1, 8, 8), 255, dtype=torch.uint8)
        >>> how = parameters(np.arange(1), Views(jitter=0), (8, 8), 0, 0, 0)
        >>> draw_views(x, torch.tensor([0]), how, Normalise((0.5,), (0.5,)), 4).unique()
        tensor([1.])
    """
    height, width = (size, size) if size else source.shape[2:]
    out = torch.empty((len(rows), source.shape[1], height, width), dtype=torch.float32)
    mean, std = (np.asarray(v, np.float32) for v in (normalise.mean, normalise.std))
    _render(source.numpy(), rows.numpy(), how, mean, 1 / std, out.numpy())
    return out


class TwoViewLoader:
    """Gives both views of each example of an order: batch.x is (2b, C, H, W), first all of view 0.

    With train=False it gives each picture plain and once. Labels are the data's own; hand over
    data without them (`selfsup.blind`) to be sure that they play no part.

    Args:
        data: uint8 pictures of one size, in memory.
        batch_size: examples in a batch, each of which has two views in it.
        seed: of the views.
        views: what is done; None is what suits the pictures.

    Raises:
        UsageError: these are not small pictures in memory.

    Example:
        >>> import datapruner as dp
        >>> loader = TwoViewLoader(dp.open_data("digits"), batch_size=4)
        >>> [tuple(batch.x.shape) for batch in loader(torch.arange(6))]
        [(6, 1, 8, 8), (6, 1, 8, 8)]
    """

    def __init__(
        self, data: "Data", batch_size: int = 128, *, seed: int = 0, views: Views | None = None
    ) -> None:
        if data.x is None or data.x.dtype != torch.uint8 or data.x.ndim != 4:
            raise UsageError(
                f"{data.name}: is not a set of small pictures of one size in memory, which "
                "self-supervised training here takes; hand over an encoder with weights instead"
            )
        if batch_size < 2:
            raise UsageError(f"batch_size={batch_size} must be at least 2: views are compared")
        self.x, self.labels, self.readable = data.x, data.labels, data.readable
        self.batch_size, self.seed = batch_size, seed
        self.views = views or Views.suited(tuple(data.x.shape[1:]))
        self.normalise = Normalise.of(data.x, data.readable.nonzero().flatten())

    def __call__(self, order: Tensor, *, epoch: int = 0, train: bool = True) -> Iterator[Batch]:
        """Give the examples of `order` (m,) in that order, in even batches."""
        order = checked_order(order, len(self.labels))
        for index in even_batches(order, self.batch_size):
            if not train:
                x = render(self.x, index, None, Augment(), self.normalise.table())
            else:
                x = torch.cat([self.view(index, epoch, view) for view in (0, 1)])
            yield Batch(index, x, self.labels[index])

    def view(self, index: Tensor, epoch: int, view: int) -> Tensor:
        """Return one view (b, C, H, W) of each example."""
        side = int(self.x.shape[2]), int(self.x.shape[3])
        how = parameters(index.numpy(), self.views, side, self.seed, epoch, view)
        return draw_views(self.x, index, how, self.normalise, self.views.size)


@numba.njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def _render(source, rows, how, mean, scale, out):  # type: ignore[no-untyped-def]
    """Crop, resize (bilinear), flip, change colours and normalise, a picture at a time."""
    channels, height, width = out.shape[1:]
    for b in range(len(rows)):
        grey = _resample(source[rows[b]], how[b], out[b]) / np.float32(height * width)
        if channels == 1:
            _recolour_grey(out[b, 0], grey, how[b])
        else:
            _recolour(out[b], grey, how[b])
        for c in range(channels):
            for i in range(height):
                for j in range(width):
                    out[b, c, i, j] = (out[b, c, i, j] - mean[c]) * scale[c]


@numba.njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def _resample(picture, how, out):  # type: ignore[no-untyped-def]
    """Fill `out` with the crop, brightened, in [0, 1]; return the sum of its greys."""
    channels, height, width = out.shape
    top, left, h, w = how[0], how[1], how[2], how[3]
    last_y, last_x = picture.shape[1] - 1, picture.shape[2] - 1
    bright = how[5] / np.float32(255)
    half, one = np.float32(0.5), np.float32(1)
    total = np.float32(0)
    for i in range(height):
        y = top + (i + half) * h / np.float32(height) - half
        y = min(max(y, np.float32(0)), np.float32(last_y))
        y0 = min(int(y), last_y - 1)
        fy = np.float32(y - y0)
        for j in range(width):
            x = left + (j + half) * w / np.float32(width) - half
            x = min(max(x, np.float32(0)), np.float32(last_x))
            x0 = min(int(x), last_x - 1)
            fx = np.float32(x - x0)
            at = width - 1 - j if how[4] != 0 else j
            for c in range(channels):
                upper = picture[c, y0, x0] * (one - fx) + picture[c, y0, x0 + 1] * fx
                lower = picture[c, y0 + 1, x0] * (one - fx) + picture[c, y0 + 1, x0 + 1] * fx
                value = min((upper * (one - fy) + lower * fy) * bright, one)
                out[c, i, at] = value
                total += value * _luma(c, channels)
    return total


@numba.njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def _luma(c, channels):  # type: ignore[no-untyped-def]
    if channels == 1:
        return np.float32(1)
    return np.float32(0.299) if c == 0 else (np.float32(0.587) if c == 1 else np.float32(0.114))


@numba.njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def _clipped(value):  # type: ignore[no-untyped-def]
    return min(max(value, np.float32(0)), np.float32(1))


@numba.njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def _recolour_grey(out, grey, how):  # type: ignore[no-untyped-def]
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            out[i, j] = _clipped(grey + (out[i, j] - grey) * how[6])


@numba.njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def _recolour(out, grey, how):  # type: ignore[no-untyped-def]
    """Contrast about the mean grey, saturation about each grey, the turn of hue, and no colour."""
    cos, sin = how[8], how[9]
    for i in range(out.shape[1]):
        for j in range(out.shape[2]):
            r = _clipped(grey + (out[0, i, j] - grey) * how[6])
            g = _clipped(grey + (out[1, i, j] - grey) * how[6])
            b = _clipped(grey + (out[2, i, j] - grey) * how[6])
            y = np.float32(0.299) * r + np.float32(0.587) * g + np.float32(0.114) * b
            if how[10] != 0:
                out[0, i, j] = out[1, i, j] = out[2, i, j] = y
                continue
            r = _clipped(y + (r - y) * how[7])
            g = _clipped(y + (g - y) * how[7])
            b = _clipped(y + (b - y) * how[7])
            if sin != 0:
                y = np.float32(0.299) * r + np.float32(0.587) * g + np.float32(0.114) * b
                u = np.float32(0.596) * r - np.float32(0.274) * g - np.float32(0.322) * b
                v = np.float32(0.211) * r - np.float32(0.523) * g + np.float32(0.312) * b
                u, v = u * cos - v * sin, u * sin + v * cos
                r = _clipped(y + np.float32(0.956) * u + np.float32(0.621) * v)
                g = _clipped(y - np.float32(0.272) * u - np.float32(0.647) * v)
                b = _clipped(y - np.float32(1.106) * u + np.float32(1.703) * v)
            out[0, i, j], out[1, i, j], out[2, i, j] = r, g, b
