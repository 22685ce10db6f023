"""How long runs will take: what they do, counted, times prices fitted to runs that were timed."""

from collections.abc import Iterable
from dataclasses import astuple, dataclass
from statistics import median

import numpy as np

from .batching import rows_in
from .run import Run
from .sampler_specs import InfoBatchSpec
from .weight_specs import WeightPruning

BELOW = 0.65  # share of the examples whose loss is below the mean, where no run has said it
SCATTER = 0.05  # relative; how far two timings of the same work are apart on a machine in use


@dataclass(frozen=True)
class Work:
    """What a run does, in the parts that time is spent on.

    Attributes:
        operations: of training, in billions.
        steps: optimizer steps, each with its own overhead besides the operations.
        epochs: each draws, and saves a checkpoint.
        ranked: weights that are ranked at the changes of masks, in millions: a schedule makes so
            many changes whatever the number of steps.
        held: weights that are held at their masks after each step, in millions.
        asked: operations of a teacher, in billions.
        recorded: thousands of rows written into traces.
        judged: operations of evaluation, in billions.
        runs: 1: networks are made, data measured, results saved.

    Example:
        >>> Work(steps=3).steps
        3
    """

    operations: float = 0.0
    steps: float = 0.0
    epochs: float = 0.0
    ranked: float = 0.0
    held: float = 0.0
    asked: float = 0.0
    recorded: float = 0.0
    judged: float = 0.0
    runs: float = 1.0


USUAL = Work(0.012, 0.001, 0.02, 0.14, 0.001, 0.012, 0.003, 0.02, 0.2)  # seconds on a CPU core


def planned(run: Run, fraction: float, n: int, below: float = BELOW) -> tuple[int, int]:
    """Return the examples and steps that a run will take; of InfoBatch about.

    Args:
        run: its budget, batch size and kind of sampler are read.
        fraction: share of the examples in an epoch.
        n: examples that may be trained on.
        below: share of them whose loss is below the mean, of which InfoBatch leaves out; see
            `below_of`.

    Example:
        >>> planned(Run(epochs=2, batch_size=32), 0.1, 1000)
        (200, 8)
    """
    size = _drawn(run, fraction, n, below)
    a_pass = -(-size // run.batch_size)
    if not run.steps:
        return size * run.epochs, a_pass * run.epochs
    whole, rest = divmod(run.steps, a_pass)
    return whole * size + rows_in(rest, size, run.batch_size), run.steps


def below_of(run: Run, n: int, examples: int) -> float | None:
    """Return the share below the mean loss, by the examples that a run of InfoBatch took.

    None for another sampler, a budget in steps, and where no epoch left anything out.

    Example:
        >>> run = Run(epochs=8, sampler=InfoBatchSpec(0.5))
        >>> below_of(run, 1000, planned(run, 1.0, 1000, below=0.8)[0])
        0.8
    """
    if not isinstance(run.sampler, InfoBatchSpec) or run.steps:
        return None
    most = run.sampler.ratio * _pruned(run)
    return round((1 - examples / (n * run.epochs)) / most, 6) if most else None


def _drawn(run: Run, fraction: float, n: int, below: float = BELOW) -> int:
    """Return the examples of an epoch, on average over the run."""
    if isinstance(run.sampler, InfoBatchSpec):
        return round(n * (1 - run.sampler.ratio * below * _pruned(run)))
    return max(1, round(fraction * n))


def _pruned(run: Run) -> float:
    """Return the share of the epochs in which InfoBatch leaves out: not the first, nor the last."""
    assert isinstance(run.sampler, InfoBatchSpec)
    if run.steps:
        return run.sampler.delta
    return max(0, round(run.sampler.delta * run.epochs) - 1) / run.epochs


def epochs_of(run: Run, fraction: float, n: int) -> int:
    """Return the epochs that a run takes, whose budget may be in steps.

    Example:
        >>> epochs_of(Run(steps=10, batch_size=32), 0.1, 1000)
        3
    """
    return -(-run.steps // -(-_drawn(run, fraction, n) // run.batch_size)) or run.epochs


def rankings(pruning: WeightPruning, steps: int) -> int:
    """Return how often a run of so many steps ranks the weights that it prunes.

    Example:
        >>> rankings(WeightPruning(0.1), 1000), rankings(WeightPruning(0.1), 10)
        (61, 7)
    """
    from .masks.criteria import criterion_named
    from .masks.schedules import timing

    when = timing(pruning.schedule, begin=pruning.begin, end=pruning.end, every=pruning.every)
    changes = min(when.last, 1 + int((when.end - when.begin) * steps))
    return changes * criterion_named(pruning.criterion).rounds


def examples_read(pruning: WeightPruning, steps: int, epoch: int) -> int:
    """Return how many examples a run of so many steps reads to rank its weights.

    Args:
        pruning: whether its criterion, or its allocation, needs examples is read.
        steps: of the run.
        epoch: examples of the first epoch, of which at most `pruning.examples` are read.

    Example:
        >>> examples_read(WeightPruning(0.1, criterion="snip", schedule="before"), 100, 500)
        500
        >>> examples_read(WeightPruning(0.1), 100, 500)
        0
    """
    from .masks.making import Recipe
    from .masks.schedules import timing

    if not Recipe.read(pruning.criterion, pruning.allocation, pruning.floor).needs_data():
        return 0
    # what exchanges weights goes by the gradient of the step, once it has begun
    once = timing(pruning.schedule).schedule.grows in ("gradient", "random")
    changes = 1 if once else rankings(pruning, steps)
    return changes * min(pruning.examples or epoch, epoch)


def compared(run: Run, drawn: int) -> int:
    """Return how many examples a run compares with its teacher before it trains, for auto's weight.

    Args:
        run: whether it has a teacher, and by what weight it learns from it, is read.
        drawn: examples of the first epoch.

    Example:
        >>> from datapruner.distill_specs import DistillSpec
        >>> compared(Run(distill=DistillSpec("full")), 500)
        500
        >>> compared(Run(distill=DistillSpec("full", weight=0.5)), 500)
        0
    """
    from .teachers import SAMPLE

    auto = run.distill is not None and run.distill.weight == "auto"
    return min(SAMPLE, drawn) if auto else 0


def mean_density(pruning: WeightPruning, steps: int) -> float:
    """Return the density of the pruned weights, averaged over the steps of a run.

    Example:
        >>> round(mean_density(WeightPruning(0.2, schedule="before"), 10), 6)
        0.2
    """
    from .masks.schedules import timing

    when = timing(pruning.schedule, begin=pruning.begin, end=pruning.end, every=pruning.every)
    done = sum(when.share(step / steps) for step in range(steps)) / steps
    return 1 - (1 - pruning.density) * done


@dataclass(frozen=True)
class Forecast:
    """Seconds of a run as a sum over what it does, each part with its price.

    Attributes:
        prices: seconds of one of each part.

    Example:
        >>> model = Forecast.fit([(Work(operations=10, steps=100), 2.0)])
        >>> 2 < model.seconds(Work(operations=20, steps=200)) < 4
        True
    """

    prices: Work

    @classmethod
    def fit(cls, timed: Iterable[tuple[Work, float]], usual: Work = USUAL) -> "Forecast":
        """Fit the prices, none below 0, so that relative errors are small.

        Runs that do the same count once, by their median. What the runs leave open, because too few
        were timed or none that has masks, say, follows the usual prices at the pace of this
        machine: each price is drawn to them by as much as its own size is worth against `SCATTER`.

        Args:
            timed: what runs did, and their seconds; at least one.
            usual: prices above 0.
        """
        from scipy.optimize import nnls

        same: dict[Work, list[float]] = {}
        for work, took in timed:
            same.setdefault(work, []).append(took)
        seconds = np.maximum([median(took) for took in same.values()], 1e-6)
        prior = np.array(astuple(usual))
        rows = np.array([astuple(work) for work in same]) * prior / seconds[:, None]
        pace = 1 / np.median(rows.sum(1))
        towards = SCATTER * np.eye(len(prior)) / pace
        found, _ = nnls(
            np.concatenate([rows, towards]),
            np.concatenate([np.ones(len(rows)), np.full(len(prior), SCATTER)]),
        )
        return cls(Work(*(found * prior).tolist()))

    def seconds(self, work: Work) -> float:
        """Return what a run will take."""
        return float(np.dot(astuple(self.prices), astuple(work)))


class Forecasts:
    """A forecast for each network that was timed; the one of all serves those that were not.

    An operation of a small network takes longer than one of a large one, so each has prices of its
    own, drawn to those of all where its own runs leave them open.

    Args:
        timed: the network, what a run did, and its seconds; at least one.

    Example:
        >>> mlp = [("mlp", Work(operations=a), 0.2 + 0.1 * a) for a in (10, 100)]
        >>> resnet = [("resnet18", Work(operations=a), 0.2 + 0.02 * a) for a in (100, 1000)]
        >>> model = Forecasts([*mlp, *resnet])
        >>> [round(model.seconds(name, Work(operations=50))) for name in ("mlp", "resnet18")]
        [5, 1]
    """

    def __init__(self, timed: Iterable[tuple[str, Work, float]]) -> None:
        known = list(timed)
        self.of_all = Forecast.fit((work, took) for _, work, took in known)
        least = [price / 20 for price in astuple(USUAL)]
        usual = Work(*map(max, astuple(self.of_all.prices), least))
        names = {name for name, _, _ in known}
        self.of = {
            name: Forecast.fit([(work, took) for one, work, took in known if one == name], usual)
            for name in names
            if len(names) > 1
        }

    def seconds(self, network: str, work: Work) -> float:
        """Return what a run of a network will take."""
        return self.of.get(network, self.of_all).seconds(work)
