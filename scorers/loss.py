"""Mean training loss of each example."""

from torch import Tensor

from ._visits import chosen_rows, mean_of_visits


def loss(loss: Tensor, *, epoch: int | None = None, window: int | None = None) -> Tensor:
    """Average the cross-entropy against the plain label over each example's own visits.

    High means hard. Wrong labels keep a high loss until the network memorises them: Arazo et al.
    2019, "Unsupervised Label Noise Modeling and Loss Correction". So the mean over training shows
    them, where a late row alone may not.

    Args:
        loss: (epochs, n) of the plain label, NaN where not visited.
        epoch: the row to read, or to start at; negative counts from the end.
        window: how many rows to average from there; neither means all.

    Returns:
        (n,) float32, 0 or more.

    Raises:
        ValueError: an example without a visit in those rows, or rows that are not there.

    Example:
        >>> import torch
        >>> loss(torch.tensor([[2.0, 0.5], [1.0, 0.5]])).tolist()
        [1.5, 0.5]
    """
    return mean_of_visits(chosen_rows(loss, epoch, window))
