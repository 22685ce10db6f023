"""Wrong labels: putting them in for a test, and finding them by AUM's threshold class."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from .errors import UsageError
from .provenance import fingerprint
from .seeds import generator

if TYPE_CHECKING:
    from .data import Data


class _Relabelled:
    """A map-style data set with other labels; what it was read from is out of sight."""

    def __init__(self, dataset: Any, labels: Tensor) -> None:
        self.dataset, self.labels = dataset, labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, i: int) -> tuple[Any, int]:
        return self.dataset[i][0], int(self.labels[i])


def with_labels(data: "Data", labels: Tensor, classes: tuple[str, ...] | None = None) -> "Data":
    """Return the same examples under other labels; the fingerprint says that they are others.

    Args:
        data: what to relabel; it stays as it is.
        labels: (n,) int64.
        classes: names of the classes where there are others than in `data`.

    Raises:
        UsageError: labels outside the classes.

    Example:
        >>> from datapruner import open_data
        >>> digits = open_data("digits")
        >>> with_labels(digits, digits.labels.flip(0)).fingerprint == digits.fingerprint
        False
    """
    classes = data.classes if classes is None else classes
    if int(labels.min()) < 0 or int(labels.max()) >= len(classes):
        raise UsageError(f"labels must lie in 0 .. {len(classes) - 1}; name all of their classes")
    of = np.frombuffer(data.fingerprint.encode(), np.uint8)
    return replace(
        data,
        labels=labels,
        classes=classes,
        fingerprint=fingerprint(of, labels.numpy()),
        dataset=_Relabelled(data.dataset, labels),
    )


def flip_labels(data: "Data", share: float, seed: int = 0) -> tuple["Data", Tensor]:
    """Give a share of the examples a wrong label, drawn evenly from the other classes.

    Args:
        data: what to spoil; it stays as it is.
        share: of the readable examples, in [0, 1].
        seed: which ones, and what they become.

    Returns:
        The spoiled data, and (n,) bool: which labels are wrong.

    Raises:
        UsageError: a share outside [0, 1], or one class only.

    Example:
        >>> from datapruner import open_data
        >>> spoiled, wrong = flip_labels(open_data("digits"), 0.2)
        >>> int(wrong.sum()), bool((spoiled.labels != open_data("digits").labels).equal(wrong))
        (288, True)
    """
    if not 0 <= share <= 1 or data.num_classes < 2:
        raise UsageError(f"cannot flip {share} of the labels of {data.num_classes} classes")
    rng = generator(seed, "flip labels")
    rows = data.readable.nonzero().flatten()
    chosen = rows[torch.randperm(len(rows), generator=rng)[: round(share * len(rows))]]
    shift = torch.randint(1, data.num_classes, (len(chosen),), generator=rng)
    labels, wrong = data.labels.clone(), torch.zeros(data.n, dtype=torch.bool)
    labels[chosen] = (labels[chosen] + shift) % data.num_classes
    wrong[chosen] = True
    return with_labels(data, labels), wrong
