"""Sources that need gradients: of the weights and of the input, one example at a time.

All are taken by `gradient_pass.swept`: in eval mode, without augmentation, in float32, in chunks of
`memory` bytes for what belongs to the examples under work, beside the weights and the result.
"""

import warnings
from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn.functional import cross_entropy

from .errors import UsageError
from .evaluation import predict
from .gradient_pass import MEMORY, leaf, swept, weights_at
from .hardware import pick_device
from .heads import features
from .hooks import Progress
from .loaders import Batch
from .run import Run
from .traces import Record
from .trained import Network, load_epoch, ready

if TYPE_CHECKING:
    from .data import Data


def grad_norm(
    data: "Data",
    network_of: Network,
    *,
    run: Run | None = None,
    epochs: Sequence[int] | None = None,
    memory: int = MEMORY,
    progress: Progress | None = None,
) -> Tensor:
    """Return the norm of each example's own loss gradient over all weights; exact.

    The source of `grand` (Paul, Ganguli and Dziugaite 2021). One gradient an example, by
    `torch.func` in chunks of as many examples as `memory` has room for, one at least.

    Args:
        data: whose readable examples are passed through the network.
        network_of: a record, for its weights at `epochs`; a network as it is; or the name of one,
            untrained, which warns: at initialisation GraNd does not reproduce.
        run: batch size, picture size, workers and device are read; for a Record its own is taken.
        epochs: of a record, epochs whose weights it kept; None is its clean epochs.
        memory: bytes for per-example gradients and activations; more is faster up to some 64
            examples at a time.
        progress: called as progress(text, rows done, rows in all).

    Returns:
        (epochs, n) float32; (1, n) for a network. NaN where an example is not readable.

    Raises:
        UsageError: the record did not keep the weights of an epoch.
        Refused: the record is of other data.

    Example:
        >>> import datapruner as dp
        >>> data = dp.open_data("digits")
        >>> model = dp.make_model("mlp", data.num_classes, data.shape)
        >>> grad_norm(data, model).shape
        torch.Size([1, 1438])
    """
    if isinstance(network_of, str):
        warnings.warn(
            "GraNd at initialisation does not reproduce (Kirsch 2023, arXiv 2303.14753): it ranks "
            "like the norm of the input; take a network that has trained for some epochs",
            stacklevel=2,
        )
    net = ready(data, network_of, run)

    def norms(model: nn.Module, batch: Batch) -> Tensor:
        weights = {k: p.detach() for k, p in model.named_parameters()}
        loss = grad(partial(_loss, model))
        with warnings.catch_warnings():  # where vmap knows no rule it loops: slower, and as right
            warnings.filterwarnings("ignore", "There is a performance drop", UserWarning)
            gradients = vmap(loss, in_dims=(None, 0, 0))(weights, batch.x, batch.y)
        parts = [torch.linalg.vector_norm(g.flatten(1), dim=1) for g in gradients.values()]
        whole: Tensor = torch.linalg.vector_norm(torch.stack(parts), dim=0)
        return whole

    size = sum(p.numel() * p.element_size() for p in net.model.parameters())
    rows = [
        swept(data, net, norms, size, memory, f"gradients{when}", progress)
        for when in weights_at(net, network_of, epochs)
    ]
    return torch.stack(rows)


def _loss(model: nn.Module, weights: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
    logits = functional_call(model, weights, (x[None],))
    return cross_entropy(logits.float(), y[None], reduction="sum")


def embedding_norm(
    data: "Data",
    network_of: Network,
    *,
    run: Run | None = None,
    epochs: Sequence[int] | None = None,
    progress: Progress | None = None,
) -> Tensor:
    """Return the norm of each example's penultimate features; with `error_norm` it makes GraNd-LL.

    Nothing of the size (n, d) is formed. Arguments as in `grad_norm`; a record's rows are those of
    its clean epochs, as are those of its clean `error_norm`.

    Returns:
        (epochs, n) float32; NaN where an example is not readable.

    Example:
        >>> import datapruner as dp
        >>> embedding_norm(dp.open_data("digits"), "mlp").shape
        torch.Size([1, 1438])
    """
    net = ready(data, network_of, run)
    rows = []
    for when in weights_at(net, network_of, epochs):
        row = torch.full((data.n,), float("nan"))
        done = 0
        with features(net.model) as seen:
            passes = predict(net.model, net.loader, device=net.run.device, precision="float32")
            for batch, _ in passes:
                if seen.last is None:
                    raise UsageError(f"{type(net.model).__name__}: its classifier was not used")
                row[batch.index] = seen.last.flatten(1).float().norm(dim=1).cpu()
                done += len(batch.index)
                if progress is not None:
                    progress(f"embedding{when}", done, data.n)
        rows.append(row)
    return torch.stack(rows)


def boundary_distance(
    data: "Data",
    network_of: Network,
    *,
    run: Run | None = None,
    among: int = 10,
    memory: int = MEMORY,
    progress: Progress | None = None,
) -> Tensor:
    """Return how far each example is from the nearest decision boundary, linearised where it is.

    The source of `deepfool` (Moosavi-Dezfooli, Fawzi and Frossard 2016): the least |f_k - f_y| over
    the norm of the difference of their input gradients. y is the predicted class, as in the paper:
    for an example on the wrong side the boundary that is near is that of its prediction. One
    backward pass for each other class, of a chunk of examples at a time.

    Args:
        data: whose readable examples are passed through the network.
        network_of: a record, for its weights at the end; a network; or the name of one, untrained.
        run: as in `grad_norm`.
        among: how many of the most probable classes are looked at, y among them, as in the
            authors' program; exact over all classes where there are no more than these.
        memory: bytes for the activations that the backward passes read.
        progress: called as progress(text, rows done, rows in all).

    Returns:
        (n,) float32, 0 or more, in units of the normalised input; NaN where not readable.

    Raises:
        UsageError: the examples are tokens, or there are fewer than two classes.

    Example:
        >>> import datapruner as dp
        >>> bool((boundary_distance(dp.open_data("digits"), "mlp") >= 0).all())
        True
    """
    if among < 2:
        raise UsageError(f"among must be 2 classes or more, not {among}")
    net = ready(data, network_of, run)

    def distances(model: nn.Module, batch: Batch) -> Tensor:
        x = leaf(batch.x)
        logits = model(x).float()
        best = logits.topk(min(among, logits.shape[1]), dim=1).values
        nearest = torch.full((len(x),), float("inf"), device=x.device)
        for k in range(1, best.shape[1]):
            gap = best[:, 0] - best[:, k]
            last = k == best.shape[1] - 1
            (slope,) = torch.autograd.grad(gap.sum(), x, retain_graph=not last)
            length = slope.flatten(1).norm(dim=1).clamp_min(1e-12)
            nearest = torch.minimum(nearest, gap.detach() / length)
        return nearest

    return swept(data, net, distances, 0, memory, "boundaries", progress)


def input_gradient_variance(
    data: "Data",
    record: Record,
    *,
    epochs: Sequence[int] | None = None,
    memory: int = MEMORY,
    progress: Progress | None = None,
) -> Tensor:
    """Return how much each example's input gradient changes over K checkpoints.

    The source of `vog` (Agarwal, D'souza and Hooker 2022): of the true class's logit before
    softmax, the population standard deviation over checkpoints of each input value by itself
    (channels are not averaged first), and the mean of these. Memory: K times the weights, and for
    the examples under work `memory` bytes.

    Args:
        data: what was recorded.
        record: of a run that kept weights at two epochs or more.
        epochs: which of them, such as the early or the late ones; None is all that were kept.
        memory: bytes for the activations and sums of the examples under work.
        progress: called as progress(text, rows done, rows in all).

    Returns:
        (n,) float32, 0 or more; NaN where not readable.

    Raises:
        UsageError: the weights of fewer than two epochs, or examples that are tokens.

    Example:
        >>> import datapruner as dp
        >>> data = dp.open_data("digits")
        >>> record = dp.record(data, dp.Run(model="mlp", epochs=2), checkpoints=[0, 1])
        >>> input_gradient_variance(data, record).shape
        torch.Size([1438])
    """
    epochs = record.checkpoints if epochs is None else tuple(epochs)
    if len(epochs) < 2:
        raise UsageError(
            f"{record.folder}: the weights of {len(epochs)} epochs say nothing of change; record "
            "with checkpoints=spread_epochs(run)"
        )
    net = ready(data, record)
    device = pick_device(net.run.device)
    states = []
    for epoch in epochs:
        load_epoch(net.model, record, epoch)
        states.append({k: v.detach().to(device, copy=True) for k, v in _state(net.model)})

    def deviations(model: nn.Module, batch: Batch) -> Tensor:
        mean, squares = torch.zeros_like(batch.x), torch.zeros_like(batch.x)
        for count, state in enumerate(states, 1):
            x = leaf(batch.x)
            own = functional_call(model, state, (x,)).gather(1, batch.y[:, None])
            (slope,) = torch.autograd.grad(own.sum(), x)
            ahead = slope - mean  # Welford 1962
            mean += ahead / count
            squares += ahead * (slope - mean)
        return (squares / len(states)).clamp_min(0).sqrt().flatten(1).mean(1)

    return swept(data, net, deviations, 0, memory, "input gradients", progress)


def _state(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from model.named_parameters()
    yield from model.named_buffers()
