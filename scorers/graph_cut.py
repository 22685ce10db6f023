"""Graph cut: like all examples, unlike the other picks."""

from torch import Tensor

from ._rows import column_means, picks_wanted, ranks, sorted_rows, squared_lengths
from ._towards import picks_towards


def graph_cut(embedding: Tensor, *, limit: int | None = None, redundancy: float = 0.4) -> Tensor:
    """Rank the examples by their likeness to the whole set less their likeness to earlier picks.

    High means picked early. Greedy for f(S) = sum over all v and s in S of s(v, s), less
    `redundancy` times the sum over all pairs in S, each pair both ways and each pick with itself;
    s = (1 + cosine) / 2. Iyer et al. 2021, "Submodular combinatorial information measures with
    applications in machine learning", in the form of submodlib; apricot's and DeepCore's form is
    this one over `redundancy`, so their 2 is 1 / 2 here. The shift to s >= 0 moves all gains alike.

    Args:
        embedding: (n, d), no row NaN or infinite.
        limit: how many to rank; None ranks all n, a walk over all rows for each.
        redundancy: at most 1/2, and f only grows; above, late picks may have negative gains, and
            the order is greedy still.

    Returns:
        (n,) float32: n, n - 1, ... in the order of the picks, -1 to those beyond `limit`. Equal
        gains go by a hash of the row. Memory: a copy of the rows; no pair is ever stored.

    Raises:
        ValueError: a row that is not finite, more than 2**24 rows, or a negative redundancy.

    Example:
        >>> import torch
        >>> rows = torch.tensor([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0]])
        >>> graph_cut(rows).tolist(), graph_cut(rows, redundancy=2.0).tolist()
        ([2.0, 3.0, 1.0], [1.0, 3.0, 2.0])
    """
    if not redundancy >= 0:
        raise ValueError(f"redundancy={redundancy} must be 0 or more; 0.5 is the most that grows")
    rows = sorted_rows(embedding, unit=True)
    total = column_means(rows.x) * len(rows.x)
    bias = squared_lengths(rows.x) * -redundancy  # the pick with itself
    k = picks_wanted(limit, len(rows.x))
    picks = picks_towards(rows.x, bias, total, k, lambda row: -2 * redundancy * row)
    return ranks(picks, rows.order)
