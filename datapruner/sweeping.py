"""sweep(): a grid of runs, resumable, in several processes, with its controls and one table."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from warnings import warn

from .errors import UsageError
from .grid import Grid
from .results_table import Row, row_of, settings_of, write_rows
from .run import Run
from .sharing import locked
from .sweep_claim import claim_sweep
from .sweep_plan import Budget, equal_compute, named_apart, points, shown_settings
from .sweep_points import Point
from .sweep_scoring import refuse_unfed
from .sweep_shared import Show, Site
from .sweep_work import Outcome, outcome_of, run_point
from .tracking import JsonLines, Logged, Tracker, check_tracker, log_run, make_tracker

Say = Callable[[str], None]
EVERY = 60.0  # seconds between two tables of a sweep that goes on


@dataclass(frozen=True)
class Shard:
    """Every n-th point of a sweep, beginning with the i-th.

    Raises:
        UsageError: i is not below n, or n is not above 0.

    Example:
        >>> Shard.read("0/2")
        Shard(i=0, n=2)
    """

    i: int = 0
    n: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.i < self.n:
            raise UsageError(
                f"shard {self.i}/{self.n}: give one of 0/{max(self.n, 1)} to "
                f"{max(self.n, 1) - 1}/{max(self.n, 1)}"
            )

    @classmethod
    def read(cls, word: str) -> "Shard":
        """Read i/n."""
        i, slash, n = word.partition("/")
        if not (slash and i.isdigit() and n.isdigit()):
            raise UsageError(f"shard {word!r}: write i/n, such as 0/4 for the first of four")
        return cls(int(i), int(n))


def sweep(
    grid: Grid | Mapping[str, Any] | Path | str,
    out: Path | str,
    *,
    jobs: int = 1,
    shard: Shard | None = None,
    track: Sequence[str] = (),
    show: Show | None = None,
    say: Say | None = None,
) -> list[Row]:
    """Run every point of a grid that has not been run; return one row a run.

    A point is a Run with an id, and lies in OUT/points/ID; what several need (recorded runs,
    scores, subsets, teachers, first runs) is made once, in OUT/shared. A sweep that was killed goes
    on, and a grid that has grown runs only what is new. Writes results.parquet, results.csv and
    summary.csv. A point that fails is recorded with its error, and is tried again by the next call.

    Args:
        grid: a `Grid`, plain values, or a YAML file.
        out: folder.
        jobs: processes, among which the threads are divided.
        shard: run a part of the points; the table is of all that have been run.
        track: further trackers: tensorboard, mlflow, wandb. OUT/log.jsonl is always written.
        show: called with the name of a piece of work, returns what shows its progress.
        say: called with a line for each point that was run.

    Returns:
        Rows in the order of the plan, also of points that failed or are another shard's; `status`
        is done, failed or missing.

    Raises:
        UsageError: the grid cannot be run.
        Refused: the folder holds something else.

    Example:
        >>> import tempfile
        >>> few = {"data": "digits", "seeds": 1, "base": {"model": "mlp", "epochs": 2}}
        >>> rows = sweep(few | {"grid": {"fraction": [1, 0.2]}}, tempfile.mkdtemp() + "/sweep")
        >>> [(row["arm"], row["cost.examples"]) for row in rows][:2]
        [('all data', 2588), ('random 20 %', 518)]
    """
    grid, shard = as_grid(grid), shard or Shard()
    if jobs < 1:
        raise UsageError(f"jobs must be at least 1, not {jobs}")
    site = Site(grid, out, show=show)
    plan = planned_points(site, grid)
    for name in track:
        check_tracker(name)
    for line in claim_sweep(site, grid, plan):
        warn(line, stacklevel=2) if say is None else say(line)
    trackers = trackers_of(track, site.out)
    mine = plan[shard.i :: shard.n]
    try:
        if jobs == 1:
            work(
                site,
                mine,
                trackers,
                say,
                beside=lambda point: counted_control(site, grid, point),
                table=lambda: tabulate(site, grid, plan),
            )
        else:
            from .sweep_processes import in_processes

            in_processes(site, grid, shard, jobs, track)
    finally:
        rows = tabulate(site, grid, plan)
    return rows


def as_grid(grid: Grid | Mapping[str, Any] | Path | str) -> Grid:
    """Return a grid, read from where it is."""
    if isinstance(grid, Grid):
        return grid
    return Grid.from_dict(grid) if isinstance(grid, Mapping) else Grid.read(grid)


def planned_points(site: Site, grid: Grid) -> list[Point]:
    """Return every point, the controls of equal compute among them.

    Raises:
        UsageError: there is none, or one cannot be run.
        Refused: a given teacher does not fit the data.
    """
    plan = {point.key: point for point in points(grid)}
    for point in list(plan.values()):
        site.teacher_of(point)  # refused before any work
        for run in filter(None, (point.run, point.first)):
            _fitting(site, run, point.arm)
        for keep in (point.keep, point.mask_keep):
            if keep.kind == "scored":
                refuse_unfed(keep.scorer)
        if grid.controls:
            control = equal_compute(point, Budget.of(point, site.n), shown_settings(grid))
            if control is not None:
                plan.setdefault(control.key, control)
    return named_apart(list(plan.values()))


def counted_controls(
    site: Site, grid: Grid, plan: Sequence[Point], *, foretold: bool = False
) -> list[Point]:
    """Return the controls that are known by what was counted, of the points that have been run.

    Args:
        site: where.
        grid: whether it has controls, and how its arms are named, is read.
        plan: its points.
        foretold: also of those that have not, by the steps that they will take about.
    """
    found = {point.key: point for point in plan}
    for point in plan:
        control = counted_control(site, grid, point, foretold=foretold)
        if control is not None:
            found.setdefault(control.key, control)
    return list(found.values())[len(plan) :]


def counted_control(
    site: Site, grid: Grid, point: Point, *, foretold: bool = False
) -> Point | None:
    """Return the control of equal compute of a point of InfoBatch; None where it has not been run.

    What it leaves out is known by its run alone, so that this one is no part of the plan.
    """
    if not grid.controls or point.keep.kind != "infobatch":
        return None
    budget, outcome = Budget.of(point, site.n), outcome_of(site.folder(point))
    if outcome is not None and outcome["status"] == "done":
        budget = replace(budget, steps=outcome["cost"]["training"]["steps"], counted=True)
    return equal_compute(
        point, replace(budget, counted=budget.counted or foretold), shown_settings(grid)
    )


def _fitting(site: Site, run: Run, arm: str) -> None:
    try:
        site.refuse_unfit(run)
    except UsageError as error:
        raise UsageError(f"{arm}: {error}") from None


def work(
    site: Site,
    plan: Sequence[Point],
    trackers: Sequence[Tracker],
    say: Say | None,
    call: str = "",
    beside: Callable[[Point], Point | None] | None = None,
    table: Callable[[], object] | None = None,
) -> None:
    """Run points, the first seed of all before the second; one that another process has is left.

    So there is soon something to look at, and a busy hour slows no arm alone.

    Args:
        site: where.
        plan: the points.
        trackers: what each is logged to.
        say: called with a line for each.
        call: see `run_point`.
        beside: returns what is to be run beside a point, once that has been run.
        table: called after a point at most once a minute, to write down what there is: a sweep of
            many hours that is killed leaves a table, and a page may be made of it meanwhile.
    """
    written = time.monotonic()

    def then(point: Point, outcome: Outcome) -> None:
        run = Logged(
            site.id(point),
            {"arm": point.arm, "seed": point.seed, **point.values},
            outcome.get("history", []),
            {k: v for k, v in _result(outcome).items() if v is not None},
            outcome["error"],
        )
        for line in log_run(trackers, run):
            warn(line, stacklevel=2) if say is None else say(line)
        if say is not None:
            say(_line(point, outcome))

    seeds = list(dict.fromkeys(point.seed for point in plan))
    for point in sorted(plan, key=lambda point: seeds.index(point.seed)):
        run_point(site, point, then=then, call=call)
        if beside is not None and (control := beside(point)) is not None:
            run_point(site, control, then=then, call=call)
        if table is not None and time.monotonic() - written >= EVERY:
            table()
            written = time.monotonic()


def _result(outcome: Outcome) -> dict[str, float | None]:
    parts = {f"{p}.accuracy": outcome.get(p, {}).get("accuracy") for p in ("test", "validation")}
    costs = {f"cost.{name}": value for name, value in outcome.get("total", {}).items()}
    return parts | costs | {"seconds": outcome.get("measured", {}).get("seconds")}


def _line(point: Point, outcome: Outcome) -> str:
    name = f"{point.arm}, seed {point.seed}"
    if outcome["status"] == "failed":
        return f"{name}: FAILED: {outcome['error']}"
    accuracy = (outcome.get("test") or outcome["validation"])["accuracy"]
    took = outcome["measured"]["own_seconds"]
    return f"{name}: {100 * accuracy:.2f} %, {took:.1f} s"


def tabulate(site: Site, grid: Grid, plan: Sequence[Point]) -> list[Row]:
    """Write the tables of what lies in the folder, and return the rows."""
    with locked(site.out / "results.lock"):  # so that no process writes what it read before
        rows = gather(site, [*plan, *counted_controls(site, grid, plan)])
        write_rows(site.out, rows)
    return rows


def gather(site: Site, plan: Sequence[Point]) -> list[Row]:
    """Return the rows of a plan, from what lies in the folder."""
    settings = settings_of(plan)
    rows = []
    for point in plan:
        outcome, name = outcome_of(site.folder(point)), site.id(point)
        rows.append(row_of(point, outcome, settings, site.whole.classes) | {"id": name})
    return rows


def trackers_of(names: Sequence[str], out: Path) -> list[Tracker]:
    """Return what points are logged to: log.jsonl always, and trackers by name."""
    return [JsonLines(out / "log.jsonl"), *(make_tracker(name, out) for name in names)]
