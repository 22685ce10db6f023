"""How many optimizer steps a sampler will take, for schedules that count steps."""

from typing import Any

from torch import Tensor

from .checks import whole_number
from .errors import UsageError
from .wrap import as_sampler


def steps(
    sampler: Any,
    n: int,
    *,
    epochs: int,
    batch_size: int,
    labels: Tensor | None = None,
    readable: Tensor | None = None,
    drop_last: bool = False,
    world: int = 1,
    accumulate: int = 1,
) -> int:
    """Return the number of optimizer steps that training on what a sampler draws will take.

    Size a learning-rate schedule by it: over fixed epochs a smaller share takes fewer steps, and
    the rate has to fall to its end over those. For a fixed number of steps instead, train until
    they are done; `Run(steps=...)` does. `fit` needs neither, it goes by progress.

    Args:
        sampler: as `prune` takes it: a Selection, indices, or a sampler.
        n: examples in the full training set.
        epochs: passes over what the sampler draws.
        batch_size: rows of a batch, of one process.
        labels: (n,) for samplers that need them.
        readable: (n,) bool, the examples that can be drawn; None is all.
        drop_last: whether a last batch that is not full is left out.
        world: processes that share each epoch.
        accumulate: batches whose gradients make one step; the last step of an epoch may have fewer.

    Raises:
        UsageError: a number below 1 or not whole, or a sampler whose epochs depend on losses
            (InfoBatch): schedules go by progress, (epoch + batches done / len(loader)) / epochs.

    Example:
        >>> from datapruner import RS2
        >>> steps(RS2(0.1), 50_000, epochs=200, batch_size=128)
        8000
    """
    counts = {"epochs": epochs, "batch_size": batch_size, "world": world, "accumulate": accumulate}
    for name, value in counts.items():
        if whole_number(name, value) < 1:
            raise UsageError(f"{name} must be at least 1, not {value}")
    bound: Any = as_sampler(sampler, 0).bind(n, labels, readable)
    total = 0
    for epoch in range(epochs):
        size = bound.size(epoch) if hasattr(bound, "size") else len(bound.draw(epoch)[0])
        rows = size // world
        batches = rows // batch_size if drop_last else -(-rows // batch_size)
        total += -(-batches // accumulate)
    return total
