"""Greedy maximisation where a gain is costly to compute and can only fall: lazy and stochastic."""

import math
from collections.abc import Callable

import numba
import numpy as np
from numpy.typing import NDArray

Places = NDArray[np.int64]
Evaluate = Callable[[Places], NDArray[np.floating]]


def lazy_picks(
    gain: NDArray[np.floating], k: int, evaluate: Evaluate, take: Callable[[int], None], batch: int
) -> Places:
    """Return k places, each the one with the highest gain; ties to the lower place.

    Minoux 1978: a gain computed before the latest picks is too high if anything, so an example is
    looked at again only when it stands on top, together with those next to it.

    Args:
        gain: (n,) before any pick.
        k: how many to pick.
        evaluate: the gains of these places now.
        take: told each pick.
        batch: how many to look at again in one call.

    Example:
        >>> values = np.array([1.0, 3.0, 2.0])
        >>> lazy_picks(values, 2, lambda places: values[places], lambda pick: None, 1).tolist()
        [1, 2]
    """
    order = np.argsort(-gain, kind="stable")  # which is a heap, the highest first
    cost, heap = -gain[order].astype(np.float64), order.astype(np.int64)
    fresh = np.zeros(len(gain), np.int64)  # at how many picks the gain was computed
    picks, stale, size = np.empty(k, np.int64), np.empty(batch, np.int64), len(gain)
    for t in range(k):
        while count := _pop(cost, heap, size, fresh, t, stale):
            places = stale[:count]
            value = evaluate(places)
            _push(cost, heap, size - count, places, np.asarray(value, np.float64))
            fresh[places] = t
        size -= 1
        picks[t] = stale[0]
        take(int(stale[0]))
    return picks


def stochastic_picks(
    n: int, k: int, evaluate: Evaluate, take: Callable[[int], None], epsilon: float, seed: int
) -> Places:
    """Return k places, each the best of a random sample of n / k log(1 / epsilon) of those left.

    Mirzasoleiman et al. 2015, "Lazier than lazy greedy": within 1 - 1/e - epsilon of the best
    possible in expectation, from n log(1 / epsilon) evaluations in all.

    Raises:
        ValueError: an epsilon outside 0 to 1.

    Example:
        >>> values = np.array([1.0, 3.0, 2.0])
        >>> few = lambda places: values[places]
        >>> sorted(stochastic_picks(3, 3, few, lambda pick: None, 0.1, seed=0).tolist())
        [0, 1, 2]
    """
    if not 0 < epsilon < 1:
        raise ValueError(f"epsilon={epsilon} must be above 0, which is exact, and below 1")
    rng = np.random.Generator(np.random.Philox(seed))
    left, size = np.arange(n), math.ceil(n / k * math.log(1 / epsilon))
    picks = np.empty(k, np.int64)
    for t in range(k):
        at = np.sort(rng.choice(len(left), min(size, len(left)), replace=False, shuffle=False))
        best = at[int(evaluate(left[at]).argmax())]
        picks[t] = left[best]
        take(int(picks[t]))
        left[best] = left[-1]
        left = left[:-1]
    return picks


@numba.njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def _pop(cost, heap, size, fresh, now, out):  # type: ignore[no-untyped-def]
    """Take the top and those next to it that are out of date; return how many, 0 if it is not."""
    out[0] = heap[0]
    first_is_fresh = fresh[heap[0]] == now
    _drop_top(cost, heap, size)
    if first_is_fresh:
        return 0
    count = 1
    while count < len(out) and count < size and fresh[heap[0]] < now:
        out[count] = heap[0]
        _drop_top(cost, heap, size - count)
        count += 1
    return count


@numba.njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def _drop_top(cost, heap, size):  # type: ignore[no-untyped-def]
    """Move the last into the hole at the top, and down to where it belongs."""
    value, place = cost[size - 1], heap[size - 1]
    hole = 0
    while True:
        child = 2 * hole + 1
        if child >= size - 1:
            break
        other = child + 1
        if other < size - 1 and _before(cost[other], heap[other], cost[child], heap[child]):
            child = other
        if not _before(cost[child], heap[child], value, place):
            break
        cost[hole], heap[hole] = cost[child], heap[child]
        hole = child
    cost[hole], heap[hole] = value, place


@numba.njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def _push(cost, heap, size, places, gains):  # type: ignore[no-untyped-def]
    for j in range(len(places)):
        value, place, hole = -gains[j], places[j], size + j
        while hole > 0:
            parent = (hole - 1) // 2
            if not _before(value, place, cost[parent], heap[parent]):
                break
            cost[hole], heap[hole] = cost[parent], heap[parent]
            hole = parent
        cost[hole], heap[hole] = value, place


@numba.njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def _before(cost, place, other_cost, other_place):  # type: ignore[no-untyped-def]
    return cost < other_cost or (cost == other_cost and place < other_place)
