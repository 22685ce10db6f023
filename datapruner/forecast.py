"""How long runs will take: a small cost model fitted to those that were timed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .run import Run
from .sampler_specs import InfoBatchSpec

if TYPE_CHECKING:
    from .sweep_points import Point
    from .sweep_shared import Site

BELOW = 0.65  # share of the examples whose loss is below the mean, of which InfoBatch leaves out
TERMS = ("operations", "steps", "masked steps", "distilled examples", "runs")


def planned(run: Run, fraction: float, n: int) -> tuple[int, int]:
    """Return the examples and steps that a run will take; of InfoBatch about.

    Args:
        run: its budget, batch size and kind of sampler are read.
        fraction: share of the examples in an epoch.
        n: examples that may be trained on.

    Example:
        >>> planned(Run(epochs=2, batch_size=32), 0.1, 1000)
        (200, 8)
    """
    size = max(1, round(fraction * n))
    if isinstance(run.sampler, InfoBatchSpec):
        size = round(n * (1 - run.sampler.ratio * BELOW * run.sampler.delta))
    a_pass = -(-size // run.batch_size)
    if not run.steps:
        return size * run.epochs, a_pass * run.epochs
    whole, rest = divmod(run.steps, a_pass)
    return whole * size + min(rest * run.batch_size, size), run.steps


@dataclass(frozen=True)
class Forecast:
    """Seconds of a run as a sum over what it does, each with its price: see `TERMS`.

    Example:
        >>> model = Forecast.fit([((1.0, 10.0, 0.0, 0.0, 1.0), 2.0)])
        >>> round(model.seconds((2.0, 20.0, 0.0, 0.0, 2.0)), 3)
        4.0
    """

    prices: tuple[float, ...]

    @classmethod
    def fit(cls, timed: Sequence[tuple[Sequence[float], float]]) -> "Forecast":
        """Fit the prices, none below 0, so that relative errors are small.

        With fewer runs than prices, only as many prices are used, operations and steps first.

        Args:
            timed: (terms, seconds) of runs.
        """
        from scipy.optimize import nnls

        terms = np.array([one for one, _ in timed], dtype=np.float64)
        seconds = np.maximum([took for _, took in timed], 1e-6)
        distinct = len({tuple(one) for one, _ in timed})
        used = [place for place in range(terms.shape[1]) if terms[:, place].any()][:distinct]
        scale = np.maximum(np.abs(terms[:, used]).max(0), 1e-12)
        rows = terms[:, used] / scale / seconds[:, None]
        found, _ = nnls(rows, np.ones(len(rows)))
        prices: NDArray[np.float64] = np.zeros(terms.shape[1])
        prices[used] = found / scale
        return cls(tuple(float(price) for price in prices))

    def seconds(self, terms: Sequence[float]) -> float:
        """Return what a run will take."""
        return float(np.dot(self.prices, terms))


def terms_of(site: "Site", point: "Point", counted: Mapping[str, Any] | None = None) -> list[float]:
    """Return what training a point does, in the order of `TERMS`.

    Args:
        site: where.
        point: which.
        counted: its counted training cost, where it has been run; else it is planned.
    """
    run = point.run
    examples, steps = planned(run, point.get("fraction"), site.n)
    if counted is not None:
        examples, steps = counted["examples"], counted["steps"]
    flops, _ = site.counted(run)
    masked = steps if run.weights is not None or point.first is not None else 0
    distilled = examples if run.distill is not None else 0
    return [flops.step * examples / 1e9, float(steps), float(masked), float(distilled), 1.0]


def terms_before(site: "Site", point: "Point") -> dict[str, list[float]]:
    """Return, by an id, what the runs before a point do; points with the same id share them."""
    runs = {"scoring": (point.scoring, 1.0), "teaching": (point.teaching, 1.0)}
    runs["first"] = (point.first, point.first_fraction)
    out = {}
    for stage, (run, fraction) in runs.items():
        if run is None:
            continue
        examples, steps = planned(run, fraction, site.n)
        flops, _ = site.counted(run)
        masked = steps if run.weights is not None else 0
        key = f"{stage} {run.id(data=site.pool.fingerprint)} {fraction}"
        out[key] = [flops.step * examples / 1e9, float(steps), float(masked), 0.0, 1.0]
    return out


def steps_in_all(site: "Site", point: "Point") -> tuple[int, int]:
    """Return the steps of a point with those of the run that scores for it, and of all data."""
    run = point.run
    _, own = planned(run, point.get("fraction"), site.n)
    _, whole = planned(
        Run(epochs=run.epochs, steps=run.steps, batch_size=run.batch_size), 1, site.n
    )
    before = 0
    if point.scoring is not None:
        before += planned(point.scoring, 1.0, site.n)[1]
    return own + before, whole
