"""Greedy picks by a product with a direction that turns with each pick."""

from collections.abc import Callable

import torch
from torch import Tensor


def picks_towards(
    x: Tensor, bias: Tensor, direction: Tensor, k: int, turn: Callable[[Tensor], Tensor]
) -> Tensor:
    """Return k places (k,) int64: each has the highest x . direction + bias left.

    One matrix-vector product a pick, and (n,) of memory besides x. Ties go to the lower place.

    Args:
        x: (n, d) float32.
        bias: (n,) float32.
        direction: (d,) float64 at the start.
        k: how many to pick.
        turn: given the row that was picked (d,) float64, what to add to the direction.

    Example:
        >>> x = torch.tensor([[1.0, 0.0], [0.9, 0.1], [0.0, 0.8]])
        >>> start = torch.ones(2, dtype=torch.float64)
        >>> picks_towards(x, torch.zeros(3), start, 2, lambda row: -row).tolist()
        [0, 2]
    """
    left, value = bias.clone(), torch.empty_like(bias)
    picks = torch.empty(k, dtype=torch.int64)
    for t in range(k):
        torch.addmv(left, x, direction.to(torch.float32), out=value)
        pick = int(value.argmax())
        picks[t] = pick
        left[pick] = -torch.inf
        direction = direction + turn(x[pick].to(torch.float64))
    return picks
