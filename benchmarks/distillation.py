"""What a teacher gives a student that trains on part of the data: the sweep behind our rule.

Run from the root of the repository. Runs that are done stand in distillation.json and are not done
again, so a command that is killed goes on; --only picks parts:

    python benchmarks/distillation.py --only cost sweep auto sizes kinds further

`sweep` is the table of Ben-Baruch et al. 2024 in the small: LeNet-300-100 on MNIST, fixed random
subsets, weights of the teacher's term, labels made random, with its controls; `auto` adds our rule
and `further` more rows. `sizes` compares teachers of several widths, `kinds` the losses, and fixed
subsets with fresh ones; `cost` times a step. `cifar` asks on the CIFAR-10 copy whether the choice
of a subset still matters once there is a teacher: it takes hours on two cores, and is only run when
it is named.
"""

import argparse
import platform
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from distillation_book import Book, share
from distillation_cifar import cifar
from distillation_figure import drawn
from distillation_page import page
from torch import nn

import datapruner as dp
from datapruner.losses import Loss
from datapruner.noise import with_labels
from datapruner.seeds import generator
from datapruner.teacher_cache import CachedTeacher

HERE = Path(__file__).parent
RUN = dp.Run(model="mlp", lr=0.05, augment="none")
EPOCHS = {0.002: 150, 0.01: 100, 0.05: 40, 0.1: 30, 0.3: 10, 1.0: 4}  # by the share kept
WEIGHTS = ("0", "0.5", "0.9", "1", "kept")
BETWEEN = ("0.3", "0.4", "0.7")
ROWS = [(0.05, 0.0), (0.05, 0.3), (0.1, 0.0), (0.01, 0.0), (0.002, 0.0)]  # kept, random labels
FURTHER = [(1.0, 0.0), (0.3, 0.0), (0.05, 0.1), (0.05, 0.5), (0.01, 0.3), (0.1, 0.3)]
WIDTHS = {"linear": (), "30": (30,), "100": (100,), "300-100": (300, 100), "1000-300": (1000, 300)}
PARTS = ("cost", "sweep", "auto", "sizes", "kinds", "further", "cifar")


class Mnist:
    """MNIST, its teachers, and students on parts of it."""

    def __init__(self, words: argparse.Namespace, book: Book) -> None:
        self.data, self.test = dp.open_data(words.mnist), dp.open_data(words.mnist, "test")
        self.loader, self.home, self.book = dp.TensorLoader(self.data), words.out, book
        self.tester = dp.TensorLoader(self.test, 1000, normalise=self.loader.normalise)
        self.seeds = range(words.seeds)

    def teacher(self, width: str = "300-100") -> CachedTeacher:
        """Return the logits of a network trained for eight epochs on everything, labels clean."""
        file = self.home / f"teacher-{width}.pt"
        model = network(width, 0)
        if not file.exists():
            dp.fit(model, self.loader, None, replace(RUN, epochs=8))
            file.parent.mkdir(parents=True, exist_ok=True)
            torch.save(model.state_dict(), file)
        model.load_state_dict(torch.load(file, weights_only=True))
        self.book.value("teachers", width, 0, lambda: dp.evaluate(model, self.tester))
        return dp.cache_teacher(self.data, model, self.home / f"logits-{width}", run=RUN)

    def noisy(self, share: float, seed: int) -> dp.TensorLoader:
        """Return a loader in which a share of the labels is made uniformly random."""
        if not share:
            return self.loader
        rng = generator(seed, "random labels")
        rows = torch.randperm(self.data.n, generator=rng)[: round(share * self.data.n)]
        labels = self.data.labels.clone()
        labels[rows] = torch.randint(0, 10, (len(rows),), generator=rng)
        return dp.TensorLoader(with_labels(self.data, labels), normalise=self.loader.normalise)

    def trained(
        self,
        fraction: float,
        seed: int,
        noise: float,
        distill: dp.Distill | None,
        *,
        fresh: bool = False,
        first: int = 0,
    ) -> nn.Module:
        """Train a student on a fixed random subset, or on fresh ones of that size."""
        loader, model = self.noisy(noise, seed), network("300-100", seed + first)
        kept = dp.keep(torch.zeros(self.data.n), fraction, rule="random", seed=seed)
        sampler = dp.RS2(fraction, seed) if fresh else dp.Fixed(kept, seed=seed)
        loss = None
        if distill is not None:
            loss = distill.bind(fraction, loader, None if fresh else kept.indices)
        dp.fit(model, loader, sampler, replace(RUN, epochs=EPOCHS[fraction], seed=seed), loss=loss)
        return model

    def accuracy(
        self,
        fraction: float,
        seed: int,
        noise: float,
        distill: dp.Distill | None,
        *,
        fresh: bool = False,
    ) -> float:
        """Return the test accuracy of such a student."""
        model = self.trained(fraction, seed, noise, distill, fresh=fresh)
        return dp.evaluate(model, self.tester)

    def by_the_kept(self, fraction: float, seed: int, noise: float) -> float:
        """Return that of a student whose teacher trained on the kept subset alone."""
        own = self.trained(fraction, seed, noise, None, first=1000)
        return self.accuracy(fraction, seed, noise, dp.Distill(own, 0.5))


def network(width: str, seed: int) -> nn.Module:
    """Return a network for MNIST with these hidden layers; 300-100 is the library's own."""
    if width == "300-100":
        return dp.make_model("mlp", 10, (1, 28, 28), seed=seed)
    sizes = (784, *WIDTHS[width], 10)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        layers: list[nn.Module] = [nn.Flatten()]
        for before, after in zip(sizes, sizes[1:], strict=False):
            layers += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def row(fraction: float, noise: float) -> str:
    return f"{100 * fraction:g} %, {100 * noise:g} % random labels"


def sweep(
    mnist: Mnist,
    rows: Sequence[tuple[float, float]] = ROWS,
    weights: Sequence[str] = WEIGHTS,
) -> None:
    """Train students by fixed weights, with the controls."""
    teacher = mnist.teacher()
    for fraction, noise in rows:
        for seed in mnist.seeds:
            for weight in weights:
                work = partial(mnist.by_the_kept, fraction, seed, noise)
                if weight != "kept":
                    loss = dp.Distill(teacher, share(weight))
                    work = partial(mnist.accuracy, fraction, seed, noise, loss)
                mnist.book.value("sweep", f"{row(fraction, noise)}: {weight}", seed, work)


def auto(mnist: Mnist) -> None:
    """Train students by our rule; what an older rule came to is to be taken out of the file."""
    sweep(mnist, ROWS, ("auto",))


def further(mnist: Mnist) -> None:
    """Go through weights in between, and further shares and levels of noise."""
    sweep(mnist, ROWS, BETWEEN)
    sweep(mnist, FURTHER, (*WEIGHTS, *BETWEEN, "auto"))


def kinds(mnist: Mnist) -> None:
    """Compare kinds of loss at 5 %; and a fixed subset with a fresh one each epoch."""
    teacher = mnist.teacher()
    for noise in (0.0, 0.3):
        for seed in mnist.seeds:
            asked = partial(mnist.accuracy, 0.05, seed, noise)
            for kind in ("kl", "mse", "dkd"):
                for weight in (0.5, 0.9):
                    work = partial(asked, dp.Distill(teacher, weight, kind=kind))
                    mnist.book.value("kinds", f"{kind} {weight}, {row(0.05, noise)}", seed, work)
            for weight in ("0", "0.5", "0.9", "auto"):
                work = partial(asked, dp.Distill(teacher, share(weight)), fresh=True)
                mnist.book.value("kinds", f"RS2 {weight}, {row(0.05, noise)}", seed, work)


def sizes(mnist: Mnist) -> None:
    """Train the same student by teachers of several widths; 300-100 is the one of the sweep."""
    for width in (width for width in WIDTHS if width != "300-100"):
        teacher = mnist.teacher(width)
        for fraction in (0.002, 0.01, 0.05, 0.1):
            for seed in mnist.seeds:
                work = partial(mnist.accuracy, fraction, seed, 0.0, dp.Distill(teacher, 0.5))
                mnist.book.value("sizes", f"{row(fraction, 0.0)}: {width}", seed, work)


def cost(words: argparse.Namespace, book: Book) -> None:
    """Time steps of resnet8 with cached logits and without, in turn; keep the median ratio."""
    data = dp.open_data(words.cifar)
    loader = dp.TensorLoader(data, augment="none")
    order = torch.arange(words.steps * loader.batch_size)
    with tempfile.TemporaryDirectory() as folder:
        run = dp.Run(model="resnet8", augment="none", batch_size=512)
        data.readable[len(order) :] = False  # only those that are trained on are asked about
        teacher = dp.make_model("resnet8", 10, data.shape)
        cached = dp.cache_teacher(data, teacher, Path(folder) / "teacher", run=run)
        lesson = dp.Distill(cached, 0.5).bind(1.0, dp.TensorLoader(data, augment="none"))

        seconds = partial(_seconds, loader, order, replace(run, batch_size=128, epochs=1))
        seconds(lesson), seconds(None)

        def ratio(first: bool) -> float:
            a = seconds(lesson if first else None)
            b = seconds(None if first else lesson)
            return a / b if first else b / a

        for pair in range(words.pairs):  # whichever comes second may be slower
            book.value("cost", "with over without", pair, partial(ratio, pair % 2 == 0))


def _seconds(loader: dp.TensorLoader, order: torch.Tensor, run: dp.Run, loss: Loss | None) -> float:
    model = dp.make_model("resnet8", 10, tuple(loader.x.shape[1:]))
    began = time.process_time()
    dp.fit(model, loader, dp.Fixed(order), run, loss=loss)
    return time.process_time() - began


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="*", choices=PARTS, default=list(PARTS[:-1]))
    parser.add_argument("--mnist", default="mnist:../shared/data")
    parser.add_argument("--cifar", default="../shared/data/cifar10-webp")
    parser.add_argument("--out", type=Path, default=Path("runs/distillation"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--cifar-seeds", type=int, default=3)
    parser.add_argument("--cifar-more", type=int, default=4, help="further seeds at 10 %%")
    parser.add_argument("--pairs", type=int, default=11, help="of timed runs")
    parser.add_argument("--steps", type=int, default=20, help="in each timed run")
    parser.add_argument("--threads", type=int, default=1)
    words = parser.parse_args()
    torch.set_num_threads(words.threads)
    book = Book(HERE / "distillation.json")
    for part in (cost, cifar):
        if part.__name__ in words.only:
            part(words, book)
    if set(PARTS[1:6]) & set(words.only):
        mnist = Mnist(words, book)
        for part in (sweep, auto, sizes, kinds, further):
            if part.__name__ in words.only:
                part(mnist)
    machine = f"torch {torch.__version__}, {platform.machine()}, {words.threads} thread(s)"
    (HERE / "distillation.md").write_text(page(book.held, machine), encoding="utf-8")
    if len(book.held.get("cifar", {})) > 1:
        figure = drawn(book.held["cifar"])
        (HERE / "distillation.svg").write_text(figure, encoding="utf-8")


if __name__ == "__main__":
    main()
