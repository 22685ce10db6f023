"""Copying stored rows of one size out of the file, with the channels of pictures taken apart."""

import numba
import numpy as np
from numpy.typing import NDArray


def gather(
    memory: NDArray[np.uint8], start: NDArray[np.int64], shape: tuple[int, ...], pictures: bool
) -> NDArray[np.uint8]:
    """Return rows (b, *shape) uint8 in new memory.

    Args:
        memory: (bytes,) what the rows lie in.
        start: (b,) where each begins.
        shape: of one row.
        pictures: rows are stored as (H, W, C) and `shape` is (C, H, W); else as they are.

    Example:
        >>> stored = np.arange(12, dtype=np.uint8)
        >>> gather(stored, np.array([6]), (3, 1, 2), True).tolist()
        [[[[6, 9]], [[7, 10]], [[8, 11]]]]
    """
    out = np.empty((len(start), *shape), np.uint8)
    channels = shape[0] if pictures else 1
    _gather(memory, start, out.reshape(len(start), channels, -1))
    return out


@numba.njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def _gather(memory, start, out):  # type: ignore[no-untyped-def]
    """Loops, not slices: numba compiles an assignment of slices for seconds."""
    channels, pixels = out.shape[1:]
    for b in range(len(start)):
        row = memory[start[b] : start[b] + channels * pixels]
        if channels == 3:
            for p in range(pixels):
                out[b, 0, p] = row[3 * p]
                out[b, 1, p] = row[3 * p + 1]
                out[b, 2, p] = row[3 * p + 2]
        else:
            for c in range(channels):
                for p in range(pixels):
                    out[b, c, p] = row[p * channels + c]
