"""Loaders: an order of full-set indices goes in, batches come out in exactly that order."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Sampler

from .augment import Augment, Normalise, render, views
from .batching import even_batches
from .errors import PrunerError, UsageError
from .examples import Examples, Key, stacked
from .seeds import generator

if TYPE_CHECKING:
    from .data import Data


class Batch(NamedTuple):
    """Rows of the training set on their way to the network.

    Attributes:
        index: (b,) int64, each row's place in the full training set.
        x: (b, ...) what the network takes.
        y: (b,) int64 labels.

    Example:
        >>> Batch(torch.tensor([7]), torch.zeros(1, 3), torch.tensor([1])).index
        tensor([7])
    """

    index: Tensor  # type: ignore[assignment] # hides tuple.index, which a batch has no use for
    x: Tensor
    y: Tensor


class Loader(Protocol):
    """What `fit` and `evaluate` read from; a call is one pass over the order it is given.

    With train=True the view of example i is a function of (seed, epoch, i); with train=False there
    is no augmentation. None is left out: an epoch is cut in `even_batches`.
    """

    labels: Tensor
    readable: Tensor
    batch_size: int

    def __call__(self, order: Tensor, *, epoch: int = 0, train: bool = True) -> Iterator[Batch]:
        """Give the examples of `order` (m,) in that order, in even batches."""
        ...


def checked_order(order: Tensor, n: int) -> Tensor:
    """Return `order` as int64 on the CPU; what is no place among n examples is a UsageError."""
    order = torch.as_tensor(order)
    if order.ndim != 1:
        raise UsageError(f"an order has one dimension, not {order.ndim}")
    if len(order) and (order.dtype == torch.bool or order.is_floating_point()):
        raise UsageError(
            f"an order is of places, whole numbers, not {order.dtype}; of a mask give "
            "mask.nonzero().flatten()"
        )
    order = order.to("cpu", torch.int64)
    if len(order) and (int(order.min()) < 0 or int(order.max()) >= n):
        bad = int(order.min()) if int(order.min()) < 0 else int(order.max())
        raise UsageError(f"index {bad} is outside the data set of {n} examples")
    return order


class TensorLoader:
    """Gives batches of a data set that is held in memory; the default for small pictures.

    Pictures are uint8 and are augmented and normalised a batch at a time; other arrays leave as
    they are. Memory: the data set and one batch.

    Args:
        data: a Data whose `x` is in memory.
        batch_size: examples in a batch, at most; see `even_batches`.
        seed: of the augmentation.
        augment: see `Augment.parse`.
        normalise: mean and spread; None measures them on `data`. Hand the training set's to a test
            loader.
        device: where the pictures are kept and rendered, "cpu" or "cuda".

    Raises:
        UsageError: the data are not in memory, or the augmentation does not fit them.

    Example:
        >>> from datapruner import open_data
        >>> loader = TensorLoader(open_data("digits"), batch_size=4)
        >>> [batch.index.tolist() for batch in loader(torch.tensor([9, 3, 5, 1, 0, 2]))]
        [[9, 3, 5], [1, 0, 2]]
    """

    def __init__(
        self,
        data: "Data",
        batch_size: int = 128,
        *,
        seed: int = 0,
        augment: str = "auto",
        normalise: Normalise | None = None,
        device: str | torch.device = "cpu",
    ) -> None:
        if data.x is None:
            raise UsageError(f"{data.name} is not held in memory; use TorchLoader")
        self.labels, self.readable = data.labels, data.readable
        self.batch_size, self.seed = _whole(batch_size), seed
        self.x = data.x.to(device)
        self.pictures = data.x.dtype == torch.uint8 and data.x.ndim == 4
        self.normalise: Normalise | None = None
        if self.pictures:
            self.augment = Augment.parse(augment, tuple(data.x.shape[1:]))
            self.normalise = normalise or Normalise.of(data.x, _readable(data))
            self.table = self.normalise.table().to(device)
        else:
            self.augment = _no_augment(augment, data.name)

    def __call__(self, order: Tensor, *, epoch: int = 0, train: bool = True) -> Iterator[Batch]:
        """Give the examples of `order` (m,) in that order, in even batches."""
        order = checked_order(order, len(self.labels))
        for index in even_batches(order, self.batch_size):
            yield Batch(index, self._rows(index, epoch, train), self.labels[index])

    def _rows(self, index: Tensor, epoch: int, train: bool) -> Tensor:
        if not self.pictures:
            return self.x[index.to(self.x.device)]
        view = None
        if train and self.augment != Augment():
            view = views(index.numpy(), self.augment, tuple(self.x.shape[1:]), self.seed, epoch)
        return render(self.x, index, view, self.augment, self.table)


class TorchLoader:
    """Gives batches of any map-style data set, read by worker processes when asked.

    uint8 pictures of one size are augmented and normalised a batch at a time, with the same bits as
    TensorLoader. Anything else is given as the data set's own transforms make it; where those use
    the generators of torch, numpy or random, they are seeded per example from (seed, epoch, index).

    Args:
        data: a Data.
        batch_size: examples in a batch, at most; see `even_batches`.
        seed: of the augmentation and of the data set's own transforms.
        augment: see `Augment.parse`; for uint8 pictures of one size.
        normalise: mean and spread of uint8 pictures; None measures a seeded sample of 2,048.
        workers: processes that read; 0 reads in this one.
        pin_memory: page-locked batches, for a GPU.
        image_size: side that photographs are brought to: a random resized crop and flip in
            training, the centre in scoring. Needed where pictures differ in size.

    Raises:
        UsageError: no example is readable, or the augmentation does not fit.

    Example:
        >>> from datapruner import open_data
        >>> loader = TorchLoader(open_data("digits"), batch_size=4)
        >>> [batch.index.tolist() for batch in loader(torch.tensor([9, 3, 5, 1, 0, 2]))]
        [[9, 3, 5], [1, 0, 2]]
    """

    def __init__(
        self,
        data: "Data",
        batch_size: int = 128,
        *,
        seed: int = 0,
        augment: str = "auto",
        normalise: Normalise | None = None,
        workers: int = 0,
        pin_memory: bool = False,
        image_size: int = 0,
    ) -> None:
        self.labels, self.readable = data.labels, data.readable
        self.batch_size, self.seed, self.workers = _whole(batch_size), seed, workers
        self._keys = _Keys(batch_size)
        self._examples = Examples(data.dataset, seed, image_size, data.is_image)
        self._loader: DataLoader[Any] = DataLoader(
            self._examples,
            batch_sampler=self._keys,
            num_workers=workers,
            pin_memory=pin_memory,
            persistent_workers=workers > 0,
            collate_fn=stacked,
            generator=generator(seed, "workers"),  # else each pass draws from the global one
        )
        self._pass: object = None
        example = self._examples[int(_readable(data)[0]), 0, False]
        self.pictures = example.dtype == torch.uint8 and example.ndim == 3
        self.normalise = normalise
        if self.pictures and not image_size:
            self.augment = Augment.parse(augment, tuple(example.shape))
        else:
            self.augment = _no_augment(augment, data.name)
        if self.pictures:
            self.normalise = normalise or self._measured(data, image_size)
            self.table = self.normalise.table()

    def __call__(self, order: Tensor, *, epoch: int = 0, train: bool = True) -> Iterator[Batch]:
        """Give the examples of `order` (m,) in that order, in even batches.

        Raises:
            UsageError: an index is outside the data set, or, with workers, another pass began
                before this one was through.
        """
        order = checked_order(order, len(self.labels))
        self._keys.order, self._keys.epoch, self._keys.train = order, epoch, train
        this = self._pass = object()
        batches = iter(self._loader)
        for index in even_batches(order, self.batch_size):
            if self.workers and self._pass is not this:  # its workers read for the later one now
                raise UsageError(
                    "a later pass over this loader has ended this one; finish a pass before the "
                    "next, or use another loader"
                )
            try:
                x = next(batches)
            except PrunerError as error:
                raise _in_one_line(error) from None
            yield Batch(index, self._finished(x, index, epoch, train), self.labels[index])

    def _finished(self, x: Tensor, index: Tensor, epoch: int, train: bool) -> Tensor:
        if not self.pictures:
            return x
        view = None
        if train and self.augment != Augment():
            view = views(index.numpy(), self.augment, tuple(x.shape[1:]), self.seed, epoch)
        return render(x, torch.arange(len(x)), view, self.augment, self.table)

    def _measured(self, data: "Data", image_size: int) -> Normalise:
        rows = _readable(data)
        if data.x is not None and not image_size:
            return Normalise.of(data.x, rows)
        sample = torch.randperm(len(rows), generator=generator(0, "normalise"))[:2048]
        keys = [(i, 0, False) for i in rows[sample].sort().values.tolist()]
        return Normalise.of(stacked(self._examples.__getitems__(keys)))


class _Keys(Sampler[list[Key]]):
    """The batch sampler of TorchLoader: what is to be read.

    It lives in the main process, so workers that persist read the order of the epoch at hand.
    """

    def __init__(self, batch_size: int) -> None:
        self.order, self.epoch, self.train = torch.zeros(0, dtype=torch.int64), 0, True
        self.batch_size = batch_size

    def __iter__(self) -> Iterator[list[Key]]:
        epoch, train = self.epoch, self.train  # of this pass, also when the next has begun
        parts = even_batches(self.order, self.batch_size)
        return ([(i, epoch, train) for i in part.tolist()] for part in parts)

    def __len__(self) -> int:
        return -(-len(self.order) // self.batch_size)


def _whole(batch_size: int) -> int:
    if batch_size < 1:
        raise UsageError(f"batch_size={batch_size} must be at least 1")
    return batch_size


def _readable(data: "Data") -> Tensor:
    rows = data.readable.nonzero().flatten()
    if len(rows) == 0:
        raise UsageError(f"{data.name} has no readable example; nothing to load")
    return rows


def _no_augment(augment: str, name: str) -> Augment:
    if augment not in ("auto", "none"):
        raise UsageError(
            f"{name}: augment={augment!r} is for uint8 pictures of one size, which these are not "
            "or are made by image_size; leave it at auto or none"
        )
    return Augment()


def _in_one_line(error: PrunerError) -> PrunerError:
    """Take the error out of the traceback that a worker process sends it in."""
    text = str(error).rstrip()
    name = f"{type(error).__module__}.{type(error).__qualname__}: "
    return type(error)(text.rsplit(name, 1)[-1]) if "Original Traceback" in text else error
