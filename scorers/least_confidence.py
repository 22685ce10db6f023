"""Least confidence: how little probability the predicted class gets."""

import torch
from torch import Tensor

from ._visits import chosen_rows, mean_of_visits


def least_confidence(
    loss: Tensor, margin: Tensor, *, epoch: int | None = None, window: int | None = None
) -> Tensor:
    """Average 1 - largest predicted probability over each example's own visits.

    High means uncertain. Uncertainty sampling, Lewis and Gale 1994; Settles 2009, "Active Learning
    Literature Survey". The largest probability is the predicted class's, not the label's; it
    follows from the traces as p_y * exp(max(0, -margin)). Taken from probabilities: largest logits
    rank differently.

    Args:
        loss: (epochs, n) of the plain label, NaN where not visited.
        margin: (epochs, n) label logit minus the largest other, of the same visits.
        epoch: the row to read, or to start at; negative counts from the end.
        window: how many rows to average from there; neither means all.

    Returns:
        (n,) float32 in [0, 1).

    Raises:
        ValueError: an example without a visit in those rows, or rows that are not there.

    Example:
        >>> loss, margin = torch.tensor([[0.25]]).log().neg(), torch.tensor([[0.5]]).log()
        >>> least_confidence(loss, margin).item()
        0.5
    """
    rows = [chosen_rows(trace, epoch, window) for trace in (loss, margin)]
    # expm1, because 1 - p of a sure prediction is below the spacing of floats near 1; the clamp,
    # because a rounded loss and margin of a wrong prediction can give a p just above 1.
    return mean_of_visits(*rows, value=lambda c, m: -torch.expm1((m.neg().relu() - c).clamp(max=0)))
