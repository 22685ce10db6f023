"""GradMatch: a weighted sum of few gradients that matches the gradient of all."""

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ._gradients import Gradients, gradients, mean_one
from ._memory import refuse_beyond_memory


def gradmatch(
    errors: Tensor,
    embedding: Tensor,
    k: int,
    *,
    ridge: float = 0.5,
    tolerance: float = 0.0,
    seed: int = 0,
) -> tuple[Tensor, Tensor]:
    """Choose k examples and weights so that their gradients add up to the mean gradient.

    Killamsetty et al. 2021, "GRAD-MATCH: Gradient Matching based Data Subset Selection for
    Efficient Deep Model Training": orthogonal matching pursuit with weights of 0 or more. Each pick
    has the highest inner product with what is left to match; then all weights are fitted again, to
    the least squared rest plus `ridge` times their squares. The target is the mean gradient: the
    sum, as in CORDS, gives the same picks and, at mean 1, the same weights.

    Args:
        errors: (n, classes), p - onehot of a clean pass.
        embedding: (n, d), the input of the last layer; ones (n, 1) for the errors alone.
        k: how many.
        ridge: keeps the weights even; 0.5 in the paper's settings.
        tolerance: stop where the squared rest is this share of the squared target.
        seed: of the filling.

    Returns:
        indices (k,) int64, the matched ones first, in the order of their picks; weights (k,)
        float32 of mean 1. Where fewer than k match, those that lower nothing are replaced by
        examples drawn at random, whose weight is the mean of the others'. Memory: k x k float64.

    Raises:
        ValueError: sources that do not fit each other, k outside 1 to n, products of k gradients
            that do not fit into memory, or a negative ridge.

    Example:
        >>> errors = torch.tensor([[-0.9, 0.9], [-0.3, 0.3], [0.6, -0.6]])
        >>> indices, weights = gradmatch(errors, torch.tensor([[1.0], [1.0], [0.0]]), 2)
        >>> indices.tolist()
        [0, 2]
    """
    if not ridge >= 0:
        raise ValueError(f"ridge={ridge} must be 0 or more")
    of = gradients(errors, embedding, k)
    refuse_beyond_memory(
        8 * k * k, f"the products of {k:,} gradients", "choose fewer, or in each class by itself"
    )
    places, weights = _pursue(of, k, ridge, tolerance)
    there = weights > 0
    places, weights = places[there], weights[there]
    if len(places) < k:
        places, weights = _filled(places, weights, len(of.error), k, seed)
    return of.order[torch.from_numpy(places)], mean_one(torch.from_numpy(weights))


def _pursue(
    of: Gradients, k: int, ridge: float, tolerance: float
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the places that were picked, in turn, and their weights, some of which may be 0."""
    target = of.mean()
    rest, whole = target, float(target.square().sum())
    match = of.along(target).to(torch.float64)
    gram, wanted, weights = np.zeros((k, k)), np.zeros(k), np.zeros(k)
    picks: list[int] = []
    taken = torch.zeros(len(of.error), dtype=torch.bool)
    while len(picks) < k:
        left = of.along(rest).masked_fill_(taken, -torch.inf)
        pick = int(left.argmax())
        if not left[pick] > 0:
            break
        t = len(picks)
        picks.append(pick)
        taken[pick] = True
        error, feature = of.error[picks].double(), of.feature[picks].double()
        gram[t, : t + 1] = ((error @ error[t]) * (feature @ feature[t])).numpy()
        gram[: t + 1, t] = gram[t, : t + 1]
        wanted[t] = float(match[pick])
        _fit(gram[: t + 1, : t + 1], wanted[: t + 1], ridge, weights[: t + 1])
        rest = target - (error * torch.from_numpy(weights[: t + 1])[:, None]).T @ feature
        if float(rest.square().sum()) <= tolerance * whole:
            break
    return np.array(picks, np.int64), weights[: len(picks)]


@numba.njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def _fit(gram, wanted, ridge, weights):  # type: ignore[no-untyped-def]
    """Minimise w G w / 2 - b w + ridge w w / 2 over w >= 0, from the weights before, in place."""
    t = len(weights)
    for _ in range(1000):
        moved, largest = 0.0, 1e-300
        for j in range(t):
            scale = gram[j, j] + ridge
            if scale <= 0:
                continue
            slope = wanted[j] - ridge * weights[j]
            for i in range(t):
                slope -= gram[j, i] * weights[i]
            new = max(0.0, weights[j] + slope / scale)
            moved = max(moved, abs(new - weights[j]))
            weights[j] = new
            largest = max(largest, new)
        if moved <= 1e-9 * largest:
            break


def _filled(
    places: NDArray[np.int64], weights: NDArray[np.float64], n: int, k: int, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    rng = np.random.Generator(np.random.Philox(seed))
    rest = np.setdiff1d(np.arange(n), places)
    drawn = rng.choice(rest, k - len(places), replace=False, shuffle=False)
    same = weights.mean() if len(weights) else 1.0
    return np.concatenate([places, drawn]), np.concatenate([weights, np.full(len(drawn), same)])
