"""What a pruned epoch costs: DataLoader with torchvision, TensorLoader, FFCV, and FFCV pruned.

    python benchmarks/loaders.py [--data ../shared/data] [--rounds 7] [--only pictures]

Runs a few minutes on two cores and prints Markdown; `loaders.md` beside this file holds one run.
Each round times every loader once, in turn, so that a busy moment of the machine hits all alike;
the table has the medians over rounds. Every loader makes a pass before it is timed, in which FFCV
compiles, worker processes start and files enter the system's cache.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from loaders_built import BATCH, NORMALISE, WORKERS, cifar, ffcv_loader, photos, torch_loader

import datapruner as dp
from datapruner.ffcv import FFCVLoader, prune_ffcv
from datapruner.ffcv.installed import require

FRACTIONS = (1.0, 0.5, 0.3, 0.1)

Pass = Callable[[], Iterable[Any]]


def contract(loader: Any, sampler: Any) -> Pass:
    """Return a pass of a loader that takes an order, epoch after epoch."""
    bound = sampler.bind(len(loader.labels), loader.labels)
    epochs = iter(range(10**9))

    def epoch() -> Iterable[Any]:
        number = next(epochs)
        return loader(bound.draw(number)[0], epoch=number)

    return epoch


def whole(loader: Any) -> Pass:
    """Return a pass of a loader that is iterated over."""
    return lambda: loader


def seconds(one: Pass) -> tuple[float, int]:
    """Go through one pass; return what it took, and the rows it gave."""
    torch.set_num_threads(1)  # plain FFCV sets torch's threads to its own number each epoch
    began, rows = time.perf_counter(), 0
    for batch in one():
        rows += len(batch[-1])
    return time.perf_counter() - began, rows


def interleaved(passes: dict[str, Pass], rounds: int) -> dict[str, tuple[list[float], int]]:
    """Time every pass once a round, after one that is not timed; return seconds and rows."""
    rows = {name: seconds(one)[1] for name, one in passes.items()}
    taken: dict[str, list[float]] = {name: [] for name in passes}
    for _ in range(rounds):
        for name, one in passes.items():
            taken[name].append(seconds(one)[0])
    return {name: (taken[name], rows[name]) for name in passes}


def table(head: list[str], rows: list[list[str]]) -> None:
    """Print a Markdown table."""
    print("| " + " | ".join(head) + " |")
    print("|" + "---|" * len(head))
    for row in rows:
        print("| " + " | ".join(row) + " |")
    print(flush=True)


ALONE = """
import json, sys, warnings
warnings.simplefilter("ignore")
import ffcv.loader  # before datapruner: as FFCV comes, on the threads that numba takes by itself
sys.path.insert(0, sys.argv[1])
import loaders
from pathlib import Path
import numpy as np
beton, photo, n, rounds, *sizes = json.loads(sys.argv[2])
passes = {}
for size in sizes:
    kept = np.random.default_rng(0).permutation(n)[:size].astype(np.uint64)
    passes[size] = loaders.whole(loaders.ffcv_loader(Path(beton), kept, photo))
print(json.dumps([taken for taken, _ in loaders.interleaved(passes, rounds).values()]))
"""


def child(code: str, *arguments: str, **environment: str) -> str:
    """Run Python code in a process of its own; return the last line it prints."""
    done = subprocess.run(
        [sys.executable, "-c", code, str(Path(__file__).parent), *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()[-1]


def plain_ffcv(
    beton: Path, photo: bool, n: int, rounds: int, sizes: list[int]
) -> list[list[float]]:
    """Return the seconds of epochs of plain FFCV over random subsets of these sizes.

    In a process of its own: datapruner puts numba on OpenMP, where FFCV's habit of starting a
    thread an epoch is dear; FFCV by itself takes TBB where that is installed.
    """
    found = json.loads(child(ALONE, json.dumps([str(beton), photo, n, rounds, *sizes])))
    return [list(map(float, taken)) for taken in found]


def compare(data: dp.Data, beton: Path, photo: bool, rounds: int) -> None:
    """Print images per second of every loader on everything, a fixed 30 % and RS2 10 %."""
    share = torch.randperm(data.n, generator=torch.Generator().manual_seed(0))
    fixed = share[: int(0.3 * data.n)].sort().values
    samplers = {
        "everything": dp.Fixed(),
        "fixed 30 %": dp.Fixed(fixed.tolist()),
        "RS2 10 %": dp.RS2(0.1),
    }
    size = {"image_size": 224} if photo else {}
    ours = FFCVLoader(beton, BATCH, workers=WORKERS, normalise=NORMALISE, **size)
    inner = ffcv_loader(beton, None, photo)
    tensors = None if photo else dp.TensorLoader(data, BATCH, normalise=NORMALISE)
    torches = {w: torch_loader(data, photo, w) for w in (0, WORKERS)}
    result: dict[str, dict[str, str]] = {}
    for what, sampler in samplers.items():
        passes = {
            f"DataLoader, torchvision, {w} workers": whole(dp.prune(torches[w], sampler))
            for w in torches
        }
        if tensors is not None:
            passes["TensorLoader"] = contract(tensors, sampler)
        passes["FFCV, prune()"] = whole(prune_ffcv(inner, sampler))
        passes["FFCVLoader"] = contract(ours, sampler)
        for name, (taken, rows) in interleaved(passes, rounds).items():
            speed = f"{rows / statistics.median(taken):,.0f}"
            result.setdefault(name, {})[what] = speed
    sizes = [data.n, len(fixed)]
    seen = plain_ffcv(beton, photo, data.n, rounds, sizes)
    speeds = [f"{n / statistics.median(taken):,.0f}" for n, taken in zip(sizes, seen, strict=True)]
    names = list(samplers)
    result["plain FFCV"] = dict(zip(names, speeds, strict=False))
    table(
        ["images/s", *names],
        [[name, *(found.get(what, "–") for what in names)] for name, found in result.items()],
    )


def fractions(data: dp.Data, beton: Path, photo: bool, rounds: int) -> None:
    """Print what an epoch costs at every share of the data."""
    size = {"image_size": 224} if photo else {}
    ours = FFCVLoader(beton, BATCH, workers=WORKERS, normalise=NORMALISE, **size)
    inner = ffcv_loader(beton, None, photo)
    passes: dict[str, Pass] = {}
    for f in FRACTIONS:
        passes[f"FFCV, prune() {f}"] = whole(prune_ffcv(inner, dp.RS2(f)))
        passes[f"FFCVLoader {f}"] = contract(ours, dp.RS2(f))
    found = {k: statistics.median(v) for k, (v, _) in interleaved(passes, rounds).items()}
    rows = []
    for name in ("FFCV, prune()", "FFCVLoader"):
        base = found[f"{name} 1.0"]
        cells = [
            f"{found[f'{name} {f}']:.3f} s ({found[f'{name} {f}'] / base:.0%})" for f in FRACTIONS
        ]
        rows.append([name, *cells])
    table(["RS2 epoch", *(f"{f:.0%} of the data" for f in FRACTIONS)], rows)


def overhead(beton: Path, n: int, rounds: int) -> None:
    """Print what prune() adds to plain FFCV on as many rows, and what a new order costs."""
    sizes = [s for s in (n, 15_000, 5_000) if s <= n]
    inner = ffcv_loader(beton, None, photo=False)
    passes: dict[str, Pass] = {}
    for size in sizes:
        kept = np.random.default_rng(0).permutation(n)[:size]
        passes[str(size)] = whole(prune_ffcv(inner, dp.Fixed(kept.tolist())))
    ours: list[list[float]] = [[] for _ in sizes]
    theirs: list[list[float]] = [[] for _ in sizes]
    for _ in range(4):  # in turn, so that a busy time of the machine hits both
        for mine, (taken, _) in zip(ours, interleaved(passes, rounds).values(), strict=True):
            mine += taken
        for other, seen in zip(theirs, plain_ffcv(beton, False, n, rounds, sizes), strict=True):
            other += seen
    rows = []
    for size, a, b in zip(sizes, theirs, ours, strict=True):
        cells = [f"{1e3 * statistics.median(v):.1f} ms (best {1e3 * min(v):.1f})" for v in (a, b)]
        ratio, best = statistics.median(b) / statistics.median(a), min(b) / min(a)
        rows.append([f"{size:,}", *cells, f"{ratio - 1:+.1%}", f"{best - 1:+.1%}"])
    table(["rows", "plain FFCV", "prune()", "medians", "best against best"], rows)
    pruned = prune_ffcv(inner, dp.Fixed())
    began = time.perf_counter()
    for epoch in range(20):
        pruned._cursor.share(epoch)
    each = (time.perf_counter() - began) / 20
    full = statistics.median(theirs[0])
    print(f"A new order of {n:,} rows takes {1e3 * each:.2f} ms, {each / full:.2%} of an epoch.\n")


START = """
import sys, time, warnings
warnings.simplefilter("ignore")
sys.path.insert(0, sys.argv[1])
import loaders, torch, datapruner as dp
from pathlib import Path
from datapruner.ffcv.installed import require
require()
how, beton = sys.argv[2], Path(sys.argv[3])
began = time.perf_counter()
if how == "plain":
    next(iter(loaders.ffcv_loader(beton, None, False)))
elif how == "prune":
    next(iter(dp.prune(loaders.ffcv_loader(beton, None, False), dp.RS2(0.1))))
else:
    next(iter(dp.FFCVLoader(beton, workers=2)(torch.arange(256))))
print(time.perf_counter() - began)
"""


def start(beton: Path) -> None:
    """Print how long a fresh process takes from building a loader to its first batch."""
    rows = []
    for how, name in (
        ("plain", "plain FFCV"),
        ("prune", "FFCV, prune()"),
        ("ours", "FFCVLoader"),
    ):
        cells = []
        with tempfile.TemporaryDirectory() as empty:
            for _ in range(3):  # the first fills the cache, the others find it
                cells.append(float(child(START, how, str(beton), NUMBA_CACHE_DIR=empty)))
        rows.append([name, f"{cells[0]:.1f} s", f"{min(cells[1:]):.1f} s"])
    table(["time to the first batch", "first process ever", "later processes"], rows)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--data", type=Path, default=Path(__file__).parents[2] / "shared/data")
    options.add_argument("--rounds", type=int, default=7)
    options.add_argument("--only", choices=["pictures", "overhead", "photos", "start"])
    chosen = options.parse_args()
    torch.set_num_threads(1)
    require()

    def wanted(part: str) -> bool:
        return chosen.only in (None, part)

    print(
        f"{platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}, load "
        f"{os.getloadavg()[0]:.1f} at the start; batches of {BATCH}; {chosen.rounds} rounds.\n"
    )
    folder = Path(tempfile.gettempdir()) / "datapruner-loaders"
    data, beton = cifar(chosen.data, folder)
    if wanted("pictures"):
        print(f"## {data.n:,} pictures of 32x32, raw: pad 4 and crop, flip, normalise\n")
        compare(data, beton, False, chosen.rounds)
        fractions(data, beton, False, chosen.rounds)
    if wanted("overhead"):
        print("## What prune() adds to FFCV\n")
        overhead(beton, data.n, 3 * chosen.rounds)
    if wanted("photos"):
        data, photo = photos(chosen.data, folder)
        print(f"## {data.n:,} JPEG photographs: random resized crop to 224, flip, normalise\n")
        compare(data, photo, True, max(1, chosen.rounds // 2))
        fractions(data, photo, True, max(1, chosen.rounds // 2))
    if wanted("start"):
        print("## Start\n")
        start(beton)


if __name__ == "__main__":
    main()
