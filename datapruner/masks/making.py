"""make_masks(): criterion, allocation and pattern put together into one mask a parameter."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from ..errors import UsageError
from ..heads import classifier
from ..loaders import Batch
from ..losses import Loss, cross_entropy
from .allocation import ALLOCATIONS, Allocation, Budget, allocation_named
from .counts import allocate, chosen
from .criteria import CRITERIA, Criterion, criterion_named, unit_scores
from .hold import checked
from .patterns import pattern_named
from .probe import Examples, Probe, calibration, masked
from .scope import prunable
from .units import Group, Scope, spread, whole_units


def make_masks(
    model: nn.Module,
    *,
    density: float,
    criterion: str = "magnitude",
    allocation: str = "global",
    pattern: str = "weight",
    loader: Examples | None = None,
    order: Tensor | None = None,
    examples: int = 1024,
    example: Tensor | None = None,
    loss: Loss = cross_entropy,
    skip: str = "",
    floor: int = 1,
    within: Mapping[str, Tensor] | None = None,
    weight_decay: float = 5e-4,
    seed: int = 0,
) -> dict[str, Tensor]:
    """Return which weights of a network to keep; the network is left as it is.

    The number of weights kept is exact: round(density x prunable weights), where units are single
    weights. What needs data takes any loader, and with `order` any subset of it, such as the
    examples that a selection kept.

    Args:
        model: the network.
        density: share of the prunable weights that is kept, above 0 and at most 1.
        criterion: a name in `CRITERIA`, options after a colon: `grad_x_weight:decay=include`.
        allocation: a name in `ALLOCATIONS`, densities by pattern (`*.h2h=0.2`), or both.
        pattern: a name in `PATTERNS`, N:M such as 2:4 (of every layer, so that density is N/M and
            allocation global or uniform), or blocks such as 4x4.
        loader: examples: a loader of ours, or batches (x, y).
        order: (m,) indices for a loader of ours; None is all, in order.
        examples: the most that are read; 0 for all.
        example: (1, ...) an input, for what needs its shape alone; taken from the loader if None.
        loss: of the gradients.
        skip: layers to leave alone; see `prunable`.
        floor: least weights of each output row that stay; 0 lets a row lose all of them.
        within: masks that the new ones stay inside of: only what they keep is ranked.
        weight_decay: of the training that the mask is for; `up` reads it.
        seed: of what is drawn.

    Returns:
        A bool tensor a parameter that is masked, True is kept.

    Raises:
        UsageError: what is asked for does not fit together, or does not fit the network.

    Example:
        >>> import datapruner as dp
        >>> model = dp.make_model("mlp", 10, (1, 28, 28))
        >>> masks = make_masks(model, density=0.05, allocation="erk")
        >>> {name: round(mask.float().mean().item(), 3) for name, mask in masks.items()}
        {'fc1.weight': 0.038, 'fc2.weight': 0.111, 'fc3.weight': 0.919}
    """
    if not 0 < density <= 1:
        raise UsageError(f"density must be above 0 and at most 1, not {density}")
    recipe = Recipe.read(criterion, allocation, floor)
    names = prunable(model, skip).names
    device = next(model.parameters()).device
    batches = calibration(loader, order, examples, device)
    if example is None and batches:
        example = batches[0].x[:1]
    groups = pattern_named(pattern)(Scope(model, names, example))
    alive = None if within is None else whole_units(groups, checked(model, within))
    recipe.check(groups, density, bool(batches), alive)
    probe = Probe(model, names, batches, loss, example, weight_decay, seed)
    return spread(groups, recipe.kept(probe, groups, density, alive=alive), model)


@dataclass(frozen=True)
class Recipe:
    """A criterion and an allocation, ready to choose units at any density.

    Attributes:
        criterion: how units are scored.
        allocation: how density is shared out; None for densities by pattern alone.
        fixed: densities by pattern of names.
        floor: least units of each cell that stay.

    Example:
        >>> Recipe.read("magnitude", "erk", 1).floor
        1
    """

    criterion: Criterion
    allocation: Allocation | None
    fixed: dict[str, float]
    floor: int

    @classmethod
    def read(cls, criterion: str, allocation: str, floor: int) -> "Recipe":
        """Build it from words; see `make_masks`."""
        if floor < 0:
            raise UsageError(f"floor must be 0 or more, not {floor}")
        shared, fixed = allocation_named(allocation)
        if shared is not None and shared.criterion == criterion:
            shared = Allocation()  # densities by its own ranking: one ranking of all
        return cls(criterion_named(criterion), shared, fixed, floor)

    def needs_data(self) -> bool:
        """Tell whether the scores, or those that give the densities, need examples."""
        other = self.allocation and self.allocation.criterion
        return self.criterion.data or bool(other and CRITERIA[other].data)

    def check(
        self,
        groups: Sequence[Group],
        density: float,
        data: bool,
        alive: list[Tensor] | None = None,
    ) -> None:
        """Refuse what cannot be carried out, before any work.

        Args:
            groups: of the network.
            density: that is to be reached.
            data: whether there are examples.
            alive: units that are not gone already; an output that has none needs no floor.

        Raises:
            UsageError: examples are needed and there are none, or N:M has another density, or an
                allocation that it leaves no choice.
        """
        if self.needs_data() and not data:
            raise UsageError(
                "this criterion or allocation needs examples and there is no loader; hand one over"
            )
        for group in groups:
            own = group.of_cell / group.cell if group.of_cell else density
            if abs(own - density) > 1e-6:
                raise UsageError(
                    f"pattern {group.of_cell}:{group.cell} keeps {own:g} of the weights; give "
                    f"density {own:g}, not {density:g}"
                )
            if group.of_cell and (self.fixed or not _even(self.allocation)):
                raise UsageError(
                    f"pattern {group.of_cell}:{group.cell} keeps {own:g} of every layer, so an "
                    "allocation has nothing to share out; leave it out (global or uniform), and "
                    "skip the layers that are to stay whole"
                )
        self._counts(groups, [torch.zeros(g.count) for g in groups], density, 1.0, None, alive)

    def rehearse(self, probe: Probe, groups: Sequence[Group]) -> None:
        """Score once, on two examples, so that what cannot be scored shows before training.

        Raises:
            UsageError: as `kept`, where the network is the reason.
        """
        few = tuple(Batch(b.index[:2], b.x[:2], b.y[:2]) for b in probe.batches[:1])
        other = self.allocation and self.allocation.criterion
        for criterion in (self.criterion, CRITERIA[other] if other else None):
            if criterion is not None and not criterion.training:
                unit_scores(criterion, replace(probe, batches=few), groups)

    def kept(
        self,
        probe: Probe,
        groups: Sequence[Group],
        density: float,
        *,
        share: float = 1.0,
        alive: Sequence[Tensor] | None = None,
        raw: dict[str, Tensor] | None = None,
    ) -> list[Tensor]:
        """Return which units of each group are kept, (count,) bool.

        Args:
            probe: the network and the examples.
            groups: its units.
            density: of the weights that stay.
            share: of the removal, for densities that are set by pattern: they go from 1 with it.
            alive: units that are not gone already; only these are ranked.
            raw: scores of the weights, where they come from training.

        Raises:
            UsageError: a score is not finite, or the density cannot be reached.
        """
        now = list(alive) if alive is not None else [_all(group, probe) for group in groups]
        had = sum(int(k.sum()) * g.size for k, g in zip(now, groups, strict=True))
        first = had / sum(g.weights for g in groups)
        rounds = self.criterion.rounds if density < first else 1
        for number in range(1, rounds + 1):
            target = density if number == rounds else first * (density / first) ** (number / rounds)
            with masked(probe.model, spread(groups, now, probe.model)):
                scores = unit_scores(self.criterion, probe, groups, raw)
                scores = _survivors(scores, now)
                counts = self._counts(groups, scores, target, share, probe, now)
            now = [
                chosen(g, s, c, self.floor) for g, s, c in zip(groups, scores, counts, strict=True)
            ]
        return now

    def _counts(
        self,
        groups: Sequence[Group],
        scores: list[Tensor],
        density: float,
        share: float,
        probe: Probe | None,
        now: list[Tensor] | None,
    ) -> list[int]:
        if groups[0].of_cell:
            return [round(density * group.count) for group in groups]
        other = self.allocation and self.allocation.criterion
        if other and probe is not None:
            ranking = Recipe(CRITERIA[other], Allocation(), {}, self.floor)
            found = ranking.kept(probe, groups, density, alive=now)
            if not self.fixed:
                return [int(kept.sum()) for kept in found]
            scores = _survivors(unit_scores(ranking.criterion, probe, groups), now or found)
        model = None if probe is None else probe.model
        ends = _first_and_last(groups, model)
        budget = Budget(groups, density, self.floor, scores, *ends, alive=now)
        fixed = {name: 1 - (1 - d) * share for name, d in self.fixed.items()}
        return allocate(budget, self.allocation, fixed)


def _even(allocation: Allocation | None) -> bool:
    """Tell whether an allocation is one that N:M amounts to: by default, or uniform."""
    return allocation in (ALLOCATIONS["global"], ALLOCATIONS["uniform"], Allocation())


def _all(group: Group, probe: Probe) -> Tensor:
    device = next(probe.model.parameters()).device
    return torch.ones(group.count, dtype=torch.bool, device=device)


def _survivors(scores: list[Tensor], alive: Sequence[Tensor]) -> list[Tensor]:
    return [s.masked_fill(~a, -torch.inf) for s, a in zip(scores, alive, strict=True)]


def _first_and_last(
    groups: Sequence[Group], model: nn.Module | None
) -> tuple[int | None, int | None]:
    """Return the places of the first convolution and of the classifier among the groups."""
    first = next((place for place, g in enumerate(groups) if len(g.shape) > 2), None)
    if model is None:
        return first, None
    try:
        weight = classifier(model).weight
    except UsageError:
        return first, None
    places = [p for p, g in enumerate(groups) if model.get_parameter(g.name) is weight]
    return first, places[0] if places else None
