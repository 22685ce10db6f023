"""What draws two views of a picture together: NT-Xent (SimCLR) and VICReg.

A few lines each, tested against their definitions; libraries that have them (lightly,
pytorch-metric-learning) bring a training framework along and give one mean for a batch, where a
loss here is one value an example.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize, relu

from .errors import UsageError
from .loaders import Batch


def nt_xent(one: Tensor, other: Tensor, temperature: float = 0.5) -> Tensor:
    """Return the normalised, temperature-scaled cross entropy of each pair of views.

    A view is to find its partner among all 2b - 1 other views of the batch, by cosine / temperature
    (Chen, Kornblith, Norouzi and Hinton 2020, "A simple framework for contrastive learning of
    visual representations"). The mean over the batch is the paper's loss.

    Args:
        one: (b, d) projections of the first views.
        other: (b, d) of the second views.
        temperature: above 0; low looks at the nearest ones most.

    Returns:
        (b,) float32, in nats: the mean of the two views' losses; high is bad.

    Raises:
        UsageError: the shapes differ, or the temperature is not above 0.

    Example:
        >>> nt_xent(torch.eye(2), torch.eye(2), temperature=1.0)
        tensor([0.5514, 0.5514])
    """
    _refuse_unlike(one, other)
    if not temperature > 0:
        raise UsageError(f"temperature must be above 0, not {temperature}")
    rows = normalize(torch.cat([one, other]).float())
    b = len(one)
    likeness = rows @ rows.T / temperature
    likeness = likeness.masked_fill(
        torch.eye(2 * b, dtype=torch.bool, device=rows.device), -torch.inf
    )
    partner = torch.arange(2 * b, device=rows.device).roll(b)
    losses = likeness.logsumexp(1) - likeness.gather(1, partner[:, None])[:, 0]
    return losses.view(2, b).mean(0)


def vicreg(
    one: Tensor,
    other: Tensor,
    *,
    invariance: float = 25.0,
    variance: float = 25.0,
    covariance: float = 1.0,
) -> Tensor:
    """Return VICReg's loss, each example with its own invariance and the batch's other two terms.

    invariance * mean squared difference + variance * mean over the dimensions of max(0, 1 - std),
    averaged over both views, + covariance * sum of squared off-diagonal covariances / d, summed
    over both views; std and covariances by b - 1, std with 1e-4 under its root. (The average is
    the authors' code; their text sums it as well.) Bardes, Ponce and LeCun 2022, "VICReg:
    variance-invariance-covariance regularization for self-supervised learning". The mean over the
    batch is the loss.

    Args:
        one: (b, d) projections of the first views.
        other: (b, d) of the second views.
        invariance: weight of the first term.
        variance: weight of the second.
        covariance: weight of the third.

    Returns:
        (b,) float32; high is bad. With b = 1 there is no spread, and only the first term is left.

    Raises:
        UsageError: the shapes differ.

    Example:
        >>> x = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
        >>> vicreg(x, x)
        tensor([12.3750, 12.3750])
    """
    _refuse_unlike(one, other)
    one, other = one.float(), other.float()
    losses = invariance * (one - other).square().mean(1)
    if len(one) < 2:
        return losses
    of_the_batch = torch.zeros((), device=one.device)
    for rows in (one, other):
        centred = rows - rows.mean(0)
        products = centred.T @ centred / (len(rows) - 1)
        spread = (products.diagonal() + 1e-4).sqrt()
        off_diagonal = products.square().sum() - products.diagonal().square().sum()
        of_the_batch = of_the_batch + variance * relu(1 - spread).mean() / 2
        of_the_batch = of_the_batch + covariance * off_diagonal / rows.shape[1]
    return losses + of_the_batch


@dataclass(frozen=True)
class NTXent:
    """`nt_xent` as a loss for `fit`, whose logits are both projections side by side.

    Example:
        >>> NTXent().temperature
        0.5
    """

    temperature: float = 0.5

    def __call__(self, logits: Tensor, batch: Batch, progress: float = 0.0) -> Tensor:
        """Return one loss per example, (b,)."""
        one, other = logits.chunk(2, 1)
        return nt_xent(one, other, self.temperature)


@dataclass(frozen=True)
class VICReg:
    """`vicreg` as a loss for `fit`, whose logits are both projections side by side.

    Example:
        >>> VICReg().covariance
        1.0
    """

    invariance: float = 25.0
    variance: float = 25.0
    covariance: float = 1.0

    def __call__(self, logits: Tensor, batch: Batch, progress: float = 0.0) -> Tensor:
        """Return one loss per example, (b,)."""
        one, other = logits.chunk(2, 1)
        return vicreg(
            one,
            other,
            invariance=self.invariance,
            variance=self.variance,
            covariance=self.covariance,
        )


def _refuse_unlike(one: Tensor, other: Tensor) -> None:
    if one.ndim != 2 or one.shape != other.shape:
        raise UsageError(
            f"two views of the same examples are compared, got {tuple(one.shape)} and "
            f"{tuple(other.shape)}; give (b, d) twice"
        )
