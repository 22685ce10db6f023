"""Batch norm's running statistics taken anew, which masks leave behind."""

import torch
from torch import Tensor, nn

from ..errors import PrunerError, UsageError
from ..evaluation import evaluating
from ..hardware import placed
from ..loaders import Loader
from ..samplers import Fixed


def recalibrate(
    model: nn.Module, loader: Loader, order: Tensor | None = None, *, seed: int = 0
) -> int:
    """Take the running mean and variance of every batch norm anew, in place; no weight changes.

    After a network was masked without further training its batch norms still normalise by the
    statistics of the dense one. A pass over a few hundred examples mends that; a pruned subset
    will do. Source: Huang et al. 2023 (FedTiny, adaptive batch norm).

    Args:
        model: masked, or made smaller; on its device.
        loader: read without augmentation, in random order, one batch a time.
        order: (m,) which examples; None is every readable one.
        seed: of that order.

    Returns:
        How many layers were recalibrated.

    Raises:
        UsageError: the network keeps no running statistics.
        PrunerError: there is no example.

    Example:
        >>> import datapruner as dp
        >>> data = dp.open_data("digits")
        >>> model = dp.make_model("resnet8", data.num_classes, data.shape)
        >>> recalibrate(model, dp.TensorLoader(data), torch.arange(64))
        9
    """
    norms = [
        m
        for m in model.modules()
        if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.running_mean is not None
    ]
    if not norms:
        raise UsageError(f"{type(model).__name__} has no batch norm with running statistics")
    drawn, _ = Fixed(order, seed=seed).bind(len(loader.labels), None, loader.readable).draw(0)
    if not len(drawn):
        raise PrunerError("nothing to recalibrate on: no readable example")
    device = next(model.parameters()).device
    momenta = [norm.momentum for norm in norms]
    with torch.no_grad(), evaluating(model):
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # the plain mean over the batches
            norm.train()
        try:
            for batch in loader(drawn, train=False):
                model(placed(batch.x, device))
        finally:
            for norm, momentum in zip(norms, momenta, strict=True):
                norm.momentum = momentum
    return len(norms)
