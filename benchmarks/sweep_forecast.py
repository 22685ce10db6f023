"""The cost model of `sweep --dry-run`, checked on points that it has not seen.

    python benchmarks/sweep_forecast.py --out runs/forecast

Runs a small grid, fits the model to some of its points and foretells the others, which lie inside
and outside of what it was fitted to. Every point is run with three seeds and the median is taken
of both, because a busy machine is not the model's fault. Prints seconds measured and foretold.
"""

import argparse
import statistics
from pathlib import Path

import torch

from datapruner.forecast import Forecast
from datapruner.grid import Grid
from datapruner.sweep_forecast import timings
from datapruner.sweep_shared import Site
from datapruner.sweeping import planned_points, sweep

GRID = {
    "seeds": 3,
    "controls": False,
    "base": {"model": "mlp", "lr": 0.05, "augment": "none"},
    "grid": [
        {"epochs": [1, 2, 3, 6], "fraction": [0.5, 0.1]},
        {"epochs": [2, 3], "fraction": [0.5], "density": [0.1]},
        {"epochs": [2, 3, 6], "fraction": [0.2], "keep": ["rs2"]},
    ],
}
UNSEEN = (
    {"epochs": 6, "fraction": 0.5},
    {"epochs": 3, "fraction": 0.5, "weights.density": 0.1},
    {"epochs": 6, "fraction": 0.2, "keep": "rs2"},
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="mnist:../shared/data")
    parser.add_argument("--out", type=Path, default=Path("runs/forecast"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    grid = Grid.from_dict({**GRID, "data": options.data})
    sweep(grid, options.out)
    site = Site(grid, options.out)
    plan = planned_points(site, grid)
    groups: dict[str, list] = {}
    for point in plan:
        groups.setdefault(point.arm, []).append(point)
    known, unseen = [], []
    for arm, points in groups.items():
        timed, _ = timings(site, points)
        terms, took = timed[0][0], statistics.median(seconds for _, seconds in timed)
        set_to = dict(points[0].values) | {"epochs": points[0].get("epochs")}
        hidden = any(all(set_to.get(k) == v for k, v in one.items()) for one in UNSEEN)
        hidden = hidden and ("keep" in set_to) == (set_to.get("keep") == "rs2")
        (unseen if hidden else known).append((arm, terms, took))
    model = Forecast.fit([(terms, took) for _, terms, took in known])
    print("| point | fitted | measured, s | foretold, s | off |\n|---|---|---|---|---|")
    for arm, terms, took in known + unseen:
        told = model.seconds(terms)
        fitted = "no" if (arm, terms, took) in unseen else "yes"
        print(f"| {arm} | {fitted} | {took:.2f} | {told:.2f} | {100 * (told / took - 1):+.0f} % |")


if __name__ == "__main__":
    main()
