"""Singular values of a network's weights: how far pruning leaves them from losing rank."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor, nn

from .hold import checked


@dataclass(frozen=True)
class Spectrum:
    """The singular values of one weight, as a matrix (out, in x kh x kw).

    Attributes:
        name: the parameter.
        norm: the largest singular value.
        smallest: the smallest that is not 0.
        condition: norm / smallest, over the non-zero ones, so that a dead row leaves it finite.
        rank: how many are not 0.
        full_rank: how many there are.
        bound: the largest factor by which the layer stretches an input: norm for a matrix, at most
            norm x sqrt(kh kw) for a convolution.

    Example:
        >>> Spectrum("w", 4.0, 2.0, 2.0, 3, 3, 4.0).condition
        2.0
    """

    name: str
    norm: float
    smallest: float
    condition: float
    rank: int
    full_rank: int
    bound: float


def spectral_report(
    model: nn.Module, masks: Mapping[str, Tensor] | None = None
) -> dict[str, Spectrum]:
    """Return the spectrum of every weight with two dimensions or more, by parameter name.

    Heavy pruning raises the condition number and, once rows die, lowers the rank; a singular value
    counts as 0 below norm x max(rows, columns) x float32 epsilon. See `norm_product`.

    Args:
        model: the network; its masked weights need not be 0 yet.
        masks: bool by parameter name; None takes the weights as they are.

    Raises:
        UsageError: a mask does not fit the network.

    Example:
        >>> model = nn.Linear(2, 2)
        >>> model.weight.data = torch.tensor([[3.0, 0.0], [0.0, 2.0]])
        >>> round(spectral_report(model)["weight"].condition, 6)
        1.5
    """
    masks = checked(model, masks or {})
    found = {}
    for name, parameter in model.named_parameters():
        if parameter.ndim >= 2:
            weight = parameter.detach().cpu().double()
            if name in masks:
                weight = weight * masks[name].cpu()
            found[name] = _spectrum(name, weight)
    return found


def norm_product(report: Mapping[str, Spectrum]) -> float:
    """Return the product of the layers' bounds: how much a plain chain of them can stretch.

    It bounds the Lipschitz constant of a network whose layers follow one another with ReLU or
    pooling between them. With skips or batch norm it bounds nothing and only tells two states of
    one network apart.

    Example:
        >>> norm_product({name: Spectrum(name, 2.0, 1.0, 2.0, 1, 1, 2.0) for name in "abc"})
        8.0
    """
    return float(prod(layer.bound for layer in report.values()))


def _spectrum(name: str, weight: Tensor) -> Spectrum:
    matrix = weight.flatten(1)
    values = torch.linalg.svdvals(matrix)
    norm = float(values[0])
    values = values[values > norm * max(matrix.shape) * torch.finfo(torch.float32).eps]
    smallest = float(values[-1]) if len(values) else 0.0
    return Spectrum(
        name,
        norm,
        smallest,
        norm / smallest if smallest else float("inf"),
        len(values),
        min(matrix.shape),
        norm * prod(weight.shape[2:]) ** 0.5,
    )
