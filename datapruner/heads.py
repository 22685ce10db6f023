"""The layer that gives the logits: finding it, running it in float32, catching what it reads."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from .errors import UsageError


def classifier(model: nn.Module, num_classes: int | None = None) -> nn.Linear:
    """Find the linear layer that gives the logits.

    That is the last `nn.Linear` in the order of registration, of `num_classes` outputs where that
    is given. Order is a convention, not a proof: a network with auxiliary heads after its
    classifier has to say which it is, through a method `get_classifier()` (timm's name for it).

    Raises:
        UsageError: there is no such layer.

    Example:
        >>> classifier(nn.Sequential(nn.Linear(64, 100), nn.ReLU(), nn.Linear(100, 10)))
        Linear(in_features=100, out_features=10, bias=True)
    """
    named = getattr(model, "get_classifier", None)
    layers = [named()] if callable(named) else list(model.modules())
    for layer in reversed(layers):
        if isinstance(layer, nn.Linear) and num_classes in (None, layer.out_features):
            return layer
    outputs = f"{num_classes} outputs" if num_classes else "any width"
    raise UsageError(
        f"{type(model).__name__} has no nn.Linear of {outputs} to take for its classifier; end it "
        "with one, or give it a method get_classifier() that returns the layer"
    )


@contextmanager
def float32_classifier(model: nn.Module, num_classes: int | None = None) -> Iterator[nn.Linear]:
    """Run the classifier's product in float32 inside the block, whatever autocast says around it.

    Under bfloat16 autocast logits have 8 significant bits, which leaves a few thousand distinct
    margins among any number of examples. Modules, parameters and `state_dict` stay as they are.
    (Strictly: in the precision of the layer's own weights, so a float64 network stays one.)

    Raises:
        UsageError: the network has no such layer; see `classifier`.

    Example:
        >>> model = nn.Sequential(nn.Linear(64, 100), nn.ReLU(), nn.Linear(100, 10))
        >>> with torch.autocast("cpu", torch.bfloat16), float32_classifier(model):
        ...     model(torch.zeros(2, 64)).dtype
        torch.float32
    """
    layer = classifier(model, num_classes)
    outer = layer.__dict__.get("forward")  # set when blocks are nested, or by somebody else
    # A partial of a module-level function, so that a deep copy made inside the block is whole.
    layer.forward = partial(_without_autocast, layer)  # type: ignore[method-assign] # per instance
    try:
        yield layer
    finally:
        del layer.forward
        if outer is not None:
            layer.forward = outer  # type: ignore[method-assign] # puts back what was there


def _without_autocast(layer: nn.Linear, x: Tensor) -> Tensor:
    with torch.autocast(x.device.type, enabled=False):
        return type(layer).forward(layer, x.to(layer.weight.dtype))


class Features:
    """What `features` caught: `last` is the classifier's input in the latest forward pass, (b, d).

    Example:
        >>> Features().last is None
        True
    """

    def __init__(self) -> None:
        self.last: Tensor | None = None


@contextmanager
def features(model: nn.Module, num_classes: int | None = None) -> Iterator[Features]:
    """Catch the penultimate features, the input of the classifier, while the network runs.

    The tensor is part of the graph: detach it where gradients are not wanted.

    Raises:
        UsageError: the network has no such layer; see `classifier`.

    Example:
        >>> model = nn.Sequential(nn.Linear(64, 100), nn.ReLU(), nn.Linear(100, 10))
        >>> with torch.no_grad(), features(model) as caught:
        ...     logits = model(torch.zeros(2, 64))
        >>> tuple(caught.last.shape)
        (2, 100)
    """
    caught = Features()

    def keep(module: nn.Module, inputs: tuple[Any, ...]) -> None:
        caught.last = inputs[0]

    handle = classifier(model, num_classes).register_forward_pre_hook(keep)
    try:
        yield caught
    finally:
        handle.remove()
