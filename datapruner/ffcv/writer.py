"""FFCV's writer, made to show progress, to clean up, and to end when a worker fails.

FFCV's own waits for ever for a worker that has died, and draws its own bar. Imports ffcv: only
through `installed.require`.
"""

from __future__ import annotations

import ctypes
import os
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import Process, Queue, Value
from queue import Empty
from typing import Any

import cv2
import numpy as np
from ffcv.fields import IntField, NDArrayField, RGBImageField
from ffcv.memory_allocator import MemoryAllocator
from ffcv.writer import DatasetWriter, handle_sample
from numpy.typing import NDArray
from PIL.Image import Image
from torch import Tensor

from ..data import Data, Progress
from ..errors import PrunerError
from ..seeds import seed_for

CHUNK = 100  # rows that a worker takes at a time


class Source:
    """Data as the writer reads them: source[i] is (x, label, index). Goes to worker processes.

    Attributes:
        pictures: whether x is an RGB picture (h, w, 3) uint8; else an array of one shape and type.
        shape, dtype: of the first readable x.
    """

    def __init__(self, data: Data, compress_probability: float | None) -> None:
        self.n, self.labels, self.readable = data.n, data.labels.numpy(), data.readable.numpy()
        self.x = None if data.x is None else data.x.cpu().numpy()
        self.dataset: Any = None if self.x is not None else data.dataset  # not the pixels twice
        self.compress_probability = compress_probability
        self.name = data.name
        stored = self._first()
        self.shape, self.dtype = stored.shape, stored.dtype

    def _first(self) -> NDArray[Any]:
        """Return the first x that can be read, and learn from it what x is."""
        why: Exception | None = None
        for i in self.readable.nonzero()[0].tolist():
            try:
                self.pictures = _is_rgb(self._plain(i), in_memory=self.x is not None)
                return self.array(i)
            except Exception as error:  # whatever decoding or the user's data set raises
                why = why or error
        raise PrunerError(f"{self.name}: no row can be read ({why}); check the data") from why

    def _plain(self, i: int) -> Any:
        if self.x is not None:
            return self.x[i]
        x = self.dataset[i][0]
        return x.detach().cpu().numpy() if isinstance(x, Tensor) else x

    def array(self, i: int) -> NDArray[Any]:
        """Return x of row i as it is stored."""
        x = self._plain(i)
        if not self.pictures:
            return np.ascontiguousarray(x)
        if isinstance(x, Image):
            return np.array(x.convert("RGB"))
        x = np.asarray(x)
        x = x[None] if x.ndim == 2 else x
        return np.ascontiguousarray(np.broadcast_to(x, (3, *x.shape[1:])).transpose(1, 2, 0))

    def row(self, i: int) -> tuple[tuple[NDArray[Any], int, int], bool]:
        """Return row i, and whether its picture decoded; one that does not is black.

        Raises:
            PrunerError: an array is not like the first.
        """
        if self.compress_probability is not None:  # FFCV decides by numpy's global generator
            np.random.seed(seed_for(0, "jpg or raw", i) & 0xFFFFFFFF)  # noqa: NPY002
        x, good = None, bool(self.readable[i])
        if good:
            try:
                x = self.array(i)
            except Exception:  # whatever decoding or the user's data set raises
                if not self.pictures:
                    raise
                good = False
        x = np.zeros(self.shape, self.dtype) if x is None else x
        if not self.pictures and (x.shape, x.dtype) != (self.shape, self.dtype):
            raise PrunerError(
                f"row {i} is {x.dtype} {x.shape}, the first {self.dtype} {self.shape}; "
                "arrays in a .beton are all alike"
            )
        return (x, int(self.labels[i]), i), good


def _is_rgb(x: Any, *, in_memory: bool) -> bool:
    """Tell pictures for FFCV's RGB field from other arrays; grey ones in memory stay grey."""
    if isinstance(x, Image):
        return True
    x = np.asarray(x)
    return x.dtype == np.uint8 and x.ndim == 3 and x.shape[0] in ((3,) if in_memory else (1, 3))


def fields_for(
    source: Source, mode: str, max_resolution: int | None, quality: int, threshold: int | None
) -> dict[str, Any]:
    """Return the fields of the file."""
    x = (
        RGBImageField(mode, max_resolution, threshold, quality, source.compress_probability or 0.0)
        if source.pictures
        else NDArrayField(source.dtype, source.shape)
    )
    return {"image": x, "label": IntField(), "index": IntField()}


class Writer(DatasetWriter):  # type: ignore[misc]  # ffcv carries no types
    """FFCV's DatasetWriter with its own way of waiting for the workers."""

    def __init__(
        self, path: str, fields: dict[str, Any], page_size: int, workers: int, what: str
    ) -> None:
        super().__init__(path, fields, page_size, workers)
        self.what = what

    def write(self, source: Source, progress: Progress | None) -> tuple[int, ...]:
        """Write every row; return those that were not readable.

        Raises:
            PrunerError: a worker failed or was killed.
        """
        self.num_samples = source.n
        self.prepare()
        try:
            chunks = [range(i, min(i + CHUNK, source.n)) for i in range(0, source.n, CHUNK)]
            allocations, unreadable = self._spread(source, chunks, progress)
            self.finalize(allocations)
        finally:
            self.metadata_sm.close()
            self.metadata_sm.unlink()
        return tuple(sorted(unreadable))

    def _spread(
        self, source: Source, chunks: list[range], progress: Progress | None
    ) -> tuple[list[Any], list[int]]:
        """Have the chunks written by worker processes; gather what they did."""
        todo: Any = Queue()
        results: Any = Queue()
        done = Value(ctypes.c_uint64, 0)
        count = min(self.num_workers, len(chunks))
        for chunk in [*chunks, *[None] * count]:
            todo.put(chunk)
        allocator = MemoryAllocator(self.fname, self.data_region_start, self.page_size)
        arguments = (todo, results, done, self.metadata_sm, self.metadata_type, self.fields)
        workers = [
            Process(target=_work, args=(*arguments, allocator, source)) for _ in range(count)
        ]
        with _ended(workers):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # forking beside threads
                for worker in workers:
                    worker.start()
            allocations: list[Any] = []
            unreadable: list[int] = []
            for _ in workers:
                for got in self._wait(results, workers, done, progress):
                    allocations += got[0]
                    unreadable += got[1]
            for worker in workers:
                worker.join()
        return allocations, unreadable

    def _wait(
        self, results: Any, workers: list[Process], done: Any, progress: Progress | None
    ) -> Iterator[tuple[list[Any], list[int]]]:
        """Wait for one worker's result, showing progress."""
        while True:
            dead = [w for w in workers if w.exitcode not in (None, 0)]
            try:
                failure, allocations, unreadable = results.get(timeout=0.1)
            except Empty:
                if dead:
                    raise PrunerError(
                        f"{self.what}: a worker was killed (exit code {dead[0].exitcode}), maybe "
                        "for want of memory; use fewer workers"
                    ) from None
                continue
            finally:
                if progress is not None:
                    progress(self.what, int(done.value), int(self.num_samples))
            if failure:
                raise PrunerError(f"{self.what}: {failure}")
            yield allocations, unreadable
            return


@contextmanager
def _ended(workers: list[Process]) -> Iterator[None]:
    """See to it that no worker outlives the block."""
    try:
        yield
    finally:
        for worker in workers:
            if worker.pid is not None and worker.is_alive():
                worker.terminate()
                worker.join()


def _work(
    todo: Any,
    results: Any,
    done: Any,
    memory: Any,
    metadata_type: Any,
    fields: dict[str, Any],
    allocator: Any,
    source: Source,
) -> None:
    """Write chunks until there are none; tell what was allocated, or what went wrong."""
    cv2.setNumThreads(0)  # threads of its own do not survive the fork
    metadata = np.frombuffer(memory.buf, dtype=metadata_type, count=source.n)
    unreadable: list[int] = []
    row = -1
    try:
        with allocator:
            while (chunk := todo.get()) is not None:
                for row in chunk:
                    sample, good = source.row(row)
                    unreadable += [] if good else [row]
                    handle_sample(sample, row, metadata_type.names, metadata, allocator, fields)
                with done.get_lock():
                    done.value += len(chunk)
    except Exception as error:
        results.put((_story(row, error), [], []))
    else:
        results.put((None, allocator.allocations, unreadable))
    finally:
        results.close()
        results.join_thread()
        del metadata
        os._exit(0)  # nothing of the parent's is to be ended twice


def _story(row: int, error: Exception) -> str:
    """Say in one line why row could not be written."""
    if isinstance(error, PrunerError):
        return str(error)
    if "page size" in str(error):
        return f"row {row} does not fit in a page ({error}); give a larger page_size"
    where = traceback.extract_tb(error.__traceback__)[-1]
    return f"row {row}: {type(error).__name__}: {error} ({where.name}, line {where.lineno})"
