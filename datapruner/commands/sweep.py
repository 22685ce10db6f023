"""`datapruner sweep`."""

# ruff: noqa: D417 - groups of options document themselves

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from ..console import Console
from ..errors import PrunerError
from .options import Common, Say

if TYPE_CHECKING:
    from ..grid import Grid
    from ..results_table import Row
    from ..sweep_points import Point
    from ..sweep_shared import Site


def sweep(
    grid: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="GRID.yaml")],
    /,
    out: str,
    data: str | None = None,
    jobs: int = 1,
    shard: str = "0/1",
    track: tuple[str, ...] = (),
    common: Say = Common(),  # noqa: B008 - frozen
) -> None:
    """Run a grid over data kept, weights kept, teachers, budgets and seeds, with its controls.

    A grid is YAML: what all runs share under `base`, axes under `grid`; points are all combinations
    of the axes' values, each with every seed.

        data: digits                     # what to open
        seeds: 3                         # how many, or a list
        base: {model: mlp, epochs: 20, lr: 0.05, scoring: {epochs: 5}}
        grid:                            # or a list of such grids
          fraction: [1, 0.3, 0.1]        # share of the data kept
          keep: [random, el2n+ccs, rs2]  # random, rs2, infobatch, SCORER or SCORER+RULE
          density: [1, 0.1]              # share of the weights kept
          teacher: [none, full]          # full: a dense network trained on everything

    Further axes: every field of a run (model, epochs, steps, lr, batch_size, ...), ratio, beta,
    per_class, weights.criterion, weights.allocation, weights.pattern, weights.schedule,
    distill.weight, distill.temperature; order (together, data first, weights first, dense first);
    mask_on and mask_fraction (the subset that the mask is found on: all, random, SCORER+RULE).
    scoring, teaching and first have settings of the runs before the last one. A setting without
    effect makes no further point.

    `validation: 0.1` sets a tenth of the training set aside to choose by; `controls: false` leaves
    out the runs that are added: full and dense, a random subset, a mask found on a random subset, a
    random mask, all data for as many steps. Points that exist are not run again, so a sweep that
    was killed goes on, and a grid may grow. What points share is made once. Exits with 1 where a
    point failed; the next call tries it again.

    Args:
        grid: the file.
        out: folder for results.parquet, results.csv, summary.csv, report.html and every run.
        data: open this instead of what the grid says.
        jobs: processes, among which the threads are divided.
        shard: i/n: run only every n-th point, beginning with the i-th; for job arrays that share
            the folder.
        track: further logs: tensorboard, mlflow, wandb.
    """
    from ..grid import Grid
    from ..sweeping import Shard

    made, part = Grid.read(grid), Shard.read(shard)
    _sweep(replace(made, data=data or made.data), out, jobs, part, track, common)


def _sweep(
    grid: "Grid", out: str, jobs: int, shard: Any, track: tuple[str, ...], common: Common
) -> None:
    """Run it, write the page, print the table; or say what it would take."""
    from ..sweeping import sweep as work

    with Console() as console:
        if common.dry_run:
            _foretell(grid, out, jobs, shard, common)
            return
        rows = work(
            grid, out, jobs=jobs, shard=shard, track=track, show=console.within, say=console.say
        )
    page = None
    if any(row["status"] == "done" for row in rows):
        from ..report.sweep_page import write_sweep_report

        page = str(write_sweep_report(out))
    if common.json:
        print(json.dumps({"report": page, "rows": rows}))
    else:
        print(table(rows))
        print(f"\nreport: {page}" if page else "\nno point has been run to its end")
        if missing := sum(row["status"] == "missing" for row in rows):
            print(
                f"{missing} of {len(rows)} points are still to be run: by other shards, or by a "
                "process that is at them now; the same command looks again"
            )
    failed = [row for row in rows if row["status"] == "failed"]
    if failed:
        raise PrunerError(
            f"{len(failed)} of {len(rows)} points failed; the first, {failed[0]['arm']}, seed "
            f"{failed[0]['seed']}: {failed[0]['error']}"
        )


def table(rows: "list[Row]") -> str:
    """Return arms with what they reached and what they cost, a line each.

    Example:
        >>> cost = {"cost.examples": 100, "cost.flops": 2e9, "cost.weights_examples": 5e6}
        >>> run = {"arm": "all data", "control": "", "seed": 0, "status": "done"}
        >>> print(table([run | {"test.accuracy": 0.9, "measured.seconds": 1.0} | cost]))
        arm       accuracy  n  examples  GFLOP  weights x examples  seconds
        all data   90.00 %  1       100    2.0             5.0e+06      1.0
    """
    from ..results_table import summary

    lines = [
        ["arm", "accuracy", "n", "examples", "GFLOP", "weights x examples", "seconds"],
    ]
    for arm in summary(rows):
        part = "test" if "test.accuracy" in arm else "validation"
        error = arm.get(f"{part}.accuracy.error")
        spread = "" if error is None else f" ± {100 * error:.2f}"
        lines.append(
            [
                arm["arm"],
                f"{100 * arm[f'{part}.accuracy']:.2f}{spread} %",
                str(arm["n"]),
                f"{arm['cost.examples']:,.0f}",
                f"{arm['cost.flops'] / 1e9:,.1f}",
                f"{arm['cost.weights_examples']:.1e}",
                f"{arm['measured.seconds']:,.1f}",
            ]
        )
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    return "\n".join(
        "  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])])
        for line in lines
    )


def _foretell(grid: "Grid", out: str, jobs: int, shard: Any, common: Common) -> None:
    """Print every point with the seconds it will take, from those that have been run."""
    from ..sweep_forecast import foretell
    from ..sweep_shared import Site
    from ..sweeping import counted_controls, planned_points

    site = Site(grid, out)
    plan = planned_points(site, grid)[shard.i :: shard.n]
    plan += counted_controls(site, grid, plan, foretold=True)
    found = foretell(site, plan, _timed_steps)
    if common.json:
        points = [
            {"arm": p.arm, "seed": p.seed, "control": p.control, "seconds": s, "done": s is None}
            for p, s in zip(plan, found.each, strict=True)
        ]
        left = {"shared_seconds": found.shared, "seconds": found.total / jobs}
        print(json.dumps({"points": points, **left}))
        return
    arms = list(dict.fromkeys(point.arm for point in plan))
    width = max(map(len, arms))
    print(f"{'point':{width}}  seeds  done  seconds each")
    for arm in arms:
        of = [took for point, took in zip(plan, found.each, strict=True) if point.arm == arm]
        todo = [took for took in of if took is not None]
        each = f"{sum(todo) / len(todo):,.1f}" if todo else "-"
        print(f"{arm:{width}}  {len(of):5}  {len(of) - len(todo):4}  {each:>12}")
    done = sum(took is None for took in found.each)
    print(
        f"\n{len(plan)} points, {done} of them done; what they share takes "
        f"{found.shared:,.0f} s; in all about {found.total / jobs:,.0f} s with {jobs} "
        f"job{'s' if jobs > 1 else ''} ({found.basis})"
    )


def _timed_steps(site: "Site", point: "Point") -> float:
    """Return the seconds of training on everything, from a few timed steps."""
    from .estimate import estimate

    plain = replace(point.run, sampler=None, weights=None, distill=None)
    return float(estimate(plain, site.pool, recording=False)["seconds"])
