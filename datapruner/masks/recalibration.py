"""Batch norm's running statistics taken anew, which masks leave behind."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

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
    will do. A pass that fails leaves the statistics as they were. Source: Huang et al. 2023
    (FedTiny, adaptive batch norm).

    Args:
        model: masked, or made smaller; on its device.
        loader: read without augmentation, in random order, one batch a time.
        order: (m,) which examples; None is every readable one.
        seed: of that order.

    Returns:
        How many layers were recalibrated.

    Raises:
        UsageError: the network keeps no running statistics.
        PrunerError: there is no example, or the loader gives none.

    Example:
        >>> import datapruner as dp
        >>> data = dp.open_data("digits")
        >>> model = dp.make_model("resnet8", data.num_classes, data.shape)
        >>> recalibrate(model, dp.TensorLoader(data), torch.arange(64))
        9
    """
    norms = [m for m in model.modules() if isinstance(m, _BatchNorm) and m.running_mean is not None]
    if not norms:
        raise UsageError(f"{type(model).__name__} has no batch norm with running statistics")
    drawn, _ = Fixed(order, seed=seed).bind(len(loader.labels), None, loader.readable).draw(0)
    if not len(drawn):
        raise PrunerError("nothing to recalibrate on: no readable example")
    device = next(model.parameters()).device
    with torch.no_grad(), evaluating(model), _taken_anew(norms):
        rows = 0
        for batch in loader(drawn, train=False):
            model(placed(batch.x, device))
            rows += len(batch.index)
        if not rows:
            raise PrunerError(
                f"the loader gave no batch of the {len(drawn)} examples drawn; draw more, or take "
                "a smaller batch_size or no drop_last"
            )
    return len(norms)


@contextmanager
def _taken_anew(norms: list[_BatchNorm]) -> Iterator[None]:
    """Take plain means over the batches of the block; a block that fails leaves the old ones."""
    momenta = [norm.momentum for norm in norms]
    were = [{name: buffer.clone() for name, buffer in norm.named_buffers()} for norm in norms]
    try:
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None
            norm.train()
        yield
    except BaseException:
        for norm, buffers in zip(norms, were, strict=True):
            for name, buffer in norm.named_buffers():
                buffer.copy_(buffers[name])
        raise
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
