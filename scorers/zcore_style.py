"""Zero-shot coverage: nearest to random points of the space, and not beside others that are."""

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor

from ._rows import sorted_rows
from ._visits import finished


def zcore_style(
    embedding: Tensor,
    *,
    projections: int = 100,
    points: int = 200,
    neighbours: int = 10,
    seed: int = 0,
) -> Tensor:
    """Return how much of the space an example covers, less how redundant it is.

    High means it covers what others do not. After Griffin et al. 2024, "Zero-Shot Coreset
    Selection: Efficient Pruning for Unlabeled Data", in a form of our own: the rows are projected
    on two random directions, and points drawn evenly from the range they then have. At each point
    the nearest example gains 1, and the examples nearer to it than its (neighbours + 1)-th lose
    (1 - distance / that distance) / neighbours.

    Args:
        embedding: (n, d), no row NaN or infinite.
        projections: how many planes.
        points: how many points on each.
        neighbours: how many may lose beside the one that gains.
        seed: of the planes and the points.

    Returns:
        (n,) float32. Zero where no point came near: draw more points where most are. Memory: a
        copy of the rows, and a tree over them.

    Raises:
        ValueError: a row that is not finite, or an option below 1.

    Example:
        >>> rows = torch.tensor([[0.0, 0.0], [0.1, 0.0], [9.0, 9.0]])
        >>> int(zcore_style(rows, neighbours=1).argmax())
        2
    """
    if min(projections, points, neighbours) < 1:
        raise ValueError(f"{projections=}, {points=} and {neighbours=} must be at least 1")
    rows = sorted_rows(embedding)
    n, d = rows.x.shape
    rng = np.random.Generator(np.random.Philox(seed))
    total = np.zeros(n)
    for _ in range(projections):
        plane = torch.from_numpy(rng.standard_normal((d, 2)).astype(np.float32))
        flat = (rows.x @ plane).numpy().astype(np.float64)
        tree = cKDTree(flat)
        low, high = flat.min(0), flat.max(0)
        _, winner = tree.query(low + (high - low) * rng.random((points, 2)))
        np.add.at(total, winner, 1.0)
        k = min(neighbours + 2, n)  # itself, those that may lose, and the one that sets the scale
        gap, who = (found.reshape(points, k) for found in tree.query(flat[winner], k))
        scale = gap[:, -1:]
        close = np.where(scale > 0, 1 - gap / np.where(scale > 0, scale, 1), 1.0)
        np.add.at(total, who, np.where(who == winner[:, None], 0, -close / neighbours))
    score = torch.empty(n)
    score[rows.order] = torch.from_numpy(total).to(torch.float32)
    return finished(score)
