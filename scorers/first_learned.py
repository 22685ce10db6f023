"""First learned: the epoch from which an example stays right."""

import torch
from torch import Tensor

from ._visits import finished, refuse_unvisited, visits


def first_learned(margin: Tensor) -> Tensor:
    """Return the row of the first visit from which on every visit is right.

    High means learned late; the number of rows means never (wrong at its last visit). Being right
    once and wrong later does not count as learned: the iteration learned of Baldock, Maennel and
    Neyshabur 2021, "Deep Learning Through the Lens of Example Difficulty". A margin above 0 is
    right; exactly 0 is wrong.

    Args:
        margin: (epochs, n) label logit minus the largest other, NaN where not visited.

    Returns:
        (n,) float32, whole numbers from 0 to the number of rows. Memory: two (n,) vectors.

    Raises:
        ValueError: an example never visited.

    Example:
        >>> first_learned(torch.tensor([[1.0, 1, -1], [1, -1, -1], [1, 1, -1]])).tolist()
        [0.0, 2.0, 3.0]
    """
    never = len(margin)
    since = torch.full((margin.shape[-1],), never)
    count = torch.zeros_like(since)
    for row, (seen, (value,)) in enumerate(visits(margin)):
        since = since.clamp(max=row).where(seen & (value > 0), since)
        since = since.masked_fill(seen & (value <= 0), never)
        count += seen
    refuse_unvisited(count)
    return finished(since)
