"""Controls: what a mask has to be compared with before it is called good.

- `redrawn`: as many weights in each layer, at random places. Beats it: the places matter.
- `fresh`: the same mask on newly drawn weights. Beats it: the first weights matter.
- `scratch`: the pruned network trained from newly drawn weights, for as many epochs (Scratch-E) or
  for as many floating-point operations (Scratch-B) as the whole one.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor, nn

from ..errors import UsageError
from ..run import Run
from ..seeds import generator
from .hold import checked


def redrawn(masks: Mapping[str, Tensor], *, seed: int = 0, floor: int = 1) -> dict[str, Tensor]:
    """Return masks that keep as many weights of each parameter, at random places.

    Args:
        masks: by parameter, True is kept.
        seed: of the places.
        floor: least weights of each output row that stay, as far as there are enough.

    Example:
        >>> masks = {"fc.weight": torch.eye(4) > 0}
        >>> [int(mask.sum()) for mask in redrawn(masks, seed=1).values()]
        [4]
    """
    out = {}
    for place, (name, mask) in enumerate(sorted(masks.items())):
        rows = mask.reshape(len(mask), -1)
        scores = torch.rand(rows.shape, generator=generator(seed, "redrawn", place))
        count = int(mask.sum())
        if floor and count >= floor * len(rows):
            best = scores.argsort(dim=1, descending=True)[:, :floor]
            scores = scores.scatter_add(1, best, torch.ones(best.shape))
        kept = torch.zeros(scores.numel(), dtype=torch.bool)
        kept[scores.flatten().argsort(descending=True, stable=True)[:count]] = True
        out[name] = kept.view(mask.shape).to(mask.device)
    return out


def fresh(model: nn.Module, masks: Mapping[str, Tensor], *, seed: int) -> None:
    """Draw the kept weights of each masked parameter anew, as they were spread, in place.

    The new values are those of an untrained network's layer, its kept weights in another order, so
    that the distribution is the same: call it on a network at its first weights. For networks of
    `make_model` another seed there does the same.

    Raises:
        UsageError: a mask does not fit.

    Example:
        >>> layer = nn.Linear(3, 2)
        >>> before = layer.weight.detach().clone()
        >>> fresh(layer, {"weight": torch.ones(2, 3, dtype=torch.bool)}, seed=1)
        >>> sorted(before.flatten().tolist()) == sorted(layer.weight.flatten().tolist())
        True
    """
    with torch.no_grad():
        for place, (name, mask) in enumerate(sorted(checked(model, masks).items())):
            weight = model.get_parameter(name)
            values = weight[mask]
            order = torch.randperm(len(values), generator=generator(seed, "fresh", place))
            weight[mask] = values[order.to(values.device)]


def scratch(run: Run, kind: Literal["E", "B"], *, flops: int, pruned_flops: int) -> Run:
    """Return the run that trains a pruned network from new weights.

    Scratch-E trains for as many epochs, Scratch-B for as many floating-point operations: epochs
    times flops / pruned_flops. The learning rate has its whole course in either. Source: Liu, Sun,
    Zhou, Huang and Darrell 2019.

    Args:
        run: of the whole network.
        kind: E or B.
        flops: of the whole network, for one example.
        pruned_flops: of the pruned one.

    Raises:
        UsageError: an unknown kind, or the pruned network costs more or nothing.

    Example:
        >>> scratch(Run(epochs=10), "B", flops=1000, pruned_flops=250).epochs
        40
    """
    if kind not in ("E", "B"):
        raise UsageError(f"scratch is E (epochs) or B (budget), not {kind!r}")
    if not 0 < pruned_flops <= flops:
        raise UsageError(f"a pruned network of {pruned_flops} operations has no part in {flops}")
    times = 1.0 if kind == "E" else flops / pruned_flops
    seed = run.seed + 1  # new weights, and not the ones that the mask was found from
    if run.steps:
        return replace(run, seed=seed, steps=round(run.steps * times))
    return replace(run, seed=seed, epochs=round(run.epochs * times))
