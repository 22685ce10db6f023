"""How many processes train together, and what they settle so that all hold the same."""

from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import Tensor


def processes() -> int:
    """Return how many processes train together: those of the default group, 1 without one.

    Example:
        >>> processes()
        1
    """
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def of_the_first(kept: Sequence[Tensor]) -> list[Tensor]:
    """Return the units that the first process keeps; every process has to ask.

    Processes score alike only as far as they see alike: examples, the statistics of batch norms and
    seeds may differ from one to the next, and then their masks would.

    Args:
        kept: (count,) bool of each group, as this process has them.

    Example:
        >>> of_the_first([torch.tensor([True, False])])
        [tensor([ True, False])]
    """
    if processes() == 1:
        return list(kept)
    home = kept[0].device
    there = _meeting(home, dist.get_backend())
    whole = torch.cat([units.to(torch.uint8) for units in kept]).to(there)
    dist.broadcast(whole, 0)
    return [units.bool() for units in whole.to(home).split([len(units) for units in kept])]


def _meeting(home: torch.device, backend: str) -> torch.device:
    """Return where a tensor is for a backend: NCCL moves those on GPUs alone, each on its own."""
    if backend != "nccl" or home.type == "cuda":
        return home
    return torch.device("cuda")


def average(tensors: Sequence[Tensor | None]) -> None:
    """Put the mean over all processes into each tensor, in place; every process has to ask.

    None is left out; where one process has None, all must.

    Example:
        >>> average([torch.ones(2), None])
    """
    there = [tensor for tensor in tensors if tensor is not None]
    if processes() == 1 or not there:
        return
    flat = torch.cat([tensor.flatten() for tensor in there])
    dist.all_reduce(flat)
    flat /= processes()
    for tensor, part in zip(there, flat.split([t.numel() for t in there]), strict=True):
        tensor.copy_(part.view_as(tensor))
