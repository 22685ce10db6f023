"""Last-layer gradients as the two factors that they are made of; the products are never stored."""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ._rows import sorted_rows


class Gradients(NamedTuple):
    """The gradient of example i is the outer product of error[i] and feature[i], classes x d.

    So g_i . g_j = (error_i . error_j) (feature_i . feature_j). Rows stand in the order of a hash of
    their content.

    Attributes:
        error: (n, classes) float32, p - onehot.
        feature: (n, d + 1) float32; the last is 1, for the bias.
        order: (n,) int64, the example that stands at each place.
    """

    error: Tensor
    feature: Tensor
    order: Tensor

    def norms(self) -> Tensor:
        """Return (n,) the length of each gradient."""
        length: Tensor = self.error.norm(dim=1) * self.feature.norm(dim=1)
        return length

    def mean(self) -> Tensor:
        """Return (classes, d + 1) float64 the gradient of the mean loss."""
        total = torch.zeros(self.error.shape[1], self.feature.shape[1], dtype=torch.float64)
        for e, h in zip(self.error.split(65536), self.feature.split(65536), strict=True):
            total += e.to(torch.float64).T @ h.to(torch.float64)
        return total / len(self.error)

    def along(self, direction: Tensor) -> Tensor:
        """Return (n,) the inner products with a direction (classes, d + 1)."""
        towards = direction.to(torch.float32)
        parts = zip(self.error.split(65536), self.feature.split(65536), strict=True)
        return torch.cat([((e @ towards) * h).sum(1) for e, h in parts])

    def distances(self, places: NDArray[np.int64]) -> Tensor:
        """Return (b, n) the distances of these to all."""
        rows = torch.from_numpy(places)
        squared = self.norms().square_()
        apart = (self.error[rows] @ self.error.T).mul_(self.feature[rows] @ self.feature.T)
        return apart.mul_(-2).add_(squared).add_(squared[rows][:, None]).clamp_(min=0).sqrt_()


def gradients(errors: Tensor, embedding: Tensor, k: int) -> Gradients:
    """Put the factors together, having looked whether k can be chosen of them.

    Raises:
        ValueError: sources that do not fit, rows that are not finite, or k outside 1 to n.

    Example:
        >>> found = gradients(torch.tensor([[0.5, -0.5]]), torch.tensor([[2.0]]), 1)
        >>> found.mean().tolist(), found.norms().tolist()
        ([[1.0, 0.5], [-1.0, -0.5]], [1.5811388492584229])
    """
    if errors.ndim != 2 or embedding.ndim != 2 or len(errors) != len(embedding):
        raise ValueError(
            "errors must be (n, classes) and embedding (n, d), not "
            f"{tuple(errors.shape)} and {tuple(embedding.shape)}"
        )
    refuse_size(k, len(errors))
    classes = errors.shape[1]
    rows = sorted_rows(torch.cat([errors.to(torch.float32), embedding.to(torch.float32)], 1))
    return Gradients(rows.x[:, :classes].contiguous(), with_one(rows.x[:, classes:]), rows.order)


def with_one(features: Tensor) -> Tensor:
    """Append a column of ones: the input of the bias.

    Example:
        >>> with_one(torch.tensor([[2.0]])).tolist()
        [[2.0, 1.0]]
    """
    return torch.cat([features.to(torch.float32), torch.ones(len(features), 1)], 1)


def refuse_size(k: int, n: int) -> None:
    """Refuse to choose none, or more than there are.

    Example:
        >>> refuse_size(3, 3)
    """
    if not 1 <= k <= n:
        raise ValueError(f"k={k} must be between 1 and the {n:,} examples")


def mean_one(weights: Tensor) -> Tensor:
    """Return the weights as float32 with mean 1.

    Example:
        >>> mean_one(torch.tensor([1, 3])).tolist()
        [0.5, 1.5]
    """
    weights = weights.to(torch.float64)
    return (weights / weights.mean()).to(torch.float32)
