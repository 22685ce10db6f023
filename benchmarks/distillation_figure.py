"""The figure of benchmarks/distillation.py: does the choice of a subset matter with a teacher?"""

import statistics
from collections.abc import Sequence

from datapruner.report.svg import Scale, element, label, line, ticks

Cells = dict[str, dict[str, float]]

SHARES, RULES = (10, 30, 50), ("random", "el2n", "forgetting", "ccs")
SIDES = {"0": "without a teacher", "auto": "with one"}
WIDTH, HEIGHT = 640.0, 340.0
STYLE = """
text { font: 12px sans-serif; fill: #333 } .grid { stroke: #ddd } .bar { stroke: #333 }
.without { fill: #fff; stroke: #b5541c; stroke-width: 2 } .with { fill: #1c6fb5; stroke: #1c6fb5 }
"""


def drawn(cells: Cells) -> str:
    """Return the figure as SVG: test accuracy of four ways to choose, at three shares.

    Open circles stand for students without a teacher, full ones for the same with one; bars are
    standard errors over the seeds. What was not run is left out.
    """
    points = [
        (_place(share, rule), weight, [100 * v for v in values])
        for share in SHARES
        for rule in RULES
        for weight in SIDES
        if (values := list(cells.get(f"{share} % {rule}: {weight}", {}).values()))
    ]
    means = [statistics.mean(values) for _, _, values in points]
    y = Scale(min(means) - 2, max(means) + 2, HEIGHT - 60, 40)
    marks = [element("style", {}, STYLE)]
    for tick in ticks(y.low, y.high, 6):
        marks += [line(50, y(tick), WIDTH - 10, y(tick), "grid")]
        marks.append(label(44, y(tick) + 4, f"{tick:g}", anchor="end"))
    for share in SHARES:
        for rule in RULES:
            marks.append(label(_place(share, rule), HEIGHT - 40, rule))
        middle = (_place(share, RULES[0]) + _place(share, RULES[-1])) / 2
        marks.append(label(middle, HEIGHT - 18, f"{share} % kept"))
    for x, weight, values in points:
        marks += _point(x + (5 if weight != "0" else -5), y, weight, values)
    marks.append(label(2, 18, "test accuracy in %", anchor="start"))
    marks.append(label(WIDTH - 10, 18, "○ without a teacher, ● with one", anchor="end"))
    box = {"viewBox": f"0 0 {WIDTH:g} {HEIGHT:g}", "xmlns": "http://www.w3.org/2000/svg"}
    return str(element("svg", box, *marks)) + "\n"


def _place(share: int, rule: str) -> float:
    group = (WIDTH - 70) / len(SHARES)
    return 60 + group * (SHARES.index(share) + (RULES.index(rule) + 0.5) / len(RULES))


def _point(x: float, y: Scale, weight: str, values: Sequence[float]) -> list[str]:
    mean = statistics.mean(values)
    half = statistics.stdev(values) / len(values) ** 0.5 if len(values) > 1 else 0.0
    kind = "without" if weight == "0" else "with"
    circle = {"cx": x, "cy": y(mean), "r": 5.0, "class": kind}
    return [line(x, y(mean - half), x, y(mean + half), "bar"), element("circle", circle)]
