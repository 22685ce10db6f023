"""Training losses: one value per example, so that each may count by its own weight."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from torch import Tensor
from torch.nn import functional

from .loaders import Batch, Loader


class Loss(Protocol):
    """What `fit` minimises: (logits (b, C), batch, progress in [0, 1]) -> losses (b,) float32."""

    def __call__(self, logits: Tensor, batch: Batch, progress: float) -> Tensor:
        """Return one loss per row."""
        ...


@runtime_checkable
class Adaptive(Protocol):
    """A loss that depends on what is trained on: `fit` binds it before the first step."""

    def bind(self, fraction: float, loader: Loader, order: Tensor | None = None) -> Loss:
        """Return the loss for this run.

        Args:
            fraction: share of the readable examples in the first epoch, above 0 and at most 1.
            loader: what the run trains on.
            order: (m,) the examples of the first epoch; None is every readable one.
        """
        ...


def cross_entropy(logits: Tensor, batch: Batch, progress: float = 0.0) -> Tensor:
    """Return -log softmax(logits)[y] of each row, in float32.

    Args:
        logits: (b, C).
        batch: whose `y` (b,) are the labels.
        progress: not used.

    Returns:
        (b,) float32, in nats; high is bad.

    Example:
        >>> import torch
        >>> batch = Batch(torch.tensor([0]), torch.zeros(1, 2), torch.tensor([1]))
        >>> round(cross_entropy(torch.tensor([[0.0, 0.0]]), batch).item(), 4)
        0.6931
    """
    return functional.cross_entropy(logits.float(), batch.y, reduction="none")


@dataclass(frozen=True)
class SmoothedCrossEntropy:
    """Cross entropy against (1 - smoothing) onehot + smoothing / C (Szegedy et al. 2016).

    Attributes:
        smoothing: share of the target spread evenly over all classes.

    Example:
        >>> SmoothedCrossEntropy(0.1).smoothing
        0.1
    """

    smoothing: float

    def __call__(self, logits: Tensor, batch: Batch, progress: float = 0.0) -> Tensor:
        """Return one loss per row, (b,) float32."""
        return functional.cross_entropy(
            logits.float(), batch.y, reduction="none", label_smoothing=self.smoothing
        )
