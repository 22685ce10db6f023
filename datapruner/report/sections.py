"""What the page shows of scores and selections: their figures, each with its numbers."""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from inspect import getdoc
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from . import formats
from .grids import heat_map, kept_bars
from .histograms import Bins, class_rows, histogram, make_bins
from .tables import Figure, Table

if TYPE_CHECKING:
    from ..data import Data
    from ..scores import Scores
    from ..selection import Selection

Values = NDArray[np.float64]

_FEW_CLASSES = 20
_MOST_ROWS = 40
_MOST_PANELS = 5


@dataclass(frozen=True)
class Scorer:
    """One scorer on the page: what its score is, in words and figures."""

    name: str
    about: str
    facts: Sequence[tuple[str, str]]
    figures: Sequence[Figure]


def scorers_shown(
    data: "Data", scores: "Scores", selections: "Mapping[str, Selection]"
) -> list[Scorer]:
    """Build the figures of every scorer: its histogram, and how it differs between classes.

    A random score says nothing and is left out, unless it stands alone.
    """
    labels = np.asarray(data.labels)
    shown = []
    names = [name for name in scores if name != "random"] or list(scores)
    for name in names:
        values = np.asarray(scores[name], dtype=np.float64)
        finite = np.isfinite(values)
        bins = make_bins(values[finite])
        figures = [_histogram(name, values, finite, bins, selections, names)]
        if data.num_classes > 1 and finite.any():
            draw = _class_rows if data.num_classes <= _FEW_CLASSES else _class_deciles
            figures.append(draw(name, values, labels, data.classes))
        shown.append(Scorer(name, _about(name), _facts(values[finite], len(values)), figures))
    return shown


def kept_shown(data: "Data", selections: "Mapping[str, Selection]") -> list[Figure]:
    """Build for each selection the kept part of every class."""
    labels, readable = np.asarray(data.labels), np.asarray(data.readable)
    total = np.bincount(labels[readable], minlength=data.num_classes)
    figures = []
    for name, selection in selections.items():
        kept = np.bincount(labels[np.asarray(selection.indices)], minlength=data.num_classes)
        share = kept / np.maximum(total, 1)
        overall = float(kept.sum() / max(total.sum(), 1))
        shown = _rows_shown(share)
        rows = [
            (class_name, int(kept[i]), int(total[i] - kept[i]), float(share[i]))
            for i, class_name in enumerate(data.classes)
        ]
        caption = f"Kept {formats.count(kept.sum())} of {formats.count(total.sum())} examples."
        figures.append(
            Figure(
                name,
                caption + _rows_left_out(len(shown), data.num_classes, "share kept"),
                kept_bars(
                    [data.classes[i] for i in shown],
                    [int(kept[i]) for i in shown],
                    [int(total[i]) for i in shown],
                    overall,
                ),
                Table(
                    f"kept by {name}",
                    [
                        ("class", "text"),
                        ("kept", "count"),
                        ("dropped", "count"),
                        ("share kept", "share"),
                    ],
                    rows,
                ),
            )
        )
    return figures


def _about(name: str) -> str:
    """Take from the scorer's own description what it does and what high means."""
    from scorers import SCORERS

    scorer = SCORERS.get(name)
    first, _, rest = (getdoc(scorer) or "").partition("\n") if scorer else ("", "", "")
    high = re.search(r"High means [^.]*\.", rest)
    return " ".join([first, *(high.group().split() if high else ())])


def _facts(values: Values, n: int) -> list[tuple[str, str]]:
    if not len(values):
        return [("scored", f"0 of {formats.count(n)}")]
    low, quarter, median, three, high = np.quantile(values, [0, 0.25, 0.5, 0.75, 1])
    facts = [("lowest", low), ("25 %", quarter), ("median", median), ("75 %", three)]
    facts += [("highest", high), ("mean", values.mean())]
    written = [(key, formats.number(float(value))) for key, value in facts]
    if len(values) < n:
        written.append(("without a score", formats.count(n - len(values))))
    return written


def _histogram(
    name: str,
    values: Values,
    finite: NDArray[np.bool_],
    bins: Bins,
    selections: "Mapping[str, Selection]",
    shown: Collection[str],
) -> Figure:
    """Draw all scores, and the part kept by selections of this scorer or of none that is shown."""
    every = bins.count(values[finite])
    kept = {}
    for title, selection in selections.items():
        by = selection.meta.get("score")
        if by != name and by in shown:
            continue
        chosen = np.zeros(len(values), dtype=bool)
        chosen[np.asarray(selection.indices)] = True
        kept[title] = bins.count(values[chosen & finite])
    drawn = dict(list(kept.items())[:_MOST_PANELS])
    caption = "Kept examples in colour, dropped ones pale." if kept else ""
    if len(drawn) < len(kept):
        caption += f" Drawn for the first {len(drawn)} of {len(kept)} selections."
    if bins.cut:
        caption += " The outer bars also hold what lies beyond the axis."
    if len(bins.edges) == 2:
        caption += " Every example has the same score."
    rows = [
        (float(bins.edges[i]), float(bins.edges[i + 1]), int(number))
        + tuple(int(part[i]) for part in kept.values())
        for i, number in enumerate(every)
    ]
    columns = [("from", "number"), ("to", "number"), ("examples", "count")]
    columns += [(f"kept by {title}", "count") for title in kept]
    return Figure(
        "How the scores are spread",
        caption.strip(),
        histogram(bins, every, drawn),
        Table(f"histogram of {name}", columns, rows),
    )


def _by_class(
    values: Values, labels: NDArray[np.int64], bins: Bins, classes: int
) -> tuple[NDArray[np.int64], Values]:
    """Return counts per class and bin, and each class's median (NaN for an empty class)."""
    finite = np.isfinite(values)
    values, labels = values[finite], labels[finite]
    width = len(bins.edges) - 1
    counts = np.bincount(labels * width + bins.place(values), minlength=classes * width)
    order = np.lexsort((values, labels))
    sizes = np.bincount(labels, minlength=classes)
    starts = np.concatenate([[0], np.cumsum(sizes)])
    ordered = values[order]
    medians = [
        float(np.median(ordered[starts[c] : starts[c + 1]])) if sizes[c] else np.nan
        for c in range(classes)
    ]
    return counts.reshape(classes, width), np.array(medians)


def _class_rows(
    name: str, values: Values, labels: NDArray[np.int64], classes: Sequence[str]
) -> Figure:
    bins = make_bins(values[np.isfinite(values)], most=24)
    counts, medians = _by_class(values, labels, bins, len(classes))
    heads = [f"{formats.number(a)} to {formats.number(b)}" for a, b in _pairs(bins.edges)]
    columns = [("class", "text"), ("examples", "count"), ("median", "number")]
    columns += [(head, "count") for head in heads]
    rows = [
        (class_name, int(counts[i].sum()), medians[i], *(int(c) for c in counts[i]))
        for i, class_name in enumerate(classes)
    ]
    return Figure(
        "Class by class",
        "Each row is the histogram of one class; the stroke is its median.",
        class_rows(bins, counts, medians, classes),
        Table(f"{name} by class", columns, rows),
    )


def _class_deciles(
    name: str, values: Values, labels: NDArray[np.int64], classes: Sequence[str]
) -> Figure:
    inner = np.quantile(values[np.isfinite(values)], np.arange(1, 10) / 10)
    bins = Bins(np.concatenate([[-np.inf], inner, [np.inf]]), False)
    counts, medians = _by_class(values, labels, bins, len(classes))
    share = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    shown = _rows_shown(medians)
    tenths = [f"{10 * i}–{10 * i + 10} %" for i in range(10)]
    columns = [("class", "text"), ("examples", "count"), ("median", "number")]
    columns += [(tenth, "share") for tenth in tenths]
    rows = [
        (class_name, int(counts[i].sum()), medians[i], *(float(s) for s in share[i]))
        for i, class_name in enumerate(classes)
    ]
    caption = "Which part of a class falls in each tenth of all scores, lowest tenth first;"
    return Figure(
        "Class by class",
        f"{caption} 10 % everywhere is a class like all."
        + _rows_left_out(len(shown), len(classes), "median score"),
        heat_map(
            [classes[i] for i in shown],
            [str(i + 1) for i in range(10)],
            np.minimum(share[shown] / 0.5, 1.0),
            [[f"{100 * value:.0f}" for value in share[i]] for i in shown],
            "Share of each class in each tenth of the scores",
            column_title="tenth of all scores; cells in % of the class →",
        ),
        Table(f"{name} by class", columns, rows),
    )


def _pairs(edges: Values) -> list[tuple[float, float]]:
    return [(float(a), float(b)) for a, b in zip(edges[:-1], edges[1:], strict=True)]


def _rows_shown(values: Values) -> list[int]:
    """Choose the rows that are drawn: all if they fit, in order, else the two ends by value."""
    if len(values) <= _MOST_ROWS:
        return list(range(len(values)))
    order = np.argsort(-values, kind="stable")
    half = _MOST_ROWS // 2
    return [int(i) for i in (*order[:half], *order[-half:])]


def _rows_left_out(shown: int, classes: int, what: str) -> str:
    if shown == classes:
        return ""
    half = shown // 2
    return f" Drawn: the {half} classes highest and the {half} lowest by {what}, of {classes:,}."
