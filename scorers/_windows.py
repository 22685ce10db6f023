"""Sliding windows over each example's own visits, from a ring buffer instead of the whole trace."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from ._visits import refuse_unvisited, visits

# Examples at a time. For a million examples the window scorers then need 70 MiB besides the trace;
# with one ring for all of them it was 300 to 370.
_BLOCK = 65536


class Window(NamedTuple):
    """One window of each example, all (n,) float64: its mean, its squared deviations, its size."""

    mean: Tensor
    squares: Tensor
    size: Tensor


def fold_windows(
    trace: Tensor,
    size: int,
    update: Callable[[Tensor, Window], Tensor],
    value: Callable[[Tensor], Tensor] | None = None,
) -> tuple[Tensor, Tensor]:
    """Slide a window of `size` visits by one visit, and fold each into a state that starts at 0.

    An example with fewer visits than `size` has one window, of them all. Deviations are taken from
    the window's own mean, so nothing cancels. Memory: a few (n,) vectors, whatever `size` is.

    Args:
        trace: (epochs, n), NaN where not visited.
        size: visits in a window.
        update: the new state, from the state (n,) and a window; kept where a window was completed.
        value: maps a row (n,) before it enters the window.

    Returns:
        The state (n,) float64, and how many windows went into it.

    Raises:
        ValueError: a window below 2, or an example with fewer than 2 visits, which has no spread.

    Example:
        >>> trace = torch.tensor([[1.0], [3.0], [7.0]])
        >>> fold_windows(trace, 2, lambda total, window: total + window.squares)
        (tensor([10.], dtype=torch.float64), tensor([2.], dtype=torch.float64))
    """
    if size < 2:
        raise ValueError(f"a window of {size} has no spread; choose 2 or more")
    blocks = [_fold(block, size, update, value) for block in trace.split(_BLOCK, dim=-1)]
    state, windows, count = (torch.cat(parts) for parts in zip(*blocks, strict=True))
    if not (count >= 2).any():
        raise ValueError(
            f"the {len(trace)} rows of the trace hold fewer than 2 values of any example, which "
            "have no spread; record more epochs"
        )
    refuse_unvisited(count, least=2)
    return state, windows


def _fold(
    trace: Tensor,
    size: int,
    update: Callable[[Tensor, Window], Tensor],
    value: Callable[[Tensor], Tensor] | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return state, windows and visits of one block of examples."""
    n = trace.shape[-1]
    ring, count = torch.zeros(size, n), torch.zeros(n, dtype=torch.int64)
    state, windows = torch.zeros(n, dtype=torch.float64), torch.zeros(n, dtype=torch.float64)
    for seen, (row,) in visits(trace):
        slot = (count % size)[None]
        entering = (value(row) if value else row).to(ring.dtype)[None]
        ring.scatter_(0, slot, entering.where(seen, ring.gather(0, slot)))
        count += seen
        if (done := seen & (count >= size)).any():
            state = update(state, _window(ring, count)).where(done, state)
            windows += done
    short = count < size
    return update(state, _window(ring, count)).where(short, state), windows + short, count


def _window(ring: Tensor, count: Tensor) -> Window:
    """Reduce the ring slot by slot; an example's slots fill from 0, and empty ones hold 0."""
    size = count.clamp(max=len(ring)).double()
    mean = ring.sum(0, dtype=torch.float64) / size
    squares = torch.zeros_like(mean)
    for slot, values in enumerate(ring):
        squares += (values - mean).square().where(slot < size, 0.0)
    return Window(mean, squares, size)
