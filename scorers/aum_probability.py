"""Area under the margin in probabilities: the bounded form that several programs call AUM."""

import torch
from torch import Tensor

from ._visits import mean_of_visits


def aum_probability(margin: Tensor, loss: Tensor) -> Tensor:
    """Return minus the mean of p_y - largest other p, over each example's own visits.

    High means a low margin: hard or mislabelled. Zheng et al. 2023, "Coverage-centric Coreset
    Selection", and programs that descend from it use this for AUM. It saturates where logits do not
    and so ranks the easy and the very wrong differently from `aum`. Both probabilities follow from
    the two traces: p_y = exp(-loss), the other = exp(-loss - margin).

    Args:
        margin: (epochs, n) label logit minus the largest other, NaN where not visited.
        loss: (epochs, n) cross-entropy of the same visits.

    Returns:
        (n,) float32 in [-1, 1]. Memory: two (n,) vectors.

    Raises:
        ValueError: an example never visited, or traces of different shapes.

    Example:
        >>> half, third = torch.tensor([[0.5]]), torch.tensor([[0.25]])
        >>> aum_probability((half / third).log(), -half.log()).item()
        -0.25
    """
    return -mean_of_visits(margin, loss, value=lambda m, c: torch.exp(-c) - torch.exp(-c - m))
