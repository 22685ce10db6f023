"""A .beton file: where its rows lie, what is known of it, and one row at a time from it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..data import Data
from ..errors import PrunerError
from ..files import read_json, write_json
from .installed import require
from .pictures import JPEG, decoded

FORMAT = "datapruner beton 1"


@dataclass(frozen=True)
class About:
    """What the JSON beside a .beton says; it travels with the file.

    Attributes:
        name: what the data are called.
        split: "train" or "test".
        fingerprint: of the data that were written, so that their scores and selections fit.
        classes: class names in label order.
        n: rows.
        bytes: size of the .beton, to notice a JSON that belongs to another one.
        unreadable: rows whose picture did not decode; they are stored black.
        mode: how pictures are stored: raw, jpg, proportion or smart; "array" for what is none.
        mean: of each channel, over readable rows, in units of the pixel range; empty if no picture.
        std: likewise.
    """

    name: str
    split: str
    fingerprint: str
    classes: tuple[str, ...]
    n: int
    bytes: int
    unreadable: tuple[int, ...] = ()
    mode: str = "raw"
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    def save(self, beton: Path) -> None:
        """Write the JSON beside `beton`."""
        write_json(json_of(beton), {"format": FORMAT, **asdict(self)})

    @classmethod
    def load(cls, beton: Path) -> About:
        """Read the JSON beside `beton`.

        Raises:
            PrunerError: it is missing, damaged, or belongs to another file.
        """
        path = json_of(beton)
        if not path.exists():
            raise PrunerError(
                f"{path}: missing; it holds the fingerprint of the data. Copy it from where "
                f"{beton.name} was written, or, for a file of another tool, make it with "
                f"datapruner.ffcv.adopt_beton({str(beton)!r})"
            )
        found = read_json(path)
        known = {f.name for f in fields(cls)}
        if not isinstance(found, dict) or found.pop("format", None) != FORMAT:
            raise PrunerError(f"{path}: not written by datapruner; move it away and convert again")
        if missing := known - set(found):
            raise PrunerError(f"{path}: lacks {min(missing)!r}; convert the data again")
        values: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in found.items() if k in known
        }
        about = cls(**values)
        if about.bytes != beton.stat().st_size:
            raise PrunerError(
                f"{path}: belongs to another file ({about.bytes:,} bytes, {beton.name} has "
                f"{beton.stat().st_size:,}); copy the two together, or convert the data again"
            )
        return about


def json_of(beton: Path) -> Path:
    """Return the path of the JSON beside a .beton."""
    return beton.with_name(beton.name + ".json")


class Rows:
    """The rows of a .beton, map-style: rows[i] is (x, y), decoded when asked for.

    x is a uint8 tensor (C, H, W) for pictures, else the stored array. Goes to worker processes.

    Attributes:
        beton: the file.
        n: rows.
        fields: names of the fields in the file.
        field: the one that x is read from.
        pictures: whether x is stored as pictures by FFCV.
        start, size: (n,) uint64, where each row's bytes lie.
        jpeg: (n,) bool, whether they are JPEG.
        height, width: (n,) of each picture; 0 for arrays.
        shape: of every x, or None where pictures differ in size.
        dtype: of x.
        labels: (n,) int64.
        page_size: bytes that FFCV reads at a time.
    """

    def __init__(self, path: Path | str, field: str | None = None) -> None:
        require()
        from ffcv.fields import IntField

        self.beton = str(Path(path).absolute())
        reader = self._opened()
        self.n, self.page_size = int(reader.num_samples), int(reader.page_size)
        names = self.fields = tuple(reader.handlers)
        self.field = field or _field_of_x(reader.handlers, self.beton)
        column = reader.metadata[f"f{names.index(self.field)}"]
        self._layout(reader.handlers[self.field], column)
        self.size = _sizes(reader.alloc_table, self.start, self.beton)
        found = [k for k, f in reader.handlers.items() if isinstance(f, IntField) and k == "label"]
        if not found:
            raise PrunerError(
                f"{path}: has no whole-number field 'label' (its fields: {', '.join(names)}); "
                "write it with a label, such as by datapruner convert"
            )
        labels = reader.metadata[f"f{names.index('label')}"]
        self.labels = torch.from_numpy(np.ascontiguousarray(labels).astype(np.int64))

    def _opened(self) -> Any:
        from ffcv.reader import Reader

        if not Path(self.beton).is_file():
            raise PrunerError(f"{self.beton}: no such file; check the path")
        try:
            return Reader(self.beton)
        except (AssertionError, ValueError, IndexError, KeyError, UnicodeDecodeError) as error:
            raise PrunerError(
                f"{self.beton}: not a whole .beton file ({error}); convert the data again"
            ) from error

    def _layout(self, handler: Any, column: NDArray[Any]) -> None:
        """Note how x is stored."""
        self.pictures = "data_ptr" in (column.dtype.names or ())
        if not self.pictures:
            self.start = np.ascontiguousarray(column)
            self.shape: tuple[int, ...] | None = tuple(int(s) for s in handler.shape)
            self.dtype = np.dtype(handler.dtype)
            self.jpeg = np.zeros(self.n, bool)
            self.height = self.width = np.zeros(self.n, np.int64)
            return
        self.start = np.ascontiguousarray(column["data_ptr"])
        self.dtype = np.dtype(np.uint8)
        self.jpeg = column["mode"] == JPEG
        self.height = column["height"].astype(np.int64)
        self.width = column["width"].astype(np.int64)
        same = bool((self.height == self.height[0]).all() and (self.width == self.width[0]).all())
        self.shape = (3, int(self.height[0]), int(self.width[0])) if same else None

    @cached_property
    def memory(self) -> NDArray[np.uint8]:
        """The file, mapped: the system reads what is asked for, and keeps what fits."""
        return np.asarray(np.memmap(self.beton, np.uint8, mode="r"))

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in vars(self).items() if k != "memory"}

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, i: int) -> tuple[Tensor, int]:
        if not -self.n <= i < self.n:
            raise IndexError(f"row {i} of {self.n}")
        i = i % self.n
        raw = self.memory[int(self.start[i]) : int(self.start[i] + self.size[i])]
        y = int(self.labels[i])
        if not self.pictures:
            return torch.from_numpy(raw.view(self.dtype).reshape(self.shape).copy()), y
        height, width = int(self.height[i]), int(self.width[i])
        stored = decoded(raw, height, width)[0] if self.jpeg[i] else raw
        picture = stored.reshape(height, width, 3)
        return torch.from_numpy(picture.transpose(2, 0, 1).copy()), y


def _field_of_x(handlers: dict[str, Any], path: str) -> str:
    """Return the name of the field that holds x: "image", or the only one it can be."""
    from ffcv.fields import NDArrayField, RGBImageField

    fit = [k for k, f in handlers.items() if isinstance(f, (RGBImageField, NDArrayField))]
    if "image" in fit:
        return "image"
    if len(fit) != 1:
        raise PrunerError(
            f"{path}: no field is called 'image' and {len(fit)} could be it "
            f"(its fields: {', '.join(handlers)}); write it with one field for x"
        )
    return fit[0]


def _sizes(table: NDArray[Any], start: NDArray[np.uint64], path: str) -> NDArray[np.uint64]:
    """Return the number of bytes of each row, which the file keeps in a table by address."""
    order = np.argsort(table["ptr"])
    places = np.searchsorted(table["ptr"], start, sorter=order)
    rows = order[places[places < len(order)]]
    if len(rows) < len(start) or (table["ptr"][rows] != start).any():
        raise PrunerError(f"{path}: not a whole .beton file (rows are missing); copy it again")
    return np.ascontiguousarray(table["size"][rows])


def open_beton(path: Path | str, split: str = "train") -> Data:
    """Open a .beton that `write_beton` wrote, as Data whose rows are decoded when asked for.

    The fingerprint, the classes and what is readable come from the JSON beside the file. A .beton
    holds one split; for the other, a sibling is looked for: `x-train.beton` and `x-test.beton`, or
    `x.beton` and `x-test.beton`.

    Args:
        path: the file.
        split: "train" or "test".

    Raises:
        PrunerError: FFCV is not there, a file is missing or damaged, or this split is not there.
    """
    beton = Path(path)
    if not beton.is_file():
        raise PrunerError(f"{beton}: no such file; check the path")
    about = About.load(beton)
    if about.split != split:
        beton = _sibling(beton, about.split, split)
        about = About.load(beton)
        if about.split != split:
            raise PrunerError(f"{beton}: holds the {about.split} split; write {split} beside it")
    rows = Rows(beton)
    readable = torch.ones(rows.n, dtype=torch.bool)
    readable[list(about.unreadable)] = False
    grey = rows.dtype == np.uint8 and rows.shape is not None and len(rows.shape) == 3
    return Data(
        name=about.name,
        split=split,
        labels=rows.labels,
        classes=about.classes,
        fingerprint=about.fingerprint,
        readable=readable,
        x=None,
        dataset=rows,
        is_image=rows.pictures or grey,
    )


def _sibling(beton: Path, held: str, wanted: str) -> Path:
    """Return the file beside this one that should hold the other split."""
    stem = beton.stem
    swapped = stem.replace(held, wanted) if held in stem else stem
    names = [swapped, f"{stem}-{wanted}", f"{stem}.{wanted}"]
    if held == "test":
        names.append(stem.removesuffix("-test").removesuffix(".test"))
    tried = [beton.with_name(f"{name}.beton") for name in dict.fromkeys(names) if name != stem]
    for path in tried:
        if path.is_file():
            return path
    raise PrunerError(
        f"{beton}: holds the {held} split, and no {wanted} split lies beside it (looked for "
        f"{', '.join(p.name for p in tried)}); write it there, or leave {wanted} out"
    )


def adopt_beton(
    path: Path | str, *, split: str = "train", classes: tuple[str, ...] | None = None
) -> Data:
    """Write the JSON that `open_beton` needs beside a .beton of another tool, and open it.

    The fingerprint is over the labels and the places and sizes of the rows, not over their pixels.

    Args:
        path: a .beton with one picture or array field and a whole-number field 'label'.
        split: which split it is.
        classes: class names in label order; None for "0", "1", ...

    Raises:
        PrunerError: it is no .beton, or lacks these fields.
    """
    from ..readers.checks import checked_labels, class_names, content_hash

    beton = Path(path)
    rows = Rows(beton)
    labels = checked_labels(rows.labels.numpy(), str(beton), classes)
    About(
        name=beton.stem,
        split=split,
        fingerprint=content_hash(labels, [rows.start, rows.size]),
        classes=class_names(labels, classes),
        n=rows.n,
        bytes=beton.stat().st_size,
        mode="jpg" if rows.jpeg.any() else "raw" if rows.pictures else "array",
    ).save(beton)
    return open_beton(beton, split)
