"""One pass over all pictures of a set, with threads: into memory, or only to see which decode."""

from __future__ import annotations

import os
import warnings
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from typing import Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import TensorDataset

from ..data import Data, How
from ..errors import PrunerError
from .decode import check, pixels, size_of
from .scans import recall, remember

MEMORY_LIMIT = 2 << 30  # bytes of uint8 RGB up to which pictures of one size are held in memory

Encoded = list[bytes | str]
"""Encoded pictures; a str in place of one says why there are no bytes."""

T = TypeVar("T")


class Source(Protocol):
    """Pictures that can be gone through in order, and are a map-style dataset of (PIL, label).

    Attributes:
        labels: (n,) int64.
        fingerprint: 16 hex digits, see `open_data`.
        stamp: changes when a file was touched, which the fingerprint may not.
    """

    labels: Tensor
    fingerprint: str
    stamp: str

    def __len__(self) -> int: ...

    def chunks(self) -> Iterator[tuple[int, Callable[[], Encoded]]]:
        """Give the place of the first and what reads the rest, some hundred pictures at a time."""
        ...

    def where(self, i: int) -> str:
        """Say where picture i lies."""
        ...


@dataclass
class _Outcome:
    """What a pass found: pictures by row, or why there are none."""

    failures: dict[int, str] = field(default_factory=dict)
    grey: bool = True
    same_size: bool = True


def open_pictures(
    source: Source, how: How, name: str, split: str, classes: tuple[str, ...]
) -> Data:
    """Build the Data of a source: in memory when it fits, else with one scan over it.

    Raises:
        PrunerError: no picture decodes; or one does not and `how.strict` is set.
    """
    x, readable = _read_pictures(source, how)
    return Data(
        name=name,
        split=split,
        labels=source.labels,
        classes=classes,
        fingerprint=source.fingerprint,
        readable=readable,
        x=x,
        dataset=source if x is None else TensorDataset(x, source.labels),
        is_image=True,
    )


def _read_pictures(source: Source, how: How) -> tuple[Tensor | None, Tensor]:
    """Return x, or None when the pictures are not to be held in memory, and which are readable.

    Raises:
        PrunerError: no picture decodes; or one does not and `how.strict` is set.
    """
    n = len(source)
    with warnings.catch_warnings():
        # Pillow warns of what is odd about a picture; whether it decodes is what counts here
        warnings.simplefilter("ignore")
        size = _common_size(source)
        if size is not None and n * 3 * size[0] * size[1] <= MEMORY_LIMIT:
            out = np.zeros((n, 3, size[1], size[0]), np.uint8)
            outcome = _into_memory(source, out, how)
            if outcome.same_size:
                readable = _judge(source, outcome.failures, how)
                return torch.from_numpy(out[:, :1].copy() if outcome.grey else out), readable
        failures = recall(source.fingerprint, source.stamp)
        if failures is None and how.scan:
            failures = _scan(source, how)
            remember(source.fingerprint, source.stamp, failures)
    return None, _judge(source, failures or {}, how)


def _judge(source: Source, failures: dict[int, str], how: How) -> Tensor:
    """Turn failures into `readable`, or into the error that they are."""
    n = len(source)
    readable = torch.ones(n, dtype=torch.bool)
    if failures:
        readable[sorted(failures)] = False
        first = min(failures)
        story = f"the first is row {first} ({source.where(first)}: {failures[first]})"
        if len(failures) == n:
            raise PrunerError(f"none of the {n} pictures decodes; {story}; check the files")
        if how.strict:
            raise PrunerError(
                f"{len(failures)} of {n} pictures cannot be decoded; {story}; mend or remove them, "
                "or have them set aside by leaving strict off"
            )
    return readable


def _common_size(source: Source) -> tuple[int, int] | None:
    """Return the (width, height) that the first pictures share, or None when they differ."""
    sizes = set()
    for _, read in islice(source.chunks(), 1):
        for encoded in read():
            try:
                sizes.add(size_of(_bytes(encoded)))
            except Exception:
                continue
    return sizes.pop() if len(sizes) == 1 else None


def _into_memory(source: Source, out: np.ndarray, how: How) -> _Outcome:
    """Decode every picture into its row of `out` (n, 3, H, W); stops at one of another size."""
    total = _Outcome()

    def work(start: int, encoded: Encoded) -> _Outcome:
        found = _Outcome()
        block = np.zeros((len(encoded), *out.shape[2:], 3), np.uint8)
        for j, item in enumerate(encoded):
            try:
                picture = pixels(_bytes(item))
            except Exception as error:
                found.failures[start + j] = _reason(error)
                continue
            if picture.shape[:2] != block.shape[1:3]:
                found.same_size = False
                break
            found.grey &= picture.ndim == 2
            block[j] = picture[..., None] if picture.ndim == 2 else picture
        out[start : start + len(block)] = block.transpose(0, 3, 1, 2)
        return found

    for found in _each_chunk(source, work, how, "decoding pictures"):
        total.failures |= found.failures
        total.grey &= found.grey
        if not found.same_size:
            total.same_size = False
            break
    return total


def _scan(source: Source, how: How) -> dict[int, str]:
    """Try every picture; return by row why those that do not decode do not."""

    def work(start: int, encoded: Encoded) -> dict[int, str]:
        failures = {}
        for j, item in enumerate(encoded):
            try:
                check(_bytes(item))
            except Exception as error:
                failures[start + j] = _reason(error)
        return failures

    failures: dict[int, str] = {}
    for found in _each_chunk(source, work, how, "checking pictures"):
        failures |= found
    return failures


def _each_chunk(
    source: Source, work: Callable[[int, Encoded], T], how: How, doing: str
) -> Iterator[T]:
    """Run `work` on every chunk in threads, in order, a few chunks ahead of what is asked for."""
    threads = _cores()
    waiting: deque[tuple[int, Future[T]]] = deque()
    n = len(source)
    pool = ThreadPoolExecutor(threads, thread_name_prefix="pictures")
    try:
        for start, read in source.chunks():
            waiting.append((start, pool.submit(_read_and, work, start, read)))
            if len(waiting) > 2 * threads:
                yield _done(waiting, n, how, doing)
        while waiting:
            yield _done(waiting, n, how, doing)
    finally:
        pool.shutdown(cancel_futures=True)


def _read_and(work: Callable[[int, Encoded], T], start: int, read: Callable[[], Encoded]) -> T:
    """Read a chunk and work on it: both happen in the thread."""
    return work(start, read())


def _done(waiting: deque[tuple[int, Future[T]]], n: int, how: How, doing: str) -> T:
    """Wait for the oldest chunk and tell how far the pass is."""
    _, future = waiting.popleft()
    result = future.result()
    if how.progress is not None:
        how.progress(doing, waiting[0][0] if waiting else n, n)
    return result


def _bytes(item: bytes | str) -> bytes:
    """Return the bytes of a picture; what stands in their place is why they are not there."""
    if isinstance(item, str):
        raise ValueError(item)
    return item


def _reason(error: Exception) -> str:
    """Return why a picture does not decode, on one line; Pillow names the buffer, not the file."""
    text = " ".join(str(error).split())
    return "not a picture" if "cannot identify" in text else text or type(error).__name__


def _cores() -> int:
    """Return how many cores this process may use, at most 32."""
    if hasattr(os, "sched_getaffinity"):
        return min(32, len(os.sched_getaffinity(0)))
    return min(32, os.cpu_count() or 1)
