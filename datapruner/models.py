"""Networks by name: ours, torchvision's and the user's own."""

import inspect
import sys
from collections.abc import Callable
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .errors import PrunerError, UsageError, suggest
from .networks import Shape, bag, lenet, mlp, picture_shape, resnet, resnet9
from .seeds import seed_for
from .vision import torchvision


def make_model(name: str, num_classes: int, shape: Shape, *, seed: int = 0) -> nn.Module:
    """Build a network by name, its first weights a function of the seed alone.

    The weights are drawn on the CPU from a generator that is put back afterwards, so the caller's
    random numbers go on as if nothing had happened. The network is in training mode.

    Args:
        name: a name in `MODELS`; `bag:VOCABULARY` for token ids below VOCABULARY;
            `torchvision:NAME` for a classifier of torchvision, without its pretrained weights; or
            `package.module:factory`, a function of your own that is called with `num_classes=`
            and, where it takes one, `shape=`. The current folder is searched for it too.
        num_classes: width of the logits.
        shape: shape of one example as the network sees it: (C, H, W), (features,) or (tokens,).
        seed: the seed of the first weights.

    Raises:
        UsageError: the name is not known, or the network cannot take examples of this shape.
        PrunerError: the factory itself failed.

    Example:
        >>> model = make_model("lenet", 10, (1, 8, 8))
        >>> tuple(model(torch.zeros(2, 1, 8, 8)).shape)
        (2, 10)
    """
    if num_classes < 1:
        raise UsageError(f"num_classes is {num_classes}; a classifier needs at least one class")
    shape = tuple(int(side) for side in shape)
    with torch.device("cpu"), torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed_for(seed, "model"))  # torch.manual_seed: every GPU
        family, colon, rest = name.partition(":")
        if name in MODELS:
            return MODELS[name](num_classes, shape)
        if family == "bag":
            if len(shape) != 1:
                raise UsageError(
                    f"bag takes rows of token ids, these examples have shape {shape}; use mlp"
                )
            return bag(num_classes, rest)
        if family == "torchvision" and colon:
            return _from_torchvision(rest, num_classes, shape)
        if colon:
            return _from_factory(family, rest, num_classes, shape)
    hint = suggest(name, [*MODELS, "bag:VOCABULARY", "torchvision:NAME", "package.module:factory"])
    raise UsageError(f"no model is called {name!r}; {hint}")


MODELS: dict[str, Callable[[int, Shape], nn.Module]] = {
    "mlp": mlp,
    "lenet": lenet,
    "resnet8": partial(resnet, blocks=(1, 1, 1)),
    "resnet20": partial(resnet, blocks=(3, 3, 3)),
    "resnet9": resnet9,
    "resnet18": partial(resnet, blocks=(2, 2, 2, 2), width=64),
}


def _from_torchvision(name: str, num_classes: int, shape: Shape) -> nn.Module:
    models = torchvision("models")
    known = models.list_models(module=models)
    if name not in known:
        raise UsageError(f"torchvision has no classifier called {name!r}; {suggest(name, known)}")
    channels, height, width = picture_shape(f"torchvision:{name}", shape)
    if channels not in (1, 3):
        raise UsageError(
            f"torchvision:{name} takes 1 or 3 channels, these pictures have {channels}"
        )
    options: dict[str, Any] = {}
    if name in ("googlenet", "inception_v3"):  # auxiliary heads make the output a tuple
        options = {"aux_logits": False, "init_weights": True}
    if name.startswith("vit_"):  # the only family whose weights depend on the picture's size
        options = {"image_size": height}
    try:
        model: nn.Module = models.get_model(name, weights=None, num_classes=num_classes, **options)
        if channels == 1:
            model.register_forward_pre_hook(_grey_to_colour)
        return _checked(model, num_classes, shape)
    except (RuntimeError, ValueError, AssertionError) as error:
        raise UsageError(
            f"torchvision:{name} cannot take pictures of {height}x{width} ({error}); use larger "
            f"pictures or one of: {', '.join(MODELS)}"
        ) from error


def _grey_to_colour(module: nn.Module, inputs: tuple[Tensor, ...]) -> Tensor:
    return inputs[0].expand(-1, 3, -1, -1)


def _from_factory(module: str, factory: str, num_classes: int, shape: Shape) -> nn.Module:
    name = f"{module}:{factory}"
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)  # last, so that it hides nothing that is installed
    try:
        make = getattr(import_module(module), factory)
    except (ImportError, AttributeError, ValueError) as error:
        raise UsageError(
            f"model {name!r} cannot be imported ({error}); write package.module:factory"
        ) from error
    parameters = inspect.signature(make).parameters
    options = {"shape": shape} if "shape" in parameters else {}
    try:
        model = make(num_classes=num_classes, **options)
    except Exception as error:
        raise PrunerError(f"{name} failed with {type(error).__name__}: {error}") from error
    if not isinstance(model, nn.Module):
        raise UsageError(f"{name} gave a {type(model).__name__}; it has to return an nn.Module")
    return model


def _checked(model: nn.Module, num_classes: int, shape: Shape) -> nn.Module:
    """Run one blank picture through the network, so that a misfit shows now and not in training."""
    with torch.no_grad():
        logits = model.eval()(torch.zeros(1, *shape))
    if tuple(logits.shape) != (1, num_classes):
        raise ValueError(f"its output has shape {tuple(logits.shape)}")
    return model.train()
