"""Batch-wise augmentation of small pictures: padded crop, flip, cutout, then normalisation.

One call turns stored uint8 pictures into the float32 batch that a network sees. The view of an
example is a function of (seed, epoch, index) alone, so every loader gives the same bits.
"""

from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .errors import UsageError, suggest
from .seeds import hash_rows


@dataclass(frozen=True)
class Augment:
    """What happens to a small picture in training; nothing of it happens in scoring.

    Attributes:
        flip: mirror left to right with probability one half.
        crop: pad by this many black pixels on every side, then cut the old size out at random.
        cutout: grey square of this side, at a random place that may reach over the edge (DeVries
            and Taylor 2017); grey is the mean picture value.

    Example:
        >>> Augment.parse("flip,crop=4")
        Augment(flip=True, crop=4, cutout=0)
    """

    flip: bool = False
    crop: int = 0
    cutout: int = 0

    @classmethod
    def parse(cls, text: str, shape: tuple[int, ...] = ()) -> "Augment":
        """Read `none`, `auto` or a list such as `flip,crop=4,cutout=8`.

        `auto` is flip and crop by an eighth of the side for colour pictures, and nothing for grey
        ones (digits and letters do not survive a flip) and for what is not a picture.

        Args:
            text: the list.
            shape: (C, H, W) of a picture, for `auto`.

        Raises:
            UsageError: a word that is not known, or a size that is not a number.
        """
        if text == "auto":
            colour = len(shape) == 3 and shape[0] == 3
            return cls(flip=True, crop=max(1, shape[1] // 8)) if colour else cls()
        if text == "none":
            return cls()
        out: dict[str, Any] = {}
        for word in filter(None, (w.strip() for w in text.split(","))):
            name, equals, size = word.partition("=")
            if word in ("none", "auto"):
                raise UsageError(f"augment: {word!r} stands alone; leave out the rest of {text!r}")
            if name not in ("flip", "crop", "cutout"):
                known = ("auto", "none", "flip", "crop=4", "cutout=8")
                raise UsageError(f"augment: {word!r} is not known; {suggest(word, known)}")
            if name == "flip" and equals:
                raise UsageError(f"augment: flip has no size; write flip instead of {word!r}")
            if name != "flip" and not (size.isascii() and size.isdigit()):
                raise UsageError(f"augment: {word!r} needs a size in pixels, such as {name}=4")
            out[name] = True if name == "flip" else int(size)
        return cls(**out)


@dataclass(frozen=True)
class Normalise:
    """The mean and spread of each channel, in units of the pixel range 0 to 1.

    Example:
        >>> Normalise((0.5,), (0.25,)).table()[0, 255].item()
        2.0
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def table(self) -> Tensor:
        """Return (C, 256) float32: what each stored byte of each channel becomes."""
        bytes_ = torch.arange(256, dtype=torch.float64) / 255
        mean = torch.tensor(self.mean, dtype=torch.float64)[:, None]
        std = torch.tensor(self.std, dtype=torch.float64)[:, None]
        return ((bytes_ - mean) / std).float()

    @classmethod
    def of(cls, x: Tensor, rows: Tensor | None = None) -> "Normalise":
        """Measure pictures x (n, C, H, W) uint8, exactly, from the counts of each byte.

        Args:
            x: the pictures.
            rows: (m,) which of them count; None for all.
        """
        counts = np.zeros((x.shape[1], 256))
        every = np.arange(len(x)) if rows is None else rows.numpy()
        at_once = max(
            1, 2**22 // max(1, int(np.prod(x.shape[2:])))
        )  # bincount makes 8 bytes of each
        for start in range(0, len(every), at_once):
            part = x.numpy()[every[start : start + at_once]]
            for channel in range(x.shape[1]):
                counts[channel] += np.bincount(part[:, channel].ravel(), minlength=256)
        value = np.arange(256) / 255
        total = np.maximum(counts.sum(1), 1)
        mean = counts @ value / total
        variance = counts @ value**2 / total - mean**2
        std = np.sqrt(np.maximum(variance, 0))
        std[std < 1e-3] = 1.0  # a constant channel carries nothing; do not blow it up
        return cls(tuple(mean.tolist()), tuple(std.tolist()))


def views(
    index: NDArray[np.int64], augment: Augment, shape: tuple[int, ...], seed: int, epoch: int
) -> NDArray[np.int32]:
    """Return (b, 5) int32: crop row, crop column, flip, cutout row, cutout column of each example.

    Crop offsets run from 0 to 2 * crop; cutout gives the centre of the square.
    """
    bits = hash_rows(index, seed, "augment", epoch)
    more = hash_rows(index, seed, "cutout", epoch)
    span = np.uint64(2 * augment.crop + 1)
    low, shift = np.uint64(0xFFFF), np.uint64(16)
    out = np.empty((len(index), 5), np.int32)
    out[:, 0] = ((bits & low) * span) >> shift
    out[:, 1] = (((bits >> shift) & low) * span) >> shift
    out[:, 2] = (bits >> np.uint64(63)) if augment.flip else 0
    out[:, 3] = ((more & low) * np.uint64(shape[1])) >> shift
    out[:, 4] = (((more >> shift) & low) * np.uint64(shape[2])) >> shift
    return out


def render(
    source: Tensor, rows: Tensor, view: NDArray[np.int32] | None, augment: Augment, table: Tensor
) -> Tensor:
    """Turn stored pictures into a normalised batch; pixels outside the picture are black.

    Args:
        source: (n, C, H, W) uint8, on any device.
        rows: (b,) int64, which of them.
        view: (b, 5) from `views`, or None for the plain picture.
        augment: sizes that belong to `view`.
        table: (C, 256) float32 from `Normalise.table`.

    Returns:
        (b, C, H, W) float32 in new memory, on the device of `source`.

    Raises:
        UsageError: the table is of another number of channels.
    """
    if len(table) != source.shape[1]:
        raise UsageError(
            f"mean and spread of {len(table)} channels for pictures of {source.shape[1]}; "
            "normalise with what was measured on pictures of this kind"
        )
    if view is None:
        view, augment = np.zeros((len(rows), 5), np.int32), Augment()
    if source.device.type != "cpu":
        return _render_torch(source, rows, torch.from_numpy(view), augment, table)
    out = torch.empty((len(rows), *source.shape[1:]), dtype=torch.float32)
    _render_numba(
        source.numpy(), rows.numpy(), view, augment.crop, augment.cutout, table.numpy(), out.numpy()
    )
    return out


@numba.njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def _render_numba(source, rows, view, pad, cutout, table, out):  # type: ignore[no-untyped-def]
    """Gather, crop, flip, cut out and normalise in one pass over the output.

    Output columns from `begin` to `end` show the picture, the others lie outside it. The innermost
    loops count in unsigned numbers, which spares numba the check for negative indices: a quarter of
    the time.
    """
    channels, height, width = source.shape[1:]
    for b in range(len(rows)):
        top, left = view[b, 0] - pad, view[b, 1] - pad
        flip = view[b, 2] != 0
        begin = min(width, max(0, left if flip else -left))
        end = max(begin, min(width, width + left if flip else width - left))
        first, last = numba.uint64(begin), numba.uint64(end)
        shift = numba.uint64(width - 1 + left if flip else left)  # wraps below 0, and back
        y0, x0 = view[b, 3] - cutout // 2, view[b, 4] - cutout // 2
        row = rows[b]
        for c in range(channels):
            value = table[c]
            for i in range(height):
                y = i + top
                line = out[b, c, i]
                if y < 0 or y >= height:
                    line[:] = value[0]
                    continue
                pixels = source[row, c, y]
                line[:begin] = value[0]
                line[end:] = value[0]
                if flip:
                    for j in range(first, last):
                        line[j] = value[pixels[shift - j]]
                else:
                    for j in range(first, last):
                        line[j] = value[pixels[shift + j]]
            for i in range(max(0, y0), min(height, y0 + cutout)):
                for j in range(max(0, x0), min(width, x0 + cutout)):
                    out[b, c, i, j] = 0.0


def _render_torch(
    source: Tensor, rows: Tensor, view: Tensor, augment: Augment, table: Tensor
) -> Tensor:
    """Do what `_render_numba` does in tensor operations, for pictures that live on a GPU."""
    device = source.device
    view, table = view.to(device, torch.int64), table.to(device)
    channels, height, width = source.shape[1:]
    y = torch.arange(height, device=device) + (view[:, 0:1] - augment.crop)
    j = torch.arange(width, device=device)
    j = torch.where(view[:, 2:3] != 0, width - 1 - j, j)
    x = j + (view[:, 1:2] - augment.crop)
    outside = ((y < 0) | (y >= height))[:, :, None] | ((x < 0) | (x >= width))[:, None, :]
    y, x = y.clamp(0, height - 1), x.clamp(0, width - 1)
    picked = source[rows.to(device)[:, None, None], :, y[:, :, None], x[:, None, :]]
    picked = torch.where(outside[..., None], 0, picked)  # (b, H, W, C)
    out = table[torch.arange(channels, device=device), picked.long()].permute(0, 3, 1, 2)
    if augment.cutout:
        half = augment.cutout // 2
        below = torch.arange(height, device=device) - (view[:, 3:4] - half)
        right = torch.arange(width, device=device) - (view[:, 4:5] - half)
        hole = ((below >= 0) & (below < augment.cutout))[:, :, None]
        hole = hole & ((right >= 0) & (right < augment.cutout))[:, None, :]
        out = torch.where(hole[:, None], 0.0, out)
    return out.contiguous()
