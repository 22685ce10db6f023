"""Contact sheets: the hardest and easiest pictures of each class, and those of other scorers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .formats import decimals
from .pictures import Picture, ends, picture
from .tables import Table

if TYPE_CHECKING:
    from ..data import Data
    from ..scores import Scores

_MOST_CLASSES = 20
_PER_END = 10


@dataclass(frozen=True)
class Strip:
    """A name with its highest and lowest scored pictures."""

    name: str
    about: str
    decimals: int
    high: Sequence[Picture]
    low: Sequence[Picture]


@dataclass(frozen=True)
class Sheets:
    """The picture section: a strip a class by one scorer, and a strip a further scorer."""

    scorer: str
    classes: Sequence[Strip]
    left_out: int
    others: Sequence[Strip]
    table: Table


def sheets(data: "Data", scores: "Scores", by: str) -> Sheets:
    """Build the contact sheets by the scores named `by`; each end holds up to ten pictures.

    With more than twenty classes, those with the highest and the lowest median are shown.
    """
    labels = np.asarray(data.labels)
    values = np.asarray(scores[by], dtype=np.float64)
    strips = [
        _strip(data, values, labels == c, data.classes[c], f"{np.sum(labels == c):,} examples")
        for c in _classes(values, labels, data.num_classes)
    ]
    others = [
        _strip(data, np.asarray(scores[name], dtype=np.float64), labels >= 0, name, "all classes")
        for name in scores
        if name not in (by, "random")
    ]
    rows = [
        (by, strip.name, end, place + 1, shown.index, shown.score)
        for strip in strips
        for end, row in (("highest", strip.high), ("lowest", strip.low))
        for place, shown in enumerate(row)
    ]
    columns = [
        ("scorer", "text"),
        ("label", "text"),
        ("end", "text"),
        ("place", "count"),
        ("index", "text"),
        ("score", "number"),
    ]
    return Sheets(
        by,
        strips,
        data.num_classes - len(strips),
        others,
        Table(f"pictures by {by}", columns, rows),
    )


def _strip(
    data: "Data", values: NDArray[np.float64], among: NDArray[np.bool_], name: str, about: str
) -> Strip:
    high, low = (
        [picture(data, int(i), float(values[i])) for i in part]
        for part in ends(values, among, _PER_END)
    )
    return Strip(name, about, decimals(values[np.isfinite(values)]), high, low)


def _classes(values: NDArray[np.float64], labels: NDArray[np.int64], classes: int) -> list[int]:
    """Choose the classes to show, in their own order; those without a score are left out."""
    medians = {}
    for c in range(classes):
        mine = values[(labels == c) & np.isfinite(values)]
        if len(mine):
            medians[c] = float(np.median(mine))
    if len(medians) <= _MOST_CLASSES:
        return list(medians)
    order = sorted(medians, key=lambda c: medians[c])
    return sorted(order[: _MOST_CLASSES // 2] + order[-_MOST_CLASSES // 2 :])
