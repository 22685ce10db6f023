"""The optimizer and the learning rate over progress."""

import math

import torch
from torch import nn

from .errors import UsageError
from .run import Run


def make_optimizer(model: nn.Module, run: Run) -> torch.optim.SGD:
    """Return SGD with the run's momentum; weight decay leaves out norms and biases.

    What has one dimension or none (a bias, the scale of a norm) is not decayed, nor a layer norm
    over several.

    Raises:
        UsageError: the network has nothing to train.

    Example:
        >>> optimizer = make_optimizer(nn.Linear(2, 2), Run(weight_decay=0.1))
        >>> [group["weight_decay"] for group in optimizer.param_groups]
        [0.1, 0.0]
    """
    trained = [p for p in model.parameters() if p.requires_grad]
    if not trained:
        raise UsageError(f"{type(model).__name__} has no parameter that requires a gradient")
    norms = {id(p) for m in model.modules() if isinstance(m, nn.LayerNorm) for p in m.parameters()}
    spared = norms | {id(p) for p in trained if p.ndim <= 1}
    groups = [
        {"params": [p for p in trained if id(p) not in spared], "weight_decay": run.weight_decay},
        {"params": [p for p in trained if id(p) in spared], "weight_decay": 0.0},
    ]
    return torch.optim.SGD(
        [g for g in groups if g["params"]],
        lr=run.lr,
        momentum=run.momentum,
        nesterov=run.nesterov and run.momentum > 0,
        fused=all(p.device.type in ("cpu", "cuda") for p in trained),
    )


def rate(run: Run, progress: float) -> float:
    """Return the learning rate at `progress` in [0, 1] of the run.

    `cosine` falls from the peak to 0 along half a cosine; `one-cycle` rises to the peak over the
    first quarter and falls to 0, both straight; `constant` stays. `warmup` puts a straight rise
    before it.

    Example:
        >>> rate(Run(lr=0.2), 0.5)
        0.1
        >>> rate(Run(lr=0.2, schedule="one-cycle"), 0.25)
        0.2
    """
    if progress < run.warmup:
        return run.lr * progress / run.warmup
    if run.warmup:
        progress = (progress - run.warmup) / (1 - run.warmup)
    if run.schedule == "cosine":
        return run.lr * 0.5 * (1 + math.cos(math.pi * progress))
    if run.schedule == "one-cycle":
        return run.lr * (progress / 0.25 if progress < 0.25 else (1 - progress) / 0.75)
    return run.lr
