"""CRAIG: examples whose weighted gradients stand for those of all."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ._facility import AllPairs, InBlocks, Likeness, facility_picks
from ._gradients import Gradients, gradients, mean_one
from ._memory import free_memory


def craig(
    errors: Tensor, embedding: Tensor, k: int, *, epsilon: float = 0.0, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """Choose k examples so that every gradient has one near it, and weigh them by how many do.

    Mirzasoleiman, Bilmes and Leskovec 2020, "Coresets for Data-efficient Training of Machine
    Learning Models": greedy for the sum over all i of the least ||g_i - g_j|| to a chosen j, which
    is facility location on a constant less the distance; the weight of j is the number of examples
    whose nearest chosen one it is. g is the gradient of the last layer, bias included. The paper
    chooses in each class by itself: `select(..., per_class=True)`.

    Args:
        errors: (n, classes), p - onehot of a clean pass.
        embedding: (n, d), the input of the last layer; ones (n, 1) for the errors alone.
        k: how many.
        epsilon: 0 looks for the best of all at each pick; above, in a random sample, within that
            much of the same bound.
        seed: of the samples.

    Returns:
        indices (k,) int64 in the order of the picks, weights (k,) float32 of mean 1. Memory: n x n
        distances where they take a quarter of what is free at most; else blocks of them, computed
        anew when they are asked for.

    Raises:
        ValueError: sources that do not fit each other, or k outside 1 to n.

    Example:
        >>> errors = torch.tensor([[-0.9, 0.9], [-0.8, 0.8], [-0.7, 0.7], [0.5, -0.5]])
        >>> indices, weights = craig(errors[[0, 0, 1, 2, 3]], torch.ones(5, 1), 2)
        >>> indices.tolist(), weights.tolist()
        ([2, 4], [1.600000023841858, 0.4000000059604645])
    """
    of = gradients(errors, embedding, k)
    far = 2 * float(of.norms().max())  # no two are farther apart
    likeness = _likeness(of, far)
    places, best = facility_picks(likeness, k, epsilon=epsilon, seed=seed)
    size = _cluster_sizes(of, places)
    return of.order[torch.from_numpy(places)], mean_one(size)


def _likeness(of: Gradients, far: float) -> Likeness:
    n = len(of.error)

    def rows(places: NDArray[np.int64]) -> NDArray[np.float32]:
        near: NDArray[np.float32] = of.distances(places).neg_().add_(far).numpy()
        return near

    if 16 * n * n > free_memory():
        return InBlocks(n, rows)
    pairs = np.empty((n, n), np.float32)
    for start in range(0, n, 1024):
        part = np.arange(start, min(n, start + 1024))
        pairs[part] = rows(part)
    return AllPairs(pairs)


def _cluster_sizes(of: Gradients, places: NDArray[np.int64]) -> Tensor:
    """Count the examples nearest to each place; every place is nearest to itself."""
    least = torch.full((len(of.error),), torch.inf)
    owner = torch.zeros(len(of.error), dtype=torch.int64)
    for start in range(0, len(places), 256):
        value, which = of.distances(places[start : start + 256]).min(0)
        closer = value < least
        least[closer], owner[closer] = value[closer], which[closer] + start
    owner[torch.from_numpy(places)] = torch.arange(len(places))
    return owner.bincount(minlength=len(places))
