"""How far scorers rank the examples alike, and how far the seeds of one scorer do."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..ranking import spearman
from . import formats
from .grids import heat_map
from .tables import Figure, Table

Values = NDArray[np.float64]

if TYPE_CHECKING:
    from ..scores import Scores


def agreement(scores: "Scores") -> Figure | None:
    """Build the rank correlation between scorers; None for a single one."""
    names = list(scores)
    if len(names) < 2:
        return None
    matrix = _matrix(np.stack([np.asarray(scores[name], dtype=np.float64) for name in names]))
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


def _matrix(values: Values) -> Values:
    """Return all rank correlations over the examples that every scorer scores."""
    from scipy.stats import rankdata

    values = values[:, np.isfinite(values).all(0)]
    flat = (np.ptp(values, axis=1) == 0) if values.shape[1] > 1 else np.ones(len(values), bool)
    ranks = np.stack([rankdata(row) for row in values])
    ranks -= ranks.mean(1, keepdims=True) if values.shape[1] else 0.0
    norms = np.linalg.norm(ranks, axis=1)
    norms[flat] = np.nan
    matrix: Values = np.round(ranks @ ranks.T / np.outer(norms, norms), 12)
    return matrix


def seed_spread(scores: "Scores") -> Table | None:
    """Build a table of how sure the scores are, for those that have a standard error.

    The last column is the mean rank correlation between the runs of two seeds, where runs are kept.
    """
    rows: list[tuple[str, int | None, float, float, float | None]] = []
    for name in scores:
        error, runs = scores.spread(name), scores.runs.get(name)
        if error is None or not np.isfinite(error).any():
            continue
        pairs = [(i, j) for i in range(len(runs)) for j in range(i)] if runs is not None else []
        agree = [spearman(runs[i], runs[j]) for i, j in pairs] if runs is not None else []
        rows.append(
            (
                name,
                None if runs is None else len(runs),
                float(np.nanmean(error)),
                float(np.nanstd(scores[name].astype(np.float64))),
                float(np.mean(agree)) if agree else None,
            )
        )
    columns = [
        ("scorer", "text"),
        ("seeds", "count"),
        ("mean standard error", "number"),
        ("deviation between examples", "number"),
        ("rank correlation between seeds", "number"),
    ]
    return Table("spread over seeds", columns, rows) if rows else None
