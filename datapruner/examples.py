"""Examples as an epoch sees them: read from a data set, seeded one by one, brought to tensors."""

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from .errors import UsageError
from .seeds import seed_for

Key = tuple[int, int, bool]
"""What is to be read: index, epoch, and whether it is for training."""


class Examples(Dataset[Any]):
    """A data set read through keys; goes to worker processes.

    Where transforms draw from the generators of torch, numpy or random, what they draw is a
    function of (seed, epoch, index): the same in every process and batch. Scoring passes are all of
    one epoch. The generators are left as they were.

    Args:
        dataset: map-style; dataset[i] is (x, y), of which x is read.
        seed: of what its transforms draw.
        image_size: side that pictures are brought to, 0 for as they are.
        is_image: whether x is a picture: PIL, or an array or tensor (C, H, W).

    Example:
        >>> rows = [(torch.tensor([1.0, 2.0]), 0)]
        >>> Examples(rows, seed=0)[0, 3, True]
        tensor([1., 2.])
    """

    def __init__(
        self, dataset: Any, seed: int, image_size: int = 0, is_image: bool = False
    ) -> None:
        self.dataset, self.seed = dataset, seed
        self.image_size, self.is_image = image_size, is_image

    def __getitem__(self, key: Key) -> Tensor:
        return self.__getitems__([key])[0]

    def __getitems__(self, keys: Sequence[Key]) -> list[Tensor]:
        """Read a batch; the workers of a DataLoader ask for these."""
        with generators_kept():
            return [self._one(*key) for key in keys]

    def _one(self, index: int, epoch: int, train: bool) -> Tensor:
        _reseed(seed_for(self.seed, "view", epoch if train else -1, index))
        x = self.dataset[index][0]
        if not self.is_image:
            x = _numbers(x, index)
            return x.float() if x.dtype == torch.float64 else x
        if isinstance(x, np.ndarray):
            x = torch.from_numpy(x)
        elif not isinstance(x, Tensor) and x.mode not in ("L", "RGB"):
            x = x.convert("L" if x.mode in ("1", "LA", "La") else "RGB")
        if self.image_size:
            x = _photo(x, self.image_size, train)
        if not isinstance(x, Tensor):
            array = np.array(x)
            x = torch.from_numpy(array[None] if array.ndim == 2 else _planes(array))
        return x.float() if x.dtype == torch.float64 else x


def _numbers(x: Any, index: int) -> Tensor:
    """Return an example as a tensor, or say which is none."""
    try:
        return torch.as_tensor(x)
    except (TypeError, ValueError, RuntimeError):
        raise UsageError(
            f"example {index} is a {type(x).__name__}, which is no tensor of numbers; turn it into "
            "one in the data set"
        ) from None


def stacked(rows: list[Tensor]) -> Tensor:
    """Stack examples to a batch (b, ...), in shared memory when a worker process asks.

    Raises:
        UsageError: they differ in shape.

    Example:
        >>> stacked([torch.zeros(2), torch.ones(2)]).shape
        torch.Size([2, 2])
    """
    shapes = {tuple(row.shape): None for row in rows}
    if len(shapes) > 1:
        raise UsageError(
            f"examples of a batch differ in shape: {', '.join(map(str, list(shapes)[:3]))}; for "
            "photographs set image_size, or bring them to one size and mode in the data set"
        )
    from torch.utils.data import default_collate

    batch: Tensor = default_collate(rows)
    return batch


def _planes(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array.transpose(2, 0, 1))


def _photo(x: Any, size: int, train: bool) -> Any:
    """Bring a photograph to size x size: random resized crop and flip, or the centre."""
    from .vision import torchvision

    transforms = torchvision("transforms")
    if train:
        return transforms.RandomHorizontalFlip()(transforms.RandomResizedCrop(size)(x))
    return transforms.CenterCrop(size)(transforms.Resize(round(size * 256 / 224))(x))


@contextmanager
def generators_kept() -> Iterator[None]:
    """Put the three generators that transforms draw from back as they were.

    Example:
        >>> before = torch.get_rng_state()
        >>> with generators_kept():
        ...     drawn = torch.rand(3)
        >>> torch.equal(torch.get_rng_state(), before)
        True
    """
    before = torch.get_rng_state(), np.random.get_state(), random.getstate()  # noqa: NPY002
    try:
        yield
    finally:
        torch.set_rng_state(before[0])
        np.random.set_state(before[1])  # noqa: NPY002
        random.setstate(before[2])


def _reseed(seed: int) -> None:
    torch.default_generator.manual_seed(seed)  # torch.manual_seed would seed every GPU as well
    np.random.seed(seed & 0xFFFFFFFF)  # noqa: NPY002 - the user's transforms draw from it
    random.seed(seed)
