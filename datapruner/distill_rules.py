"""How much to listen to the teacher, where nobody has said: our rule."""

from .errors import UsageError


def auto_weight(fraction: float, noise: float) -> float:
    """Return the weight of the teacher's term for a kept fraction and a share of wrong labels.

    Half, and more where labels are wrong.

    Args:
        fraction: share of the examples that is trained on, above 0.
        noise: share of wrong labels among them.

    Raises:
        UsageError: one of them is no share.

    Example:
        >>> auto_weight(0.05, 0.0), auto_weight(0.05, 0.3)
        (0.5, 0.95)
    """
    if not 0 < fraction <= 1 or not 0 <= noise <= 1:
        raise UsageError(f"fraction {fraction} and noise {noise} must be shares in [0, 1]")
    return min(0.5 + 1.5 * noise, 1.0)
