"""A fresh random subset each epoch against a fixed one, at equal epochs and at equal steps.

    python benchmarks/time_to_accuracy.py mnist:../shared/data --out runs/time-to-accuracy

The table of Okanovic et al. 2023 in the small: LeNet-300-100 on MNIST, SGD 0.05 with Nesterov
momentum and weight decay 5e-4, cosine to 0 over the steps that are taken, batches of 128, three
seeds; shares of 0.2, 1, 5 and 10 % for 150, 100, 40 and 30 epochs. Each run lies in a folder of its
own, so that the command may be stopped and given again; --only picks rows. Test accuracy is read
once, at the end. Seconds are of training alone, on one thread.

For whole runs, with curves over wall time, see `datapruner race`.
"""

import argparse
import statistics
from pathlib import Path

import torch

import datapruner as dp
from datapruner.run import RS2Spec, Run
from datapruner.sampler_specs import KeepSpec
from datapruner.training import train

SHARES = {0.002: 150, 0.01: 100, 0.05: 40, 0.1: 30}  # fraction: epochs
ARMS = ("static random", "RS2, replaced", "RS2", "all data, as many steps")
RUN = Run(model="mlp", lr=0.05, batch_size=128, augment="none")


def specification(arm: str, fraction: float, seed: int, data: dp.Data, out: Path) -> Run:
    """Return the run of an arm: fixed epochs of its own size, or as many steps on everything."""
    fields = {**RUN.changed(), "seed": seed, "epochs": SHARES[fraction]}
    if arm == "static random":
        folder = out / f"random-{100 * fraction:g}-seed-{seed}"
        if not folder.exists():
            kept = dp.keep(torch.zeros(data.n), fraction, rule="random", seed=seed)
            dp.Selection(kept.indices, data.n, meta={"fingerprint": data.fingerprint}).save(folder)
        return Run(**fields, sampler=KeepSpec(str(folder)))
    if arm == "all data, as many steps":
        options = {"epochs": SHARES[fraction], "batch_size": RUN.batch_size}
        fields["steps"] = dp.steps(dp.RS2(fraction), data.n, **options)
        return Run(**fields)
    return Run(**fields, sampler=RS2Spec(fraction, replacement=arm != "RS2"))


def measured(arm: str, fraction: float, seed: int, data: dp.Data, test: dp.Data, out: Path) -> dict:
    """Train one run, or read it where it is done; return what it came to."""
    name = f"{100 * fraction:g}-{arm.lower().replace(', ', '-').replace(' ', '-')}-seed-{seed}"
    run = specification(arm, fraction, seed, data, out)
    model, history = train(run, data, out=out / name)
    loader = dp.TensorLoader(data, augment="none")
    tester = dp.TensorLoader(test, 1000, normalise=loader.normalise)
    found = {"accuracy": dp.evaluate(model, tester), "steps": history.steps}
    sampler = history.sampling / len(history.epochs)
    return {**found, "seconds": history.seconds, "sampler": sampler}


def cell(runs: list[dict]) -> str:
    values = [100 * run["accuracy"] for run in runs]
    spread = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{statistics.mean(values):.1f} ± {spread:.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", nargs="?", default="mnist:../shared/data")
    parser.add_argument("--out", type=Path, default=Path("runs/time-to-accuracy"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", type=float, nargs="*", default=list(SHARES), help="shares")
    options = parser.parse_args()
    torch.set_num_threads(1)
    data, test = dp.open_data(options.data), dp.open_data(options.data, "test")
    costs = "seconds a run | RS2's own, ms an epoch"
    print(f"| share (epochs) | steps | {' | '.join(ARMS)} | {costs} |")
    print("|---" * (len(ARMS) + 4) + "|")
    for fraction in options.only:
        seeds = range(options.seeds)
        rows = {
            arm: [measured(arm, fraction, seed, data, test, options.out) for seed in seeds]
            for arm in ARMS
        }
        took = [run["seconds"] for runs in rows.values() for run in runs]
        cells = " | ".join(cell(runs) for runs in rows.values())
        steps = rows["RS2"][0]["steps"]
        name = f"{100 * fraction:g} % ({SHARES[fraction]})"
        own = 1000 * statistics.median(run["sampler"] for run in rows["RS2"])
        spent = f"{min(took):.1f} to {max(took):.1f} | {own:.2f}"
        print(f"| {name} | {steps} | {cells} | {spent} |", flush=True)


if __name__ == "__main__":
    main()
