"""Data sets known by name that lie below a ROOT, in the layout torchvision keeps them in."""

from __future__ import annotations

import sys
import warnings
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import torch

from ..data import Data, How
from ..errors import PrunerError, UsageError
from ..vision import torchvision
from .arrays import as_rows, in_memory
from .checks import checked_labels
from .folder import open_folder
from .idx import open_idx

DIGITS = tuple(str(digit) for digit in range(10))
CLOTHES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
    "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip


def open_named(name: str, root: str, split: str, *, download: bool, how: How) -> Data:
    """Open cifar10, cifar100, mnist, fashion-mnist, svhn or imagenet below ROOT.

    Raises:
        UsageError: no ROOT.
        PrunerError: not there and not to be fetched, or damaged.

    Example:
        >>> open_named("svhn", "", "train", download=False, how=How())
        Traceback (most recent call last):
        datapruner.errors.UsageError: svhn needs the folder it lies in: svhn:ROOT, such as svhn:data
    """
    if not root:
        raise UsageError(f"{name} needs the folder it lies in: {name}:ROOT, such as {name}:data")
    folder = Path(root).expanduser()
    if name == "mnist":
        return _open_idx(name, "MNIST", DIGITS, folder, split, download)
    if name == "fashion-mnist":
        return _open_idx(name, "FashionMNIST", CLOTHES, folder, split, download)
    if name == "imagenet":
        return _open_imagenet(folder, split, download, how)
    if name == "svhn":
        made = _construct(name, "SVHN", folder, download, split=split)
        return _from_arrays(name, split, made.data, made.labels, DIGITS)
    made = _construct(name, name.upper(), folder, download, train=split == "train")
    return _from_arrays(name, split, made.data, made.targets, tuple(made.classes))


def _construct(name: str, kind: str, folder: Path, download: bool, **split: Any) -> Any:
    """Make torchvision's own Dataset, turning what it raises into one line."""
    if download:
        folder.mkdir(parents=True, exist_ok=True)
    try:
        with warnings.catch_warnings(), redirect_stdout(sys.stderr):
            warnings.simplefilter("ignore")  # numpy's, of how the files were written long ago
            return getattr(torchvision("datasets"), kind)(str(folder), download=download, **split)
    except (OSError, RuntimeError, EOFError, ValueError) as error:
        if not download:
            raise PrunerError(_not_there(name, folder)) from None
        reason = " ".join(str(error).split())
        raise PrunerError(
            f"{name}: could not be fetched into {folder} ({reason}); check the network and the "
            "folder, then try again"
        ) from None


def _not_there(name: str, folder: Path) -> str:
    return (
        f"{name}: not in {folder}, or damaged there; check the folder, or fetch it with --download "
        "(from Python: download=True)"
    )


def _from_arrays(name: str, split: str, x: Any, labels: Any, classes: tuple[str, ...]) -> Data:
    rows, is_image = as_rows(x, name)
    return in_memory(
        name, split, rows, checked_labels(labels, name, classes), classes, is_image=is_image
    )


def _open_idx(
    name: str, kind: str, classes: tuple[str, ...], folder: Path, split: str, download: bool
) -> Data:
    """Open MNIST or its like from ROOT/MNIST/raw."""
    raw = folder / kind / "raw"
    found = open_idx(raw, split)
    if found is None and download:
        _construct(name, kind, folder, download, train=split == "train")
        found = open_idx(raw, split)
    if found is None:
        raise PrunerError(_not_there(name, raw))
    return in_memory(
        name, split, found[0], checked_labels(found[1], str(raw), classes), classes, is_image=True
    )


def _open_imagenet(folder: Path, split: str, download: bool, how: How) -> Data:
    """Open ImageNet as the class folders torchvision unpacks it to; names when meta.bin is there.

    torchvision cannot fetch ImageNet, only unpack its archives; that is what `download` does here.
    """
    part = "train" if split == "train" else "val"
    if not (folder / part).is_dir() and download:
        _unpack_imagenet(folder, part)
    if not (folder / part).is_dir():
        raise PrunerError(
            f"imagenet: no folder {folder / part}; get the archives from image-net.org into "
            f"{folder} and unpack them with --download (from Python: download=True)"
        )
    return open_folder(folder, split, how, name="imagenet", names=_imagenet_names(folder))


def _unpack_imagenet(folder: Path, part: str) -> None:
    try:
        torchvision("datasets").ImageNet(str(folder), split=part)
    except (OSError, RuntimeError, EOFError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise PrunerError(
            f"imagenet: its archives in {folder} cannot be unpacked ({reason}); get "
            "ILSVRC2012_devkit_t12.tar.gz and ILSVRC2012_img_*.tar from image-net.org"
        ) from None


def _imagenet_names(folder: Path) -> dict[str, str] | None:
    """Return the words for each class folder, which torchvision leaves in meta.bin."""
    try:
        words = torch.load(folder / "meta.bin", weights_only=True)[0]
        return {folder: ", ".join(names) for folder, names in words.items()}
    except Exception:  # names are a comfort: without them the folders' own are used
        return None
