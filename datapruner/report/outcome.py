"""What training came to, as the page tells it: sentences, the headline table, the charts."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from . import formats
from .accuracy import MOST_LABELS, Cost, curve_chart, final_chart, key, legend, markers, whiskers
from .arms import FULL, Arm, Estimate, gather
from .pace import pace_figure
from .results import Result
from .tables import Figure, Table


@dataclass(frozen=True)
class Outcome:
    """The results section: `rows` is the headline table, `runs` the numbers of every run."""

    sentences: Sequence[str]
    rows: Sequence["Row"]
    share_of: str
    baselines: bool
    arms: Table
    runs: Table
    figures: Sequence[Figure]


@dataclass(frozen=True)
class Row:
    """One arm of the headline table, written out."""

    key: Markup
    whisker: Markup
    name: str
    accuracy: str
    seeds: str
    examples: str
    steps: str
    seconds: str
    share: str
    difference: str
    kind: str


def outcome(results: Sequence[Result]) -> Outcome | None:
    """Build the results section; None without results."""
    if not results:
        return None
    arms = gather(results)
    styles, small = markers(arms), whiskers(arms)
    rows = [_row(arm, key(styles[arm.name]), small[arm.name]) for arm in arms]
    full = any(arm.is_full for arm in arms)
    return Outcome(
        sentences(arms),
        rows,
        FULL if full else "the arm that saw most examples",
        any(arm.baseline for arm in arms),
        _arm_table(arms),
        _run_table(results),
        _figures(arms, results),
    )


def sentences(arms: Sequence[Arm]) -> list[str]:
    """Say what came out: the full cost, then the best arm beside each random baseline."""
    said = []
    for arm in arms:
        if arm.is_full:
            seen = f"{formats.count(arm.examples)} examples seen"
            said.append(
                f"Trained on everything, the network reaches {plus_minus(arm.accuracy)} ({seen})."
            )
    for base in arms:
        rivals = [arm for arm in arms if arm.baseline == base.name and arm.difference]
        if not rivals:
            continue
        best = max(rivals, key=lambda arm: arm.accuracy.mean)
        assert best.difference is not None
        if best.difference.mean < 0:
            finding = f"nothing beats {base.name}; the nearest, {best.name}, reaches "
        else:
            finding = f"{best.name} {'does best:' if len(rivals) > 1 else 'reaches'} "
        said.append(
            f"At {formats.percent(base.share, 0)} of the examples seen, {finding}"
            f"{plus_minus(best.accuracy)}, {_verdict(best.difference, base.name)}."
        )
    return said


def plus_minus(value: Estimate) -> str:
    """Write a mean accuracy with its standard error.

    Example:
        >>> plus_minus(Estimate(0.9639, 0.0012, 3)).replace(chr(160), " ")
        '96.39 ± 0.12 %'
    """
    if value.error is None:
        return formats.accuracy(value.mean)
    return f"{100 * value.mean:.2f} ± {100 * value.error:.2f}\N{NO-BREAK SPACE}%"


def _verdict(difference: Estimate, base: str) -> str:
    """Compare with the baseline, and say when so few seeds do not tell the arms apart.

    Told apart is what Student's t tells apart at 95 %: with three seeds, 4.3 standard errors.
    """
    from scipy.stats import t

    points = f"{abs(100 * difference.mean):.2f}"
    side = "above" if difference.mean >= 0 else "below"
    if difference.error is None:
        return f"{points} points {side} {base}, from one seed"
    told = f"{points} ± {100 * difference.error:.2f} points {side} {base}"
    if abs(difference.mean) <= t.ppf(0.975, difference.n - 1) * difference.error:
        return f"{told}; {difference.n} seeds do not tell the two apart (t-test, 95 %)"
    return told


def _row(arm: Arm, mark: Markup, whisker: Markup) -> Row:
    difference = ""
    if arm.difference is not None:
        difference = formats.points(arm.difference.mean)
        if arm.difference.error is not None:
            difference += f" ± {100 * arm.difference.error:.2f}"
    return Row(
        mark,
        whisker,
        arm.name,
        plus_minus(arm.accuracy),
        str(arm.accuracy.n),
        formats.count(arm.examples),
        formats.count(arm.steps),
        formats.seconds(arm.seconds),
        formats.percent(arm.share),
        difference or ("baseline" if arm.is_random else formats.NONE),
        "full" if arm.is_full else "random" if arm.is_random else "",
    )


def _arm_table(arms: Sequence[Arm]) -> Table:
    columns = [
        ("arm", "text"),
        ("accuracy", "accuracy"),
        ("standard error", "error"),
        ("seeds", "count"),
        ("examples seen", "count"),
        ("steps", "count"),
        ("seconds", "seconds"),
        ("share of full cost", "share"),
        ("points over random", "points"),
        ("standard error of the difference", "error"),
    ]
    rows = [
        (
            arm.name,
            arm.accuracy.mean,
            arm.accuracy.error,
            arm.accuracy.n,
            arm.examples,
            arm.steps,
            arm.seconds,
            arm.share,
            arm.difference.mean if arm.difference else None,
            arm.difference.error if arm.difference else None,
        )
        for arm in arms
    ]
    return Table("arms", columns, rows)


def _run_table(results: Sequence[Result]) -> Table:
    columns = [
        ("arm", "text"),
        ("seed", "text"),
        ("accuracy", "accuracy"),
        ("examples seen", "count"),
        ("steps", "count"),
        ("seconds", "seconds"),
    ]
    rows = [(r.arm, r.seed, r.accuracy, r.examples, r.steps, r.seconds) for r in results]
    return Table("runs", columns, rows)


def _figures(arms: Sequence[Arm], results: Sequence[Result]) -> list[Figure]:
    caption = "Points of equal cost are set side by side."
    if any(arm.is_random for arm in arms):
        caption = f"The dashed line joins the random baselines and all data. {caption}"
    if len({arm.family for arm in arms if not arm.is_random}) < sum(not a.is_random for a in arms):
        caption = f"Thin lines join arms that differ by their share alone. {caption}"
    if any(arm.accuracy.error for arm in arms):
        caption = f"Bars are standard errors over seeds. {caption}"
    figures = []
    costs: tuple[tuple[Cost, str], ...] = (("examples", "examples seen"), ("steps", "steps"))
    for cost, words in costs:
        figures.append(
            Figure(
                f"Accuracy against {words}",
                caption,
                final_chart(arms, cost),
                _arm_table(arms),
                legend(arms) if len(arms) > MOST_LABELS else (),
            )
        )
    pace = pace_figure(results)
    if pace is not None:
        figures.append(pace)
    if all(math.isfinite(point[4]) for arm in arms for point in arm.curve):
        costs = (("seconds", "wall time"), *costs)
    for cost, words in costs:
        drawn = curve_chart(arms, cost)
        if drawn is not None:
            course = "Test accuracy, epoch by epoch."
            if any(not math.isnan(point[3]) for arm in arms for point in arm.curve):
                course = "Mean test accuracy over seeds, epoch by epoch; bands are standard errors."
            figures.append(
                Figure(
                    f"On the way, against {words}", course, drawn, _curve_table(arms), legend(arms)
                )
            )
    return figures


def _curve_table(arms: Sequence[Arm]) -> Table:
    columns = [
        ("arm", "text"),
        ("examples seen", "count"),
        ("steps", "count"),
        ("accuracy", "accuracy"),
        ("standard error", "error"),
        ("seconds", "seconds"),
    ]
    rows = [(arm.name, *point) for arm in arms for point in arm.curve]
    return Table("learning curves", columns, rows)
