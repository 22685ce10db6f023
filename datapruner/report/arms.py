"""Runs gathered into arms: means, standard errors, shares of the full cost, distance to random."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .results import Result

FULL = "all data"
RANDOM = "random"
_SAME_COST = 0.02  # RS2 carries remainders over, so equal shares may differ by a few examples


@dataclass(frozen=True)
class Estimate:
    """A mean over `n` values with its standard error; the error is None for one value."""

    mean: float
    error: float | None
    n: int


@dataclass(frozen=True)
class Arm:
    """One arm: its runs as means over seeds.

    `share` is the part of the full arm's examples; `difference` is accuracy minus that of the
    random baseline of the same cost, None where there is none. `curve` has a row per epoch:
    examples, steps, mean test accuracy, standard error (NaN for one seed), seconds with those of
    the preparation (NaN where they are not known).
    """

    name: str
    accuracy: Estimate
    examples: float
    steps: float
    seconds: float
    share: float
    difference: Estimate | None
    baseline: str | None
    curve: tuple[tuple[float, float, float, float, float], ...]

    @property
    def family(self) -> str:
        """The name without a share at its end: arms of one family differ by their share alone.

        Example:
            >>> run = Result("RS2 30 %", 0, 0.9, 300, 3, 1.0)
            >>> gather([run])[0].family
            'RS2'
        """
        return re.sub(r"(?<=\S)\s+\d+([.,]\d+)?\s*%$", "", self.name)

    @property
    def is_full(self) -> bool:
        """Tell whether this is the arm that trains on everything."""
        return self.name == FULL

    @property
    def is_random(self) -> bool:
        """Tell whether this arm is a random baseline."""
        return self.name.lower().startswith(RANDOM)


def estimate(values: Sequence[float]) -> Estimate:
    """Return mean and standard error (sample deviation over the root of n).

    Example:
        >>> estimate([0.5, 0.7])
        Estimate(mean=0.6, error=0.1, n=2)
        >>> estimate([0.5])
        Estimate(mean=0.5, error=None, n=1)
    """
    n = len(values)
    mean = math.fsum(values) / n
    if n == 1:
        return Estimate(mean, None, 1)
    variance = math.fsum((value - mean) ** 2 for value in values) / (n - 1)
    return Estimate(mean, round(math.sqrt(variance / n), 12), n)


def gather(results: Sequence[Result]) -> list[Arm]:
    """Gather runs into arms, in the order in which the arms first appear.

    Shares are of the arm "all data"; where there is none, of the arm that saw most examples.

    Example:
        >>> runs = [Result("all data", 0, 0.9, 100, 10, 1.0), Result("random", 0, 0.8, 30, 3, 0.3)]
        >>> [(arm.name, arm.share) for arm in gather(runs)]
        [('all data', 1.0), ('random', 0.3)]
    """
    groups: dict[str, list[Result]] = {}
    for result in results:
        groups.setdefault(result.arm, []).append(result)
    examples = {name: _mean([run.examples for run in runs]) for name, runs in groups.items()}
    full = examples.get(FULL, max(examples.values(), default=0.0))
    arms = []
    for name, runs in groups.items():
        baseline = _baseline(name, examples)
        arms.append(
            Arm(
                name,
                estimate([run.accuracy for run in runs]),
                examples[name],
                _mean([run.steps for run in runs]),
                _mean([run.seconds for run in runs]),
                examples[name] / full if full else math.nan,
                None if baseline is None else _difference(runs, groups[baseline]),
                baseline,
                _curve(runs),
            )
        )
    return arms


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def _known(seconds: float | None) -> float:
    """Return NaN for what a file says is not known."""
    return np.nan if seconds is None else seconds


def _baseline(name: str, examples: dict[str, float]) -> str | None:
    """Name the random arm of the same cost; the full and the random arms have none."""
    if name == FULL or name.lower().startswith(RANDOM):
        return None
    cost = examples[name]
    near = [
        (abs(other - cost), arm)
        for arm, other in examples.items()
        if arm.lower().startswith(RANDOM) and abs(other - cost) <= _SAME_COST * cost
    ]
    return min(near)[1] if near else None


def _difference(runs: Sequence[Result], baseline: Sequence[Result]) -> Estimate:
    """Seed by seed where both arms ran the same seeds, else between the means."""
    mine = {run.seed: run.accuracy for run in runs}
    theirs = {run.seed: run.accuracy for run in baseline}
    if mine.keys() == theirs.keys():
        return estimate([mine[seed] - theirs[seed] for seed in mine])
    a, b = estimate(list(mine.values())), estimate(list(theirs.values()))
    error = None if a.error is None or b.error is None else math.hypot(a.error, b.error)
    return Estimate(a.mean - b.mean, error, min(a.n, b.n))


def _curve(runs: Sequence[Result]) -> tuple[tuple[float, float, float, float, float], ...]:
    """Average the epochs at which every run of the arm was tested."""
    tested = [
        {row["epoch"]: row for row in run.history if row.get("test_accuracy") is not None}
        for run in runs
    ]
    epochs = sorted(set.intersection(*(set(rows) for rows in tested)))
    preparation = _mean([run.preparation for run in runs])
    curve = []
    for epoch in epochs:
        rows = [of_run[epoch] for of_run in tested]
        accuracy = estimate([row["test_accuracy"] for row in rows])
        curve.append(
            (
                _mean([row["examples"] for row in rows]),
                _mean([row["steps"] for row in rows]),
                accuracy.mean,
                np.nan if accuracy.error is None else accuracy.error,
                _mean([_known(row.get("seconds")) for row in rows]) + preparation,
            )
        )
    return tuple(curve)
