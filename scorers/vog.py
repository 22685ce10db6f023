"""VoG: how much the input gradient changes over training, within the class."""

import torch
from torch import Tensor

from ._visits import finished


def vog(input_gradient_variance: Tensor, labels: Tensor, *, per_class: bool = True) -> Tensor:
    """Standardise the variance of input gradients within each class.

    High means the input gradient kept changing: hard. Agarwal, D'souza and Hooker 2022, "Estimating
    Example Difficulty using Variance of Gradients". The source is the mean over pixels of the
    population standard deviation, over K checkpoints, of the true-class logit's input gradient.
    Classes differ in scale, hence the z-score (population deviation), which the authors'
    demonstration has commented out; a class of equal values, or of one example, scores 0.
    Early and late checkpoints tell different things; do not mix them.

    Args:
        input_gradient_variance: (n,).
        labels: (n,) int64.
        per_class: False leaves the raw variance.

    Returns:
        (n,) float32, in standard deviations of the class.

    Raises:
        ValueError: a value that is not finite, or as many labels as do not fit.

    Example:
        >>> vog(torch.tensor([1.0, 3.0, 10.0]), torch.tensor([0, 0, 1])).tolist()
        [-1.0, 1.0, 0.0]
    """
    value = finished(input_gradient_variance).double()
    if labels.shape != value.shape:
        raise ValueError(f"{len(value)} values and {len(labels)} labels")
    if not per_class:
        return finished(value)
    _, group, size = labels.unique(return_inverse=True, return_counts=True)
    nothing = torch.zeros(len(size), dtype=torch.float64)
    ahead = value - (nothing.index_add(0, group, value) / size)[group]
    spread = (nothing.index_add(0, group, ahead.square()) / size).sqrt()[group]
    # A class of equal values can leave a spread of rounding size: nothing to standardise by.
    flat = spread <= 1e-12 * value.abs()
    return finished((ahead / spread).masked_fill(flat, 0.0))
