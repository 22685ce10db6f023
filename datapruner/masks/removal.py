"""Removal: the smaller network that computes what a masked one does."""

from collections.abc import Mapping, Sequence
from copy import deepcopy

import torch
from torch import Tensor, nn

from ..errors import PrunerError
from ..evaluation import evaluating
from ..seeds import generator
from .blocks import cut_dead
from .coupling import Coupled, Side, coupled_channels, refuse_reparametrised
from .hold import apply_masks
from .narrowing import take_out

TOLERANCE = 1e-5  # of the larger of 1 and the largest output


def remove(model: nn.Module, masks: Mapping[str, Tensor], example: Tensor) -> nn.Module:
    """Build the smaller network that gives the same output as the masked one, and trains on.

    A channel goes where its masks leave nothing of it: all that makes it is masked (the weight
    rows of every layer coupled with it, their biases, their batch norms), or every column that
    reads it. A residual branch goes where its last layer is masked whole; the network is then a
    torch.fx GraphModule, its layers called as before. Zeros inside of what stays, stay zeros. At
    least one unit of each group is kept. The result is compared with the masked network in eval
    mode, on the example and on noise.

    A channel whose rows alone are masked does not give 0 after a sigmoid, say, but a constant that
    the next layer reads. Masks of the pattern `channel` cover the columns too, so nothing reads it;
    masks that leave them open are refused.

    Args:
        model: a network that gives one tensor. It is not changed.
        masks: bool by parameter name, False where a weight is gone; a parameter that is not named
            is kept whole. Single weights that are masked free nothing.
        example: (b, ...) a batch the network takes; one row is enough.

    Raises:
        UsageError: a mask does not fit the network.
        PrunerError: torch-pruning is missing or cannot follow the network, or the network could
            not do without what the masks leave nothing of.

    Example:
        >>> model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
        >>> masks = {"0.weight": torch.tensor([[True], [False], [True]]).expand(3, 4)}
        >>> masks["0.bias"] = torch.tensor([True, False, True])
        >>> remove(model, masks, torch.zeros(1, 4))
        Sequential(
          (0): Linear(in_features=4, out_features=2, bias=True)
          (1): ReLU()
          (2): Linear(in_features=2, out_features=2, bias=True)
        )
    """
    masked = masked_copy(model, masks)
    example = example.to(next(masked.parameters()).device)
    whole = cut_dead(masked, masks)
    groups = coupled_channels(whole, example)
    dead = {group.root: _dead(group, masks) for group in groups}
    small = _without(whole, groups, dead, example)
    if small is None:  # some couplings were misread: channels that meet the input itself, say
        groups = tuple(g for g in groups if _without(whole, (g,), dead, example) is not None)
        small = _without(whole, groups, dead, example)
    small = whole if small is None else small
    _compare(masked, small, example)
    return small


def masked_copy(model: nn.Module, masks: Mapping[str, Tensor]) -> nn.Module:
    """Copy a network, its masked weights 0.

    Raises:
        UsageError: a mask names no parameter, or has another shape or type.

    Example:
        >>> copy = masked_copy(nn.Linear(2, 1), {"weight": torch.tensor([[True, False]])})
        >>> copy.weight[0, 1].item()
        0.0
    """
    refuse_reparametrised(model)
    copy = deepcopy(model)
    copy.zero_grad(set_to_none=True)
    apply_masks(copy, masks)
    return copy


def _dead(group: Coupled, masks: Mapping[str, Tensor]) -> Tensor:
    """Tell which units are made by nothing or read by nobody, (units,) bool; never all of them."""
    made = _alive(group, [side for side in group.sides if not side.reads], masks)
    read = _alive(group, [side for side in group.sides if side.reads], masks)
    dead = ~(made & read)
    if dead.all():
        dead[0] = False
    return dead


def _alive(group: Coupled, sides: list[Side], masks: Mapping[str, Tensor]) -> Tensor:
    """Tell which units any of these sides has weights of, or none of them has a place for."""
    alive = torch.ones(group.units, dtype=torch.bool)
    for side in sides:
        alive[side.owner[side.owner >= 0]] = False
    for side in sides:
        mask = masks.get(side.name)
        if mask is None:
            here = torch.ones(len(side.owner), dtype=torch.bool)
        else:
            here = mask.cpu().movedim(side.dim, 0).reshape(len(side.owner), -1).any(1)
        alive[side.owner[here & (side.owner >= 0)]] = True
    return alive


def _without(
    whole: nn.Module, groups: Sequence[Coupled], dead: Mapping[str, Tensor], example: Tensor
) -> nn.Module | None:
    """Return a copy of a network without the dead units of these groups; None if it cannot run."""
    small = deepcopy(whole)
    take_out(small, groups, dead)
    try:
        with torch.no_grad(), evaluating(small):
            small(example)
    except RuntimeError:
        return None
    return small


def _compare(masked: nn.Module, small: nn.Module, example: Tensor) -> None:
    """Refuse a small network that computes something else than the masked one."""
    inputs = [example]
    if example.is_floating_point():
        noise = torch.randn(example.shape, generator=generator(0, "removal"))
        inputs.append(noise.to(example))
    with torch.no_grad(), evaluating(masked), evaluating(small):
        for x in inputs:
            wanted, got = masked(x), small(x)
            rounding = 4 * torch.finfo(wanted.dtype).eps  # matters in half precision only
            allowed = max(TOLERANCE, rounding) * max(1.0, float(wanted.abs().max()))
            if wanted.shape != got.shape or not torch.allclose(got, wanted, rtol=0, atol=allowed):
                raise PrunerError(
                    "without its masked channels the network computes something else: a masked "
                    "channel gives a constant that is read (after a sigmoid, or where batch norm "
                    "has no weights); mask the columns that read it too, as pattern channel does"
                )
