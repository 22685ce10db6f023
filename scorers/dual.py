"""DUAL: uncertain and difficult at once, early in training."""

import torch
from torch import Tensor

from ._visits import finished
from ._windows import Window, fold_windows


def dual(loss: Tensor, *, window: int = 10, epochs: int | None = None) -> Tensor:
    """Average (sample standard deviation of p_y) x (1 - mean p_y) over sliding windows.

    High means uncertain and hard. Cho et al. 2025, "Lightweight Dataset Pruning without Full
    Training via Example Difficulty and Prediction Uncertainty": windows of 10 epochs among the
    first 30 of 200 (CIFAR), both factors of the same window. The paper then samples by a Beta law,
    which no keep rule here does. Windows hold an example's own visits; one with fewer visits than
    a window has a single window of them all.

    Args:
        loss: (epochs, n) of the plain label, NaN where not visited.
        window: visits in a window, at least 2.
        epochs: use only rows[:epochs]; None means all.

    Returns:
        (n,) float32, 0 or more. Memory: a few (n,) vectors.

    Raises:
        ValueError: an example with fewer than 2 visits.

    Example:
        >>> dual(torch.tensor([[0.5, 0.5], [0.5, 1.0]]).log().neg())
        tensor([0.0000, 0.0884])
    """

    # The window holds 1 - p_y: same spread, its mean is the second factor, and the easy end keeps
    # its digits.
    def add_product(total: Tensor, part: Window) -> Tensor:
        return total + (part.squares / (part.size - 1)).sqrt() * part.mean

    total, windows = fold_windows(loss[:epochs], window, add_product, lambda c: -torch.expm1(-c))
    return finished(total / windows)
