"""advise(): a short pilot on a part of the training set, and what it says about the real run."""

import re
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from .advice import Advice, advice
from .errors import UsageError
from .grid import Grid
from .grid_words import NAMES
from .results_table import Row
from .run import Run
from .sweep_forecast import timing_of
from .sweep_plan import RANDOM_MASK
from .sweep_points import Point
from .sweep_shared import Site
from .sweep_work import run_point
from .sweeping import gather, planned_points

FRACTIONS = (0.5, 0.2)
DENSITIES = (0.2, 0.05)
VALIDATION = 0.2
_WHOLE_RUNS = 7.0  # what the pilot costs for a seed, in runs on everything
_UNITS = {"s": 1, "m": 60, "h": 3600}


def seconds_of(word: str) -> float:
    """Read a time: 90s, 10m, 1.5h, or seconds alone.

    Raises:
        UsageError: it is none.

    Example:
        >>> seconds_of("10m"), seconds_of("90")
        (600.0, 90.0)
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smh]?)", word.strip())
    if found is None or not float(found[1]):
        raise UsageError(f"budget {word!r}: give a time such as 90s, 10m or 1h")
    return float(found[1]) * _UNITS[found[2] or "s"]


@dataclass(frozen=True)
class Pilot:
    """What is tried.

    Attributes:
        run: network and training of the real run; the pilot may take fewer epochs.
        budget: seconds.
        seeds: runs of each arm.
        lose: accuracy that may be lost for a lower cost.

    Example:
        >>> Pilot(Run(model="mlp"), budget=60).lose
        0.01
    """

    run: Run
    budget: float = 600.0
    seeds: int = 3
    lose: float = 0.01
    fractions: tuple[float, ...] = field(default=FRACTIONS)
    densities: tuple[float, ...] = field(default=DENSITIES)

    def __post_init__(self) -> None:
        if self.budget <= 0 or self.seeds < 2:
            raise UsageError("a pilot needs a budget above 0 and at least 2 seeds")
        if not 0 <= self.lose < 1:
            raise UsageError(f"lose must be in [0, 1), not {self.lose}")
        for name in ("sampler", "weights", "distill"):
            if getattr(self.run, name) is not None:
                raise UsageError(f"the run of a pilot has no {name}; that is what it is to find")
        if self.run.steps:
            raise UsageError("a pilot counts in epochs; leave steps at 0")


def advise(
    data: str,
    pilot: Pilot,
    *,
    out: Path | str | None = None,
    say: Callable[[str], None] | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Advice:
    """Try a few runs within a budget, and say what to train on: in words and numbers.

    Every run trains on four fifths of the training set and is judged on the fifth, which is
    stratified and the same for all; the test set is not touched. Tried are everything, halves and
    fifths (random, fresh each epoch, hardest, easiest by EL2N), all data for as many steps, a
    teacher, and sparser networks. An arm is recommended where it costs less than everything and
    its loss is, at 90 % by Student's t over the seeds, within `lose`.

    Args:
        data: what `open_data` opens.
        pilot: what to try, and for how long.
        out: folder for the runs, so that a call goes on; None takes a temporary one.
        say: called with a line for each run.
        clock: seconds, for the budget.

    Raises:
        UsageError: not even runs of one epoch fit into the budget.

    Example:
        >>> found = advise("digits", Pilot(Run(model="mlp", epochs=4, lr=0.05), budget=30, seeds=2))
        >>> found.words[0].startswith("Pilot:")
        True
    """
    if out is None:
        with tempfile.TemporaryDirectory(prefix="datapruner-") as folder:
            return advise(data, pilot, out=Path(folder) / "pilot", say=say, clock=clock)
    began = clock()
    grid = _grid(data, pilot, 1)
    site = Site(grid, out, testing=False)
    epoch, spent = _seconds_an_epoch(site, planned_points(site, grid)[0])
    left = pilot.budget - spent  # not by the clock: a call that goes on comes to the same epochs
    epochs = min(pilot.run.epochs, int(left / (_WHOLE_RUNS * pilot.seeds * epoch)))
    if epochs < 1:
        raise UsageError(
            f"a pilot of one epoch takes about {_WHOLE_RUNS * pilot.seeds * epoch:,.0f} s here; "
            f"give a --budget above that, or fewer --seeds"
        )
    grid = _grid(data, pilot, epochs)
    plan = _ordered(planned_points(site, grid))
    if say is not None:
        say(f"pilot: {epochs} epochs a run, {len(plan)} runs, {pilot.seeds} seeds")
    skipped = _run(site, plan, began + pilot.budget, say, clock)
    rows: list[Row] = gather(site, plan)
    # of a call that goes on, what the one before it ran counts as well
    took = max(clock() - began, sum(row["measured.own_seconds"] or 0.0 for row in rows))
    return advice(rows, pilot.lose, epochs, pilot.run.epochs, took, skipped)


def _grid(data: str, pilot: Pilot, epochs: int) -> Grid:
    changed = {k: v for k, v in pilot.run.changed().items() if k in NAMES}
    base: dict[str, Any] = changed | {"epochs": epochs, "scoring.epochs": max(1, epochs // 3)}
    return Grid.from_dict(
        {
            "data": data,
            "seeds": [pilot.run.seed + i for i in range(pilot.seeds)],
            "validation": VALIDATION,
            "base": {name: v for name, v in base.items() if name not in ("data", "seed")},
            "grid": [
                {
                    "fraction": [1.0, *pilot.fractions],
                    "keep": ["random", "rs2", "el2n", "el2n+bottom"],
                },
                {"fraction": list(pilot.fractions), "teacher": ["full"]},
                {"density": list(pilot.densities)},
            ],
        }
    )


def _ordered(plan: list[Point]) -> list[Point]:
    """Return the points in the order of what has to be known first; random masks left out."""
    wanted = [point for point in plan if point.control != RANDOM_MASK]
    wanted = [p for p in wanted if not (p.control and p.get("weights.density") < 1)]

    def rank(point: Point) -> int:
        if point.keep.kind == "all" and not point.control and point.get("weights.density") == 1:
            return 0
        if point.get("distill.teacher") != "none":
            return 4
        if point.get("weights.density") < 1:
            return 3
        return 1 if point.keep.kind in ("random", "rs2") else 2

    return sorted(wanted, key=rank)


def _run(
    site: Site,
    plan: list[Point],
    deadline: float,
    say: Callable[[str], None] | None,
    clock: Callable[[], float],
) -> int:
    """Run points until the budget is spent, each only where there is time for it."""
    skipped, longest = 0, 0.0
    for point in plan:
        if clock() + longest > deadline:
            skipped += 1
            continue
        began = clock()
        outcome = run_point(site, point)
        longest = max(longest, clock() - began)
        if say is not None and outcome is not None and outcome["status"] == "done":
            reached = 100 * outcome["validation"]["accuracy"]
            say(f"{point.arm}, seed {point.seed}: {reached:.2f} %")
    return skipped


def _seconds_an_epoch(site: Site, whole: Point) -> tuple[float, float]:
    """Time an epoch of everything, twice, of which the first warms up; return it, and both.

    A call that goes on reads what the first one measured.
    """
    trials = [replace(whole, seed=whole.seed + i, arm="one epoch") for i in range(2)]
    for point in trials:
        run_point(site, point)
    timed = [timing_of(site, point) for point in trials]
    took = [1.0 if one is None else max(one[1], 1e-3) for one in timed]
    return took[1], sum(took)
