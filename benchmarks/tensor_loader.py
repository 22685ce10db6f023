"""TensorLoader against a DataLoader with torchvision's transforms: pad 4 and crop, flip, normalise.

    python benchmarks/tensor_loader.py [--data ../shared/data/cifar10-webp] [--rounds 3]

Each round times every loader once on the same random 10,000 pictures, in turn, after one pass that
is not timed; the figures are medians over the rounds.
"""

import argparse
import statistics

import torch
from loaders import contract, interleaved, whole
from loaders_built import BATCH, NORMALISE, torch_loader

import datapruner as dp


def main() -> None:
    """Print images per second of each, and the ratio to the DataLoader."""
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--data", default="../shared/data/cifar10-webp")
    words.add_argument("--rounds", type=int, default=3)
    asked = words.parse_args()
    torch.set_num_threads(1)
    data = dp.open_data(asked.data)
    kept = dp.Fixed(torch.randperm(data.n, generator=torch.Generator().manual_seed(0))[:10_000])
    passes = {
        f"DataLoader, torchvision, {workers} workers": whole(
            dp.prune(torch_loader(data, False, workers), kept)
        )
        for workers in (0, 2)
    }
    passes["TensorLoader"] = contract(dp.TensorLoader(data, BATCH, normalise=NORMALISE), kept)
    speed = {
        name: rows / statistics.median(taken)
        for name, (taken, rows) in interleaved(passes, asked.rounds).items()
    }
    for name, images in speed.items():
        print(f"| {name} | {images:,.0f} | {speed['TensorLoader'] / images:.1f} |", flush=True)


if __name__ == "__main__":
    main()
