"""Loaders: an order of full-set indices goes in, batches come out in exactly that order."""

import random
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from .augment import Augment, Normalise, render, views
from .errors import UsageError
from .seeds import seed_for

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
    is no augmentation. The last batch may be smaller; none is left out.
    """

    labels: Tensor
    readable: Tensor
    batch_size: int

    def __call__(self, order: Tensor, *, epoch: int = 0, train: bool = True) -> Iterator[Batch]:
        """Give the examples of `order` (m,) in that order, `batch_size` at a time."""
        ...


def checked_order(order: Tensor, n: int) -> Tensor:
    """Return `order` as int64 on the CPU; an index outside the n examples is a UsageError."""
    order = torch.as_tensor(order).to("cpu", torch.int64)
    if order.ndim != 1:
        raise UsageError(f"an order has one dimension, not {order.ndim}")
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
        batch_size: examples in a batch.
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
        [[9, 3, 5, 1], [0, 2]]
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
        self.batch_size, self.seed = batch_size, seed
        self.x = data.x.to(device)
        self.pictures = data.x.dtype == torch.uint8 and data.x.ndim == 4
        self.normalise: Normalise | None = None
        if self.pictures:
            self.augment = Augment.parse(augment, tuple(data.x.shape[1:]))
            rows = data.readable.nonzero().flatten()
            self.normalise = normalise or Normalise.of(data.x, rows)
            self.table = self.normalise.table().to(device)
        else:
            self.augment = _no_pictures(augment, data.name)

    def __call__(self, order: Tensor, *, epoch: int = 0, train: bool = True) -> Iterator[Batch]:
        """Give the examples of `order` (m,) in that order, `batch_size` at a time."""
        order = checked_order(order, len(self.labels))
        for index in order.split(self.batch_size):
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
        batch_size: examples in a batch.
        seed: of the augmentation and of the data set's own transforms.
        augment: see `Augment.parse`; for uint8 pictures of one size.
        normalise: mean and spread of uint8 pictures; None measures a seeded sample of 2,048.
        workers: processes that read; 0 reads in this one.
        pin_memory: page-locked batches, for a GPU.
        image_size: side that photographs are brought to: a random resized crop and flip in
            training, the centre in scoring. Needed where pictures differ in size.

    Example:
        >>> from datapruner import open_data
        >>> loader = TorchLoader(open_data("digits"), batch_size=4)
        >>> [batch.index.tolist() for batch in loader(torch.tensor([9, 3, 5, 1, 0, 2]))]
        [[9, 3, 5, 1], [0, 2]]
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
        self.batch_size, self.seed = batch_size, seed
        self._keys = _Keys(batch_size)
        self._views = _Views(data.dataset, seed, image_size, data.is_image)
        self._loader: DataLoader[Any] = DataLoader(
            self._views,
            batch_sampler=self._keys,
            num_workers=workers,
            pin_memory=pin_memory,
            persistent_workers=workers > 0,
        )
        first = int(data.readable.nonzero()[0])
        example = self._views[(first, 0, False)][0]
        self.pictures = example.dtype == torch.uint8 and example.ndim == 3
        self.normalise, self.augment = normalise, Augment()
        if self.pictures:
            own = "none" if image_size else augment
            self.augment = Augment.parse(own, tuple(example.shape))
            self.normalise = normalise or self._measured(data)
            self.table = self.normalise.table()

    def __call__(self, order: Tensor, *, epoch: int = 0, train: bool = True) -> Iterator[Batch]:
        """Give the examples of `order` (m,) in that order, `batch_size` at a time."""
        order = checked_order(order, len(self.labels))
        self._keys.order, self._keys.epoch, self._keys.train = order, epoch, train
        parts = order.split(self.batch_size)
        for index, (x, _) in zip(parts, self._loader, strict=True):
            yield Batch(index, self._finished(x, index, epoch, train), self.labels[index])

    def _finished(self, x: Tensor, index: Tensor, epoch: int, train: bool) -> Tensor:
        if not self.pictures:
            return x
        view = None
        if train and self.augment != Augment():
            view = views(index.numpy(), self.augment, tuple(x.shape[1:]), self.seed, epoch)
        return render(x, torch.arange(len(x)), view, self.augment, self.table)

    def _measured(self, data: "Data") -> Normalise:
        rows = data.readable.nonzero().flatten()
        if data.x is not None:
            return Normalise.of(data.x, rows)
        sample = torch.Generator().manual_seed(seed_for(0, "normalise"))
        chosen = rows[torch.randperm(len(rows), generator=sample)[:2048].sort().values]
        pictures = [self._views[(i, 0, False)][0] for i in chosen.tolist()]
        return Normalise.of(torch.stack(pictures))


class _Keys(Sampler[list[tuple[int, int, bool]]]):
    """The batch sampler of TorchLoader: what is to be read, as (index, epoch, train).

    It lives in the main process, so workers that persist read the order of the epoch at hand.
    """

    def __init__(self, batch_size: int) -> None:
        self.order, self.epoch, self.train = torch.zeros(0, dtype=torch.int64), 0, True
        self.batch_size = batch_size

    def __iter__(self) -> Iterator[list[tuple[int, int, bool]]]:
        for part in self.order.split(self.batch_size):
            yield [(i, self.epoch, self.train) for i in part.tolist()]

    def __len__(self) -> int:
        return -(-len(self.order) // self.batch_size)


class _Views(Dataset[Any]):
    """The data set read through keys: example i as epoch e sees it, as a tensor."""

    def __init__(self, dataset: Any, seed: int, image_size: int, pictures: bool) -> None:
        self.dataset, self.seed = dataset, seed
        self.image_size, self.is_image = image_size, pictures

    def __getitem__(self, key: tuple[int, int, bool]) -> tuple[Tensor, int]:
        index, epoch, train = key
        with _seeded(seed_for(self.seed, "view", epoch if train else -1, index)):
            x, y = self.dataset[index]
            x = self._tensor(x, train)
        return x, int(y)

    def _tensor(self, x: Any, train: bool) -> Tensor:
        if not self.is_image:
            return torch.as_tensor(x)
        if self.image_size:
            x = _photo(x, self.image_size, train)
        if isinstance(x, Tensor):
            return x
        array = np.array(x)
        return torch.from_numpy(array[None] if array.ndim == 2 else array.transpose(2, 0, 1).copy())


def _photo(x: Any, size: int, train: bool) -> Any:
    """Bring a photograph to size x size: random resized crop and flip, or the centre."""
    from .vision import torchvision

    transforms = torchvision("transforms")
    if train:
        return transforms.RandomHorizontalFlip()(transforms.RandomResizedCrop(size)(x))
    return transforms.CenterCrop(size)(transforms.Resize(round(size * 256 / 224))(x))


class _seeded:  # noqa: N801 - used as a function
    """Seed the three generators that transforms use, and put them back as they were."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def __enter__(self) -> None:
        self.before = torch.get_rng_state(), np.random.get_state(), random.getstate()  # noqa: NPY002
        torch.manual_seed(self.seed)
        np.random.seed(self.seed & 0xFFFFFFFF)  # noqa: NPY002 - the user's transforms read it
        random.seed(self.seed)

    def __exit__(self, *_: object) -> None:
        torch.set_rng_state(self.before[0])
        np.random.set_state(self.before[1])  # noqa: NPY002
        random.setstate(self.before[2])


def _no_pictures(augment: str, name: str) -> Augment:
    if augment not in ("auto", "none"):
        raise UsageError(f"{name} does not hold pictures; augment must be auto or none")
    return Augment()
