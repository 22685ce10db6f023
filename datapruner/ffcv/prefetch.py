"""Making the next batches in threads while one is used."""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def prefetch(make: Callable[[int], T], count: int, workers: int, ahead: int) -> Iterator[T]:
    """Give make(0), ..., make(count - 1) in this order, up to `ahead` of them made before.

    What `make` raises is raised here. When iteration is broken off, the threads have ended before
    it returns.

    Example:
        >>> list(prefetch(lambda k: k * k, 4, workers=2, ahead=2))
        [0, 1, 4, 9]
    """
    pool = ThreadPoolExecutor(workers, thread_name_prefix="datapruner-beton")
    waiting: deque[Future[T]] = deque()
    try:
        for k in range(count):
            waiting.append(pool.submit(make, k))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in reversed(waiting):  # the last first: none starts whose predecessor will not
            future.cancel()
        pool.shutdown(wait=True)
