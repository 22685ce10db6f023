"""Whether what an algorithm is about to hold fits into memory, asked before it starts."""

import os
from pathlib import Path


def refuse_beyond_memory(needed: int, what: str, instead: str) -> None:
    """Refuse, before anything is allocated, what is larger than the memory that is free.

    Args:
        needed: bytes.
        what: needs them.
        instead: what would fit.

    Raises:
        ValueError: it does not fit.

    Example:
        >>> refuse_beyond_memory(2**60, "the similarities of all pairs", "pass neighbours=64")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ...
        ValueError: the similarities of all pairs take 1073741824.0 GiB, and ... GiB are free: pass neighbours=64
    """  # noqa: E501
    if needed > (free := free_memory()):
        raise ValueError(
            f"{what} take {needed / 2**30:.1f} GiB, and {free / 2**30:.1f} GiB are free: {instead}"
        )


def free_memory() -> int:
    """Return the bytes that can be allocated without swapping, as far as the system tells.

    Example:
        >>> free_memory() > 0
        True
    """
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        return next(int(s.split()[1]) for s in lines if s.startswith("MemAvailable:")) * 1024
    except (OSError, StopIteration):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
