"""Which channels of a network can only go together, from torch-pruning's dependency graph.

The only file that imports torch-pruning, and only when it is asked for.
"""

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import PrunerError, UsageError
from .units import Member


@dataclass(frozen=True, eq=False)
class Place:
    """Where the channels of a group pass one layer.

    Attributes:
        name: the layer; or a parameter that belongs to no known kind of layer.
        reads: whether the layer reads the channels; else it makes them, or passes them on.
        owner: (channels of the layer on that side,) the unit each belongs to; -1 for none.
        dim: of a bare parameter, the dimension that runs over channels; None for a layer.
    """

    name: str
    reads: bool
    owner: Tensor
    dim: int | None = None


@dataclass(frozen=True, eq=False)
class Side:
    """Where the channels of a group lie in one parameter.

    Attributes:
        name: the parameter.
        dim: the dimension of it that runs over channels.
        owner: (size of that dimension,) the unit each place belongs to; -1 for none of this group.
        reads: whether a consumer reads the channels there (its columns); else they are made there.
    """

    name: str
    dim: int
    owner: Tensor
    reads: bool

    def member(self, parameter: Tensor, *, ranks: bool) -> Member:
        """Return the same as the mask engine takes it."""
        shape = [-1 if dim == self.dim else 1 for dim in range(parameter.ndim)]
        return Member(self.name, self.owner.view(shape), ranks)


@dataclass(frozen=True, eq=False)
class Coupled:
    """Channels that go together: one unit is what must go or stay as a whole.

    Attributes:
        root: name of a layer that makes the channels; each group has another.
        units: how many there are. One channel each, several where a grouped convolution ties them.
        places: the layers they pass.
        sides: the same by parameter.
    """

    root: str
    units: int
    places: tuple[Place, ...]
    sides: tuple[Side, ...]


def coupled_channels(model: nn.Module, example: Tensor) -> tuple[Coupled, ...]:
    """List the channels of a network that can be taken out, with everything that goes with them.

    Rows, biases and batch norm of the layers that make a channel, over skip connections and
    depthwise convolutions, and the columns of the layers that read it, through flattening and
    concatenation. Left out, because taking a channel away would change the others or the output:
    what reaches the network's output, layer and group norms, attention's residual stream, shared
    parameters. The network is not touched. Source: Fang et al. 2023 (DepGraph).

    Args:
        model: any network that torch-pruning can trace.
        example: a batch it takes, of one row or more.

    Raises:
        UsageError: a weight is computed from others (pruned or parametrised by torch).
        PrunerError: torch-pruning is not installed, or cannot follow this network.

    Example:
        >>> model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
        >>> [(group.root, group.units) for group in coupled_channels(model, torch.zeros(1, 4))]
        [('0', 3)]
    """
    library = torch_pruning()
    refuse_reparametrised(model)
    shared = _shared_parameters(model)
    model = deepcopy(model).requires_grad_(True)  # the trace follows gradients
    graph = _traced(library, model, example)
    names = {module: name for name, module in model.named_modules()}
    found = []
    for items in graph.get_all_groups():
        group = _read(items, graph, names, library.ops)
        if group and group.units > 1 and not shared & {side.name for side in group.sides}:
            found.append(group)
    return tuple(found)


def torch_pruning() -> ModuleType:
    """Import torch-pruning.

    Raises:
        PrunerError: it is not installed.

    Example:
        >>> torch_pruning().__name__
        'torch_pruning'
    """
    try:
        import torch_pruning
    except ImportError as error:
        raise PrunerError(
            "whole channels need torch-pruning, which is not installed; "
            "install it with: pip install 'datapruner[structured]'"
        ) from error
    module: ModuleType = torch_pruning
    return module


def refuse_reparametrised(model: nn.Module) -> None:
    """Refuse a network one of whose weights is computed from others: it cannot be made smaller.

    Raises:
        UsageError: there is such a weight.

    Example:
        >>> refuse_reparametrised(nn.Linear(2, 2))
    """
    for name, module in model.named_modules():
        if hasattr(module, "parametrizations") or hasattr(module, "weight_orig"):
            raise UsageError(
                f"the weight of {name or 'the network'} is computed from others; make it plain "
                "first (torch.nn.utils.prune.remove, parametrize.remove_parametrizations)"
            )


def _traced(library: ModuleType, model: nn.Module, example: Tensor) -> Any:
    try:
        with torch.enable_grad():
            return library.DependencyGraph().build_dependency(
                model, example[:1], forward_fn=lambda network, x: network(x), verbose=False
            )
    except Exception as error:  # whatever the network or the tracer raises
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise PrunerError(
            f"torch-pruning cannot follow {type(model).__name__} on an example of shape "
            f"{tuple(example.shape)} ({first}); give a batch the network takes, or prune "
            "single weights"
        ) from error


def _read(items: Any, graph: Any, names: dict[nn.Module, str], ops: Any) -> Coupled | None:
    """Put one of torch-pruning's groups into our terms; None where nothing of it may go."""
    unit = torch.arange(len(items[0].idxs))
    passed = []
    for item in items:
        node, roots = item.dep.target, item.root_idxs
        reads = not graph.is_out_channel_pruning_fn(item.dep.handler)
        if node.type in _mixing(ops) or None in roots or not (reads or node.outputs):
            return None  # it computes over all channels, or gives the network's output
        if node.type == ops.OPTYPE.CONCAT and item.dep.index_mapping == [None, None]:
            return None  # the place in the concatenation is not known (flattened behind it)
        if isinstance(node.module, nn.modules.conv._ConvNd) and node.module.groups > 1:
            if not _is_plain_grouped(node.module):
                return None
            if node.module.in_channels != node.module.groups:
                width = node.module.in_channels if reads else node.module.out_channels
                if len(item.idxs) != width:
                    return None  # the rest of what it reads is in other groups, and tied to these
                _tie(unit, item.idxs, roots, width // node.module.groups)
        passed.append((node, reads, torch.tensor(item.idxs), roots))
    unit = torch.unique(unit, return_inverse=True)[1]
    places, sides = [], []
    for node, reads, where, roots in passed:
        module = node.module
        if isinstance(module, nn.Parameter):
            name, dim = graph._param_to_name[module], node.pruning_dim
            owner = _owner(module.shape[dim], where, unit[roots])
            places.append(Place(name, reads, owner, dim))
            sides.append(Side(name, dim, owner, reads))
        elif module in names:
            channels = graph.get_in_channels(module) if reads else graph.get_out_channels(module)
            owner = _owner(channels, where, unit[roots])
            places.append(Place(names[module], reads, owner))
            sides.extend(_sides(names[module], module, reads, owner))
    return Coupled(
        names[items[0].dep.target.module], int(unit.max()) + 1, tuple(places), tuple(sides)
    )


def _owner(channels: int, where: Tensor, units: Tensor) -> Tensor:
    owner = torch.full((channels,), -1)
    owner[where] = units
    return owner


def _sides(name: str, module: nn.Module, reads: bool, owner: Tensor) -> Iterator[Side]:
    for own, parameter in module.named_parameters(recurse=False):
        dim = channel_dim(module, own, reads)
        if dim is not None:  # in a grouped convolution the first group stands for all
            yield Side(f"{name}.{own}", dim, owner[: parameter.shape[dim]], reads)


def channel_dim(module: nn.Module, parameter: str, reads: bool) -> int | None:
    """Return the dimension of a layer's parameter that runs over the channels on this side.

    Example:
        >>> channel_dim(nn.Linear(3, 2), "weight", True)
        1
    """
    if parameter == "bias":
        return None if reads else 0
    if isinstance(module, nn.modules.conv._ConvNd):
        return int(not reads) if module.transposed else int(reads)
    return 1 if isinstance(module, nn.Embedding) else int(reads)


def _shared_parameters(model: nn.Module) -> set[str]:
    """Name the parameters that are known under several names: no place of theirs is free to go."""
    names: dict[int, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(name)
    return {name for known in names.values() if len(known) > 1 for name in known}


def _mixing(ops: Any) -> set[Any]:
    """Return what a channel may not pass: the output, and what computes over all channels."""
    kinds = ops.OPTYPE
    return {kinds.OUTPUT, kinds.LN, kinds.GN, kinds.IN, kinds.MHA, kinds.LSTM, kinds.CUSTOMIZED}


def _is_plain_grouped(conv: nn.modules.conv._ConvNd) -> bool:
    """Tell whether channels of a grouped convolution can be followed: depthwise, or both sides."""
    depthwise = conv.groups == conv.out_channels  # what torch-pruning takes for depthwise
    return not conv.transposed and (not depthwise or conv.in_channels == conv.out_channels)


def _tie(unit: Tensor, places: list[int], roots: list[int], width: int) -> None:
    """Tie the channels at the same place of each of a convolution's groups: they go together.

    The groups of a convolution must stay of one width.
    """
    first: dict[int, int] = {}
    for place, root in zip(places, roots, strict=True):
        here, known = int(unit[root]), first.get(place % width)
        if known is None:
            first[place % width] = here
        elif here != known:
            unit[unit == here] = known
            first = {at: known if one == here else one for at, one in first.items()}
