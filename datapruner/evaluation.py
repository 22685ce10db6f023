"""Reading a network: its accuracy, its logits, and eval mode that is put back as it was."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from .errors import PrunerError
from .hardware import pick_device, place_model, placed, precision_of
from .loaders import Batch, Loader
from .samplers import Fixed


def evaluate(
    model: nn.Module,
    loader: Loader,
    order: Tensor | None = None,
    *,
    device: str = "auto",
    precision: str = "auto",
    forward: Callable[[Tensor], Tensor] | None = None,
) -> float:
    """Return the share of examples that the network gets right, in [0, 1].

    The network is in eval mode meanwhile and is put back as it was.

    Args:
        model: takes a batch's x, returns logits (b, C).
        loader: read without augmentation.
        order: (m,) which examples; None is every readable one.
        device: as in Run.
        precision: as in Run.
        forward: what gives the logits, where that is more than the network: soft masks on it.

    Raises:
        PrunerError: there is no example to evaluate on.

    Example:
        >>> import datapruner as dp
        >>> data = dp.open_data("digits", "test")
        >>> model = dp.make_model("mlp", data.num_classes, data.shape)
        >>> 0 <= dp.evaluate(model, dp.TensorLoader(data)) <= 1
        True
    """
    right = total = 0
    passes = predict(model, loader, order, device=device, precision=precision, forward=forward)
    for batch, logits in passes:
        right += int((logits.argmax(1).cpu() == batch.y.cpu()).sum())
        total += len(batch.y)
    if not total:
        raise PrunerError("nothing to evaluate on: no readable example")
    return right / total


def predict(
    model: nn.Module,
    loader: Loader,
    order: Tensor | None = None,
    *,
    device: str = "auto",
    precision: str = "auto",
    forward: Callable[[Tensor], Tensor] | None = None,
) -> Iterator[tuple[Batch, Tensor]]:
    """Give (batch, logits (b, C) float32) over the order, in eval mode and without augmentation.

    The mode of the network is put back when the pass ends, also when it is broken off. See
    `evaluate`.
    """
    if order is None:
        order = Fixed(shuffle=False).bind(len(loader.labels), None, loader.readable).draw(0)[0]
    where = pick_device(device)
    place_model(model, where)
    forward = model if forward is None else forward
    with evaluating(model):
        for batch in loader(order, train=False):
            # entered for each batch, so that no setting of torch's reaches who asked for it
            with torch.no_grad(), precision_of(model, where, precision):
                logits = forward(placed(batch.x, where)).float()
            yield batch, logits


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Hold a network in eval mode inside the block; each part of it is put back as it was.

    Example:
        >>> model = nn.Dropout()
        >>> with evaluating(model):
        ...     model.training
        False
        >>> model.training
        True
    """
    was_training = {m: m.training for m in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, training in was_training.items():
            module.training = training
