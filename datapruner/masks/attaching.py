"""Attaching masks to a training run: its words read, refused or made into masks of their kind."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from ..errors import UsageError
from ..losses import Loss, cross_entropy
from .engine import Pruning
from .learned import LearnedScores
from .making import Recipe
from .patterns import TRACED, pattern_named
from .probe import Examples, Probe, calibration
from .schedules import Timing, timing
from .scope import prunable
from .soft import SoftMasks
from .units import Scope

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
) -> Pruning:
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
    if isinstance(model, DistributedDataParallel):
        raise UsageError("masks go on the network inside DistributedDataParallel: its .module")
    kind, recipe, when = _read(pruning)
    scope = prunable(model, pruning.skip)
    device = next(model.parameters()).device
    scored = recipe.needs_data()
    batches = calibration(loader, order, pruning.examples if scored else 1, device)  # read once
    example = batches[0].x[:1] if batches else None
    groups = pattern_named(pruning.pattern)(Scope(model, scope.names, example))
    recipe.check(groups, pruning.density, loader is not None)
    batches = batches if scored else ()
    probe = Probe(model, scope.names, batches, loss, example, weight_decay, seed)
    if when.begin > 0:  # else `begin` scores, before the first step too
        recipe.rehearse(probe, groups)
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
    _, recipe, _ = _read(pruning)
    names = prunable(model, pruning.skip).names
    pattern = pattern_named(pruning.pattern)
    if pruning.pattern not in TRACED:
        recipe.check(pattern(Scope(model, names)), pruning.density, True)


def _read(pruning: "WeightPruning") -> tuple[type[Pruning], Recipe, Timing]:
    """Read the words of a pruning, and refuse those that do not go together."""
    recipe = Recipe.read(pruning.criterion, pruning.allocation, pruning.floor)
    when = timing(pruning.schedule, begin=pruning.begin, end=pruning.end, every=pruning.every)
    kind: type[Pruning] = Pruning
    if pruning.criterion.partition(":")[0] == "learned":
        kind = LearnedScores
    elif when.schedule.soft:
        kind = SoftMasks
    kind.refuse(pruning, recipe, when)
    return kind, recipe, when
