"""The search for near-copies: inside clusters, a block of rows at a time."""

from typing import NamedTuple

import faiss
import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ._clusters import faiss_threads, fit_centroids
from ._rows import sorted_rows

_BLOCK = 2**24  # products held at a time
_ROUNDING = 2e-6  # a distance in float32 up to here cannot be told from 0


class Copies(NamedTuple):
    """For each example the nearest before it in its clusters.

    Attributes:
        distance: (n,) float32, 1 - cosine; 2 where there is none before it.
        earlier: (n,) int64, which one it is; -1 where there is none. In mode "components" the
            nearest of its component may stand after it.
    """

    distance: Tensor
    earlier: Tensor


def find_copies(
    embedding: Tensor,
    mode: str,
    epsilon: float,
    first: str,
    k: int | None,
    searched: int,
    seed: int,
) -> Copies:
    """Search the clusters for earlier near-copies; the arguments are those of `duplicates`.

    Example:
        >>> find_copies(torch.eye(2), "any-earlier", 0.05, "far", 1, 1, 0).distance.sort().values
        tensor([1., 2.])
    """
    _refuse(mode, epsilon, first, searched)
    rows = sorted_rows(embedding, unit=True)
    n = len(rows.x)
    k = max(1, min(50_000, n // 1000)) if k is None else k
    if not 1 <= k <= n:
        raise ValueError(f"k={k} clusters cannot be made of {n} examples")
    likeness, cluster = _clusters(rows.x, k, min(searched, k), seed)
    to_centre = likeness[:, 0] if first == "far" else -likeness[:, 0]
    before = np.empty(n, np.int64)  # before[i]: how many stand before i, over all clusters
    before[np.argsort(to_centre, kind="stable")] = np.arange(n)
    search = _Search(rows.x, before, mode, 1 - max(epsilon, _ROUNDING))
    for members, askers in _groups(cluster, before):
        search.look(members, askers)
    if mode == "components":
        _take_nearest(search.group, search.best, search.who, search.after, search.who_after)
    search.best[search.best >= 1 - _ROUNDING] = 1
    distance, earlier = torch.empty(n), torch.full((n,), -1)
    distance[rows.order] = torch.from_numpy(1 - search.best).clamp(0, 2)
    there = torch.from_numpy(search.who >= 0)
    earlier[rows.order[there]] = rows.order[torch.from_numpy(search.who)[there]]
    return Copies(distance, earlier)


def _refuse(mode: str, epsilon: float, first: str, searched: int) -> None:
    if mode not in ("any-earlier", "kept-only", "components"):
        raise ValueError(f"mode={mode!r}: use 'any-earlier', 'kept-only' or 'components'")
    if first not in ("far", "near"):
        raise ValueError(f"first={first!r}: use 'far' or 'near'")
    if not 0 <= epsilon <= 2:
        raise ValueError(f"epsilon={epsilon} must be a cosine distance, 0 to 2")
    if searched < 1 or (searched > 1 and mode == "kept-only"):
        raise ValueError(f"searched={searched}: 1, or more in any mode but 'kept-only'")


def _clusters(x: Tensor, k: int, nearest: int, seed: int) -> tuple[NDArray, NDArray]:
    """Return (n, nearest) the cosine to the nearest centres, and which they are."""
    centres = fit_centroids(
        x, k, spherical=True, restarts=1, iterations=10, seed=seed, fit_at_most=max(100_000, k)
    )
    with faiss_threads(torch.get_num_threads()):
        likeness, cluster = faiss.knn(
            x.numpy(), centres.numpy(), nearest, metric=faiss.METRIC_INNER_PRODUCT
        )
    return likeness, cluster


def _groups(cluster: NDArray, before: NDArray) -> list[tuple[NDArray, NDArray]]:
    """Return for each cluster its members, and all who look into it, each in their order."""
    groups = []
    n, nearest = cluster.shape
    who = np.tile(np.arange(n), (nearest, 1)).T.ravel()
    order = np.lexsort((before[who], cluster.ravel()))
    who, of = who[order], cluster.ravel()[order]
    own = cluster[who, 0] == of
    bounds = np.flatnonzero(np.diff(of, prepend=-1, append=-1))
    for start, stop in zip(bounds[:-1], bounds[1:], strict=True):
        askers = who[start:stop]
        groups.append((askers[own[start:stop]], askers))
    return groups


class _Search:
    """The highest cosine (n,) to an earlier example so far, and whose it is."""

    def __init__(self, x: Tensor, before: NDArray[np.int64], mode: str, copy: float) -> None:
        self._x, self._before = x, before
        self._kept_only, self._joins, self._copy = mode == "kept-only", mode == "components", copy
        self.best = np.full(len(x), -1, np.float32)
        self.who = np.full(len(x), -1, np.int64)
        # of mode "components": the way to the first of each group, and the nearest copy after it
        self.group = np.arange(len(x) if self._joins else 0)
        self.after = np.full(len(self.group), -1, np.float32)
        self.who_after = np.full(len(self.group), -1, np.int64)

    def look(self, members: NDArray[np.int64], askers: NDArray[np.int64]) -> None:
        """Let the askers look at the members that stand before them."""
        keys = self._x[torch.from_numpy(members)]
        upto = np.searchsorted(self._before[members], self._before[askers])
        kept = np.ones(len(members), np.bool_)
        size = max(16, _BLOCK // max(1, len(members)))
        for start in range(0, len(askers), size):
            part, ends = askers[start : start + size], upto[start : start + size]
            if not ends[-1]:
                continue
            products = self._x[torch.from_numpy(part)] @ keys[: ends[-1]].T
            _look(
                products.numpy(),
                ends,
                members,
                part,
                kept,
                self._kept_only,
                self._copy,
                self.best,
                self.who,
            )
            if self._joins:
                _join(
                    products.numpy(),
                    ends,
                    members,
                    part,
                    self._copy,
                    self._before,
                    self.group,
                    self.after,
                    self.who_after,
                )


@numba.njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def _look(products, ends, members, askers, kept, kept_only, copy, best, who):  # type: ignore[no-untyped-def]
    """Take the row's highest product up to its end, of kept ones alone where that is the mode."""
    for q in range(len(askers)):
        asker = askers[q]
        row = products[q]
        highest, where = best[asker], -1
        for j in range(ends[q]):
            if row[j] > highest and (kept[j] or not kept_only):
                highest, where = row[j], j
        if where >= 0:
            best[asker] = highest
            who[asker] = members[where]
        if kept_only and best[asker] >= copy:
            kept[ends[q]] = False  # in this mode the askers are the members


@numba.njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def _first(group, i):  # type: ignore[no-untyped-def]
    """Return the first of i's group so far, and halve the way to it."""
    while group[i] != i:
        group[i] = group[group[i]]
        i = group[i]
    return i


@numba.njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def _join(products, ends, members, askers, copy, before, group, after, who_after):  # type: ignore[no-untyped-def]
    """Put an asker in one group with all its copies, and let these know it, who stands after."""
    for q in range(len(askers)):
        asker, row = askers[q], products[q]
        for j in range(ends[q]):
            if row[j] < copy:
                continue
            member = members[j]
            if row[j] > after[member]:
                after[member], who_after[member] = row[j], asker
            one, other = _first(group, asker), _first(group, member)
            if before[one] < before[other]:
                group[other] = one
            else:
                group[one] = other


@numba.njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def _take_nearest(group, best, who, after, who_after):  # type: ignore[no-untyped-def]
    """Give all but the first of each group the likeness to their nearest, also one after them."""
    for i in range(len(group)):
        if group[i] != i and after[i] > best[i]:
            best[i], who[i] = after[i], who_after[i]
