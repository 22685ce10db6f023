"""Making FFCV's start shorter, and saying what it does meanwhile.

FFCV hands every operation to numba as a new function, so nothing is ever taken from numba's cache,
and half of the time goes into code for an error message. Imports ffcv's numba objects only.
"""

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from numba.core.dispatcher import Dispatcher
from numba.extending import overload
from numba.np import arrayobj

PATIENCE = 1.0  # seconds of silence before it is said what takes so long


def let_cache(loader: Any) -> None:
    """Let numba keep FFCV's own compiled operations on disk, in its usual place.

    Only those that are functions of plain values: a decoder holds the address of a C function,
    which is another in the next process. What the user wrote is left alone.

    Args:
        loader: an ffcv.loader.Loader that has not run yet.
    """
    for stage, _ in loader.code[0]:
        for function in stage.__globals__.values():
            if isinstance(function, Dispatcher) and _can_cache(function):
                try:
                    function.enable_caching()
                except RuntimeError:  # numba finds no place to write to
                    return


def _can_cache(function: Any) -> bool:
    python = function.py_func
    cells = [cell.cell_contents for cell in python.__closure__ or ()]
    return (
        not function.signatures
        and python.__module__.startswith("ffcv.")
        and not any(isinstance(cell, Dispatcher) for cell in cells)
    )


def _raise_shapes(src_shapes: Any, index_shape: Any) -> None:
    """Raise what numba raises when a slice does not fit; compiled code has its own version."""
    raise NotImplementedError


@overload(_raise_shapes)  # type: ignore[untyped-decorator]
def _compiled_raise_shapes(src_shapes, index_shape):  # type: ignore[no-untyped-def]
    def raise_plainly(src_shapes, index_shape):  # type: ignore[no-untyped-def]
        raise ValueError("cannot assign slice from input of different shape")

    return raise_plainly


@contextmanager
def plain_errors() -> Iterator[None]:
    """Have slice assignments compiled with an error message that names no shapes.

    numba's own message is put together from strings at run time, and the code that does so takes
    4 to 7 of the 8 to 15 seconds that a usual pipeline compiles for. A numba without that function
    is left as it is.
    """
    usual = getattr(arrayobj, "raise_with_shape_context", None)
    if usual is None:
        yield
        return
    arrayobj.raise_with_shape_context = _raise_shapes
    try:
        yield
    finally:
        arrayobj.raise_with_shape_context = usual


@contextmanager
def explained(what: str) -> Iterator[None]:
    """Say on stderr what goes on if the block takes more than a second, and when it is over."""
    began = time.perf_counter()
    told = threading.Event()

    def tell() -> None:
        told.set()
        print(f"{what} ...", file=sys.stderr, flush=True)  # noqa: T201

    timer = threading.Timer(PATIENCE, tell)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()
        if told.is_set():
            seconds = time.perf_counter() - began
            print(f"{what}: {seconds:.0f} s", file=sys.stderr, flush=True)  # noqa: T201
