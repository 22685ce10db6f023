"""The nearest neighbours of every example, by faiss."""

import math
from typing import Any

import faiss
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ._clusters import faiss_threads

# Up to here all pairs are compared; beyond, the lists of a sixteenth of the clusters at most.
ALL_PAIRS = 200_000


def nearest_neighbours(
    x: Tensor, k: int, *, cosine: bool = True
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return for each row its k nearest others, nearest first: how near, and which.

    Exact up to 200,000 rows; beyond, faiss' inverted lists, of which each row searches the nearest,
    and where those hold too few the places are -1.

    Args:
        x: (n, d) float32; for cosines, of length 1.
        k: at most n - 1.
        cosine: give inner products, highest first; else squared distances, least first.

    Raises:
        ValueError: a k outside 1 to n - 1.

    Example:
        >>> gap, place = nearest_neighbours(torch.tensor([[0.0], [1.0], [3.0]]), 1, cosine=False)
        >>> gap[:, 0].tolist(), place[:, 0].tolist()
        ([1.0, 1.0, 4.0], [1, 0, 1])
    """
    n = len(x)
    if not 1 <= k < n:
        raise ValueError(f"{k} neighbours cannot be had of {n} examples; ask for 1 to {n - 1}")
    near, place = np.empty((n, k), np.float32), np.empty((n, k), np.int64)
    rows = np.ascontiguousarray(x.numpy())
    metric = faiss.METRIC_INNER_PRODUCT if cosine else faiss.METRIC_L2
    with faiss_threads(torch.get_num_threads()):
        search = _searcher(rows, metric)
        for start in range(0, n, 16384):
            part = slice(start, min(n, start + 16384))
            found, which = search(rows[part], k + 1)
            _leave_out_itself(found, which, start, near[part], place[part])
    return near, place


def _searcher(rows: NDArray[np.float32], metric: int) -> Any:
    n, d = rows.shape
    if n <= ALL_PAIRS:
        return lambda part, k: faiss.knn(part, rows, k, metric=metric)
    lists = 4 * math.isqrt(n)
    index = faiss.IndexIVFFlat(faiss.IndexFlat(d, metric), d, lists, metric)
    index.cp.niter, index.cp.max_points_per_centroid = 10, 64
    index.cp.min_points_per_centroid = 1
    index.train(rows)
    index.add(rows)
    index.nprobe = max(8, lists // 128)
    return index.search


def _leave_out_itself(
    found: NDArray, which: NDArray, start: int, near: NDArray, place: NDArray
) -> None:
    """Drop the row itself, which a copy of it may have pushed from the first place, or out."""
    k = near.shape[1]
    itself = which == np.arange(start, start + len(which))[:, None]
    itself[~itself.any(1), k] = True
    near[:] = found[~itself].reshape(-1, k)
    place[:] = which[~itself].reshape(-1, k)
