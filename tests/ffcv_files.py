"""What the FFCV tests share: a .beton of several pages, and one compiled loader of each kind."""

import threading
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from numba.np.ufunc import parallel
from torch import Tensor
from torch.utils.data import TensorDataset

from datapruner import Data, open_data
from datapruner.ffcv import helpers, write_beton
from datapruner.ffcv.installed import leave_tbb

N = 2100  # 32 x 32 pictures: four pages of 2 MiB, the last one hardly filled
BATCH = 64
WORKERS = 3
KINDS = [
    (workers, os_cache, order)
    for workers in (1, WORKERS)
    for os_cache in (True, False)
    for order in ("RANDOM", "SEQUENTIAL", "QUASI_RANDOM")
]

# FFCV hands its number of workers to numba, which takes no more than the cores it found when it was
# imported. This file is imported before any test runs, so numba has started no threads yet.
leave_tbb()
if parallel.NUM_THREADS < WORKERS:
    parallel.NUM_THREADS = WORKERS
    parallel.snt_check = lambda count: None

_folder = TemporaryDirectory(prefix="datapruner-ffcv-")


def folder() -> Path:
    """Return a folder that goes away with this process."""
    return Path(_folder.name)


def pictures(n: int = N, side: int = 32) -> Tensor:
    """Return (n, 3, side, side) uint8 in which each picture shows its index in its first pixel."""
    x = torch.randint(0, 256, (n, 3, side, side), generator=torch.Generator().manual_seed(1))
    index = torch.arange(n)
    x[:, :, 0, 0] = torch.stack([index // 256, index % 256, index % 7], 1)
    return x.to(torch.uint8)


@cache
def small_data() -> Data:
    """Return N pictures in memory, of 10 classes."""
    return open_data(TensorDataset(pictures(), torch.arange(N) % 10))


@cache
def small_beton() -> Path:
    """Return the same data as a .beton."""
    path = folder() / "small.beton"
    write_beton(small_data(), path, page_size=2 << 20, workers=2)
    return path


@cache
def ffcv_loader(workers: int, os_cache: bool, order: str) -> Any:
    """Return the one FFCV loader of its kind: it gives (picture, label, index)."""
    from ffcv.fields.basics import IntDecoder
    from ffcv.fields.rgb_image import SimpleRGBImageDecoder
    from ffcv.loader import OrderOption
    from ffcv.transforms import ToTensor

    from datapruner.ffcv.epochs import quiet_loader

    return quiet_loader(
        str(small_beton()),
        batch_size=BATCH,
        num_workers=workers,
        os_cache=os_cache,
        order=OrderOption[order],
        drop_last=False,
        pipelines={
            "image": [SimpleRGBImageDecoder(), ToTensor()],
            "label": [IntDecoder(), ToTensor()],
            "index": [IntDecoder(), ToTensor()],
        },
    )


class Sizes:
    """A bound sampler whose epochs have the sizes that it is given; order by seed and epoch."""

    def __init__(self, sizes: list[int], n: int = N, seed: int = 0) -> None:
        self.sizes, self.n, self.seed = sizes, n, seed
        self.ended: list[int] = []

    def bind(self, n: int, labels: Any = None, readable: Any = None) -> "Sizes":
        """Return itself: made for these data."""
        assert n == self.n
        return self

    def draw(self, epoch: int) -> tuple[Tensor, None]:
        """Return an order of the epoch's size."""
        generator = torch.Generator().manual_seed(1000 * self.seed + epoch)
        return torch.randperm(self.n, generator=generator)[: self.sizes[epoch]], None

    def observe(self, epoch: int, batch: Any, logits: Any, losses: Tensor) -> None:
        """Take no note."""

    def end_epoch(self, epoch: int) -> None:
        """Note that the epoch is over."""
        self.ended.append(epoch)

    def state_dict(self) -> dict[str, Any]:
        """Return an empty state."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Accept it."""


def threads() -> int:
    """Return how many threads there are, but for helpers that wait for their next epoch."""
    return threading.active_count() - len(helpers._idle)


def rows_given(loader: Any) -> Iterator[tuple[list[int], list[int]]]:
    """Go through one epoch: what each batch says it is, and what the file says it is."""
    x = small_data().x
    assert x is not None
    for picture, label, index in loader:
        found = index.flatten()
        assert torch.equal(picture, x[found].permute(0, 2, 3, 1))
        assert torch.equal(label.flatten(), found % 10)
        yield loader.indices.tolist(), found.tolist()
