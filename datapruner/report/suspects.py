"""The labels that are probably wrong: how many of each class, and pictures of the surest."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from . import formats
from .pictures import Picture, picture
from .tables import Table

if TYPE_CHECKING:
    from ..data import Data
    from ..scores import Scores

_MOST_PICTURES = 60
_MOST_ROWS = 5000


@dataclass(frozen=True)
class Suspect:
    """One picture, with the class that the network would put it in."""

    picture: Picture
    suggested: str


@dataclass(frozen=True)
class SuspectLabels:
    """The section: a sentence, pictures, the suspects by class, and all of them as rows."""

    sentence: str
    by: str
    decimals: int
    shown: Sequence[Suspect]
    classes: Table
    rows: Table


def suspect_labels(data: "Data", scores: "Scores") -> SuspectLabels | None:
    """Build the section; None where no label was judged.

    The suspects stand in the order of `aum` where the table has it, else of its first score.
    """
    flag = scores.flags.get("suspect_label")
    if flag is None:
        return None
    by = "aum" if "aum" in scores else next(name for name in scores)
    values = np.asarray(scores[by], np.float64)
    found = np.flatnonzero(flag)
    found = found[np.argsort(-np.nan_to_num(values[found], nan=-np.inf), kind="stable")]
    names = _suggested(data, scores)
    pictures = found[:_MOST_PICTURES] if data.is_image else found[:0]
    rows = [
        (int(i), data.classes[int(data.labels[i])], names[i], float(values[i]))
        for i in found[:_MOST_ROWS]
    ]
    return SuspectLabels(
        _sentence(data, scores, found, names),
        by,
        formats.decimals(values[np.isfinite(values)]),
        [Suspect(picture(data, int(i), float(values[i])), names[i]) for i in pictures],
        _by_class(data, flag),
        Table(
            "suspect labels",
            [("index", "text"), ("label", "text"), ("network says", "text"), (by, "number")],
            rows,
        ),
    )


def _suggested(data: "Data", scores: "Scores") -> list[str]:
    """Name the class that the networks would give, or a dash where they were not asked."""
    if scores.suggested is None:
        return [formats.NONE] * data.n
    return [data.classes[int(c)] if c >= 0 else formats.NONE for c in scores.suggested]


def _sentence(
    data: "Data", scores: "Scores", found: NDArray[np.int64], names: Sequence[str]
) -> str:
    total = int(np.asarray(data.readable).sum())
    said = (
        f"{formats.count(len(found))} labels of {formats.count(total)} "
        f"({formats.percent(len(found) / max(total, 1))}) are suspect"
    )
    if scores.suggested is None or not len(found):
        return f"{said}."
    other = sum(names[i] != data.classes[int(data.labels[i])] for i in found)
    return f"{said}; for {formats.count(other)} of them the networks name another class."


def _by_class(data: "Data", flag: NDArray[np.bool_]) -> Table:
    labels = np.asarray(data.labels)
    total = np.bincount(labels[np.asarray(data.readable)], minlength=data.num_classes)
    mine = np.bincount(labels[flag], minlength=data.num_classes)
    rows = [
        (name, int(mine[c]), float(mine[c] / max(int(total[c]), 1)))
        for c, name in enumerate(data.classes)
    ]
    rows.sort(key=lambda row: -row[2])
    columns = [("class", "text"), ("suspect labels", "count"), ("share of the class", "share")]
    return Table("suspect labels by class", columns, rows)
