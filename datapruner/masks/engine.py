"""Pruning: the masks of one training run, made by a schedule and held at 0 in place.

Hard masks change nothing of the network: parameters stay plain tensors, masked weights are 0 in
them; see `Held`.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from ..errors import Refused, UsageError
from ..losses import Loss, cross_entropy
from .exchange import exchanged
from .hold import Held
from .making import Recipe
from .patterns import TRACED, pattern_named
from .probe import Examples, Probe, calibration
from .ranks import of_the_first
from .report import density_report
from .schedules import Timing, timing
from .scope import Prunable, prunable
from .units import Group, Scope, spread

if TYPE_CHECKING:
    from ..weight_specs import WeightPruning


def attach(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    pruning: "WeightPruning",
    *,
    loader: Examples | None = None,
    order: Tensor | None = None,
    loss: Loss = cross_entropy,
    weight_decay: float = 5e-4,
    seed: int = 0,
) -> "Pruning":
    """Return the masks of a training loop; `fit(masks=...)` calls this itself.

    In a loop of your own: `begin()` before the first step; `before_step(progress)` after the
    backward pass and `after_step(progress)` after the optimizer's step, with the share of the
    training that is done, in [0, 1]; `finalize()` at the end. What averages weights (EMA) takes
    `apply_masks(average, masks)` at the end, for an average still holds what was removed.

    Under DistributedDataParallel every process attaches its `module` and makes the same calls, at
    the same progress. The first process decides the masks of all, by its own examples where a
    criterion needs some. Soft masks and learned scores, whose `pruning.forward` goes around that
    wrapper, average the gradients over the processes themselves.

    Args:
        model: on its device; `pruning.forward(x)` is its output as masked now, which differs from
            `model(x)` under soft masks and learned scores alone.
        optimizer: of its parameters.
        pruning: what is pruned, how, and when.
        loader: examples for what needs them: a loader of ours, or batches (x, y).
        order: (m,) indices for a loader of ours, such as a pruned subset; None is all.
        loss: of the gradients.
        weight_decay: of the training; the criterion `up` reads it.
        seed: of what is drawn.

    Raises:
        UsageError: the pruning does not fit together, or does not fit the network.

    Example:
        >>> import datapruner as dp
        >>> model = dp.make_model("mlp", 10, (1, 8, 8))
        >>> optimizer = torch.optim.AdamW(model.parameters())
        >>> pruning = dp.masks.attach(model, optimizer, dp.WeightPruning(0.1))
        >>> pruning.begin()
        >>> for step in range(4):
        ...     model(torch.randn(2, 1, 8, 8)).sum().backward()
        ...     pruning.before_step(step / 4)
        ...     optimizer.step()
        ...     pruning.after_step((step + 1) / 4)
        >>> masks = pruning.finalize()
        >>> round(sum(int(mask.sum()) for mask in masks.values()) / 50200, 4)
        0.1
    """
    from .learned import LearnedScores
    from .soft import SoftMasks

    if isinstance(model, DistributedDataParallel):
        raise UsageError("masks go on the network inside DistributedDataParallel: its .module")
    recipe = Recipe.read(pruning.criterion, pruning.allocation, pruning.floor)
    when = timing(pruning.schedule, begin=pruning.begin, end=pruning.end, every=pruning.every)
    scope = prunable(model, pruning.skip)
    device = next(model.parameters()).device
    example = None if loader is None else calibration(loader, order, 1, device)[0].x
    groups = pattern_named(pruning.pattern)(Scope(model, scope.names, example))
    recipe.check(groups, pruning.density, loader is not None)
    needed = loader if recipe.needs_data() else None
    batches = calibration(needed, order, pruning.examples, device)
    probe = Probe(model, scope.names, batches, loss, example, weight_decay, seed)
    kind: type[Pruning] = Pruning
    if recipe.criterion.training and pruning.criterion.startswith("learned"):
        kind = LearnedScores
    elif when.schedule.soft:
        kind = SoftMasks
    return kind(optimizer, pruning, probe, scope, groups, recipe, when)


def check(model: nn.Module, pruning: "WeightPruning") -> None:
    """Refuse words that mean nothing for this network, before there is data or an optimizer.

    Patterns that have to see the network run are looked at when it does.

    Raises:
        UsageError: as `attach`.

    Example:
        >>> import datapruner as dp
        >>> check(nn.Linear(4, 4), dp.WeightPruning(0.5, pattern="2:4"))
    """
    recipe = Recipe.read(pruning.criterion, pruning.allocation, pruning.floor)
    timing(pruning.schedule, begin=pruning.begin, end=pruning.end, every=pruning.every)
    names = prunable(model, pruning.skip).names
    pattern = pattern_named(pruning.pattern)
    if pruning.pattern not in TRACED:
        recipe.check(pattern(Scope(model, names)), pruning.density, True)


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
        self._refuse()
        if recipe.criterion.training and type(self) is Pruning:
            self._sums = {n: torch.zeros_like(w) for n, w in probe.weights().items()}

    def _refuse(self) -> None:
        if self.recipe.criterion.training and self.when.begin <= 0:
            raise UsageError(
                f"criterion {self.spec.criterion!r} is made in training; schedule "
                f"{self.spec.schedule!r} prunes before it; give begin above 0 or another schedule"
            )

    @property
    def masks(self) -> dict[str, Tensor]:
        """By parameter, True is kept; empty before the first change."""
        return self.held.masks

    def begin(self) -> None:
        """Prune what goes before the first step."""
        self._change(0.0)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits (b, C) of the network as it is masked now."""
        logits: Tensor = self.model(x)
        return logits

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
        return {"tick": self.tick, **kept, **{f"sum.{n}": s for n, s in self._sums.items()}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up that state again, on a network whose weights are already restored.

        Raises:
            Refused: it is of other masks.
        """
        for place, group in enumerate(self.groups):
            kept = state.get(f"kept.{group.name}")
            if kept is None or len(kept) != group.count:
                raise Refused(f"the masks of {group.name} are of another pattern; start again")
            self.kept[place] = kept.to(self.kept[place].device)
        for name, total in self._sums.items():
            total.copy_(state[f"sum.{name}"])
        self.tick = int(state["tick"])
        self._take()

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

    def _take(self) -> None:
        """Make masks of the kept units, to be held from now on."""
        self.held.take(spread(self.groups, self.kept, self.model) if self.tick else {})
        self.active = self.held.active
