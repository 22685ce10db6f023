"""What every reader checks and computes in the same way: labels, class names, fingerprints."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..errors import PrunerError

MOST_CLASSES = 10_000_000  # each has a name and a row of the classifier; labels beyond are ids


def checked_labels(values: Any, where: str, classes: Sequence[str] | None = None) -> Tensor:
    """Return labels as (n,) int64, or say which row holds what is not a label.

    Args:
        values: an array, tensor or list of n whole numbers from 0; floats must be whole.
        where: what the message begins with, such as the path.
        classes: class names, when they are known: labels must be below their number.

    Raises:
        PrunerError: no rows, not one-dimensional, not whole numbers, negative, not below the
            number of classes, or so large that it is no number of a class.

    Example:
        >>> checked_labels([0, 2, 1], "a.npz")
        tensor([0, 2, 1])
    """
    try:
        array = np.asarray(values)
    except ValueError:  # rows of different lengths
        raise PrunerError(f"{where}: labels must be one whole number each; check them") from None
    if array.ndim != 1:
        raise PrunerError(
            f"{where}: labels must be one whole number each, got an array of shape {array.shape}; "
            "turn one-hot rows into numbers with argmax"
        )
    if not len(array):
        raise PrunerError(f"{where}: holds no examples; check that it was written to the end")
    if array.dtype.kind not in "iufb":
        raise PrunerError(
            f"{where}: label {array[0]!r} in row 0 is not a number; number the classes from 0"
        )
    limit = MOST_CLASSES if classes is None else len(classes)
    with np.errstate(invalid="ignore"):  # NaN fails each comparison, which is what is wanted
        good = (array >= 0) & (array < limit) & (array == np.floor(array))
    if not good.all():
        row = int(np.argmin(good))
        reason = "not a whole number from 0"
        if array[row] >= limit:
            reason = f"outside the {limit} classes" if classes else "too large for a class's number"
        raise PrunerError(
            f"{where}: label {array[row].item()} in row {row} is {reason}; "
            "correct the labels, they count from 0"
        )
    return torch.from_numpy(array.astype(np.int64))


def class_names(labels: Tensor, names: Sequence[str] | None = None) -> tuple[str, ...]:
    """Return the names given, or "0", "1", ... up to the greatest label.

    Example:
        >>> class_names(torch.tensor([0, 2]))
        ('0', '1', '2')
    """
    if names is not None:
        return tuple(str(name) for name in names)
    return tuple(str(label) for label in range(int(labels.max()) + 1))


def content_hash(
    labels: Tensor, parts: Iterable[bytes | memoryview | NDArray[Any] | Tensor]
) -> str:
    """Return 16 hex digits of blake2b over the labels and then the parts.

    The type and shape of an array count, so a view of the same bytes is other data.

    Example:
        >>> content_hash(torch.tensor([0]), [b"a"]) == content_hash(torch.tensor([0]), [b"b"])
        False
    """
    digest = hashlib.blake2b(digest_size=8)
    for part in (labels, *parts):
        if isinstance(part, Tensor):
            part = part.contiguous().numpy()
        if isinstance(part, np.ndarray):
            digest.update(f"{part.dtype.str}{part.shape}".encode())
            part = np.ascontiguousarray(part).reshape(-1).view(np.uint8).data
        digest.update(part)
    return digest.hexdigest()
