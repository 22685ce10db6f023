"""One pass of an FFCV loader over an order: it ends when told to, and says when it fails.

FFCV's own iterator goes on waiting for ever when its thread has failed, and its thread lives on
when iteration is broken off. Imports ffcv: only through `installed.require`.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import suppress
from queue import Empty
from typing import Any
from weakref import WeakSet

import numba
import numpy as np
import torch
from ffcv.loader import Loader
from ffcv.loader.epoch_iterator import EpochIterator
from torch import Tensor

from ..errors import PrunerError
from .compiling import explained, let_cache, plain_errors
from .helpers import Task

COMPILING = "FFCV compiles the loading pipeline, once in this process"

_compiled: WeakSet[Loader] = WeakSet()
_compiling = threading.Lock()  # the pass that warms up and the first epoch may meet


class Epoch(EpochIterator):  # type: ignore[misc]  # ffcv carries no types
    """FFCV's iterator over one order, which must be uint64: another type is compiled anew.

    Giving the order here, instead of through the loader's traversal order, leaves the user's loader
    as it is, and with it the length that it froze when it was made.
    """

    def __init__(self, loader: Loader, order: Tensor) -> None:
        self.failure: BaseException | None = None
        self.ended = True  # nothing to close as long as this constructor has not ended
        super().__init__(loader, np.ascontiguousarray(order.numpy().astype(np.uint64)))
        self.ended = False

    def start(self) -> None:
        """Have a helper make the batches: FFCV's iterator is a thread, which is never started."""
        self.task = Task(self.run)

    def run(self) -> None:
        """Make batches until there are none left; a failure is kept for the one who waits."""
        try:
            super().run()
        except BaseException as error:
            self.failure = error
            self.output_queue.put(None)

    def __next__(self) -> Any:
        try:
            return super().__next__()
        except StopIteration:
            if self.failure is not None:
                raise PrunerError(
                    f"FFCV failed while making a batch: {type(self.failure).__name__}: "
                    f"{self.failure}; check the pipelines of the loader"
                ) from self.failure
            raise

    def close(self) -> None:
        """End the work, which may be on a batch, and the threads that read pages for it."""
        if self.ended:
            return
        self.ended = True
        self.terminate_event.set()
        self.iter_ixes = iter(())  # it finds no further batch
        while not self.task.wait(0.0):
            with suppress(Empty):  # it may be waiting to hand one over
                self.output_queue.get_nowait()
            self.task.wait(0.005)
        self.closed = True
        self.memory_context.__exit__(None, None, None)
        for thread in getattr(getattr(self.memory_context, "executor", None), "threads", ()):
            thread.join()


def run(loader: Loader, order: Tensor) -> Iterator[Any]:
    """Give the batches that `loader` makes of `order`; the loader itself stays as it is.

    Each batch is valid until some later one is asked for, as with FFCV.

    Args:
        loader: an FFCV loader; its own order, indices and drop_last play no part.
        order: (m,) int64, rows of the file.
    """
    if len(order) == 0:
        return
    epoch, batch = _first(loader, order)
    try:
        yield batch
        yield from epoch
    finally:
        epoch.close()


def _first(loader: Loader, order: Tensor) -> tuple[Epoch, Any]:
    """Start an epoch and wait for its first batch; before the very first one FFCV compiles."""
    if loader in _compiled and not loader.recompile:
        epoch = Epoch(loader, order)
        return epoch, next(epoch)
    with _compiling, plain_errors(), explained(COMPILING):
        if loader.code is None or loader.recompile:
            loader.generate_code()
        if loader not in _compiled:
            let_cache(loader)
        epoch = Epoch(loader, order)
        try:
            batch = next(epoch)
        except BaseException:
            epoch.close()
            raise
        _compiled.add(loader)
        return epoch, batch


def warm_up(loader: Loader, row: int) -> threading.Thread:
    """Compile the pipeline in the background, by making a batch of one row."""

    def make() -> None:
        for _ in run(loader, torch.tensor([row])):
            break

    thread = threading.Thread(target=make, name="datapruner-warm-up")
    thread.start()
    return thread


def quiet_loader(*args: Any, **options: Any) -> Loader:
    """Return an FFCV loader, without its side effect on the threads of torch and numba."""
    threads = torch.get_num_threads(), numba.get_num_threads()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            return Loader(*args, **options)
    finally:
        torch.set_num_threads(threads[0])
        numba.set_num_threads(threads[1])
