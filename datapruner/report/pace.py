"""Time to accuracy: when each arm reaches a share of the full run's accuracy, how much sooner."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from . import formats
from .accuracy import marker, markers
from .arms import FULL, Arm, Estimate, estimate, gather
from .results import Result
from .svg import Scale, drawing, label, line, rect, short_label, ticks
from .tables import Figure, Table

SHARES = (0.9, 0.95, 0.99)
_WIDTH, _LEFT, _ROW = 480, 232, 22


@dataclass(frozen=True)
class Pace:
    """When the runs of an arm reach a share of the full run's accuracy.

    `seconds` is None when not every run of the arm reaches it; `reached` says how many do, of
    `runs`. `sooner` is the full arm's time divided by this arm's.
    """

    arm: str
    share: float
    accuracy: float
    seconds: Estimate | None
    reached: int
    runs: int
    sooner: float | None


def paces(results: Sequence[Result], shares: Sequence[float] = SHARES) -> list[Pace]:
    """Return, arm by arm, when it first tests at each share of the full arm's final accuracy.

    Times are of the first test at or above the mark, so they are as fine as the tests: arms with
    small epochs are tested more often. Seconds are those of training up to the test and of scoring
    and selecting before it, evaluation left out. Empty without an arm "all data" that was tested
    on the way with its seconds.

    Example:
        >>> def run(arm, seconds):
        ...     rows = [{"seconds": seconds, "test_accuracy": 0.9}]
        ...     return Result(arm, 0, 0.9, 10, 1, seconds, rows)
        >>> found = paces([run("all data", 8), run("b", 2)], shares=[1])
        >>> [(p.arm, p.seconds.mean, p.sooner) for p in found]
        [('all data', 8.0, 1.0), ('b', 2.0, 4.0)]
    """
    runs: dict[str, list[Result]] = {}
    for result in results:
        runs.setdefault(result.arm, []).append(result)
    if FULL not in runs or not any(_points(run) for run in runs[FULL]):
        return []
    final = estimate([run.accuracy for run in runs[FULL]]).mean
    found = []
    for arm, own in runs.items():
        for share in shares:
            found.append(_pace(arm, own, runs[FULL], share, share * final))
    return found


def _pace(arm: str, own: list[Result], full: list[Result], share: float, mark: float) -> Pace:
    times = [_reached(run, mark) for run in own]
    known = [time for time in times if time is not None]
    every = estimate(known) if known and len(known) == len(times) else None
    whole = [time for run in full if (time := _reached(run, mark)) is not None]
    sooner = None
    if every and len(whole) == len(full):
        sooner = estimate(whole).mean / max(every.mean, 1e-9)
    return Pace(arm, share, mark, every, len(known), len(times), sooner)


def speed_ups(results: Sequence[Result]) -> dict[str, float | None]:
    """Return by arm how much longer the full arm takes to the arm's own final accuracy.

    The arm's whole time is compared with the full arm's until it first tests at that accuracy:
    what papers call the speed-up. None where the full arm never gets there, or was not tested.

    Example:
        >>> rows = [{"seconds": 4.0 * i, "test_accuracy": 0.2 * i} for i in range(1, 5)]
        >>> rows = [row | {"epoch": i, "examples": 1, "steps": 1} for i, row in enumerate(rows)]
        >>> full = Result("all data", 0, 0.8, 10, 4, 16.0, rows)
        >>> speed_ups([full, Result("RS2 10 %", 0, 0.5, 1, 1, 2.0)])["RS2 10 %"]
        6.0
    """
    full = [run for run in results if run.arm == FULL and _points(run)]
    found: dict[str, float | None] = {}
    for arm in gather(results):
        times = [_reached(run, arm.accuracy.mean) for run in full]
        known = [time for time in times if time is not None]
        whole = estimate(known).mean if known and len(known) == len(times) else None
        found[arm.name] = None if whole is None else whole / max(arm.seconds, 1e-9)
    return found


def _points(run: Result) -> list[tuple[float, float]]:
    """Return (seconds, test accuracy) of every test of which both are known."""
    return [
        (row["seconds"] + run.preparation, row["test_accuracy"])
        for row in run.history
        if row.get("test_accuracy") is not None and row.get("seconds") is not None
    ]


def _reached(run: Result, mark: float) -> float | None:
    """Return when a run first tests at the mark, a hair of rounding aside."""
    return next((time for time, value in _points(run) if value >= mark - 1e-12), None)


def pace_figure(results: Sequence[Result]) -> Figure | None:
    """Draw when each arm reaches each mark; None where `paces` has nothing."""
    found = paces(results)
    if not found:
        return None
    arms = gather(results)
    marks = " · ".join(f"{formats.percent(s, 0)} ({formats.accuracy(m)})" for s, m in _marks(found))
    caption = (
        f"Seconds until a test first reaches {marks} of the full run's final accuracy, evaluation "
        "left out, scoring and selecting included where they were timed; as fine as the tests."
    )
    return Figure("Time to accuracy", caption, _chart(arms, found), pace_table(results))


def pace_table(results: Sequence[Result]) -> Table:
    """Return times and speed-ups as numbers, a row an arm and mark."""
    columns = [
        ("arm", "text"),
        ("share of the full accuracy", "share"),
        ("accuracy", "accuracy"),
        ("seconds", "seconds"),
        ("standard error", "number"),
        ("runs that reach it", "text"),
        ("times sooner than all data", "number"),
        ("speed-up to its own final accuracy", "number"),
    ]
    ups = speed_ups(results)
    rows = [
        (
            pace.arm,
            pace.share,
            pace.accuracy,
            pace.seconds.mean if pace.seconds else None,
            pace.seconds.error if pace.seconds else None,
            f"{pace.reached} of {pace.runs}",
            pace.sooner,
            ups[pace.arm],
        )
        for pace in paces(results)
    ]
    return Table("time to accuracy", columns, rows)


def _marks(found: Sequence[Pace]) -> list[tuple[float, float]]:
    return list(dict.fromkeys((pace.share, pace.accuracy) for pace in found))


def _chart(arms: Sequence[Arm], found: Sequence[Pace]) -> Markup:
    """Draw a row an arm: how long it takes in all, and a mark where it reaches each share."""
    times = [arm.seconds for arm in arms] + [p.seconds.mean for p in found if p.seconds]
    height = _ROW * len(arms) + 46
    x = Scale(0, max(times) * 1.04 or 1.0, _LEFT, _WIDTH - 14)
    styles, foot, marks = markers(arms), _ROW * len(arms) + 6, []
    for tick in ticks(0, x.high, 5):
        marks += [line(x(tick), 4, x(tick), foot, "grid")]
        marks += [label(x(tick), foot + 16, formats.compact(tick))]
    for row, arm in enumerate(arms):
        middle = _ROW * (row + 0.5) + 4
        marks.append(short_label(_LEFT - 8, middle + 4, arm.name, 36))
        marks.append(rect(x.start, middle - 1, x(arm.seconds) - x.start, 2, "grid"))
        for pace in found:
            if pace.arm == arm.name and pace.seconds is not None:
                marks.append(
                    marker(x(pace.seconds.mean), middle, styles[arm.name], _said(pace), _size(pace))
                )
    marks.append(label(x.stop, foot + 34, "seconds →", "axis-title", "end"))
    return drawing(_WIDTH, height, "Seconds until each arm reaches the marks", *marks)


def _size(pace: Pace) -> float:
    """Make the mark of a higher share larger."""
    return 2.5 + 3.0 * math.sqrt(max(0.0, (pace.share - 0.85) / 0.15))


def _said(pace: Pace) -> str:
    assert pace.seconds is not None
    sooner = "" if pace.sooner is None else f", {pace.sooner:.1f} times as fast as all data"
    return (
        f"{pace.arm}: {formats.percent(pace.share, 0)} of the full accuracy after "
        f"{formats.seconds(pace.seconds.mean)}{sooner}"
    )
