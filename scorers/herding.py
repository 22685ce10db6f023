"""Herding: picks whose mean follows the mean of all."""

from torch import Tensor

from ._rows import column_means, picks_wanted, ranks, sorted_rows, squared_lengths
from ._towards import picks_towards


def herding(embedding: Tensor, *, limit: int | None = None, unit: bool = True) -> Tensor:
    """Rank the examples so that the mean of any number of the highest is near the mean of all.

    High means picked early: at step t the example nearest to t times the mean of all less the sum
    of the picks so far, each at most once. Welling 2009, "Herding dynamical weights to learn"; per
    class on normalised features in Rebuffi et al. 2017, "iCaRL: Incremental Classifier and
    Representation Learning": for that form rank each class by itself (`select(..., per_class=True)`
    does). Takes the typical first, the unusual late.

    Args:
        embedding: (n, d), no row NaN or infinite.
        limit: how many to rank; None ranks all n, a walk over all rows for each.
        unit: rows to length 1 first, as is usual; else the rows as they are.

    Returns:
        (n,) float32: n, n - 1, ... in the order of the picks, -1 to those beyond `limit`. Equal
        gains go by a hash of the row. Memory: a copy of the rows.

    Raises:
        ValueError: a row that is not finite, or more than 2**24 rows.

    Example:
        >>> import torch
        >>> herding(torch.tensor([[0.0], [1.0], [2.0], [5.0]]), unit=False).tolist()
        [1.0, 3.0, 4.0, 2.0]
    """
    rows = sorted_rows(embedding, unit=unit)
    mean = column_means(rows.x)
    bias = squared_lengths(rows.x) / -2  # the nearest to r has the highest x . r - |x|^2 / 2
    k = picks_wanted(limit, len(rows.x))
    return ranks(picks_towards(rows.x, bias, mean, k, lambda row: mean - row), rows.order)
