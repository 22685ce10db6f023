"""Shares of a whole in whole numbers, exactly: the largest-remainder method."""

import numpy as np
from numpy.typing import NDArray


def largest_remainder(
    shares: NDArray[np.float64], total: int, capacity: NDArray[np.int64] | None = None
) -> NDArray[np.int64]:
    """Split `total` in proportion to `shares`; the parts add up to it exactly.

    Floors first, then one more to the largest remainders, the lower position first among equal
    ones. What a full part cannot take goes to the others, again in proportion.

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
    while (left := total - int(parts.sum())) > 0:
        open_parts = parts < room
        weight = np.where(open_parts, shares, 0.0)
        if weight.sum() == 0:
            weight = open_parts.astype(np.float64)
        exact = weight * (left / weight.sum())
        step = np.minimum(np.floor(exact + 1e-9).astype(np.int64), room - parts)
        spare = left - int(step.sum())
        remainder = np.where(open_parts & (step < room - parts), exact - step, -1.0)
        if step.sum() == 0 or (step == np.floor(exact + 1e-9)).all():
            ranked = np.argsort(-remainder, kind="stable")[:spare]
            step[ranked[remainder[ranked] >= 0]] += 1
        parts += step
    return parts
