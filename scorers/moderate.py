"""Moderate coreset: neither near the centre of its class nor far from it."""

from typing import Literal

import numpy as np
import torch
from torch import Tensor

from ._rows import refuse_not_finite
from ._visits import finished
from .class_prototypes import classes_of


def moderate(
    embedding: Tensor, labels: Tensor, *, band: Literal["distance", "mass"] = "distance"
) -> Tensor:
    """Return how near an example's distance to its class centre is to the median distance.

    High means middling: neither typical nor unusual. Xia et al. 2023, "Moderate Coreset: A
    Universal Method of Data Selection for Real-world Deep Learning": the centre of a class is its
    coordinate-wise median, the distance is L2, and the median is that of all examples' distances.
    Holds up under noise, which lies far out.

    Args:
        embedding: (n, d) of a network trained on these data, no row NaN or infinite.
        labels: (n,) integers.
        band: what a kept share is a band of: "distance", the nearest to the median on either side;
            "mass", as many from below it as from above, as the authors' release cuts it.

    Returns:
        (n,) float32, at most 0: less the gap to the median, in distance or in ranks.

    Raises:
        ValueError: a row that is not finite, labels that do not fit, or an unknown band.

    Example:
        >>> rows = torch.tensor([[0.0], [1.0], [2.0], [9.0], [3.0]])
        >>> moderate(rows, torch.zeros(5)).tolist()  # distances 2, 1, 0, 7, 1; their median 1
        [-1.0, 0.0, -1.0, -6.0, 0.0]
    """
    if band not in ("distance", "mass"):
        raise ValueError(f"band={band!r}: use 'distance' or 'mass'")
    classes, place = classes_of(labels, embedding)
    refuse_not_finite(embedding)
    distance = torch.empty(len(embedding), dtype=torch.float64)
    for own in range(len(classes)):
        members = (place == own).nonzero()[:, 0]
        rows = embedding[members].to(torch.float32)
        distance[members] = (rows - _median(rows)).norm(dim=1).to(torch.float64)
    if band == "mass":
        distance = _mean_rank(distance)
    return finished(0.0 - (distance - _median(distance)).abs())


def _median(values: Tensor) -> Tensor:
    """Return the median over the examples; of an even number, the mean of the middle two."""
    middle = ((len(values) - 1) // 2, len(values) // 2)
    columns = np.partition(np.ascontiguousarray(values.numpy().T), middle, axis=-1)
    return torch.from_numpy(np.asarray(columns[..., middle].mean(-1)))


def _mean_rank(values: Tensor) -> Tensor:
    """Return each value's place in ascending order; equal values share the mean of theirs."""
    _, place, count = values.unique(return_inverse=True, return_counts=True)
    rank: Tensor = (count.cumsum(0) - (count + 1) / 2)[place]
    return rank.to(torch.float64)
