"""Charts of a sweep: accuracy against a cost with its Pareto front, and slopes beside a line."""

import math
from collections.abc import Sequence

from markupsafe import Markup

from . import formats
from .accuracy import marker
from .arms import Estimate
from .svg import Scale, drawing, element, frame, label, line, powers, short_label, ticks, tooltip
from .sweep_arms import COSTS, Arm

_WIDTH, _HEIGHT = 480, 340
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 18, 30, 50
_SHAPES = ("circle", "diamond", "up", "square", "down", "cross")
Style = tuple[str, str]


def styles_of(arms: Sequence[Arm]) -> dict[str, Style]:
    """Give each arm a colour by how its data are chosen and a shape by what is done to the weights.

    Black is all data, grey a random subset.
    """
    kinds = [k for k in dict.fromkeys(map(data_kind, arms)) if k not in ("all data", "random")]
    colours = {"all data": "full", "random": "random"}
    colours |= {kind: f"c{place % 7}" for place, kind in enumerate(kinds)}
    shapes = {kind: _SHAPES[i % 6] for i, kind in enumerate(dict.fromkeys(map(model_kind, arms)))}
    return {arm.name: (colours[data_kind(arm)], shapes[model_kind(arm)]) for arm in arms}


def data_kind(arm: Arm) -> str:
    """Say how the data of an arm are chosen, whatever their share."""
    keep = str(arm.first["keep"])
    words = {"all": "all data", "rs2": "RS2", "infobatch": "InfoBatch"}
    return words.get(keep, keep.replace("+", " "))


def model_kind(arm: Arm) -> str:
    """Say what is done to the weights of an arm, and whether it has a teacher."""
    row = arm.first
    dense = row["density"] == 1
    random = not dense and row.get("criterion") == "random"
    parts = ["dense" if dense else f"{'random mask' if random else 'density'} {_share(row)}"]
    if row["order"] != "together":
        parts.append(row["order"])
    if row["mask_on"] != "same":
        parts.append(f"mask found on {row['mask_on'].replace('+', ' ')}")
    if row["teacher"] != "none":
        parts.append("teacher")
    return ", ".join(parts)


def _share(row: dict[str, object]) -> str:
    return f"{100 * float(str(row['density'])):g} %"


def legend_of(arms: Sequence[Arm]) -> list[tuple[Markup, str]]:
    """Return what colours and shapes mean."""
    styles = styles_of(arms)
    colours = {data_kind(arm): (styles[arm.name][0], "circle") for arm in arms}
    shapes = {model_kind(arm): ("random", styles[arm.name][1]) for arm in arms}
    entries = list(colours.items()) + (list(shapes.items()) if len(shapes) > 1 else [])
    return [(key(style), words) for words, style in entries]


def key(style: Style) -> Markup:
    """Return a mark as a drawing of its own."""
    return element(
        "svg",
        {"viewBox": "0 0 18 18", "class": "key", "aria-hidden": "true"},
        marker(9.0, 9.0, style),
    )


def cost_chart(arms: Sequence[Arm], cost: str, front: Sequence[Arm]) -> Markup:
    """Draw accuracy against a cost, by its logarithm: arms with error bars, the front joined."""
    styles = styles_of(arms)
    x, y = _scales(arms, cost)
    marks = _axes(x, y, cost)
    steps = [(x(arm.costs[cost]), y(arm.accuracy.mean)) for arm in front]
    path = "M" + "L".join(f"{a:.1f} {b:.1f}" for a, b in steps)
    marks.append(element("path", {"d": path, "class": "front"}))
    for arm in sorted(arms, key=lambda arm: arm in front):
        at, height = x(arm.costs[cost]), y(arm.accuracy.mean)
        marks += _whisker(arm.accuracy, at, y, styles[arm.name][0])
        marks.append(marker(at, height, styles[arm.name], describe(arm, cost), r=5.0))
    marks += _names(front, cost, x, y)
    return drawing(_WIDTH, _HEIGHT, f"Accuracy against {COSTS[cost]}", *marks)


def describe(arm: Arm, cost: str) -> str:
    """Say in one line what a point stands for."""
    error = arm.accuracy.error
    spread = "" if error is None else f" ± {100 * error:.2f}"
    reached = f"{100 * arm.accuracy.mean:.2f}{spread} %"
    return f"{arm.name}: {reached}, {formats.compact(arm.costs[cost])} {COSTS[cost]}"


def _whisker(value: Estimate, at: float, y: Scale, colour: str) -> list[Markup]:
    if not value.error:
        return []
    low, high = (y(value.mean + side * value.error) for side in (-1, 1))
    kind = f"whisker {colour}"
    caps = [line(at - 3, end, at + 3, end, kind) for end in (low, high)]
    return [line(at, low, at, high, kind), *caps]


def _scales(arms: Sequence[Arm], cost: str) -> tuple[Scale, Scale]:
    values = [max(arm.costs[cost], 1e-9) for arm in arms]
    low, high = min(values), max(values)
    room = max((high / low) ** 0.05, 1.05)
    x = Scale(low / room, high * room, _LEFT, _WIDTH - _RIGHT, log=True)
    wrong = [1 - arm.accuracy.mean for arm in arms]
    # no accuracy is below 0, and a scale is of at least a factor of two
    least = min(max(0.85 * min(wrong), 1e-5), 0.5)
    most = min(1.0, max(1.1 * max(wrong), 2 * least))
    return x, ErrorScale(least, most, _TOP, _HEIGHT - _BOTTOM, log=True)


class ErrorScale(Scale):
    """Places accuracies by the logarithm of their error: 80 and 90 % as far apart as 98 and 99.

    Example:
        >>> scale = ErrorScale(0.01, 1.0, 0.0, 100.0, log=True)
        >>> round(scale(0.99)), round(scale(0.9)), round(scale(0.0))
        (0, 50, 100)
    """

    def __call__(self, value: float) -> float:
        """Return the place of an accuracy."""
        return super().__call__(min(max(1 - value, self.low), self.high))


_ACCURACIES = (0.0, 0.2, 0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999, 0.9995)


def _axes(x: Scale, y: Scale, cost: str) -> list[Markup]:
    best, worst = 1 - y.low, 1 - y.high
    at = [a for a in _ACCURACIES if worst <= a <= best]
    if len(at) < 3:
        at = ticks(worst, best, 5)
    digits = next((d for d in range(4) if all(round(v, 2 + d) == v for v in at)), 4)
    # the grid's lines are drawn by the frame from the foot, which on this scale is `stop`
    foot = ErrorScale(y.low, y.high, y.stop, y.start, log=True)
    marks = frame(
        x,
        Scale(foot.low, foot.high, foot.start, foot.stop),
        x_ticks=_round_values(x.low, x.high),
        y_ticks=[],
        write_x=compact,
        write_y=str,
        x_title=f"{COSTS[cost]} →",
        y_title="accuracy, its error by the logarithm",
    )
    for tick in at:
        marks.append(line(x.start, y(tick), x.stop, y(tick), "grid"))
        marks.append(label(x.start - 7, y(tick) + 4, formats.percent(tick, digits), anchor="end"))
    return marks


def compact(value: float) -> str:
    """Write a large number short: k, M, G, T, P.

    Example:
        >>> compact(2.5e12), compact(150.0)
        ('2.5T', '150')
    """
    for limit, unit in ((1e15, "P"), (1e12, "T")):
        if value >= limit:
            return f"{value / limit:.4g}{unit}"
    return formats.compact(value)


def _round_values(low: float, high: float) -> list[float]:
    """Return ticks on a scale by the logarithm: powers of ten, or 1, 2, 5 of them where few."""
    found = powers(low, high, 5)
    if math.log10(high / low) >= 2.5:
        return found
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    every = [m * 10.0**p for p in range(first, last + 1) for m in (1, 2, 5)]
    inside = [value for value in every if low <= value <= high]
    return inside if len(inside) >= 2 else ticks(low, high, 4)


def _names(front: Sequence[Arm], cost: str, x: Scale, y: Scale) -> list[Markup]:
    """Number the points of the front; the caption says which is which."""
    return [
        label(x(arm.costs[cost]), y(arm.accuracy.mean) - 11, str(place), "name")
        for place, arm in enumerate(front, 1)
    ]


def slope_chart(rows: Sequence[tuple[str, Estimate, Style]], title: str) -> Markup:
    """Draw values with their standard errors, a row each, beside a dashed line at 1."""
    left, row, top = 215, 24, 26
    ends = [v.mean + side * (v.error or 0) for _, v, _ in rows for side in (-1, 1)]
    low, high = min(0.8, *ends), max(1.2, *ends)
    x = Scale(low - 0.05 * (high - low), high + 0.05 * (high - low), left, _WIDTH - 10)
    bottom = top + row * len(rows)
    marks = [line(x(tick), top, x(tick), bottom, "grid") for tick in ticks(low, high, 5)]
    marks += [label(x(tick), bottom + 17, f"{tick:g}") for tick in ticks(low, high, 5)]
    marks.append(line(x(1.0), top - 4, x(1.0), bottom + 2, "baseline"))
    for place, (name, value, style) in enumerate(rows):
        middle = top + (place + 0.5) * row
        marks.append(short_label(left - 10, middle + 4, name, 27))
        if value.error:
            a, b = (x(value.mean + side * value.error) for side in (-1, 1))
            marks.append(line(a, middle, b, middle, f"whisker {style[0]}"))
        about = f"{name}: {value.mean:.2f}"
        marks.append(marker(x(value.mean), middle, style, about, r=4.5))
    return drawing(_WIDTH, bottom + 26, title, *tooltip(title), *marks)
