"""Write the two sets that the grids on noise and on poison read: MNIST, spoilt by seed.

    python benchmarks/joint/make_data.py --data mnist:../shared/data --out runs/joint

noisy-mnist.npz: a fifth of the training labels replaced by another class, drawn at random; the test
split is untouched. poisoned-mnist.npz: 12,000 training pictures drawn at random, of which one in a
hundred, none of them a 0, has a white square of 4 x 4 in a corner and the label 0; the test split
has the square on every picture that is no 0, and the label 0 as well: accuracy on it is the success
of the attack.
"""

import argparse
from pathlib import Path

import numpy as np

import datapruner as dp

NOISE, POISON, SIDE, TARGET = 0.2, 0.01, 4, 0
FEW = 12_000  # pictures of the poisoned set: LeNet takes long on all of them


def noisy(labels: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    out = labels.copy()
    chosen = generator.permutation(len(labels))[: round(NOISE * len(labels))]
    out[chosen] = (labels[chosen] + generator.integers(1, 10, len(chosen))) % 10
    return out


def patched(pictures: np.ndarray) -> np.ndarray:
    out = pictures.copy()
    out[..., -SIDE - 1 : -1, -SIDE - 1 : -1] = 255
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="mnist:../shared/data")
    parser.add_argument("--out", type=Path, default=Path("runs/joint"))
    options = parser.parse_args()
    train, test = dp.open_data(options.data), dp.open_data(options.data, "test")
    options.out.mkdir(parents=True, exist_ok=True)
    x, y = train.x.numpy(), train.labels.numpy()
    test_x, test_y = test.x.numpy(), test.labels.numpy()
    generator = np.random.default_rng(0)
    spoilt = {"x": x, "y": noisy(y, generator), "x_test": test_x, "y_test": test_y}
    np.savez(options.out / "noisy-mnist.npz", **spoilt)
    some = np.sort(generator.permutation(len(y))[:FEW])
    pictures, labels = x[some], y[some]
    others = np.flatnonzero(labels != TARGET)
    chosen = generator.permutation(others)[: round(POISON * len(labels))]
    pictures[chosen], labels[chosen] = patched(pictures[chosen]), TARGET
    asked = test_y != TARGET
    np.savez(
        options.out / "poisoned-mnist.npz",
        x=pictures,
        y=labels,
        x_test=patched(test_x[asked]),
        y_test=np.full(asked.sum(), TARGET),
    )


if __name__ == "__main__":
    main()
