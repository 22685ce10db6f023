"""Charts of accuracy against cost: final points with error bars, learning curves, whiskers."""

import math
from collections.abc import Sequence
from typing import Literal

from markupsafe import Markup

from . import formats
from .arms import Arm
from .svg import Scale, drawing, element, frame, line, short_label, ticks, tooltip

Cost = Literal["examples", "steps", "seconds"]
Place = tuple[float, float]

_WIDTH, _HEIGHT = 480, 330
_LEFT, _RIGHT, _TOP, _BOTTOM = 66, 14, 30, 50
_TITLES = {
    "examples": "examples seen",
    "steps": "optimizer steps",
    "seconds": "seconds",
}
_COLUMNS = {"examples": 0, "steps": 1, "seconds": 4}  # of a row of Arm.curve
_SHAPES = ("circle", "diamond", "up", "square", "down", "cross")
_COLOURS = 7
MOST_LABELS = 8


def markers(arms: Sequence[Arm]) -> dict[str, tuple[str, str]]:
    """Give each arm a colour class and a shape: never colour alone, grey for random baselines.

    Arms that differ by their share alone look the same.
    """
    families: dict[str, tuple[str, str]] = {}
    others = randoms = 0
    for arm in arms:
        if arm.family in families:
            continue
        if arm.is_full:
            families[arm.family] = ("full", "square")
        elif arm.is_random:
            families[arm.family] = ("random", _SHAPES[randoms % len(_SHAPES)])
            randoms += 1
        else:
            families[arm.family] = (f"c{others % _COLOURS}", _SHAPES[others % len(_SHAPES)])
            others += 1
    return {arm.name: families[arm.family] for arm in arms}


def legend(arms: Sequence[Arm]) -> list[tuple[Markup, str]]:
    """Return the mark and name of each family of arms; the arm's own name for one alone."""
    styles = markers(arms)
    entries: dict[str, list[Arm]] = {}
    for arm in arms:
        entries.setdefault(arm.family, []).append(arm)
    return [
        (key(styles[members[0].name]), family if len(members) > 1 else members[0].name)
        for family, members in entries.items()
    ]


def marker(x: float, y: float, style: tuple[str, str], title: str = "", r: float = 5.5) -> Markup:
    """Return the mark of an arm, centred at (x, y)."""
    colour, shape = style
    classes = {"class": f"mark {colour}"}
    if shape == "circle":
        return element("circle", {"cx": x, "cy": y, "r": r, **classes}, *tooltip(title))
    corners = {
        "square": [(-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)],
        "diamond": [(0, -1.25), (1.25, 0), (0, 1.25), (-1.25, 0)],
        "up": [(0, -1.2), (1.15, 0.85), (-1.15, 0.85)],
        "down": [(0, 1.2), (1.15, -0.85), (-1.15, -0.85)],
        "cross": [(-1.2, -0.4), (-0.4, -0.4), (-0.4, -1.2), (0.4, -1.2), (0.4, -0.4), (1.2, -0.4)],
    }[shape]
    if shape == "cross":
        corners = corners + [(-a, -b) for a, b in corners]
    points = " ".join(f"{x + r * a:.1f},{y + r * b:.1f}" for a, b in corners)
    return element("polygon", {"points": points, **classes}, *tooltip(title))


def key(style: tuple[str, str]) -> Markup:
    """Return the mark of an arm as a drawing of its own, for legends and tables."""
    return element(
        "svg",
        {"viewBox": "0 0 18 18", "class": "key", "aria-hidden": "true"},
        marker(9.0, 9.0, style),
    )


def final_chart(arms: Sequence[Arm], cost: Cost) -> Markup:
    """Draw final accuracy against cost: a point an arm, with its standard error.

    The random baselines are joined by a dashed line, up to the arm that trains on everything.
    So are, by thin lines, arms that differ by their share alone. Up to `MOST_LABELS` arms are
    named beside their points.
    """
    low, high = _span(_ends(arms))
    x, y = _scales(arms, cost, low, high)
    places = _set_apart(arms, cost, x, y)
    base = sorted((_cost(a, cost), a.accuracy.mean) for a in arms if a.is_random or a.is_full)
    marks = _axes(x, y, cost)
    if any(arm.is_random for arm in arms):
        marks.append(_path([(x(a), y(b)) for a, b in base], "baseline"))
    styles = markers(arms)
    marks += _families(arms, places)
    for arm in arms:
        place_x, place_y = places[arm.name]
        colour, _ = styles[arm.name]
        if arm.accuracy.error:
            ends = [y(arm.accuracy.mean + s * arm.accuracy.error) for s in (-1, 1)]
            marks.append(line(place_x, ends[0], place_x, ends[1], f"whisker {colour}"))
            marks += [line(place_x - 4, e, place_x + 4, e, f"whisker {colour}") for e in ends]
        marks.append(marker(place_x, place_y, styles[arm.name], describe(arm, cost)))
    if len(arms) <= MOST_LABELS:
        marks += _labels(arms, places, x)
    return drawing(_WIDTH, _HEIGHT, f"Final test accuracy against {_TITLES[cost]}", *marks)


def curve_chart(arms: Sequence[Arm], cost: Cost) -> Markup | None:
    """Draw test accuracy during training against cost; None where no run was tested on the way.

    The worst tenth of all points may lie below the frame, so that the end can be read.
    """
    curves = {arm.name: arm.curve for arm in arms if len(arm.curve) > 1}
    if not curves:
        return None
    values = sorted(point[2] for curve in curves.values() for point in curve)
    low, high = _span(values[len(values) // 10 :])
    x, y = _scales(arms, cost, low, high)
    column = _COLUMNS[cost]
    name = f"inside-{cost}"
    inside = element(
        "clipPath",
        {"id": name},
        element(
            "rect",
            {"x": _LEFT, "y": _TOP - 8, "width": x.stop - x.start, "height": y.start - _TOP + 8},
        ),
    )
    styles = markers(arms)
    bands, lines, ends = [], [], []
    for arm in arms:
        curve = curves.get(arm.name)
        if curve is None:
            continue
        colour, _ = styles[arm.name]
        places = [(x(point[column]), y(point[2])) for point in curve]
        if not any(math.isnan(point[3]) for point in curve):
            upper = [(x(p[column]), y(p[2] + p[3])) for p in curve]
            lower = [(x(p[column]), y(p[2] - p[3])) for p in reversed(curve)]
            bands.append(_path(upper + lower, f"band {colour}"))
        lines.append(_path(places, f"curve {colour}", arm.name))
        end = f"{arm.name}: {formats.accuracy(curve[-1][2])} at the last test"
        ends.append(marker(*places[-1], styles[arm.name], end, r=4.5))
    drawn = element("g", {"clip-path": f"url(#{name})"}, *bands, *lines)
    title = f"Test accuracy during training against {_TITLES[cost]}"
    return drawing(_WIDTH, _HEIGHT, title, inside, *_axes(x, y, cost), drawn, *ends)


def whiskers(arms: Sequence[Arm]) -> dict[str, Markup]:
    """Return for each arm a drawing one line high: its accuracy on a scale shared by all arms.

    A dashed stroke shows the random baseline of the same cost.
    """
    means = {arm.name: arm.accuracy.mean for arm in arms}
    low, high = _span(_ends(arms))
    x = Scale(low, high, 8, 152)
    styles = markers(arms)
    drawn = {}
    for arm in arms:
        marks = [line(4, 11, 156, 11, "grid")]
        if arm.baseline is not None:
            marks.append(line(x(means[arm.baseline]), 1, x(means[arm.baseline]), 21, "baseline"))
        if arm.accuracy.error:
            ends = [x(arm.accuracy.mean + s * arm.accuracy.error) for s in (-1, 1)]
            marks.append(line(ends[0], 11, ends[1], 11, f"whisker {styles[arm.name][0]}"))
        marks.append(marker(x(arm.accuracy.mean), 11.0, styles[arm.name], r=4.5))
        title = f"{arm.name}: {formats.accuracy(arm.accuracy.mean)}"
        drawn[arm.name] = drawing(160, 22, title, *marks, kind="small")
    return drawn


def describe(arm: Arm, cost: Cost) -> str:
    """Say in one line what a point stands for."""
    error = arm.accuracy.error
    spread = "" if error is None else f" ± {100 * error:.2f}"
    seeds = "1 seed" if arm.accuracy.n == 1 else f"{arm.accuracy.n} seeds"
    reached = f"{100 * arm.accuracy.mean:.2f}{spread} %"
    return f"{arm.name}: {reached} ({seeds}), {formats.count(_cost(arm, cost))} {_TITLES[cost]}"


def _cost(arm: Arm, cost: Cost) -> float:
    return {"examples": arm.examples, "steps": arm.steps, "seconds": arm.seconds}[cost]


def _ends(arms: Sequence[Arm]) -> list[float]:
    return [arm.accuracy.mean + s * (arm.accuracy.error or 0) for arm in arms for s in (-1, 1)]


def _span(values: Sequence[float]) -> tuple[float, float]:
    """Return the range to draw: the values with room around them, inside [0, 1]."""
    low, high = min(values), max(values)
    room = max(0.08 * (high - low), 0.002)
    return max(0.0, low - room), min(1.0, high + room)


def _scales(arms: Sequence[Arm], cost: Cost, low: float, high: float) -> tuple[Scale, Scale]:
    most = max(_cost(arm, cost) for arm in arms) or 1.0
    x = Scale(0.0, most * 1.04, _LEFT, _WIDTH - _RIGHT)
    return x, Scale(low, high, _HEIGHT - _BOTTOM, _TOP)


def _axes(x: Scale, y: Scale, cost: Cost) -> list[Markup]:
    at = ticks(y.low, y.high, 6)
    digits = next((d for d in range(4) if all(round(v, 2 + d) == v for v in at)), 4)
    return frame(
        x,
        y,
        x_ticks=ticks(0, x.high, 5),
        y_ticks=at,
        write_x=formats.compact,
        write_y=lambda value: formats.percent(value, digits),
        x_title=_TITLES[cost] + " →",
        y_title="test accuracy",
    )


def _set_apart(arms: Sequence[Arm], cost: Cost, x: Scale, y: Scale) -> dict[str, Place]:
    """Set points of the same cost side by side, the random baseline in the middle."""
    groups: list[list[Arm]] = []
    for arm in sorted(arms, key=lambda arm: (_cost(arm, cost), not arm.is_random)):
        near = groups and x(_cost(arm, cost)) - x(_cost(groups[-1][0], cost)) < 6
        if near:
            groups[-1].append(arm)
        else:
            groups.append([arm])
    places = {}
    for group in groups:
        room = min(12.0, 90 / len(group))
        for place, arm in enumerate(group):
            side = (place + 1) // 2 * (1 if place % 2 else -1)
            middle = min(x(_cost(arm, cost)) + side * room, x.stop)
            places[arm.name] = (middle, y(arm.accuracy.mean))
    return places


def _families(arms: Sequence[Arm], places: dict[str, Place]) -> list[Markup]:
    """Join the points of arms that differ by their share alone; the baselines have their line."""
    styles = markers(arms)
    joined: dict[str, list[Arm]] = {}
    for arm in arms:
        if not (arm.is_random or arm.is_full):
            joined.setdefault(arm.family, []).append(arm)
    return [
        _path(sorted(places[arm.name] for arm in members), f"family {styles[members[0].name][0]}")
        for members in joined.values()
        if len(members) > 1
    ]


def _labels(arms: Sequence[Arm], places: dict[str, Place], x: Scale) -> list[Markup]:
    """Name points beside them: one column for points of one cost, on the side with more room."""
    styles, marks = markers(arms), []
    columns: dict[int, list[tuple[float, str]]] = {}
    for name, (at, height) in places.items():
        columns.setdefault(round(at / 60), []).append((height, name))
    for column in columns.values():
        spots = [places[name][0] for _, name in column]
        right = max(spots) < x.start + 0.6 * (x.stop - x.start)
        at = max(spots) + 16 if right else min(spots) - 16
        below = -math.inf
        for height, name in sorted(column):
            below = max(height, below + 17)
            side = 9 if right else -9
            marks.append(marker(at, below, styles[name], r=3.5))
            anchor = "start" if right else "end"
            marks.append(short_label(at + side, below + 4, name, 24, anchor))
    return marks


def _path(places: Sequence[Place], kind: str, title: str = "") -> Markup:
    steps = "M" + "L".join(f"{a:.1f} {b:.1f}" for a, b in places)
    return element("path", {"d": steps, "class": kind}, *tooltip(title))
