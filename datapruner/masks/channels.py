"""The patterns channel, residual and layer: what a network can really be rid of."""

from collections.abc import Iterable

import torch
from torch import Tensor

from ..errors import PrunerError, UsageError
from .blocks import norm_after, residual_blocks
from .coupling import Coupled, coupled_channels
from .removal import remove
from .units import Group, Member, Scope, spread


def channel(scope: Scope) -> list[Group]:
    """Make a unit of each output channel with everything that goes when it goes.

    Its weight rows, bias and batch norm in every layer coupled with it (over skip connections,
    depthwise and grouped convolutions), and the columns of the layers that read it. Only the rows
    of parameters that may be ranked count in its score and in the density; a skipped layer that is
    coupled with a ranked one is masked along. Channels that no ranked layer makes are left alone.
    `remove` makes the network that much smaller. Source: Fang et al. 2023 (DepGraph).

    Raises:
        UsageError: there is no example to trace the network on, or nothing of it can go.
        PrunerError: torch-pruning is missing, or cannot follow the network.

    Example:
        >>> import torch
        >>> model = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Linear(3, 2))
        >>> group, = channel(Scope(model, ("0.weight", "1.weight"), torch.zeros(1, 4)))
        >>> group.count, group.size, [member.name for member in group.members]
        (3, 4, ['0.weight', '0.bias', '1.weight'])
    """
    if scope.example is None:
        raise UsageError(
            "pattern channel has to see the network run to know which channels are coupled; "
            "give an example or a loader"
        )
    groups = _ranked_channels(scope, coupled_channels(scope.model, scope.example))
    groups = _removable(scope, scope.example, groups)
    if not groups:
        raise UsageError(
            f"no channel of {type(scope.model).__name__} can be taken out: what may be ranked "
            "makes the network's output or passes a norm over channels; skip less, or take "
            "another pattern"
        )
    return groups


def _ranked_channels(scope: Scope, found: Iterable[Coupled]) -> list[Group]:
    """Make groups of the channels that a ranked parameter makes, in the network's order."""
    order = {name: place for place, (name, _) in enumerate(scope.model.named_parameters())}
    ranked = set(scope.names)
    groups = []
    for coupled in found:
        sides = sorted(coupled.sides, key=lambda side: (order[side.name], side.reads))
        leading = [side for side in sides if not side.reads and side.name in ranked]
        if not leading:
            continue
        members = [side.member(scope.parameter(side.name), ranks=side in leading) for side in sides]
        weights = sum(
            scope.parameter(side.name).numel() * int((side.owner >= 0).sum()) // len(side.owner)
            for side in leading
        )
        name = leading[0].name
        shape = tuple(scope.parameter(name).shape)
        size = max(1, round(weights / coupled.units))
        groups.append(Group(name, shape, coupled.units, size, tuple(members)))
    return sorted(groups, key=lambda group: order[group.name])


def _removable(scope: Scope, example: Tensor, groups: list[Group]) -> list[Group]:
    """Leave out groups a unit of which cannot go, before a training run is spent on them.

    torch-pruning misreads a few operations (channel shuffles, say); taking one unit out shows it.
    """

    def goes(some: list[Group]) -> bool:
        kept = [torch.arange(group.count) > 0 for group in some]
        try:
            remove(scope.model, spread(some, kept, scope.model), example)
        except PrunerError:
            return False
        return True

    return groups if goes(groups) else [group for group in groups if goes([group])]


def residual(scope: Scope) -> list[Group]:
    """Make a unit of the body of each residual block; when it goes, the skip remains.

    All blocks share one budget. A projection on the skip stays. Scores of blocks of unlike size
    compare badly by magnitude (Jordao et al. 2023 leave it out); gradient criteria fit better.

    Raises:
        UsageError: the network has no residual blocks, or cannot be traced.

    Example:
        >>> from datapruner import make_model
        >>> model = make_model("resnet8", 10, (3, 8, 8))
        >>> names = tuple(name for name, p in model.named_parameters() if p.ndim == 4)
        >>> [(group.name, group.count) for group in residual(Scope(model, names))]
        [('stage1_1.body.conv1.weight', 3)]
    """
    return _one_group(scope, [block.parameters for block in residual_blocks(scope.model)])


def layer(scope: Scope) -> list[Group]:
    """Make a unit of each layer that a skip goes around: its weight, its bias, its batch norm.

    All layers share one budget. Layers that everything must pass are no units: without them the
    network is a constant. What is left of the block is a constant where the layer was not its
    last; `remove` cuts the branch, or narrows the layer to one channel.

    Raises:
        UsageError: the network has no residual blocks, or cannot be traced.

    Example:
        >>> from datapruner import make_model
        >>> model = make_model("resnet8", 10, (3, 8, 8))
        >>> names = tuple(name for name, p in model.named_parameters() if p.ndim == 4)
        >>> [group.count for group in layer(Scope(model, names))]
        [6]
    """
    norms = norm_after(scope.model)
    known = dict(scope.model.named_parameters())
    units = []
    for block in residual_blocks(scope.model):
        for module in block.modules:
            names = [f"{module}.weight", f"{module}.bias"]
            if module in norms:
                names += [f"{norms[module]}.weight", f"{norms[module]}.bias"]
            if f"{module}.weight" in scope.names:
                units.append(tuple(name for name in names if name in known))
    return _one_group(scope, units)


def _one_group(scope: Scope, units: list[tuple[str, ...]]) -> list[Group]:
    """Make one group whose units are these whole parameters, those that none ranks left out."""
    ranked = set(scope.names)
    units = [names for names in units if ranked & set(names)]
    if not units:
        raise UsageError(
            f"{type(scope.model).__name__} has no residual block whose weights may be ranked; "
            "skip less, or take another pattern"
        )
    members = []
    for unit, names in enumerate(units):
        for name in names:
            here = scope.parameter(name).new_full((), unit).long()
            members.append(Member(name, here, name in ranked))
    leading = [member.name for member in members if member.ranks]
    weights = sum(scope.parameter(name).numel() for name in leading)
    shape = tuple(scope.parameter(leading[0]).shape)
    size = max(1, round(weights / len(units)))
    return [Group(leading[0], shape, len(units), size, tuple(members))]
