"""What masks did to a network: units that are cut off, units that are silent, and joint cost."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from ..errors import UsageError
from ..evaluation import predict
from ..history import History
from ..loaders import Loader
from .hold import checked


@dataclass(frozen=True)
class DeadUnits:
    """Units of one layer that weights have cut off.

    Attributes:
        units: output units of the layer.
        fed_by_nothing: those whose every incoming weight is 0: they give a constant.
        inputs: what the layer reads: input features or channels.
        unread: those whose every outgoing weight here is 0.

    Example:
        >>> DeadUnits(300, 12, 784, 90).fed_by_nothing
        12
    """

    units: int
    fed_by_nothing: int
    inputs: int
    unread: int


def dead_units(model: nn.Module, masks: Mapping[str, Tensor] | None = None) -> dict[str, DeadUnits]:
    """Count, by parameter, the units that masks have cut off; see `silent_units` for what data do.

    Args:
        model: the network.
        masks: bool by parameter name, a parameter without one being kept whole; None counts the
            weights that are not exactly 0.

    Raises:
        UsageError: a mask does not fit the network.

    Example:
        >>> masks = {"weight": torch.tensor([[True, True, False], [False, False, False]])}
        >>> dead_units(nn.Linear(3, 2), masks)["weight"]
        DeadUnits(units=2, fed_by_nothing=1, inputs=3, unread=1)
    """
    report = {}
    for name, alive in _alive(model, masks).items():
        rows, columns = _sides(model.get_submodule(name.rpartition(".")[0]), alive)
        report[name] = DeadUnits(len(rows), int((~rows).sum()), len(columns), int((~columns).sum()))
    return report


def silent_units(
    model: nn.Module, loader: Loader, order: Tensor | None = None
) -> dict[str, tuple[int, int]]:
    """Count the units that no example wakes: always 0 after their ReLU. Return (silent, units).

    Args:
        model: its `nn.ReLU` modules are listened to, by name; one that is used again in a pass is
            counted each time, as `relu`, `relu#2` and so on. Channels are units in pictures.
        loader: read without augmentation.
        order: (m,) which examples; None is every readable one. A pruned subset wakes fewer.

    Raises:
        UsageError: the network has no nn.ReLU module.

    Example:
        >>> import datapruner as dp
        >>> data = dp.open_data("digits", "test")
        >>> model = dp.make_model("mlp", data.num_classes, data.shape)
        >>> model.fc1.bias.data[:10] = -100.0
        >>> silent, units = silent_units(model, dp.TensorLoader(data))["relu1"]
        >>> silent >= 10, units
        (True, 300)
    """
    awake: dict[str, Tensor] = {}
    calls: dict[str, int] = {}
    relus = (pair for pair in model.named_modules() if isinstance(pair[1], nn.ReLU))
    names: dict[nn.Module, str] = {module: name for name, module in relus}
    if not names:
        raise UsageError(f"{type(model).__name__} has no nn.ReLU module to listen to")

    def listen(module: nn.Module, inputs: object, output: Tensor) -> None:
        name = names[module]
        calls[name] = calls.get(name, 0) + 1
        key = name if calls[name] == 1 else f"{name}#{calls[name]}"
        fires = (output > 0).transpose(0, 1).flatten(1).any(1)
        awake[key] = awake[key] | fires if key in awake else fires

    handles = [module.register_forward_hook(listen) for module in names]
    try:
        for _ in predict(model, loader, order):
            calls.clear()
    finally:
        for handle in handles:
            handle.remove()
    return {name: (int((~fires).sum()), len(fires)) for name, fires in awake.items()}


def weights_times_rows(history: History, dense: int | None = None) -> float:
    """Return the joint cost: active weights times rows seen, summed over the epochs.

    It is what pruning weights and pruning data save together: training compute is proportional to
    it. Over the rows seen it is N-bar, the mean of the active weights over training, (1/D) times
    the integral of N(t) dt, under which dense and sparse runs fall on one law (Jin et al. 2025).

    Args:
        history: of a run with masks.
        dense: weights of the network, for epochs without masks.

    Raises:
        UsageError: an epoch ran without masks and `dense` is not given.

    Example:
        >>> from datapruner.history import Epoch
        >>> weights_times_rows(History([Epoch(0, 60, 1, 1.0, 0.7, 0.5, active=100)]))
        6000.0
    """
    total, seen = 0.0, 0
    for epoch in history.epochs:
        active = dense if epoch.active is None else epoch.active
        if active is None:
            raise UsageError(
                f"epoch {epoch.epoch} ran without masks; give dense=, the network's weights"
            )
        total += active * (epoch.examples - seen)
        seen = epoch.examples
    return total


def _sides(layer: nn.Module, alive: Tensor) -> tuple[Tensor, Tensor]:
    """Return which outputs have a weight that is alive, and which inputs."""
    groups = layer.groups if isinstance(layer, _ConvNd) else 1
    parts = alive.reshape(groups, len(alive) // groups, alive.shape[1], -1).any(3)
    first, second = parts.any(2).flatten(), parts.any(1).flatten()
    turned = isinstance(layer, _ConvNd) and layer.transposed  # its weight is (in, out, ...)
    return (second, first) if turned else (first, second)


def _alive(model: nn.Module, masks: Mapping[str, Tensor] | None) -> dict[str, Tensor]:
    """Return, for each weight with two dimensions or more, where it is alive."""
    own, alive = checked(model, masks or {}), {}
    for name, parameter in model.named_parameters():
        if parameter.ndim < 2:
            continue
        if masks is None:
            alive[name] = parameter.detach() != 0
        else:
            alive[name] = own.get(name, torch.ones_like(parameter, dtype=torch.bool))
    return alive
