"""Facility location: how well the picks stand for all, on all pairs or on a graph of neighbours."""

from collections.abc import Callable
from typing import Protocol

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array
from torch import Tensor

from ._lazy import Places, lazy_picks, stochastic_picks

_FAST = {"contract", "reassoc", "nnan", "ninf", "nsz"}


class Likeness(Protocol):
    """How like each other the examples are, 0 or more, asked by rows."""

    n: int
    batch: int

    def gains(self, best: NDArray[np.float32], places: Places) -> NDArray[np.float32]:
        """Sum, for each place, what it adds to the likeness `best` (n,) that all have so far."""

    def take(self, best: NDArray[np.float32], place: int) -> None:
        """Raise `best` to the likeness with this place where that is more."""


def facility_picks(
    likeness: Likeness, k: int, *, epsilon: float = 0.0, seed: int = 0
) -> tuple[Places, NDArray[np.float32]]:
    """Return k places in the order of greedy picks, and the likeness (n,) of each to its nearest.

    The sum of the latter is the objective. Greedy for sum over v of max over s in S of the
    likeness of v and s (Nemhauser, Wolsey and Fisher 1978). epsilon 0 is exact, by lazy evaluation.

    Example:
        >>> pairs = np.array([[1.0, 0.5, 0.0], [0.5, 1.0, 0.6], [0.0, 0.6, 1.0]], np.float32)
        >>> places, best = facility_picks(AllPairs(pairs), 2)
        >>> places.tolist(), best.tolist()
        ([1, 0], [1.0, 1.0, 0.6000000238418579])
    """
    best = np.zeros(likeness.n, np.float32)

    def evaluate(places: Places) -> NDArray[np.float32]:
        return likeness.gains(best, places)

    def take(place: int) -> None:
        likeness.take(best, place)

    if epsilon:
        return stochastic_picks(likeness.n, k, evaluate, take, epsilon, seed), best
    everyone = np.arange(likeness.n)
    parts = np.array_split(everyone, max(1, likeness.n // 4096))
    first = np.concatenate([evaluate(part) for part in parts])
    return lazy_picks(first, k, evaluate, take, likeness.batch), best


class AllPairs:
    """A given matrix (n, n) float32, symmetric; what is below 0 counts as 0."""

    batch = 16

    def __init__(self, pairs: NDArray[np.float32]) -> None:
        if pairs.ndim != 2 or pairs.shape[0] != pairs.shape[1] or pairs.dtype != np.float32:
            raise ValueError(f"similarities must be (n, n) float32, not {pairs.shape}")
        self.n, self._pairs = len(pairs), pairs

    def gains(self, best: NDArray[np.float32], places: Places) -> NDArray[np.float32]:
        """Read the rows of these places."""
        gains: NDArray[np.float32] = _row_gains(self._pairs, best, places)
        return gains

    def take(self, best: NDArray[np.float32], place: int) -> None:
        """Read the row of this place."""
        np.maximum(best, self._pairs[place], out=best)


class InBlocks:
    """Rows that are computed when they are asked for, so that n x n is never stored."""

    batch = 64

    def __init__(self, n: int, rows: Callable[[Places], NDArray[np.float32]]) -> None:
        self.n, self._rows = n, rows

    def gains(self, best: NDArray[np.float32], places: Places) -> NDArray[np.float32]:
        """Compute the rows of these places, 64 at a time."""
        parts = np.array_split(places, -(-len(places) // self.batch))
        found = [_row_gains(self._rows(p), best, np.arange(len(p))) for p in parts]
        return np.concatenate(found)

    def take(self, best: NDArray[np.float32], place: int) -> None:
        """Compute the row of this place."""
        np.maximum(best, self._rows(np.array([place]))[0], out=best)


class Graph:
    """Likeness along the edges of a graph, made symmetric; 1 with itself, 0 to all others."""

    batch = 16

    def __init__(self, near: NDArray[np.float32], place: NDArray[np.int64]) -> None:
        n, k = place.shape
        there = (place >= 0) & (near > 0)
        head = np.repeat(np.arange(n + 1), np.concatenate([there.sum(1), [0]]))
        edges = csr_array((near[there], (head, place[there])), shape=(n, n))
        itself = csr_array((np.ones(n, np.float32), (np.arange(n), np.arange(n))), shape=(n, n))
        whole = edges.maximum(edges.T).maximum(itself).tocsr()
        self.n, self._whole = n, whole

    def gains(self, best: NDArray[np.float32], places: Places) -> NDArray[np.float32]:
        """Walk the edges of these places."""
        whole = self._whole
        gains: NDArray[np.float32] = _edge_gains(
            whole.indptr, whole.indices, whole.data, best, places
        )
        return gains

    def take(self, best: NDArray[np.float32], place: int) -> None:
        """Walk the edges of this place."""
        part = slice(self._whole.indptr[place], self._whole.indptr[place + 1])
        ends = self._whole.indices[part]
        best[ends] = np.maximum(best[ends], self._whole.data[part])


def cosines(x: Tensor) -> NDArray[np.float32]:
    """Return (n, n) the products of all rows with all rows; half are computed, half are copied.

    Example:
        >>> cosines(torch.tensor([[1.0, 0.0], [0.6, 0.8]])).round(3).tolist()
        [[1.0, 0.6000000238418579], [0.6000000238418579, 1.0]]
    """
    n, size = len(x), 1024
    pairs = torch.empty(n, n)
    for start in range(0, n, size):
        stop = min(n, start + size)
        torch.mm(x[start:stop], x[:stop].T, out=pairs[start:stop, :stop])
        for left in range(0, start, size):
            pairs[left : left + size, start:stop] = pairs[start:stop, left : left + size].T
    return pairs.numpy()


@numba.njit(nogil=True, cache=True, fastmath=_FAST)  # type: ignore[untyped-decorator]
def _row_gain(row, best):  # type: ignore[no-untyped-def]
    """Sum in float32 over short stretches, whose sums are added in float64."""
    total = np.float64(0)
    for start in range(0, len(row), 1024):
        part = np.float32(0)
        for i in range(start, min(len(row), start + 1024)):
            part += max(row[i] - best[i], np.float32(0))
        total += part
    return total


@numba.njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def _row_gains(rows, best, places):  # type: ignore[no-untyped-def]
    out = np.empty(len(places), np.float32)
    for j in range(len(places)):
        out[j] = _row_gain(rows[places[j]], best)
    return out


@numba.njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def _edge_gains(start, ends, values, best, places):  # type: ignore[no-untyped-def]
    out = np.empty(len(places), np.float32)
    for j in range(len(places)):
        total = np.float64(0)
        for e in range(start[places[j]], start[places[j] + 1]):
            total += max(values[e] - best[ends[e]], np.float32(0))
        out[j] = total
    return out
