"""The figures of a sweep, each with its numbers: costs, heat maps, classes, recall distortion."""

from collections.abc import Sequence

import numpy as np

from ..sweep_plan import EQUAL
from . import formats
from .arms import Estimate, estimate
from .grids import heat_map
from .sweep_arms import COSTS, Arm, distortion, full_arm, pareto
from .sweep_charts import cost_chart, data_kind, legend_of, slope_chart, styles_of
from .tables import Figure, Table

_MOST_ROWS = 30
_MOST_CLASSES = 20


def cost_figures(arms: Sequence[Arm]) -> list[Figure]:
    """Build accuracy against each cost, the front named point by point."""
    shown = [cost for cost in COSTS if any(arm.costs[cost] for arm in arms)]
    if all(arm.costs["cost.flops"] == arm.costs["cost.flops_possible"] for arm in arms):
        shown = [cost for cost in shown if cost != "cost.flops_possible"]
    figures = []
    for cost in shown:
        front = pareto(arms, cost)
        figures.append(
            Figure(
                f"Accuracy against {COSTS[cost]}",
                _front_in_words(front, arms),
                cost_chart(arms, cost, front),
                _cost_table(arms, cost, front),
                legend_of(arms),
            )
        )
    return figures


def _front_in_words(front: Sequence[Arm], arms: Sequence[Arm]) -> str:
    by = "on the part set aside" if arms[0].validation else "on the test set"
    names = "; ".join(
        f"{place} {arm.name} ({formats.accuracy(arm.accuracy.mean)})"
        for place, arm in enumerate(front, 1)
    )
    bars = any(arm.accuracy.error is not None for arm in arms)
    end = "Bars are standard errors over seeds." if bars else "One seed an arm: there are no bars."
    return f"Nothing as cheap is better than these, {by}: {names}. {end}"


def _cost_table(arms: Sequence[Arm], cost: str, front: Sequence[Arm]) -> Table:
    columns = [
        ("arm", "text"),
        (COSTS[cost], "seconds" if cost == "measured.seconds" else "number"),
        ("accuracy", "accuracy"),
        ("standard error", "error"),
        ("chosen by", "accuracy"),
        ("seeds", "count"),
        ("on the front", "text"),
    ]
    rows = [
        (
            arm.name,
            arm.costs[cost],
            arm.accuracy.mean,
            arm.accuracy.error,
            arm.chosen_by.mean,
            arm.accuracy.n,
            "yes" if arm in front else "",
        )
        for arm in sorted(arms, key=lambda arm: arm.costs[cost])
    ]
    return Table(f"accuracy against {COSTS[cost]}", columns, rows)


def heat_maps(arms: Sequence[Arm]) -> list[Figure]:
    """Build accuracy over density and fraction, one map for each way to choose and each teacher."""
    groups: dict[tuple[str, str], dict[tuple[float, float], Arm]] = {}
    hidden: dict[tuple[str, str], int] = {}
    for arm in arms:
        row = arm.first
        if arm.control == EQUAL or row.get("criterion") == "random":
            continue
        if row["order"] != "together" or row["mask_on"] != "same":
            continue
        group = data_kind(arm), str(row["teacher"])
        cell = float(row["density"]), float(row["fraction"])
        drawn = groups.setdefault(group, {}).setdefault(cell, arm)
        hidden[group] = hidden.get(group, 0) + (drawn is not arm)
    figures = []
    for (kind, teacher), of in groups.items():
        whole = groups.get(("all data", teacher), {})  # of all data there is but one way
        found = {**whole, **of} if kind not in ("all data", "InfoBatch") else of
        densities = sorted({d for d, _ in found}, reverse=True)
        fractions = sorted({f for _, f in found}, reverse=True)
        if len(densities) > 1 and len(fractions) > 1:
            more = sum(hidden.get((one, teacher), 0) for one in {kind, "all data"})
            figures.append(_heat_map(kind, teacher, found, densities, fractions, more))
    return figures


def _heat_map(
    kind: str,
    teacher: str,
    found: dict[tuple[float, float], Arm],
    densities: Sequence[float],
    fractions: Sequence[float],
    hidden: int,
) -> Figure:
    shape = (len(densities), len(fractions))
    values = np.full(shape, np.nan)
    words = [["" for _ in fractions] for _ in densities]
    rows = []
    for i, density in enumerate(densities):
        for j, fraction in enumerate(fractions):
            if (arm := found.get((density, fraction))) is not None:
                values[i, j] = arm.accuracy.mean
                words[i][j] = f"{100 * arm.accuracy.mean:.1f}"
                error, n = arm.accuracy.error, arm.accuracy.n
                rows.append((density, fraction, arm.name, arm.accuracy.mean, error, n))
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    taught = "" if teacher == "none" else f", teacher {teacher}"
    return Figure(
        f"Density and share of the data: {kind}{taught}",
        "Accuracy in %; dark is high. Rows are the share of the weights kept."
        + (f" {hidden} more arms of these cells differ in other settings." if hidden else ""),
        heat_map(
            [f"density {100 * d:g} %" for d in densities],
            [f"{100 * f:g} %" for f in fractions],
            (values - low) / ((high - low) or 1.0),
            words,
            f"Accuracy over density and share of the data, {kind}{taught}",
            column_title="share of the data kept →",
        ),
        Table(
            f"density and fraction, {kind}{taught}",
            [
                ("density", "share"),
                ("fraction", "share"),
                ("arm", "text"),
                ("accuracy", "accuracy"),
                ("standard error", "error"),
                ("seeds", "count"),
            ],
            rows,
        ),
    )


def class_figure(arms: Sequence[Arm]) -> Figure | None:
    """Build the recall of each class beside that of full and dense, worst class first."""
    full = full_arm(arms)
    if full is None or not full.recalls:
        return None
    classes = sorted(full.recalls, key=lambda name: full.recalls[name])
    shown, drawn = classes[:_MOST_CLASSES], list(arms[:_MOST_ROWS])
    gaps = np.array(
        [[arm.recalls.get(c, np.nan) - full.recalls[c] for c in shown] for arm in drawn]
    )
    most = float(np.nanmax(np.abs(gaps))) or 1.0
    columns = [("arm", "text"), ("accuracy", "accuracy"), ("worst class", "accuracy")]
    rows = [
        (arm.name, arm.accuracy.mean, arm.worst.mean, *(arm.recalls.get(c) for c in classes))
        for arm in arms
    ]
    written = [[_signed(value) for value in row] for row in gaps]
    for place, arm in enumerate(drawn):
        if arm.name == full.name:
            written[place] = [f"{100 * full.recalls[c]:.0f}" for c in shown]
    return Figure(
        "Class by class",
        "Recall in points beside full and dense, whose own is in %; its worst class stands first."
        + _left_out(arms),
        heat_map(
            [arm.name for arm in drawn],
            shown,
            gaps / most,
            written,
            "Recall of each class",
            left=310,
        ),
        Table("recall by class", columns + [(f"recall {c}", "accuracy") for c in classes], rows),
        wide=True,
    )


def _signed(value: float) -> str:
    if np.isnan(value):
        return formats.NONE
    points = round(100 * float(value))
    return f"{points:+d}".replace("-", "\N{MINUS SIGN}") if points else "0"


def worst_figure(arms: Sequence[Arm]) -> Figure:
    """Build the recall of the worst class against the accuracy, as a table with its drawing."""
    styles = styles_of(arms)
    rows = [
        (
            arm.name,
            arm.accuracy.mean,
            arm.worst.mean,
            arm.worst.error,
            arm.worst.mean / max(arm.accuracy.mean, 1e-9),
        )
        for arm in arms
    ]
    drawn = [(arm.name, _ratio(arm), styles[arm.name]) for arm in arms[:_MOST_ROWS]]
    return Figure(
        "Worst class",
        "Recall of the worst class as a share of the accuracy; 1 would be no gap at all."
        + _left_out(arms),
        slope_chart(drawn, "Recall of the worst class over accuracy"),
        Table(
            "worst class",
            [
                ("arm", "text"),
                ("accuracy", "accuracy"),
                ("recall of the worst class", "accuracy"),
                ("standard error", "error"),
                ("over accuracy", "number"),
            ],
            rows,
        ),
    )


def _left_out(rows: Sequence[object]) -> str:
    """Say how many rows a drawing has no room for."""
    more = len(rows) - _MOST_ROWS
    return f" {more} more arms are in the table." if more > 0 else ""


def _ratio(arm: Arm) -> Estimate:
    part = "test" if arm.test is not None else "validation"
    return estimate(
        [r[f"{part}.worst_recall"] / max(r[f"{part}.accuracy"], 1e-9) for r in arm.rows]
    )


def distortion_figure(arms: Sequence[Arm]) -> Figure | None:
    """Build the recall distortion of each arm beside full and dense."""
    full = full_arm(arms)
    if full is None:
        return None
    styles = styles_of(arms)
    found = [(arm, distortion(arm, full)) for arm in arms if arm.name != full.name]
    known = [(arm, one) for arm, one in found if one is not None]
    sound = [(arm, one) for arm, one in known if not one.doubt]
    if not sound:
        return None
    rows = [
        (arm.name, one.alpha.mean, one.alpha.error, one.worst.mean, one.worst.error, one.doubt)
        for arm, one in known
    ]
    said = (
        "Slope through the origin of (recall − accuracy) / accuracy of each class over that of the "
        "full and dense run of the same seed (Good et al. 2022): above 1 the gaps between classes "
        "widen, below 1 they narrow. Few test errors make it uncertain."
    )
    if len(sound) < len(known):
        said += (
            f" Left out of the drawing: {len(known) - len(sound)} arms below 0.8 of its accuracy."
        )
    return Figure(
        "Recall distortion",
        said + _left_out(sound),
        slope_chart(
            [(a.name, one.alpha, styles[a.name]) for a, one in sound[:_MOST_ROWS]],
            "Recall distortion",
        ),
        Table(
            "recall distortion",
            [
                ("arm", "text"),
                ("slope", "number"),
                ("standard error", "number"),
                ("worst class, points", "points"),
                ("its standard error", "error"),
                ("doubt", "text"),
            ],
            rows,
        ),
    )
