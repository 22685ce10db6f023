"""How much to listen to the teacher, where nobody has said: our rule."""

import math

from .errors import UsageError

CLEAN, MOST = 0.5, 0.9  # the weight where labels are right, and where many are wrong
ENOUGH = 0.05  # share of the examples below which the weight is less
FEW, MANY = 0.02, 0.25  # shares of wrong labels: up to one they do not count, from one it is most


def auto_weight(fraction: float, noise: float) -> float:
    """Return the weight of the teacher's term for a kept fraction and a share of wrong labels.

    Our rule, not a paper's. Where labels are right it is a half, and below 5 % of the examples 0.04
    less for each halving, though not below 0.3; more than 2 % of wrong labels, by which a good
    teacher and clean labels may differ, move it evenly towards 0.9, which it reaches where a
    quarter is wrong. It comes from a sweep on MNIST and held on CIFAR-10
    (`benchmarks/distillation.md`).
    Ben-Baruch et al. 2024 found the best weight near 1 at small fractions of CIFAR-100: try 0.9
    and 1 as well where the task is hard. It was made for kl, at a temperature of 4.

    Args:
        fraction: share of the examples that is trained on, above 0 and at most 1.
        noise: share of wrong labels among them. Estimated by disagreement it holds the teacher's
            own errors too, so that a bad teacher is listened to as if labels were bad.

    Raises:
        UsageError: one of them is no share.

    Example:
        >>> auto_weight(0.1, 0.0), auto_weight(0.1, 0.3), auto_weight(0.01, 0.0)
        (0.5, 0.9, 0.4071)
    """
    if not 0 < fraction <= 1 or not 0 <= noise <= 1:
        raise UsageError(f"fraction {fraction} and noise {noise} must be shares in [0, 1]")
    clean = max(0.3, CLEAN + 0.04 * min(0.0, math.log2(fraction / ENOUGH)))
    wrong = min(max(0.0, noise - FEW) / (MANY - FEW), 1.0)
    return round(clean + (MOST - clean) * wrong, 4)
