"""Taking channels out of the layers of a network, in place."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from .coupling import Coupled, channel_dim


def take_out(model: nn.Module, groups: Sequence[Coupled], dead: Mapping[str, Tensor]) -> None:
    """Take units out of a network, in place: every layer they pass becomes that much narrower.

    All groups are taken at once, since in a layer that reads several (after a concatenation) the
    places of one would move when another goes.

    Args:
        model: the network the groups are of.
        groups: its coupled channels.
        dead: by root, (units,) bool, True where the unit goes.

    Example:
        >>> from .coupling import coupled_channels
        >>> model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
        >>> groups = coupled_channels(model, torch.zeros(1, 4))
        >>> take_out(model, groups, {"0": torch.tensor([True, False, False])})
        >>> model[2]
        Linear(in_features=2, out_features=2, bias=True)
    """
    stays: dict[tuple[str, bool, int | None], Tensor] = {}
    for group in groups:
        gone = torch.cat([torch.zeros(1, dtype=torch.bool), dead[group.root].cpu()])  # -1: stays
        for place in group.places:
            key, here = (place.name, place.reads, place.dim), ~gone[place.owner + 1]
            stays[key] = stays[key] & here if key in stays else here
    for (name, reads, dim), here in stays.items():
        if here.all():
            continue
        if dim is None:
            _narrow(model.get_submodule(name), reads, here)
        else:
            parent, _, own = name.rpartition(".")
            _shorten(model.get_submodule(parent), own, dim, here)


def _narrow(module: nn.Module, reads: bool, here: Tensor) -> None:
    """Leave a layer the channels that stay, on the side where it reads or where it makes them."""
    for own, parameter in list(module.named_parameters(recurse=False)):
        dim = channel_dim(module, own, reads)
        if dim is not None:  # in a grouped convolution the first group stands for all
            _shorten(module, own, dim, here[: parameter.shape[dim]])
    for own, buffer in list(module.named_buffers(recurse=False)):
        if buffer.ndim == 1 and not reads:  # running statistics of a batch norm
            setattr(module, own, buffer[here.to(buffer.device)])
    width = int(here.sum())
    for attribute in _WIDTHS[reads]:
        if hasattr(module, attribute):
            setattr(module, attribute, width)
    if isinstance(module, nn.modules.conv._ConvNd) and module.groups == len(here):  # depthwise
        module.groups = module.in_channels = width


_WIDTHS = {
    False: ("out_channels", "out_features", "num_features", "num_parameters", "embedding_dim"),
    True: ("in_channels", "in_features"),
}


def _shorten(module: nn.Module, own: str, dim: int, here: Tensor) -> None:
    old = getattr(module, own)
    if old.shape[dim] == 1 and len(here) > 1:
        return  # one value for all channels, as a PReLU may have
    short = old.detach().index_select(dim, here.nonzero().flatten().to(old.device))
    setattr(module, own, nn.Parameter(short, requires_grad=old.requires_grad))
