"""How far the seeds of one score agree: its two halves, and what each seed alone would keep."""

from itertools import combinations, islice
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..ranking import FRACTIONS, places, spearman
from . import formats
from .grids import heat_map
from .tables import Figure, Table

if TYPE_CHECKING:
    from ..scores import Scores

_MOST_SPLITS = 10
_MOST_PAIRS = 10


def stability(scores: "Scores") -> Figure | None:
    """Build the agreement between the seeds of each score; None where none has two seeds.

    Cells of a budget show the overlap of what two seeds keep, shaded by how much of it is beyond
    chance: 0 is two random draws, 1 the same examples.
    """
    shown = {name: runs for name in scores if (runs := _runs(scores, name)) is not None}
    if not shown:
        return None
    halves = np.array([split_half(runs) for runs in shown.values()])
    budgets = np.array([seed_overlap(runs) for runs in shown.values()])
    chance = np.array(FRACTIONS)
    strength = np.concatenate([halves[:, None], (budgets - chance) / (1 - chance)], axis=1)
    words = [
        [formats.fixed(float(half), 2), *(formats.percent(float(v), 0) for v in row)]
        for half, row in zip(halves, budgets, strict=True)
    ]
    heads = [f"{100 * f:.0f} %" for f in FRACTIONS]
    rows = [
        (name, len(shown[name]), float(half), *map(float, row))
        for name, half, row in zip(shown, halves, budgets, strict=True)
    ]
    columns = [("scorer", "text"), ("seeds", "count"), ("split-half rank correlation", "number")]
    columns += [(f"overlap at {head}", "share") for head in heads]
    return Figure(
        "Would another seed keep the same?",
        "First the rank correlation between the mean of one half of the seeds and that of the "
        "other; then, for each share that is kept, how much of it two single seeds have in common. "
        "Two random draws have the share itself in common, which is left pale.",
        heat_map(
            list(shown),
            ["half", *heads],
            strength,
            words,
            "Agreement between seeds",
            column_title="share kept by rule top →",
        ),
        Table("agreement between seeds", columns, rows),
    )


def split_half(runs: NDArray) -> float:
    """Return the mean rank correlation between the means of two halves of the runs (runs, n).

    All ways of halving count, at most ten of them; of an odd number one run is left out each time.

    Example:
        >>> split_half(np.array([[1.0, 2.0, 3.0], [2.0, 4.0, 6.0]]))
        1.0
    """
    size = len(runs) // 2
    values = []
    for first in islice(combinations(range(len(runs)), size), _MOST_SPLITS):
        rest = [i for i in range(len(runs)) if i not in first][-size:]
        values.append(spearman(runs[list(first)].mean(0), runs[rest].mean(0)))
    return float(np.mean(values))


def seed_overlap(runs: NDArray) -> list[float]:
    """Return at each of FRACTIONS the share that two single runs both keep; at most ten pairs.

    Example:
        >>> seed_overlap(np.array([np.arange(10.0), np.arange(10.0)]))[0]
        1.0
    """
    scored = np.isfinite(runs).all(0)
    ranks = [places(run[scored], seed) for seed, run in enumerate(runs)]
    sizes = [max(round(f * int(scored.sum())), 1) for f in FRACTIONS]
    pairs = list(islice(combinations(ranks, 2), _MOST_PAIRS))
    return [
        float(np.mean([((a < size) & (b < size)).sum() / size for a, b in pairs])) for size in sizes
    ]


def _runs(scores: "Scores", name: str) -> NDArray | None:
    runs = scores.runs.get(name)
    return None if runs is None or len(runs) < 2 or name == "random" else runs
