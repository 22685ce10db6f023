"""Recall distortion: whether pruning widens or narrows the gaps between the classes' recalls."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..errors import UsageError
from ..evaluation import predict
from ..loaders import Loader

FEW_ERRORS = 10  # a class, on average; its recall is uncertain by a third of its error with so few
LOWEST = 0.8  # of the accuracy before
UNEVEN = 1.5  # the largest class over the smallest


@dataclass(frozen=True)
class RecallDistortion:
    """How pruning changed the recalls of the classes around the accuracy.

    The normalised recall balance of class c is B_c = (recall_c - accuracy) / accuracy. Classes
    that do not occur among the labels are left out of every list.

    Attributes:
        classes: the labels, ascending; the lists below follow them.
        accuracy: before pruning, in [0, 1].
        accuracy_after: after it.
        recall: of each class, before.
        recall_after: after.
        balance: B_c before.
        balance_after: B_c after.
        intensification: balance_after / balance of each class; None where balance is 0.
        alpha: slope through the origin of balance_after over balance: above 1 the gaps between
            classes widen, below 1 they narrow. None where there were no gaps before.
        warnings: why alpha should not be trusted; empty where nothing speaks against it.
    """

    classes: tuple[int, ...]
    accuracy: float
    accuracy_after: float
    recall: tuple[float, ...]
    recall_after: tuple[float, ...]
    balance: tuple[float, ...]
    balance_after: tuple[float, ...]
    intensification: tuple[float | None, ...]
    alpha: float | None
    warnings: tuple[str, ...]


def recall_distortion(labels: Tensor, before: Tensor, after: Tensor) -> RecallDistortion:
    """Compare the recalls of two classifiers, one of which was pruned.

    alpha = sum_c B_c B'_c / sum_c B_c^2, B before and B' after. Source: Good et al. 2022. What was
    pruned does not matter: the weights, or the training data (before: trained on everything,
    after: trained on the subset), or both. Meant for balanced test data, where the B_c add up to
    0; and for networks that were trained on after pruning. One pair of networks is one draw: the
    paper takes 30 trainings for a confidence interval.

    Args:
        labels: (n,) whole numbers, the true classes.
        before: (n,) predicted classes of the dense network.
        after: (n,) predicted classes of the pruned one.

    Raises:
        UsageError: the three do not fit together, or the first network gets nothing right, or
            the second.

    Example:
        >>> labels = torch.tensor([0, 0, 0, 0, 1, 1, 1, 1])
        >>> before = torch.tensor([0, 0, 0, 0, 1, 1, 1, 0])
        >>> after = torch.tensor([0, 0, 0, 0, 1, 1, 0, 0])
        >>> round(recall_distortion(labels, before, after).alpha, 4)
        2.3333
    """
    labels, before, after = (_classes(one, name) for one, name in _named(labels, before, after))
    if not len(labels) == len(before) == len(after) or not len(labels):
        raise UsageError(
            f"labels, before and after have {len(labels)}, {len(before)} and {len(after)} rows; "
            "give the predictions of both networks for the same examples"
        )
    classes, place, sizes = torch.unique(labels, return_inverse=True, return_counts=True)
    accuracy, recall = _recalls(labels, before, place, sizes)
    accuracy_after, recall_after = _recalls(labels, after, place, sizes)
    for value, which in ((accuracy, "before"), (accuracy_after, "after")):
        if value == 0:
            raise UsageError(f"nothing is right {which} pruning, so recalls have no balance")
    balance = (recall - accuracy) / accuracy
    balance_after = (recall_after - accuracy_after) / accuracy_after
    spread = float((balance * balance).sum())
    return RecallDistortion(
        tuple(classes.tolist()),
        accuracy,
        accuracy_after,
        tuple(recall.tolist()),
        tuple(recall_after.tolist()),
        tuple(balance.tolist()),
        tuple(balance_after.tolist()),
        tuple(
            b / a if a else None
            for a, b in zip(balance.tolist(), balance_after.tolist(), strict=True)
        ),
        float((balance * balance_after).sum()) / spread if spread else None,
        tuple(_doubts(accuracy, accuracy_after, labels != before, sizes)),
    )


def recall_distortion_of(
    before: nn.Module, after: nn.Module, loader: Loader, order: Tensor | None = None
) -> RecallDistortion:
    """Run two networks over a loader and compare their recalls; see `recall_distortion`.

    Args:
        before: the dense network, or the one trained on all of the data.
        after: the pruned one.
        loader: of test data, read without augmentation.
        order: (m,) which examples; None is every readable one.

    Raises:
        UsageError: as in `recall_distortion`.

    Example:
        >>> import datapruner as dp
        >>> data = dp.open_data("digits", "test")
        >>> model = dp.make_model("mlp", data.num_classes, data.shape)
        >>> round(recall_distortion_of(model, model, dp.TensorLoader(data)).alpha, 6)
        1.0
    """
    labels, first = _predicted(before, loader, order)
    _, second = _predicted(after, loader, order)
    return recall_distortion(labels, first, second)


def _predicted(model: nn.Module, loader: Loader, order: Tensor | None) -> tuple[Tensor, Tensor]:
    labels, classes = [torch.empty(0, dtype=torch.int64)], [torch.empty(0, dtype=torch.int64)]
    for batch, logits in predict(model, loader, order):
        labels.append(batch.y.cpu())
        classes.append(logits.argmax(1).cpu())
    return torch.cat(labels), torch.cat(classes)


def _named(labels: Tensor, before: Tensor, after: Tensor) -> list[tuple[Tensor, str]]:
    return [(labels, "labels"), (before, "before"), (after, "after")]


def _classes(values: Tensor, name: str) -> Tensor:
    values = torch.as_tensor(values).cpu()
    if values.ndim != 1 or values.is_floating_point() or values.is_complex():
        raise UsageError(
            f"{name} must be (n,) whole numbers, the class of each example, not "
            f"{tuple(values.shape)} {values.dtype}; take argmax(1) of logits"
        )
    return values.long()


def _recalls(
    labels: Tensor, predicted: Tensor, place: Tensor, sizes: Tensor
) -> tuple[float, Tensor]:
    """Return the accuracy, and the recall of each class (C,) float64."""
    right = (labels == predicted).double()
    recall = torch.zeros(len(sizes), dtype=torch.float64).index_add_(0, place, right) / sizes
    return float(right.mean()), recall


def _doubts(accuracy: float, accuracy_after: float, wrong: Tensor, sizes: Tensor) -> list[str]:
    doubts = []
    if accuracy_after < LOWEST * accuracy - 1e-9:
        doubts.append(
            f"accuracy fell from {accuracy:.3f} to {accuracy_after:.3f}, below {LOWEST} of what "
            "it was: alpha then says nothing of the classes; train the pruned network first"
        )
    errors = int(wrong.sum())
    if errors < FEW_ERRORS * len(sizes):
        doubts.append(
            f"only {errors} test errors before pruning in {len(sizes)} classes (fewer than "
            f"{FEW_ERRORS} each): the gaps may be chance; take more test data"
        )
    smallest, largest = int(sizes.min()), int(sizes.max())
    if largest > UNEVEN * smallest:
        doubts.append(
            f"classes have {smallest} to {largest} test examples: alpha is defined for balanced "
            "data; take as many of each"
        )
    return doubts
