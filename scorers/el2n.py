"""EL2N: how far the predicted probabilities are from the label, early in training."""

from torch import Tensor

from ._visits import chosen_rows, mean_of_visits


def el2n(error_norm: Tensor, *, epoch: int | None = None, window: int | None = None) -> Tensor:
    """Average the L2 norm of softmax(logits) - onehot(label) over the rows given.

    High means hard. Paul, Ganguli and Dziugaite 2021, "Deep Learning on a Data Diet": a clean pass
    (eval mode, no augmentation) about a tenth into training, averaged over ten networks or more; so
    by default all clean rows count, and there is one unless more were asked for. One network alone
    is visibly noisier. The very top is where wrong labels gather: keep a window below it when
    labels are not trusted. On training rows with `window=10` this is the variant that coverage-
    centric selection calls EL2N, which ranks differently.

    Args:
        error_norm: (epochs, n), NaN where not visited.
        epoch: the row to read, or to start at; negative counts from the end.
        window: how many rows to average from there.

    Returns:
        (n,) float32 in [0, sqrt 2].

    Raises:
        ValueError: an example without a visit in those rows, or rows that are not there.

    Example:
        >>> import torch
        >>> el2n(torch.tensor([[0.5, 1.0], [0.25, 1.0]])).tolist()
        [0.375, 1.0]
        >>> el2n(torch.tensor([[0.5, 1.0], [0.25, 1.0]]), epoch=1).tolist()
        [0.25, 1.0]
    """
    return mean_of_visits(chosen_rows(error_norm, epoch, window))
