"""Samplers: what the next epoch looks at, as a pure function of seed and epoch.

A sampler is written down without knowing the data, `RS2(fraction=0.1)`, and bound to them by the
loader or the training loop: `sampler.bind(n, labels)` returns one that can `draw`.
"""

from copy import copy
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

from .errors import UsageError
from .loaders import Batch
from .seeds import generator

Draw = tuple[Tensor, Tensor | None]


class Sampler(Protocol):
    """What an epoch looks at, and how much each example counts.

    `draw` is pure: asked twice for an epoch, it answers the same, until `end_epoch` lets what was
    observed take effect from the next epoch on.
    """

    def bind(
        self, n: int, labels: Tensor | None = None, readable: Tensor | None = None
    ) -> "Sampler":
        """Return this sampler over `n` examples, of which only the readable are ever drawn."""
        ...

    def draw(self, epoch: int) -> Draw:
        """Return the order (m,) int64 and each example's weight (n,) float32, None for 1."""
        ...

    def observe(self, epoch: int, batch: Batch, logits: Tensor | None, losses: Tensor) -> None:
        """Take note of what the network made of a batch; losses (b,) unweighted."""
        ...

    def end_epoch(self, epoch: int) -> None:
        """Let what was observed take effect from the next epoch on."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Return enough to go on in the middle of an epoch: tensors and plain numbers."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict()`."""
        ...


class Deaf:
    """What samplers share that draw without looking at the losses."""

    def observe(self, epoch: int, batch: Batch, logits: Tensor | None, losses: Tensor) -> None:
        """Take no note: the draw does not depend on what the network does."""

    def end_epoch(self, epoch: int) -> None:
        """Do nothing: no observation waits to take effect."""

    def state_dict(self) -> dict[str, Any]:
        """Return an empty state: seed and epoch say it all."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Accept the empty state."""


S = TypeVar("S")


def bound(sampler: S, **found: Any) -> S:
    """Return a copy of a sampler that holds what binding found; the sampler stays as it is."""
    out = copy(sampler)
    for name, value in found.items():
        object.__setattr__(out, name, value)  # frozen for its users
    return out


def which_readable(n: int, readable: Tensor | None) -> Tensor | None:
    """Return which examples can be read, None where all can; a bad mask is a UsageError."""
    if readable is not None and readable.shape != (n,):
        raise UsageError(f"readable has shape {tuple(readable.shape)}, expected ({n},)")
    if n == 0 or (readable is not None and not bool(readable.any())):
        raise UsageError("no readable example to draw from")
    return None if readable is None or bool(readable.all()) else readable


def population(n: int, readable: Tensor | None) -> Tensor:
    """Return the indices of the examples that can be read."""
    some = which_readable(n, readable)
    return torch.arange(n) if some is None else some.nonzero().flatten()


@dataclass(frozen=True, eq=False)
class Fixed(Deaf):
    """The same examples every epoch, in a new random order each time.

    Args:
        indices: (k,) places in the full set, each once, in any order; a Selection; None for every
            readable example.
        weights: (k,) how much each of them counts in the loss, (n,) where indices is None; None for
            1. A Selection brings its own.
        seed: of the order.
        shuffle: False keeps the indices in ascending order.

    Raises:
        UsageError: at binding, when an index is outside the data set, repeated or not readable, or
            the weights do not fit.

    Example:
        >>> sampler = Fixed(torch.tensor([4, 7, 9]), seed=0).bind(10)
        >>> order, weight = sampler.draw(epoch=0)
        >>> sorted(order.tolist()), weight
        ([4, 7, 9], None)
    """

    indices: Any = None
    weights: Tensor | None = None
    seed: int = 0
    shuffle: bool = True
    _chosen: Tensor | None = field(default=None, init=False, repr=False)  # ascending
    _weight: Tensor | None = field(default=None, init=False, repr=False)  # (n,)

    def bind(self, n: int, labels: Tensor | None = None, readable: Tensor | None = None) -> "Fixed":
        """Return this sampler over `n` examples."""
        everyone = population(n, readable)
        if self.indices is None:
            return bound(self, _chosen=everyone, _weight=_spread(self.weights, None, n))
        indices, weights = self.indices, self.weights
        if not isinstance(indices, Tensor) and hasattr(indices, "indices"):  # a Selection
            if getattr(indices, "n", n) != n:
                raise UsageError(
                    f"the selection was made from {indices.n} examples, the data have {n}; "
                    "select again from these data"
                )
            weights = getattr(indices, "weights", None) if weights is None else weights
            indices = indices.indices
        chosen = _places(indices, n)
        if readable is not None and not bool(readable[chosen].all()):
            bad = int(chosen[~readable[chosen]][0])
            raise UsageError(f"example {bad} is selected but cannot be read; select again")
        return bound(self, _chosen=chosen.sort().values, _weight=_spread(weights, chosen, n))

    def draw(self, epoch: int) -> Draw:
        """Return every index of the subset in this epoch's order."""
        chosen = self._drawable
        if not self.shuffle:
            return chosen, self._weight
        places = torch.randperm(len(chosen), generator=generator(self.seed, "order", epoch))
        return chosen[places], self._weight

    def size(self, epoch: int) -> int:
        """Return how many examples an epoch draws."""
        return len(self._drawable)

    @property
    def _drawable(self) -> Tensor:
        if self._chosen is None:
            raise UsageError("this Fixed is not bound to data; hand it to prune() or fit()")
        return self._chosen


def _places(indices: Any, n: int) -> Tensor:
    """Return indices as (k,) int64, or say what is wrong with them."""
    try:
        chosen = torch.as_tensor(indices)
    except (TypeError, ValueError) as error:  # words, or rows of different lengths
        raise UsageError(f"indices must be (k,) whole numbers ({error})") from None
    if chosen.numel() == 0:
        raise UsageError("no indices to train on; keep at least one example")
    if chosen.dtype == torch.bool:
        raise UsageError("indices are places, not a mask; give mask.nonzero().flatten()")
    if chosen.ndim != 1 or chosen.is_floating_point() or chosen.is_complex():
        raise UsageError(
            f"indices must be (k,) whole numbers, got {tuple(chosen.shape)} {chosen.dtype}; "
            "make a Selection of scores with keep()"
        )
    chosen = chosen.to("cpu", torch.int64)
    for bad in (int(chosen.min()), int(chosen.max())):
        if not 0 <= bad < n:
            raise UsageError(f"index {bad} is outside the data set of {n} examples")
    if chosen.unique().numel() != chosen.numel():
        raise UsageError("an index is repeated; give each example once, with a weight instead")
    return chosen


def _spread(weights: Any, chosen: Tensor | None, n: int) -> Tensor | None:
    """Return weights (n,) float32 from those of the chosen, 0 elsewhere; chosen=None is all n."""
    if weights is None:
        return None
    own = torch.as_tensor(weights).to("cpu", torch.float32)
    k = n if chosen is None else len(chosen)
    if own.shape != (k,):
        raise UsageError(f"weights of shape {tuple(own.shape)} for {k} indices; give one each")
    if not bool((own.isfinite() & (own >= 0)).all()):
        raise UsageError("weights must be finite and not negative")
    if chosen is None:
        return own
    full = torch.zeros(n)
    full[chosen] = own
    return full
