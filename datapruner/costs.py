"""What a run costs, counted: examples, steps, arithmetic, active weights; and measured memory."""

import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from .history import History

if TYPE_CHECKING:
    from .data import Data
    from .run import Run

UNSAVED = ("weight", "weights", "unstructured", "none")  # patterns that dense kernels cannot use


@dataclass(frozen=True)
class Flops:
    """Floating-point operations of one example, a multiplication and an addition being two.

    Example:
        >>> Flops(10.0, 20.0).step
        30.0
    """

    forward: float
    backward: float

    @property
    def step(self) -> float:
        """Forward and backward."""
        return self.forward + self.backward


@dataclass(frozen=True)
class Cost:
    """Counted work of one or several runs.

    Attributes:
        examples: rows seen in training.
        steps: optimizer steps.
        flops: operations as they are carried out: masked weights are multiplied like any other.
        flops_possible: what would be left if the pattern's saving were taken: scaled by the share
            of active weights where whole blocks, channels or N:M groups are removed; equal to
            `flops` where single weights are, which dense kernels cannot use.
        weights_examples: sum over the epochs of active weights times examples, the one sum
            C of Jin et al. 2025 carried over to data.

    Example:
        >>> (Cost(10, 1, 100.0, 100.0, 50.0) + Cost(5, 1, 50.0, 25.0, 10.0)).flops_possible
        125.0
    """

    examples: int = 0
    steps: int = 0
    flops: float = 0.0
    flops_possible: float = 0.0
    weights_examples: float = 0.0

    def __add__(self, other: "Cost") -> "Cost":
        """Return the work of both."""
        mine, its = asdict(self), asdict(other)
        return Cost(**{name: mine[name] + its[name] for name in mine})


@dataclass(frozen=True)
class Spent:
    """Counted work and seconds of something that was made before a run.

    Example:
        >>> Spent(seconds=2.0).cost.flops
        0.0
    """

    cost: Cost = Cost()
    seconds: float = 0.0


Parts = dict[str, Spent]  # by what was made, so that what serves twice counts once


def count_flops(model: nn.Module, x: Tensor) -> Flops:
    """Count the operations of one example by running a batch forward and backward, in float32.

    Matrix products, convolutions and attention are counted, as torch.utils.flop_counter does;
    element-wise work is not.

    Args:
        model: returns logits (b, C); its gradients and running statistics are changed.
        x: (b, ...) a batch.

    Example:
        >>> count_flops(nn.Linear(10, 5), torch.zeros(2, 10))
        Flops(forward=100.0, backward=100.0)
    """
    model.train()
    with FlopCounterMode(display=False) as forward:
        logits = model(x)
    target = torch.zeros(len(x), dtype=torch.int64, device=x.device)
    loss = functional.cross_entropy(logits.float(), target)
    with FlopCounterMode(display=False) as backward:
        loss.backward()  # type: ignore[no-untyped-call]
    n = len(x)
    return Flops(forward.get_total_flops() / n, backward.get_total_flops() / n)


def flops_of(run: "Run", data: "Data") -> Flops:
    """Count the operations of one example under a run's network, on the CPU.

    Example:
        >>> import datapruner as dp
        >>> round(flops_of(dp.Run(model="mlp"), dp.open_data("digits")).forward)
        100400
    """
    from .training import make_loader, network

    loader = make_loader(data, run)
    model = network(run, data, loader).cpu()
    few = data.readable.nonzero().flatten()[:2]
    return count_flops(model, next(iter(loader(few, train=False))).x.cpu())


def training_cost(history: History, flops: Flops, weights: int, *, saves: bool) -> Cost:
    """Return what a training run did.

    Args:
        history: its epochs; `active` None is all weights.
        flops: of one example.
        weights: that the network has.
        saves: whether the mask's pattern allows a real saving.

    Example:
        >>> from datapruner.history import Epoch
        >>> half = History([Epoch(0, 100, 10, 1.0, 0.5, 0.5, active=500.0)])
        >>> cost = training_cost(half, Flops(1.0, 2.0), 1000, saves=True)
        >>> cost.flops, cost.flops_possible, cost.weights_examples
        (300.0, 150.0, 50000.0)
    """
    before, possible, active = 0, 0.0, 0.0
    for epoch in history.epochs:
        seen, before = epoch.examples - before, epoch.examples
        alive = weights if epoch.active is None else epoch.active
        active += alive * seen
        possible += flops.step * seen * (alive / weights if saves else 1.0)
    total = flops.step * history.examples
    return Cost(history.examples, history.steps, total, possible, active)


def full_cost(examples: int, steps: int, flops: Flops, weights: float, *, extra: float = 0) -> Cost:
    """Return the cost of work on so many weights: so many examples, and operations besides.

    Example:
        >>> full_cost(10, 1, Flops(1.0, 2.0), 5, extra=4.0).flops
        34.0
    """
    total = flops.step * examples + extra
    return Cost(examples, steps, total, total, float(weights * examples))


def total(costs: Sequence[Cost]) -> Cost:
    """Add costs up.

    Example:
        >>> total([Cost(1), Cost(2)]).examples
        3
    """
    return sum(costs, Cost())


def saves(pattern: str) -> bool:
    """Tell whether a mask's pattern lets a machine leave work out.

    Example:
        >>> saves("weight"), saves("channel")
        (False, True)
    """
    return pattern not in UNSAVED


def start_peak() -> None:
    """Begin a new measurement of peak memory, where the system can (Linux)."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def peak_memory() -> int:
    """Return the largest resident size of this process in bytes: since `start_peak`, or ever.

    Example:
        >>> peak_memory() > 2**20
        True
    """
    try:
        status = Path("/proc/self/status").read_text()
        return 1024 * int(status.partition("VmHWM:")[2].split()[0])
    except (OSError, IndexError, ValueError):
        import resource

        size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return size if sys.platform == "darwin" else 1024 * size
