"""Teachers: what gives logits to learn from, for the very examples that a student sees."""

import hashlib
from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from .checkpoint import weights_hash
from .errors import Refused, UsageError
from .evaluation import evaluating
from .hardware import pick_device, place_model, placed
from .loaders import Batch, Loader
from .seeds import generator

SAMPLE = 2048  # examples on which a teacher is compared with the labels
Logits = Callable[[Batch], Tensor]


@runtime_checkable
class Teacher(Protocol):
    """What gives logits for the batches of a loader.

    Attributes:
        fingerprint: 16 hex digits that change when its logits do.
    """

    fingerprint: str

    @property
    def views_seen(self) -> str:
        """In words, how what it sees is what the student sees."""
        ...

    def bind(self, loader: Loader) -> Logits:
        """Return what gives the logits (b, C) float32 of a batch of this loader.

        Raises:
            Refused: it has fewer classes than there are labels, cannot take the examples, or was
                made for others.
        """
        ...


class NetworkTeacher:
    """A network that is asked at each step, on the very batch that the student sees.

    Args:
        model: takes a batch's x, returns logits (b, C); `bind` brings it to the device.
        device: as in Run.
        name: what messages call it; None is its class.

    Example:
        >>> import datapruner as dp
        >>> data = dp.open_data("digits")
        >>> loader, net = dp.TensorLoader(data), dp.make_model("mlp", 10, data.shape)
        >>> NetworkTeacher(net).bind(loader)(next(loader(torch.arange(3)))).shape
        torch.Size([3, 10])
    """

    def __init__(self, model: nn.Module, device: str = "auto", name: str | None = None) -> None:
        self.model, self.device = model, pick_device(device)
        self.name = name or f"the teacher {type(model).__name__}"
        self.fingerprint = weights_hash(model)

    @property
    def views_seen(self) -> str:
        """It sees the student's own batch."""
        return "recomputed on the view that the student sees"

    def bind(self, loader: Loader) -> Logits:
        """Try one batch; return what runs the network on others.

        Raises:
            Refused: it cannot take the example, gives no logits, or has fewer classes than there
                are labels.
        """
        place_model(self.model, self.device)
        first = first_batch(loader)
        try:
            logits = self(first)
        except (RuntimeError, ValueError, TypeError) as error:
            raise Refused(
                f"{self.name}: cannot take examples of shape {tuple(first.x.shape[1:])} "
                f"({str(error).splitlines()[0]}); take a teacher made for these"
            ) from error
        refuse_classes(self.name, logits, loader.labels)
        if not bool(logits.isfinite().all()):
            raise Refused(f"{self.name}: gives logits that are not finite; its weights are spoiled")
        return self

    def __call__(self, batch: Batch) -> Tensor:
        """Return its logits (b, C) float32, in eval mode, which is put back."""
        with (
            evaluating(self.model),
            torch.no_grad(),
            torch.autocast(self.device.type, enabled=False),
        ):
            logits = self.model(placed(batch.x, self.device))
        if not isinstance(logits, Tensor):
            raise Refused(
                f"{self.name}: gives a {type(logits).__name__}, not a row of logits an example; "
                "wrap it in a module that returns the logits alone"
            )
        return logits.float()


class Ensemble:
    """Several teachers as one: the mean of their logits.

    Of logits, not of probabilities: one answer for every temperature, which mse can use as well
    and a cache can hold.

    Args:
        teachers: one or more.

    Example:
        >>> import datapruner as dp
        >>> nets = [NetworkTeacher(dp.make_model("mlp", 10, (4,), seed=s)) for s in (0, 1)]
        >>> len(Ensemble(nets).fingerprint)
        16
    """

    def __init__(self, teachers: Sequence[Teacher]) -> None:
        if not teachers:
            raise UsageError("an ensemble of no teacher; give at least one")
        self.teachers = tuple(teachers)
        every = "+".join(teacher.fingerprint for teacher in teachers)
        self.fingerprint = hashlib.blake2b(every.encode(), digest_size=8).hexdigest()

    @property
    def views_seen(self) -> str:
        """How each of them sees what the student sees."""
        return "; ".join(dict.fromkeys(teacher.views_seen for teacher in self.teachers))

    def bind(self, loader: Loader) -> Logits:
        """Return what gives the mean of their logits.

        Raises:
            Refused: one of them does not fit, or they differ in their classes.
        """
        asked = [teacher.bind(loader) for teacher in self.teachers]

        def mean(batch: Batch) -> Tensor:
            found = [one(batch) for one in asked]
            return torch.stack([logits.to(found[0].device) for logits in found]).mean(0)

        first = first_batch(loader)
        widths = [one(first).shape[1] for one in asked]
        if len(set(widths)) > 1:
            raise Refused(
                f"teachers of {', '.join(map(str, widths))} classes make no ensemble; take "
                "teachers of the same classes"
            )
        return mean


def as_teacher(given: nn.Module | Teacher | Sequence[nn.Module | Teacher]) -> Teacher:
    """Return a teacher: what is one already, a network, or a list of these as an ensemble.

    Raises:
        UsageError: it is none of them.

    Example:
        >>> type(as_teacher(nn.Linear(2, 2))).__name__
        'NetworkTeacher'
    """
    if isinstance(given, nn.Module):
        return NetworkTeacher(given)
    if isinstance(given, Teacher):
        return given
    if isinstance(given, Sequence) and not isinstance(given, str):
        return Ensemble([as_teacher(one) for one in given])
    raise UsageError(
        f"{given!r} is no teacher; give a network, a list of networks, or load_teacher(WORD, data)"
    )


def first_batch(loader: Loader) -> Batch:
    """Return a whole batch of plain examples, since loaders may leave out one that is not full.

    Raises:
        UsageError: the loader gives none.

    Example:
        >>> import datapruner as dp
        >>> len(first_batch(dp.TensorLoader(dp.open_data("digits"), 4)).index)
        4
    """
    rows = loader.readable.nonzero().flatten()[: loader.batch_size]
    for batch in loader(rows, train=False):
        return batch
    raise UsageError(f"the loader gives no batch of {loader.batch_size}; make its batches smaller")


def refuse_classes(name: str, logits: Tensor, labels: Tensor) -> None:
    """Refuse a teacher whose logits do not reach the highest label.

    Raises:
        Refused: there is a label that it has no logit for, or what it gives is no row of logits.

    Example:
        >>> refuse_classes("it", torch.zeros(1, 3), torch.tensor([2]))
    """
    if logits.ndim != 2:
        raise Refused(f"{name}: gives shape {tuple(logits.shape)}, not a row of logits an example")
    if logits.shape[1] <= int(labels.max()):
        raise Refused(
            f"{name}: has {logits.shape[1]} classes, the labels go up to {int(labels.max())}; take "
            "a teacher of the same classes"
        )


def disagreement(asked: Logits, loader: Loader, order: Tensor | None = None) -> float:
    """Return the share of labels that a teacher disagrees with, on the views of the first epoch.

    An estimate of the share of wrong labels from above: the teacher's own errors are in it.

    Args:
        asked: what a teacher's `bind` returned for the loader.
        loader: what is trained on.
        order: (m,) the examples; None is every readable one. Of more than 2,048 a seeded sample is
            taken, whose standard error is at most 1.1 points.

    Example:
        >>> import datapruner as dp
        >>> loader = dp.TensorLoader(dp.open_data("digits"))
        >>> disagreement(lambda b: torch.nn.functional.one_hot(b.y, 10).float(), loader)
        0.0
    """
    rows = loader.readable.nonzero().flatten() if order is None else torch.unique(order)
    if len(rows) > SAMPLE:
        chosen = torch.randperm(len(rows), generator=generator(0, "disagreement"))[:SAMPLE]
        rows = rows[chosen].sort().values
    wrong = seen = 0
    for batch in loader(rows, epoch=0, train=True):
        wrong += int((asked(batch).argmax(1).cpu() != batch.y).sum())
        seen += len(batch.index)
    return wrong / max(seen, 1)
