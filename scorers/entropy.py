"""Mean entropy of the predicted distribution."""

from torch import Tensor

from ._visits import chosen_rows, mean_of_visits


def entropy(entropy: Tensor, *, epoch: int | None = None, window: int | None = None) -> Tensor:
    """Average the entropy of the predicted class distribution over each example's own visits.

    High means uncertain. Uncertainty sampling, Settles 2009, "Active Learning Literature Survey";
    for choosing training data by a proxy network, Coleman et al. 2020, "Selection via Proxy". It
    knows no label: a confidently wrong example, as a wrong label makes it, ranks low.

    Args:
        entropy: (epochs, n) in nats, NaN where not visited.
        epoch: the row to read, or to start at; negative counts from the end.
        window: how many rows to average from there; neither means all.

    Returns:
        (n,) float32, between 0 and the logarithm of the number of classes.

    Raises:
        ValueError: an example without a visit in those rows, or rows that are not there.

    Example:
        >>> import torch
        >>> entropy(torch.tensor([[0.5, 0.0], [0.25, 0.0]])).tolist()
        [0.375, 0.0]
    """
    return mean_of_visits(chosen_rows(entropy, epoch, window))
