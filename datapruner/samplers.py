"""Samplers: what the next epoch looks at, as a pure function of seed and epoch.

A sampler is written down without knowing the data, `RS2(fraction=0.1)`, and bound to them by the
loader or the training loop: `sampler.bind(n, labels)` returns one that can `draw`.
"""

from collections.abc import Callable
from copy import copy
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor

from .errors import UsageError
from .loaders import Batch
from .quotas import at_least_one
from .seeds import generator
from .streams import Stream

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


class _Deaf:
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


def _bound(sampler: S, **found: Any) -> S:
    """Return a copy of a sampler that holds what binding found; the sampler stays as it is."""
    out = copy(sampler)
    for name, value in found.items():
        object.__setattr__(out, name, value)  # frozen for its users
    return out


def _readable(n: int, readable: Tensor | None) -> Tensor | None:
    """Return which examples can be read, None where all can; a bad mask is a UsageError."""
    if readable is not None and readable.shape != (n,):
        raise UsageError(f"readable has shape {tuple(readable.shape)}, expected ({n},)")
    if n == 0 or (readable is not None and not bool(readable.any())):
        raise UsageError("no readable example to draw from")
    return None if readable is None or bool(readable.all()) else readable


def _population(n: int, readable: Tensor | None) -> Tensor:
    some = _readable(n, readable)
    return torch.arange(n) if some is None else some.nonzero().flatten()


@dataclass(frozen=True, eq=False)
class Fixed(_Deaf):
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
        everyone = _population(n, readable)
        if self.indices is None:
            return _bound(self, _chosen=everyone, _weight=_spread(self.weights, None, n))
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
        return _bound(self, _chosen=chosen.sort().values, _weight=_spread(weights, chosen, n))

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
    chosen = torch.as_tensor(indices)
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


@dataclass(frozen=True, eq=False)
class RS2(_Deaf):
    """A fresh random subset each epoch: repeated random sampling (Okanovic et al. 2023, ICLR 2024).

    Without replacement a random permutation is walked through, `k` examples an epoch; what is left
    at its end opens the next epoch, which is filled up from a new permutation without repeats
    inside the epoch. Every example is seen within one time of every other. With replacement each
    epoch is drawn by itself, still without repeats inside it. Size the learning-rate schedule to
    the steps that are really taken: `fit` does, and it is half of the method.

    Args:
        fraction: share of the (readable) examples in an epoch, above 0 and at most 1; k is
            fraction * n rounded, at least 1. Or a function of progress that returns it, called with
            epoch / epochs.
        seed: of the draws.
        replacement: draw each epoch by itself.
        stratified: the same share of every class, totals exact by largest remainder, at least one
            of each class. Where k is below the number of classes they take turns, one example
            each. Needs labels.
        epochs: of the whole training, where fraction is a function; epochs after them go on with
            the last share.

    Raises:
        UsageError: fraction outside (0, 1] or a function without epochs, stratified without labels
            or, with a function, with fewer examples than classes.

    Example:
        >>> sampler = RS2(fraction=0.5, seed=0).bind(6)
        >>> first, second = sampler.draw(0)[0], sampler.draw(1)[0]
        >>> sorted(torch.cat([first, second]).tolist())
        [0, 1, 2, 3, 4, 5]
        >>> growing = RS2(fraction=lambda progress: 0.1 + 0.5 * progress, epochs=5).bind(100)
        >>> [len(growing.draw(epoch)[0]) for epoch in range(6)]
        [10, 20, 30, 40, 50, 50]
    """

    fraction: float | Callable[[float], float]
    seed: int = 0
    replacement: bool = False
    stratified: bool = False
    epochs: int | None = None
    _groups: tuple[Tensor | None, ...] = field(default=(), init=False, repr=False)  # None: all
    _streams: tuple[Stream, ...] = field(default=(), init=False, repr=False)
    _turns: Stream | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        """Refuse a fraction that is not one."""
        self._fractions()

    def _fractions(self) -> list[float]:
        """Return the share of each epoch that has one of its own, or the one of all."""
        if not callable(self.fraction):
            shares = [self.fraction]
        elif self.epochs is None or self.epochs < 1:
            raise UsageError("a fraction that is a function of progress needs epochs, at least 1")
        else:
            shares = [self.fraction(epoch / self.epochs) for epoch in range(self.epochs)]
        for share in shares:
            if not 0 < share <= 1:
                raise UsageError(f"fraction must be above 0 and at most 1, not {share}")
        return shares

    def bind(self, n: int, labels: Tensor | None = None, readable: Tensor | None = None) -> "RS2":
        """Return this sampler over `n` examples; a stratified one needs their labels (n,)."""
        some = _readable(n, readable)
        m = n if some is None else int(some.sum())
        sizes = [max(1, round(share * m)) for share in self._fractions()]
        if not self.stratified:
            members = None if some is None else _population(n, some)  # None saves the memory
            return _bound(
                self, _groups=(members,), _streams=(Stream(m, sizes, self.seed, "rs2/0"),)
            )
        if labels is None:
            raise UsageError("RS2(stratified=True) needs labels; pass labels=(n,) to prune()")
        groups = _by_class(_population(n, some), labels, n)
        few = min(sizes) < len(groups)
        if few and len(sizes) > 1:
            raise UsageError(
                f"a stratified epoch of {min(sizes)} examples is smaller than the {len(groups)} "
                "classes, which a changing fraction does not allow; raise the fraction"
            )
        of_class = np.array([len(g) for g in groups])
        quotas = [[1] * len(groups) if few else at_least_one(of_class, k) for k in sizes]
        streams = tuple(
            Stream(len(g), own, self.seed, f"rs2/{i}")
            for i, (g, own) in enumerate(zip(groups, zip(*quotas, strict=True), strict=True))
        )
        turns = Stream(len(groups), sizes, self.seed, "rs2/turns") if few else None
        return _bound(self, _groups=tuple(groups), _streams=streams, _turns=turns)

    def draw(self, epoch: int) -> Draw:
        """Return the epoch's k examples in random order; all weigh the same."""
        if self.size(epoch) and self._turns is not None:
            return self._few(epoch, self._turns), None
        order = torch.cat([self._of_group(i, epoch) for i in range(len(self._groups))])
        if len(self._groups) > 1:
            order = order[
                torch.randperm(len(order), generator=generator(self.seed, "rs2/mix", epoch))
            ]
        return order, None

    def size(self, epoch: int) -> int:
        """Return how many examples an epoch draws."""
        if not self._streams:
            raise UsageError("this RS2 is not bound to data; hand it to prune() or fit()")
        parts = self._streams if self._turns is None else (self._turns,)
        return sum(stream.size(epoch) for stream in parts)

    def _of_group(self, group: int, turn: int) -> Tensor:
        """Return the examples of a group at its turn, the first turn being 0."""
        stream, members = self._streams[group], self._groups[group]
        if self.replacement:
            one = generator(self.seed, f"rs2/drawn/{group}", turn)
            places = torch.randperm(stream.m, generator=one)[: stream.size(turn)]
        else:
            places = stream.group(turn)
        return places if members is None else members[places]

    def _few(self, epoch: int, turns: Stream) -> Tensor:
        """Fewer examples than classes: one each of k classes, which take turns."""
        first = turns.start(epoch)  # every class has had this many turns, divided by the classes
        picks = [
            self._of_group(group, (first + i) // turns.m)
            for i, group in enumerate(turns.group(epoch).tolist())
        ]
        return torch.cat(picks)


def _by_class(everyone: Tensor, labels: Any, n: int) -> list[Tensor]:
    """Return the members of each class that has any, classes and members ascending."""
    labels = torch.as_tensor(labels).cpu()
    if labels.shape != (n,):
        raise UsageError(f"labels have shape {tuple(labels.shape)}, expected ({n},)")
    own, places = labels[everyone].sort(stable=True)
    return list(everyone[places].split(own.unique_consecutive(return_counts=True)[1].tolist()))
