"""Greedy maximisation where a gain is costly to compute and can only fall: lazy and stochastic."""

import heapq
import math
from collections.abc import Callable

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
    heap = [(-value, place) for place, value in enumerate(gain.tolist())]
    heapq.heapify(heap)
    fresh = np.zeros(len(gain), np.int64)  # at how many picks the gain was computed
    picks: list[int] = []
    while len(picks) < k:
        _, top = heapq.heappop(heap)
        if fresh[top] == len(picks):
            picks.append(top)
            take(top)
            continue
        stale = [top]
        while len(stale) < batch and heap and fresh[heap[0][1]] < len(picks):
            stale.append(heapq.heappop(heap)[1])
        places = np.array(stale)
        fresh[places] = len(picks)
        for value, place in zip(evaluate(places).tolist(), stale, strict=True):
            heapq.heappush(heap, (-value, place))
    return np.array(picks, np.int64)


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
