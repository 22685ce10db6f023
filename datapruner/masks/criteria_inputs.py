"""Criteria made of what goes into a layer when the network runs on examples."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..errors import UsageError
from .probe import Probe

Layer = nn.Linear | nn.Conv2d


def wanda(probe: Probe) -> dict[str, Tensor]:
    """Score by |w|·‖x_j‖, the Euclidean norm over all examples of the input that w multiplies.

    Weights are compared within their output row, so every row of a layer keeps the same share (see
    `rank_in_row`). Linear layers and 2-d convolutions; of the latter, the inputs at all places.

    Source: Sun, Liu, Bair and Kolter 2024.

    Raises:
        UsageError: a parameter is no weight of such a layer, or its layer is never called.

    Example:
        >>> wanda.__name__
        'wanda'
    """
    layers = {f"{name}.weight" if name else "weight": m for name, m in probe.model.named_modules()}
    squares: dict[str, Tensor] = {}
    handles = []
    try:
        for name in probe.names:
            layer = layers.get(name)
            if not isinstance(layer, nn.Linear | nn.Conv2d):
                raise UsageError(
                    f"wanda knows the inputs of linear layers and 2-d convolutions; {name} is "
                    f"neither; skip it (skip={name!r})"
                )
            handles.append(layer.register_forward_pre_hook(_adding(squares, name)))
        with torch.no_grad():
            for _ in probe.losses():
                pass
    finally:
        for handle in handles:
            handle.remove()
    if unseen := [name for name in probe.names if name not in squares]:
        raise UsageError(
            f"wanda saw no input of {unseen[0]}: the network does not call that layer by itself; "
            f"skip it (skip={unseen[0]!r})"
        )
    return {n: w.abs() * squares[n].sqrt().to(w.dtype) for n, w in probe.weights().items()}


def _adding(squares: dict[str, Tensor], name: str) -> Callable[[Any, Any], None]:
    def add(layer: Layer, inputs: tuple[Tensor, ...]) -> None:
        found = _inputs(layer, inputs[0].detach().double().square())
        squares[name] = found + squares.get(name, 0)

    return add


def _inputs(layer: Layer, square: Tensor) -> Tensor:
    """Return the sum of the squared inputs of each weight, in a shape that the weight's goes on."""
    if isinstance(layer, nn.Linear):
        return square.flatten(0, -2).sum(0)
    at = square.sum(0, keepdim=True)  # unfolding is linear: once, not for each example
    if isinstance(layer.padding, str) or layer.padding_mode != "zeros":
        how = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
        at = functional.pad(at, layer._reversed_padding_repeated_twice, how)
        padding: Any = 0
    else:
        padding = layer.padding
    kernel: Any = layer.kernel_size
    columns = functional.unfold(at, kernel, layer.dilation, padding, layer.stride)  # type: ignore[arg-type] # pairs
    inputs = columns.sum(-1).view(layer.in_channels, *kernel)
    own = inputs.view(layer.groups, -1, *kernel)  # a group's outputs read its own inputs
    return own.repeat_interleave(layer.out_channels // layer.groups, 0)
