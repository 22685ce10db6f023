"""Weight masks measured: by density, lottery tickets, width, the cost of a masked step.

    python benchmarks/masks.py densities tickets width cost
    python benchmarks/masks.py resnet20 --data ../shared/data/cifar10-webp    # six hours of a core

Each figure is kept in benchmarks/masks.json as soon as it is there, and masks.md is written from
it, so that the command may be stopped and given again; the runs of resnet20 go on from their last
epoch. --only takes the figures whose names have one of its words, so that two processes can share
the work: --only gradual, and --only dense one-shot random. Two methods that are compared take as
many optimizer steps. One thread.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from masks_page import page
from torch import nn

import datapruner as dp
from datapruner.checkpoint import load_tensors
from datapruner.files import read_json, write_json
from datapruner.masks import GivenMasks, apply_masks, lottery, make_masks
from datapruner.training import train

HERE = Path(__file__).parent
DENSITIES = (0.2, 0.1, 0.05, 0.02, 0.01)
# LeNet-300-100 on MNIST: 1,200 steps for the dense network, 600 more for what is fine-tuned.
DENSE = dp.Run(model="mlp", lr=0.05, batch_size=128, augment="none", steps=1200)
TUNE = replace(DENSE, lr=0.02, steps=600)
WHOLE = replace(DENSE, steps=1800)
# Plain SGD at a constant rate, as in the first lottery's own code: the first 300 steps of a run are
# then a run of 300 steps.
TICKET = dp.Run(
    model="mlp", lr=0.1, momentum=0.0, nesterov=False, weight_decay=0.0, schedule="constant",
    batch_size=60, augment="none", steps=1000,
)  # fmt: skip
ROUNDS = (0, 5, 9, 12)  # 100, 32.9, 13.5 and 6.9 % of the weights
WIDTHS = (50, 100, 300, 1000)
RESNET = dp.Run(model="resnet20", lr=0.1, epochs=10)

Figures = dict[str, float]


class Measured:
    """Figures by name, written as soon as they are known."""

    def __init__(self, path: Path, only: Sequence[str]) -> None:
        self.path, self.only = path, only
        self.figures: Figures = read_json(path) if path.exists() else {}

    def once(self, name: str, work: Callable[[], float]) -> None:
        """Work a figure out, where it is wanted and not there yet."""
        if name not in self.figures and any(word in name for word in self.only):
            figure = round(work(), 5)
            if self.path.exists():  # what another process has found meanwhile
                self.figures |= read_json(self.path)
            self.figures[name] = figure
            write_json(self.path, dict(sorted(self.figures.items())))
            page(self.figures, self.path.with_suffix(".md"))
            print(f"{name}: {self.figures[name]:g}", flush=True)


class Bench:
    """Data in memory, and networks trained on them."""

    def __init__(self, word: str, out: Path) -> None:
        self.word, self.out = word, out
        self.data, self.test = dp.open_data(word), dp.open_data(word, "test")
        self.loader = dp.TensorLoader(self.data, DENSE.batch_size, augment="none")
        self.tester = dp.TensorLoader(self.test, 1000, normalise=self.loader.normalise)

    def accuracy(self, model: nn.Module) -> float:
        """Return test accuracy, in [0, 1]."""
        return dp.evaluate(model, self.tester)

    def dense(self, run: dp.Run) -> nn.Module:
        """Return the dense network of this run, trained once."""
        folder = self.out / f"dense-{run.model}-{run.seed}"
        return train(run, self.data, out=folder)[0]

    def trained(self, run: dp.Run, *, masks=None, start=None, model=None, keep="") -> float:
        """Train as the run says, from the seed's network or the one given; return accuracy.

        `keep` names a run that goes on from its last epoch when it is killed.
        """
        if model is None:
            model = dp.make_model(run.model, 10, self.data.shape, seed=run.seed)
        loader = dp.TensorLoader(
            self.data, run.batch_size, seed=run.seed, augment=run.augment,
            normalise=self.loader.normalise,
        )  # fmt: skip
        kept = self.out / f"{keep}.safetensors" if keep else None
        if kept is not None:
            kept.parent.mkdir(parents=True, exist_ok=True)
        dp.fit(
            model, loader, None, run, masks=masks or run.weights, start=start, checkpoint=kept,
            run_id=f"{run.id()} {keep}" if keep else None,
        )  # fmt: skip
        return self.accuracy(model)


def densities(bench: Bench, found: Measured, seed: int) -> None:
    run = replace(DENSE, seed=seed)
    name = f"densities/seed {seed}"
    found.once(f"{name}/100 %/dense", lambda: bench.accuracy(bench.dense(run)))
    from_scratch = {"random erk": "erk", "random uniform": "uniform"}
    for density in DENSITIES:
        row = f"{name}/{100 * density:g} %"
        for criterion in ("magnitude", "lookahead"):

            def cut(criterion: str = criterion, density: float = density) -> float:
                model = bench.dense(run)
                apply_masks(model, make_masks(model, criterion=criterion, density=density))
                return bench.accuracy(model)

            found.once(f"{row}/{criterion}, no fine-tuning", cut)

        def tuned(density: float = density) -> float:
            model = bench.dense(run)
            masks = GivenMasks(make_masks(model, density=density))
            return bench.trained(replace(TUNE, seed=seed), masks=masks, model=model)

        found.once(f"{row}/one-shot, fine-tuned", tuned)
        gradual = replace(WHOLE, seed=seed, weights=dp.WeightPruning(density))
        found.once(f"{row}/gradual", lambda run=gradual: bench.trained(run))
        for label, allocation in from_scratch.items():
            weights = dp.WeightPruning(density, "random", allocation, schedule="before")
            sparse = replace(WHOLE, seed=seed, weights=weights)
            found.once(f"{row}/{label}", lambda run=sparse: bench.trained(run))


def tickets(bench: Bench, found: Measured, seed: int) -> None:
    run, early = replace(TICKET, seed=seed), replace(TICKET, seed=seed, steps=300)
    folder = bench.out / f"tickets-{seed}"
    options = {"rate": 0.2, "rewind": "0", "within": "layer", "classifier_rate": 0.1}
    played = {}

    def play() -> dict:
        if not played:
            rounds = lottery(run, bench.data, rounds=max(ROUNDS), out=folder, **options)
            played.update({one.number: one for one in rounds})
        return played

    def masks_of(number: int) -> GivenMasks:
        play()
        sections, _ = load_tensors(folder / f"round-{number}" / "model.safetensors")
        return GivenMasks({k: v.bool() for k, v in sections.get("masks", {}).items()})

    def finished(number: int) -> float:
        play()
        model = dp.make_model("mlp", 10, bench.data.shape)
        saved = folder / f"round-{number}" / "model.safetensors"
        model.load_state_dict(load_tensors(saved)[0]["model"])
        return bench.accuracy(model)

    for number in ROUNDS:
        row = f"tickets/seed {seed}/{100 * (0.8**number * 265.2 + 0.9**number) / 266.2:.1f} %"
        found.once(f"{row}/ticket", lambda n=number: finished(n))
        found.once(
            f"{row}/ticket, step 300", lambda n=number: bench.trained(early, masks=masks_of(n))
        )
        for more in (1, 2) if number else ():
            other = replace(early, seed=seed + 100 * more)  # other first weights, the same mask

            def again(n: int = number, run: dp.Run = other) -> float:
                return bench.trained(run, masks=masks_of(n))

            found.once(f"{row}/fresh weights, step 300/{more}", again)


def mlp(width: int, seed: int) -> nn.Module:
    """Build 784-w-w-10, its weights a function of the seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers = [nn.Linear(784, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU()]
        return nn.Sequential(nn.Flatten(), *layers, nn.Linear(width, 10))


def width(bench: Bench, found: Measured, seed: int) -> None:
    run = replace(DENSE, seed=seed, steps=1000)
    weights = dp.WeightPruning(0.1, "random", "erk", schedule="before")
    for wide in WIDTHS:
        row = f"width/seed {seed}/{wide}"
        found.once(f"{row}/dense", lambda w=wide: bench.trained(run, model=mlp(w, seed)))
        found.once(
            f"{row}/random, 10 %",
            lambda w=wide: bench.trained(run, masks=weights, model=mlp(w, seed)),
        )


def cost(bench: Bench, found: Measured, seed: int) -> None:
    """Time steps of two equal networks in turn, one under masks; the median of the pairs' ratio."""
    for name, shape, pairs in (("resnet8", (3, 32, 32), 60), ("mlp", (1, 28, 28), 400)):
        for schedule in ("before", "cubic", "rigl"):
            found.once(f"cost/seed {seed}/{name}/{schedule}", lambda n=name, s=shape, p=pairs,
                       when=schedule: ratio(n, s, p, when))  # fmt: skip


def ratio(name: str, shape: tuple[int, ...], pairs: int, schedule: str) -> float:
    x, y = torch.randn(128, *shape), torch.randint(0, 10, (128,))
    steps = []
    for masked in (False, True):
        model = dp.make_model(name, 10, shape)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)
        weights = dp.WeightPruning(0.1, allocation="erk", schedule=schedule)
        pruning = dp.masks.attach(model, optimizer, weights) if masked else None
        if pruning is not None:
            pruning.begin()

        def step(done: float, model=model, optimizer=optimizer, pruning=pruning) -> float:
            started = time.perf_counter()
            optimizer.zero_grad(set_to_none=True)
            nn.functional.cross_entropy(model(x), y).backward()
            if pruning is not None:
                pruning.before_step(done)
            optimizer.step()
            if pruning is not None:
                pruning.after_step(done)
            return time.perf_counter() - started

        steps.append(step)
    # a run of 10,000 steps of which these are a piece, about the middle of the schedule
    ratios = []
    for pair in range(pairs + 10):
        done = 0.35 + pair / 10_000
        first, second = (0, 1) if pair % 2 else (1, 0)
        took = {first: steps[first](done), second: steps[second](done)}
        ratios.append(took[1] / took[0])
    return statistics.median(ratios[10:])


def resnet20(bench: Bench, found: Measured, seed: int) -> None:
    run = replace(RESNET, seed=seed)
    name = f"resnet20/seed {seed}"
    half = replace(run, epochs=run.epochs // 2)
    found.once(f"{name}/100 %/dense", lambda: bench.trained(run, keep=f"{name}-dense"))
    for density in (0.2, 0.1, 0.05):
        kept = f"{name}-{100 * density:g}"
        row = f"{name}/{100 * density:g} %"

        def tuned(density: float = density, kept: str = kept) -> float:
            model = bench.dense(half)
            masks, run = GivenMasks(make_masks(model, density=density)), replace(half, lr=0.04)
            return bench.trained(run, masks=masks, model=model, keep=f"{kept}-one-shot")

        found.once(f"{row}/one-shot, fine-tuned", tuned)
        gradual = replace(run, weights=dp.WeightPruning(density))
        random = dp.WeightPruning(density, "random", "erk", schedule="before")
        sparse = replace(run, weights=random)
        for label, one in (("gradual", gradual), ("random erk", sparse)):
            file = f"{kept}-{label.replace(' ', '-')}"
            found.once(f"{row}/{label}", lambda one=one, f=file: bench.trained(one, keep=f))


PARTS = {f.__name__: f for f in (densities, tickets, width, cost, resnet20)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", help=", ".join(PARTS))
    parser.add_argument("--data", default="mnist:../shared/data")
    parser.add_argument("--out", type=Path, default=Path("runs/masks"))
    parser.add_argument("--seeds", type=int, nargs="*", default=[0])
    parser.add_argument("--only", nargs="*", default=[""], help="words in names of figures")
    options = parser.parse_args()
    torch.set_num_threads(1)
    found = Measured(HERE / "masks.json", options.only)
    bench = Bench(options.data, options.out)
    for part in options.parts or ["densities", "tickets", "width", "cost"]:
        for seed in options.seeds:
            PARTS[part](bench, found, seed)
    page(found.figures, HERE / "masks.md")


if __name__ == "__main__":
    main()
