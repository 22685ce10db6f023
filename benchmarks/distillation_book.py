"""The results of benchmarks/distillation.py, each kept where it ends."""

import time
from collections.abc import Callable
from pathlib import Path

from datapruner.files import read_json, write_json


class Book:
    """Results by part, cell and seed, in one JSON file that is written after each run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.held = read_json(path) if path.exists() else {}

    def value(self, part: str, cell: str, seed: int, work: Callable[[], float]) -> float:
        """Return a result, made by `work` where it is not there yet."""
        cells = self.held.setdefault(part, {}).setdefault(cell, {})
        if str(seed) not in cells:
            began = time.perf_counter()
            cells[str(seed)] = round(work(), 5)
            write_json(self.path, self.held)
            took = time.perf_counter() - began
            print(f"{part}: {cell}, seed {seed}: {cells[str(seed)]} ({took:.1f} s)", flush=True)
        return cells[str(seed)]


def share(word: str) -> float | str:
    return word if word == "auto" else float(word)
