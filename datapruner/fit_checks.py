"""What `fit` is handed, looked at before the first step."""

import hashlib
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from .errors import UsageError
from .hooks import Masking
from .run import Run

if TYPE_CHECKING:
    from .loaders import Loader
    from .samplers import Sampler


def refuse_unlike(loader: object, sampler: object, run: object, test: object) -> None:
    """Refuse what is of another kind than `fit` takes in that place.

    Raises:
        UsageError: one of them is; named, with what to give instead.

    Example:
        >>> refuse_unlike([], None, Run(), None)
        Traceback (most recent call last):
        datapruner.errors.UsageError: fit reads a loader such as TensorLoader(data), not a list; \
a DataLoader of yours goes through prune() into a loop of your own
    """
    for name, one in (("", loader), ("test ", test)):
        if one is not None and not (callable(one) and hasattr(one, "labels")):
            raise UsageError(
                f"fit reads a {name}loader such as TensorLoader(data), not a {type(one).__name__}; "
                "a DataLoader of yours goes through prune() into a loop of your own"
            )
    if sampler is not None and (isinstance(sampler, type) or not hasattr(sampler, "bind")):
        kind = sampler.__name__ if isinstance(sampler, type) else type(sampler).__name__
        raise UsageError(
            f"fit takes a sampler such as RS2(0.1), Fixed(selection) or None, not a {kind}"
        )
    if not isinstance(run, Run):
        raise UsageError(f"fit takes a Run, such as Run(epochs=10), not a {type(run).__name__}")


def classes_of(loader: "Loader") -> int:
    """Return how many columns logits need for the labels of a loader."""
    labels = torch.as_tensor(loader.labels)
    return int(labels.max()) + 1 if len(labels) and not labels.is_floating_point() else 0


def as_logits(out: object, classes: int) -> Tensor:
    """Return what a network gave as float32 logits (b, C).

    Raises:
        UsageError: they are none, or too narrow for that many classes.

    Example:
        >>> as_logits(torch.zeros(4, 2), 3)
        Traceback (most recent call last):
        datapruner.errors.UsageError: the network gives logits of shape (4, 2), and there are 3 \
classes; give it 3 outputs
    """
    if not isinstance(out, Tensor):
        raise UsageError(
            f"the network gives a {type(out).__name__}, not logits (b, C); wrap it in a module "
            "that returns them alone"
        )
    if classes and (out.ndim != 2 or out.shape[1] < classes):
        raise UsageError(
            f"the network gives logits of shape {tuple(out.shape)}, and there are {classes} "
            f"classes; give it {classes} outputs"
        )
    return out.float()


def belongings(loader: "Loader", sampler: "Sampler", masking: Masking | None) -> dict[str, Any]:
    """Return what a checkpoint goes on with and the run's id does not say: all is handed over."""
    order, weight = sampler.draw(0)
    first = hashlib.blake2b(order.cpu().numpy().tobytes(), digest_size=8)
    if weight is not None:
        first.update(weight.cpu().numpy().tobytes())
    labels = hashlib.blake2b(torch.as_tensor(loader.labels).cpu().numpy().tobytes(), digest_size=8)
    return {
        "labels": labels.hexdigest(),
        "batch size": loader.batch_size,
        "sampler": type(sampler).__name__,
        "first epoch": first.hexdigest(),
        "use of masks": "none" if masking is None else "some",
    }
