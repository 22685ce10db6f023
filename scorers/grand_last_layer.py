"""GraNd of the last layer alone, in closed form."""

from torch import Tensor

from ._visits import mean_of_visits


def grand_last_layer(error_norm: Tensor, embedding_norm: Tensor, *, bias: bool = True) -> Tensor:
    """Return the norm of the last layer's gradient: ||e|| sqrt(||h||^2 + 1).

    High means a large gradient: hard. A variant of Paul, Ganguli and Dziugaite 2021, "Deep Learning
    on a Data Diet", that DeepCore (Guo, Zhao and Bai 2022) calls GraNd: for cross-entropy the
    gradient is the outer product of e = p - onehot and (h, 1), whose norm is a product of norms, so
    no gradient is formed.

    Args:
        error_norm: (epochs, n) norm of e, NaN where not visited; clean rows.
        embedding_norm: norm of the penultimate features h of the same network: (n,) for one row
            or for all, or (epochs, n).
        bias: whether the last layer has one; without it ||e|| ||h||.

    Returns:
        (n,) float32, 0 or more, averaged over an example's own visits.

    Raises:
        ValueError: an example never visited.

    Example:
        >>> import torch
        >>> grand_last_layer(torch.tensor([[0.5, 1.0]]), torch.tensor([0.0, 2.0])).square().tolist()
        [0.25, 5.0]
    """
    rows = embedding_norm.expand_as(error_norm)
    return mean_of_visits(error_norm, rows, value=lambda e, h: e * (h.square() + int(bias)).sqrt())
