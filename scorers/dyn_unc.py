"""Dyn-Unc: how uncertain the label's probability is within windows of training."""

import torch
from torch import Tensor

from ._visits import finished
from ._windows import Window, fold_windows


def dyn_unc(loss: Tensor, *, window: int = 10, epochs: int | None = None) -> Tensor:
    """Average the sample standard deviation of p_y in a sliding window over all windows.

    High means uncertain: p_y moves from epoch to epoch. He et al. 2024, "Large-scale Dataset
    Pruning with Dynamic Uncertainty"; windows of 10 epochs, divided by 9, training-pass rows. The
    factor 10 of the release is left out. Windows hold an example's own visits; one with fewer
    visits than a window has a single window of them all.

    Args:
        loss: (epochs, n) of the plain label, NaN where not visited.
        window: visits in a window, at least 2.
        epochs: use only rows[:epochs]; -1 leaves out the last row, as the authors' release does.

    Returns:
        (n,) float32, 0 or more. Memory: a few (n,) vectors.

    Raises:
        ValueError: an example with fewer than 2 visits.

    Example:
        >>> dyn_unc(torch.tensor([[0.5, 0.5], [0.5, 0.75]]).log().neg())
        tensor([0.0000, 0.1768])
    """

    def add_spread(total: Tensor, part: Window) -> Tensor:
        return total + (part.squares / (part.size - 1)).sqrt()

    total, windows = fold_windows(loss[:epochs], window, add_spread, lambda c: -torch.expm1(-c))
    return finished(total / windows)
