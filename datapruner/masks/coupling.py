"""Which channels of a network can only go together, from torch-pruning's dependency graph.

The only file that imports torch-pruning, and only when it is asked for.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import PrunerError, UsageError
from .units import Member


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
        unit: (channels of the root,) the unit of each of its output channels.
        sides: every place in a parameter that goes with a unit.
    """

    root: str
    units: int
    unit: Tensor
    sides: tuple[Side, ...]


class Graph:
    """The coupled channels of one network, and the means to take some of them out of it."""

    def __init__(self, model: nn.Module, example: Tensor):
        """Trace `model`, which is put into eval mode, on a batch of one row or more.

        Raises:
            PrunerError: torch-pruning is not installed, or cannot follow this network.
        """
        _refuse_reparametrised(model)
        self._model = model
        self._graph = _traced(torch_pruning(), model, example)
        self._names = {module: name for name, module in model.named_modules()}
        self._shared = _shared_parameters(model)
        self.groups = tuple(self._coupled())

    def take_out(self, dead: dict[str, Tensor]) -> None:
        """Take units out of the network, in place; its layers become that much smaller.

        Args:
            dead: by root, (units,) bool, True where the unit goes.
        """
        for group in self.groups:
            gone = dead[group.root].cpu()[group.unit.cpu()].nonzero().flatten().tolist()
            if gone:
                root = self._model.get_submodule(group.root)
                prune = self._graph.get_pruner_of_module(root).prune_out_channels
                self._graph.get_pruning_group(root, prune, gone).prune(record_history=False)

    def _coupled(self) -> Iterator[Coupled]:
        for items in self._graph.get_all_groups():
            group = self._read(items)
            if group is not None and group.units > 1:
                yield group

    def _read(self, items: Any) -> Coupled | None:
        """Put one of torch-pruning's groups into our terms; None where nothing of it may go."""
        ops = torch_pruning().ops
        root = items[0].dep.target.module
        channels = len(items[0].idxs)
        unit = torch.arange(channels)
        found: list[tuple[nn.Module | nn.Parameter, bool, list[int], list[int]]] = []
        for item in items:
            module, fixed = item.dep.target.module, item.dep.target.type
            if fixed in _mixing(ops) or (item.root_idxs and None in item.root_idxs):
                return None
            reads = not self._graph.is_out_channel_pruning_fn(item.dep.handler)
            if not reads and not item.dep.target.outputs:
                return None  # what it makes is the network's output
            if isinstance(module, nn.modules.conv._ConvNd) and module.groups > 1:
                depthwise = module.groups == module.out_channels
                if depthwise and module.in_channels != module.out_channels:
                    return None
                if not depthwise:
                    _tie(unit, item.idxs, item.root_idxs, module, reads)
            found.append((module, reads, item.idxs, item.root_idxs))
        unit = torch.unique(unit, return_inverse=True)[1]
        sides = [side for one in found for side in self._sides(*one, unit)]
        if self._shared & {side.name for side in sides}:
            return None
        return Coupled(self._names[root], int(unit.max()) + 1, unit, tuple(sides))

    def _sides(
        self, module: Any, reads: bool, places: list[int], roots: list[int], unit: Tensor
    ) -> Iterator[Side]:
        if isinstance(module, nn.Parameter):
            name = self._graph._param_to_name[module]
            dim = self._graph.module2node[module].pruning_dim
            yield _side(name, module, dim, reads, torch.tensor(places), unit[roots])
            return
        if module not in self._names:
            return  # an operation without parameters
        name = self._names[module]
        for own, parameter in module.named_parameters(recurse=False):
            dim = _channel_dim(module, own, reads)
            if dim is None:
                continue
            where = torch.tensor(places)
            if reads and isinstance(module, nn.modules.conv._ConvNd) and module.groups > 1:
                where = where % parameter.shape[dim]
            yield _side(f"{name}.{own}", parameter, dim, reads, where, unit[roots])


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
        PrunerError: torch-pruning is not installed, or cannot follow this network.

    Example:
        >>> model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
        >>> [(group.root, group.units) for group in coupled_channels(model, torch.zeros(1, 4))]
        [('0', 3)]
    """
    return Graph(deepcopy(model), example).groups


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


def _traced(library: ModuleType, model: nn.Module, example: Tensor) -> Any:
    frozen = [p for p in model.parameters() if not p.requires_grad]
    with torch.enable_grad(), _all_trainable(frozen):
        try:
            # as a tuple: a bare tensor would first be tried row by row
            return library.DependencyGraph().build_dependency(model, (example,), verbose=False)
        except Exception as error:  # whatever the network or the tracer raises
            raise PrunerError(
                f"torch-pruning cannot follow {type(model).__name__} on an example of shape "
                f"{tuple(example.shape)} ({error}); give a batch the network takes, or prune "
                "single weights"
            ) from error


@contextmanager
def _all_trainable(frozen: list[nn.Parameter]) -> Iterator[None]:
    """Let gradients flow everywhere meanwhile: the trace follows them."""
    for parameter in frozen:
        parameter.requires_grad_(True)
    try:
        yield
    finally:
        for parameter in frozen:
            parameter.requires_grad_(False)


def _refuse_reparametrised(model: nn.Module) -> None:
    for name, module in model.named_modules():
        if hasattr(module, "parametrizations") or hasattr(module, "weight_orig"):
            raise UsageError(
                f"the weight of {name or 'the network'} is computed from others; make it plain "
                "first (torch.nn.utils.prune.remove, parametrize.remove_parametrizations)"
            )


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


def _tie(unit: Tensor, places: list[int], roots: list[int], conv: Any, reads: bool) -> None:
    """Tie the channels at the same place of each of a convolution's groups: they go together.

    The groups of a convolution must stay of one width.
    """
    width = (conv.in_channels if reads else conv.out_channels) // conv.groups
    first: dict[int, int] = {}
    for place, root in zip(places, roots, strict=True):
        here, known = int(unit[root]), first.get(place % width)
        if known is None:
            first[place % width] = here
        elif here != known:
            unit[unit == here] = known
            first = {at: known if one == here else one for at, one in first.items()}


def _channel_dim(module: nn.Module, parameter: str, reads: bool) -> int | None:
    """Return the dimension of a layer's parameter that runs over the channels on this side."""
    if parameter == "bias":
        return None if reads else 0
    if isinstance(module, nn.modules.conv._ConvNd):
        return int(reads) if not module.transposed else int(not reads)
    if isinstance(module, nn.Embedding):
        return 1
    return int(reads)


def _side(
    name: str, parameter: Tensor, dim: int, reads: bool, where: Tensor, units: Tensor
) -> Side:
    owner = torch.full((parameter.shape[dim],), -1)
    owner[where] = units
    return Side(name, dim, owner, reads)
