"""Wrong labels: putting them in for a test, and finding them by AUM's threshold class."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from scorers import SCORERS

from .errors import UsageError
from .evaluation import predict
from .hooks import Progress
from .provenance import fingerprint
from .recording import record as record_run
from .run import Run
from .seeds import generator
from .traces import Record
from .trained import ready

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


@dataclass(frozen=True, eq=False)
class Suspects:
    """Which labels are probably wrong, and what the networks would call those examples.

    Attributes:
        flag: (n,) bool, the suspects.
        margin: (n,) float32, AUM: the mean margin in the run that judged the example; low is
            suspect. NaN where an example is not readable.
        suggested: (n,) int64, the label that the networks would give, -1 where not readable.
        thresholds: of the two runs, the AUM below which a label is suspect.

    Example:
        >>> flag, nothing = torch.tensor([True, False]), torch.zeros(2)
        >>> Suspects(flag, nothing, torch.tensor([1, 0]), (0.5, 0.5)).share
        0.5
    """

    flag: Tensor
    margin: Tensor
    suggested: Tensor
    thresholds: tuple[float, float]

    @property
    def share(self) -> float:
        """The suspects among the readable examples; what `beta="auto"` cuts off."""
        readable = self.margin.isfinite()
        return float(self.flag.sum() / readable.sum())


def find_suspects(
    data: "Data",
    run: Run,
    path: Path | str | None = None,
    *,
    percentile: float = 99.0,
    progress: Progress | None = None,
) -> Suspects:
    """Find probable label errors by AUM's threshold class; trains the network twice more.

    Pleiss et al. 2020: n / (classes + 1) examples are put into a class of their own, which means
    nothing, so their margins show what a wrong label looks like; what lies below the 99th
    percentile of these is suspect. In a second run others stand in that class, so that those of
    the first are judged too. The paper stops before the learning rate falls; here it is held
    constant, over the run's epochs. Many epochs let a network memorise wrong labels: keep it short.

    Args:
        data: the training set.
        run: network and training settings; the schedule is replaced, and everything is trained on.
        path: folder for the two records, so that a killed call can go on; None takes temporary
            ones.
        percentile: of the threshold class's AUM, in (0, 100); lower flags fewer.
        progress: called as progress(text, steps done, steps in this epoch).

    Raises:
        UsageError: a percentile out of range, or fewer than two classes.

    Example:
        >>> import datapruner as dp
        >>> spoiled, wrong = flip_labels(dp.open_data("digits"), 0.2)
        >>> suspects = find_suspects(spoiled, dp.Run(model="mlp", epochs=5, lr=0.02))
        >>> bool(wrong[suspects.flag].float().mean() > 0.5)
        True
    """
    if not 0 < percentile < 100 or data.num_classes < 2:
        raise UsageError(f"cannot judge {data.num_classes} classes by the percentile {percentile}")
    run = replace(run, schedule="constant", sampler=None, clean_epochs=())
    rows = data.readable.nonzero().flatten()
    order = rows[torch.randperm(len(rows), generator=generator(run.seed, "threshold class"))]
    parts = order.split(max(1, len(rows) // (data.num_classes + 1)))[:2]
    flag, margin = torch.zeros(data.n, dtype=torch.bool), torch.full((data.n,), float("nan"))
    thresholds, records = [], []
    for number, part in enumerate(parts):
        labels = data.labels.clone()
        labels[part] = data.num_classes
        mixed = with_labels(data, labels, (*data.classes, "(threshold)"))
        record = record_run(
            mixed,
            replace(run, seed=run.seed + number),
            None if path is None else Path(path) / f"run-{number}",
            progress=progress,
        )
        mean = torch.full((data.n,), float("nan"))
        mean[rows] = -SCORERS["aum"](record.trace("margin")[:, rows])
        limit = float(np.percentile(mean[part].numpy(), percentile))
        judged = parts[0] if number else rows[~torch.isin(rows, part)]
        margin[judged], flag[judged] = mean[judged], mean[judged] < limit
        thresholds.append(limit)
        records.append((mixed, record))
    suggested = _suggested(records, data)
    return Suspects(flag, margin, suggested, (thresholds[0], thresholds[1]))


def _suggested(records: list[tuple["Data", Record]], data: "Data") -> Tensor:
    """Return what both networks together call each example, the threshold class left out."""
    nets = [ready(mixed, record) for mixed, record in records]
    passes = [predict(n.model, n.loader, device=n.run.device, precision="float32") for n in nets]
    labels = torch.full((data.n,), -1)
    for first, second in zip(*passes, strict=True):
        a, b = (logits[:, : data.num_classes].softmax(1) for _, logits in (first, second))
        both = a + b
        labels[first[0].index] = both.argmax(1).cpu()
    return labels


def cut_share(flag: ArrayLike, readable: ArrayLike, fraction: float) -> float:
    """Return the share to cut off the hard end: that of the suspects, as far as there is room.

    The automatic `beta` of CCS and `offset` of a window, which the papers tune by hand: the hardest
    examples are cut, as many as are suspected, and never more than are pruned anyway.

    Args:
        flag: (n,) bool, the suspects.
        readable: (n,) bool.
        fraction: share that is kept.

    Example:
        >>> cut_share([True, False, False, False], [True] * 4, 0.5)
        0.25
    """
    readable = np.asarray(readable, bool)
    suspects = float((np.asarray(flag, bool) & readable).sum() / readable.sum())
    return min(suspects, 1 - fraction)
