"""MNIST and Fashion-MNIST in their original IDX files, unpacked or still gzipped."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..errors import PrunerError

STEMS = {"train": "train", "test": "t10k"}


def open_idx(folder: Path, split: str) -> tuple[Tensor, NDArray[np.uint8]] | None:
    """Return pictures (n, 1, 28, 28) uint8 and labels (n,), or None when the files are not there.

    torchvision wants the files unpacked beside the archives; this reads the archives themselves and
    writes nothing, so that a read-only folder can be opened.

    Raises:
        PrunerError: a file is damaged, or the two do not belong together.
    """
    files = [
        next(
            (path for path in (folder / name, folder / f"{name}.gz") if path.is_file()),
            None,
        )
        for name in (f"{STEMS[split]}-images-idx3-ubyte", f"{STEMS[split]}-labels-idx1-ubyte")
    ]
    if files[0] is None or files[1] is None:
        return None
    pictures, labels = read_idx(files[0], 3), read_idx(files[1], 1)
    if len(pictures) != len(labels):
        raise PrunerError(
            f"{files[0]}: {len(pictures)} pictures but {len(labels)} labels beside them; "
            "fetch both again"
        )
    return torch.from_numpy(pictures[:, None]), labels


def read_idx(path: Path, axes: int) -> NDArray[np.uint8]:
    """Read an IDX file of bytes: two zeros, type 8, the number of axes, their lengths, the values.

    Raises:
        PrunerError: damaged, or not an IDX file of that many axes.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "labels"
        >>> _ = path.write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 2, 7, 9]))
        >>> read_idx(path, 1).tolist()
        [7, 9]
    """
    try:
        raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise PrunerError(f"{path}: damaged or cut off ({error}); fetch it again") from None
    head = 4 + 4 * axes
    if len(raw) < head or raw[:4] != bytes([0, 0, 8, axes]):
        raise PrunerError(f"{path}: not an IDX file of {axes} axes; fetch it again")
    shape = tuple(int(length) for length in np.frombuffer(raw, ">i4", axes, 4))
    if len(raw) != head + int(np.prod(shape, dtype=np.int64)):
        raise PrunerError(
            f"{path}: holds {len(raw) - head} values where its head says {shape}; it is damaged or "
            "cut off, fetch it again"
        )
    return np.frombuffer(bytearray(raw), np.uint8, offset=head).reshape(shape)
