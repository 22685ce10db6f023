"""Residual blocks: finding the branches that a skip goes around, cutting the dead ones."""

import operator
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import Tensor, fx, nn

from ..errors import UsageError

_ADDS = (operator.add, operator.iadd, torch.add, "add", "add_")
_COPYING = {operator.iadd: operator.add, operator.imul: operator.mul, "add_": "add", "mul_": "mul"}
_PRODUCTS = (operator.mul, operator.imul, torch.mul, "mul", "mul_")


@dataclass(frozen=True)
class Block:
    """The body of one residual block: what is left out when only the skip stays.

    Attributes:
        modules: its layers that hold parameters, in the order they run.
        parameters: names of all its parameters.

    Example:
        >>> Block(("conv",), ("conv.weight",)).modules
        ('conv',)
    """

    modules: tuple[str, ...]
    parameters: tuple[str, ...]


def residual_blocks(model: nn.Module) -> tuple[Block, ...]:
    """Find the bodies of the residual blocks, in the order they run.

    A block is an addition of two branches that part from one another earlier on. The branch with
    parameters is the body; where both have some, it is the one with more layers, the other being
    the projection on the skip. Of blocks inside one another the innermost count; a body whose
    layers also run elsewhere is none.

    Raises:
        UsageError: torch.fx cannot trace the network.

    Example:
        >>> from datapruner import make_model
        >>> [block.modules[0] for block in residual_blocks(make_model("resnet8", 10, (3, 8, 8)))]
        ['stage1_1.body.conv1', 'stage2_1.body.conv1', 'stage3_1.body.conv1']
    """
    graph = _graph(model)
    uses: dict[str, int] = {}
    for node in graph.nodes:
        if _parametric(model, node):
            uses[str(node.target)] = uses.get(str(node.target), 0) + 1
    bodies = [body for node in graph.nodes if (body := _body(model, node))]
    inner = [body for body in bodies if not any(other < body for other in bodies)]
    found = []
    for body in inner:
        own = [node for node in graph.nodes if node in body and _parametric(model, node)]
        if all(uses[str(node.target)] == 1 for node in own):
            modules = tuple(str(node.target) for node in own if node.op == "call_module")
            parameters = tuple(name for node in own for name in _parameters(model, node))
            found.append(Block(modules, parameters))
    return tuple(found)


def norm_after(model: nn.Module) -> dict[str, str]:
    """Name the batch norm that reads a convolution or linear layer, and it alone.

    Example:
        >>> from datapruner import make_model
        >>> norm_after(make_model("resnet8", 10, (3, 8, 8)))["stem.conv"]
        'stem.norm'
    """
    found = {}
    for node in _graph(model).nodes:
        users = list(node.users)
        if node.op == "call_module" and len(users) == 1 and users[0].op == "call_module":
            after = model.get_submodule(str(users[0].target))
            if isinstance(after, nn.modules.batchnorm._BatchNorm):
                found[str(node.target)] = str(users[0].target)
    return found


def cut_dead(model: nn.Module, masks: Mapping[str, Tensor]) -> nn.Module:
    """Return the network without the residual branches that its masks leave nothing of.

    Where an addition has a branch that ends in a layer masked whole, the other branch goes on
    alone. The result is a torch.fx GraphModule on copies of the layers, their names unchanged, in
    the same mode; the same network is returned where there is nothing to cut, or no way to.

    Args:
        model: not changed.
        masks: by parameter name, False where a weight is gone.

    Example:
        >>> from datapruner import make_model
        >>> model = make_model("resnet8", 10, (3, 8, 8))
        >>> body = residual_blocks(model)[0].parameters
        >>> masks = {name: torch.zeros_like(model.get_parameter(name)).bool() for name in body}
        >>> small = cut_dead(model, masks)
        >>> "stage1_1.body.conv1.weight" in small.state_dict()
        False
    """
    gone = {name for name, mask in masks.items() if not mask.any()}
    if not gone:
        return model
    try:
        graph = _graph(model)
    except UsageError:
        return model  # its channels can still go
    cut = False
    for node in graph.nodes:
        if not _is_addition(node):
            continue
        dead = [_is_dead(model, arg, gone) for arg in node.args[:2]]
        if any(dead):
            node.replace_all_uses_with(node.args[1] if dead[0] else node.args[0])
            cut = True
    if not cut:
        return model
    small = fx.GraphModule(deepcopy(model), graph, class_name=type(model).__name__)
    small.graph.eliminate_dead_code()
    _nothing_in_place(small)
    small.recompile()
    small.delete_all_unused_submodules()
    small.training = model.training
    _hooks_from(model)(small)
    small._register_deepcopy_hook(_hooks_from(model))
    return small


def _nothing_in_place(small: fx.GraphModule) -> None:
    """Let no operation overwrite its input: after a cut it may be what another one still needs."""
    for module in small.modules():
        if getattr(module, "inplace", False):
            module.inplace = False  # type: ignore[assignment] # a flag, whatever stubs say
    for node in small.graph.nodes:
        node.target = _COPYING.get(node.target, node.target)
        if "inplace" in node.kwargs:
            node.kwargs = {**node.kwargs, "inplace": False}


def _hooks_from(model: nn.Module) -> Callable[[fx.GraphModule], None]:
    """Return what hands on the hooks of the network itself; tracing and copying lose them."""
    before, after = model._forward_pre_hooks.copy(), model._forward_hooks.copy()

    def hand_on(small: fx.GraphModule) -> None:
        small._forward_pre_hooks, small._forward_hooks = before.copy(), after.copy()

    return hand_on


class _Tracer(fx.Tracer):
    """Takes what has no parts of its own for one piece, so that its mode stays its own."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return super().is_leaf_module(m, module_qualified_name) or not any(m.children())


def _graph(model: nn.Module) -> fx.Graph:
    try:
        graph = _Tracer().trace(model)
    except Exception as error:  # fx runs the network's own code, which may raise anything
        raise UsageError(
            f"torch.fx cannot trace {type(model).__name__} ({error}), so its residual blocks "
            "cannot be found; prune channels or single weights"
        ) from error
    for node in graph.nodes:
        if node.op == "call_function" and "training" in node.kwargs:
            raise UsageError(
                f"{type(model).__name__} calls {node.name} with a flag for training, which a trace "
                "would hold fast; use a module (nn.Dropout), or prune channels or single weights"
            )
    return graph


def _is_addition(node: fx.Node) -> bool:
    two = len(node.args) == 2 and all(isinstance(arg, fx.Node) for arg in node.args)
    return two and node.op in ("call_function", "call_method") and node.target in _ADDS


def _body(model: nn.Module, node: fx.Node) -> set[fx.Node]:
    """Return the nodes of the residual body that ends in this node, or none."""
    if not _is_addition(node):
        return set()
    left, right = (ancestors(arg) for arg in node.args if isinstance(arg, fx.Node))
    if not left & right:
        return set()  # a position embedding, say, has no common beginning
    sizes = [sum(_parametric(model, n) for n in branch) for branch in (left - right, right - left)]
    if not any(sizes):
        return set()
    return left - right if sizes[0] >= sizes[1] else right - left


def ancestors(node: fx.Node) -> set[fx.Node]:
    """Return the nodes that lead to one in a graph, and itself.

    Example:
        >>> traced = fx.symbolic_trace(nn.Sequential(nn.ReLU(), nn.Tanh()))
        >>> sorted(node.name for node in ancestors(list(traced.graph.nodes)[1]))
        ['_0', 'input_1']
    """
    seen, queue = {node}, [node]
    while queue:
        for before in queue.pop().all_input_nodes:
            if before not in seen:
                seen.add(before)
                queue.append(before)
    return seen


def _parameters(model: nn.Module, node: fx.Node) -> list[str]:
    """Name the parameters that a node holds."""
    target = str(node.target)
    if node.op == "get_attr":
        return [target] if target in dict(model.named_parameters(remove_duplicate=False)) else []
    if node.op == "call_module":
        own = model.get_submodule(target).named_parameters(remove_duplicate=False)
        return [f"{target}.{name}" for name, _ in own]
    return []


def _parametric(model: nn.Module, node: fx.Node) -> bool:
    return bool(_parameters(model, node))


def _is_dead(model: nn.Module, node: object, gone: set[str]) -> bool:
    """Tell whether a node gives only zeros, taking operations to send 0 to 0 (checked later)."""
    if not isinstance(node, fx.Node) or node.op in ("placeholder", "output"):
        return False
    names = _parameters(model, node)
    if names:
        return set(names) <= gone
    if node.op == "get_attr":
        return False
    dead = [_is_dead(model, before, gone) for before in node.all_input_nodes]
    return any(dead) if node.target in _PRODUCTS else bool(dead) and all(dead)
