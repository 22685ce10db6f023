"""Dataset objects from Python: anything with a length whose rows are (x, y)."""

from __future__ import annotations

from collections.abc import Sized
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, Subset, TensorDataset

from ..data import Data
from ..errors import PrunerError, UsageError
from .arrays import as_rows, in_memory
from .checks import checked_labels, class_names, content_hash


def open_dataset(dataset: Any, split: str) -> Data:
    """Open a map-style Dataset of (x, y); its transforms stay as they are.

    Labels come from `.targets` or `.labels` (also below a Subset), else from going through it
    once. A TensorDataset of (x, y) is taken into memory. Pictures are PIL pictures or arrays of
    shape (C, H, W) with C 1 or 3. All rows count as readable.

    Raises:
        UsageError: it cannot be indexed, or its rows are no pairs (x, y).
        PrunerError: empty, a row that cannot be read, or labels that are no labels.
    """
    name = type(dataset).__name__
    _refuse_other_kinds(dataset, name)
    n = len(dataset)
    if n == 0:
        raise PrunerError(f"{name}: holds no examples; check how it was made")
    first = _row(dataset, 0, name)
    values = stored_labels(dataset)
    if values is None:
        values = [_row(dataset, i, name)[1] for i in range(n)]
    names = getattr(dataset, "classes", None)
    names = list(names) if isinstance(names, (list, tuple)) and names else None
    labels = checked_labels(_numbers(values, name), name, names)
    if len(labels) != n:
        raise PrunerError(f"{name}: has {n} rows but {len(labels)} labels; make them agree")
    classes = class_names(labels, names)
    if isinstance(dataset, TensorDataset):
        x, is_image = as_rows(dataset.tensors[0], name)
        return in_memory(name, split, x, labels, classes, is_image=is_image)
    return Data(
        name=name,
        split=split,
        labels=labels,
        classes=classes,
        fingerprint=content_hash(labels, _content(dataset)),
        readable=torch.ones(n, dtype=torch.bool),
        x=None,
        dataset=dataset,
        is_image=_is_picture(first[0]),
    )


def _refuse_other_kinds(dataset: Any, name: str) -> None:
    """Say what to do with what looks like a Dataset but has no rows to be indexed by."""
    if isinstance(dataset, DataLoader):
        raise UsageError(f"{name}: give its dataset, open_data(loader.dataset)")
    if isinstance(dataset, IterableDataset):
        raise UsageError(
            f"{name}: an IterableDataset has no indices to keep examples by; read it into a list "
            "of (x, y) and give that"
        )
    if not (isinstance(dataset, Sized) and hasattr(dataset, "__getitem__")):
        raise UsageError(
            f"{name}: neither a path nor a Dataset with __len__ and __getitem__; give one of them"
        )


def _row(dataset: Any, i: int, name: str) -> tuple[Any, Any]:
    """Return row i as (x, y)."""
    try:
        row = dataset[i]
    except Exception as error:  # whatever the user's own code raises
        raise PrunerError(
            f"{name}: row {i} cannot be read ({type(error).__name__}: {error}); correct or drop it"
        ) from error
    if not isinstance(row, (tuple, list)) or len(row) != 2:
        raise UsageError(
            f"{name}: row {i} is a {type(row).__name__}, not a pair (x, y); wrap the Dataset in "
            "one that gives pairs"
        )
    return row[0], row[1]


def stored_labels(dataset: Any) -> Any:
    """Return the labels a Dataset holds, as they are, or None when rows must be asked for them.

    Example:
        >>> rows = TensorDataset(torch.zeros(3, 1), torch.tensor([0, 1, 2]))
        >>> stored_labels(Subset(rows, [2, 0]))
        tensor([2, 0])
    """
    if isinstance(dataset, Subset):
        inner = stored_labels(dataset.dataset)
        if inner is None:
            return None
        return torch.as_tensor(np.asarray(inner))[torch.as_tensor(dataset.indices)]
    if isinstance(dataset, TensorDataset) and len(dataset.tensors) == 2:
        return dataset.tensors[1]
    for name in ("targets", "labels"):
        values = getattr(dataset, name, None)
        if values is not None and not callable(values):
            return values
    return None


def _numbers(values: Any, name: str) -> Any:
    """Bring labels in a list, each maybe a tensor of one number, to an array."""
    if isinstance(values, Tensor):
        return values.detach().cpu().numpy()
    try:
        return np.asarray([v.item() if hasattr(v, "item") else v for v in values])
    except (ValueError, RuntimeError, TypeError):
        raise PrunerError(f"{name}: labels must be one whole number each; check them") from None


def _content(dataset: Any) -> list[Any]:
    """Return what of a Dataset's content can be had without running its transforms."""
    if isinstance(dataset, Subset):
        return [np.asarray(dataset.indices), *_content(dataset.dataset)]
    values = getattr(dataset, "data", None)
    if isinstance(values, (Tensor, np.ndarray)) and np.asarray(values).dtype.kind in "iufb":
        return [values]
    if isinstance(dataset, TensorDataset):
        return list(dataset.tensors)
    return []


def _is_picture(x: Any) -> bool:
    """Tell whether an example can be shown."""
    from PIL.Image import Image

    if isinstance(x, Image):
        return True
    return isinstance(x, (Tensor, np.ndarray)) and x.ndim == 3 and x.shape[0] in (1, 3)
