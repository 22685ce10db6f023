"""K-means whose result depends on the rows, not on the order they stand in."""

from collections.abc import Iterator
from contextlib import contextmanager

import faiss
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
    factors = generator.integers(0, 2**64, embedding.shape[1], dtype=np.uint64) | np.uint64(1)
    hashes = np.empty(len(embedding), dtype=np.uint64)
    for start in range(0, len(embedding), chunk):
        rows = embedding[start : start + chunk].to(torch.float32) + 0.0  # -0.0 equals 0.0
        bits = np.ascontiguousarray(rows.numpy()).view(np.uint32).astype(np.uint64)
        hashes[start : start + chunk] = _mixed(_mixed(bits + factors) * factors).sum(1)
    return _mixed(hashes)


def _mixed(bits: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Spread every bit over all 64 (the finaliser of splitmix64)."""
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))


@contextmanager
def faiss_threads(count: int) -> Iterator[None]:
    """Let faiss use as many threads as torch was told to, and put its own number back."""
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(count)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)
