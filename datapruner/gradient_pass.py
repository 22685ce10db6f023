"""A pass over examples that gives each one number of its own, which needs gradients.

In eval mode, without augmentation, in float32: in eval mode BatchNorm does not couple the examples
of a batch, so a sum over the batch has each example's own gradient.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from .errors import UsageError
from .evaluation import evaluating
from .hardware import pick_device, place_model, placed
from .hooks import Progress
from .loaders import Batch
from .traces import Record
from .trained import Network, Ready, load_epoch

if TYPE_CHECKING:
    from .data import Data

MEMORY = 2**28  # bytes


def weights_at(net: Ready, network_of: Network, epochs: Sequence[int] | None) -> Iterator[str]:
    """Load the weights of one epoch after another, saying which; a network stays as it is.

    Args:
        net: whose network takes the weights.
        network_of: a record, whose weights they are, or anything else.
        epochs: which; None is those of its clean passes.

    Example:
        >>> from .trained import ready
        >>> from datapruner import open_data
        >>> list(weights_at(ready(open_data("digits"), "mlp"), "mlp", None))
        ['']
    """
    if not isinstance(network_of, Record):
        yield ""
        return
    for epoch in network_of.clean_epochs if epochs is None else epochs:
        load_epoch(net.model, network_of, epoch)
        yield f", epoch {epoch + 1}"


def leaf(x: Tensor) -> Tensor:
    """Return inputs whose gradient can be asked for.

    Raises:
        UsageError: they are tokens.

    Example:
        >>> leaf(torch.zeros(2)).requires_grad
        True
    """
    if not x.is_floating_point():
        raise UsageError("examples that are tokens have no gradient; embed them first")
    return x.detach().requires_grad_()


def swept(
    data: "Data",
    net: Ready,
    work: Callable[[nn.Module, Batch], Tensor],
    size: int,
    memory: int,
    text: str,
    progress: Progress | None,
) -> Tensor:
    """Pass the readable examples through `work`, which returns one number for each.

    Args:
        data: whose examples they are.
        net: the network and the loader that it sees them through.
        work: given the network and a chunk (b), returns (b,).
        size: bytes that an example needs beside its activations.
        memory: bytes for the examples of a chunk, which has one at least.
        text: what `progress` is told.
        progress: called as progress(text, rows done, rows in all).

    Returns:
        (n,) float32 on the CPU; NaN where an example is not readable.

    Example:
        >>> from .trained import ready
        >>> from datapruner import open_data
        >>> data = open_data("digits")
        >>> net = ready(data, "mlp")
        >>> swept(data, net, lambda model, b: model(b.x).sum(1), 0, MEMORY, "sums", None).shape
        torch.Size([1438])
    """
    device = pick_device(net.run.device)
    place_model(net.model, device)
    order = data.readable.nonzero().flatten()
    values = torch.full((data.n,), float("nan"))
    chunk, done = 0, 0
    with evaluating(net.model):
        for batch in net.loader(order, train=False):
            x, y = placed(batch.x, device), batch.y.to(device)
            chunk = chunk or max(1, memory // (size + _activations(net.model, x[:1])))
            for part in torch.arange(len(y)).split(chunk):
                rows = Batch(batch.index[part], x[part], y[part])
                values[rows.index] = work(net.model, rows).detach().float().cpu()
            done += len(y)
            if progress is not None:
                progress(text, done, len(order))
    return values


def _activations(model: nn.Module, x: Tensor) -> int:
    """Count the bytes that one example leaves behind in a forward and a backward pass."""
    total = 4 * x.numel() * x.element_size()

    def count(module: nn.Module, inputs: object, output: object) -> None:
        nonlocal total
        if isinstance(output, Tensor):
            total += 2 * output.numel() * output.element_size()

    handles = [m.register_forward_hook(count) for m in model.modules() if not [*m.children()]]
    try:
        with torch.no_grad():
            model(x)
    finally:
        for handle in handles:
            handle.remove()
    return total
