"""Greedy picks where a pick can only lower the gains of the others: exact, and mostly in blocks.

The plain loop lowers all n gains after each pick, one matrix-vector product at the speed of memory.
Here the examples with the highest gains are copied out, some megabytes, and as long as the best of
them stays ahead of the highest gain outside, which is out of date and so too high if anything, the
pick is the one that the plain loop makes. The others catch up afterwards, with many picks at once:
a matrix product, at the speed of arithmetic.
"""

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

Fall = Callable[[int, Tensor], None]


class Falling(Protocol):
    """Gains that fall."""

    def open(self, places: Tensor) -> Fall:
        """Return what lowers, in place, the gains of these places after a pick; -inf stays."""

    def catch_up(self, gain: Tensor, picks: Tensor) -> None:
        """Lower the gains (n,) of all, in place, by these picks."""


def falling_picks(
    gain: Tensor, k: int, gains: Falling, *, first: int | None = None, block: int | None = None
) -> Tensor:
    """Return k places (k,) int64, each the one with the highest gain left; ties to the lower place.

    Args:
        gain: (n,) float32 before any pick; lowered in place, -inf where picked.
        k: how many to pick.
        gains: what a pick does to them.
        first: the place to start from; None takes the highest gain.
        block: how many are copied out; None for a thirtieth of n, within 512 to 4096.

    Example:
        >>> class Halve:
        ...     def open(self, places):
        ...         return lambda pick, gain: gain.mul_(0.5)
        ...     def catch_up(self, gain, picks):
        ...         gain.mul_(0.5 ** len(picks))
        >>> falling_picks(torch.tensor([1.0, 3.0, 2.0]), 2, Halve()).tolist()
        [1, 2]
    """
    n = len(gain)
    block = min(n, block or min(4096, max(512, n // 30)))
    picks: list[int] = []
    if first is not None:
        picks.append(first)
        _catch_up(gain, gains, picks)
    while len(picks) < k:
        highest = float(gain.max())
        if highest <= 0:  # nothing to gain from any: by place
            rest = (gain > -torch.inf).nonzero()[:, 0]
            return torch.cat([torch.tensor(picks, dtype=torch.int64), rest])[:k]
        places, outside = _highest(gain, block)
        made = _from_block(gain, places, outside, gains.open(places), k - len(picks))
        picks += made
        if len(picks) < k:
            _catch_up(gain, gains, made)
    return torch.tensor(picks, dtype=torch.int64)


def _highest(gain: Tensor, block: int) -> tuple[Tensor, float]:
    """Return the places of the highest gains, ascending, and the highest gain outside."""
    if block == len(gain):
        return torch.arange(block), -torch.inf
    least = gain.topk(block + 1, sorted=False).values.min()
    above = (gain > least).nonzero()[:, 0]
    equal = (gain == least).nonzero()[: block - len(above), 0]  # the first of those that tie
    return torch.cat([above, equal]).sort().values, float(least)


def _from_block(gain: Tensor, places: Tensor, outside: float, fall: Fall, most: int) -> list[int]:
    """Pick from the block until one outside might be ahead, or is equal and before it."""
    local = gain[places]
    tied = local == outside  # these stand before all outside that have the same gain
    made: list[int] = []
    while len(made) < most:
        best = int(local.argmax())
        value = float(local[best])
        if value == -torch.inf or value < outside or (value == outside and not tied[best]):
            break
        if made and value <= 0:
            break
        pick = int(places[best])
        made.append(pick)
        fall(pick, local)
        local[best] = -torch.inf
    return made


def _catch_up(gain: Tensor, gains: Falling, made: list[int]) -> None:
    picks = torch.tensor(made, dtype=torch.int64)
    gains.catch_up(gain, picks)
    gain[picks] = -torch.inf
