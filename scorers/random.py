"""The baseline that every other order has to beat."""

import torch
from torch import Tensor


def random(n: int, seed: int) -> Tensor:
    """Give every example its place in a seeded shuffle.

    High means nothing: the order is arbitrary, and the same for the same `n` and `seed`. Places are
    distinct, so no rule has a tie to break. Random pruning is the baseline that score-only pruning
    often fails to beat when little is kept: Ayed and Hayou 2023, arXiv 2302.06960.

    Args:
        n: how many examples.
        seed: which shuffle.

    Returns:
        (n,) float32, the numbers 0 to n - 1.

    Example:
        >>> sorted(random(4, seed=0).tolist())
        [0.0, 1.0, 2.0, 3.0]
    """
    generator = torch.Generator().manual_seed(seed)
    return torch.randperm(n, generator=generator).to(torch.float32)
