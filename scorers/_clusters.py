"""K-means whose result depends on the rows, not on the order they stand in."""

from collections.abc import Iterator
from contextlib import contextmanager

import faiss
import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def fit_centroids(
    embedding: Tensor,
    k: int,
    *,
    spherical: bool,
    restarts: int,
    iterations: int,
    seed: int,
    fit_at_most: int,
) -> Tensor:
    """Return k centroids (k, d) float32, the best of `restarts` runs of faiss' k-means.

    Rows go in sorted by a seeded hash of their content, and where there are more than `fit_at_most`
    the first of that order are the sample. So the same set of rows gives the same centroids however
    it is ordered, and the choice is as good as random. Spherical: rows and, after each iteration,
    centroids have length 1. Memory: a copy of at most `fit_at_most` rows.

    Example:
        >>> rows = torch.tensor([[0.0, 1.0], [0.0, 1.0], [1.0, 0.0]])
        >>> options = dict(spherical=True, restarts=1, iterations=5, seed=0, fit_at_most=9)
        >>> sorted(fit_centroids(rows, 2, **options).round().tolist())
        [[0.0, 1.0], [1.0, 0.0]]
    """
    order = np.argsort(row_hashes(embedding, seed), kind="stable")[:fit_at_most]
    sample = embedding[torch.from_numpy(order)].to(torch.float32)
    if spherical:
        sample = torch.nn.functional.normalize(sample)
    kmeans = faiss.Kmeans(
        embedding.shape[1],
        k,
        niter=iterations,
        nredo=restarts,
        seed=seed,
        spherical=spherical,
        min_points_per_centroid=1,  # silences its warning on small sets
        max_points_per_centroid=len(sample),  # the sample is ours, not drawn again
    )
    with faiss_threads(torch.get_num_threads()):
        kmeans.train(np.ascontiguousarray(sample.numpy()))
    return torch.from_numpy(np.array(kmeans.centroids, dtype=np.float32))


def row_hashes(embedding: Tensor, seed: int, chunk: int = 65536) -> NDArray[np.uint64]:
    """Return 64 bits for each row that depend on its content and the seed, not on its place.

    Example:
        >>> a, b, c = row_hashes(torch.tensor([[1.0, 2.0], [2.0, 1.0], [1.0, 2.0]]), seed=0)
        >>> bool(a == c), bool(a == b)
        (True, False)
    """
    generator = np.random.Generator(np.random.Philox(seed))
    keys = generator.integers(0, 2**32, (2, embedding.shape[1] + 1), dtype=np.uint32)
    hashes = np.empty(len(embedding), dtype=np.uint64)
    for start in range(0, len(embedding), chunk):
        rows = embedding[start : start + chunk].to(torch.float32)
        bits = np.ascontiguousarray(rows.numpy()).view(np.uint32)
        _hash(bits, keys, hashes[start : start + chunk])
    return hashes


@numba.njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def _mixed(bits):  # type: ignore[no-untyped-def]
    """Spread every bit over all 64 (the finaliser of splitmix64)."""
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))


@numba.njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def _hash(rows, keys, out):  # type: ignore[no-untyped-def]
    """Twice the NH hash (Black et al. 1999): products of pairs of words, each with a key added.

    Two different rows collide with a chance of 2 ** -32 in each, and it runs as fast as memory.
    """
    width = rows.shape[1]
    half = width // 2
    for i in range(len(rows)):
        first, second = np.uint64(0), np.uint64(0)
        for j in range(half):
            a, b = _plain(rows[i, j]), _plain(rows[i, half + j])
            first += _word(a + keys[0, j]) * _word(b + keys[0, half + j])
            second += _word(a + keys[1, j]) * _word(b + keys[1, half + j])
        if width % 2:
            last = _plain(rows[i, width - 1])
            first += _word(last + keys[0, width - 1]) * np.uint64(keys[0, width])
            second += _word(last + keys[1, width - 1]) * np.uint64(keys[1, width])
        out[i] = _mixed(_mixed(first) + second)


@numba.njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def _plain(bits):  # type: ignore[no-untyped-def]
    return np.uint32(0) if bits == np.uint32(0x80000000) else bits  # -0.0 equals 0.0


@numba.njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def _word(value):  # type: ignore[no-untyped-def]
    return np.uint64(value) & np.uint64(0xFFFFFFFF)


@contextmanager
def faiss_threads(count: int) -> Iterator[None]:
    """Let faiss use as many threads as torch was told to, and put its own number back."""
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(count)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)
