"""Soft masks: smooth functions of the weights, without parameters of their own (PDP)."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..errors import UsageError
from ..ranks import average
from .engine import Pruning
from .making import Recipe
from .patterns import TRACED
from .schedules import Timing
from .units import Group, Member

if TYPE_CHECKING:
    from ..weight_specs import WeightPruning


class SoftMasks(Pruning):
    """Masks sigmoid((u² - t²) / τ) of the units' norms u, hard at the end.

    t is midway between the smallest norm kept and the largest removed at the density of the moment;
    the forward pass uses mask · w, and learns through both. t is found anew in each step, without a
    gradient. Source: Cho, Adya and Naik 2023.

    Attributes:
        counts: units that each group keeps at the moment.
    """

    @staticmethod
    def refuse(spec: "WeightPruning", recipe: Recipe, when: Timing) -> None:
        """Refuse other criteria than magnitude, and units of several layers."""
        alone(spec.pattern, "schedule 'soft'")
        if spec.criterion != "magnitude":
            raise UsageError(
                f"schedule 'soft' masks by magnitude; criterion {spec.criterion!r} has no place in "
                "it"
            )

    def _prepare(self) -> None:
        self.counts = [group.count for group in self.groups]

    @torch.no_grad()
    def before_step(self, progress: float) -> None:
        """Share the gradients between processes; see `attach`."""
        average([parameter.grad for parameter in self.model.parameters()])
        super().before_step(progress)

    @torch.no_grad()
    def finish(self) -> None:
        """Keep the units whose mask is a half or more, and put the others to 0."""
        if self.tick < self.when.last:
            self._change(1.0)
        self.kept = self._pruned(1.0)
        self._take()
        self.held.apply()
        super().finish()
        self.counts = [group.count for group in self.groups]  # `forward` is the network's own now

    def state_dict(self) -> dict[str, Any]:
        """Return what suffices to go on: how many units each group keeps."""
        return {"tick": self.tick, "spec": asdict(self.spec), "counts": self.counts}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up that state again."""
        self._refuse_another(state)
        self.tick = int(state["tick"])
        self._count([int(count) for count in state["counts"]])

    def _change(self, progress: float) -> None:
        tick = self.when.tick(progress)
        if tick > self.tick:
            self.tick = tick
            with torch.no_grad():
                kept = self._pruned(self.when.share(progress))
            self._count([int(units.sum()) for units in kept])

    def _count(self, counts: list[int]) -> None:
        self.counts, self.active = counts, self._left(counts)

    def effective(self) -> dict[str, Tensor]:
        """Return by parameter the weights under their soft masks, where units are to go."""
        out = {}
        for group, count in zip(self.groups, self.counts, strict=True):
            if count == group.count:
                continue
            member = group.members[0]
            weight = self.model.get_parameter(member.name)
            square = squared_norms(group, member, weight)
            with torch.no_grad():
                level = _level(group, square, count)
            soft = torch.sigmoid((square - level) / self.spec.temperature)
            out[member.name] = weight * soft[member.units.to(weight.device)]
        return out


def alone(pattern: str, what: str) -> None:
    """Refuse a pattern whose units lie in several parameters.

    Raises:
        UsageError: it is one of those.
    """
    if pattern in TRACED:
        raise UsageError(f"{what} takes units within one layer, such as pattern 'weight' or 'row'")


def squared_norms(group: Group, member: Member, weight: Tensor) -> Tensor:
    """Return the squared norm of each unit, (count,), through which gradients flow."""
    square = weight.square()
    if group.size == 1 and member.units.is_contiguous():  # a unit a weight, in their own order
        return square.flatten()
    units = member.units.to(weight.device).expand(weight.shape).flatten()
    return square.new_zeros(group.count).index_add(0, units, square.flatten())


def _level(group: Group, square: Tensor, count: int) -> Tensor:
    """Return t² of each unit: the mean of the two norms at the edge, squared; one or (count,)."""
    norm = square.sqrt()
    if group.of_cell:
        each = max(group.of_cell, -(-count // (group.count // group.cell)))
        if each >= group.cell:
            return square.new_zeros(1) - 1
        rows = norm.view(-1, group.cell).sort(dim=1, descending=True).values
        edge = (rows[:, each - 1] + rows[:, each]) / 2
        return edge.square().repeat_interleave(group.cell)
    gone = group.count - count  # at least one, and at most all but one of what a floor holds
    largest_gone = norm.kthvalue(gone).values
    smallest_kept = norm.kthvalue(min(gone + 1, group.count)).values
    return ((smallest_kept + largest_gone) / 2).square()
