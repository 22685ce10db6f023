"""Schedules: when weights are pruned, as functions of progress in [0, 1], never of a step count.

A schedule says which share of the removal is done at a progress, from 0 to 1; the density is then
1 - (1 - density) * share. So it means the same on a tenth of the data.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import cos, floor, pi
from typing import Literal

from ..errors import UsageError, suggest

Share = Callable[[float, float, float], float]


@dataclass(frozen=True)
class Schedule:
    """When weights go, and whether others come.

    Attributes:
        share: (progress, begin, end) -> share of the removal that is done, in [0, 1].
        begin: progress at which it starts, unless the run says otherwise.
        end: progress at which the final density is reached, or the exchange of weights ends.
        every: progress between two changes.
        grows: by what weights come back in exchange: the dense gradient, at random, or, between two
            changes all by themselves (free); none: what is gone stays gone.
        soft: masks are smooth functions of the weights until the end.

    Example:
        >>> SCHEDULES["cubic"].begin, SCHEDULES["cubic"].end
        (0.1, 0.7)
    """

    share: Share
    begin: float = 0.0
    end: float = 0.0
    every: float = 0.01
    grows: Literal["none", "gradient", "random", "free"] = "none"
    soft: bool = False


def at_once(progress: float, begin: float, end: float) -> float:
    """Remove everything at `begin`; before training where that is 0.

    Example:
        >>> at_once(0.2, 0.3, 0.3), at_once(0.3, 0.3, 0.3)
        (0.0, 1.0)
    """
    return 1.0 if progress >= begin else 0.0


def afterwards(progress: float, begin: float, end: float) -> float:
    """Remove nothing until training is over.

    Example:
        >>> afterwards(0.99, 1.0, 1.0), afterwards(1.0, 1.0, 1.0)
        (0.0, 1.0)
    """
    return 1.0 if progress >= 1 else 0.0


def cubic(progress: float, begin: float, end: float) -> float:
    """Return 1 - (1 - t)³, t from `begin` to `end`: fast first (Zhu and Gupta 2017).

    Halfway through, 7/8 of what goes is gone.

    Example:
        >>> cubic(0.5, 0.0, 1.0)
        0.875
    """
    return 1.0 - (1.0 - linear(progress, begin, end)) ** 3


def linear(progress: float, begin: float, end: float) -> float:
    """Return t, even from `begin` to `end` (Jin et al. 2025: a quarter to three quarters).

    Example:
        >>> linear(0.5, 0.25, 0.75)
        0.5
    """
    if progress >= end:
        return 1.0
    return max(0.0, (progress - begin) / (end - begin))


@dataclass(frozen=True)
class Timing:
    """A schedule with its times.

    Attributes:
        schedule: what is done.
        begin: progress at which it starts.
        end: progress at which it is over.
        every: progress between two changes.

    Example:
        >>> timing("linear").share(0.5)
        0.5
    """

    schedule: Schedule
    begin: float
    end: float
    every: float

    def tick(self, progress: float) -> int:
        """Count the changes that are due by `progress`: 0 before `begin`, the last at `end`.

        Example:
            >>> timing("linear", every=0.25).tick(0.6), timing("linear", every=0.25).last
            (2, 3)
        """
        if progress < self.begin - _NEARLY:
            return 0
        if progress >= self.end - _NEARLY:
            return self.last
        return 1 + floor((progress - self.begin) / self.every + _NEARLY)

    @property
    def last(self) -> int:
        """The number of the change at `end`."""
        if self.end <= self.begin:
            return 1
        return 2 + floor((self.end - self.begin) / self.every - _NEARLY)

    def share(self, progress: float) -> float:
        """Return the share of the removal that is done once this progress has had its change."""
        tick = self.tick(progress)
        if tick == self.last:
            return 1.0
        at = self.begin + max(0, tick - 1) * self.every
        return self.schedule.share(at, self.begin, self.end)

    def replaced(self, progress: float, at_first: float) -> float:
        """Return the share of active weights that is exchanged: a cosine to 0 at `end` in RigL.

        None at the end of the run: what grows there would never train.

        Example:
            >>> timing("rigl", begin=0.0, end=1.0).replaced(0.5, 0.3)
            0.15
        """
        if self.schedule.grows == "random":
            return at_first if progress < 1 - _NEARLY else 0.0
        done = min(1.0, (progress - self.begin) / (self.end - self.begin))
        return at_first / 2 * (1 + cos(pi * done))


SCHEDULES: dict[str, Schedule] = {
    # one change
    "before": Schedule(at_once),
    "after": Schedule(afterwards, 1.0, 1.0),
    # a ramp
    "cubic": Schedule(cubic, 0.1, 0.7),
    "linear": Schedule(linear, 0.25, 0.75),
    "staircase": Schedule(linear, 0.1, 0.8, every=0.1, grows="free"),
    # constant density, weights exchanged
    "rigl": Schedule(at_once, 0.0, 0.75, every=0.02, grows="gradient"),
    "set": Schedule(at_once, 0.0, 0.9, every=0.03, grows="random"),
    # masks that are smooth until the end
    "soft": Schedule(linear, 0.1, 0.7, soft=True),
}

_NEARLY = 1e-9


def timing(
    name: str, *, begin: float | None = None, end: float | None = None, every: float | None = None
) -> Timing:
    """Return a schedule by name, with times of its own where they are given.

    Args:
        name: in `SCHEDULES`.
        begin: progress at which it starts.
        end: progress at which it is over.
        every: progress between two changes.

    Raises:
        UsageError: no schedule is called that, or the times are in no order.

    Example:
        >>> timing("cubic", end=0.5).begin
        0.1
    """
    if name not in SCHEDULES:
        raise UsageError(f"no schedule is called {name!r}; {suggest(name, SCHEDULES)}")
    schedule = SCHEDULES[name]
    if name in ("before", "after"):
        if end is not None or every is not None or (name == "after" and begin is not None):
            at = "begin; " if name == "before" else "the end; begin, "
            raise UsageError(f"schedule {name!r} changes once, at {at}end and every are for ramps")
        start = schedule.begin if begin is None else begin
        found = Timing(schedule, start, start, schedule.every)
    else:
        start = schedule.begin if begin is None else begin
        stop = schedule.end if end is None else end
        found = Timing(schedule, start, stop, schedule.every if every is None else every)
        if not found.begin < found.end:
            raise UsageError(f"schedule {name!r}: begin {start:g} must lie before end {stop:g}")
    if not (0 <= found.begin <= 1 and found.end <= 1):
        raise UsageError(
            f"begin and end are progress in [0, 1], not {found.begin:g}, {found.end:g}"
        )
    if not found.every > 0:
        raise UsageError(f"every must be above 0, not {found.every:g}")
    return found
