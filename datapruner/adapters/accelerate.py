"""Hugging Face Accelerate: a pruned loader for this process, which `prepare` leaves alone."""

from typing import Any

from torch import Tensor

from ..wrap import prune


def prune_for(accelerator: Any, loader: Any, sampler: Any, *, labels: Tensor | None = None) -> Any:
    """Return a loader over what a sampler draws, cut to the share of this process.

    Accelerate's own sharding repeats examples so that all processes get as many batches. Here every
    process draws the same order, takes its share of it, and the ragged end is left out. The loader
    is not to be prepared (`prepare` hands it back as it is), so batches stay on the CPU: move them
    with `accelerate.utils.send_to_device(batch, accelerator.device)`. A schedule takes
    `datapruner.steps(..., world=accelerator.num_processes)` steps, and is not to be prepared
    either: a prepared one steps once for every process. `accelerator.accumulate` does not see where
    an epoch of it ends: batches that do not fill a step join the first ones of the next epoch.

    Args:
        accelerator: an `accelerate.Accelerator`.
        loader: a DataLoader with its dataset, batch size of one process, and shuffle.
        sampler: as `datapruner.prune` takes it.
        labels: (n,) for samplers that need them.

    Raises:
        UsageError: as `datapruner.prune`.

    Example:
        >>> import torch
        >>> from types import SimpleNamespace
        >>> second = SimpleNamespace(process_index=1, num_processes=2)  # as an Accelerator has them
        >>> loader = torch.utils.data.DataLoader(torch.arange(8), batch_size=2)
        >>> [batch.tolist() for batch in prune_for(second, loader, [0, 2, 3, 5, 6])]
        [[2, 5]]
    """
    rank, world = accelerator.process_index, accelerator.num_processes
    return prune(loader, sampler, labels=labels, rank=rank, world=world)
