"""Geometric selection: time, peak memory and objective beside peers and the plain loop.

Run from the root of the repository, on an idle machine:

    python benchmarks/selection.py --peers /path/to/another/python

Every piece runs in a process of its own, so that its peak memory is its own, and adds its lines to
selection.md as it ends; `--only NAME` runs one piece again and replaces its lines. Peers
(apricot-select, submodlib-py, scikit-learn: benchmarks/selection_peers.py) read the same arrays in
another interpreter, whose libraries cannot disturb ours; without --peers they are left out.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from scorers import SCORERS
from scorers._clusters import faiss_threads
from scorers._facility import AllPairs, cosines, facility_picks
from scorers._rows import sorted_rows

HERE = Path(__file__).parent
PEERS = HERE / "selection_peers.py"
Lines = list[tuple[str, str, str]]  # what, seconds, remark


def seconds(work: Callable[[], Any]) -> tuple[float, Any]:
    """Return the wall time of a call, and what it gave."""
    started = time.perf_counter()
    made = work()
    return time.perf_counter() - started, made


def best_of(times: int, *works: Callable[[], Any]) -> list[tuple[float, Any]]:
    """Run the works in turn, so many times over, and return the least time of each."""
    rounds = [[seconds(work) for work in works] for _ in range(times)]
    return [min(column, key=lambda pair: pair[0]) for column in zip(*rounds, strict=True)]


def flat(n: int, d: int) -> Tensor:
    """Return rows without structure."""
    return torch.randn(n, d, generator=torch.Generator().manual_seed(0))


def clustered(n: int, d: int, clusters: int = 100, spread: float = 0.1) -> Tensor:
    """Return rows about so many centres, which are ten times as far apart as the rows of one."""
    rng = torch.Generator().manual_seed(1)
    centres = torch.randn(clusters, d, generator=rng)
    rows = spread * torch.randn(n, d, generator=rng)
    return rows.add_(centres[torch.randint(clusters, (n,), generator=rng)])


def order_of(score: Tensor, k: int) -> Tensor:
    return score.argsort(descending=True)[:k]


def bandwidth() -> float:
    """Return the bytes a second at which a matrix far larger than the caches is multiplied."""
    x, v = torch.ones(500_000, 512), torch.ones(512)
    (took, _), *_ = best_of(3, lambda: x @ v)
    return x.nbytes / took


def plain_kcenter(x: Tensor, k: int) -> Tensor:
    """Pick by one matrix-vector product a pick: the plain incremental loop."""
    length = x.square().sum(1)
    nearest, picks = torch.full((len(x),), torch.inf), []
    pick = int((x - x.mean(0)).square().sum(1).argmin())
    for _ in range(k):
        picks.append(pick)
        apart = torch.addmv(length, x, x[pick], alpha=-2).add_(length[pick])
        torch.minimum(nearest, apart, out=nearest)
        nearest[pick] = -1
        pick = int(nearest.argmax())
    return torch.tensor(picks)


def radius(x: Tensor, picks: Tensor) -> float:
    parts = (torch.cdist(part, x[picks]).amin(1).max() for part in x.split(4096))
    return max(map(float, parts))


def kcenter(peers: str | None) -> Lines:
    """20,000 x 512 to 2,000: ours and the plain loop, without structure and clustered."""
    n, d, k = 20_000, 512, 2_000
    SCORERS["kcenter"](flat(600, d), limit=5)
    speed = bandwidth()
    floor = 4 * n * d * k / speed
    lines = [("memory, read by a product", "", f"{speed / 1e9:.1f} GB/s")]
    for name, x in (("unstructured", flat(n, d)), ("100 clusters", clustered(n, d))):
        (plain, a), (ours, b) = best_of(
            2, lambda x=x: plain_kcenter(x, k), lambda x=x: SCORERS["kcenter"](x, limit=k)
        )
        floors = f"reading all rows at each pick takes {floor:.2f} s at the least"
        lines.append((f"plain loop, {name}", f"{plain:.2f}", floors))
        ratio = f"{plain / ours:.1f} x faster; radius {radius(x, order_of(b, k)):.4f} against "
        lines.append((f"kcenter, {name}", f"{ours:.2f}", ratio + f"{radius(x, a):.4f}"))
    return lines


def facility(peers: str | None) -> Lines:
    """20,000 x 256 to 1,000 on the cosines of all pairs."""
    n, k = 20_000, 1_000
    x = sorted_rows(clustered(n, 256, spread=0.7), unit=True).x
    facility_picks(AllPairs(cosines(x[:500])), 5)
    made, pairs = seconds(lambda: cosines(x))
    took, (_, best) = seconds(lambda: facility_picks(AllPairs(pairs), k))
    ours = float(best.sum(dtype=np.float64))
    whole, _ = seconds(lambda: SCORERS["facility_location"](x, limit=k))
    lines = [
        ("the cosines", f"{made:.2f}", f"{pairs.nbytes / 2**30:.2f} GiB"),
        ("facility_location on given similarities", f"{took:.2f}", f"objective {ours:.3f}"),
        ("facility_location from the embedding", f"{whole:.2f}", ""),
    ]
    for name in ("apricot", "submodlib"):
        theirs = peer(peers, name, {"pairs": pairs.clip(0)}, k)
        if theirs:
            value = float(pairs[theirs["picks"]].max(0).clip(0).sum(dtype=np.float64))
            lines.append(
                (
                    f"{name} on given similarities",
                    f"{theirs['seconds']:.2f}",
                    f"objective {value:.3f}; ours {theirs['seconds'] / took:.1f} x faster, "
                    f"with the cosines {theirs['seconds'] / whole:.1f} x",
                )
            )
    return lines


def graph(peers: str | None) -> Lines:
    """100,000 x 128 to 10,000 on a graph of 64 neighbours, and what the graph loses on 20,000."""
    x = clustered(100_000, 128, clusters=1000, spread=0.5)
    took, _ = seconds(lambda: SCORERS["facility_location"](x, limit=10_000))
    part = sorted_rows(x[:20_000], unit=True).x
    pairs = cosines(part)
    exact = facility_picks(AllPairs(pairs), 2_000)[1].sum(dtype=np.float64)
    picks = order_of(SCORERS["facility_location"](part, limit=2_000, neighbours=64), 2_000)
    value = pairs[picks].max(0).clip(0).sum(dtype=np.float64)
    return [
        ("facility_location, 100,000 x 128 to 10,000, 64 neighbours", f"{took:.1f}", ""),
        ("its objective on 20,000 to 2,000", "", f"{value / exact:.4f} of the exact greedy's"),
    ]


def kmeans(peers: str | None) -> Lines:
    """50,000 x 512, k = 100, 20 iterations: prototypes, bare faiss and scikit-learn."""
    x, k, rounds = clustered(50_000, 512, spread=1.0), 100, 20

    def bare() -> None:
        rows = normalize(x).numpy()
        fit = faiss.Kmeans(
            512, k, niter=rounds, spherical=True, max_points_per_centroid=len(rows), seed=0
        )
        with faiss_threads(torch.get_num_threads()):
            fit.train(rows)
            fit.index.search(rows, 1)

    def ours(restarts: int) -> Tensor:
        return SCORERS["prototypes"](x, k=k, iterations=rounds, restarts=restarts)

    SCORERS["prototypes"](x[:500], k=2)
    (theirs, _), (one, _) = best_of(3, bare, lambda: ours(1))
    three, _ = seconds(lambda: ours(3))
    lines = [
        ("faiss k-means and search, bare", f"{theirs:.2f}", ""),
        ("prototypes, one run of k-means", f"{one:.2f}", f"{one / theirs:.2f} x bare faiss"),
        ("prototypes, three runs (default)", f"{three:.2f}", f"{three / theirs / 3:.2f} x per run"),
    ]
    sklearn = peer(peers, "sklearn", {"rows": x.numpy()}, k)
    if sklearn:
        lines.append(("scikit-learn KMeans, one run", f"{sklearn['seconds']:.2f}", ""))
    return lines


def copies(peers: str | None) -> Lines:
    """200,000 x 256 with 2,000 planted copies."""
    x = clustered(200_000, 256, clusters=2000, spread=1.0)
    x[:2_000] = x[2_000:4_000] + 0.01 * flat(2_000, 256)
    took, score = seconds(lambda: SCORERS["duplicates"](x))
    found = int((score[:4_000] < 0.01).sum())
    return [
        ("duplicates, 200,000 x 256", f"{took:.1f}", f"{found:,} of 2,000 planted pairs found"),
    ]


def linear(peers: str | None) -> Lines:
    """Time a pick against n, 128 wide."""
    lines = []
    for name in ("herding", "graph_cut"):
        for n in (50_000, 100_000, 200_000):
            x = flat(n, 128)
            base, _ = seconds(lambda x=x, s=SCORERS[name]: s(x, limit=1))
            more, _ = seconds(lambda x=x, s=SCORERS[name]: s(x, limit=201))
            lines.append((f"{name}, a pick of {n:,}", f"{(more - base) / 200:.5f}", ""))
    x, labels = flat(200_000, 128), torch.arange(200_000) % 10
    for n in (50_000, 100_000, 200_000):
        took, _ = seconds(lambda n=n: SCORERS["moderate"](x[:n], labels[:n]))
        lines.append((f"moderate, {n:,} x 128", f"{took:.2f}", ""))
    return lines


def million(name: str, words: str, make: Callable[[Callable, Tensor], Tensor]) -> Callable:
    def piece(peers: str | None) -> Lines:
        x = clustered(1_000_000, 128, clusters=1000, spread=0.5)
        took, _ = seconds(lambda: make(SCORERS[name], x))
        return [(f"{name}, 1,000,000 x 128{words}", f"{took:.1f}", "")]

    return piece


PIECES: dict[str, Callable[[str | None], Lines]] = {
    "kcenter": kcenter,
    "facility": facility,
    "graph": graph,
    "kmeans": kmeans,
    "copies": copies,
    "linear": linear,
    "million-prototypes": million("prototypes", ", k = 1,000", lambda s, x: s(x, restarts=1)),
    "million-moderate": million(
        "moderate", ", 10 classes", lambda s, x: s(x, torch.arange(len(x)) % 10)
    ),
    "million-kcenter": million("kcenter", " to 10,000", lambda s, x: s(x, limit=10_000)),
    "million-herding": million("herding", " to 1,000", lambda s, x: s(x, limit=1_000)),
    "million-duplicates": million("duplicates", "", lambda s, x: s(x)),
}


def peer(python: str | None, name: str, arrays: dict[str, np.ndarray], k: int) -> dict | None:
    """Run a peer in its interpreter, on arrays in files; None where it cannot be imported."""
    if python is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        for key, array in arrays.items():
            np.save(Path(folder) / f"{key}.npy", array)
        command = [python, str(PEERS), name, folder, str(k)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=240)
        except subprocess.TimeoutExpired:
            print(f"{name}: stopped after 240 s", file=sys.stderr)
            return None
    if done.returncode:
        print(f"{name}: ended with {done.returncode}: {done.stderr[-200:]}", file=sys.stderr)
        return None
    return json.loads(done.stdout.splitlines()[-1])


def table(kept: dict[str, Any]) -> str:
    head = f"# Selection\n\n{(__doc__ or '').split(chr(10) * 2)[0]}\n"
    about = (
        "\nGenerated by `benchmarks/selection.py`; do not edit. Peak memory is that of the whole\n"
        "process, its arrays and libraries included (torch and faiss alone are 0.4 GiB).\n"
    )
    rows = []
    for name in PIECES:
        if name in kept:
            piece = kept[name]
            rows.append(f"\n## {name}\n\n{PIECES[name].__doc__ or ''}".rstrip())
            rows.append(f"\n{piece['where']}, peak {piece['peak']:.2f} GiB.\n")
            rows.append("| what | seconds | |\n|---|---|---|")
            rows += [f"| {' | '.join(line)} |" for line in piece["lines"]]
    return head + about + "\n".join(rows) + "\n"


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    words.add_argument("--peers", help="python with apricot-select, submodlib-py, scikit-learn")
    words.add_argument("--only", choices=PIECES, action="append")
    words.add_argument("--threads", type=int, default=os.cpu_count())
    words.add_argument("--piece", choices=PIECES, help=argparse.SUPPRESS)
    asked = words.parse_args()
    os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = str(asked.threads)
    if asked.piece:
        torch.set_num_threads(asked.threads)
        lines = PIECES[asked.piece](asked.peers)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        load = f"{asked.threads} threads, load {os.getloadavg()[0]:.1f}"
        print(json.dumps({"lines": lines, "peak": peak, "where": load}))
        return
    store = HERE / "selection.json"
    kept = json.loads(store.read_text()) if store.exists() else {}
    for name in asked.only or PIECES:
        command = [sys.executable, __file__, "--piece", name, "--threads", str(asked.threads)]
        command += ["--peers", asked.peers] if asked.peers else []
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        kept[name] = json.loads(done.stdout.splitlines()[-1])
        print(f"{name}: {kept[name]}", flush=True)
        store.write_text(json.dumps(kept, indent=1) + "\n")
        (HERE / "selection.md").write_text(table(kept))


if __name__ == "__main__":
    main()
