"""The PQ index: how unevenly a vector is spread, and how much of it SAP prunes for that."""

import math
from collections.abc import Mapping
from typing import Literal, get_args

import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from ..errors import UsageError, suggest
from .hold import checked

Reach = Literal["global", "layer", "neuron"]


def pq_index(values: Tensor | ArrayLike, p: float = 0.5, q: float = 1.0) -> float:
    """Return the PQ index, in [0, 1): 0 where all magnitudes are equal, near 1 where few stand out.

    I = 1 - d^(1/q - 1/p) ||v||_p / ||v||_q over the d values. It does not change with the scale of
    the values or when they are repeated. Of a network's weights take those that are not masked. Of
    a vector of example scores it says how concentrated the score is. Source: Diao et al. 2023.

    Args:
        values: any shape; magnitudes count.
        p: the smaller norm, above 0.
        q: the larger one.

    Raises:
        UsageError: p and q are out of order, or the values are none, not finite or all 0.

    Example:
        >>> pq_index([1.0, 1.0, 1.0, 1.0])
        0.0
        >>> pq_index([1.0, 0.0, 0.0, 0.0])
        0.75
    """
    if not 0 < p < q < math.inf:
        raise UsageError(f"the PQ index needs 0 < p < q, not p={p} and q={q}")
    magnitude = torch.as_tensor(values, dtype=torch.float64).detach().abs().flatten()
    if not len(magnitude) or not bool(torch.isfinite(magnitude).all()):
        raise UsageError(
            "the PQ index needs one finite value or more; some are missing, NaN or inf"
        )
    largest = float(magnitude.max())
    if largest == 0:
        raise UsageError("the PQ index of values that are all 0 is not defined")
    magnitude = magnitude / largest
    low = (magnitude**p).mean() ** (1 / p)  # d^(-1/p) ||v||_p
    high = (magnitude**q).mean() ** (1 / q)
    return max(0.0, 1.0 - float(low / high))


def sap_count(
    values: Tensor | ArrayLike,
    p: float = 0.5,
    q: float = 1.0,
    *,
    eta: float = 0.0,
    gamma: float = 1.0,
    beta: float = 0.9,
) -> int:
    """Return how many of these weights SAP removes in one round: the smallest magnitudes.

    With I the PQ index of the d values, at least m = ceil(d (1+eta)^(-q/(q-p)) (1-I)^(pq/(q-p)))
    should be kept; floor(d min(gamma (1 - m/d), beta)) go. For p=0.5, q=1 the share that goes is
    gamma I. Source: Diao et al. 2023 (sparsity-informed adaptive pruning).

    Args:
        values: the weights that are not masked.
        p: as in `pq_index`.
        q: as in `pq_index`.
        eta: slack of the bound, above -1; larger prunes more.
        gamma: factor on the share that goes; above 1 prunes faster.
        beta: the largest share that goes in a round.

    Raises:
        UsageError: a number out of its range, or values that have no PQ index.

    Example:
        >>> sap_count([1.0, 0.0, 0.0, 0.0])
        3
        >>> sap_count([1.0, 0.0, 0.0, 0.0], beta=0.5)
        2
    """
    if eta <= -1 or gamma < 0 or not 0 <= beta <= 1:
        raise UsageError(
            f"SAP needs eta above -1, gamma from 0 and beta in [0, 1], not eta={eta}, "
            f"gamma={gamma}, beta={beta}"
        )
    index = pq_index(values, p, q)
    d: int = torch.as_tensor(values).numel()
    kept: float = d * (1 + eta) ** (-q / (q - p)) * (1 - index) ** (p * q / (q - p))
    m = math.ceil(kept - 1e-9 * d)  # what is whole but for rounding counts as whole
    return math.floor(d * min(gamma * max(0.0, 1 - m / d), beta) + 1e-9)


def sap_masks(
    model: nn.Module,
    masks: Mapping[str, Tensor],
    p: float = 0.5,
    q: float = 1.0,
    *,
    reach: Reach = "global",
    eta: float = 0.0,
    gamma: float = 1.0,
    beta: float = 0.9,
) -> dict[str, Tensor]:
    """Return the masks after one round of SAP: the smallest surviving weights go, by magnitude.

    Between rounds the paper rewinds the weights to their first values and trains again.

    Args:
        model: with its trained weights.
        masks: bool by parameter name, of the weights that may go; what is masked stays masked.
        p: as in `pq_index`.
        q: as in `pq_index`.
        reach: the weights that share one PQ index and one ranking: all of them, those of a layer,
            or those into one unit (a row).
        eta: as in `sap_count`.
        gamma: as in `sap_count`.
        beta: as in `sap_count`.

    Raises:
        UsageError: a mask does not fit the network, or a number is out of its range.

    Example:
        >>> model = nn.Linear(4, 1)
        >>> model.weight.data = torch.tensor([[9.0, 0.25, 1.0, 1.0]])
        >>> sap_masks(model, {"weight": torch.ones(1, 4).bool()})["weight"]
        tensor([[ True, False,  True,  True]])
    """
    if reach not in get_args(Reach):
        raise UsageError(f"reach={reach!r}; {suggest(reach, get_args(Reach))}")
    masks = checked(model, masks)
    weights = {name: model.get_parameter(name).detach() for name in masks}
    new = {name: mask.clone() for name, mask in masks.items()}
    for parts in _parts(weights, new, reach):
        values = torch.cat([weight[mask] for weight, mask in parts])
        if not len(values) or not values.any():
            continue
        count = sap_count(values, p, q, eta=eta, gamma=gamma, beta=beta)
        gone = torch.zeros(len(values), dtype=torch.bool, device=values.device)
        gone[values.abs().argsort(stable=True)[:count]] = True
        for _, mask in parts:
            here = int(mask.sum())
            mask[mask.clone()] = ~gone[:here]
            gone = gone[here:]
    return new


def _parts(
    weights: dict[str, Tensor], masks: dict[str, Tensor], reach: Reach
) -> list[list[tuple[Tensor, Tensor]]]:
    """Return (weight, mask) pairs, those ranked together in one list; the masks are views."""
    pairs = [(weights[name], masks[name]) for name in weights]
    if reach == "global":
        return [pairs]
    if reach == "layer":
        return [[pair] for pair in pairs]
    return [[row] for weight, mask in pairs for row in zip(weight, mask, strict=True)]
