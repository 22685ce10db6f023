"""prune_ffcv(): a loader that the user built with FFCV, over what a sampler draws each epoch."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any
from weakref import ReferenceType, ref

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..cursor import Cursor, Pruned
from ..errors import UsageError
from ..provenance import refuse_other_data
from ..samplers import Sampler
from ..seeds import seed_for
from .beton import About, json_of
from .installed import require, tell_of_tbb
from .orders import OPEN_BYTES, by_page


def prune_ffcv(
    loader: Any,
    sampler: Any,
    *,
    labels: Tensor | None = None,
    ragged: bool = False,
    rank: int | None = None,
    world: int | None = None,
) -> PrunedLoader:
    """Return a loader that gives what `loader` gives, over what `sampler` draws each epoch.

    The pipelines, batch size, caches, threads and drop_last are the loader's; it is not changed,
    and its compiled code serves every epoch, whatever its size. Its order decides how the rows
    drawn are ordered: RANDOM as the sampler drew them, SEQUENTIAL ascending, QUASI_RANDOM by pages
    in an order of our own, over no more pages than are needed, with bounded memory.

    Args:
        loader: an `ffcv.loader.Loader`. With `indices`, only those rows are ever drawn.
        sampler: a Selection, indices (k,), or a sampler such as `RS2(fraction=0.1)`. Indices are
            rows of the file.
        labels: (n,) int64 for samplers that need them; None reads the field 'label'.
        ragged: with several processes, whether their shares may differ in size by one so that every
            row is given exactly once (scoring); by default all are cut to one size (training).
        rank: of this process; None takes that of the loader, with distributed=True.
        world: number of processes; likewise.

    Raises:
        UsageError: the loader has an order of another kind, or the sampler does not fit the data.
        Refused: the selection was made for other data.
    """
    require()
    from ..wrap import as_sampler

    if loader.num_workers > 1:
        tell_of_tbb()
    n = int(loader.reader.num_samples)
    beton = Path(loader.fname)
    about = About.load(beton) if json_of(beton).exists() else None  # other tools write none
    _refuse_other(sampler, about)
    labels = _labels(loader.reader) if labels is None else labels
    bound = as_sampler(sampler, 0).bind(n, labels, _drawable(loader, n, about))
    shares = getattr(loader.traversal_order, "sampler", None)
    rank = getattr(shares, "rank", 0) if rank is None else rank
    world = getattr(shares, "num_replicas", 1) if world is None else world
    if not 0 <= rank < world:
        raise UsageError(f"rank {rank} is not below world {world}; give both")
    return PrunedLoader(loader, _FFCVCursor(loader, bound, rank, world, ragged))


class PrunedLoader(Pruned):
    """An FFCV loader over what a sampler draws; made by `prune_ffcv`."""

    def __init__(self, loader: Any, cursor: Cursor) -> None:
        super().__init__(loader, cursor)
        self._running: ReferenceType[Generator[Any]] | None = None  # weak: `break` is to end it

    def __iter__(self) -> Iterator[Any]:
        """Begin the next epoch; a pass that is broken off was an epoch all the same."""
        before = None if self._running is None else self._running()
        if before is not None:
            before.close()
        parts = self._cursor.begin()
        after = self._pass(parts, self._cursor.epoch)
        self._running = ref(after)
        return _to_the_end(after, len(parts))

    def _pass(self, parts: list[Tensor], epoch: int) -> Generator[Any]:
        from .epochs import run

        order = torch.cat(parts) if parts else torch.empty(0, dtype=torch.int64)
        for indices, batch in zip(parts, run(self.original, order), strict=True):
            self._cursor.gave(indices)
            yield batch
        if self._cursor.epoch == epoch:
            self._cursor.end()

    def warm_up(self) -> None:
        """Have FFCV compile in the background, such as for validation while training begins."""
        from .epochs import warm_up

        warm_up(self.original, int(self._cursor.sampler.draw(0)[0][0]))


def _to_the_end(batches: Iterator[Any], count: int) -> Iterator[Any]:
    """Give the batches of a pass; say so where a later pass has closed it."""
    given = 0
    for batch in batches:
        given += 1
        yield batch
    if given < count:
        raise UsageError(
            "a later pass over this loader has ended this one; finish or leave a pass before the "
            "next begins"
        )


class _FFCVCursor(Cursor):
    """A cursor whose orders are of FFCV's three kinds."""

    def __init__(self, loader: Any, sampler: Sampler, rank: int, world: int, ragged: bool) -> None:
        self.kind = _kind(loader.traversal_order)
        super().__init__(
            sampler,
            int(loader.batch_size),
            drop_last=bool(loader.drop_last),
            rank=rank,
            world=world,
            ragged=ragged,
            ascending=self.kind == "sequential",
        )
        self._page = _pages(loader.reader) if self.kind == "quasi_random" else None
        self._open_pages = max(1, OPEN_BYTES // int(loader.reader.page_size))

    def share(self, epoch: int) -> Tensor:
        """Return the order of this process in an epoch, (m,) int64.

        Raises:
            UsageError: nothing is left for it.
        """
        if self._page is None:
            return super().share(epoch)
        drawn, self._weight = self.sampler.draw(epoch)
        if not self.ragged:
            drawn = drawn[: len(drawn) // self.world * self.world]
        seed = seed_for(getattr(self.sampler, "seed", 0), "pages", epoch)
        order = by_page(drawn, self._page, self._open_pages, seed)
        return self._batches_of(order.tensor_split(self.world)[self.rank], epoch)  # few pages each


def _kind(traversal_order: Any) -> str:
    """Return which of FFCV's orders a loader was built with."""
    from ffcv.traversal_order import QuasiRandom, Random, Sequential

    kinds = {Random: "random", Sequential: "sequential", QuasiRandom: "quasi_random"}
    if type(traversal_order) not in kinds:
        raise UsageError(
            f"the loader has an order of its own, {type(traversal_order).__name__}; build it with "
            "OrderOption.RANDOM, SEQUENTIAL or QUASI_RANDOM, the sampler decides the rest"
        )
    return kinds[type(traversal_order)]


def _refuse_other(sampler: Any, about: About | None) -> None:
    """Refuse a selection of other data."""
    chosen: Any = sampler if hasattr(sampler, "meta") else getattr(sampler, "indices", None)
    if hasattr(chosen, "meta"):
        refuse_other_data("the selection", chosen.meta.get("fingerprint"), chosen.n, about)


def _labels(reader: Any) -> Tensor | None:
    """Return the labels in the file, or None where no field is called so."""
    names = list(reader.handlers)
    if "label" not in names:
        return None
    found = reader.metadata[f"f{names.index('label')}"]
    return torch.from_numpy(found.astype(np.int64)) if found.dtype.kind == "i" else None


def _drawable(loader: Any, n: int, about: About | None) -> Tensor:
    """Return (n,) bool: the rows that may be drawn."""
    mask = torch.zeros(n, dtype=torch.bool)
    mask[torch.from_numpy(np.asarray(loader.indices).astype(np.int64))] = True
    if about is not None:
        mask[list(about.unreadable)] = False
    return mask


def _pages(reader: Any) -> NDArray[np.int64]:
    """Return (n,) the page that each row lies in; FFCV never spreads one over two."""
    page = np.zeros(int(reader.num_samples), np.int64)
    table = reader.alloc_table
    page[table["sample_id"].astype(np.int64)] = (
        table["ptr"] // np.uint64(reader.page_size)
    ).astype(np.int64)
    return page
