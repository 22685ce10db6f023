"""D2 pruning: important examples that speak for their neighbours, which then count for less."""

import heapq

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ._gradients import mean_one, refuse_size
from ._neighbours import nearest_neighbours
from ._rows import sorted_rows


def d2(
    embedding: Tensor,
    difficulty: Tensor,
    k: int,
    *,
    neighbours: int = 5,
    gamma: float = 0.1,
    forward: float = 1.0,
) -> tuple[Tensor, Tensor]:
    """Choose k examples by difficulty, that of their neighbours added, that of the chosen removed.

    Maharana, Yadav and Bansal 2023, "D2 Pruning: Message Passing for Balancing Diversity and
    Difficulty in Data Pruning": each score s grows by the sum over the neighbours j of
    exp(-forward d_j) s_j; then, k times, the highest is chosen and its neighbours lose
    exp(-gamma d) times its score. d is L2 between rows of length 1, and the graph is directed: an
    example hears, and when chosen speaks to, its own nearest. The authors first cut the hardest
    tenths, which are often wrong labels, and choose in each class by itself.

    Args:
        embedding: (n, d), no row NaN or infinite.
        difficulty: (n,), high is important; where some are negative all are raised to 0 or more.
        k: how many.
        neighbours: of each example; n - 1 where there are fewer.
        gamma: how fast the loss fades with distance; high keeps neighbours together.
        forward: how fast the gain does.

    Returns:
        indices (k,) int64 in the order of the picks, weights (k,) float32, all 1.

    Raises:
        ValueError: sources that do not fit each other or are not finite, or k outside 1 to n.

    Example:
        >>> rows = torch.tensor([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0], [-1.0, 0.0]])
        >>> d2(rows, torch.tensor([0.9, 0.8, 0.7, 0.1]), 2, neighbours=1)[0].tolist()
        [0, 2]
    """
    if difficulty.shape != embedding.shape[:1] or not bool(difficulty.isfinite().all()):
        raise ValueError(
            f"difficulty must be one finite number for each of the {len(embedding):,} rows"
        )
    if neighbours < 1:
        raise ValueError(f"neighbours={neighbours} must be at least 1")
    refuse_size(k, len(embedding))
    rows = sorted_rows(embedding, unit=True)
    score = difficulty[rows.order].to(torch.float64).numpy()
    score = score - min(0.0, score.min())
    if len(score) > 1:
        near, place = nearest_neighbours(rows.x, min(neighbours, len(score) - 1))
        apart = np.sqrt(np.clip(2 - 2 * near.astype(np.float64), 0, None))
        there = place >= 0
        score = score + (np.exp(-forward * apart) * score[place] * there).sum(1)
        loss = np.exp(-gamma * apart) * there
    else:
        place, loss = np.zeros((1, 0), np.int64), np.zeros((1, 0))

    picks = _picks(score, place, loss, k)
    return rows.order[torch.from_numpy(picks)], mean_one(torch.ones(k))


def _picks(
    score: NDArray[np.float64], place: NDArray[np.int64], loss: NDArray[np.float64], k: int
) -> NDArray[np.int64]:
    """Return k places: each has the highest score left, and its neighbours lose their share of it.

    A fall is noticed when its example stands on top. Where more is kept than the scores last for,
    those left are below 0, and a pick below 0 raises its neighbours: they enter the heap anew.
    """
    heap = list(zip((-score).tolist(), range(len(score)), strict=True))
    heapq.heapify(heap)
    left = np.ones(len(score), np.bool_)
    picks: list[int] = []
    while len(picks) < k:
        cost, pick = heapq.heappop(heap)
        if not left[pick]:
            continue
        if -cost > score[pick]:
            heapq.heappush(heap, (-float(score[pick]), pick))
            continue
        picks.append(pick)
        left[pick] = False
        np.subtract.at(score, place[pick], loss[pick] * score[pick])
        if score[pick] < 0:
            for one in place[pick][left[place[pick]]].tolist():
                heapq.heappush(heap, (-float(score[one]), one))
    return np.array(picks, np.int64)
