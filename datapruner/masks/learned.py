"""Learned scores: the mask is the top k of scores that are trained, straight through."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..errors import UsageError
from ..ranks import average, of_the_first
from .counts import chosen
from .engine import Pruning
from .making import Recipe
from .schedules import Timing
from .soft import alone
from .units import Group, gathered

if TYPE_CHECKING:
    from ..weight_specs import WeightPruning


class LearnedScores(Pruning):
    """One score a unit, trained in the place of the weights.

    From `begin` to `end` of the schedule the weights rest and the scores train: the forward pass
    uses the top k of them, the backward pass goes to all as if the mask were the scores
    themselves. Then the mask is fixed and the weights train on. Scores start at |w|, as large as
    the layer's initialisation would be, and are trained by the optimizer's own rate with momentum
    0.9. Source: Ramanujan et al. 2020 (edge-popup); Sehwag et al. 2020 (HYDRA), for the start.

    Attributes:
        scores: (count,) of each group, while they train.
    """

    @staticmethod
    def refuse(spec: "WeightPruning", recipe: Recipe, when: Timing) -> None:
        """Refuse a schedule without a ramp, and units of several layers."""
        alone(spec.pattern, "criterion 'learned'")
        if when.schedule.grows != "none" or when.schedule.soft or when.end <= when.begin:
            raise UsageError(
                "criterion 'learned' needs time to learn in: schedule cubic or linear, with begin "
                "and end"
            )

    def _prepare(self) -> None:
        self.scores: list[Tensor] = []
        self.speeds: list[Tensor] = []
        self.counts = [group.count for group in self.groups]

    @property
    def learning(self) -> bool:
        """Whether scores are trained now, and weights are not."""
        return 0 < self.tick < self.when.last

    def effective(self) -> dict[str, Tensor]:
        """Return by parameter the weights under the top k of the scores, while these train."""
        effective: dict[str, Tensor] = {}
        if not self.learning:
            return effective
        for group, score, count in zip(self.groups, self.scores, self.counts, strict=True):
            member = group.members[0]
            weight = self.model.get_parameter(member.name).detach()
            hard = chosen(group, score.detach(), count, self.spec.floor)
            mask = (hard + (score - score.detach())).to(weight.dtype)  # 0 and 1 exactly
            effective[member.name] = weight * mask[member.units.to(weight.device)]
        return effective

    @torch.no_grad()
    def before_step(self, progress: float) -> None:
        """Let the scores take their step, and the weights none."""
        if not self.learning:
            average([parameter.grad for parameter in self.model.parameters()])
            super().before_step(progress)
            return
        average([score.grad for score in self.scores])
        rate = self.optimizer.param_groups[0]["lr"]
        for score, speed in zip(self.scores, self.speeds, strict=True):
            if score.grad is not None:
                speed.mul_(0.9).add_(score.grad)
                score.sub_(speed, alpha=rate)
                score.grad = None
        for parameter in self.model.parameters():
            parameter.grad = None

    def state_dict(self) -> dict[str, Any]:
        """Return what suffices to go on: the scores with their momentum, or the fixed mask."""
        state = super().state_dict() | {"counts": self.counts}
        for place in range(len(self.scores)):
            state[f"score.{place}"] = self.scores[place].detach()
            state[f"speed.{place}"] = self.speeds[place]
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up that state again."""
        self._refuse_another(state)
        self.scores, self.speeds = [], []
        for place in range(len(self.groups)):
            if f"score.{place}" in state:
                device = self.kept[place].device
                self.scores.append(state[f"score.{place}"].to(device).requires_grad_())
                self.speeds.append(state[f"speed.{place}"].to(device))
        super().load_state_dict(state)
        self._count([int(count) for count in state["counts"]])

    @torch.no_grad()
    def _change(self, progress: float) -> None:
        tick = self.when.tick(progress)
        if tick <= self.tick:
            return
        if not self.tick:
            self.scores = [self._first(group).requires_grad_() for group in self.groups]
            self.speeds = [torch.zeros_like(score) for score in self.scores]
        self.tick = tick
        kept = self._pruned(self.when.share(progress))
        if self.learning:
            self._count([int(units.sum()) for units in kept])
            return
        self.scores, self.speeds, self.kept = [], [], kept
        self._take()
        self.held.apply()

    def _pruned(self, share: float) -> list[Tensor]:
        density = 1 - (1 - self.spec.density) * share
        raw = {}
        for group, score in zip(self.groups, self.scores, strict=True):
            member = group.members[0]
            weight = self.model.get_parameter(member.name)
            raw[member.name] = (score.detach() / group.size)[member.units].expand(weight.shape)
        kept = self.recipe.kept(self.probe, self.groups, density, share=share, raw=raw)
        return of_the_first(kept)

    def _first(self, group: Group) -> Tensor:
        """Return √(6 / inputs) · |w| / max |w|, with the norm of a unit for |w|."""
        size = gathered(group, self.probe.weights(), "norm")
        inputs = group.weights / group.shape[0]
        first: Tensor = size * ((6 / inputs) ** 0.5) / size.max().clamp_min(1e-12)
        return first

    def _count(self, counts: list[int]) -> None:
        self.counts = counts
        if self.learning:
            self.active = self._left(counts)
