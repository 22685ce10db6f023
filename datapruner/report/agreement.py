"""How far scorers rank the examples alike, and how far the seeds of one scorer do."""

from typing import TYPE_CHECKING, Any

import numpy as np

from . import formats
from .grids import heat_map
from .tables import Figure, Table

if TYPE_CHECKING:
    from ..scores import Scores


def agreement(scores: "Scores") -> Figure | None:
    """Build the rank correlation between scorers; None for a single one."""
    names = list(scores)
    if len(names) < 2:
        return None
    matrix = np.array([[spearman(scores[a], scores[b]) for b in names] for a in names])
    rows = [(a, b, matrix[i, j]) for i, a in enumerate(names) for j, b in enumerate(names) if i < j]
    words = [[f"{value:.2f}".replace("-", "−") for value in row] for row in matrix]
    words = [[formats.NONE if word == "nan" else word for word in row] for row in words]
    return Figure(
        "Do the scorers agree?",
        "Spearman's rank correlation: 1 is the same order, 0 is unrelated, −1 is the reverse.",
        heat_map(names, names, matrix, words, "Rank correlation between scorers"),
        Table(
            "rank correlation",
            [("scorer", "text"), ("other scorer", "text"), ("spearman", "number")],
            rows,
        ),
    )


def spearman(a: Any, b: Any) -> float:
    """Return the rank correlation over examples that both score; NaN where either is constant.

    Example:
        >>> spearman([1.0, 2.0, 3.0], [1.0, 4.0, 9.0])
        1.0
    """
    from scipy.stats import rankdata

    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    both = np.isfinite(a) & np.isfinite(b)
    a, b = a[both], b[both]
    if len(a) < 2 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return float("nan")
    return round(float(np.corrcoef(rankdata(a), rankdata(b))[0, 1]), 12)


def seed_spread(scores: "Scores") -> Table | None:
    """Build a table of how far seeds agree, for scores that were made with several.

    The last column is the mean rank correlation between the runs of two seeds.
    """
    rows = []
    for name in scores:
        error = scores.spread(name)
        if error is None:
            continue
        runs = np.asarray(scores.runs[name], dtype=np.float64)
        pairs = [(i, j) for i in range(len(runs)) for j in range(i)]
        agree = float(np.mean([spearman(runs[i], runs[j]) for i, j in pairs])) if pairs else None
        spread = float(np.nanstd(np.asarray(scores[name], dtype=np.float64)))
        rows.append((name, len(runs), float(np.nanmean(error)), spread, agree))
    columns = [
        ("scorer", "text"),
        ("seeds", "count"),
        ("mean standard error", "number"),
        ("deviation between examples", "number"),
        ("rank correlation between seeds", "number"),
    ]
    return Table("spread over seeds", columns, rows) if rows else None
