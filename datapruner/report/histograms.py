"""How scores are spread: bins, a histogram with what is kept, one row of it for each class."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from . import formats
from .svg import Scale, drawing, label, line, powers, rect, short_label, ticks

Values = NDArray[np.float64]
Counts = NDArray[np.int64]

_WIDTH = 480
_FAR = 3.0  # a range this many times that of the middle 99 % is cut, its ends gathered
_COUNTS = 200  # with more values than this, scores are no counts
_SKEWED = 20.0  # when the top is this many times the median, straight bins show one bar
_WIDE = 10.0  # and so they do when the upper quarter starts this many times above the lower


@dataclass(frozen=True)
class Bins:
    """Edges of bins; with `cut` the outer bins also hold what lies beyond them.

    With `log` the bins are of equal width in the logarithm.
    """

    edges: Values
    cut: bool
    log: bool = False

    def scale(self, start: float, stop: float) -> Scale:
        """Return the map from scores to places."""
        return Scale(float(self.edges[0]), float(self.edges[-1]), start, stop, self.log)

    def place(self, values: Values) -> Counts:
        """Return the bin of each value; the values must be finite."""
        inner = self.edges[1:-1]
        return np.searchsorted(inner, values, side="right").astype(np.int64)

    def count(self, values: Values) -> Counts:
        """Return how many values each bin holds."""
        return np.bincount(self.place(values), minlength=len(self.edges) - 1).astype(np.int64)


def make_bins(values: Values, most: int = 40) -> Bins:
    """Choose at most `most` bins of equal width for finite values.

    Counts, and means of counts over seeds, get bins centred on the values they can take. Values
    above 0 of very different size, such as losses, get bins of equal width in the logarithm. A few
    values far out do not squeeze the rest: then the range is that of the middle 99 %, with half of
    it added on each side.

    Example:
        >>> make_bins(np.array([0.0, 1.0, 2.0])).edges.tolist()
        [-0.5, 0.5, 1.5, 2.5]
    """
    if not len(values):
        return Bins(np.array([0.0, 1.0]), False)
    low, high = float(values.min()), float(values.max())
    if step := _step(values):
        width = step * max(1.0, np.ceil(((high - low) / step + 1) / most))
        bins = int(np.ceil((high - low + step) / width - 1e-6))
        return Bins(low - step / 2 + width * np.arange(bins + 1), False)
    parts = np.quantile(values, [0.005, 0.25, 0.5, 0.75, 0.995])
    near_low, quarter, median, three, near_high = (float(part) for part in parts)
    if low >= 0 and (0 < median < near_high / _SKEWED or 0 < quarter < three / _WIDE):
        low = float(max(near_low, values[values > 0].min(), high * 1e-12))
        edges = np.geomspace(low, high, most + 1)
        return Bins(edges, bool((values < low).any()), log=True)
    middle = near_high - near_low
    cut = middle > 0 and high - low > _FAR * middle
    if cut:
        low, high = max(low, near_low - middle / 2), min(high, near_high + middle / 2)
    if high - low <= 1e-9 * max(abs(low), abs(high), 1e-30):
        half = max(abs(low) * 0.01, 1e-6)
        return Bins(np.array([low - half, high + half]), False)
    return Bins(np.linspace(low, high, most + 1), bool(cut))


def _step(values: Values) -> float:
    """Return the distance that all values are multiples of apart, 0 where there is none such."""
    if bool((values == np.round(values)).all()) and float(np.ptp(values)) < 1e6:
        return 1.0
    distinct = np.unique(values)
    if not 2 < len(distinct) <= _COUNTS:
        return 0.0
    step = float(np.diff(distinct).min())
    places = (distinct - distinct[0]) / step
    regular = bool((np.abs(places - np.round(places)) < 0.01).all())
    return step if regular and places[-1] < _COUNTS else 0.0


def histogram(bins: Bins, every: Counts, kept: Mapping[str, Counts]) -> Markup:
    """Draw counts per bin; for each selection a panel with its kept part in colour over them."""
    panels = list(kept.items()) or [("", every)]
    height = 190 if len(panels) == 1 else 104
    top, left, right = 34, 56, 12
    x = bins.scale(left, _WIDTH - right)
    most = max(int(every.max(initial=1)), 1)
    marks: list[Markup] = [label(2, 14, "examples", "axis-title", "start")]
    for place, (name, part) in enumerate(panels):
        base = top + (place + 1) * height - 14
        y = Scale(0, most, base, base - height + 34)
        marks += _counts_axis(x, y, 4 if len(panels) == 1 else 3)
        for i, number in enumerate(every):
            low, high = x(float(bins.edges[i])), x(float(bins.edges[i + 1]))
            gap = min(1.0, (high - low) * 0.12)
            title = _bin_title(bins, i, int(number), name, int(part[i]))
            box = (low + gap / 2, high - low - gap)
            if number:
                marks.append(_bar(*box, y, int(number), "dropped" if name else "all", title))
            if name and part[i]:
                marks.append(_bar(*box, y, int(part[i]), "kept", title))
        marks.append(line(x.start, base, x.stop, base, "axis"))
        if name:
            total = int(part.sum())
            marks.append(
                label(x.stop, y.stop - 7, f"{name}: {formats.count(total)} kept", "panel", "end")
            )
    base = top + len(panels) * height - 14
    for tick in _ticks(bins, 5):
        marks += [
            line(x(tick), base, x(tick), base + 4, "axis"),
            label(x(tick), base + 19, formats.number(tick)),
        ]
    marks.append(label(x.stop, base + 39, _axis_title(bins), "axis-title", "end"))
    return drawing(_WIDTH, base + 48, "Histogram of the scores", *marks)


def class_rows(bins: Bins, counts: Counts, medians: Values, names: Sequence[str]) -> Markup:
    """Draw a histogram per class, one below the other on one score axis.

    Args:
        bins: the bins that the counts belong to.
        counts: examples per class and bin, (classes, bins).
        medians: the median score of each class, drawn as a stroke; NaN for an empty class.
        names: one name a class.
    """
    row, left, right, top = 30, 112, 12, 12
    x = bins.scale(left, _WIDTH - right)
    base = top + row * len(names)
    marks: list[Markup] = [line(x(t), top, x(t), base, "grid") for t in _ticks(bins, 5)]
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    most = float(shares.max(initial=0)) or 1.0
    for place, name in enumerate(names):
        y = Scale(0, most, top + row * (place + 1), top + row * place + 4)
        marks.append(short_label(left - 8, y.start - 8, name, 13))
        for i, share in enumerate(shares[place]):
            if share:
                low, high = x(float(bins.edges[i])), x(float(bins.edges[i + 1]))
                title = _bin_title(bins, i, int(counts[place, i]), "", 0)
                marks.append(
                    rect(low, y(share), high - low, y.start - y(share), "all", f"{name}, {title}")
                )
        marks.append(line(x.start, y.start, x.stop, y.start, "axis"))
        if np.isfinite(medians[place]):
            at = min(max(x(float(medians[place])), x.start), x.stop)
            marks.append(line(at, y.start - row + 6, at, y.start, "median"))
    for tick in _ticks(bins, 5):
        marks.append(label(x(tick), base + 19, formats.number(tick)))
    marks.append(label(x.stop, base + 39, _axis_title(bins), "axis-title", "end"))
    return drawing(_WIDTH, base + 48, "Histogram of the scores of each class", *marks)


def _counts_axis(x: Scale, y: Scale, most: int) -> list[Markup]:
    marks = []
    for tick in ticks(0, y.high, most):
        if tick and tick == int(tick):
            marks.append(line(x.start, y(tick), x.stop, y(tick), "grid"))
            marks.append(label(x.start - 7, y(tick) + 4, formats.compact(tick), anchor="end"))
    return marks


def _bar(x: float, width: float, y: Scale, number: int, kind: str, title: str) -> Markup:
    """Return a bar; one example among thousands still shows."""
    top = min(y(number), y.start - 1)
    return rect(x, top, width, y.start - top, kind, title)


def _ticks(bins: Bins, most: int) -> list[float]:
    if len(bins.edges) == 2:
        return [float(bins.edges.mean())]
    choose = powers if bins.log else ticks
    return choose(float(bins.edges[0]), float(bins.edges[-1]), most)


def _axis_title(bins: Bins) -> str:
    return "score, on a logarithmic axis →" if bins.log else "score →"


def _bin_title(bins: Bins, i: int, number: int, name: str, kept: int) -> str:
    low, high = formats.number(float(bins.edges[i])), formats.number(float(bins.edges[i + 1]))
    part = f", {formats.count(kept)} kept by {name}" if name else ""
    return f"score {low} to {high}: {formats.count(number)} examples{part}"
