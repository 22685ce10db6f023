"""What a criterion is given: the network, and examples to run it on."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..cursor import Pruned
from ..errors import UsageError
from ..evaluation import evaluating
from ..hardware import placed
from ..loaders import Batch, Loader
from ..losses import Loss, cross_entropy

Examples = Loader | Iterable[Any]


@dataclass(frozen=True, eq=False)
class Probe:
    """A network under examination; nothing of it is changed.

    Attributes:
        model: the network.
        names: the parameters that are ranked.
        batches: examples on the network's device, not augmented.
        loss: of one value a row.
        example: (1, ...) one input.
        weight_decay: of the training that the mask is for.
        seed: of what is drawn.

    Example:
        >>> Probe(nn.Linear(3, 2), ("weight",)).weights()["weight"].shape
        torch.Size([2, 3])
    """

    model: nn.Module
    names: tuple[str, ...]
    batches: tuple[Batch, ...] = ()
    loss: Loss = cross_entropy
    example: Tensor | None = None
    weight_decay: float = 5e-4
    seed: int = 0

    def weights(self) -> dict[str, Tensor]:
        """Return the ranked parameters, detached."""
        return {name: self.model.get_parameter(name).detach() for name in self.names}

    def gradients(self) -> dict[str, Tensor]:
        """Return the gradient of the mean loss over all rows, of each ranked parameter."""
        parameters = [self.model.get_parameter(name) for name in self.names]
        total = [torch.zeros_like(p) for p in parameters]
        for share, loss in self.losses():
            for sum_, part in zip(total, gradient(loss, parameters), strict=True):
                sum_.add_(part, alpha=share)
        return dict(zip(self.names, total, strict=True))

    def losses(self) -> Iterator[tuple[float, Tensor]]:
        """Give (share of the rows, mean loss with its graph) of one batch after another.

        Batch norms take the statistics of the batch, as in training, and keep their own; dropout
        is off. A batch of one row goes through batch norms by their running statistics.
        """
        rows = sum(len(batch.y) for batch in self.batches)
        with _calibrating(self.model) as norms:
            for batch in self.batches:
                for norm in norms:
                    norm.train(len(batch.y) > 1)
                logits = self.model(batch.x).float()
                yield len(batch.y) / rows, self.loss(logits, batch, 0.0).mean()


def gradient(
    value: Tensor, parameters: Sequence[Tensor], *, again: bool = False
) -> tuple[Tensor, ...]:
    """Return the gradient of a number; zeros where it does not depend on a parameter.

    Args:
        value: a scalar with its graph.
        parameters: by what.
        again: keep a graph of the gradient itself.

    Example:
        >>> layer = nn.Linear(1, 1)
        >>> [g.item() for g in gradient(3 * layer.bias.sum(), [layer.weight, layer.bias])]
        [0.0, 3.0]
    """
    found = torch.autograd.grad(
        value, parameters, create_graph=again, allow_unused=True, materialize_grads=True
    )
    return tuple(found)


def calibration(
    loader: Examples | None, order: Tensor | None, most: int, device: torch.device
) -> tuple[Batch, ...]:
    """Read at most so many examples into memory, in the order that is given.

    Args:
        loader: one of ours, called with the order, without augmentation; or batches (x, y).
        order: (m,) indices, such as a pruned subset; None is every readable example, in order.
        most: examples; 0 is all.
        device: where they go.

    Raises:
        UsageError: there is none, or batches are not (x, y).

    Example:
        >>> batches = [(torch.zeros(4, 3), torch.zeros(4, dtype=torch.int64))] * 3
        >>> [len(batch.y) for batch in calibration(batches, None, 6, torch.device("cpu"))]
        [4, 2]
    """
    if loader is None:
        return ()
    found: list[Batch] = []
    left = most or -1
    for batch in _passed(loader, order, most):
        x, y = batch.x[:left] if left > 0 else batch.x, batch.y[:left] if left > 0 else batch.y
        found.append(Batch(batch.index[: len(y)], placed(x, device), y.to(device)))
        left -= len(y)
        if left == 0:
            break
    if not sum(len(batch.y) for batch in found):
        raise UsageError("the loader gives no example to score weights on")
    return tuple(found)


def _passed(loader: Examples, order: Tensor | None, most: int) -> Iterator[Batch]:
    if callable(loader):
        if order is None:
            order = loader.readable.nonzero().flatten()
        yield from loader(order[:most] if most else order, train=False)
        return
    if order is not None:
        raise UsageError("an order needs a loader of ours; these batches come in their own")
    with torch.random.fork_rng(devices=[]), _put_back(loader):  # a DataLoader draws globally
        for batch in loader:
            if isinstance(batch, Batch):
                yield batch
            elif isinstance(batch, tuple | list) and len(batch) > 1:
                x, y = batch[0], batch[1]
                yield Batch(torch.arange(len(y)), x, y)
            else:
                raise UsageError(
                    f"the loader gives a {type(batch).__name__}; weights are scored on batches "
                    "(x, y), so hand over a loader of those"
                )


@contextmanager
def _put_back(loader: Iterable[Any]) -> Iterator[None]:
    """Let the pass of training that follows be the one it would have been without this one."""
    if not isinstance(loader, Pruned):
        yield
        return
    before = loader.state_dict()
    try:
        yield
    finally:
        loader.load_state_dict(before)


@contextmanager
def masked(model: nn.Module, masks: Mapping[str, Tensor]) -> Iterator[None]:
    """Put masked weights to 0 inside the block, and back to what they were after it.

    Example:
        >>> layer = nn.Linear(1, 1)
        >>> with masked(layer, {"weight": torch.tensor([[False]])}):
        ...     layer.weight.item()
        0.0
    """
    were = {name: model.get_parameter(name).detach().clone() for name in masks}
    try:
        with torch.no_grad():
            for name, mask in masks.items():
                model.get_parameter(name).masked_fill_(~mask, 0)
        yield
    finally:
        with torch.no_grad():
            for name, weight in were.items():
                model.get_parameter(name).copy_(weight)


@contextmanager
def _calibrating(model: nn.Module) -> Iterator[list[_BatchNorm]]:
    norms = [m for m in model.modules() if isinstance(m, _BatchNorm)]
    kept = [{k: b.clone() for k, b in norm.named_buffers()} for norm in norms]
    device = next(model.parameters()).device.type
    try:
        with evaluating(model), torch.autocast(device, enabled=False), torch.enable_grad():
            yield norms
    finally:
        for norm, buffers in zip(norms, kept, strict=True):
            for name, buffer in norm.named_buffers():
                buffer.copy_(buffers[name])
