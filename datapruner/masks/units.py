"""Units: weights that are kept or removed together, and the groups of units that share a budget.

A pattern (see patterns.py) turns the parameters of a network into groups of units. Criteria score
weights, `gathered` makes of that one number a unit, allocations say how many units of each group
stay, and `spread` turns the kept units into one mask a parameter.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

Gather = Literal["sum", "norm", "square", "drawn"]


@dataclass(frozen=True, eq=False)
class Member:
    """The part that one parameter has in the units of a group.

    Attributes:
        name: the parameter, as `named_parameters` calls it.
        units: int64, broadcastable to the parameter's shape: the unit that each element belongs
            to, -1 where it belongs to none of this group. Output channels of a kernel are
            `arange(out).view(-1, 1, 1, 1)`, its input channels `arange(in).view(1, -1, 1, 1)`.
        ranks: whether its elements count in a unit's score. A bias, a norm or a partner's input
            slice that is only masked along does not.

    Example:
        >>> Member("conv.weight", torch.arange(4).view(-1, 1, 1, 1)).ranks
        True
    """

    name: str
    units: Tensor
    ranks: bool = True


@dataclass(frozen=True, eq=False)
class Group:
    """Units that share a budget: those of a layer, or of layers that are coupled.

    Attributes:
        name: what allocations call it and match patterns against: the parameter that leads it.
        shape: of that parameter; the ER and ERK densities are functions of it.
        count: units, numbered from 0.
        size: prunable weights in a unit, for the density; their mean where units differ.
        members: what is masked when a unit goes; at least one of them ranks.
        cell: that many neighbouring units make a cell (an output row, M inputs); 0 for none.
        of_cell: units that each cell keeps, N in N:M; 0 leaves it to the scores.

    Example:
        >>> units = torch.arange(6).view(2, 3)
        >>> Group("fc.weight", (2, 3), 6, 1, (Member("fc.weight", units),), cell=3).weights
        6
    """

    name: str
    shape: tuple[int, ...]
    count: int
    size: int
    members: tuple[Member, ...]
    cell: int = 0
    of_cell: int = 0

    @property
    def weights(self) -> int:
        """Prunable weights in all units."""
        return self.count * self.size


@dataclass(frozen=True, eq=False)
class Scope:
    """What a pattern is asked about.

    Attributes:
        model: the network; a pattern reads it and changes nothing.
        names: the parameters that may be ranked, in the network's order; the rest is skipped. A
            pattern may mask others along with them (biases, norms, partners).
        example: (1, ...) one input as the network takes it, on its device; None where there is
            none. A pattern that traces the network refuses None with one line.

    Example:
        >>> Scope(nn.Linear(3, 2), ("weight",)).example is None
        True
    """

    model: nn.Module
    names: tuple[str, ...]
    example: Tensor | None = None

    def parameter(self, name: str) -> Tensor:
        """Return a parameter by name."""
        return self.model.get_parameter(name)


def gathered(group: Group, scores: Mapping[str, Tensor], how: Gather) -> Tensor:
    """Return the score of each unit from the scores of its weights, (count,) float32.

    Only members that rank count. `sum` adds the scores, `norm` is the root of their squares, and
    `square` the square of their sum: (Σ w·g)² of a group is not the sum of the squares. `drawn` is
    the fraction of their sum, which of even draws is an even draw again, however many they are.

    Example:
        >>> rows = Member("fc.weight", torch.arange(2).view(-1, 1))
        >>> group = Group("fc.weight", (2, 2), 2, 2, (rows,))
        >>> gathered(group, {"fc.weight": torch.tensor([[3.0, -4.0], [1.0, 1.0]])}, "norm")
        tensor([5.0000, 1.4142])
    """
    total = None
    for member in group.members:
        if not member.ranks:
            continue
        score = scores[member.name].detach().float()
        if how == "drawn":
            score = score.double()  # exact, so that large units do not tie
        if how == "norm":
            score = score.abs() if group.size == 1 else score.square()
        part = _summed(group.count, member.units.to(score.device), score)
        total = part if total is None else total + part
    if total is None:
        raise ValueError(f"group {group.name} has no member that ranks")
    if how == "drawn":
        return total.remainder(1).float()
    if how == "square":
        return total.square()
    return total.sqrt() if how == "norm" and group.size > 1 else total


def _summed(count: int, units: Tensor, score: Tensor) -> Tensor:
    """Add the elements of each unit; what belongs to none (-1) falls into a bin of its own."""
    units = units.view((1,) * (score.ndim - units.ndim) + tuple(units.shape))
    alike = [d for d in range(score.ndim) if units.shape[d] == 1 and score.shape[d] > 1]
    score = score.sum(alike, keepdim=True) if alike else score
    bins = torch.zeros(count + 1, device=score.device, dtype=score.dtype)
    return bins.index_add_(0, units.flatten() + 1, score.flatten())[1:]


def spread(groups: Sequence[Group], kept: Sequence[Tensor], model: nn.Module) -> dict[str, Tensor]:
    """Return one mask a parameter: True where every unit that an element belongs to is kept.

    Args:
        groups: of the network.
        kept: (count,) bool of each group.
        model: for the shapes and the device.

    Example:
        >>> group = Group("weight", (2, 2), 2, 2, (Member("weight", torch.arange(2).view(-1, 1)),))
        >>> spread([group], [torch.tensor([True, False])], nn.Linear(2, 2))["weight"]
        tensor([[ True,  True],
                [False, False]])
    """
    masks: dict[str, Tensor] = {}
    for group, units in zip(groups, kept, strict=True):
        for member in group.members:
            parameter = model.get_parameter(member.name)
            one = torch.cat([units.new_ones(1), units]).to(parameter.device)  # -1: kept
            mask = one[member.units.to(parameter.device) + 1].expand(parameter.shape)
            before = masks.get(member.name)
            masks[member.name] = mask.clone() if before is None else before & mask
    return masks


def whole_units(groups: Sequence[Group], masks: Mapping[str, Tensor]) -> list[Tensor]:
    """Return which units masks keep all ranked weights of, (count,) bool of each group.

    Example:
        >>> group = Group("w", (2, 2), 2, 2, (Member("w", torch.arange(2).view(-1, 1)),))
        >>> whole_units([group], {"w": torch.tensor([[True, True], [True, False]])})
        [tensor([ True, False])]
    """
    out = []
    for group in groups:
        here = [m for m in group.members if m.ranks and m.name in masks]
        gone = {m.name: (~masks[m.name]).float() for m in here}
        known = Group(group.name, group.shape, group.count, group.size, tuple(here))
        if here:
            out.append(gathered(known, gone, "sum") == 0)
        else:
            device = next((mask.device for mask in masks.values()), None)
            out.append(torch.ones(group.count, dtype=torch.bool, device=device))
    return out
