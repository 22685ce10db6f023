"""Distance to the mean of its class: how unlike the others of its label an example is."""

import torch
from torch import Tensor
from torch.nn.functional import normalize

from ._rows import refuse_not_finite
from ._visits import finished


def class_prototypes(embedding: Tensor, labels: Tensor, *, spherical: bool = True) -> Tensor:
    """Return each example's distance to the mean of its class.

    High means far: unusual for its label, or wrongly labelled. The supervised counterpart of
    `prototypes` in Sorscher et al. 2022, "Beyond Neural Scaling Laws". Keep the far ones when data
    is plenty, the near ones (rule `bottom`) when little is kept.

    Args:
        embedding: (n, d), no row NaN or infinite.
        labels: (n,) integers.
        spherical: rows and means to length 1, distance = 1 - cosine; else L2 on the rows as is.

    Returns:
        (n,) float32, in [0, 2] when spherical; 1 where a row or its class mean has no direction.

    Raises:
        ValueError: a row that is not finite, or as many labels as rows are not there.

    Example:
        >>> rows = torch.tensor([[1.0, 0.0], [0.0, 2.0], [3.0, 0.0]])
        >>> [round(s, 3) for s in class_prototypes(rows, torch.tensor([0, 0, 1])).tolist()]
        [0.293, 0.293, 0.0]
    """
    classes, place = classes_of(labels, embedding)
    refuse_not_finite(embedding)
    means = torch.zeros(len(classes), embedding.shape[1], dtype=torch.float64)
    parts = list(zip(embedding.split(65536), place.split(65536), strict=True))
    for rows, own in parts:
        means.index_add_(0, own, _scaled(rows, spherical).to(torch.float64))
    means /= place.bincount()[:, None]
    centres = _scaled(means, spherical).to(torch.float32)
    distance = torch.cat([_distance(r, centres[own], spherical) for r, own in parts])
    return finished(distance)


def classes_of(labels: Tensor, embedding: Tensor) -> tuple[Tensor, Tensor]:
    """Return the labels that occur, ascending, and for each example the place of its own.

    Example:
        >>> classes_of(torch.tensor([7, 3, 7]), torch.zeros(3, 2))
        (tensor([3, 7]), tensor([1, 0, 1]))
    """
    if labels.shape != embedding.shape[:1] or embedding.ndim != 2:
        raise ValueError(
            f"embedding must be (n, d) and labels (n,), not {tuple(embedding.shape)} and "
            f"{tuple(labels.shape)}"
        )
    classes, place = labels.unique(return_inverse=True)
    return classes, place


def _scaled(rows: Tensor, spherical: bool) -> Tensor:
    rows = rows if rows.dtype == torch.float64 else rows.to(torch.float32)
    return normalize(rows) if spherical else rows


def _distance(rows: Tensor, centres: Tensor, spherical: bool) -> Tensor:
    """Return (b,) distances, from differences, which lose no digits."""
    rows = _scaled(rows, spherical)
    squared = (rows - centres).square().sum(1)
    if not spherical:
        return squared.sqrt()
    short = 2 - rows.square().sum(1).round() - centres.square().sum(1).round()
    return squared / 2 + short / 2
