"""Where the bytes of a batch come from: the mapped file, or pages read ahead into own memory."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .beton import Rows

Bytes = tuple[NDArray[np.uint8], NDArray[np.int64]]
"""Memory, and where in it each row of a batch begins."""


class Mapped:
    """Rows straight from the mapped file; the system keeps in memory what fits."""

    def __init__(self, rows: Rows) -> None:
        self.rows = rows

    @contextmanager
    def epoch(self, batches: Sequence[NDArray[np.int64]]) -> Iterator[Mapped]:
        """Prepare nothing."""
        yield self

    def fetch(self, k: int, index: NDArray[np.int64]) -> Bytes:
        """Return the file and where the rows of batch k lie in it."""
        return self.rows.memory, self.rows.start[index].astype(np.int64)


class Paged:
    """Rows from whole pages, which FFCV's threads read ahead; memory is bounded by the order.

    Worth it for files larger than memory, with an order that goes page by page.
    """

    def __init__(self, rows: Rows) -> None:
        from ffcv.memory_managers import ProcessCacheManager
        from ffcv.reader import Reader

        self.rows = rows
        self.manager = ProcessCacheManager(Reader(rows.beton))

    @contextmanager
    def epoch(self, batches: Sequence[NDArray[np.int64]]) -> Iterator[_PagedEpoch]:
        """Start reading the pages that these batches need, in their order."""
        context = self.manager.schedule_epoch(batches)
        context.__enter__()
        try:
            yield _PagedEpoch(self.rows, context)
        finally:
            context.__exit__(None, None, None)
            for thread in context.executor.threads:
                thread.join()


class _PagedEpoch:
    """One pass: batches ask in turn, since a page is given up once its last batch has been."""

    def __init__(self, rows: Rows, context: Any) -> None:
        self.rows, self.context = rows, context
        self.turn, self.next = threading.Condition(), 0

    def fetch(self, k: int, index: NDArray[np.int64]) -> Bytes:
        """Copy the rows of batch k into memory of their own."""
        with self.turn:
            self.turn.wait_for(lambda: self.next == k)
            try:
                self.context.start_batch(k)
                return self._copied(index)
            finally:
                self.next = k + 1
                self.turn.notify_all()

    def _copied(self, index: NDArray[np.int64]) -> Bytes:
        memory, _, _, slots = self.context.state
        start, size = self.rows.start[index], self.rows.size[index].astype(np.int64)
        page = start // np.uint64(self.rows.page_size)
        offset = (start - page * np.uint64(self.rows.page_size)).astype(np.int64)
        ends = np.cumsum(size)
        begins = ends - size
        out = np.empty(int(ends[-1]) if len(ends) else 0, np.uint8)
        for slot, at, begin, end in zip(slots[page], offset, begins, ends, strict=True):
            out[begin:end] = memory[slot, at : at + end - begin]
        return out, begins
