"""Controls: what a mask has to be compared with before it is called good.

- `redrawn`: as many weights in each layer, at random places. Beats it: the places matter.
- `fresh`: the same mask on newly drawn weights. Beats it: the first weights matter.
- `scratch`: the pruned network trained from newly drawn weights, for as many epochs (Scratch-E) or
  for as many floating-point operations (Scratch-B) as the whole one.
"""

from collections.abc import Mapping
from dataclasses import replace
from math import lgamma, log
from typing import Literal

import torch
from torch import Tensor, nn

from ..errors import UsageError
from ..run import Run
from ..seeds import generator
from .hold import checked


def redrawn(masks: Mapping[str, Tensor], *, seed: int = 0, floor: int = 1) -> dict[str, Tensor]:
    """Return masks that keep as many weights of each parameter, at random places.

    Single weights, whatever the masks were made of: those of a pattern are refused where they show
    that weights went together. Their control is `make_masks(model, criterion="random",
    pattern=...)` at the same density, with the layers' own as its allocation (`fc1=0.2,fc2=0.4`).

    Args:
        masks: by parameter, True is kept.
        seed: of the places.
        floor: least weights of each output row that stay, as far as there are enough.

    Raises:
        UsageError: the masks keep weights in units, as N:M, blocks, rows and channels do, or whole
            parameters. Columns cannot be told from inputs that are always 0.

    Example:
        >>> masks = {"fc.weight": torch.eye(4) > 0}
        >>> [int(mask.sum()) for mask in redrawn(masks, seed=1).values()]
        [4]
    """
    for name, mask in masks.items():
        _refuse_units(name, mask)
    if any(not m.any() for m in masks.values()) and all(
        m.all() or not m.any() for m in masks.values()
    ):
        raise _of_a_pattern("the masks keep or leave out whole parameters", "layer")
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


def _refuse_units(name: str, mask: Tensor) -> None:
    """Refuse a mask in which weights go together as single ones do not.

    That a column is gone says nothing: criteria that read examples remove those of inputs that are
    always 0, from every row.
    """
    count, size = int(mask.sum()), mask.numel()
    if mask.ndim < 2 or count in (0, size):
        return
    free = _choices(size, count)
    matrix = mask.reshape(len(mask), -1).cpu()
    rows, columns = matrix.any(1), matrix.any(0)
    if torch.equal(matrix, rows[:, None] & columns):
        units = sum(_choices(len(side), int(side.sum())) for side in (rows, columns))
        if not rows.all() and units - free < _CHANCE:
            raise _of_a_pattern(f"the mask of {name} leaves out whole outputs", "channel")
        return
    for number in _primes(matrix.shape[1]):
        blocks = matrix.reshape(-1, number)
        units = _choices(len(blocks), count // number)
        if (blocks.all(1) | ~blocks.any(1)).all() and units - free < _CHANCE:
            raise _of_a_pattern(f"the mask of {name} is made of blocks", "4x4")
    inputs = mask.movedim(1, -1).cpu()
    for number in range(2, min(inputs.shape[-1], 33)):
        if inputs.shape[-1] % number == 0:
            each = inputs.reshape(-1, number).sum(1)
            units = len(each) * _choices(number, int(each[0]))
            if (each == each[0]).all() and units - free < _CHANCE:
                words = f"{int(each[0])}:{number}"
                raise _of_a_pattern(f"the mask of {name} keeps {words} of its inputs", words)


_CHANCE = log(1e-6)


def _choices(of: int, some: int) -> float:
    """Return log (of choose some)."""
    return lgamma(of + 1) - lgamma(some + 1) - lgamma(of - some + 1)


def _primes(number: int) -> list[int]:
    """Return the primes that divide a number."""
    return [p for p in range(2, number + 1) if number % p == 0 and all(p % q for q in range(2, p))]


def _of_a_pattern(what: str, pattern: str) -> UsageError:
    return UsageError(
        f"{what}, which single weights at random places would not keep to; draw this control by "
        f'make_masks(model, criterion="random", pattern="{pattern}", density=...), with the '
        "pattern that it was made by"
    )


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
