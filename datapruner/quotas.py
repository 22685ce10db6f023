"""Shares of a whole in whole numbers, exactly: the largest-remainder method."""

import numpy as np
from numpy.typing import NDArray

_DIGITS = 9  # equal remainders differ by less than this says, in floating point


def largest_remainder(
    shares: NDArray[np.float64], total: int, capacity: NDArray[np.int64] | None = None
) -> NDArray[np.int64]:
    """Split `total` in proportion to `shares`; the parts add up to it exactly.

    Parts that would be given more than they hold are filled; the others share what is left in
    proportion: floors first, then one more to the largest remainders, the lower position first
    among equal ones (to nine digits). Where only parts without a share have room, they share alike.

    Args:
        shares: (m,) non-negative proportions, not all zero.
        total: what is split.
        capacity: (m,) the most that each part can take; None for no limit.

    Returns:
        (m,) int64.

    Raises:
        ValueError: the capacities together are below `total`.

    Example:
        >>> largest_remainder(np.array([1.0, 1.0, 1.0]), 10)
        array([4, 3, 3])
        >>> largest_remainder(np.array([1.0, 1.0]), 10, np.array([2, 20]))
        array([2, 8])
    """
    room = np.full(len(shares), total) if capacity is None else np.asarray(capacity, np.int64)
    if room.sum() < total:
        raise ValueError(f"{total} do not fit in parts that hold {room.sum()}")
    parts = np.zeros(len(shares), np.int64)
    free = room > 0
    while True:  # each round but the last fills a part
        left = total - int(parts.sum())
        weight = np.where(free, shares, 0.0)
        if weight.sum() == 0:
            weight = free.astype(np.float64)
        exact = weight * (left / max(weight.sum(), 1e-300))
        full = free & (exact >= room)
        if not full.any():
            break
        parts[full] = room[full]
        free &= ~full
    floors: NDArray[np.int64] = np.floor(exact).astype(np.int64)
    remainder = np.where(free & (floors < room), np.round(exact - floors, _DIGITS), -np.inf)
    floors[np.argsort(-remainder, kind="stable")[: left - int(floors.sum())]] += 1
    floors += parts
    return floors


def at_least_one(sizes: NDArray[np.int64], k: int) -> list[int]:
    """Split k over classes in proportion to their sizes, at least one each; k is not below them.

    Example:
        >>> at_least_one(np.array([10, 6, 1]), 5)  # one for the third, 2.5 and 1.5 for the others
        [3, 1, 1]
    """
    small = np.zeros(len(sizes), bool)
    while True:
        left, large = k - int(small.sum()), np.where(small, 0, sizes)
        below = ~small & (large * (left / large.sum()) < 1 - 1e-9)
        if not below.any():
            break
        small |= below
    quotas: list[int] = (small + largest_remainder(large, left, sizes)).tolist()
    return quotas
