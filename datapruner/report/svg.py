"""Drawing: SVG elements as escaped markup, scales, ticks, and the frame of a chart.

Colours and type sizes stand in style.css, by class, so that a drawing follows the reader's light or
dark setting; only places and sizes are written here.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape


def element(name: str, attributes: Mapping[str, object], *children: str) -> Markup:
    """Return one element; attributes and text are escaped, `Markup` children are not.

    Example:
        >>> str(element("text", {"x": 1.0, "class": "tick"}, "a < b"))
        '<text x="1" class="tick">a &lt; b</text>'
    """
    head = Markup("").join(
        Markup(' {}="{}"').format(key, _plain(value))
        for key, value in attributes.items()
        if value is not None
    )
    inner = Markup("").join(escape(child) for child in children)
    return Markup("<{0}{1}>{2}</{0}>").format(Markup(name), head, inner)


def _plain(value: object) -> object:
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else value


def drawing(width: float, height: float, label: str, *children: str, kind: str = "") -> Markup:
    """Return a whole drawing that scales with its place; `label` is what a screen reader says."""
    size = f"0 0 {_plain(float(width))} {_plain(float(height))}"
    classes = f"drawing {kind}".strip()
    return element(
        "svg", {"viewBox": size, "role": "img", "aria-label": label, "class": classes}, *children
    )


def line(x1: float, y1: float, x2: float, y2: float, kind: str) -> Markup:
    """Return a straight line of class `kind`."""
    places = {"x1": float(x1), "y1": float(y1), "x2": float(x2), "y2": float(y2)}
    return element("line", {**places, "class": kind})


def rect(x: float, y: float, width: float, height: float, kind: str, title: str = "") -> Markup:
    """Return a rectangle of class `kind`, with a tooltip if `title` is given."""
    places = {"x": float(x), "y": float(y), "width": float(width), "height": float(height)}
    return element("rect", {**places, "class": kind}, *tooltip(title))


def label(x: float, y: float, words: str, kind: str = "tick", anchor: str = "middle") -> Markup:
    """Return text; `anchor` is start, middle or end."""
    places = {"x": float(x), "y": float(y), "class": kind, "text-anchor": anchor}
    return element("text", places, words)


def short_label(x: float, y: float, words: str, most: int, anchor: str = "end") -> Markup:
    """Return text cut to `most` characters, whole in its tooltip."""
    if len(words) <= most:
        return label(x, y, words, "name", anchor)
    places = {"x": float(x), "y": float(y), "class": "name", "text-anchor": anchor}
    return element("text", places, words[: most - 1] + "…", *tooltip(words))


def tooltip(title: str) -> list[Markup]:
    """Return what shows under the pointer: a title element, or nothing."""
    return [element("title", {}, title)] if title else []


@dataclass(frozen=True)
class Scale:
    """A map from values [low, high] to places [start, stop]: straight, or by the logarithm.

    By the logarithm, low is above 0, and values below it have its place.

    Example:
        >>> Scale(0, 10, 100, 200)(5)
        150.0
    """

    low: float
    high: float
    start: float
    stop: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """Return the place of `value`; a scale of one value puts it in the middle."""
        if self.high == self.low:
            return (self.start + self.stop) / 2
        if self.log:
            part = math.log(max(value, self.low) / self.low) / math.log(self.high / self.low)
        else:
            part = (value - self.low) / (self.high - self.low)
        return float(self.start + part * (self.stop - self.start))


def ticks(low: float, high: float, most: int) -> list[float]:
    """Return at most about `most` round values inside [low, high].

    Example:
        >>> ticks(0, 14370, 5)
        [0.0, 5000.0, 10000.0]
    """
    if not high > low:
        return [low]
    raw = (high - low) / most
    unit = 10.0 ** math.floor(math.log10(raw))
    step = next((m * unit for m in (1, 2, 2.5, 5) if m * unit >= raw * 0.999), 10 * unit)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(step * place, 12) + 0.0 for place in range(first, last + 1)]


def powers(low: float, high: float, most: int) -> list[float]:
    """Return powers of ten inside [low, high], at most about `most`; round values if too few.

    Example:
        >>> powers(0.02, 200, 5)
        [0.1, 1.0, 10.0, 100.0]
    """
    first, last = math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9)
    if last - first < 1:
        return ticks(low, high, most)
    step = math.ceil((last - first + 1) / most)
    return [float(f"1e{power}") for power in range(first, last + 1, step)]


def frame(
    x: Scale,
    y: Scale,
    *,
    x_ticks: Sequence[float],
    y_ticks: Sequence[float],
    write_x: Callable[[float], str],
    write_y: Callable[[float], str],
    x_title: str,
    y_title: str,
) -> list[Markup]:
    """Return grid, ticks and titles; the titles lie flat: above the y axis, below the x axis."""
    marks = [line(x.start, y(tick), x.stop, y(tick), "grid") for tick in y_ticks]
    marks += [label(x.start - 7, y(tick) + 4, write_y(tick), anchor="end") for tick in y_ticks]
    marks.append(line(x.start, y.start, x.stop, y.start, "axis"))
    for tick in x_ticks:
        marks.append(line(x(tick), y.start, x(tick), y.start + 4, "axis"))
        marks.append(label(x(tick), y.start + 19, write_x(tick)))
    marks.append(label(x.stop, y.start + 39, x_title, "axis-title", "end"))
    if y_title:
        marks.append(label(2, y.stop - 12, y_title, "axis-title", "start"))
    return marks
