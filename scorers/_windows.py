"""Sliding windows over each example's own visits, from a ring buffer instead of the whole trace."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from ._visits import refuse_unvisited, visits


class Window(NamedTuple):
    """One window for each example in `done`; what the other cells hold means nothing.

    `mean` is over the window's values, `squares` the sum of their squared deviations from it,
    `size` how many they are. All (n,).
    """

    done: Tensor
    mean: Tensor
    squares: Tensor
    size: Tensor


def each_window(
    trace: Tensor, size: int, value: Callable[[Tensor], Tensor] | None = None
) -> Iterator[Window]:
    """Slide a window of `size` visits by one visit; an example visited less has one, of them all.

    `value` maps a row before it enters the window. Memory: `size` float32 vectors (n,) and a few
    rows. The deviations are taken from the window's own mean, so nothing cancels.

    Raises:
        ValueError: a window below 2, or an example with fewer than 2 visits, which has no spread.

    Example:
        >>> for window in each_window(torch.tensor([[1.0], [3.0], [7.0]]), size=2):
        ...     print(window.mean.item(), window.squares.item())
        2.0 2.0
        5.0 8.0
    """
    if size < 2:
        raise ValueError(f"a window of {size} has no spread; choose 2 or more")
    n = trace.shape[-1]
    ring, count = torch.zeros(size, n), torch.zeros(n, dtype=torch.int64)
    for seen, (row,) in visits(trace):
        slot = (count % size)[None]
        kept = ring.gather(0, slot)
        ring.scatter_(0, slot, (value(row) if value else row)[None].float().where(seen, kept))
        count += seen
        done = seen & (count >= size)
        if done.any():
            yield _window(ring, done, count.clamp(max=size))
    refuse_unvisited(count, least=2)
    if (short := count < size).any():
        yield _window(ring, short, count.clamp(max=size))


def _window(ring: Tensor, done: Tensor, size: Tensor) -> Window:
    """Reduce the buffer slot by slot; an example's slots fill from 0, and empty ones hold 0."""
    mean = ring.sum(0, dtype=torch.float64) / size
    squares = torch.zeros_like(mean)
    for slot, values in enumerate(ring):
        squares += (values - mean).square().where(slot < size, 0.0)
    return Window(done, mean, squares, size)
