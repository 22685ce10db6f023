"""How alike two scores rank: rank correlation, and the overlap of what they keep."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .errors import Refused
from .seeds import hash_rows

FRACTIONS = tuple(tenth / 10 for tenth in range(1, 10))


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


def places(scores: ArrayLike, seed: int = 0) -> NDArray[np.int64]:
    """Return the place of each example in the ranking, 0 for the highest; ties by a seeded hash.

    Example:
        >>> places([0.1, 0.9, 0.5]).tolist()
        [2, 0, 1]
    """
    values = np.asarray(scores, np.float64)
    order = np.lexsort((hash_rows(np.arange(len(values)), seed, "ties"), -values))
    ranks = np.empty(len(values), np.int64)
    ranks[order] = np.arange(len(values))
    return ranks


def kept_by(scores: ArrayLike, fraction: float, seed: int = 0) -> NDArray[np.bool_]:
    """Return (n,) bool: the highest share of the examples that have a score.

    Example:
        >>> kept_by([0.1, 0.9, 0.5, np.nan], 2 / 3).tolist()
        [False, True, True, False]
    """
    values = np.asarray(scores, np.float64)
    scored = np.isfinite(values)
    kept = np.zeros(len(values), bool)
    kept[scored] = places(values[scored], seed) < max(round(fraction * int(scored.sum())), 1)
    return kept


def overlap(a: ArrayLike, b: ArrayLike, fraction: float) -> float:
    """Return the share of what one score keeps that the other keeps too; chance is `fraction`.

    Both keep their highest, of the examples that both score. Equal scores of one are ordered by
    another seed than equal scores of the other, so that ties overlap by chance and no more.

    Example:
        >>> overlap([1.0, 2.0, 3.0, 4.0], [1.0, 4.0, 2.0, 3.0], 0.5)
        0.5
    """
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    both = np.isfinite(a) & np.isfinite(b)
    first, second = kept_by(a[both], fraction, 0), kept_by(b[both], fraction, 1)
    return float((first & second).sum() / max(first.sum(), 1))


@dataclass(frozen=True)
class OfClass:
    """One class under two scores: its mean rank in [0, 1], and the share of it that is kept.

    Example:
        >>> OfClass("cat", 2, (0.25, 0.5), (0.0, 1.0)).rank_difference
        0.25
    """

    name: str
    examples: int
    rank: tuple[float, float]
    kept: tuple[float, float]

    @property
    def rank_difference(self) -> float:
        """How much higher the class ranks by the second score."""
        return self.rank[1] - self.rank[0]


@dataclass(frozen=True)
class Comparison:
    """Two scores of the same examples.

    Attributes:
        examples: how many both score.
        spearman: their rank correlation.
        overlaps: (fraction, overlap of what is kept), a pair a budget.
        fraction: the budget of `classes`.
        classes: class by class, the greatest difference in mean rank first.

    Example:
        >>> Comparison(2, 1.0, [(0.5, 1.0)], 0.5, []).spearman
        1.0
    """

    examples: int
    spearman: float
    overlaps: Sequence[tuple[float, float]]
    fraction: float
    classes: Sequence[OfClass]


def compare_scores(
    a: ArrayLike,
    b: ArrayLike,
    *,
    labels: ArrayLike | None = None,
    classes: Sequence[str] | None = None,
    fractions: Sequence[float] = FRACTIONS,
    fraction: float = 0.3,
) -> Comparison:
    """Compare two scores of the same examples; only those that both score count.

    Args:
        a: (n,), NaN where there is no score; high is kept first.
        b: the other.
        labels: (n,) for the differences between classes; None leaves them out.
        classes: their names.
        fractions: budgets at which what is kept is compared.
        fraction: budget at which the kept share of each class is compared.

    Raises:
        Refused: they are of different length.

    Example:
        >>> found = compare_scores([1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 4.0, 3.0], labels=[0, 0, 1, 1])
        >>> found.spearman, [c.name for c in found.classes]
        (0.8, ['0', '1'])
    """
    from scipy.stats import rankdata

    one, two = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if one.shape != two.shape:
        raise Refused(f"{len(one):,} scores and {len(two):,}: these are not of the same examples")
    both = np.isfinite(one) & np.isfinite(two)
    one, two = one[both], two[both]
    rows: list[OfClass] = []
    if labels is not None and len(one):
        of = np.asarray(labels)[both]
        ranks = [(rankdata(v) - 0.5) / len(v) for v in (one, two)]
        kept = [kept_by(v, fraction, seed) for seed, v in enumerate((one, two))]
        for c in np.unique(of):
            mine = of == c
            rank, share = ([float(v[mine].mean()) for v in pair] for pair in (ranks, kept))
            name = str(c) if classes is None else classes[int(c)]
            size = int(mine.sum())
            rows.append(OfClass(name, size, (rank[0], rank[1]), (share[0], share[1])))
        rows.sort(key=lambda row: -abs(row.rank_difference))
    overlaps = [(f, overlap(one, two, f)) for f in fractions]
    return Comparison(len(one), spearman(one, two), overlaps, fraction, rows)
