"""Lookahead: a weight is worth what its neighbours pass on; and the walk over the network's graph.

Between two layers there may be batch norms, which scale channels, and what keeps channels apart
(activations, pooling, dropout, flattening). Paths that join in a sum are added; a path without a
layer of its own, the identity of a residual block, counts 1.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from ..errors import UsageError
from .blocks import ancestors
from .probe import Probe

_SUMS = ("add", "iadd", "add_")
_SHAPES = ("size", "getattr", "dim")  # ask for a shape, and pass nothing on


def lookahead(probe: Probe) -> dict[str, Tensor]:
    """Score by `block_distortion`, each layer brought to the scale of its weights.

    That scale changes nothing within a layer. Between layers it is needed, for a layer in the
    middle has two neighbours and the first and the last have one; it makes the root mean square of
    the scores that of the weights, so a ranking over all layers is one of magnitudes, corrected.

    Source: Park, Lee, Mo and Shin 2020.

    Raises:
        UsageError: the network's paths cannot be followed.

    Example:
        >>> net = nn.Sequential(nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False))
        >>> _ = [nn.init.constant_(w, c) for w, c in zip(net.parameters(), (2.0, 3.0))]
        >>> {k: v.item() for k, v in lookahead(Probe(net, ("0.weight", "1.weight"))).items()}
        {'0.weight': 2.0, '1.weight': 3.0}
    """
    weights = probe.weights()
    return {n: s * _size(weights[n]) / _size(s) for n, s in block_distortion(probe).items()}


def block_distortion(probe: Probe) -> dict[str, Tensor]:
    """Return |w| · (Σ incoming w² of its input unit · Σ outgoing w² of its output unit)^½.

    A unit's score is the root of the sum of squares. At the first and the last layer the missing
    side is 1. A batch norm after a layer multiplies the square by (γ/σ)² of its channel.

    Source: Park, Lee, Mo and Shin 2020.

    Raises:
        UsageError: the network's paths cannot be followed.

    Example:
        >>> net = nn.Sequential(nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False))
        >>> _ = [nn.init.constant_(w, c) for w, c in zip(net.parameters(), (2.0, 3.0))]
        >>> {k: v.item() for k, v in block_distortion(Probe(net, ("0.weight", "1.weight"))).items()}
        {'0.weight': 6.0, '1.weight': 6.0}
    """
    walk = _Walk(_traced(probe.model))
    scores = {}
    for node in walk.graph.nodes:
        layer = walk.layer(node)
        name = f"{node.target}.weight"
        if layer is None or name not in probe.names:
            continue
        squares = layer.weight.detach().double().square()
        into = _fitted(walk.before(_source(node)), layer.weight.shape[1] * _groups(layer))
        out = _fitted(walk.after(node), len(squares))
        groups, wide = _groups(layer), layer.weight.shape[1]
        rows = into.view(groups, wide).repeat_interleave(len(squares) // groups, 0)
        flat = squares.flatten(2) if squares.ndim > 2 else squares[..., None]
        value = flat * rows[..., None] * out[:, None, None]
        scores[name] = value.sqrt().float().view(layer.weight.shape)
    if missing := [name for name in probe.names if name not in scores]:
        raise UsageError(
            f"lookahead sees no use of {missing[0]} in the network's graph; skip it "
            f"(skip={missing[0]!r})"
        )
    return scores


def _size(values: Tensor) -> Tensor:
    return values.square().mean().sqrt().clamp_min(torch.finfo(values.dtype).tiny)


@dataclass
class _Walk:
    """The paths between layers, over a traced network."""

    traced: fx.GraphModule

    @property
    def graph(self) -> fx.Graph:
        return self.traced.graph

    def number(self, value: float) -> Tensor:
        device = next(self.traced.parameters()).device
        return torch.full((1,), value, dtype=torch.float64, device=device)

    def module(self, node: fx.Node) -> nn.Module | None:
        return self.traced.get_submodule(str(node.target)) if node.op == "call_module" else None

    def layer(self, node: fx.Node) -> nn.Linear | _ConvNd | None:
        module = self.module(node)
        if isinstance(module, _ConvNd) and module.transposed:
            raise UsageError(
                f"lookahead does not know transposed convolutions, which {node.target} is; take "
                "another criterion"
            )
        return module if isinstance(module, nn.Linear | _ConvNd) else None

    def before(self, node: fx.Node) -> Tensor:
        """Return Σ incoming w² of each channel that this node gives, (channels,) or (1,)."""
        if node.op in ("placeholder", "get_attr"):
            return self.number(1)
        if (layer := self.layer(node)) is not None:
            return layer.weight.detach().double().square().flatten(1).sum(1)
        if (module := self.module(node)) is not None and isinstance(module, _BatchNorm):
            return _times(self.before(_source(node)), _scale(module))
        if _name(node) in _SUMS:
            total = self.number(0)
            for source in node.all_input_nodes:
                if self.is_identity(source, node):
                    total = total + 1
                else:
                    total = _plus(total, self.before(source))
            return total
        return self.before(_source(node))

    def after(self, node: fx.Node) -> Tensor:
        """Return Σ outgoing w² of each channel that this node gives, (channels,) or (1,)."""
        total = self.number(0)
        for user in node.users:
            if _name(user) in _SHAPES:
                continue
            if user.op == "output":
                part = self.number(1)
            elif (layer := self.layer(user)) is not None:
                part = _outgoing(layer)
            elif (module := self.module(user)) is not None and isinstance(module, _BatchNorm):
                part = _times(self.after(user), _scale(module))
            elif _name(user) in _SUMS and self.is_identity(node, user):
                part = self.number(1)
            else:
                if _name(user) not in _SUMS:
                    _source(user)  # refuses what has several inputs
                part = self.after(user)
            total = _plus(total, part)
        return total

    def is_identity(self, source: fx.Node, sum_: fx.Node) -> bool:
        """Tell whether another path into a sum starts from this one, which then has no layer."""
        start = source
        while self.layer(start) is None and len(start.all_input_nodes) == 1:
            if not isinstance(self.module(start), nn.Identity):
                break
            start = start.all_input_nodes[0]
        others = [n for n in sum_.all_input_nodes if n is not source]
        return any(start is not n and start in ancestors(n) for n in others)


def _traced(model: nn.Module) -> fx.GraphModule:
    try:
        return fx.symbolic_trace(model)
    except Exception as error:  # a trace runs the network's own code, which may raise anything
        why = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UsageError(
            f"lookahead cannot follow the paths of {type(model).__name__} ({why}); take another "
            "criterion"
        ) from None


def _name(node: fx.Node) -> str:
    if node.op not in ("call_function", "call_method"):
        return ""
    return str(getattr(node.target, "__name__", node.target))


def _source(node: fx.Node) -> fx.Node:
    inputs = [n for n in node.all_input_nodes if not _is_shape(n)]
    if len(inputs) != 1:
        raise UsageError(
            f"lookahead cannot follow {node.name}, which joins {len(inputs)} paths by other than a "
            "sum; take another criterion"
        )
    return inputs[0]


def _is_shape(node: fx.Node) -> bool:
    """Tell whether a node computes with shapes, such as the sizes that a view is given."""
    return _name(node) in _SHAPES or (
        bool(_name(node))
        and bool(node.all_input_nodes)
        and all(_is_shape(n) for n in node.all_input_nodes)
    )


def _scale(norm: _BatchNorm) -> Tensor:
    """Return (γ/σ)² of each channel; of a norm without statistics γ² alone."""
    gamma = 1.0 if norm.weight is None else norm.weight.detach().double().square()
    if norm.running_var is None:
        return torch.as_tensor(gamma, dtype=torch.float64).view(-1)
    return gamma / (norm.running_var.double() + norm.eps)


def _outgoing(layer: nn.Linear | _ConvNd) -> Tensor:
    squares = layer.weight.detach().double().square()
    flat = squares.flatten(2).sum(2) if squares.ndim > 2 else squares
    return flat.view(_groups(layer), -1, flat.shape[1]).sum(1).flatten()


def _groups(layer: nn.Linear | _ConvNd) -> int:
    return layer.groups if isinstance(layer, _ConvNd) else 1


def _fitted(values: Tensor, count: int) -> Tensor:
    """Bring channel values to the inputs of a layer: flattened pictures repeat each channel's."""
    if len(values) == count:
        return values
    if count % len(values) == 0:
        return values.repeat_interleave(count // len(values))
    if len(values) % count == 0:  # a flattening that follows: a channel has all its places
        return values.view(count, -1).sum(1)
    raise UsageError(
        f"lookahead cannot match {len(values)} channels to {count}; take another criterion"
    )


def _alike(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    wide, narrow = (a, b) if len(a) >= len(b) else (b, a)
    if len(narrow) == 1 or len(wide) == len(narrow):
        return a, b
    folded = wide.view(len(narrow), -1).sum(1)
    return (folded, b) if wide is a else (a, folded)


def _times(a: Tensor, b: Tensor) -> Tensor:
    a, b = _alike(a, b)
    return a * b


def _plus(a: Tensor, b: Tensor) -> Tensor:
    a, b = _alike(a, b)
    return a + b
