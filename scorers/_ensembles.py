"""Comparing the runs of an ensemble that trained on an example with those that did not."""

from typing import NamedTuple

import torch
from torch import Tensor

from ._visits import finished, named


class Contrast(NamedTuple):
    """Mean outcome of the runs with and without each example, and how many they are; all (n,)."""

    inside: Tensor
    outside: Tensor
    runs_inside: Tensor
    runs_outside: Tensor


def contrast(member: Tensor, outcome: Tensor) -> Contrast:
    """Average outcomes (runs, n) over the runs with and without each example.

    Memory: four (n,) vectors and a row; `outcome` may be an expanded view.

    Raises:
        ValueError: shapes that differ, or an example that is in all runs or in none.

    Example:
        >>> member = torch.tensor([[True], [True], [False]])
        >>> contrast(member, torch.tensor([[1.0], [0.0], [0.0]])).inside.item()
        0.5
    """
    if member.dim() != 2 or member.shape != outcome.shape:
        raise ValueError(
            f"member and outcome must share one shape (runs, n), "
            f"not {tuple(member.shape)} and {tuple(outcome.shape)}"
        )
    n = member.shape[1]
    inside, outside = (torch.zeros(n, dtype=torch.float64) for _ in range(2))
    count = torch.zeros(n, dtype=torch.int32)
    for row, value in zip(member, outcome, strict=True):
        there = row.bool()
        inside += value.double().where(there, 0.0)
        outside += value.double().where(~there, 0.0)
        count += there
    absent = len(member) - count
    if (bad := (count == 0) | (absent == 0)).any():
        raise ValueError(
            f"{named(bad)} in all of the {len(member)} runs or in none: "
            "add runs on other random subsets"
        )
    return Contrast(inside / count, outside / absent, count, absent)


def each_run(scores: Tensor) -> Tensor:
    """Average (runs, n) over runs; pass (n,) through, checked.

    Example:
        >>> each_run(torch.tensor([[1.0, 2.0], [3.0, 2.0]])).tolist()
        [2.0, 2.0]
    """
    if scores.dim() not in (1, 2):
        raise ValueError(f"expected (n,) or (runs, n), not {tuple(scores.shape)}")
    rows = scores[None] if scores.dim() == 1 else scores
    total = torch.zeros(rows.shape[1], dtype=torch.float64)
    for row in rows:
        total += row.double()
    return finished(total / len(rows))
