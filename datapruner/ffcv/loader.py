"""FFCVLoader: a .beton in the project's Loader contract."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..augment import Augment, Normalise, render, views
from ..batching import even_batches
from ..errors import UsageError, suggest
from ..loaders import Batch, checked_order
from .beton import About, Rows
from .gather import gather
from .operations import Operations
from .pictures import center_boxes, cropped, random_boxes
from .prefetch import prefetch
from .reading import Mapped, Paged
from .write import measure

Preset = Literal["auto", "small", "photo"]
CENTER = 224 / 256  # share of the shorter side that is looked at in scoring, as is customary
PHOTO_SIDE = 224
SMALL_SIDE = 96  # pictures up to this side are augmented whole; larger ones are cropped and resized
AHEAD = 3  # batches made before they are asked for, as in FFCV


class FFCVLoader:
    """Gives batches of a .beton in any order, decoded and augmented in threads.

    `small` is for pictures of one size: padded crop, flip and cutout, with the same bits as
    TensorLoader. `photo` is for photographs: a random resized crop and flip in training, the
    centre in scoring, at `image_size`. Both read with our own code, so nothing is compiled at the
    start. With `pipelines`, FFCV runs its own operations, which it compiles in the first epoch;
    their random choices are then FFCV's, not a function of (seed, epoch, index).

    Rows are in memory of their own and safe to keep. Breaking off an iteration ends its threads.

    Args:
        path: a .beton with its JSON.
        batch_size: examples in a batch, at most; an epoch is cut evenly, but with `pipelines` the
            last batch is what is left.
        preset: small or photo; auto takes photo where sizes differ, are above 96 pixels, or
            `image_size` is given.
        pipelines: "train" and "eval", each a list of FFCV operations for the field of pictures, or
            arrays, the decoder first.
        workers: threads; 0 is one for each core.
        seed: of the augmentation.
        augment: see `Augment.parse`; for `small`.
        normalise: mean and spread; None takes those measured when the file was written. Hand the
            training set's to a test loader.
        image_size: side of the square pictures that `photo` gives; 0 is 224.
        os_cache: True maps the file, and the system keeps what fits in memory; False reads whole
            pages ahead, for files larger than memory and orders that go page by page.
        drop_last: leave out a last batch that is not full.

    Raises:
        PrunerError: FFCV is not there, or the file is missing or damaged.
        UsageError: preset, pipelines or augmentation do not fit the data.

    Example:
        >>> import tempfile
        >>> from datapruner import open_data, write_beton
        >>> beton = Path(tempfile.mkdtemp()) / "digits.beton"
        >>> written = write_beton(open_data("digits"), beton)
        >>> loader = FFCVLoader(beton, batch_size=4)
        >>> [batch.index.tolist() for batch in loader(torch.tensor([9, 3, 5, 1, 0, 2]))]
        [[9, 3, 5], [1, 0, 2]]
    """

    def __init__(
        self,
        path: Path | str,
        batch_size: int = 128,
        *,
        preset: Preset = "auto",
        pipelines: Mapping[str, Sequence[Any]] | None = None,
        workers: int = 0,
        seed: int = 0,
        augment: str = "auto",
        normalise: Normalise | None = None,
        image_size: int = 0,
        os_cache: bool = True,
        drop_last: bool = False,
    ) -> None:
        if batch_size < 1:
            raise UsageError(f"batch_size={batch_size} must be at least 1")
        self.rows, self.about = Rows(path), About.load(Path(path))
        self.labels, self.batch_size, self.seed = self.rows.labels, batch_size, seed
        self.readable = torch.ones(self.rows.n, dtype=torch.bool)
        self.readable[list(self.about.unreadable)] = False
        self.workers = workers or os.cpu_count() or 1
        self.drop_last = drop_last
        self.pictures = self.rows.dtype == np.uint8 and len(self.rows.shape or (3, 0, 0)) == 3
        self.photo = _is_photo(self.rows, preset, image_size)
        self.size = image_size or PHOTO_SIDE
        shape = (3, self.size, self.size) if self.photo else self.rows.shape
        self.shape: tuple[int, ...] = shape or ()
        self.augment, self.normalise = Augment(), normalise
        if self.pictures:
            self.augment = Augment(flip=True) if self.photo else Augment.parse(augment, self.shape)
            self.normalise = normalise or self._measured()
            self.table = self.normalise.table()
        elif augment not in ("auto", "none"):
            raise UsageError(f"{path} does not hold pictures; augment must be auto or none")
        self._operations: Operations | None = None
        self._reading: Mapped | Paged = Mapped(self.rows)
        if pipelines is not None:
            self._operations = Operations(self.rows, batch_size, pipelines, self.workers, os_cache)
        elif not os_cache:
            self._reading = Paged(self.rows)

    def __call__(self, order: Tensor, *, epoch: int = 0, train: bool = True) -> Iterator[Batch]:
        """Give the examples of `order` (m,) in that order, in even batches."""
        order = checked_order(order, len(self.labels))
        if self.drop_last:
            order = order[: len(order) // self.batch_size * self.batch_size]
        if len(order) == 0:
            return
        if self._operations is not None:  # FFCV cuts its batches itself, the last what is left
            whole = order.split(self.batch_size)
            for index, x in zip(whole, self._operations(order, train), strict=True):
                yield Batch(index, x, self.labels[index])
            return
        parts = even_batches(order, self.batch_size)
        with self._reading.epoch([p.numpy() for p in parts]) as source:

            def make(k: int) -> Batch:
                memory, start = source.fetch(k, parts[k].numpy())
                x = self._x(memory, start, parts[k], epoch, train)
                return Batch(parts[k], x, self.labels[parts[k]])

            yield from prefetch(make, len(parts), self.workers, max(AHEAD, self.workers))

    def _measured(self) -> Normalise:
        if self.about.mean:
            return Normalise(self.about.mean, self.about.std)
        measured = measure(self.rows, self.readable)
        assert measured is not None  # pictures always are
        return measured

    def _x(
        self,
        memory: NDArray[np.uint8],
        start: NDArray[np.int64],
        index: Tensor,
        epoch: int,
        train: bool,
    ) -> Tensor:
        """Return x of a batch whose rows begin at `start` in `memory`."""
        rows, places = self.rows, index.numpy()
        if not self.pictures:
            stored = gather(memory, start, (int(rows.size[places[0]]),), False)
            return torch.from_numpy(stored.view(rows.dtype).reshape(len(start), *self.shape))
        if not self.photo and not rows.jpeg[places].any():
            stored = gather(memory, start, self.shape, rows.pictures)
        else:
            stored = self._cropped(memory, start, places, epoch, train)
        view = None
        if train and self.augment != Augment():
            view = views(places, self.augment, self.shape, self.seed, epoch)
        return render(
            torch.from_numpy(stored), torch.arange(len(start)), view, self.augment, self.table
        )

    def _cropped(
        self,
        memory: NDArray[np.uint8],
        start: NDArray[np.int64],
        places: NDArray[np.int64],
        epoch: int,
        train: bool,
    ) -> NDArray[np.uint8]:
        """Decode pictures and bring each one's crop to (C, H, W)."""
        rows = self.rows
        height, width, size = rows.height[places], rows.width[places], rows.size[places]
        if not self.photo:
            boxes = np.stack([0 * height, 0 * width, height, width], 1)
        elif train:
            boxes = random_boxes(places, height, width, self.seed, epoch)
        else:
            boxes = center_boxes(height, width, share=CENTER)
        out = np.empty((len(places), *self.shape[1:], 3), np.uint8)
        for b, begin in enumerate(start.tolist()):
            raw = memory[begin : begin + int(size[b])]
            cropped(raw, rows.jpeg[places[b]], int(height[b]), int(width[b]), boxes[b], out[b])
        return np.ascontiguousarray(out.transpose(0, 3, 1, 2))


def _is_photo(rows: Rows, preset: str, image_size: int) -> bool:
    """Tell whether pictures are to be cropped and resized."""
    if preset not in get_args(Preset):
        raise UsageError(f"preset {preset!r} is not known; {suggest(preset, get_args(Preset))}")
    if not rows.pictures:
        if preset == "photo" or image_size:
            raise UsageError(f"{rows.beton}: holds arrays {rows.shape}, which are never resized")
        return False
    if preset == "small":
        if rows.shape is None or image_size:
            raise UsageError(
                f"{rows.beton}: preset small takes pictures of one size as they are; use photo"
            )
        return False
    side = PHOTO_SIDE if rows.shape is None else max(rows.shape[1:])
    return preset == "photo" or image_size > 0 or side > SMALL_SIDE
