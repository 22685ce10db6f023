"""Top-2 margin: how close the two most probable classes are."""

from torch import Tensor

from ._visits import finished


def top2_margin(probs: Tensor) -> Tensor:
    """Return 1 - (largest probability - second largest).

    High means uncertain. Active learning's margin sampling: Scheffer, Decomain and Wrobel 2001;
    Settles 2009. It knows no label and is not the label margin that `aum` averages. Ascending and
    descending are often confused: a small p1 - p2 is the uncertain side, kept first.

    Args:
        probs: (n, classes) of one clean pass, two classes or more.

    Returns:
        (n,) float32 in [0, 1].

    Raises:
        ValueError: fewer than two classes, or a value that is not finite.

    Example:
        >>> import torch
        >>> top2_margin(torch.tensor([[0.5, 0.25, 0.25], [0.0, 1.0, 0.0]])).tolist()
        [0.75, 0.0]
    """
    if probs.dim() != 2 or probs.shape[1] < 2:
        raise ValueError(f"probs must be (n, classes), two classes or more: {tuple(probs.shape)}")
    first, second = probs.topk(2, dim=1).values.unbind(1)
    return finished(1 - (first - second))
