"""Area under the margin: how clearly the label's logit wins over training."""

from torch import Tensor

from ._visits import mean_of_visits


def aum(margin: Tensor) -> Tensor:
    """Return minus the mean margin of the label's logit over each example's own visits.

    High means a low margin: hard or mislabelled. Pleiss et al. 2020, "Identifying Mislabeled Data
    using the Area Under the Margin Ranking": label logit minus the largest other logit, averaged
    over the updates up to a point before the learning rate falls, from training passes. The paper's
    AUM is minus this score. A mean, not a sum: examples may differ in visits.
    `aum_probability` is the form with probabilities, which ranks differently.

    Args:
        margin: (epochs, n) from logits, NaN where not visited.

    Returns:
        (n,) float32, of either sign. Memory: two (n,) vectors.

    Raises:
        ValueError: an example never visited.

    Example:
        >>> import torch
        >>> aum(torch.tensor([[1.0, -2.0], [3.0, -4.0]])).tolist()
        [-2.0, 3.0]
    """
    return -mean_of_visits(margin)
