"""TDDS: how unevenly the predicted distribution moves, most of all at the end of the record."""

from torch import Tensor

from ._visits import finished
from ._windows import Window, fold_windows


def tdds(
    shift: Tensor, *, window: int = 10, decay: float = 0.9, epochs: int | None = None
) -> Tensor:
    """Return the moving average, over windows, of the norm of the shifts around their mean.

    High means the prediction moved in jolts. Zhang et al. 2024, "Spanning Training Progress:
    Temporal Dual-Depth Scoring": a window of J epochs holds J - 1 shifts, of which the L2 norm of
    the deviations from their mean is taken; windows slide by one epoch, and each new one gets the
    weight a = 0.9, the sum of the earlier keeps 1 - a. So the last window decides, and `epochs`
    means which ten: the authors choose it for each pruning rate. Windows hold an example's own
    visits; one with fewer visits than a window has a single window of them all.

    Args:
        shift: (epochs, n), sum over classes of |p_t (log p_t - log p_s)| where s is the previous
            visit; NaN where not visited, and at an example's first visit.
        window: epochs in a window, at least 3 so that it holds two shifts.
        decay: the weight a of the latest window.
        epochs: use only rows[:epochs]; None means all.

    Returns:
        (n,) float32, 0 or more. Memory: a few (n,) vectors.

    Raises:
        ValueError: an example with fewer than two shifts, or a window below 3.

    Example:
        >>> import torch
        >>> shift = torch.tensor([[float("nan")], [1.0], [3.0], [3.0]])
        >>> tdds(shift, window=4)  # 0.9 times the norm of (-4/3, 2/3, 2/3)
        tensor([1.4697])
    """
    if window < 3:
        raise ValueError(f"window={window} epochs hold fewer than two shifts; choose 3 or more")

    def average(score: Tensor, part: Window) -> Tensor:
        return (1 - decay) * score + decay * part.squares.sqrt()

    return finished(fold_windows(shift[:epochs], window - 1, average)[0])
