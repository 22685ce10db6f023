"""Near-copies: how unlike everything before it in its cluster an example is (SemDeDup)."""

from typing import Literal

import torch
from torch import Tensor

from ._copies import find_copies
from ._visits import finished


def duplicates(
    embedding: Tensor,
    *,
    mode: Literal["any-earlier", "kept-only", "components"] = "any-earlier",
    epsilon: float = 0.05,
    first: Literal["far", "near"] = "far",
    k: int | None = None,
    searched: int = 1,
    seed: int = 0,
) -> Tensor:
    """Return each example's cosine distance to the nearest one before it in its cluster.

    High means no near-copy of an earlier one; the first of a cluster has 2. Cut at the distance
    below which two examples are copies, or keep a share. Abbas et al. 2023, "SemDeDup:
    Data-efficient learning at web-scale through semantic deduplication": rows to length 1, k-means,
    in each cluster the farthest from its centre first. `scorers.duplicates.duplicate_pairs` names
    who copies whom.

    Args:
        embedding: (n, d), no row NaN or infinite.
        mode: "any-earlier", as in the paper: the earlier one may itself be a copy, so that of a
            chain in which each resembles the next one only the first stays; "kept-only" compares
            with those that are kept at this epsilon, and of a chain keeps every other; "components"
            joins all that copies connect, of which the first alone stays and the others have the
            distance to their nearest, whatever their order.
        epsilon: a distance up to which two are copies, 0 for exact ones alone (to the rounding of
            float32, 2e-6); not read in mode "any-earlier".
        first: which end of a cluster stays: "far" from its centre, or "near".
        k: clusters; None for one in a thousand examples.
        searched: in how many of the nearest clusters to look. Copies on either side of a border
            are missed with 1, the paper's; what 2 finds besides tells how many.
        seed: of the clusters.

    Returns:
        (n,) float32 in [0, 2]. Equal distances to the centre go by a hash of the row, exact copies
        by index. Memory: a copy of the rows, and 64 MiB for each block of them.

    Raises:
        ValueError: a row that is not finite, or options that do not fit each other.

    Example:
        >>> rows = torch.tensor([[1.0, 0.0], [0.0, 3.0], [0.0, 1.0]])
        >>> sorted(duplicates(rows).tolist())
        [0.0, 1.0, 2.0]
    """
    found = find_copies(embedding, mode, epsilon, first, k, searched, seed)
    return finished(found.distance)


def duplicate_pairs(
    embedding: Tensor,
    *,
    mode: Literal["any-earlier", "kept-only", "components"] = "any-earlier",
    epsilon: float = 0.05,
    first: Literal["far", "near"] = "far",
    k: int | None = None,
    searched: int = 1,
    seed: int = 0,
) -> tuple[Tensor, Tensor]:
    """Return who is a copy of whom, at most one pair for each copy, the nearest first.

    Arguments are those of `duplicates`; here epsilon cuts in every mode.

    Returns:
        pairs (m, 2) int64, the copy and the nearest one before it, and their distances (m,).

    Example:
        >>> rows = torch.tensor([[1.0, 0.0], [0.0, 3.0], [0.0, 1.0]])
        >>> pairs, distance = duplicate_pairs(rows)
        >>> sorted(pairs[0].tolist()), distance.tolist()
        ([1, 2], [0.0])
    """
    found = find_copies(embedding, mode, epsilon, first, k, searched, seed)
    copies = (found.distance <= epsilon).nonzero()[:, 0]
    copies = copies[found.distance[copies].argsort(stable=True)]
    return torch.stack([copies, found.earlier[copies]], 1), found.distance[copies]
