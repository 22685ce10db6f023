"""Decoding, cropping and resizing stored pictures, with the compiled functions that FFCV brings."""

import numpy as np
from numpy.typing import NDArray

from ..errors import PrunerError
from ..seeds import hash_rows
from .installed import require

JPEG = 0  # FFCV's own code for a picture that is stored as JPEG
TRIES = 10  # draws of a random crop before the centre is taken, as in torchvision

Bytes = NDArray[np.uint8]


def decoded(jpeg: Bytes, height: int, width: int, shrink: int = 1) -> tuple[Bytes, int]:
    """Decode a JPEG to (h, w, 3) uint8 RGB, at 1/shrink of its size; return it and `shrink`.

    Args:
        jpeg: the encoded bytes.
        height: of the picture.
        width: of the picture.
        shrink: 1, 2, 4 or 8; the decoder leaves out frequencies, which is quick.

    Raises:
        PrunerError: the bytes do not decode.
    """
    require()
    from ffcv.libffcv import ctypes_imdecode

    out = np.empty((-(-height // shrink), -(-width // shrink), 3), np.uint8)
    failed = ctypes_imdecode(
        jpeg.ctypes.data, jpeg.size, height, width, out.ctypes.data,
        height, width, 0, 0, 1, shrink, False, False,
    )  # fmt: skip
    if failed:
        raise PrunerError("a stored JPEG does not decode; the .beton is damaged, convert again")
    return out, shrink


def resized(picture: Bytes, box: tuple[int, int, int, int], out: Bytes) -> None:
    """Cut box (top, left, height, width) out of picture and scale it into out, by mean of areas."""
    from ffcv.libffcv import ctypes_resize

    top, left, height, width = box
    ctypes_resize(
        0, picture.ctypes.data, picture.shape[0], picture.shape[1],
        top, top + height, left, left + width,
        out.ctypes.data, out.shape[0], out.shape[1],
    )  # fmt: skip


def cropped(raw: Bytes, jpeg: bool, height: int, width: int, box: Bytes, out: Bytes) -> None:
    """Bring a stored picture's box (top, left, height, width) to out (h, w, 3).

    A JPEG whose box is much larger than `out` is decoded at a half, quarter or eighth.
    """
    if jpeg:
        room = min(int(box[2]) // out.shape[0], int(box[3]) // out.shape[1])
        shrink = 8 if room >= 8 else 4 if room >= 4 else 2 if room >= 2 else 1
        picture, shrink = decoded(raw, height, width, shrink)
    else:
        picture, shrink = raw.reshape(height, width, 3), 1
    if picture.shape == out.shape and tuple(box[2:]) == out.shape[:2]:
        out[:] = picture
        return
    top, left, tall, wide = (int(v) // shrink for v in box)
    resized(picture, (top, left, max(1, tall), max(1, wide)), out)


def random_boxes(
    index: NDArray[np.int64],
    height: NDArray[np.int64],
    width: NDArray[np.int64],
    seed: int,
    epoch: int,
    scale: tuple[float, float] = (0.08, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
) -> NDArray[np.int64]:
    """Return (b, 4) boxes (top, left, height, width) of random resized crops (Szegedy et al. 2015).

    A share of the area within `scale` and an aspect within `ratio` are drawn until the box fits,
    ten times at most, as torchvision does; then the largest box of an allowed aspect in the centre
    is taken. A box is a function of (seed, epoch, index) and the size of the picture.

    Example:
        >>> size = np.array([100, 100])
        >>> both = random_boxes(np.array([3, 7]), size, size, 0, 0)
        >>> alone = random_boxes(np.array([7]), size[:1], size[:1], 0, 0)
        >>> bool((both[1] == alone[0]).all())
        True
    """
    low, unit = np.uint64(0xFFFF), 1 / 65536
    boxes = center_boxes(height, width, ratio=ratio)
    open_ = np.ones(len(index), bool)
    for attempt in range(TRIES):
        bits = hash_rows(index, seed, "crop", epoch, attempt)
        area, aspect, y, x = (
            ((bits >> np.uint64(s)) & low).astype(np.float64) * unit for s in (0, 16, 32, 48)
        )
        area = height * width * (scale[0] + (scale[1] - scale[0]) * area)
        bend = np.log(ratio)
        aspect = np.exp(bend[0] + (bend[1] - bend[0]) * aspect)
        w = np.round(np.sqrt(area * aspect)).astype(np.int64)
        h = np.round(np.sqrt(area / aspect)).astype(np.int64)
        fits = open_ & (w > 0) & (w <= width) & (h > 0) & (h <= height)
        top, left = (y * (height - h + 1)).astype(np.int64), (x * (width - w + 1)).astype(np.int64)
        boxes[fits] = np.stack([top, left, h, w], 1)[fits]
        open_ &= ~fits
        if not open_.any():
            break
    return boxes


def center_boxes(
    height: NDArray[np.int64],
    width: NDArray[np.int64],
    *,
    share: float | None = None,
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
) -> NDArray[np.int64]:
    """Return (b, 4) boxes (top, left, height, width) in the centre of pictures.

    Args:
        height: (b,) of each picture.
        width: (b,) of each picture.
        share: side of a square box as a share of the shorter side; None takes the largest box
            whose aspect (width by height) lies within `ratio`.
        ratio: least and greatest aspect.

    Example:
        >>> center_boxes(np.array([100]), np.array([200]), share=0.5).tolist()
        [[25, 75, 50, 50]]
    """
    if share is not None:
        h = w = np.maximum(1, (share * np.minimum(height, width)).astype(np.int64))
    else:
        w = np.minimum(width, np.round(height * ratio[1]).astype(np.int64))
        h = np.minimum(height, np.round(width / ratio[0]).astype(np.int64))
    return np.stack([(height - h) // 2, (width - w) // 2, h, w], 1)
