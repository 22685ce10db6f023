"""Facility location: picks that stand for all the others."""

import torch
from torch import Tensor

from ._facility import AllPairs, Graph, Likeness, cosines, facility_picks
from ._memory import refuse_beyond_memory
from ._neighbours import nearest_neighbours
from ._rows import picks_wanted, ranks, sorted_rows

# Above so many examples a graph of neighbours stands for the cosines of all pairs.
ALL_PAIRS = 20_000
NEIGHBOURS = 64


def facility_location(
    embedding: Tensor,
    *,
    limit: int | None = None,
    neighbours: int | None = None,
    epsilon: float = 0.0,
    seed: int = 0,
) -> Tensor:
    """Rank the examples by how much each adds to the likeness of all to their nearest pick.

    High means picked early. Greedy for the sum over all examples of their highest cosine to a pick,
    0 where that is negative: Nemhauser, Wolsey and Fisher 1978, "An analysis of approximations for
    maximizing submodular set functions", within 1 - 1/e of the best. Takes the middles of dense
    places first, outliers last.

    Args:
        embedding: (n, d), no row NaN or infinite.
        limit: how many to rank; None ranks all n.
        neighbours: how many each example can stand for besides those that it is one of; 0 = all
            pairs, exact, n x n float32; None takes all pairs up to 20,000 examples and 64
            neighbours beyond.
        epsilon: 0 takes the best of all at each pick; above, of a random sample ("lazier than
            lazy greedy"), within that much of the same bound.
        seed: of the samples.

    Returns:
        (n,) float32: n, n - 1, ... in the order of the picks, -1 to those beyond `limit`. Equal
        gains go by a hash of the row.

    Raises:
        ValueError: a row that is not finite, more than 2**24 rows, or pairs that do not fit into
            memory.

    Example:
        >>> rows = torch.tensor([[1.0, 0.0], [0.9, 0.1], [0.9, 0.3], [0.0, 1.0]])
        >>> facility_location(rows).tolist()
        [1.0, 2.0, 4.0, 3.0]
    """
    rows = sorted_rows(embedding, unit=True)
    n = len(rows.x)
    if neighbours is None:
        neighbours = 0 if n <= ALL_PAIRS else NEIGHBOURS
    likeness = _likeness(rows.x, min(neighbours, n - 1))
    places, _ = facility_picks(likeness, picks_wanted(limit, n), epsilon=epsilon, seed=seed)
    return ranks(torch.from_numpy(places), rows.order)


def _likeness(x: Tensor, neighbours: int) -> Likeness:
    n = len(x)
    if neighbours:
        refuse_beyond_memory(
            40 * n * neighbours, f"{neighbours} neighbours of {n:,} examples", "ask for fewer"
        )
        return Graph(*nearest_neighbours(x, neighbours))
    refuse_beyond_memory(
        4 * n * n, f"the cosines of all pairs of {n:,} examples", f"pass neighbours={NEIGHBOURS}"
    )
    return AllPairs(cosines(x))
