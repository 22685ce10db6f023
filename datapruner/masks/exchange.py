"""Prune and grow at constant density: some active units go, as many others come."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ..seeds import generator
from .counts import chosen, protected
from .units import Group, gathered


def exchanged(
    groups: Sequence[Group],
    kept: Sequence[Tensor],
    weights: Mapping[str, Tensor],
    by: Mapping[str, Tensor] | None,
    share: float,
    floor: int,
    seed: int,
    tick: int,
) -> list[Tensor]:
    """Drop the active units of lowest magnitude, and grow as many where `by` is highest.

    What is grown starts at 0, where it was held; each group keeps its number. Source: Mocanu et al.
    2018 (SET, at random); Evci, Gale, Menick, Castro and Elsen 2020 (RigL, by the dense gradient).

    Args:
        groups: the units.
        kept: (count,) bool of each group, which are active.
        weights: by parameter.
        by: gradients by parameter, dense; None grows at random.
        share: of the active units of a group that are exchanged.
        floor: least active units of each cell.
        seed: of what is grown at random.
        tick: number of the change, which what is drawn depends on.

    Example:
        >>> from datapruner.masks.units import Member
        >>> group = Group("w", (1, 4), 4, 1, (Member("w", torch.arange(4).view(1, 4)),), cell=4)
        >>> active = torch.tensor([True, True, False, False])
        >>> w, g = torch.tensor([[3.0, 1.0, 0.0, 0.0]]), torch.tensor([[0.0, 0.0, 1.0, -2.0]])
        >>> exchanged([group], [active], {"w": w}, {"w": g}, 0.5, 1, 0, 1)[0].tolist()
        [True, False, False, True]
    """
    out = []
    for place, (group, active) in enumerate(zip(groups, kept, strict=True)):
        if group.of_cell:  # every cell keeps its number, so it exchanges within itself
            wanted = _wanted(group, by, active, seed, tick, place)
            out.append(_within_cells(group, active, weights, wanted, share))
            continue
        count = int(active.sum())
        size = gathered(group, weights, "norm").masked_fill(~active, -torch.inf)
        held = int((protected(group, size, floor) == torch.inf).sum())  # by the floor
        moved = min(round(share * count), group.count - count, count - held)
        left = chosen(group, size, count - moved, floor)
        wanted = _wanted(group, by, active, seed, tick, place).masked_fill(left, -torch.inf)
        grown = wanted.sort(descending=True, stable=True).indices[:moved]
        out.append(left.index_fill(0, grown, True))
    return out


def _wanted(
    group: Group,
    by: Mapping[str, Tensor] | None,
    active: Tensor,
    seed: int,
    tick: int,
    place: int,
) -> Tensor:
    if by is not None:
        return gathered(group, by, "norm")
    drawn = torch.rand(group.count, generator=generator(seed, "grown", tick, place))
    return drawn.to(active.device)


def _within_cells(
    group: Group, active: Tensor, weights: Mapping[str, Tensor], wanted: Tensor, share: float
) -> Tensor:
    """Exchange one active unit in as many cells as the share comes to, the weakest units first."""
    size = gathered(group, weights, "norm").view(-1, group.cell)
    on = active.view(size.shape)
    weakest = size.masked_fill(on.logical_not(), torch.inf).min(1, keepdim=True)
    best = wanted.view(size.shape).masked_fill(on, -torch.inf).argmax(1, keepdim=True)
    moved = min(round(share * int(active.sum())), len(size))
    cells = weakest.values.flatten().sort(stable=True).indices[:moved]
    out = on.clone()
    out[cells] = on[cells].scatter(1, weakest.indices[cells], False).scatter(1, best[cells], True)
    return out.flatten()
