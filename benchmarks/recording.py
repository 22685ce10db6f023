"""What recording costs: paired training runs with and without the five traces.

Run from the root of the repository, on an idle machine:

    python benchmarks/recording.py --data ../shared/data/cifar10-webp

Each pair trains the same network from the same weights on the same order, once plainly and once
with a Recorder listening; which goes first alternates. The ratio is taken pair by pair and its
median is the figure. The clean pass, which `record()` takes once a run, is timed by itself.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch

import datapruner as dp
from datapruner.engine import fit
from datapruner.evaluation import predict
from datapruner.hardware import pick_device
from datapruner.loaders import Batch
from datapruner.training import make_loader, network


class _Listening:
    """An observer that records the training pass alone."""

    def __init__(self, n: int) -> None:
        self.recorder = dp.Recorder(n)

    def observe(self, epoch: int, batch: Batch, logits: torch.Tensor, losses: torch.Tensor) -> None:
        self.recorder.observe(epoch, batch.index, logits, batch.y)

    def end_epoch(self, epoch: int) -> None:
        self.recorder.end_epoch(epoch)

    def resume(self, epoch: int) -> None:
        """Nothing to go on from."""


def seconds(work: Callable[[], object]) -> float:
    """Return the wall time of a call."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def measure(data: dp.Data, model: str, examples: int, pairs: int) -> None:
    """Print the median ratio of a model, and what its clean pass costs."""
    run = dp.Run(model=model, epochs=1, augment="auto")
    loader = make_loader(data, run)
    sampler = dp.Fixed(torch.arange(min(examples, data.n)))

    def plain() -> None:
        fit(network(run, data, loader), loader, sampler, run)

    def recorded() -> None:
        listening = _Listening(data.n)
        fit(network(run, data, loader), loader, sampler, run, observers=[listening])
        listening.recorder.close()

    plain(), recorded()
    ratios, steps = [], []
    for pair in range(pairs):
        first, second = (plain, recorded) if pair % 2 == 0 else (recorded, plain)
        a, b = seconds(first), seconds(second)
        base, with_traces = (a, b) if pair % 2 == 0 else (b, a)
        ratios.append(with_traces / base)
        steps.append(base / -(-min(examples, data.n) // run.batch_size))
    trained = network(run, data, loader)
    order = torch.arange(min(examples, data.n))
    clean = seconds(lambda: [None for _ in predict(trained, loader, order, precision="float32")])
    epoch = statistics.median(steps) * -(-len(order) // run.batch_size)
    print(
        f"| {model} | {1000 * statistics.median(steps):.1f} | {statistics.median(ratios):.3f} | "
        f"{min(ratios):.3f} to {max(ratios):.3f} | {pairs} | {clean / epoch:.2f} |",
        flush=True,
    )


def main() -> None:
    """Measure resnet8, and the MLP whose steps are too short for a limit to mean much."""
    words = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    words.add_argument("--data", default="../shared/data/cifar10-webp")
    words.add_argument("--pairs", type=int, default=15)
    asked = words.parse_args()
    data = dp.open_data(asked.data)
    print(
        f"{data}, {torch.get_num_threads()} threads, {pick_device()}, torch {torch.__version__}\n"
    )
    print("| network | ms a step | with / without | spread | pairs | clean pass / epoch |")
    print("|---|---|---|---|---|---|")
    measure(data, "resnet8", 2_560, asked.pairs)
    measure(data, "mlp", 12_800, asked.pairs)


if __name__ == "__main__":
    main()
