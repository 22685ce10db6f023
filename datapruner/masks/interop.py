"""Masks of torch.nn.utils.prune: read from a network, and written into one."""

from collections.abc import Mapping

from torch import Tensor, nn
from torch.nn.utils import prune as torch_prune

from .hold import apply_masks, checked


def read_torch_masks(model: nn.Module) -> dict[str, Tensor]:
    """Return the masks that `torch.nn.utils.prune` holds on a network, by parameter.

    The names are those that the parameters have once the masks are made permanent.

    Example:
        >>> layer = torch_prune.l1_unstructured(nn.Linear(2, 1), "weight", amount=1)
        >>> int(read_torch_masks(layer)["weight"].sum())
        1
    """
    ending = "_mask"
    return {
        name.removesuffix(ending): mask.detach().bool().clone()
        for name, mask in model.named_buffers()
        if name.endswith(ending) and _holds(model, name.removesuffix(ending))
    }


def write_torch_masks(model: nn.Module, masks: Mapping[str, Tensor]) -> None:
    """Hold masks by `torch.nn.utils.prune` from now on, in place.

    Each masked parameter becomes `NAME_orig` with a buffer `NAME_mask`, as that module has it;
    masks that are there already are put together with the new ones.

    Raises:
        UsageError: a mask does not fit the network.

    Example:
        >>> import torch
        >>> layer = nn.Linear(2, 1)
        >>> write_torch_masks(layer, {"weight": torch.tensor([[True, False]])})
        >>> layer.weight_mask
        tensor([[1., 0.]])
    """
    for name, mask in checked(model, masks).items():
        owner, _, own = name.rpartition(".")
        torch_prune.custom_from_mask(model.get_submodule(owner), own, mask)


def settle_torch_masks(model: nn.Module) -> dict[str, Tensor]:
    """Make the masks of `torch.nn.utils.prune` permanent, in place, and return them.

    The network has plain parameters again, with zeros, as `fit` and `apply_masks` take it.

    Example:
        >>> layer = torch_prune.l1_unstructured(nn.Linear(2, 1), "weight", amount=1)
        >>> masks = settle_torch_masks(layer)
        >>> [name for name, _ in layer.named_parameters()], int((layer.weight == 0).sum())
        (['bias', 'weight'], 1)
    """
    masks = read_torch_masks(model)
    for name in masks:
        owner, _, own = name.rpartition(".")
        torch_prune.remove(model.get_submodule(owner), own)
    apply_masks(model, masks)
    return masks


def _holds(model: nn.Module, name: str) -> bool:
    owner, _, own = name.rpartition(".")
    return f"{own}_orig" in dict(model.get_submodule(owner).named_parameters(recurse=False))
