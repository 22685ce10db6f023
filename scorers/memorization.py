"""Memorization: how much an example must be trained on to be right."""

import torch
from torch import Tensor

from ._ensembles import contrast
from ._visits import finished


def memorization(member: Tensor, correct: Tensor) -> Tensor:
    """Return the share of right runs with the example, minus the share of right runs without it.

    High means memorised: right only when trained on. Feldman and Zhang 2020, "What Neural Networks
    Memorize and Why": runs on random subsets of 70 %, thousands of them. A training accuracy alone
    is not memorization. With R runs an example is left out of 0.3 R; see `memorization_error`.

    Args:
        member: (runs, n) bool, whether the run trained on the example.
        correct: (runs, n) bool, whether the trained network was right on it.

    Returns:
        (n,) float32 in [-1, 1]. Memory: four (n,) vectors.

    Raises:
        ValueError: an example in all runs or in none.

    Example:
        >>> member = torch.tensor([[True, True], [False, True], [True, False], [False, False]])
        >>> correct = torch.tensor([[True, True], [False, True], [True, True], [False, True]])
        >>> memorization(member, correct).tolist()
        [1.0, 0.0]
    """
    inside, outside, _, _ = contrast(member, correct)
    return finished(inside - outside)


def memorization_error(member: Tensor, correct: Tensor) -> Tensor:
    """Return the standard error (n,) of `memorization`.

    Each side is a share of few runs; one right and one wrong run are added to it (Agresti and
    Caffo 2000), so that a side with all right does not pass for certain.

    Example:
        >>> member = torch.tensor([[True], [True], [False], [False]])
        >>> round(memorization_error(member, member).item(), 3)
        0.306
    """
    inside, outside, *counts = contrast(member, correct)
    variance = torch.zeros_like(inside)
    for rate, runs in zip((inside, outside), counts, strict=True):
        share = (rate * runs + 1) / (runs + 2)
        variance += share * (1 - share) / (runs + 2)
    return finished(variance.sqrt())
