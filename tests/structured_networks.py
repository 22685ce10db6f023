"""Small networks for the tests of structured patterns, and masks drawn for them."""

from copy import deepcopy

import torch
from torch import nn

import datapruner as dp
from datapruner.masks.units import Group, Scope

ONE_ROW = {"mlp": (1, 8, 8), "lenet": (1, 12, 12)}


def lively(model: nn.Module) -> nn.Module:
    """Give batch norms statistics and biases as after training; fresh ones hide mistakes."""
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            nn.init.normal_(module.running_mean, std=0.3)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
            nn.init.normal_(module.weight, 1.0, 0.2)
            nn.init.normal_(module.bias, std=0.5)
    return model


def network(name: str, side: int = 32) -> tuple[nn.Module, torch.Tensor]:
    shape = ONE_ROW.get(name, (3, side, side))
    return lively(dp.make_model(name, 10, shape)), torch.randn(2, *shape)


def scope(model: nn.Module, example: torch.Tensor | None) -> Scope:
    names = tuple(name for name, parameter in model.named_parameters() if parameter.ndim > 1)
    return Scope(model, names, example)


def drawn(groups: list[Group], share: float, seed: int = 0) -> list[torch.Tensor]:
    """Keep about this share of each group's units, and at least one."""
    random = torch.Generator().manual_seed(seed)
    kept = [torch.rand(group.count, generator=random) < share for group in groups]
    for units in kept:
        units[int(torch.randint(len(units), (), generator=random))] = True
    return kept


def active(model: nn.Module, masks: dict[str, torch.Tensor]) -> int:
    return sum(
        int(masks[name].sum()) if name in masks else parameter.numel()
        for name, parameter in model.named_parameters()
    )


def outputs(model: nn.Module, x: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return deepcopy(model).eval()(x)
