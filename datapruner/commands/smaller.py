"""`datapruner train --remove`: the smaller network of a run that pruned channels or layers."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UsageError
from ..run import Run

if TYPE_CHECKING:
    from torch import Tensor, nn

    from ..data import Data
    from ..loaders import Loader

BATCH = 32  # examples of a forward pass that is timed


def rehearse(run: Run, data: "Data") -> None:
    """Take the run's pattern out of its untrained network and export it, before any training.

    Raises:
        UsageError: nothing of the network can be taken out.
        PrunerError: torch-pruning is missing, or it or torch.export cannot follow the network.
    """
    from ..masks import exported, make_masks, remove
    from ..networks import parameter_count
    from ..training import make_loader, network

    spec = run.weights
    assert spec is not None
    loader = make_loader(data, run)
    model = network(run, data, loader)
    x = _some(loader, data, model)
    masks = make_masks(
        model,
        density=spec.density,
        allocation="uniform",
        pattern=spec.pattern,
        skip=spec.skip,
        floor=spec.floor,
        example=x[:1],
    )
    small = remove(model, masks, x)
    if parameter_count(small) == parameter_count(model):
        raise UsageError(
            f"--remove: at density {spec.density:g} the pattern {spec.pattern!r} leaves nothing of "
            f"{run.model} to take out; give a lower density or another pattern"
        )
    exported(small, x)


def write_smaller(run: Run, data: "Data", model: "nn.Module", out: str) -> dict[str, Any]:
    """Write what is left of a trained network without its zeros, and measure both.

    Args:
        run: that trained it.
        data: the training split.
        model: trained, its masked weights 0.
        out: the folder of the run; small.pt2 is written there.

    Returns:
        The file, and parameters, operations and seconds of a forward pass before and after.

    Raises:
        PrunerError: as `rehearse`.
    """
    from ..masks import cost, latency, remove, to_pt2
    from ..training import make_loader

    x = _some(make_loader(data, run), data, model)
    masks = {name: parameter != 0 for name, parameter in model.named_parameters()}
    small = remove(model, masks, x)
    path = to_pt2(small, x, Path(out) / "small.pt2")
    counted, timed = cost(model, x, masks, small), latency(model, small, x)
    return {
        "file": str(path),
        "parameters": [counted.parameters, counted.small_parameters],
        "operations": [counted.flops, counted.small_flops],
        "batch": len(x),
        "seconds": [timed.dense, timed.small],
        "speedup": timed.speedup,
    }


def line_of_smaller(found: dict[str, Any]) -> str:
    """Return what `write_smaller` found as one line.

    Example:
        >>> found = {"file": "t/small.pt2", "parameters": [78042, 19954], "batch": 32}
        >>> found |= {"operations": [25.0e6, 6.5e6], "seconds": [0.0288, 0.0087], "speedup": 3.25}
        >>> print(line_of_smaller(found))
        t/small.pt2: parameters 78,042 -> 19,954, operations an example 25.00 -> 6.50 million, a \
batch of 32 28.80 -> 8.70 ms (3.25 times as fast)
    """
    (whole, few), (all_, some), (slow, fast) = (
        found[name] for name in ("parameters", "operations", "seconds")
    )
    return (
        f"{found['file']}: parameters {whole:,} -> {few:,}, operations an example "
        f"{all_ / 1e6:.2f} -> {some / 1e6:.2f} million, a batch of {found['batch']} "
        f"{1000 * slow:.2f} -> {1000 * fast:.2f} ms ({found['speedup']:.2f} times as fast)"
    )


def _some(loader: "Loader", data: "Data", model: "nn.Module") -> "Tensor":
    """Return a batch of what the network is trained on, on its device."""
    from ..hardware import placed

    order = data.readable.nonzero().flatten()[:BATCH]
    batch = next(iter(loader(order, train=False)))
    return placed(batch.x, next(model.parameters()).device)
