"""Variability, of dataset cartography: the spread of the label's probability."""

import torch
from torch import Tensor

from ._visits import finished, refuse_unvisited, visits


def variability(loss: Tensor) -> Tensor:
    """Return the population standard deviation of p_y over each example's own visits.

    High means the network kept changing its mind: ambiguous, and in the paper the part of a data
    set that trains best out of distribution. Swayamdipta et al. 2020, "Dataset Cartography",
    divides by the number of epochs, not by one less; a single visit has variability 0.

    Args:
        loss: (epochs, n) of the plain label, NaN where not visited.

    Returns:
        (n,) float32 in [0, 0.5]. Memory: three (n,) vectors, one pass.

    Raises:
        ValueError: an example never visited.

    Example:
        >>> variability(torch.tensor([[0.25, 1.0], [0.75, 1.0]]).log().neg()).tolist()
        [0.25, 0.0]
    """
    mean, squares, count = (torch.zeros(loss.shape[-1], dtype=torch.float64) for _ in range(3))
    for seen, (row,) in visits(loss):  # Welford's update: sums of squares would cancel
        count += seen
        ahead = (-torch.expm1(-row) - mean).where(seen, 0.0)
        mean += ahead / count.clamp(min=1)
        squares += ahead * ahead * (1 - 1 / count.clamp(min=1))
    refuse_unvisited(count)
    return finished((squares / count).sqrt())
