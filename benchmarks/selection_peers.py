"""One peer on arrays in files: prints seconds, and the picks, as JSON. See selection.py.

Runs in an interpreter of its own, and so imports nothing of this project.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np


def apricot(folder: Path, k: int) -> dict:
    from apricot import FacilityLocationSelection

    pairs = np.load(folder / "pairs.npy")
    warm = FacilityLocationSelection(3, metric="precomputed", optimizer="lazy")
    warm.fit(pairs[:50, :50])
    chooser = FacilityLocationSelection(k, metric="precomputed", optimizer="lazy")
    started = time.perf_counter()
    chooser.fit(pairs)
    return {"seconds": time.perf_counter() - started, "picks": chooser.ranking.tolist()}


def submodlib(folder: Path, k: int) -> dict:
    from submodlib import FacilityLocationFunction

    pairs = np.load(folder / "pairs.npy")
    started = time.perf_counter()
    function = FacilityLocationFunction(n=len(pairs), mode="dense", sijs=pairs, separate_rep=False)
    picks = function.maximize(budget=k, optimizer="LazyGreedy", show_progress=False)
    return {"seconds": time.perf_counter() - started, "picks": [int(i) for i, _ in picks]}


def sklearn(folder: Path, k: int) -> dict:
    from sklearn.cluster import KMeans

    rows = np.load(folder / "rows.npy")
    started = time.perf_counter()
    KMeans(k, n_init=1, max_iter=20, tol=0, init="random", random_state=0).fit(rows)
    return {"seconds": time.perf_counter() - started}


if __name__ == "__main__":
    name, folder, k = sys.argv[1:]
    peers = {"apricot": apricot, "submodlib": submodlib, "sklearn": sklearn}
    print(json.dumps(peers[name](Path(folder), int(k))))
