"""Arrays that are in memory, or in an `.npz` file: pictures, features, token ids."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import TensorDataset

from ..data import Data
from ..errors import PrunerError
from .checks import checked_labels, class_names, content_hash


def in_memory(
    name: str,
    split: str,
    x: Tensor,
    labels: Tensor,
    classes: Sequence[str],
    *,
    is_image: bool,
) -> Data:
    """Build the Data of a whole set in memory; its fingerprint is over labels and values.

    Example:
        >>> x, y = torch.zeros(2, 3), torch.tensor([0, 1])
        >>> in_memory("tiny", "train", x, y, ("no", "yes"), is_image=False).n
        2
    """
    return Data(
        name=name,
        split=split,
        labels=labels,
        classes=tuple(classes),
        fingerprint=content_hash(labels, [x]),
        readable=torch.ones(len(labels), dtype=torch.bool),
        x=x,
        dataset=TensorDataset(x, labels),
        is_image=is_image,
    )


def as_rows(values: Any, where: str) -> tuple[Tensor, bool]:
    """Decide what an array is; return it as `Data.x` wants it, and whether it is pictures.

    uint8 of three or four axes is pictures: (n, H, W), (n, H, W, C) or (n, C, H, W), C 1 or 3.
    Two axes of uint8, floats of any shape and flags are features, as float32 (floats of shape
    (n, 1 or 3, H, W) can be shown as pictures); other whole numbers are token ids, as int64.

    Raises:
        PrunerError: not numbers, NaN or infinite, or pictures of other than 1 or 3 channels.

    Example:
        >>> as_rows(np.zeros((5, 4, 4, 3), np.uint8), "a.npz")[0].shape
        torch.Size([5, 3, 4, 4])
    """
    array = np.asarray(values)
    if array.dtype.kind not in "iufb" or array.ndim == 0:
        raise PrunerError(f"{where}: x is not an array of numbers (it is {array.dtype}); check it")
    if array.ndim == 1:
        array = array[:, None]
    if array.dtype == np.uint8 and array.ndim in (3, 4):
        return torch.from_numpy(_channels_first(array, where)), True
    if array.dtype.kind in "iu" and array.dtype != np.uint8:
        return torch.from_numpy(array.astype(np.int64)), False
    with np.errstate(over="ignore"):  # too large for float32 becomes infinite, and is named below
        features = np.ascontiguousarray(array, dtype=np.float32)
    finite = np.isfinite(features).reshape(len(features), -1).all(axis=1)
    if not finite.all():
        row = int(np.argmin(finite))
        raise PrunerError(
            f"{where}: x holds NaN or infinite values ({int((~finite).sum())} rows, the first is "
            f"row {row}); fill or drop them"
        )
    return torch.from_numpy(features), features.ndim == 4 and features.shape[1] in (1, 3)


def _channels_first(array: NDArray[np.uint8], where: str) -> NDArray[np.uint8]:
    """Bring pictures to (n, C, H, W)."""
    if array.ndim == 3:
        array = array[:, None]
    elif array.shape[1] not in (1, 3) and array.shape[3] in (1, 3):
        array = array.transpose(0, 3, 1, 2)
    if array.shape[1] not in (1, 3):
        raise PrunerError(
            f"{where}: pictures must have 1 or 3 channels, x has shape {array.shape}; "
            "drop the alpha channel, or give floats"
        )
    return np.ascontiguousarray(array)


def open_npz(path: Path, split: str) -> Data:
    """Open an `.npz` with x and y (train), maybe x_test and y_test, and maybe classes (names).

    Classes count over both splits. What x may be: see `as_rows`.

    Raises:
        PrunerError: damaged, arrays missing or of different lengths, or values as `as_rows` and
            `checked_labels` refuse them.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "rows.npz"
        >>> np.savez(path, x=np.ones((4, 2)), y=[0, 1, 1, 0])
        >>> open_npz(path, "train")
        Data('rows', train: 4 examples, 2 classes, in memory)
    """
    try:
        # numpy leaves a damaged file open when it is given the path alone
        with path.open("rb") as handle, np.load(handle, allow_pickle=False) as archive:
            arrays = {key: archive[key] for key in archive.files}
    except (OSError, ValueError, EOFError, TypeError, zipfile.BadZipFile) as error:
        raise PrunerError(
            f"{path}: cannot be read as .npz ({_line(error)}); write it again with numpy.savez"
        ) from None
    keys = ("x", "y") if split == "train" else ("x_test", "y_test")
    missing = [key for key in keys if key not in arrays]
    if missing:
        found = ", ".join(arrays) or "nothing"
        raise PrunerError(
            f"{path}: no array {' and '.join(missing)} for the {split} split, it holds {found}; "
            f"save it with numpy.savez(path, {keys[0]}=..., {keys[1]}=...)"
        )
    names = [str(name) for name in arrays["classes"].tolist()] if "classes" in arrays else None
    labels = {
        key: checked_labels(arrays[key], f"{path}: {key}", names)
        for key in ("y", "y_test")
        if key in arrays
    }
    x, is_image = as_rows(arrays[keys[0]], f"{path}: {keys[0]}")
    if len(x) != len(labels[keys[1]]):
        raise PrunerError(
            f"{path}: {keys[0]} has {len(x)} rows but {keys[1]} has {len(labels[keys[1]])}; "
            "save them with the same length"
        )
    classes = class_names(torch.cat(list(labels.values())), names)
    return in_memory(path.stem, split, x, labels[keys[1]], classes, is_image=is_image)


def _line(error: BaseException) -> str:
    """Return an error's message on one line."""
    return " ".join(str(error).split())
