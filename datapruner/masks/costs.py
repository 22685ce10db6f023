"""What a pruned network costs: multiplications, parameters, and time beside the dense one."""

import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..errors import PrunerError, UsageError
from ..evaluation import evaluating
from ..networks import parameter_count
from .hold import checked


@dataclass(frozen=True)
class Cost:
    """The cost of one forward pass, and what masks and removal take off it.

    Two savings are told apart. `masked_flops` is what would be left if no multiplication by a
    masked weight were done: what the mask makes possible, which dense kernels do not give.
    `small_flops` is what the smaller network from `remove` really computes; it is `flops` where
    the pattern frees no whole channel or block.

    Attributes:
        flops: floating-point operations for one example, dense: two to a multiply-add.
        masked_flops: those of them whose weight is not masked.
        small_flops: those of the smaller network; None where it was not given.
        parameters: of the dense network.
        active: of these, not masked.
        small_parameters: of the smaller network; None where it was not given.

    Example:
        >>> Cost(100, 20, 50, 10, 2, 5).possible_speedup, Cost(100, 20, 50, 10, 2, 5).real_speedup
        (5.0, 2.0)
    """

    flops: int
    masked_flops: int
    small_flops: int | None
    parameters: int
    active: int
    small_parameters: int | None

    @property
    def possible_speedup(self) -> float:
        """Return `flops` / `masked_flops`."""
        return self.flops / max(1, self.masked_flops)

    @property
    def real_speedup(self) -> float | None:
        """Return `flops` / `small_flops`."""
        return None if self.small_flops is None else self.flops / max(1, self.small_flops)


@dataclass(frozen=True)
class Latency:
    """Seconds of a forward pass of two networks that took turns.

    Attributes:
        dense: median seconds of the first.
        small: median seconds of the second.
        speedup: median over the pairs of dense / small.
        lowest: the smallest of these ratios.
        highest: the largest.
        pairs: how many.

    Example:
        >>> Latency(0.2, 0.1, 2.0, 1.9, 2.1, 5).speedup
        2.0
    """

    dense: float
    small: float
    speedup: float
    lowest: float
    highest: float
    pairs: int


def cost(
    model: nn.Module,
    example: Tensor,
    masks: Mapping[str, Tensor] | None = None,
    small: nn.Module | None = None,
) -> Cost:
    """Count what a network costs dense, masked and made smaller.

    Operations are counted by `torch.utils.flop_counter`: convolutions, products of matrices and
    attention, two to a multiply-add; norms, activations and additions are not counted. Those of a
    layer are scaled by the share of its `weight` that is not masked.

    Args:
        model: the dense network, or the masked one, whose zeros are counted like other numbers.
        example: (b, ...) a batch it takes; figures are for one row.
        masks: bool by parameter name; None masks nothing.
        small: the network from `remove`.

    Raises:
        UsageError: a mask does not fit the network.

    Example:
        >>> model = nn.Linear(4, 2)
        >>> masks = {"weight": torch.tensor([[True, False, False, False]] * 2)}
        >>> counted = cost(model, torch.zeros(1, 4), masks)
        >>> counted.flops, counted.masked_flops, counted.parameters, counted.active
        (16, 4, 10, 4)
    """
    masks = checked(model, masks or {})
    by_layer, total = _flops(model, example)
    gone = {
        id(model.get_parameter(name)): (~mask).float().mean().item() for name, mask in masks.items()
    }
    saved = sum(  # by the parameter itself, which two layers may share
        flops * gone.get(id(getattr(model.get_submodule(layer), "weight", None)), 0.0)
        for layer, flops in by_layer.items()
    )
    parameters = parameter_count(model)
    off = sum(int((~mask).sum()) for mask in masks.values())
    return Cost(
        total,
        round(total - saved),
        None if small is None else _flops(small, example)[1],
        parameters,
        parameters - off,
        None if small is None else parameter_count(small),
    )


def latency(
    dense: nn.Module, small: nn.Module, example: Tensor, *, pairs: int = 31, warmup: int = 3
) -> Latency:
    """Time two networks in turn on the same batch, in eval mode and without gradients.

    Each pair is timed in the other order than the one before, so that a machine that slows down
    favours neither. Set the threads with `torch.set_num_threads` before.

    Args:
        dense: the first.
        small: the second.
        example: (b, ...) a batch both take, on their device.
        pairs: how many pairs are timed.
        warmup: passes of each before that.

    Raises:
        UsageError: there is no pair to time.

    Example:
        >>> latency(nn.Linear(4, 4), nn.Linear(4, 4), torch.zeros(1, 4), pairs=3).pairs
        3
    """
    if pairs < 1:
        raise UsageError(f"pairs is {pairs}; time at least one pair")
    both = (dense, small)
    taken: list[list[float]] = [[], []]
    with torch.inference_mode(), evaluating(dense), evaluating(small):
        for _ in range(warmup):
            for network in both:
                network(example)
        for pair in range(pairs):
            for which in (0, 1) if pair % 2 == 0 else (1, 0):
                taken[which].append(_seconds(both[which], example))
    ratios = [a / b for a, b in zip(*taken, strict=True)]
    return Latency(
        statistics.median(taken[0]),
        statistics.median(taken[1]),
        statistics.median(ratios),
        min(ratios),
        max(ratios),
        pairs,
    )


def _seconds(network: nn.Module, example: Tensor) -> float:
    _wait(example.device)
    start = time.perf_counter()
    network(example)
    _wait(example.device)
    return time.perf_counter() - start


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _flops(model: nn.Module, example: Tensor) -> tuple[dict[str, float], int]:
    """Return the operations for one row: by layer, under its name in the network, and in all."""
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    counter = FlopCounterMode(display=False)
    try:
        # With gradients and as plain products: fused attention is not counted on every device.
        with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH), evaluating(model), counter:
            model(example)
    except (RuntimeError, ValueError, TypeError) as error:
        raise PrunerError(
            f"{type(model).__name__} does not run on an example of shape {tuple(example.shape)} "
            f"({error}); give a batch it takes"
        ) from error
    rows = len(example)
    top = type(model).__name__
    layers = {name for name, module in model.named_modules() if not any(module.children())}
    found = {}
    for name, by_operation in counter.get_flop_counts().items():
        own = "" if name == top else name.removeprefix(f"{top}.")
        if own in layers:
            found[own] = sum(by_operation.values()) / rows
    return found, round(counter.get_total_flops() / rows)
