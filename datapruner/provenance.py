"""Where a result comes from: fingerprints, library versions, and whether it is of these data."""

import hashlib
from importlib.metadata import PackageNotFoundError, version
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from .errors import Refused

_LIBRARIES = ("datapruner", "torch", "numpy", "faiss-cpu", "scikit-learn")


class Known(Protocol):
    """What says which data it is of: `Data` and `Record` do."""

    @property
    def n(self) -> int:
        """How many examples."""
        ...

    @property
    def fingerprint(self) -> str:
        """16 hex digits over the content."""
        ...


def fingerprint(*arrays: NDArray) -> str:
    """Return 16 hex digits over the types, shapes and values of the arrays, in this order.

    Example:
        >>> fingerprint(np.arange(3)) == fingerprint(np.arange(3))
        True
        >>> fingerprint(np.arange(3)) == fingerprint(np.arange(4))
        False
    """
    digest = hashlib.blake2b(digest_size=8)
    for array in arrays:
        plain = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
        digest.update(f"{plain.dtype.str}{plain.shape}".encode())
        digest.update(plain.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def versions() -> dict[str, str]:
    """Return the installed version of each library that can change a score; absent ones left out.

    Example:
        >>> "numpy" in versions()
        True
    """
    found = {}
    for name in _LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def refuse_other_data(what: str, made_for: str | None, n: int, data: Known | None) -> None:
    """Refuse a result made for other data; where it does not say for which, compare the sizes.

    Args:
        what: the result, as the message names it: its path, mostly.
        made_for: fingerprint of the data it was made for, or None where that is not known.
        n: size of the data it was made for.
        data: the data at hand; None checks nothing.

    Raises:
        Refused: they differ.

    Example:
        >>> refuse_other_data("scores.parquet", None, 10, None)
    """
    if data is None or (made_for in (None, data.fingerprint) and n == data.n):
        return
    name = f"{getattr(data, 'name', '')} ".lstrip()
    raise Refused(
        f"{what}: made for data {made_for or 'of unknown content'} with {n:,} examples, but "
        f"{name}here is {data.fingerprint} with {data.n:,}; open the data it was made for, "
        "or score these anew"
    )
