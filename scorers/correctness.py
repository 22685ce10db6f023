"""Correctness, of dataset cartography: how often the label was predicted."""

from torch import Tensor

from ._visits import mean_of_visits


def correctness(margin: Tensor) -> Tensor:
    """Return the share of each example's own visits at which it was wrong.

    High means wrong often. Swayamdipta et al. 2020, "Dataset Cartography"; the paper's correctness
    is 1 minus this score. A margin above 0 is right; exactly 0 is wrong. Few distinct values, so
    many ties.

    Args:
        margin: (epochs, n) label logit minus the largest other, NaN where not visited.

    Returns:
        (n,) float32 in [0, 1]. Memory: two (n,) vectors.

    Raises:
        ValueError: an example never visited.

    Example:
        >>> import torch
        >>> correctness(torch.tensor([[1.0, -1.0], [2.0, 1.0]])).tolist()
        [0.0, 0.5]
    """
    return mean_of_visits(margin, value=lambda m: (m <= 0).double())
