"""Drawings in rows and columns: heat maps, and bars of what is kept of each class."""

from collections.abc import Sequence

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from . import formats
from .svg import drawing, element, label, line, rect, short_label, tooltip


def heat_map(
    rows: Sequence[str],
    columns: Sequence[str],
    strength: NDArray[np.float64],
    words: Sequence[Sequence[str]],
    title: str,
    *,
    column_title: str = "",
    left: float = 118,
) -> Markup:
    """Draw cells shaded by strength, with the number written in each.

    Args:
        rows: one name a row.
        columns: one name a column.
        strength: (rows, columns) in [-1, 1]; below 0 has the other colour; NaN is left white.
        words: what is written in each cell.
        title: what a screen reader says.
        column_title: written under the columns, if any.
        left: room for the names of the rows.
    """
    width = max(44.0, min(96.0, 350 / max(len(columns), 1)))
    height = 34.0 if len(rows) <= 12 else 22.0
    longest = min(max((len(name) for name in columns), default=0), 18)
    slanted = longest * 8.5 > width
    top = 30.0 + (longest * 5.2 if slanted else 0)
    marks: list[Markup] = []
    for j, name in enumerate(columns):
        marks.append(_column_name(left + (j + 0.5) * width, top - 9, name, slanted))
    for i, name in enumerate(rows):
        middle = top + (i + 0.5) * height
        marks.append(short_label(left - 9, middle + 4, name, round(left / 8) - 1))
        for j, column in enumerate(columns):
            marks.append(
                _cell(
                    (left + j * width, top + i * height, width, height),
                    float(strength[i, j]),
                    words[i][j],
                    f"{name}, {column}: {words[i][j]}",
                )
            )
    bottom = top + len(rows) * height
    if column_title:
        end = left + len(columns) * width
        marks.append(label(end, bottom + 20, column_title, "axis-title", "end"))
        bottom += 20
    right = left + len(columns) * width + 4
    if slanted:  # the last name leans out over the edge
        right += len(columns[-1][:18]) * 5.6 - width / 2
    return drawing(max(480.0, right), bottom + 8, title, *marks)


def kept_bars(
    classes: Sequence[str], kept: Sequence[int], total: Sequence[int], overall: float
) -> Markup:
    """Draw for each class the kept part of its examples; a dashed line marks the part of all."""
    left, right, row, top = 112, 104, 26 if len(classes) <= 20 else 20, 26
    width = 480 - left - right
    marks: list[Markup] = []
    for place, name in enumerate(classes):
        y = top + place * row
        share = kept[place] / total[place] if total[place] else 0.0
        title = f"{name}: {kept[place]:,} of {total[place]:,} kept ({formats.percent(share)})"
        marks += [
            short_label(left - 8, y + row / 2 + 4, name, 13),
            rect(left, y + 3, width, row - 6, "dropped", title),
            rect(left, y + 3, width * share, row - 6, "kept", title),
            label(
                480 - right + 8,
                y + row / 2 + 4,
                f"{formats.count(kept[place])} of {formats.count(total[place])}",
                "tick",
                "start",
            ),
        ]
    bottom = top + len(classes) * row
    at = left + width * overall
    marks += [
        line(at, top - 4, at, bottom + 2, "baseline"),
        label(min(max(at, left + 40), left + width), top - 10, f"all: {formats.percent(overall)}"),
    ]
    return drawing(480, bottom + 8, "Kept examples of each class", *marks)


def _column_name(x: float, y: float, name: str, slanted: bool) -> Markup:
    """Return a name over a column, slanted where names are wider than columns."""
    if not slanted:
        return short_label(x, y, name, 18, "middle")
    turn = {"transform": f"translate({x - 2:.1f} {y:.1f}) rotate(-40)"}
    return element("g", turn, short_label(0, 0, name, 18, "start"))


def _cell(
    box: tuple[float, float, float, float], strength: float, words: str, title: str
) -> Markup:
    x, y, width, height = box
    known = bool(np.isfinite(strength))
    size = min(abs(strength), 1.0) if known else 0.0
    side = "minus" if known and strength < 0 else "plus"
    places = {"x": x + 1, "y": y + 1, "width": width - 2, "height": height - 2}
    shade = {"class": f"cell {side}", "fill-opacity": 0.06 + 0.94 * size}
    ink = "cell-text strong" if size > 0.55 else "cell-text"
    return element(
        "g",
        {},
        *tooltip(title),
        element("rect", {**places, **shade, "rx": 3}),
        label(x + width / 2, y + height / 2 + 4, words, ink),
    )
