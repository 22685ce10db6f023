"""Influence: what training on an example does to the test set."""

from typing import Literal

import torch
from torch import Tensor

from ._ensembles import contrast
from ._visits import finished, named


def influence(
    member: Tensor, test_correct: Tensor, *, over: Literal["mean", "largest"] = "mean"
) -> Tensor:
    """Return the test accuracy of the runs with the example minus that of the runs without it.

    High means influential: test examples are right more often when it was trained on. Feldman and
    Zhang 2020, "What Neural Networks Memorize and Why", define it for pairs of a training and a
    test example; this is the mean of a row of pairs, or its largest pair, which is noisier.

    Args:
        member: (runs, n) bool, whether the run trained on the example.
        test_correct: (runs, m) bool, whether the trained network was right on the test example.
        over: the mean over test examples, or the largest.

    Returns:
        (n,) float32 in [-1, 1]. Memory: six (n,) vectors; with "largest" a block of 1024 x m pairs.

    Raises:
        ValueError: an example in all runs or in none, or an unknown `over`.

    Example:
        >>> member = torch.tensor([[True, True], [True, False], [False, True], [False, False]])
        >>> test_correct = torch.tensor([[True, False], [True, False], [False] * 2, [False] * 2])
        >>> influence(member, test_correct).tolist()
        [0.5, 0.0]
        >>> influence(member, test_correct, over="largest").tolist()
        [1.0, 0.0]
    """
    if over not in ("mean", "largest"):
        raise ValueError(f"over={over!r}: use 'mean' or 'largest'")
    accuracy = test_correct.double().mean(1, keepdim=True).expand(-1, member.shape[1])
    inside, outside, *counts = contrast(member, accuracy)
    if over == "mean":
        return finished(inside - outside)
    right = test_correct.float()
    blocks = zip(member.split(1024, dim=1), *(c[:, None].split(1024) for c in counts), strict=True)
    largest = [
        (there.float().T @ right / with_it - (~there.bool()).float().T @ right / without).amax(1)
        for there, with_it, without in blocks
    ]
    return finished(torch.cat(largest))


def influence_error(member: Tensor, test_correct: Tensor) -> Tensor:
    """Return the standard error (n,) of the mean influence, from the spread between runs.

    Raises:
        ValueError: an example with fewer than two runs on one side, which has no spread.

    Example:
        >>> member = torch.tensor([[True], [True], [False], [False]])
        >>> influence_error(member, torch.tensor([[True], [False], [True], [True]])).item()
        0.5
    """
    accuracy = test_correct.double().mean(1, keepdim=True).expand(-1, member.shape[1])
    inside, outside, *counts = contrast(member, accuracy)
    if (few := torch.stack(counts).amin(0) < 2).any():
        raise ValueError(
            f"{named(few)} in one run only, or left out of one only, which has no standard error: "
            "add runs on other random subsets"
        )
    means, squares = (inside, outside), contrast(member, accuracy.square())[:2]
    parts = [(s - m.square()) / (c - 1) for s, m, c in zip(squares, means, counts, strict=True)]
    return finished(torch.stack(parts).sum(0).clamp(min=0).sqrt())
