"""Opening data: whatever it is and wherever it lies, out comes one `Data`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from .errors import PrunerError, UsageError, suggest
from .quotas import largest_remainder
from .seeds import generator

if TYPE_CHECKING:
    from PIL.Image import Image

SPLITS = ("train", "test")
TORCHVISION = ("cifar10", "cifar100", "mnist", "fashion-mnist", "svhn", "imagenet")
FILES = (".npz", ".parquet", ".beton")

Progress = Callable[[str, int, int], None]
"""Called as progress(what is being done, pictures done, pictures in all), from one thread."""


@dataclass(frozen=True, eq=False, repr=False)
class Data:
    """One split of a data set; an example is its index in it, 0 to n - 1, everywhere and always.

    Attributes:
        name: how a reader knows it, such as "digits" or "cifar10-webp".
        split: "train" or "test".
        labels: (n,) int64, from 0 to num_classes - 1.
        classes: class names in label order; "0", "1", ... where they are not known.
        fingerprint: 16 hex digits over the content, wherever it lies; see `open_data`.
        readable: (n,) bool; False = the picture does not decode and may be in no order.
        x: the whole set in memory: uint8 (n, C, H, W) pictures with C 1 or 3, float32 (n, d)
            features or int64 (n, L) token ids; None where examples are read one at a time. Rows
            that are not readable are 0.
        dataset: map-style and always there; dataset[i] is (x, y) with x a row of `x`, a PIL
            picture, or whatever the Dataset of the user gives. Goes to worker processes.
        is_image: whether `picture` can show an example.

    Raises:
        UsageError: labels, readable and x are not of one length, or labels are not int64.

    Example:
        >>> x, y = torch.zeros(4, 2), torch.tensor([0, 1, 1, 0])
        >>> data = open_data(torch.utils.data.TensorDataset(x, y))
        >>> data.n, data.num_classes, data.shape
        (4, 2, (2,))
    """

    name: str
    split: str
    labels: Tensor
    classes: tuple[str, ...]
    fingerprint: str
    readable: Tensor
    x: Tensor | None
    dataset: Any
    is_image: bool

    def __post_init__(self) -> None:
        lengths = {len(self.labels), len(self.readable), len(self.dataset)}
        lengths |= set() if self.x is None else {len(self.x)}
        if len(lengths) > 1 or self.labels.dtype != torch.int64:
            raise UsageError(
                f"{self.name}: labels (int64), readable, x and dataset must be of one length, got "
                f"lengths {sorted(lengths)} and labels of {self.labels.dtype}; open_data sees to it"
            )

    def __repr__(self) -> str:
        where = "in memory" if self.x is not None else "read when asked for"
        return (
            f"Data({self.name!r}, {self.split}: {self.n:,} examples, "
            f"{self.num_classes} classes, {where})"
        )

    @property
    def n(self) -> int:
        """How many examples there are, readable or not."""
        return len(self.labels)

    @property
    def num_classes(self) -> int:
        """How many classes there are, including those this split has no example of."""
        return len(self.classes)

    @property
    def shape(self) -> tuple[int, ...] | None:
        """The shape of one example when the set is in memory, else None."""
        return None if self.x is None else tuple(self.x.shape[1:])

    def picture(self, i: int) -> Image:
        """Return example i as a PIL picture, in its own size, for looking at.

        Floating-point pictures are stretched from their least to their greatest value.

        Raises:
            UsageError: these are no pictures, or picture i does not decode.

        Example:
            >>> open_data("digits").picture(0).size
            (8, 8)
        """
        if not self.is_image:
            raise UsageError(f"{self.name}: its examples are no pictures; nothing to show")
        if not self.readable[i]:
            raise UsageError(f"{self.name}: picture {i} does not decode; skip it (data.readable)")
        from .readers.decode import to_picture

        return to_picture(self.dataset[i][0] if self.x is None else self.x[i])


def open_data(
    spec: str | Path | Data | Any,
    split: str = "train",
    *,
    download: bool = False,
    strict: bool = False,
    scan: bool = True,
    progress: Progress | None = None,
) -> Data:
    """Open one split of a data set.

    What can be opened: `digits` (in scikit-learn; needs no network); `cifar10:ROOT`,
    `cifar100:ROOT`, `mnist:ROOT`, `fashion-mnist:ROOT`, `svhn:ROOT`, `imagenet:ROOT`; a folder
    ROOT/train/CLASS/* and ROOT/test or ROOT/val, or ROOT/CLASS/* with a train split only; a
    Parquet file or folder of shards in the Hugging Face image layout; an `.npz` with x, y and
    maybe x_test, y_test, classes; a `.beton`; from Python, any map-style Dataset of (x, y).

    Pictures of one size that fit 2 GiB as uint8 RGB are decoded into memory; others are read when
    asked for, after one pass that tries each (`scan`), whose outcome is kept in
    XDG_CACHE_HOME/datapruner. A set with pictures of both kinds is RGB; one that is all grey, and
    in memory, has one channel.

    The fingerprint is a blake2b of the labels and: the values (arrays), the encoded pictures
    (Parquet up to 1 GiB), names and sizes (Parquet above it, and class folders), and for a Dataset
    object its `.data`, `.tensors` or file names where it has them.

    Args:
        spec: what to open; a Data is returned as it is.
        split: "train" or "test"; the two never mix, and one that is not there is an error.
        download: let torchvision fetch what is not there.
        strict: make a picture that does not decode an error.
        scan: False skips the pass over pictures that are not held in memory, unless `strict`;
            `readable` is then taken from an earlier pass, or all True.
        progress: called now and then while pictures are decoded.

    Raises:
        UsageError: an unknown name or split, or a Dataset that cannot be indexed.
        PrunerError: what is there cannot be opened; says what, where and what to do.

    Example:
        >>> open_data("digits")
        Data('digits', train: 1,438 examples, 10 classes, in memory)
        >>> open_data("digits", "test").n
        359
    """
    if isinstance(spec, Data):
        return spec
    if split not in SPLITS:
        raise UsageError(f"split {split!r} is not one of train, test; {suggest(split, SPLITS)}")
    how = How(strict=strict, scan=scan or strict, progress=progress)
    if not isinstance(spec, (str, Path)):
        from .readers.datasets import open_dataset

        return open_dataset(spec, split, how)
    name, _, root = str(spec).partition(":")
    if str(spec) == "digits":
        from .readers.digits import open_digits

        return open_digits(split)
    if name in TORCHVISION and (root or not Path(spec).exists()):
        from .readers.named import open_named

        return open_named(name, root, split, download=download, how=how)
    return _open_path(Path(spec).expanduser(), split, how)


@dataclass(frozen=True)
class How:
    """How pictures are read: what `open_data` was told, handed on to the readers."""

    strict: bool = False
    scan: bool = True
    progress: Progress | None = None


def _open_path(path: Path, split: str, how: How) -> Data:
    """Open a file or folder by what it is."""
    if not path.exists():
        _refuse_missing(path)
    if path.suffix == ".beton":
        from .ffcv import open_beton

        return open_beton(path, split)
    if path.suffix == ".npz":
        from .readers.arrays import open_npz

        return open_npz(path, split)
    if path.suffix == ".parquet" or (path.is_dir() and _holds_parquet(path)):
        from .readers.parquet import open_parquet

        return open_parquet(path, split, how)
    if path.is_dir():
        from .readers.folder import open_folder

        return open_folder(path, split, how)
    raise PrunerError(
        f"{path}: not a kind of file that can be opened; give {', '.join(FILES)} or a folder"
    )


def _holds_parquet(folder: Path) -> bool:
    """Tell whether Parquet files lie in the folder, or where the Hugging Face hub puts them."""
    return any(any(folder.glob(f"{sub}*.parquet")) for sub in ("", "data/", "train/", "test/"))


def _refuse_missing(path: Path) -> None:
    """Say whether a path or a name was probably mistyped."""
    name, colon, root = str(path).partition(":")
    known = ("digits", *(f"{n}:ROOT" for n in TORCHVISION))
    if colon:
        raise UsageError(f"no data set is called {name!r}; {suggest(f'{name}:ROOT', known)}")
    if len(path.parts) == 1 and not path.suffix:
        raise UsageError(
            f"{path}: neither a path nor the name of a data set; {suggest(name, known)}"
        )
    raise PrunerError(f"{path}: no such file or folder; check the path")


def stratified_split(
    labels: Tensor | Sequence[int], fraction: float, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """Split indices in two so that every class is split in the same proportion.

    The first part has n * fraction indices (rounded half up), the classes' shares of it are
    rounded by largest remainder, ties going to the lower label; which of a class go where is drawn
    from `seed`.

    Args:
        labels: (n,) whole numbers.
        fraction: share of the first part, 0 to 1.
        seed: another seed gives another split; the same seed the same one on every machine.

    Returns:
        Two sorted int64 index tensors that together hold 0 to n - 1 once each.

    Raises:
        UsageError: fraction is not within 0 and 1, or labels are not one-dimensional.

    Example:
        >>> a, b = stratified_split([0, 0, 0, 0, 1, 1], 0.5)
        >>> len(a), sorted([0, 0, 0, 0, 1, 1][i] for i in a.tolist())
        (3, [0, 0, 1])
    """
    values = torch.as_tensor(labels)
    if not 0 <= fraction <= 1:
        raise UsageError(f"fraction {fraction} is not within 0 and 1; give the first part's share")
    if values.ndim != 1:
        raise UsageError(f"labels must be one-dimensional, got shape {tuple(values.shape)}")
    names, counts = torch.unique(values, return_counts=True)
    total = int(np.floor(len(values) * fraction + 0.5))
    sizes = largest_remainder(counts.double().numpy(), total, counts.numpy())
    first = torch.zeros(len(values), dtype=torch.bool)
    for label, size in zip(names.tolist(), sizes.tolist(), strict=True):
        members = torch.nonzero(values == label).flatten()
        draw = torch.randperm(len(members), generator=generator(seed, "split", int(label)))
        first[members[draw[:size]]] = True
    return torch.nonzero(first).flatten(), torch.nonzero(~first).flatten()
