"""Distance to a prototype: how unlike its own cluster's centre an example is."""

import math

import torch
from torch import Tensor
from torch.nn.functional import normalize

from ._clusters import fit_centroids
from ._rows import refuse_not_finite
from ._visits import finished


def prototypes(
    embedding: Tensor,
    *,
    k: int | None = None,
    spherical: bool = True,
    restarts: int = 3,
    iterations: int = 20,
    seed: int = 0,
    fit_at_most: int = 100_000,
) -> Tensor:
    """Return each example's distance to the nearest of k cluster centres.

    High means far: unusual, hard. Sorscher et al. 2022, "Beyond Neural Scaling Laws": spherical
    k-means on self-supervised features, cosine distance. They keep the far ones when data is plenty
    and the near ones (rule `bottom`) when little is kept, and a floor for each class either way.
    Reordering the rows reorders the scores and changes nothing else.

    Args:
        embedding: (n, d), no row NaN or infinite.
        k: clusters. The paper takes the number of classes, and finds a factor either way harmless.
            None, when that is unknown: sqrt(n / 2), at least 2 and at most the paper's 1000.
        spherical: normalise rows and centroids, distance = 1 - cosine; else L2 on the rows as is.
        restarts: k-means runs, of which the best is kept.
        iterations: of each run.
        seed: of the starting centroids.
        fit_at_most: rows that k-means sees, a seeded sample of them; all are scored.

    Returns:
        (n,) float32, in [0, 2] when spherical. Memory: `fit_at_most` rows and two blocks of rows.

    Raises:
        ValueError: a row that is not finite, or k outside 1 .. n.

    Example:
        >>> prototypes(torch.tensor([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0]]), k=2).tolist()
        [0.0, 0.0, 0.0]
    """
    return prototype_clusters(
        embedding,
        k=k,
        spherical=spherical,
        restarts=restarts,
        iterations=iterations,
        seed=seed,
        fit_at_most=fit_at_most,
    )[1]


def prototype_clusters(
    embedding: Tensor,
    *,
    k: int | None = None,
    spherical: bool = True,
    restarts: int = 3,
    iterations: int = 20,
    seed: int = 0,
    fit_at_most: int = 100_000,
) -> tuple[Tensor, Tensor]:
    """Return each example's cluster and its distance to that cluster's centre.

    Arguments are those of `prototypes`, which gives the second alone.

    Returns:
        cluster (n,) int64, from 0 to k - 1, and distance (n,) float32.

    Example:
        >>> rows = torch.tensor([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0]])
        >>> cluster, distance = prototype_clusters(rows, k=2)
        >>> bool(cluster[0] == cluster[1] != cluster[2])
        True
    """
    n = len(embedding)
    k = min(n, 1000, max(2, round(math.sqrt(n / 2)))) if k is None else k
    if not 1 <= k <= min(n, fit_at_most):
        raise ValueError(f"k={k} clusters cannot be made of {min(n, fit_at_most)} examples")
    refuse_not_finite(embedding)
    centroids = fit_centroids(
        embedding,
        k,
        spherical=spherical,
        restarts=restarts,
        iterations=iterations,
        seed=seed,
        fit_at_most=fit_at_most,
    )
    parts = [_nearest(block, centroids, spherical) for block in embedding.split(1024)]
    return torch.cat([part[0] for part in parts]), finished(torch.cat([part[1] for part in parts]))


def _nearest(rows: Tensor, centroids: Tensor, spherical: bool) -> tuple[Tensor, Tensor]:
    """Return the nearest centroid (b,) and its distance, by differences, which lose no digits."""
    rows = normalize(rows.to(torch.float32)) if spherical else rows.to(torch.float32)
    nearest = (rows @ centroids.T - centroids.square().sum(1) / 2).argmax(1)
    squared = (rows - centroids[nearest]).square().sum(1)
    if not spherical:
        return nearest, squared.sqrt()
    # 1 - cosine of unit vectors; the last term makes a row of zeros, which has no direction, 1.
    return nearest, squared / 2 + (1 - rows.square().sum(1)).round() / 2
