"""Folders of class folders, ROOT/train/CLASS/* and ROOT/test/CLASS/*, or ROOT/CLASS/* alone."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..data import Data, How
from ..errors import PrunerError
from .checks import content_hash
from .decode import decode
from .passes import Encoded, open_pictures

if TYPE_CHECKING:
    from PIL.Image import Image

PICTURES = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
SPLIT_FOLDERS = {"train": ("train",), "test": ("test", "val", "valid", "validation")}
CHUNK = 64  # photographs are some 100 KB each, and a few chunks are in memory at once


class FolderPictures:
    """Pictures below class folders: (RGB PIL picture, label) by index, read each time.

    Classes in sorted order, below each the files in torchvision's ImageFolder order, so indices are
    those that ImageFolder gives; files with other endings than a picture's are passed over.

    Args:
        root: the folder of class folders.
        classes: their names in label order; those with no folder here have no examples.

    Raises:
        PrunerError: a class folder without pictures, or one that is no class.
    """

    def __init__(self, root: Path, classes: tuple[str, ...]) -> None:
        self.root = root
        names, sizes, stamps, labels = [], [], [], []
        for folder in _class_folders(root):
            if folder not in classes:
                raise PrunerError(
                    f"{root / folder}: the training set has no class of this name; rename or move "
                    "the folder"
                )
            found = list(_pictures_below(root / folder))
            if not found:
                raise PrunerError(
                    f"{root / folder}: a class folder without pictures ({', '.join(PICTURES)}); "
                    "fill or remove it"
                )
            for path, size, stamp in found:
                names.append(os.fsencode(os.path.relpath(path, root)))
                sizes.append(size)
                stamps.append(stamp)
            labels += [classes.index(folder)] * len(found)
        self.names: NDArray[np.bytes_] = np.array(names)  # one block: lists grow in each worker
        self.labels: Tensor = torch.tensor(labels, dtype=torch.int64)
        joined = b"\0".join(names)
        self.fingerprint = content_hash(self.labels, [joined, np.array(sizes, np.int64)])
        self.stamp = hashlib.blake2b(np.array(stamps, np.int64).tobytes()).hexdigest()

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, i: int) -> tuple[Image, int]:
        path = Path(self.where(i))
        try:
            return decode(path.read_bytes()).convert("RGB"), int(self.labels[i])
        except Exception as error:  # Pillow raises many kinds
            raise PrunerError(
                f"{path}: picture {i} cannot be read ({error}); leave out what data.readable "
                "says does not decode"
            ) from error

    def where(self, i: int) -> str:
        """Return the path of picture i."""
        return str(self.root / os.fsdecode(self.names[i]))

    def chunks(self) -> Iterator[tuple[int, Callable[[], Encoded]]]:
        """Give the place of each chunk and what reads it; see `passes.Source`."""
        for start in range(0, len(self), CHUNK):
            yield start, partial(self._read, start, min(start + CHUNK, len(self)))

    def _read(self, start: int, stop: int) -> Encoded:
        """Read files; one that cannot be read is replaced by the reason."""
        out: Encoded = []
        for i in range(start, stop):
            try:
                out.append(Path(self.where(i)).read_bytes())
            except OSError as error:
                out.append(error.strerror or type(error).__name__)
        return out


def open_folder(
    path: Path, split: str, how: How, *, name: str = "", names: dict[str, str] | None = None
) -> Data:
    """Open one split of a folder of class folders.

    Labels are places in the sorted names of the training split's class folders, in the test split
    too.

    Args:
        path: ROOT.
        split: "train" or "test" (a folder named test, val, valid or validation).
        how: see `open_data`.
        name: of the data set; the folder's own when empty.
        names: what to call a class whose folder has another name.

    Raises:
        PrunerError: no such split, no class folders, an empty one, one the training split has not,
            or no picture that decodes.

    Example:
        >>> import tempfile
        >>> from datapruner.readers.decode import to_picture
        >>> root = Path(tempfile.mkdtemp())
        >>> for name in ("cat", "dog"):
        ...     (root / name).mkdir()
        ...     to_picture(np.zeros((4, 5), np.uint8)).save(root / name / "1.png")
        >>> open_folder(root, "train", How()).classes
        ('cat', 'dog')
    """
    train, wanted = _split_folder(path, "train"), _split_folder(path, split)
    if wanted is None:
        looked = ", ".join(str(path / folder) for folder in SPLIT_FOLDERS[split])
        raise PrunerError(f"{path}: no {split} split, looked for {looked}; make one of them")
    for folder in (train or wanted, wanted):
        if not _class_folders(folder):
            raise PrunerError(
                f"{folder}: holds no class folders; put the pictures of each class in a folder of "
                "its own"
            )
    folders = tuple(_class_folders(train or wanted))
    classes = tuple((names or {}).get(folder, folder) for folder in folders)
    pictures = FolderPictures(wanted, folders)
    return open_pictures(pictures, how, name or path.resolve().name, split, classes)


def _class_folders(root: Path) -> list[str]:
    """Return the names of the folders in a folder, sorted; hidden ones are passed over."""
    with os.scandir(root) as entries:
        return sorted(e.name for e in entries if e.is_dir() and not e.name.startswith("."))


def _split_folder(path: Path, split: str) -> Path | None:
    """Return the folder of a split; the root itself is the training split when it has no splits."""
    for folder in SPLIT_FOLDERS[split]:
        if (path / folder).is_dir():
            return path / folder
    others = any((path / f).is_dir() for fs in SPLIT_FOLDERS.values() for f in fs)
    return path if split == "train" and not others else None


def _pictures_below(folder: Path) -> Iterator[tuple[str, int, int]]:
    """Give path, size and time of change of each picture, in ImageFolder's order."""
    for root, _, _ in sorted(os.walk(folder, followlinks=True)):
        with os.scandir(root) as entries:
            for entry in sorted(entries, key=lambda e: e.name):
                if entry.name.lower().endswith(PICTURES) and not entry.is_dir():
                    try:
                        state = entry.stat()
                    except OSError:  # a link to nothing: a picture that cannot be read
                        yield entry.path, 0, 0
                    else:
                        yield entry.path, state.st_size, state.st_mtime_ns
