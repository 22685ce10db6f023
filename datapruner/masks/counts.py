"""Counts: how many units of each group are kept, and which: densities made exact numbers."""

from collections.abc import Sequence
from math import ceil, floor

import torch
from torch import Tensor

from ..errors import UsageError
from .allocation import Allocation, Budget
from .scope import matching
from .units import Group


def allocate(
    budget: Budget, allocation: Allocation | None, fixed: dict[str, float] | None = None
) -> list[int]:
    """Return how many units of each group are kept.

    Args:
        budget: what is to be shared out.
        allocation: how; None gives every layer that is not fixed the density itself.
        fixed: densities by pattern of names; the last pattern that matches a layer counts.

    Raises:
        UsageError: a pattern matches nothing, or the density is too low for the floor or cannot be
            reached.

    Example:
        >>> from math import prod
        >>> from datapruner.masks.allocation import ALLOCATIONS
        >>> layers = {"fc1": (300, 784), "fc2": (100, 300), "fc3": (10, 100)}
        >>> groups = [Group(k, s, prod(s), 1, (), cell=s[1]) for k, s in layers.items()]
        >>> kept = allocate(Budget(groups, 0.05), ALLOCATIONS["erk"])
        >>> [round(k / g.count, 4) for k, g in zip(kept, groups)], sum(kept)
        ([0.0385, 0.1113, 0.919], 13310)
    """
    groups = budget.groups
    places = {group.name: place for place, group in enumerate(groups)}
    own: dict[int, float] = {}
    for pattern, density in (fixed or {}).items():
        own |= {places[name]: density for name in matching(pattern, places)}
    if allocation is None:
        each = [own.get(place, budget.density) for place in range(len(groups))]
        counts = [round(d * g.count) for d, g in zip(each, groups, strict=True)]
        ends = zip(budget.low, counts, budget.high, strict=True)
        return [min(max(low, count), high) for low, count, high in ends]
    if allocation.shares is None:
        return _ranked(budget, own)
    shares = allocation.shares(budget)
    return _solved(budget, shares.raw, shares.fixed | own)


def _solved(budget: Budget, raw: Sequence[float], fixed: dict[int, float]) -> list[int]:
    """Solve Σ clip(ε · raw · weights, low, high) = total for ε, then round to the exact total."""
    groups = budget.groups
    low, high, total = _ends(budget, fixed)

    def given(scale: float) -> list[float]:
        wants = [scale * r * g.weights for r, g in zip(raw, groups, strict=True)]
        return [min(max(w, lo), hi) for w, lo, hi in zip(wants, low, high, strict=True)]

    least, most = 0.0, 1.0 / min(raw)
    for _ in range(200):
        middle = (least + most) / 2
        if sum(given(middle)) < total:
            least = middle
        else:
            most = middle
    return _rounded(groups, given(most), high, total)


def _rounded(
    groups: Sequence[Group], wants: list[float], high: list[float], total: int
) -> list[int]:
    """Round weights to whole units: down, then the largest remainders up while there is room."""
    units = [want / g.size for want, g in zip(wants, groups, strict=True)]
    counts = [floor(u + 1e-9) for u in units]
    left = total - sum(c * g.size for c, g in zip(counts, groups, strict=True))
    order = sorted(range(len(groups)), key=lambda place: (counts[place] - units[place], place))
    for place in order:
        size = groups[place].size
        if (counts[place] + 1) * size <= high[place] and size <= left:
            counts[place] += 1
            left -= size
    return counts


def _ranked(budget: Budget, fixed: dict[int, float]) -> list[int]:
    """Rank the units of all layers together; the best that fit, and each layer's floor, stay."""
    groups, ranked = budget.groups, budget.ranked
    if ranked is None:
        raise UsageError("a global allocation needs scores; take another one, such as erk")
    _, high, total = _ends(budget, fixed)
    counts = [round(high[p] / g.size) if p in fixed else 0 for p, g in enumerate(groups)]
    free = [place for place in range(len(groups)) if place not in fixed]
    if not free:
        return counts
    total -= sum(c * g.size for c, g in zip(counts, groups, strict=True))
    scores = torch.cat([protected(groups[p], ranked[p], budget.floor) for p in free])
    of = torch.cat([torch.full((groups[p].count,), p, device=scores.device) for p in free])
    order = of[scores.sort(descending=True, stable=True).indices]
    sizes = torch.tensor([g.size for g in groups], device=scores.device)
    kept = order[sizes[order].cumsum(0) <= total]
    for place in free:
        counts[place] = int((kept == place).sum())
    return counts


def _ends(budget: Budget, fixed: dict[int, float]) -> tuple[list[float], list[float], int]:
    """Return the fewest and the most weights of each group and their total; refuse what cannot be.

    Densities of layers round to whole units, each by itself, so the total gives way by as much; and
    it is never more than is left.
    """
    groups, least, most = budget.groups, budget.low, budget.high
    low = [float(count * g.size) for count, g in zip(least, groups, strict=True)]
    high = [float(count * g.size) for count, g in zip(most, groups, strict=True)]
    room = float(sum(g.weights for g in groups))
    for place, density in fixed.items():
        group = groups[place]
        wanted = round(density * group.count)
        room += (max(wanted, least[place]) - group.count) * group.size
        low[place] = high[place] = float(min(max(wanted, least[place]), most[place]) * group.size)
    total, weights = budget.total, sum(g.weights for g in groups)
    rounding = sum([1, *(groups[place].size for place in fixed)]) / 2 if fixed else 0.0
    if sum(low) > total + rounding:
        raise UsageError(
            f"density {budget.density:g} keeps {total:,} of {weights:,} weights, but the floor "
            f"and the layers with a density of their own need {sum(low):,.0f}; raise the density, "
            "or set floor=0 so that an output may lose all its weights"
        )
    if room + rounding < total:
        raise UsageError(
            f"density {budget.density:g} keeps {total:,} of {weights:,} weights, but the layers "
            f"with a density of their own leave {room:,.0f}; lower the density"
        )
    return low, high, round(min(max(total, sum(low)), sum(high)))


def protected(group: Group, scores: Tensor, least: int) -> Tensor:
    """Return the scores with the best `least` units of each cell above all others.

    Units at -inf, which are gone, stay gone. A group without cells keeps its best unit.

    Example:
        >>> group = Group("w", (2, 2), 4, 1, (), cell=2)
        >>> protected(group, torch.tensor([5.0, 4.0, 1.0, 2.0]), 1)
        tensor([inf, 4., 1., inf])
    """
    if not least:
        return scores
    rows = scores.view(-1, group.cell) if group.cell else scores.view(1, -1)
    if least == 1:
        best = rows.argmax(1, keepdim=True)  # the first of equal ones, as the sort has it
    else:
        best = rows.sort(dim=1, descending=True, stable=True).indices[:, :least]
    there = rows.gather(1, best) > -torch.inf
    raised = torch.where(there, torch.inf, rows.gather(1, best))
    return rows.scatter(1, best, raised).flatten()


def chosen(group: Group, scores: Tensor, count: int, least: int = 1) -> Tensor:
    """Return which units are kept: the `count` of the highest scores, (count,) bool.

    Units at -inf are never kept. Where the group's cells keep a number each, that many of each are
    kept and `count` says how many in all, rounded up in every cell.

    Args:
        group: the units.
        scores: (count,) high is kept; equal scores in the order of the units.
        count: how many are kept.
        least: units of each cell that are kept whatever the others score.

    Example:
        >>> group = Group("w", (2, 2), 4, 1, (), cell=2)
        >>> chosen(group, torch.tensor([5.0, 4.0, 1.0, 2.0]), 2)
        tensor([ True, False, False,  True])
    """
    kept = torch.zeros_like(scores, dtype=torch.bool)
    if group.of_cell:
        rows = scores.view(-1, group.cell)
        each = max(group.of_cell, ceil(count / len(rows) - 1e-9))
        best = rows.sort(dim=1, descending=True, stable=True).indices[:, :each]
        return kept.view(rows.shape).scatter(1, best, True).flatten() & (scores > -torch.inf)
    best = protected(group, scores, least).sort(descending=True, stable=True).indices[:count]
    kept[best] = True
    return kept & (scores > -torch.inf)
