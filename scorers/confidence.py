"""Confidence, of dataset cartography: the mean probability of the label."""

import torch
from torch import Tensor

from ._visits import mean_of_visits


def confidence(loss: Tensor) -> Tensor:
    """Return 1 - the mean probability of the label over each example's own visits.

    High means low confidence: hard to learn or mislabelled. Swayamdipta et al. 2020, "Dataset
    Cartography"; the paper's confidence is 1 minus this score. Read it beside `variability`: low
    confidence with low variability is where wrong labels are.

    Args:
        loss: (epochs, n) of the plain label, NaN where not visited.

    Returns:
        (n,) float32 in [0, 1]. Memory: two (n,) vectors.

    Raises:
        ValueError: an example never visited.

    Example:
        >>> confidence(torch.tensor([[0.5, 1.0], [0.75, 1.0]]).log().neg()).tolist()
        [0.375, 0.0]
    """
    return mean_of_visits(loss, value=lambda c: -torch.expm1(-c))
