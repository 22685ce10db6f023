"""Pruning: the masks of one training run, made by a schedule and held at 0 in place.

Hard masks change nothing of the network: parameters stay plain tensors, masked weights are 0 in
them; see `Held`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.func import functional_call

from ..errors import Refused, UsageError
from ..ranks import of_the_first
from .exchange import exchanged
from .hold import Held
from .making import Recipe
from .patterns import TRACED
from .probe import Probe
from .report import density_report
from .schedules import Timing
from .scope import Prunable
from .units import Group, spread

if TYPE_CHECKING:
    from ..weight_specs import WeightPruning


class Pruning:
    """The masks of one training run; see `attach`, which makes them.

    Attributes:
        scope: what is pruned, and what is not and why.
        active: parameters of the network that no mask holds at 0.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        spec: "WeightPruning",
        probe: Probe,
        scope: Prunable,
        groups: list[Group],
        recipe: Recipe,
        when: Timing,
    ) -> None:
        self.model, self.optimizer, self.spec, self.probe = probe.model, optimizer, spec, probe
        self.scope, self.groups, self.recipe, self.when = scope, groups, recipe, when
        self.tick = 0
        self.held = Held(self.model, optimizer)
        self.active = self.held.whole
        device = next(self.model.parameters()).device
        self.kept = [torch.ones(g.count, dtype=torch.bool, device=device) for g in groups]
        self._sums: dict[str, Tensor] = {}
        self._prepare()

    @staticmethod
    def refuse(spec: "WeightPruning", recipe: Recipe, when: Timing) -> None:
        """Refuse words that do not go together under masks of this kind.

        Raises:
            UsageError: they do not.
        """
        if recipe.criterion.training and when.begin <= 0:
            raise UsageError(
                f"criterion {spec.criterion!r} is made in training; schedule {spec.schedule!r} "
                "prunes before it; give begin above 0 or another schedule"
            )
        if when.schedule.grows != "none" and spec.pattern in TRACED:
            raise UsageError(
                f"schedule {spec.schedule!r} lets weights grow from 0, but with pattern "
                f"{spec.pattern!r} all that leads to them and away is 0 too, so they get no "
                "gradient; take a ramp, such as schedule cubic"
            )

    def _prepare(self) -> None:
        """Set up what masks of this kind keep beside the units."""
        if self.recipe.criterion.training:
            self._sums = {n: torch.zeros_like(w) for n, w in self.probe.weights().items()}

    @property
    def masks(self) -> dict[str, Tensor]:
        """By parameter, True is kept; empty before the first change."""
        return self.held.masks

    def begin(self) -> None:
        """Prune what goes before the first step."""
        self._change(0.0)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits (b, C) of the network as it is masked now."""
        effective = self.effective()
        logits: Tensor = (
            functional_call(self.model, effective, (x,)) if effective else self.model(x)
        )
        return logits

    def effective(self) -> dict[str, Tensor]:
        """Return by parameter what `forward` takes for it, where it is not the network's own."""
        return {}

    @torch.no_grad()
    def before_step(self, progress: float) -> None:
        """Clear the gradients of masked weights; learn from the dense ones what needs them."""
        for name, total in self._sums.items():
            parameter = self.model.get_parameter(name)
            if parameter.grad is not None:
                total.addcmul_(parameter, parameter.grad, value=-1)
        if self.when.schedule.grows == "gradient" and self.tick:
            self._change(progress)
        self.held.clear()

    @torch.no_grad()
    def after_step(self, progress: float) -> None:
        """Hold the masks after the optimizer's step, and change them where a change is due."""
        self.held.hold()
        if self.when.schedule.grows != "gradient" or not self.tick:
            self._change(progress)

    @torch.no_grad()
    def finish(self) -> None:
        """Make the last change where it is still to come, and masked weights exactly 0."""
        if self.tick < self.when.last:
            self._change(1.0)
        self.held.settle()

    def finalize(self) -> dict[str, Tensor]:
        """Finish, and return the masks: True is kept. The network is plain, dense, with zeros."""
        self.finish()
        return dict(self.masks)

    def report(self) -> dict[str, Any]:
        """Return the density of each layer and of the whole; see `density_report`."""
        return density_report(self.model, self.masks, self.scope.names)

    def state_dict(self) -> dict[str, Any]:
        """Return tensors and JSON values that suffice to go on."""
        kept = {f"kept.{g.name}": k for g, k in zip(self.groups, self.kept, strict=True)}
        sums = {f"sum.{n}": s for n, s in self._sums.items()}
        return {"tick": self.tick, "spec": asdict(self.spec), **kept, **sums}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up that state again, on a network whose weights are already restored.

        Raises:
            Refused: it is of other masks.
        """
        self._refuse_another(state)
        for place, group in enumerate(self.groups):
            kept = state.get(f"kept.{group.name}")
            if kept is None or len(kept) != group.count:
                raise Refused(f"the masks of {group.name} are of another pattern; start again")
            self.kept[place] = kept.to(self.kept[place].device)
        for name, total in self._sums.items():
            total.copy_(state[f"sum.{name}"])
        self.tick = int(state["tick"])
        self._take()

    def _refuse_another(self, state: Mapping[str, Any]) -> None:
        """Refuse a state of masks that were asked for in other words."""
        own = asdict(self.spec)
        there = state.get("spec", own)
        for name, here in own.items():
            if there.get(name, here) != here:
                raise Refused(
                    f"the masks to go on with have {name} {there[name]!r}, here it is "
                    f"{here!r}; go on with that one, or start again"
                )

    def _change(self, progress: float) -> None:
        """Make the change that is due at this progress, if one is."""
        tick = self.when.tick(progress)
        if tick <= self.tick:
            return
        grows, first = self.when.schedule.grows, not self.tick
        self.tick = tick
        with torch.autocast(self.kept[0].device.type, enabled=False), torch.no_grad():
            if grows in ("gradient", "random") and not first:
                self.kept = self._exchanged(self.when.replaced(progress, self.spec.replaced))
            else:
                self.kept = self._pruned(self.when.share(progress))
            self._take()
            self.held.apply()
            if grows == "free" and tick < self.when.last:
                self.kept = [torch.ones_like(kept) for kept in self.kept]
                self._take()

    def _pruned(self, share: float) -> list[Tensor]:
        density = 1 - (1 - self.spec.density) * share
        kept = self.recipe.kept(
            self.probe,
            self.groups,
            density,
            share=share,
            alive=self.kept,
            raw=self._sums or None,
        )
        return of_the_first(kept)

    def _exchanged(self, share: float) -> list[Tensor]:
        weights = self.probe.weights()
        by = None
        if self.when.schedule.grows == "gradient":
            parameters = {n: self.model.get_parameter(n) for n in self.scope.names}
            by = {
                n: torch.zeros_like(p) if p.grad is None else p.grad for n, p in parameters.items()
            }
        kept = exchanged(
            self.groups, self.kept, weights, by, share, self.spec.floor, self.probe.seed, self.tick
        )
        return of_the_first(kept)

    def _left(self, counts: Sequence[int]) -> int:
        """Return the parameters that are active when each group keeps so many units."""
        gone = sum((g.count - c) * g.size for g, c in zip(self.groups, counts, strict=True))
        return self.held.whole - gone

    def _take(self) -> None:
        """Make masks of the kept units, to be held from now on."""
        self.held.take(spread(self.groups, self.kept, self.model) if self.tick else {})
        self.active = self.held.active
