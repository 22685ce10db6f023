"""Forgetting events: how often an example that was right turned wrong."""

from typing import Literal

import torch
from torch import Tensor

from ._visits import finished, refuse_unvisited, visits


def forgetting(
    margin: Tensor,
    *,
    never_learned: Literal["presentations", "infinity-capped", "zero"] = "presentations",
    break_ties: bool = False,
) -> Tensor:
    """Count the visits at which an example is wrong though its previous visit was right.

    High means forgotten often, or never learned. Toneva et al. 2019, "An Empirical Study of Example
    Forgetting". Training-pass rows, before the step. A margin above 0 is right; exactly 0 is wrong.
    The first visit can be no event. "Previous" is the last time this example was seen. Over several
    runs the paper sums the counts; the mean over runs ranks the same.

    Args:
        margin: (epochs, n) label logit minus the largest other, NaN where not visited.
        never_learned: the count of an example that was never right. "presentations": its own number
            of visits, as in the paper's code; more than it could ever have been forgotten.
            "infinity-capped": the number of rows, above every example that was learned however
            often it was visited. "zero": as several programs do, which ranks the hardest and the
            mislabelled as easiest; only for comparing with them.
        break_ties: add a fraction below 1 that grows with the row of the last error (0 for none),
            so that equal counts are ordered by it and unequal ones keep their order.

    Returns:
        (n,) float32, whole numbers unless `break_ties`. Memory: five (n,) vectors.

    Raises:
        ValueError: an example never visited, or an unknown `never_learned`.

    Example:
        >>> forgetting(torch.tensor([[1.0, 1, -1], [-1, 1, -1], [1, 1, -1]])).tolist()
        [1.0, 0.0, 3.0]
    """
    if never_learned not in ("presentations", "infinity-capped", "zero"):
        raise ValueError(
            f"never_learned={never_learned!r}: use 'presentations', 'infinity-capped' or 'zero'"
        )
    rows, n = len(margin), margin.shape[-1]
    events, count, error_row = (torch.zeros(n, dtype=torch.int32) for _ in range(3))
    was_right, learned = (torch.zeros(n, dtype=torch.bool) for _ in range(2))
    for row, (seen, (value,)) in enumerate(visits(margin)):
        right, wrong = seen & (value > 0), seen & (value <= 0)
        events += was_right & wrong
        error_row = error_row.masked_fill(wrong, row + 1)
        was_right = torch.where(seen, right, was_right)
        learned |= right
        count += seen
    refuse_unvisited(count)
    never = {"presentations": count, "infinity-capped": torch.full_like(count, rows)}
    score = events.where(learned, never.get(never_learned, torch.zeros_like(count))).double()
    return finished(score + error_row / (rows + 1) if break_ties else score)
