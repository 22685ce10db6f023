"""Scorers: pure functions from recorded sources to one number per example, high is kept first.

A scorer's positional parameters name the sources it needs, its keyword-only parameters are its
options. Traces are (epochs, n) float32 with NaN where an epoch did not visit the example. Nothing
here knows models, files or devices, and nothing here imports datapruner.
"""

from collections.abc import Callable
from typing import Literal

from torch import Tensor

from .aum import aum
from .el2n import el2n
from .entropy import entropy
from .forgetting import forgetting
from .loss import loss
from .prototypes import prototypes
from .random import random

__all__ = ["PASS", "SCORERS"]

SCORERS: dict[str, Callable[..., Tensor]] = {
    # nothing
    "random": random,
    # the traces of one run
    "el2n": el2n,
    "forgetting": forgetting,
    "aum": aum,
    "loss": loss,
    "entropy": entropy,
    # an embedding
    "prototypes": prototypes,
}

# Which pass of a run a scorer's traces come from unless the caller says otherwise: rows recorded
# while training, before each step, or a clean pass (eval mode, no augmentation, float32).
PASS: dict[str, Literal["training", "clean"]] = {
    name: "clean" if name in {"el2n"} else "training" for name in SCORERS
}
