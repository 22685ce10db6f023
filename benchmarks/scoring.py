"""What scoring costs: passes against a bare forward pass, gradients, memory at a million examples.

Run from the root of the repository, on an idle machine:

    python benchmarks/scoring.py

Times are medians of paired runs whose order alternates. Memory is measured in a process for each
scorer: the greatest anonymous resident memory while it runs, less that before; traces are mapped
from disk and the pages of the map do not count, as the system takes them back when it needs them.
"""

import argparse
import inspect
import json
import platform
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import cross_entropy

import datapruner as dp
from datapruner.evaluation import evaluating, predict
from datapruner.files import read_json, write_json
from datapruner.gradients import boundary_distance, grad_norm, input_gradient_variance
from datapruner.hardware import place_model, placed
from datapruner.recording import spread_epochs
from datapruner.scores import score
from datapruner.traces import TRACES, Record, Rows
from datapruner.training import make_loader, network
from scorers import SCORERS

HERE = Path(__file__).parent
EPOCHS, RUNS, CLASSES, TESTS = 30, 20, 10, 1_000
PER_EXAMPLE = {"grad_norm", "embedding_norm", "boundary_distance", "input_gradient_variance"}
MADE = {*TRACES, *PER_EXAMPLE, "holdout_loss", "probs", "member", "correct", "test_correct"}
MADE |= {"n", "seed", "labels"}
SETWISE = {"contextual_diversity"}  # greedy over all rows: measured by benchmarks/selection.py


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def paired(one: Callable[[], object], two: Callable[[], object], pairs: int) -> list[float]:
    """Return the ratio of the second's time to the first's, pair by pair."""
    one(), two()
    ratios = []
    for pair in range(pairs):
        a, b = (one, two) if pair % 2 == 0 else (two, one)
        first, second = seconds(a), seconds(b)
        ratios.append(second / first if pair % 2 == 0 else first / second)
    return ratios


def said(ratios: list[float]) -> str:
    return f"{statistics.median(ratios):.3f} | {min(ratios):.3f} to {max(ratios):.3f}"


def passes(data: dp.Data, pairs: int) -> list[str]:
    """Time a clean pass that records, and the sweeps of gradients, against what they stand on."""
    run = dp.Run(model="resnet8")
    loader = make_loader(data, run)
    device = torch.device("cpu")
    model = place_model(network(run, data, loader).eval(), device)
    order = torch.arange(min(2_048, data.n))
    batches = [placed(batch.x, device) for batch in loader(order, train=False)]

    def bare() -> None:
        with torch.inference_mode():
            for x in batches:
                model(x)

    def fed() -> None:
        with torch.inference_mode():
            for batch in loader(order, train=False):
                model(placed(batch.x, device))

    def clean() -> None:
        recorder = dp.Recorder(data.n)
        for batch, logits in predict(model, loader, order, precision="float32"):
            recorder.observe(0, batch.index, logits, batch.y, clean=True)

    few = replaced(data, 256)
    near_loader = make_loader(few, run)  # its own: pictures are normalised by those in sight
    reference = torch.zeros(256)

    def loop() -> None:
        weights = list(model.parameters())
        with evaluating(model):
            for batch in near_loader(torch.arange(256), train=False):
                for i in range(len(batch.y)):
                    x = placed(batch.x[i : i + 1], device)
                    loss = cross_entropy(model(x), batch.y[i : i + 1])
                    parts = torch.autograd.grad(loss, weights)
                    norm = torch.linalg.vector_norm(torch.stack([g.norm() for g in parts]))
                    reference[batch.index[i]] = norm

    def swept() -> None:
        grad_norm(few, model, run=run)

    def forward() -> None:
        for _ in predict(model, loader, torch.arange(256), precision="float32"):
            pass

    def near() -> None:
        boundary_distance(few, model, run=run)

    short = dp.Run(model="resnet8", epochs=3)
    record = dp.record(few, short, checkpoints=spread_epochs(short))

    def varied() -> None:
        input_gradient_variance(few, record)

    loop()
    off = (grad_norm(few, model, run=run)[0][:256] - reference).abs() / reference
    rows = [
        ("clean pass, five traces recorded", "the bare forward pass", bare, clean, pairs),
        ("clean pass, five traces recorded", "forward pass fed by the loader", fed, clean, pairs),
        ("`grand`, exact", "a loop of single backward passes", loop, swept, max(3, pairs // 3)),
        ("`grand`, exact", "a forward pass", forward, swept, 3),
        (f"`deepfool`, {data.num_classes} classes", "a forward pass", forward, near, 3),
        ("`vog`, 3 checkpoints", "a forward pass", forward, varied, 3),
    ]
    lines = ["| what | time, against | ratio | spread |", "|---|---|---|---|"]
    for what, against, base, work, times in rows:
        lines.append(f"| {what} | {against} | {said(paired(base, work, times))} |")
        print(lines[-1], flush=True)
    close, most = int((off <= 1e-5).sum()), float(off.max())
    lines += [
        "",
        f"`grand` and the loop: {close} of {len(off)} norms agree to 1e-5, all to {most:.1e}.",
    ]
    return lines


def replaced(data: dp.Data, count: int) -> dp.Data:
    """Return the data with all but the first examples out of sight."""
    from dataclasses import replace

    readable = torch.zeros(data.n, dtype=torch.bool)
    readable[:count] = True
    return replace(data, readable=readable)


def synthetic(home: Path, n: int) -> None:
    """Write a record of n examples, and the other sources as arrays, all to disk."""
    rng = np.random.default_rng(0)
    folder = home / "record"
    folder.mkdir(parents=True)
    for name, count in (("training", EPOCHS), ("clean", 1)):
        rows = Rows(folder / f"{name}.safetensors", n)
        for _ in range(count):
            block = rng.random((len(TRACES), n), np.float32)
            block[TRACES.index("margin")] -= 0.3
            rows.append(block)
        rows.finish()
    np.save(folder / "labels.npy", rng.integers(0, CLASSES, n))
    about = {"n": n, "num_classes": CLASSES, "epochs": EPOCHS, "seed": 0, "clean_epochs": [3]}
    write_json(
        folder / "record.json", about | {"fingerprint": "", "run": "", "unreadable": [], "shift": 1}
    )
    for name in (*PER_EXAMPLE, "holdout_loss"):
        np.save(folder / f"{name}.npy", rng.random(n, np.float32))
    np.save(folder / "probs.npy", rng.dirichlet(np.ones(CLASSES), n).astype(np.float32))
    out = (np.arange(RUNS)[:, None] + rng.integers(0, 10, n)) % 10 < 3  # 3 of every 10 runs
    np.save(folder / "member.npy", ~out)
    np.save(folder / "correct.npy", rng.random((RUNS, n)) < 0.8)
    np.save(folder / "test_correct.npy", rng.random((RUNS, TESTS)) < 0.8)


def one(folder: Path, name: str) -> None:
    """Score by one scorer while watching the memory; print what it took."""
    torch.set_num_threads(1)
    record = Record(folder)
    score(record, ["random"])  # what the first call imports is not the scorer's
    peak, before, done = [0], anonymous(), threading.Event()

    def watch() -> None:
        while not done.is_set():
            peak[0] = max(peak[0], anonymous())
            time.sleep(0.001)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    took = seconds(lambda: score(record, [name]))
    done.set()
    watcher.join()
    print(json.dumps({"seconds": took, "bytes": max(peak[0] - before, 0)}))


def anonymous() -> int:
    """Return the anonymous resident memory of this process, in bytes (Linux)."""
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("RssAnon"):
            return 1024 * int(line.split()[1])
    raise SystemExit("/proc/self/status has no RssAnon; memory is measured on Linux")


def memory(n: int) -> list[str]:
    """Measure each scorer in a process of its own."""
    lines = ["| scorer | sources | seconds | MiB | bytes an example |", "|---|---|---|---|---|"]
    with tempfile.TemporaryDirectory() as home:
        synthetic(Path(home), n)
        for name, function in SCORERS.items():
            kinds = inspect.signature(function).parameters.values()
            needs = [p.name for p in kinds if p.kind is not p.KEYWORD_ONLY]
            if name in SETWISE or not set(needs) <= MADE:
                continue
            words = [sys.executable, __file__, "--one", str(Path(home) / "record"), name]
            done = subprocess.run(words, capture_output=True, text=True, check=True)
            found = json.loads(done.stdout)
            lines.append(
                f"| `{name}` | {', '.join(needs)} | {found['seconds']:.2f} "
                f"| {found['bytes'] / 2**20:.0f} | {found['bytes'] / n:.0f} |"
            )
            print(lines[-1], flush=True)
    return lines


def page(done: dict[str, list[str]], about: list[str]) -> str:
    """Write the parts that are there as Markdown."""
    lines = ["# What scoring costs", "", "Generated by `benchmarks/scoring.py`; do not edit.", ""]
    lines += about
    for heading, key in (("Passes", "passes"), ("Memory at a million examples", "memory")):
        if key in done:
            lines += ["", f"## {heading}", "", *done[key]]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure the parts that are asked for, and write the page of all that are done."""
    words = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    words.add_argument("--data", default="../shared/data/cifar10-webp")
    words.add_argument("--pairs", type=int, default=9)
    words.add_argument("--n", type=int, default=1_000_000)
    words.add_argument("--parts", nargs="+", choices=("passes", "memory"), default=None)
    words.add_argument("--out", type=Path, default=Path("runs/scoring"))
    words.add_argument("--one", nargs=2, metavar=("RECORD", "SCORER"), help="for its own processes")
    asked = words.parse_args()
    if asked.one:
        one(Path(asked.one[0]), asked.one[1])
        return
    torch.set_num_threads(1)
    results = asked.out / "results.json"
    for part in asked.parts or ("passes", "memory"):
        if part == "passes":
            lines = passes(dp.open_data(asked.data), asked.pairs)
        else:
            lines = memory(asked.n)
        before = read_json(results) if results.exists() else {}
        write_json(results, before | {part: lines})
    done: dict[str, list[str]] = read_json(results)
    about = [
        f"torch {torch.__version__}, {platform.machine()}, one thread. Passes: resnet8 on the "
        f"CIFAR-10 copy, batch 128, float32. Memory: {EPOCHS} epochs, {RUNS} runs of an ensemble, "
        f"{CLASSES} classes, {TESTS:,} test examples, all mapped from disk; what a scorer adds "
        "to the process, its result (4 bytes an example) and the table's mean included."
    ]
    (HERE / "scoring.md").write_text(page(done, about), encoding="utf-8")


if __name__ == "__main__":
    main()
