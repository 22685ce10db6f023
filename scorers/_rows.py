"""Rows in an order of their own, so that a greedy choice does not depend on how they stood."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ._clusters import row_hashes
from ._memory import refuse_beyond_memory
from ._visits import finished

MOST = 2**24  # float32 tells every whole number up to here from the next


class Rows(NamedTuple):
    """The examples sorted by a hash of their content, which breaks ties among equal gains.

    Attributes:
        x: (n, d) float32, a copy.
        order: (n,) int64, the example that stands at each place.
    """

    x: Tensor
    order: Tensor


def sorted_rows(embedding: Tensor, *, unit: bool = False) -> Rows:
    """Copy the rows into the order of their content's hash, to length 1 when `unit`.

    The same set of rows then gives the same bits to work on, however it was ordered. A row of
    zeros stays one. Memory: one copy.

    Raises:
        ValueError: not (n, d), more than 2**24 rows, more than memory holds, or a row that is not
            finite.

    Example:
        >>> a = sorted_rows(torch.tensor([[3.0, 4.0], [0.0, 2.0]]), unit=True).x
        >>> b = sorted_rows(torch.tensor([[0.0, 2.0], [3.0, 4.0]]), unit=True).x
        >>> torch.equal(a, b), sorted(a[:, 0].tolist())
        (True, [0.0, 0.6000000238418579])
    """
    if embedding.ndim != 2 or 0 in embedding.shape:
        raise ValueError(f"the source must be (n, d), not {tuple(embedding.shape)}")
    if len(embedding) > MOST:
        raise ValueError(
            f"{len(embedding):,} examples are more than the {MOST:,} that a float32 score can "
            "rank: rank each part of them, or each class, by itself"
        )
    refuse_beyond_memory(
        4 * embedding.numel() + 16 * len(embedding),
        f"a copy of {len(embedding):,} rows of {embedding.shape[1]:,} float32",
        "use an embedding of fewer dimensions, or take each class by itself",
    )
    refuse_not_finite(embedding)
    order = torch.from_numpy(np.argsort(row_hashes(embedding, seed=0), kind="stable"))
    x = torch.empty(embedding.shape, dtype=torch.float32)
    for start in range(0, len(order), 65536):
        rows = embedding[order[start : start + 65536]].to(torch.float32)
        x[start : start + 65536] = torch.nn.functional.normalize(rows) if unit else rows
    return Rows(x, order)


def refuse_not_finite(rows: Tensor) -> None:
    """Refuse, by name, rows that hold NaN or infinite values.

    Example:
        >>> refuse_not_finite(torch.zeros(2, 3))
    """
    if not all(bool(part.sum(dtype=torch.float64).isfinite()) for part in blocks(rows)):
        whole = torch.cat([part.isfinite().all(1) for part in rows.split(65536)])
        finished(torch.zeros(len(whole)).masked_fill(~whole, torch.nan))


def blocks(x: Tensor) -> tuple[Tensor, ...]:
    """Split the rows into views of about a million numbers.

    Example:
        >>> [len(part) for part in blocks(torch.zeros(100, 2**15))]
        [64, 36]
    """
    parts: tuple[Tensor, ...] = x.split(max(64, 2**20 // x.shape[1]))
    return parts


def column_means(x: Tensor) -> Tensor:
    """Return the mean of each column (d,) in float64; torch's own makes a copy of all rows for it.

    Example:
        >>> column_means(torch.tensor([[1.0, 0.0], [2.0, 1.0]])).tolist()
        [1.5, 0.5]
    """
    total = torch.zeros(x.shape[1], dtype=torch.float64)
    for part in blocks(x):
        total += part.sum(0, dtype=torch.float64)
    return total / len(x)


def squared_lengths(x: Tensor) -> Tensor:
    """Return the squared length of each row (n,), without a copy of squares of all rows.

    Example:
        >>> squared_lengths(torch.tensor([[3.0, 4.0], [0.0, 1.0]])).tolist()
        [25.0, 1.0]
    """
    return torch.cat([part.square().sum(1) for part in blocks(x)])


def picks_wanted(limit: int | None, n: int) -> int:
    """Return how many examples are to be ranked: `limit`, or all n.

    Raises:
        ValueError: a limit below 1.

    Example:
        >>> picks_wanted(None, 5), picks_wanted(3, 5), picks_wanted(9, 5)
        (5, 3, 5)
    """
    if limit is not None and limit < 1:
        raise ValueError(f"limit={limit} must be at least 1, or None to rank all {n:,} examples")
    return n if limit is None else min(limit, n)


def ranks(places: Tensor, order: Tensor) -> Tensor:
    """Return n, n - 1, ... to the examples at these places, in turn, and -1 to all others.

    Example:
        >>> ranks(torch.tensor([2, 0]), torch.tensor([1, 2, 0])).tolist()
        [3.0, 2.0, -1.0]
    """
    n = len(order)
    score = torch.full((n,), -1.0)
    score[order[places]] = torch.arange(n, n - len(places), -1, dtype=torch.float32)
    return score


def nearest_to_mean(x: Tensor) -> int:
    """Return the place of the row nearest to the mean of all, the first of those equally near.

    Example:
        >>> nearest_to_mean(torch.tensor([[0.0], [9.0], [5.0]]))
        2
    """
    mean = column_means(x).to(torch.float32)
    gaps = [(part - mean).square().sum(1) for part in blocks(x)]
    return int(torch.cat(gaps).argmin())
