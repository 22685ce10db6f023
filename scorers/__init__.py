"""Scorers: pure functions from recorded sources to one number per example, high is kept first.

A scorer's positional parameters name the sources it needs, its keyword-only parameters are its
options. Traces are (epochs, n) float32 with NaN where an epoch did not visit the example. Nothing
here knows models, files or devices, and nothing here imports datapruner.
"""

from collections.abc import Callable
from typing import Any, Literal

from torch import Tensor

from .aum import aum
from .aum_probability import aum_probability
from .cal import cal
from .class_prototypes import class_prototypes
from .confidence import confidence
from .contextual_diversity import contextual_diversity
from .correctness import correctness
from .craig import craig
from .d2 import d2
from .ddd import ddd
from .deepfool import deepfool
from .dual import dual
from .duplicates import duplicates
from .dyn_unc import dyn_unc
from .el2n import el2n
from .entropy import entropy
from .facility_location import facility_location
from .first_learned import first_learned
from .forgetting import forgetting
from .glister import glister
from .gradmatch import gradmatch
from .grand import grand
from .grand_last_layer import grand_last_layer
from .graph_cut import graph_cut
from .herding import herding
from .influence import influence, influence_error
from .kcenter import kcenter
from .least_confidence import least_confidence
from .log_det import log_det
from .loss import loss
from .memorization import memorization, memorization_error
from .moderate import moderate
from .prototypes import prototypes
from .random import random
from .rho_loss import rho_loss
from .tdds import tdds
from .top2_margin import top2_margin
from .variability import variability
from .vog import vog
from .zcore_style import zcore_style

__all__ = ["BUDGETED", "ERRORS", "PASS", "SCORERS"]

SCORERS: dict[str, Callable[..., Any]] = {
    # nothing
    "random": random,
    # the traces of one run
    "el2n": el2n,
    "forgetting": forgetting,
    "aum": aum,
    "aum_probability": aum_probability,
    "loss": loss,
    "entropy": entropy,
    "least_confidence": least_confidence,
    "confidence": confidence,
    "variability": variability,
    "correctness": correctness,
    "first_learned": first_learned,
    "dyn_unc": dyn_unc,
    "dual": dual,
    "tdds": tdds,
    # one clean pass
    "top2_margin": top2_margin,
    # two runs
    "rho_loss": rho_loss,
    # gradients
    "grand": grand,
    "grand_last_layer": grand_last_layer,
    "vog": vog,
    "deepfool": deepfool,
    # an ensemble
    "memorization": memorization,
    "influence": influence,
    "ddd": ddd,
    # an embedding
    "prototypes": prototypes,
    "kcenter": kcenter,
    "herding": herding,
    "facility_location": facility_location,
    "graph_cut": graph_cut,
    "log_det": log_det,
    "duplicates": duplicates,
    "zcore_style": zcore_style,
    # an embedding and labels
    "class_prototypes": class_prototypes,
    "moderate": moderate,
    # predictions, and an embedding
    "contextual_diversity": contextual_diversity,
    "cal": cal,
    # a budget k: these choose, and weigh what they choose
    "craig": craig,
    "gradmatch": gradmatch,
    "glister": glister,
    "d2": d2,
}

# These do not score: they take k and return (indices (k,) int64, weights (k,) float32 of mean 1),
# and are called through datapruner.select.
BUDGETED = ("craig", "gradmatch", "glister", "d2")

# Which pass of a run a scorer's traces come from unless the caller says otherwise: rows recorded
# while training, before each step, or a clean pass (eval mode, no augmentation, float32).
PASS: dict[str, Literal["training", "clean"]] = {
    name: "clean" if name in {"el2n", "top2_margin", "grand_last_layer"} else "training"
    for name in SCORERS
}

# The standard error of a score that one call computes from many runs; same sources, (n,) float32.
ERRORS: dict[str, Callable[..., Tensor]] = {
    "memorization": memorization_error,
    "influence": influence_error,
}
