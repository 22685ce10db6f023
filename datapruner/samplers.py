"""Samplers: what the next epoch looks at, as a pure function of seed and epoch.

A sampler is written down without knowing the data, `RS2(fraction=0.1)`, and bound to them by the
loader or the training loop: `sampler.bind(n, labels)` returns one that can `draw`.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from .errors import UsageError
from .loaders import Batch
from .quotas import largest_remainder
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


def _population(n: int, readable: Tensor | None) -> Tensor:
    if readable is None:
        return torch.arange(n)
    if readable.shape != (n,):
        raise UsageError(f"readable has shape {tuple(readable.shape)}, expected ({n},)")
    return readable.nonzero().flatten()


@dataclass(frozen=True, eq=False)
class Fixed(_Deaf):
    """The same examples every epoch, in a new random order each time.

    Args:
        indices: (k,) places in the full set, each once; a Selection; None for every example.
        weights: (k,) how much each of them counts in the loss; None for 1. A Selection brings its
            own.
        seed: of the order.
        shuffle: False keeps the indices in ascending order.

    Raises:
        UsageError: at binding, when an index is outside the data set, repeated or not readable.

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
    full_weights: Tensor | None = None

    def bind(self, n: int, labels: Tensor | None = None, readable: Tensor | None = None) -> "Fixed":
        """Return this sampler over `n` examples."""
        if self.indices is None:
            return replace(self, indices=_population(n, readable))
        weights = self.weights
        indices = self.indices
        if not isinstance(indices, Tensor) and hasattr(indices, "indices"):  # a Selection
            if getattr(indices, "n", n) != n:
                raise UsageError(
                    f"the selection was made from {indices.n} examples, the data have {n}; "
                    "select again from these data"
                )
            weights = indices.weights if weights is None else weights
            indices = indices.indices
        chosen = torch.as_tensor(indices).to(torch.int64).flatten()
        if chosen.numel() == 0:
            raise UsageError("no indices to train on; keep at least one example")
        if int(chosen.min()) < 0 or int(chosen.max()) >= n:
            bad = int(chosen.min()) if int(chosen.min()) < 0 else int(chosen.max())
            raise UsageError(f"index {bad} is outside the data set of {n} examples")
        if chosen.unique().numel() != chosen.numel():
            raise UsageError("an index is repeated; give each example once, with a weight instead")
        if readable is not None and not bool(readable[chosen].all()):
            bad = int(chosen[~readable[chosen]][0])
            raise UsageError(f"example {bad} is selected but cannot be read; select again")
        full = None
        if weights is not None:
            if torch.as_tensor(weights).numel() != chosen.numel():
                raise UsageError(
                    f"{torch.as_tensor(weights).numel()} weights for {chosen.numel()} indices"
                )
            full = torch.zeros(n)
            full[chosen] = torch.as_tensor(weights, dtype=torch.float32)
        return replace(self, indices=chosen.sort().values, weights=None, full_weights=full)

    def draw(self, epoch: int) -> Draw:
        """Return every index of the subset in this epoch's order."""
        if not self.shuffle:
            return self.indices, self.full_weights
        places = torch.randperm(len(self.indices), generator=generator(self.seed, "order", epoch))
        return self.indices[places], self.full_weights


class _Stream:
    """An endless walk through permutations of `m` places, `k` at a time, no repeat in a group.

    The groups cut the sequence of permutations at multiples of `k`. A group that reaches over the
    end of one permutation takes what is left of it and fills up from the next, passing over the
    places it already has; those stand right behind the group in that permutation, so every
    permutation still holds each place once, and counts never differ by more than one.
    Memory: one permutation, int32 below 2^31 places.
    """

    def __init__(self, m: int, k: int, seed: int, purpose: str) -> None:
        self.m, self.k, self.seed, self.purpose = m, k, seed, purpose
        self._held: tuple[int, Tensor] | None = None

    def group(self, number: int) -> Tensor:
        """Return the places (k,) of group `number`, a pure function of it."""
        start = number * self.k
        first, offset = divmod(start, self.m)
        head = self._permutation(first)[offset : offset + self.k]
        missing = self.k - len(head)
        if missing == 0:
            return head.to(torch.int64)
        head = head.clone()  # a view would keep the old permutation while the next one is made
        return torch.cat([head, self._permutation(first + 1)[:missing]]).to(torch.int64)

    def _permutation(self, number: int) -> Tensor:
        if self._held is not None and self._held[0] == number:
            return self._held[1]
        if 2 * self.k <= self.m:  # a rearranged head does not reach the tail: no chain
            self._held = (number, self._made(number, self._tail_of))
            return self._held[1]
        first = 0 if self._held is None or self._held[0] > number else self._held[0] + 1
        for step in range(first, number + 1):
            held = (step, self._made(step, lambda _: self._held))
            self._held = held
        return held[1]

    def _plain(self, number: int) -> Tensor:
        dtype = torch.int32 if self.m < 2**31 else torch.int64
        return torch.randperm(
            self.m, generator=generator(self.seed, self.purpose, number), dtype=dtype
        )

    def _made(self, number: int, before: Callable[[int], tuple[int, Tensor] | None]) -> Tensor:
        """Put the last group's carried places behind the group that they began."""
        made = self._plain(number)
        carried = (number * self.m) % self.k
        if number == 0 or carried == 0:
            return made
        previous = before(number - 1)
        assert previous is not None
        taken = torch.zeros(self.m, dtype=torch.bool)
        taken[previous[1][self.m - carried :].long()] = True
        front = made[: self.k]  # holds at least k - carried places that are not taken
        again = taken[front.long()]
        fresh, held_back = front[~again], front[again]
        need = self.k - carried
        made[: self.k] = torch.cat([fresh[:need], held_back, fresh[need:]])
        return made

    def _tail_of(self, number: int) -> tuple[int, Tensor]:
        if self._held is not None and self._held[0] == number:
            return self._held
        return number, self._plain(number)


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
            fraction * n rounded, at least 1.
        seed: of the draws.
        replacement: draw each epoch by itself.
        stratified: the same share of every class, totals exact by largest remainder, at least one
            of each class where k allows it. Needs labels.

    Raises:
        UsageError: fraction outside (0, 1], or stratified without labels.

    Example:
        >>> sampler = RS2(fraction=0.5, seed=0).bind(6)
        >>> first, second = sampler.draw(0)[0], sampler.draw(1)[0]
        >>> sorted(torch.cat([first, second]).tolist())
        [0, 1, 2, 3, 4, 5]
    """

    fraction: float
    seed: int = 0
    replacement: bool = False
    stratified: bool = False
    groups: tuple[Tensor, ...] = ()
    streams: tuple[_Stream, ...] = ()
    quotas: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        """Refuse a fraction that is not one."""
        if not 0 < self.fraction <= 1:
            raise UsageError(f"fraction must be above 0 and at most 1, not {self.fraction}")

    def bind(self, n: int, labels: Tensor | None = None, readable: Tensor | None = None) -> "RS2":
        """Return this sampler over `n` examples; a stratified one needs their labels (n,)."""
        everyone = _population(n, readable)
        if len(everyone) == 0:
            raise UsageError("no readable example to draw from")
        k = max(1, round(self.fraction * len(everyone)))
        groups: tuple[Tensor, ...] = (everyone,)
        quotas: tuple[int, ...] = (k,)
        if self.stratified:
            if labels is None:
                raise UsageError("RS2(stratified=True) needs labels; pass labels=(n,) to prune()")
            groups = tuple(everyone[labels[everyone] == c] for c in labels[everyone].unique())
            quotas = _class_quotas(np.array([len(g) for g in groups]), k)
        streams = tuple(
            _Stream(len(g), q, self.seed, f"rs2/{i}")
            for i, (g, q) in enumerate(zip(groups, quotas, strict=True))
            if q
        )
        return replace(self, groups=groups, streams=streams, quotas=quotas)

    def draw(self, epoch: int) -> Draw:
        """Return the epoch's k examples in random order; all weigh the same."""
        if not self.groups:
            raise UsageError("this RS2 is not bound to data; hand it to prune() or fit()")
        if len(self.groups) == 1:
            places = self._places(0, epoch)
            return self.groups[0][places], None
        if not self.streams or sum(self.quotas) < len(self.groups):
            return self._few(epoch), None
        order = torch.cat([g[self._places(i, epoch)] for i, g in enumerate(self.groups)])
        mixed = torch.randperm(len(order), generator=generator(self.seed, "rs2/mix", epoch))
        return order[mixed], None

    def _places(self, group: int, epoch: int) -> Tensor:
        stream = self.streams[group]
        if not self.replacement:
            return stream.group(epoch)
        one = generator(self.seed, f"rs2/drawn/{group}", epoch)
        return torch.randperm(stream.m, generator=one)[: stream.k]

    def _few(self, epoch: int) -> Tensor:
        """Fewer examples than classes: one each of as many classes, drawn anew each epoch."""
        one = generator(self.seed, "rs2/few", epoch)
        classes = torch.randperm(len(self.groups), generator=one)[: sum(self.quotas)]
        picks = [
            self.groups[c][torch.randint(len(self.groups[c]), (1,), generator=one)]
            for c in classes.tolist()
        ]
        return torch.cat(picks)


def _class_quotas(sizes: np.ndarray, k: int) -> tuple[int, ...]:
    """Split k over classes in proportion to their sizes, at least one each where k allows it."""
    if k < len(sizes):
        return tuple(int(c < k) for c in range(len(sizes)))
    ones = np.ones(len(sizes), np.int64)
    exact = k * sizes / sizes.sum()
    above = largest_remainder(np.maximum(exact - 1, 1e-12), k - len(sizes), sizes - ones)
    return tuple(int(q) for q in ones + above)
