"""The cost model of `sweep --dry-run`, checked on points that it has not seen.

    python benchmarks/sweep_forecast.py --out runs/forecast

Runs a small grid with several seeds, one seed of everything after the other, so that a busy minute
falls on all points alike; fits the model to some of the points, and foretells the others: more
epochs, a batch size and a number of mask changes that it was not fitted to. Done twice from the
same runs, with seconds on the wall clock, which is what `--dry-run` says, and with seconds of the
processor, which other processes on the machine do not lengthen. Prints medians over the seeds.
"""

import argparse
import os
import statistics
from pathlib import Path

import torch

from datapruner.files import read_json
from datapruner.forecast import Forecast
from datapruner.grid import Grid
from datapruner.sweep_forecast import timing_of, work_of
from datapruner.sweep_points import Point
from datapruner.sweep_shared import Site
from datapruner.sweeping import planned_points, sweep

GRID = {
    "controls": False,
    "base": {"model": "mlp", "lr": 0.05, "augment": "none"},
    "grid": [
        {"epochs": [1, 2, 3, 6], "fraction": [0.5, 0.1]},
        {"epochs": [2, 3], "fraction": [0.5], "density": [0.1]},
        {"epochs": [2], "fraction": [0.5], "density": [0.1], "weights.every": [0.05]},
        {"epochs": [2, 3, 6], "fraction": [0.2], "keep": ["rs2"]},
        {"epochs": [2], "fraction": [0.2], "batch_size": [32]},
    ],
}
UNSEEN = (
    {"epochs": 6, "fraction": 0.5},
    {"epochs": 3, "fraction": 0.5, "weights.density": 0.1},
    {"epochs": 6, "fraction": 0.2, "keep": "rs2"},
    {"epochs": 2, "fraction": 0.5, "weights.density": 0.1, "weights.every": 0.05},
    {"epochs": 2, "fraction": 0.2, "batch_size": 32},
)


def hidden(point: Point) -> bool:
    """Tell whether the model is not to see a point."""
    own = {name: value for name, value in point.values.items() if name not in GRID["base"]}
    return {"keep": "random", "epochs": 30} | own in [{"keep": "random"} | one for one in UNSEEN]


def check(site: Site, arms: dict[str, list[Point]], clock: str) -> None:
    """Fit the model by one clock, and print what it foretells."""
    rows = []
    for arm, points in arms.items():
        work = timing_of(site, points[0])[0]
        notes = [site.out / "points" / p.id(site.pool.fingerprint) for p in points]
        took = [read_json(note / "outcome.json")["measured"][clock] for note in notes]
        rows.append((arm, points[0], work, took))
    known = [(work, one) for _, p, work, took in rows if not hidden(p) for one in took]
    model = Forecast.fit(known)
    print("| point | fitted | measured, s | least to most | foretold, s | off |")
    print("|---|---|---|---|---|---|")
    for arm, point, _, took in sorted(rows, key=lambda row: hidden(row[1])):
        told, middle = model.seconds(work_of(site, point)), statistics.median(took)
        print(
            f"| {arm} | {'no' if hidden(point) else 'yes'} | {middle:.2f} | {min(took):.2f} to "
            f"{max(took):.2f} | {told:.2f} | {100 * (told / middle - 1):+.0f} % |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="mnist:../shared/data")
    parser.add_argument("--out", type=Path, default=Path("runs/forecast"))
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    grid = Grid.from_dict({**GRID, "data": options.data, "seeds": options.seeds})
    sweep(grid, options.out, say=print)
    site = Site(grid, options.out)
    arms: dict[str, list[Point]] = {}
    for point in planned_points(site, grid):
        arms.setdefault(point.arm, []).append(point)
    assert sum(hidden(points[0]) for points in arms.values()) == len(UNSEEN)
    print(f"\nload average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores; one thread\n")
    for clock, words in (("own_seconds", "Wall clock"), ("own_processor_seconds", "Processor")):
        print(f"{words}:\n")
        check(site, arms, clock)
        print()


if __name__ == "__main__":
    main()
