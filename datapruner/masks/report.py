"""What masks come to: the density of each layer, active weights, and their mean over training."""

from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor, nn

from ..history import History
from .diagnostics import weights_times_rows
from .hold import checked


def density_report(
    model: nn.Module, masks: Mapping[str, Tensor], names: Iterable[str] | None = None
) -> dict[str, Any]:
    """Return the density of each layer and of the whole, as plain values.

    Args:
        model: whose masks they are.
        masks: by parameter, True is kept.
        names: the parameters that the overall density is of; None is all that have a mask.

    Returns:
        `density` and `sparsity` over the parameters that are ranked, `kept` of how many `weights`,
        `active` of `parameters` in the whole network, and `layers`: density by parameter.

    Raises:
        UsageError: a mask does not fit the network.

    Example:
        >>> import torch
        >>> layer = nn.Linear(2, 2)
        >>> density_report(layer, {"weight": torch.eye(2) > 0})["layers"]
        {'weight': 0.5}
    """
    masks = checked(model, masks)
    ranked = [name for name in (masks if names is None else names)]
    kept = {n: int(m.sum()) for n, m in masks.items()}
    sizes = {n: model.get_parameter(n).numel() for n in {*ranked, *masks}}
    weights = sum(sizes[n] for n in ranked)
    left = sum(kept.get(n, sizes[n]) for n in ranked)
    everything = sum(p.numel() for p in model.parameters())
    density = left / weights if weights else 1.0
    return {
        "density": density,
        "sparsity": 1 - density,
        "kept": left,
        "weights": weights,
        "active": everything - sum(sizes[n] - kept[n] for n in masks),
        "parameters": everything,
        "layers": {
            n: kept.get(n, sizes[n]) / sizes[n] for n in [*ranked, *(set(masks) - {*ranked})]
        },
    }


def average_active(history: History, dense: int | None = None) -> float:
    """Return the mean number of active parameters over the rows seen (N̄ of Jin et al. 2025).

    Args:
        history: of a run with masks.
        dense: parameters of the network, for epochs without masks.

    Raises:
        UsageError: an epoch ran without masks and `dense` is not given.

    Example:
        >>> from datapruner.history import Epoch
        >>> first = Epoch(0, 10, 1, 0.1, 0.5, 0.5, active=100.0)
        >>> average_active(History([first, Epoch(1, 40, 4, 0.2, 0.5, 0.5, active=20.0)]))
        40.0
    """
    return weights_times_rows(history, dense) / history.examples
