"""Contrastive active learning: predicted unlike its neighbours."""

import torch
from torch import Tensor

from ._neighbours import nearest_neighbours
from ._rows import refuse_not_finite, sorted_rows
from ._visits import finished

# Below this a probability counts as this, so that its logarithm is finite.
_LEAST = 1e-12


def cal(probs: Tensor, embedding: Tensor, *, neighbours: int = 10, unit: bool = False) -> Tensor:
    """Return how far what is predicted for an example diverges from what its neighbours get.

    High means near a decision boundary: the mean over the nearest in the embedding of
    KL(neighbour || example). Margatina et al. 2021, "Active Learning by Acquiring Contrastive
    Examples", whose neighbours are labelled examples; here they are all the others.

    Args:
        probs: (n, classes), each row a distribution.
        embedding: (n, d), no row NaN or infinite.
        neighbours: how many; n - 1 where there are fewer.
        unit: nearest by direction, not by L2 between the rows as they are.

    Returns:
        (n,) float32, 0 or more. Memory: a copy of both sources, and blocks of 8 MiB.

    Raises:
        ValueError: sources of different lengths, fewer than two rows, or a row that is not finite.

    Example:
        >>> probs = torch.tensor([[0.9, 0.1], [0.9, 0.1], [0.2, 0.8]])
        >>> rows = torch.tensor([[0.0], [1.0], [3.0]])
        >>> [round(s, 2) for s in cal(probs, rows, neighbours=1).tolist()]
        [0.0, 0.0, 1.15]
    """
    if len(probs) != len(embedding) or len(probs) < 2:
        raise ValueError(
            f"probs has {len(probs)} rows and embedding {len(embedding)}: two or more of each"
        )
    if neighbours < 1:
        raise ValueError(f"neighbours={neighbours} must be at least 1")
    refuse_not_finite(probs)
    rows = sorted_rows(embedding, unit=unit)
    k = min(neighbours, len(probs) - 1)
    near = torch.from_numpy(nearest_neighbours(rows.x, k, cosine=False)[1])
    p = probs[rows.order]
    score = torch.empty(len(p), dtype=torch.float64)
    size = max(64, 2**20 // p.shape[1])
    own = torch.cat([(part * part.log()).sum(1) for part in map(_plain, p.split(size))])
    for start in range(0, len(p), size):
        part = slice(start, start + size)
        there = (near[part] >= 0).to(torch.float64)
        which = near[part].clamp(min=0)
        among = there.sum(1).clamp(min=1)
        mean = torch.zeros(len(which), p.shape[1], dtype=torch.float64)
        for one, counts in zip(which.T, there.T, strict=True):
            mean += _plain(p[one]) * (counts / among)[:, None]
        score[rows.order[part]] = (own[which] * there).sum(1) / among - (
            mean * _plain(p[part]).log()
        ).sum(1)
    return finished(score.clamp(min=0))


def _plain(probs: Tensor) -> Tensor:
    return probs.to(torch.float64).clamp(min=_LEAST)
