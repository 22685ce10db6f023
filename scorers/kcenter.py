"""k-center: each pick is the example farthest from all picks so far."""

import torch
from torch import Tensor

from ._centres import Centres
from ._falling import falling_picks
from ._rows import column_means, nearest_to_mean, picks_wanted, ranks, sorted_rows


def kcenter(embedding: Tensor, *, limit: int | None = None, unit: bool = False) -> Tensor:
    """Rank the examples by farthest-first traversal, starting from the one nearest the mean.

    High means picked early: far from everything picked before, so any number of the highest covers
    the set within twice the least possible radius. Gonzalez 1985, "Clustering to minimize the
    maximum intercluster distance"; Sener and Savarese 2018, "Active Learning for Convolutional
    Neural Networks: A Core-Set Approach". Seeks outliers: pair it with a cut of noise. The picks
    are those of the plain loop; blocks and the triangle inequality only save distances that cannot
    matter.

    Args:
        embedding: (n, d), no row NaN or infinite.
        limit: how many to rank; None ranks all n, which takes n distances for each.
        unit: distances between directions, not between the rows as they are.

    Returns:
        (n,) float32: n, n - 1, ... in the order of the picks, -1 to those beyond `limit`. Equal
        distances go by a hash of the row. Memory: a copy of the rows.

    Raises:
        ValueError: a row that is not finite, or more than 2**24 rows.

    Example:
        >>> kcenter(torch.tensor([[0.0], [1.0], [2.2], [9.0]])).tolist()
        [2.0, 1.0, 4.0, 3.0]
    """
    rows = sorted_rows(embedding, unit=unit)
    first = nearest_to_mean(rows.x)
    # Distances do not change when all rows move; about the mean the products keep their digits.
    x = rows.x.sub_(column_means(rows.x).to(torch.float32))
    gain = torch.full((len(x),), torch.inf)
    picks = falling_picks(gain, picks_wanted(limit, len(x)), Centres(x), first=first)
    return ranks(picks, rows.order)
