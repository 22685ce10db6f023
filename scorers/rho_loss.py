"""RHO-loss: the part of the loss that training can still remove."""

from torch import Tensor

from ._visits import chosen_rows, finished, mean_of_visits


def rho_loss(
    loss: Tensor, holdout_loss: Tensor, *, epoch: int | None = None, window: int | None = None
) -> Tensor:
    """Subtract the loss of a network that trained on held-out data from the mean training loss.

    High means reducible: not yet learned, yet learnable. Mindermann et al. 2022, "Prioritized
    Training on Points that are Learnable, Worth Learning, and Not Yet Learnt". A wrong label has a
    high loss in both networks, so noise does not rise as it does in `loss`.

    Args:
        loss: (epochs, n) of the plain label, NaN where not visited.
        holdout_loss: (n,) of the other network on the same examples, or (rows, n) to average.
        epoch: the row of `loss` to read, or to start at; negative counts from the end.
        window: how many rows to average from there; neither means all.

    Returns:
        (n,) float32, of either sign.

    Raises:
        ValueError: an example without a visit in those rows, or without a holdout loss.

    Example:
        >>> import torch
        >>> rho_loss(torch.tensor([[2.0, 2.0], [1.0, 2.0]]), torch.tensor([0.5, 2.0])).tolist()
        [1.0, 0.0]
    """
    own = mean_of_visits(chosen_rows(loss, epoch, window))
    other = mean_of_visits(holdout_loss[None] if holdout_loss.dim() == 1 else holdout_loss)
    if own.shape != other.shape:
        raise ValueError(f"loss scores {len(own)} examples, holdout_loss {len(other)}")
    return finished(own - other)
