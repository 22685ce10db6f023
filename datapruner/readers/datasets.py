"""Dataset objects from Python: anything with a length whose rows are (x, y)."""

from __future__ import annotations

from collections.abc import Iterator, Sized
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import ConcatDataset, DataLoader, IterableDataset, Subset, TensorDataset

from ..data import Data, How
from ..errors import PrunerError, UsageError
from ..examples import generators_kept
from .arrays import as_rows, in_memory
from .checks import checked_labels, class_names, content_hash

LOOKED_AT = 100  # rows whose labels are compared with those that are kept beside them


def open_dataset(dataset: Any, split: str, how: How) -> Data:
    """Open a map-style Dataset of (x, y); its transforms stay as they are.

    Labels come from `.targets` or `.labels` (also below a Subset) where they agree with the first
    row of each label (of a hundred, where there are more), else from going through it once: a
    `target_transform` may give others. A TensorDataset of (x, y) is taken into memory. Pictures are
    PIL pictures or arrays of shape (C, H, W) with C 1 or 3. All rows count as readable: what to do
    about a picture that does not decode is the Dataset's own business.

    Raises:
        UsageError: it cannot be indexed, or its rows are no pairs (x, y).
        PrunerError: empty, a row that cannot be read, or labels that are no labels.

    Example:
        >>> open_dataset([("some text", 0), ("more of it", 1)], "train", How()).labels
        tensor([0, 1])
    """
    name = type(dataset).__name__
    _refuse_other_kinds(dataset, name)
    n = len(dataset)
    if n == 0:
        raise PrunerError(f"{name}: holds no examples; check how it was made")
    with generators_kept():  # the transforms of these rows may draw
        first = _row(dataset, 0, name)
        values = stored_labels(dataset)
        if values is None or len(values) != n or not _agree(values, dataset, first[1], name):
            values = list(_go_through(dataset, n, name, how))
    names = _class_names(dataset)
    labels = checked_labels(_numbers(values, name), name, names)
    classes = class_names(labels, names)
    if isinstance(dataset, TensorDataset):
        values = dataset.tensors[0].detach().cpu()
        x, is_image = as_rows(values if values.dtype != torch.bfloat16 else values.float(), name)
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


def _go_through(dataset: Any, n: int, name: str, how: How) -> Iterator[Any]:
    """Give the label of each row, which may take as long as an epoch's reading."""
    for i in range(n):
        if how.progress is not None and i % 256 == 0:
            how.progress("reading labels", i, n)
        yield _row(dataset, i, name)[1]
    if how.progress is not None:
        how.progress("reading labels", n, n)


def _agree(values: Any, dataset: Any, first: Any, name: str) -> bool:
    """Tell whether stored labels are what rows give, of which the first is known."""
    if not _same(values[0], first):
        return False
    try:
        kept = _numbers(values, name)
        rows = np.unique(kept, return_index=True)[1] if np.ndim(kept) == 1 else np.zeros(1, int)
    except (PrunerError, TypeError):  # no labels, which the caller says
        return True
    for i in rows[:: -(-len(rows) // LOOKED_AT)].tolist():
        try:
            given = first if i == 0 else _row(dataset, i, name)[1]
        except PrunerError:  # a picture that does not decode says nothing of labels
            continue
        if not _same(values[i], given):
            return False
    return True


def _same(stored: Any, given: Any) -> bool:
    """Tell whether a stored label is what the row itself gives: a transform may change it."""
    try:
        return bool(stored == given)
    except (RuntimeError, ValueError, TypeError):
        return False


def _class_names(dataset: Any) -> list[str] | None:
    """Return the names in `.classes`, also below a Subset."""
    if isinstance(dataset, Subset):
        return _class_names(dataset.dataset)
    names = getattr(dataset, "classes", None)
    return [str(name) for name in names] if isinstance(names, (list, tuple)) and names else None


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
        >>> stored_labels(Subset(rows, [2, 0])).tolist()
        [2, 0]
    """
    if isinstance(dataset, Subset):
        inner = stored_labels(dataset.dataset)
        try:
            return None if inner is None else np.asarray(inner)[np.asarray(dataset.indices)]
        except (TypeError, ValueError):  # lists of different lengths, or on a GPU: ask the rows
            return None
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
    if isinstance(dataset, ConcatDataset):
        ends = np.array(dataset.cumulative_sizes)
        return [ends, *(content for part in dataset.datasets for content in _content(part))]
    if isinstance(dataset, TensorDataset):
        tensors = (t.detach().cpu() for t in dataset.tensors)
        return [t.float() if t.dtype == torch.bfloat16 else t for t in tensors]
    values = getattr(dataset, "data", None)
    if isinstance(values, (Tensor, np.ndarray)) and np.asarray(values).dtype.kind in "iufb":
        return [values]
    samples = getattr(dataset, "samples", None)
    if isinstance(samples, list) and samples and isinstance(samples[0][0], (str, Path)):
        return ["\0".join("/".join(Path(row[0]).parts[-2:]) for row in samples).encode()]
    return []


def _is_picture(x: Any) -> bool:
    """Tell whether an example can be shown."""
    from PIL.Image import Image

    if isinstance(x, Image):
        return True
    return isinstance(x, (Tensor, np.ndarray)) and x.ndim == 3 and x.shape[0] in (1, 3)
